//! The operator: the only package that touches the world.
//!
//! The map, from outside to inside: `main` reads [`args`] and runs one of the commands: [`up`] (control plane and
//! operator in one process), [`alone`] (the operator only), [`logs`]. [`operator`] wires the handles of [`context`] and starts
//! [`controllers`]: one per kind, each driven by the one loop of [`driver`], which forwards to the package `plan` for
//! every judgement. [`hosts`] keeps the connections: [`docker`] to Engines, [`proxy_client`] to proxies. Every effect
//! passes [`gate`]; [`lease`] sees to it that one operator acts; [`install`] and [`signature`] say what is ours.
//!
//! It must not judge. Invariants: facts are read live; nothing is done before its record is written; nothing that is
//! not provably ours is touched.

pub mod addresses;
pub mod alone;
pub mod api;
pub mod args;
pub mod backoff;
pub mod bootstrap;
pub mod clock;
pub mod context;
pub mod controllers;
pub mod docker;
pub mod driver;
pub mod events;
pub mod exec_probe;
pub mod gate;
pub mod hex;
pub mod hosts;
pub mod image;
pub mod install;
pub mod jobs;
pub mod lease;
pub mod logs;
pub mod metrics;
pub mod operator;
pub mod proxy_binary;
pub mod proxy_client;
pub mod registry;
pub mod service;
pub mod signals;
pub mod signature;
pub mod snapshot;
pub mod telemetry;
pub mod up;
pub mod wakes;
