//! What requests on every worker share: the routes, how instances are reached, and whether the proxy stops.
//!
//! Owns the snapshot of the routes. Must not know the table behind it. Invariant: readers never wait for a writer.

use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::watch;

use crate::dial::Dial;
use crate::route::Router;

/// Shared by all connections of a proxy.
pub struct Shared {
    /// The routes in force.
    pub router: ArcSwap<Router>,
    /// How instances are reached.
    pub dial: Arc<dyn Dial>,
    /// Worker threads, that is pools per instance.
    pub workers: usize,
    stopping: watch::Sender<bool>,
}

impl Shared {
    /// No routes yet.
    pub fn new(dial: Arc<dyn Dial>, workers: usize) -> Self {
        Shared {
            router: ArcSwap::default(),
            dial,
            workers: workers.max(1),
            stopping: watch::Sender::new(false),
        }
    }

    /// Asks every connection to end after its request.
    pub fn stop(&self) {
        self.stopping.send_replace(true);
    }

    /// Turns true when the proxy stops.
    pub fn stopping(&self) -> watch::Receiver<bool> {
        self.stopping.subscribe()
    }
}
