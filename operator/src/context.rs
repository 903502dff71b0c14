//! What every controller shares.
//!
//! Owns nothing but the handles: they are made once in [`crate::operator`] and passed down. There are no globals, so
//! that several operators can live in one process, as tests want it.

use std::sync::Arc;

use crate::addresses::Addresses;
use crate::backoff::Jitter;
use crate::clock::Clock;
use crate::events::Events;
use crate::gate::Gate;
use crate::hosts::Hosts;
use crate::hosts::machine::Machine;
use crate::install::Install;
use crate::lease::{Epoch, Holder};
use crate::metrics::Metrics;
use crate::proxy_binary::ProxyBinaries;
use crate::wakes::Wakes;

/// The namespace of the Secret `mooring-install` and the Lease `mooring`.
pub const SYSTEM_NAMESPACE: &str = "mooring-system";

/// The handles.
pub struct Context {
    /// The API; every write passes the gate.
    pub client: kube::Client,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// What every effect passes.
    pub gate: Arc<dyn Gate>,
    /// The connected hosts.
    pub hosts: Hosts,
    /// Whom this operator acts for.
    pub install: Install,
    /// The allocator of fixed addresses.
    pub addresses: Addresses,
    /// The fence epoch.
    pub epoch: Epoch,
    /// The Lease, for raising the epoch.
    pub lease: Holder,
    /// Kubernetes Events.
    pub events: Events,
    /// Counters.
    pub metrics: Metrics,
    /// Puts objects into the line.
    pub wakes: Wakes,
    /// Random numbers for spreading waits.
    pub jitter: Arc<Jitter>,
    /// Where the proxy's binary comes from.
    pub proxy_binaries: ProxyBinaries,
    /// What the machine that a local Engine runs on can tell.
    pub machine: Arc<dyn Machine>,
    /// Where the install and the Lease are kept.
    pub system_namespace: String,
}
