//! An embedded API server that real `kubectl`, Helm, Flux and kube-rs work against.
//!
//! The map, from a request to the disk: [`serve`] terminates TLS, [`auth`] names the caller, [`handlers`] picks the verb
//! by [`path`], [`codec`] decodes the body, [`schema`], [`cel`] and [`builtin`] judge it, [`patch`] and [`apply`] merge
//! it, [`store`] commits it, [`watch`] tells those who watch. [`registry`] is the live set of resources; [`discovery`],
//! [`openapi`] and [`table`] describe and print it; [`garbage`], [`namespace`], [`definition`] and [`events`] clean up
//! behind it. [`server`] puts the parts together.
//!
//! It must not know any kind but Kubernetes' own built-in ones: every other kind reaches it as a
//! CustomResourceDefinition. Invariant: an acknowledged write is on disk, and whoever watches sees each write once, in
//! the order of its resourceVersion.

pub mod apply;
pub mod audit;
pub mod auth;
pub mod builtin;
pub mod cel;
pub mod codec;
pub mod definition;
pub mod discovery;
pub mod error;
pub mod events;
pub mod garbage;
pub mod handlers;
pub mod hub;
pub mod kubeconfig;
pub mod limits;
pub mod namespace;
pub mod object;
pub mod openapi;
pub mod patch;
pub mod path;
pub mod query;
pub mod registry;
pub mod resource;
pub mod schema;
pub mod selector;
pub mod serve;
pub mod served;
pub mod server;
pub mod store;
pub mod table;
pub mod tls;
pub mod watch;

pub use handlers::{Body, BoxError};
pub use server::{Config, InProcess, Server, StartError, Storage};
pub use store::MemoryDisk;
