//! Owns the objects: their bytes, the one rising resourceVersion, durable commits and the recent past.
//!
//! It must not know HTTP, kinds, versions of a kind or who asks. Invariants: an acknowledged write survives SIGKILL and
//! power loss; resourceVersion only rises and is never given twice; a reader sees only what is durable, all of it up to
//! the version it is told; concurrent writes share one sync.
//!
//! A write is staged under a lock, where its precondition is checked against everything staged before it and it gets
//! its resourceVersion; one writer then puts all that is staged on disk in one transaction, publishes it, and answers.

mod backend;
mod commit;
pub(crate) mod crypt;
mod disk;
mod history;
mod key;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};

use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::{Notify, broadcast, watch};

pub(crate) use backend::make_private_directory;
pub use backend::{FORMAT, OpenError, Place};
pub use crypt::KeyError;
pub use disk::MemoryDisk;
pub use history::Expired;
pub use key::Key;

use backend::Backend;
use commit::Staging;
use history::Topic;

/// The largest object: what a client may store under one name.
pub const OBJECT_BYTES_MAX: usize = 1 << 20;

/// All objects together: they are held in memory, so a client must not be able to grow them without end.
pub const LIVE_BYTES_MAX: usize = 512 << 20;

/// Changes that the clean-up loops may lag behind before they look at everything again.
const CHANGES_MAX: usize = 4_096;

/// Namespaces are stored here; writes into one look at it.
const NAMESPACES: &str = "/namespaces";

/// An object as it is stored: immutable once made.
#[derive(Debug)]
pub struct Stored {
    /// The resourceVersion of its last change.
    pub version: u64,
    /// The object as JSON in its storage version, metadata.resourceVersion included.
    pub bytes: Bytes,
    /// What the store's users ask most often, read once.
    pub head: Head,
}

/// The part of metadata that clean-up and preconditions look at.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Head {
    /// The object's uid.
    pub uid: String,
    /// Set when deletion was asked for.
    pub deletion_timestamp: Option<String>,
    /// Who holds the object back from removal.
    pub finalizers: Vec<String>,
    /// Whose dependent it is.
    pub owner_references: Vec<Owner>,
}

/// One entry of `metadata.ownerReferences`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub struct Owner {
    /// Group and version of the owner.
    pub api_version: String,
    /// Kind of the owner.
    pub kind: String,
    /// Name of the owner, in the dependent's namespace or cluster-scoped.
    pub name: String,
    /// The owner's uid: a new object of the same name is not the owner.
    pub uid: String,
    /// Whether the owner's foreground deletion waits for this dependent.
    pub block_owner_deletion: Option<bool>,
}

impl Stored {
    /// The object as a value.
    pub fn value(&self) -> Value {
        serde_json::from_slice(&self.bytes).expect("invariant: stored bytes are JSON")
    }

    fn read(version: u64, bytes: Vec<u8>) -> Result<Self, serde_json::Error> {
        #[derive(Deserialize)]
        struct Object {
            #[serde(default)]
            metadata: Head,
        }
        let object: Object = serde_json::from_slice(&bytes)?;
        Ok(Self {
            version,
            bytes: Bytes::from(bytes),
            head: object.metadata,
        })
    }
}

/// One committed change.
#[derive(Debug)]
pub struct Event {
    /// Which object.
    pub key: Key,
    /// Whether the object is gone; then `object` is its last state with the resourceVersion of the removal.
    pub deleted: bool,
    /// The state that the change made.
    pub object: Arc<Stored>,
    /// The state before; `None` for a creation.
    pub previous: Option<Arc<Stored>>,
}

/// What a write expects to find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// No object of this name.
    Absent,
    /// The object at exactly this resourceVersion.
    Version(u64),
}

/// What a write does. The store fills in `metadata.resourceVersion`.
#[derive(Debug)]
pub enum Effect {
    /// Stores the object.
    Put(Value),
    /// Removes it; the value is the last state that watchers are shown.
    Remove(Value),
}

