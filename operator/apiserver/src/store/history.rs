//! Owns, for one resource, its objects and the last changes of them.
//!
//! It must not know about HTTP, selectors or versions of a kind. Invariants: changes are kept in the order of their
//! resourceVersion without a gap from `complete_after` on; what is older is answered with [`Expired`], never with less
//! than the truth.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use tokio::sync::watch;

use super::{Event, Stored};

/// Changes kept per resource: a client that lost its watch for minutes still resumes, and an idle server stays small.
pub const HISTORY_EVENTS_MAX: usize = 2_048;

/// Bytes of objects kept per resource for the same purpose.
pub const HISTORY_BYTES_MAX: usize = 16 << 20;

/// The resourceVersion asked for is older than what is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too old resource version: {asked} ({oldest})")]
pub struct Expired {
    /// What was asked for.
    pub asked: u64,
    /// The oldest that can be answered.
    pub oldest: u64,
}

/// Namespace and name inside one resource.
pub(super) type Name = (String, String);

/// The objects of one resource and their recent past.
pub(super) struct Topic {
    pub objects: BTreeMap<Name, Arc<Stored>>,
    history: VecDeque<Arc<Event>>,
    history_bytes: usize,
    complete_after: u64,
    changed: watch::Sender<u64>,
}

impl Topic {
    /// A resource without objects whose past is known from `version` on.
    pub(super) fn new(version: u64) -> Self {
        Self {
            objects: BTreeMap::new(),
            history: VecDeque::new(),
            history_bytes: 0,
            complete_after: version,
            changed: watch::Sender::new(version),
        }
    }

    /// Wakes with the resourceVersion of the last change.
    pub(super) fn subscribe(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Takes one change in.
    pub(super) fn push(&mut self, event: Arc<Event>) {
        let name = (event.key.namespace.clone(), event.key.name.clone());
        if event.deleted {
            self.objects.remove(&name);
        } else {
            self.objects.insert(name, Arc::clone(&event.object));
        }
        self.history_bytes += weight(&event);
        self.history.push_back(event);
        while self.history.len() > HISTORY_EVENTS_MAX || self.history_bytes > HISTORY_BYTES_MAX {
            let Some(oldest) = self.history.pop_front() else {
                break;
            };
            self.history_bytes -= weight(&oldest);
            self.complete_after = oldest.object.version;
        }
    }

    /// Tells the watchers; called once per batch.
    pub(super) fn announce(&self, version: u64) {
        self.changed.send_replace(version);
    }

    /// Up to `limit` changes after `version`, oldest first.
    pub(super) fn after(&self, version: u64, limit: usize) -> Result<Vec<Arc<Event>>, Expired> {
        self.check(version)?;
        let start = self
            .history
            .partition_point(|event| event.object.version <= version);
        Ok(self.history.range(start..).take(limit).cloned().collect())
    }

    /// The objects as they were at `version`.
    pub(super) fn at(&self, version: u64) -> Result<BTreeMap<Name, Arc<Stored>>, Expired> {
        self.check(version)?;
        let mut objects = self.objects.clone();
        for event in self.history.iter().rev() {
            if event.object.version <= version {
                break;
            }
            let name = (event.key.namespace.clone(), event.key.name.clone());
            match &event.previous {
                Some(previous) => objects.insert(name, Arc::clone(previous)),
                None => objects.remove(&name),
            };
        }
        Ok(objects)
    }

    fn check(&self, version: u64) -> Result<(), Expired> {
        if version < self.complete_after {
            return Err(Expired {
                asked: version,
                oldest: self.complete_after,
            });
        }
        Ok(())
    }
}

/// The previous state is usually shared with the change before, so only the new one counts.
fn weight(event: &Event) -> usize {
    event.object.bytes.len()
}
