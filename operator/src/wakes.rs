//! Which objects are to be looked at, and when.
//!
//! Owns the waiting lines: one [`Queue`] per kind, and [`Wakes`], by which watches, Engines and proxies put objects
//! into them. It must not know why an object was woken: facts are always read. Invariants: an object is in a line at
//! most once and never runs twice at a time; a wake-up during its pass leads to one more.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use tokio::sync::Notify;

/// Names an object of a kind.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey {
    /// Its namespace, if the kind has one.
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "{namespace}/{}", self.name),
            None => f.write_str(&self.name),
        }
    }
}

/// The waiting line of one kind. Its length is bounded by the number of objects. Cloning shares it.
#[derive(Clone, Default)]
pub struct Queue {
    state: Arc<Mutex<State>>,
    changed: Arc<Notify>,
}

#[derive(Default)]
struct State {
    /// Every object that exists, as far as was heard.
    known: BTreeSet<ObjectKey>,
    /// To be looked at now, first come first served.
    ready: VecDeque<ObjectKey>,
    /// The same, for finding.
    queued: BTreeSet<ObjectKey>,
    running: BTreeSet<ObjectKey>,
    /// Woken while running.
    again: BTreeSet<ObjectKey>,
    /// To be looked at later.
    timers: BTreeSet<(Timestamp, ObjectKey)>,
    times: BTreeMap<ObjectKey, Timestamp>,
}

impl State {
    fn push(&mut self, key: &ObjectKey) {
        if self.running.contains(key) {
            self.again.insert(key.clone());
        } else if self.queued.insert(key.clone()) {
            self.ready.push_back(key.clone());
        }
    }

    fn disarm(&mut self, key: &ObjectKey) {
        if let Some(at) = self.times.remove(key) {
            self.timers.remove(&(at, key.clone()));
        }
    }
}

impl Queue {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at an object soon, whether it is known or not. True: it was not known.
    pub(crate) fn wake(&self, key: &ObjectKey) -> bool {
        let new = {
            let mut state = self.state();
            state.push(key);
            state.known.insert(key.clone())
        };
        self.changed.notify_one();
        new
    }

    /// Looks at every known object that `wanted` picks.
    pub fn wake_those(&self, wanted: impl Fn(&ObjectKey) -> bool) {
        {
            let mut state = self.state();
            let keys: Vec<ObjectKey> = state
                .known
                .iter()
                .filter(|key| wanted(key))
                .cloned()
                .collect();
            for key in keys {
                state.push(&key);
            }
        }
        self.changed.notify_one();
    }

    /// The known objects.
    pub fn known(&self) -> Vec<ObjectKey> {
        self.state().known.iter().cloned().collect()
    }

    /// Objects in the line.
    pub fn len(&self) -> usize {
        self.state().ready.len()
    }

    /// Whether the line is empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The next object to be looked at, now running.
    pub(crate) fn take(&self, now: Timestamp) -> Option<ObjectKey> {
        let mut state = self.state();
        while state.timers.first().is_some_and(|(at, _)| *at <= now) {
            if let Some((_, key)) = state.timers.pop_first() {
                state.times.remove(&key);
                state.push(&key);
            }
        }
        let key = state.ready.pop_front()?;
        state.queued.remove(&key);
        state.disarm(&key);
        state.running.insert(key.clone());
        Some(key)
    }

    /// When the next timer is due.
    pub(crate) fn next_timer(&self) -> Option<Timestamp> {
        self.state().timers.first().map(|(at, _)| *at)
    }

    /// The pass over an object is over; look again at `at`, or at once if it was woken meanwhile.
    pub(crate) fn done(&self, key: &ObjectKey, at: Timestamp) {
        let mut state = self.state();
        state.running.remove(key);
        if state.again.remove(key) {
            state.push(key);
        } else {
            state.disarm(key);
            state.times.insert(key.clone(), at);
            state.timers.insert((at, key.clone()));
        }
    }

    /// The object does not exist; one that was woken meanwhile may exist again.
    pub(crate) fn gone(&self, key: &ObjectKey) {
        let mut state = self.state();
        state.running.remove(key);
        if state.again.remove(key) {
            state.push(key);
        } else {
            state.disarm(key);
            state.known.remove(key);
        }
    }

    /// Ends when something may have been put into the line since the last call.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }
}

/// The lines of all kinds. Cloning shares them.
#[derive(Clone, Default)]
pub struct Wakes {
    /// DockerHosts.
    pub(crate) hosts: Queue,
    /// DeploymentPipelines.
    pub(crate) pipelines: Queue,
}

impl Wakes {
    /// Looks at the pipeline or, without a namespace, the DockerHost of this name.
    pub fn wake(&self, key: &ObjectKey) {
        if key.namespace.is_some() {
            self.pipelines.wake(key);
        } else {
            self.hosts.wake(key);
        }
    }

    /// Looks at a DockerHost.
    pub fn host(&self, name: &str) {
        self.hosts.wake(&ObjectKey {
            namespace: None,
            name: name.to_owned(),
        });
    }

    /// Looks at every DockerHost.
    pub fn all_hosts(&self) {
        self.hosts.wake_those(|_| true);
    }

    /// Looks at a pipeline. True: nothing was known of it.
    pub fn pipeline(&self, namespace: &str, name: &str) -> bool {
        self.pipelines.wake(&ObjectKey {
            namespace: Some(namespace.to_owned()),
            name: name.to_owned(),
        })
    }

    /// Looks at every pipeline of a namespace.
    pub fn pipelines_in(&self, namespace: &str) {
        self.pipelines
            .wake_those(|key| key.namespace.as_deref() == Some(namespace));
    }

    /// Looks at every pipeline.
    pub fn all_pipelines(&self) {
        self.pipelines.wake_those(|_| true);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> ObjectKey {
        ObjectKey {
            namespace: None,
            name: name.to_owned(),
        }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a time")
    }

    #[test]
    fn an_object_waits_once_and_runs_once() {
        let queue = Queue::default();
        assert!(queue.wake(&key("a")));
        assert!(!queue.wake(&key("a")));
        queue.wake(&key("b"));
        assert_eq!(queue.len(), 2);
        assert_eq!(queue.take(at(0)), Some(key("a")));
        queue.wake(&key("a"));
        assert_eq!(queue.take(at(0)), Some(key("b")));
        assert_eq!(queue.take(at(0)), None, "a runs already");
        queue.done(&key("a"), at(100));
        assert_eq!(queue.take(at(0)), Some(key("a")), "it was woken meanwhile");
        queue.done(&key("a"), at(100));
        assert_eq!(queue.take(at(99)), None);
        assert_eq!(queue.next_timer(), Some(at(100)));
        assert_eq!(queue.take(at(100)), Some(key("a")));
        queue.gone(&key("a"));
        queue.done(&key("b"), at(7));
        assert_eq!(queue.known(), [key("b")]);
        queue.wake_those(|_| true);
        assert_eq!(queue.take(at(0)), Some(key("b")));
        assert_eq!(queue.next_timer(), None, "what runs has no timer");
    }
}