/// One write.
#[derive(Debug)]
pub struct Write {
    /// Which object.
    pub key: Key,
    /// The precondition.
    pub expect: Expect,
    /// The change.
    pub effect: Effect,
    /// An object that must exist and not be going away for a creation, beside the namespace: the definition of a
    /// custom resource.
    pub under: Option<Key>,
}

/// Why a write did not happen.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// An object of that name exists.
    #[error("exists")]
    Exists,
    /// The object is not there.
    #[error("absent")]
    Absent,
    /// The object has another resourceVersion; it is readable once this one is committed.
    #[error("at another version")]
    Changed {
        /// The resourceVersion to wait for before reading again.
        version: u64,
    },
    /// The namespace of a new object does not exist.
    #[error("no such namespace")]
    NoNamespace,
    /// The namespace of a new object is being deleted.
    #[error("namespace is terminating")]
    NamespaceTerminating,
    /// What the new object is defined by is going away or gone.
    #[error("the definition is terminating")]
    DefinitionTerminating,
    /// The object is over [`OBJECT_BYTES_MAX`].
    #[error("object of {bytes} bytes is over the limit of {OBJECT_BYTES_MAX}")]
    TooLarge {
        /// Its size as JSON.
        bytes: usize,
    },
    /// All objects together are over [`LIVE_BYTES_MAX`].
    #[error("the store is full: all objects together may have {LIVE_BYTES_MAX} bytes; delete some")]
    Full,
    /// The disk failed; the write did not happen.
    #[error("storage: {0}")]
    Failed(String),
    /// The server is stopping.
    #[error("the server is shutting down")]
    Stopped,
}

/// Objects of one resource at one moment, sorted by namespace and name.
pub struct Listing {
    /// The resourceVersion that the list is true at.
    pub version: u64,
    /// The objects.
    pub items: Vec<(Key, Arc<Stored>)>,
}

/// The store. Clones share it.
#[derive(Clone)]
pub struct Store {
    shared: Arc<Shared>,
}

struct Shared {
    state: RwLock<State>,
    staging: Mutex<Staging>,
    work: Notify,
    version: watch::Sender<u64>,
    changes: broadcast::Sender<Arc<Event>>,
    failure: Mutex<Option<String>>,
}

struct State {
    version: u64,
    topics: HashMap<Arc<str>, Topic>,
    opened_at: u64,
    live_bytes: usize,
}

impl Store {
    /// Opens the store and returns it with the writer that commits for it; nothing is written until the writer runs.
    pub fn open(place: Place, key_file: Option<&Path>) -> Result<(Self, Writer), OpenError> {
        let inline = matches!(place, Place::Memory(_));
        let opened = Backend::open(place, key_file)?;
        let mut state = State {
            version: opened.version,
            topics: HashMap::new(),
            opened_at: opened.version,
            live_bytes: 0,
        };
        for (key, version, bytes) in opened.objects {
            let stored = Stored::read(version, bytes)
                .map_err(|error| OpenError::Damaged(format!("{key} is no object: {error}")))?;
            state.live_bytes += stored.bytes.len();
            state
                .topic(&key.resource)
                .objects
                .insert((key.namespace, key.name), Arc::new(stored));
        }
        let shared = Arc::new(Shared {
            staging: Mutex::new(Staging::new(opened.version)),
            version: watch::Sender::new(opened.version),
            state: RwLock::new(state),
            work: Notify::new(),
            changes: broadcast::Sender::new(CHANGES_MAX),
            failure: Mutex::new(None),
        });
        let writer = Writer {
            shared: Arc::clone(&shared),
            backend: opened.backend,
            inline,
        };
        Ok((Self { shared }, writer))
    }

    /// The object of that name, if there is one.
    pub fn get(&self, key: &Key) -> Option<Arc<Stored>> {
        self.shared.read().get(key)
    }

    /// The resourceVersion of the last commit.
    pub fn version(&self) -> u64 {
        self.shared.read().version
    }

