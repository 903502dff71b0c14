//! Owns how much clients may ask for at once, and what one request may weigh.
//!
//! It must not know what is asked. Invariant: whatever is taken is given back when its guard is dropped.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::auth::Identity;
use crate::error::ApiError;

/// Bytes of a request's body: kube-apiserver's limit.
pub const BODY_BYTES_MAX: usize = 3 << 20;

/// Reads in flight, kube-apiserver's default.
pub const READS_MAX: usize = 400;

/// Writes in flight, kube-apiserver's default.
pub const WRITES_MAX: usize = 200;

/// Watches of all callers together: each holds a connection and a task.
pub const WATCHES_MAX: usize = 1_000;

/// Watches of one caller.
pub const WATCHES_PER_IDENTITY_MAX: usize = 100;

/// A client must have sent its headers by then. It also ends an idle HTTP/1.1 connection, so it is well above the time
/// in which clients use one again.
pub const HEADERS_WITHIN: Duration = Duration::from_secs(60);

/// A client must have sent its body by then.
pub const BODY_WITHIN: Duration = Duration::from_secs(30);

/// A request that is no watch is answered by then, as with kube-apiserver.
pub const ANSWER_WITHIN: Duration = Duration::from_secs(60);

/// Connections held open at once; further ones wait in the kernel's queue.
pub const CONNECTIONS_MAX: usize = 2_000;

/// A client must have finished the TLS handshake by then.
pub const HANDSHAKE_WITHIN: Duration = Duration::from_secs(10);

/// The counters. Clones share them.
#[derive(Clone, Default)]
pub struct Limits {
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    reads: AtomicUsize,
    writes: AtomicUsize,
    watches: Mutex<HashMap<Arc<str>, usize>>,
}

/// What a request counts as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Load {
    /// get and list.
    Read,
    /// Everything that changes something.
    Write,
}

/// A request in flight.
pub struct InFlight {
    counts: Arc<Counts>,
    load: Load,
}

/// A watch in progress.
pub struct Watching {
    counts: Arc<Counts>,
    user: Arc<str>,
}

impl Limits {
    /// Counts a request, or refuses it with 429. The server's own loops are counted and never refused.
    pub fn enter(&self, load: Load, identity: &Identity) -> Result<InFlight, ApiError> {
        let (counter, most) = self.counts.counter(load);
        let before = counter.fetch_add(1, Ordering::Relaxed);
        let entered = InFlight {
            counts: Arc::clone(&self.counts),
            load,
        };
        if before >= most && !identity.system {
            return Err(ApiError::too_many(
                "too many requests, please try again later",
            ));
        }
        Ok(entered)
    }

    /// Counts a watch, or refuses it with 429.
    pub fn watch(&self, identity: &Identity) -> Result<Watching, ApiError> {
        let mut watches = self
            .counts
            .watches
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let all: usize = watches.values().sum();
        let own = watches.get(&identity.user).copied().unwrap_or_default();
        if all >= WATCHES_MAX || own >= WATCHES_PER_IDENTITY_MAX {
            return Err(ApiError::too_many(format!(
                "too many watches: at most {WATCHES_PER_IDENTITY_MAX} per user and {WATCHES_MAX} in all"
            )));
        }
        watches.insert(Arc::clone(&identity.user), own + 1);
        Ok(Watching {
            counts: Arc::clone(&self.counts),
            user: Arc::clone(&identity.user),
        })
    }
}

impl Counts {
    fn counter(&self, load: Load) -> (&AtomicUsize, usize) {
        match load {
            Load::Read => (&self.reads, READS_MAX),
            Load::Write => (&self.writes, WRITES_MAX),
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.counts
            .counter(self.load)
            .0
            .fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        let mut watches = self
            .counts
            .watches
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = watches.get_mut(&self.user) {
            *count -= 1;
            if *count == 0 {
                watches.remove(&self.user);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_is_given_back() {
        let limits = Limits::default();
        let me = Identity::named("me");
        let held: Vec<_> = (0..WRITES_MAX)
            .map(|_| limits.enter(Load::Write, &me).expect("below the limit"))
            .collect();
        assert!(limits.enter(Load::Write, &me).is_err());
        assert!(limits.enter(Load::Write, &Identity::system("loop")).is_ok());
        assert!(limits.enter(Load::Read, &me).is_ok());
        drop(held);
        assert!(limits.enter(Load::Write, &me).is_ok());
    }

    #[test]
    fn watches_are_limited_per_identity() {
        let limits = Limits::default();
        let me = Identity::named("me");
        let held: Vec<_> = (0..WATCHES_PER_IDENTITY_MAX)
            .map(|_| limits.watch(&me).expect("below the limit"))
            .collect();
        assert!(limits.watch(&me).is_err());
        assert!(limits.watch(&Identity::named("you")).is_ok());
        drop(held);
        assert!(limits.watch(&me).is_ok());
    }
}
