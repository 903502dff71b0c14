//! The whole system in one process, with driven time: one file per behaviour.
//!
//! API server, operator and proxies are the real ones; the Engine is the fake one that the contract
//! suite holds against a real one. Worlds are compared, not calls.

mod bad_input;
mod clean_up;
mod flows;
mod heal;
mod registry;
mod restart_anywhere;
mod rollout;
mod valid_again;
mod valid_host;
mod verbs;
