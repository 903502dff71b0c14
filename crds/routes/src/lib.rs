//! What the operator and the proxy of a host say to each other: the route table, its protocol and its limits.
//!
//! Owns the shapes that are persisted and sent, and the three pure rules both sides must agree on: what a valid
//! section is ([`fault`]), which host and path a route answers ([`mod@route`]), and who holds a contested route
//! ([`claim`]). Must not know sockets, clocks, Kubernetes or the Engine. Invariant: depends on serde alone, and
//! reading ignores unknown fields, so that operator N speaks to proxy N-1 and N+1.

pub mod check;
pub mod claim;
pub mod fault;
pub mod limit;
pub mod protocol;
pub mod route;
pub mod status;
pub mod table;

pub use check::{Check, CheckHeader, Probe};
pub use claim::{Conflict, Holders, RouteKey, settle};
pub use fault::Fault;
pub use protocol::{FromProxy, Hello, Refusal, Reply, Report, ReportKind, Request, ToProxy};
pub use route::{PathRule, Route};
pub use status::{InstanceStatus, Leaving, Listener, SectionStatus, Status, Traffic};
pub use table::{
    Drain, HostClaim, Instance, InstanceState, Revision, RevisionRoute, Section, SectionKey, Table,
};
