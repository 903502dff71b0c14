//! Idle connections to one instance, one stack per worker thread.
//!
//! Owns how long and how many. Must not know requests. Invariant: nothing enters the pool of an instance whose gate
//! is closed, and closing then clearing leaves it empty for good, so a draining instance keeps no connection.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::gate::Gate;
use crate::link::Link;

/// Idle connections per instance and worker: what one worker has in use at once under load.
const MAX_IDLE: usize = 128;
/// A connection idle for longer is dropped. Applications close theirs after 2 to 75 s.
pub const IDLE_LIMIT: Duration = Duration::from_secs(10);
/// A request that may not be repeated takes a connection only when it was used this recently: within it no
/// application closes an idle connection, and each such race would be a 502.
pub const FRESH_LIMIT: Duration = Duration::from_secs(1);

/// The idle connections of one instance.
pub struct Pool(Box<[Mutex<Vec<Link>>]>);

impl Pool {
    /// Empty stacks for a number of workers.
    pub fn new(workers: usize) -> Self {
        Pool((0..workers.max(1)).map(|_| Mutex::default()).collect())
    }

    /// The connection used last that is idle for less than the limit and not closed.
    pub fn take(&self, worker: usize, limit: Duration, now: Instant) -> Option<Link> {
        loop {
            let mut stack = self.stack(worker);
            if now.duration_since(stack.last()?.idle_since()) >= limit {
                return None;
            }
            let mut link = stack.pop()?;
            drop(stack);
            if link.is_usable() {
                return Some(link);
            }
        }
    }

    /// Keeps a connection for the next request, unless the gate is closed or the pool is full.
    pub fn put(&self, worker: usize, link: Link, gate: &Gate) {
        let mut stack = self.stack(worker);
        if gate.is_open() && stack.len() < MAX_IDLE {
            stack.push(link);
        }
    }

    /// Drops everything. The gate must have been closed before.
    pub fn clear(&self) {
        for worker in 0..self.0.len() {
            let dropped = std::mem::take(&mut *self.stack(worker));
            drop(dropped);
        }
    }

    /// Drops what is idle for longer than [`IDLE_LIMIT`].
    pub fn sweep(&self, now: Instant) {
        for worker in 0..self.0.len() {
            self.stack(worker)
                .retain(|link| now.duration_since(link.idle_since()) < IDLE_LIMIT);
        }
    }

    fn stack(&self, worker: usize) -> MutexGuard<'_, Vec<Link>> {
        self.0[worker % self.0.len()]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