    /// The objects of a resource, in one namespace or all, at present or at an earlier resourceVersion.
    pub fn list(
        &self,
        resource: &Arc<str>,
        namespace: Option<&str>,
        at: Option<u64>,
    ) -> Result<Listing, Expired> {
        let state = self.shared.read();
        let at = at.filter(|at| *at < state.version);
        let version = at.unwrap_or(state.version);
        let Some(topic) = state.topics.get(resource) else {
            if version < state.opened_at {
                return Err(Expired {
                    asked: version,
                    oldest: state.opened_at,
                });
            }
            return Ok(Listing {
                version,
                items: Vec::new(),
            });
        };
        let past;
        let objects = match at {
            Some(at) => {
                past = topic.at(at)?;
                &past
            }
            None => &topic.objects,
        };
        let items = objects
            .iter()
            .filter(|((place, _), _)| namespace.is_none_or(|wanted| wanted == place))
            .map(|((place, name), stored)| (Key::new(resource, place, name), Arc::clone(stored)))
            .collect();
        Ok(Listing { version, items })
    }

    /// How many objects a resource has.
    pub fn count(&self, resource: &Arc<str>) -> usize {
        let state = self.shared.read();
        state.topics.get(resource).map_or(0, |t| t.objects.len())
    }

    /// Up to `limit` changes of a resource after `version`, with the resourceVersion up to which that is everything.
    pub fn changes_after(
        &self,
        resource: &Arc<str>,
        version: u64,
        limit: usize,
    ) -> Result<(Vec<Arc<Event>>, u64), Expired> {
        let state = self.shared.read();
        let Some(topic) = state.topics.get(resource) else {
            if version < state.opened_at {
                return Err(Expired {
                    asked: version,
                    oldest: state.opened_at,
                });
            }
            return Ok((Vec::new(), state.version.max(version)));
        };
        let events = topic.after(version, limit)?;
        let through = match events.last() {
            Some(last) if events.len() == limit => last.object.version,
            _ => state.version.max(version),
        };
        Ok((events, through))
    }

    /// Wakes when a resource changes.
    pub fn subscribe(&self, resource: &Arc<str>) -> watch::Receiver<u64> {
        let mut state = self
            .shared
            .state
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        state.topic(resource).subscribe()
    }

    /// Every change of every resource, for the clean-up loops; one that lags more than a fixed number is told so.
    pub fn all_changes(&self) -> broadcast::Receiver<Arc<Event>> {
        self.shared.changes.subscribe()
    }

    /// Every object of every resource.
    pub fn everything(&self) -> Vec<(Key, Arc<Stored>)> {
        let state = self.shared.read();
        let mut all = Vec::new();
        for (resource, topic) in &state.topics {
            for ((namespace, name), stored) in &topic.objects {
                all.push((Key::new(resource, namespace, name), Arc::clone(stored)));
            }
        }
        all
    }

    /// Waits until `version` is committed, or its write failed.
    pub async fn reached(&self, version: u64) {
        let mut committed = self.shared.version.subscribe();
        // The sender lives as long as the store, so this cannot fail while anybody waits.
        let _closed = committed.wait_for(|at| *at >= version).await;
    }

    /// What the disk said last, when writes fail at present.
    pub fn failure(&self) -> Option<String> {
        self.shared
            .failure
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// Commits what is staged. Runs in one task until [`Store::stop`].
pub struct Writer {
    shared: Arc<Shared>,
    backend: Backend,
    /// Whether a commit may run on the reactor: a disk in memory never blocks.
    inline: bool,
}

impl State {
    fn topic(&mut self, resource: &Arc<str>) -> &mut Topic {
        let opened_at = self.opened_at;
        self.topics
            .entry(Arc::clone(resource))
            .or_insert_with(|| Topic::new(opened_at))
    }

    fn get(&self, key: &Key) -> Option<Arc<Stored>> {
        let topic = self.topics.get(&key.resource)?;
        topic
            .objects
            .get(&(key.namespace.clone(), key.name.clone()))
            .cloned()
    }
}

impl Shared {
    fn read(&self) -> RwLockReadGuard<'_, State> {
        // A panic while the lock is held for writing would leave no half-made change: see `Writer::publish`.
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn stage(&self) -> MutexGuard<'_, Staging> {
        self.staging.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
