//! Owns the collection of objects whose owners are gone, by `metadata.ownerReferences`.
//!
//! It must not know kinds. Invariants: an object is deleted only when each of its owners is known to be absent, by uid,
//! or waits for its dependents; an owner of a kind that is not served here is not known to be absent; an owner that is
//! deleted in the foreground goes after its blocking dependents, one that orphans after they have forgotten it.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use serde_json::{Value, json};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};

use crate::error::ApiError;
use crate::handlers::{self, FOREGROUND, ORPHAN};
use crate::hub::Hub;
use crate::object;
use crate::query::{DeleteOptions, Propagation};
use crate::registry::Catalog;
use crate::store::{Event, Key, Owner, Stored};

/// Who the audit log names for what this loop does.
const ACTOR: &str = "garbage-collector";

/// After a failed write an object is looked at again so much later.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Who depends on whom.
#[derive(Default)]
struct Graph {
    /// Owner's uid to the dependents.
    dependents: HashMap<String, BTreeSet<Key>>,
    /// Dependent to the uids of its owners, to take it out again.
    owners: HashMap<Key, Vec<String>>,
}

impl Graph {
    fn put(&mut self, key: &Key, owners: &[Owner]) {
        self.remove(key);
        if owners.is_empty() {
            return;
        }
        for owner in owners {
            let dependents = self.dependents.entry(owner.uid.clone()).or_default();
            dependents.insert(key.clone());
        }
        let uids = owners.iter().map(|owner| owner.uid.clone()).collect();
        self.owners.insert(key.clone(), uids);
    }

    fn remove(&mut self, key: &Key) {
        for uid in self.owners.remove(key).unwrap_or_default() {
            if let Some(dependents) = self.dependents.get_mut(&uid) {
                dependents.remove(key);
                if dependents.is_empty() {
                    self.dependents.remove(&uid);
                }
            }
        }
    }

    fn dependents(&self, uid: &str) -> Vec<Key> {
        let found = self.dependents.get(uid);
        found.into_iter().flatten().cloned().collect()
    }
}

/// The loop's state.
struct Collector {
    hub: Arc<Hub>,
    graph: Graph,
    due: VecDeque<Key>,
    queued: BTreeSet<Key>,
    failed: BTreeSet<Key>,
}

/// Collects garbage. Runs until the server stops.
pub async fn collect(hub: Arc<Hub>) {
    let mut changes = hub.store.all_changes();
    let mut collector = Collector {
        hub,
        graph: Graph::default(),
        due: VecDeque::new(),
        queued: BTreeSet::new(),
        failed: BTreeSet::new(),
    };
    collector.look_at_everything();
    loop {
        while let Some(key) = collector.due.pop_front() {
            collector.queued.remove(&key);
            if collector.visit(&key).await.is_err() {
                collector.failed.insert(key);
            }
            if !collector.catch_up(&mut changes) {
                return;
            }
        }
        if !collector.wait(&mut changes).await {
            return;
        }
    }
}

impl Collector {
    fn look_at_everything(&mut self) {
        self.graph = Graph::default();
        for (key, stored) in self.hub.store.everything() {
            self.graph.put(&key, &stored.head.owner_references);
            self.judge_due(&key, &stored);
        }
    }

    fn queue(&mut self, key: Key) {
        if self.queued.insert(key.clone()) {
            self.due.push_back(key);
        }
    }

    fn judge_due(&mut self, key: &Key, stored: &Stored) {
        if !stored.head.owner_references.is_empty() || propagation(stored).is_some() {
            self.queue(key.clone());
        }
    }

    fn note(&mut self, event: &Event) {
        let head = &event.object.head;
        if event.deleted {
            self.graph.remove(&event.key);
            for dependent in self.graph.dependents(&head.uid) {
                self.queue(dependent);
            }
        } else {
            self.graph.put(&event.key, &head.owner_references);
            self.judge_due(&event.key, &event.object);
        }
        // An owner that waits for this object may be able to go on, whether it is gone or has only forgotten its owner.
        let before = event
            .previous
            .as_ref()
            .map(|old| old.head.owner_references.as_slice());
        for owner in head
            .owner_references
            .iter()
            .chain(before.unwrap_or_default())
        {
            if let Some(key) = owner_key(&self.hub.registry.catalog(), &event.key, owner) {
                let waits = self.hub.store.get(&key);
                if waits.is_some_and(|found| propagation(&found).is_some()) {
                    self.queue(key);
                }
            }
        }
    }

    /// Takes in the changes that have already happened; false when the store is gone.
    fn catch_up(&mut self, changes: &mut Receiver<Arc<Event>>) -> bool {
        loop {
            match changes.try_recv() {
                Ok(event) => self.note(&event),
                Err(TryRecvError::Empty) => return true,
                Err(TryRecvError::Lagged(_)) => self.look_at_everything(),
                Err(TryRecvError::Closed) => return false,
            }
        }
    }

    async fn wait(&mut self, changes: &mut Receiver<Arc<Event>>) -> bool {
        let received = if self.failed.is_empty() {
            changes.recv().await
        } else {
            match tokio::time::timeout(RETRY_AFTER, changes.recv()).await {
                Ok(received) => received,
                Err(_elapsed) => {
                    for key in std::mem::take(&mut self.failed) {
                        self.queue(key);
                    }
                    return true;
                }
            }
        };
        match received {
            Ok(event) => self.note(&event),
            Err(RecvError::Lagged(_)) => self.look_at_everything(),
            Err(RecvError::Closed) => return false,
        }
        true
    }

    async fn visit(&mut self, key: &Key) -> Result<(), ApiError> {
        let Some(stored) = self.hub.store.get(key) else {
            return Ok(());
        };
        match propagation(&stored) {
            Some(Propagation::Orphan) => self.orphan(key, &stored).await,
            Some(Propagation::Foreground) => self.finish_foreground(key, &stored).await,
            Some(Propagation::Background) | None if stored.head.owner_references.is_empty() => {
                Ok(())
            }
            Some(Propagation::Background) | None => self.judge(key, &stored).await,
        }
    }

    /// The dependents forget the owner; then it may go.
    async fn orphan(&mut self, key: &Key, stored: &Stored) -> Result<(), ApiError> {
        for dependent in self.graph.dependents(&stored.head.uid) {
            let uids = BTreeSet::from([stored.head.uid.clone()]);
            self.forget(&dependent, &uids).await?;
        }
        self.release(key, stored, ORPHAN).await
    }

    /// The dependents go; when none that blocks is left, the owner may go.
    async fn finish_foreground(&mut self, key: &Key, stored: &Stored) -> Result<(), ApiError> {
        let uid = &stored.head.uid;
        let mut blocked = false;
        for dependent in self.graph.dependents(uid) {
            let Some(found) = self.hub.store.get(&dependent) else {
                continue;
            };
            let mut owners = found.head.owner_references.iter();
            blocked |=
                owners.any(|owner| owner.uid == *uid && owner.block_owner_deletion == Some(true));
            if found.head.deletion_timestamp.is_none() {
                self.queue(dependent);
            }
        }
        if blocked {
            return Ok(());
        }
        self.release(key, stored, FOREGROUND).await
    }

    /// Deletes a dependent none of whose owners is there to stay, and lets one with a remaining owner forget the others.
    async fn judge(&mut self, key: &Key, stored: &Stored) -> Result<(), ApiError> {
        let catalog = self.hub.registry.catalog();
        let mut absent = BTreeSet::new();
        let mut waiting = BTreeSet::new();
        let mut solid = false;
        for owner in &stored.head.owner_references {
            match self.state_of(&catalog, key, owner) {
                OwnerState::Solid => solid = true,
                OwnerState::Absent => {
                    absent.insert(owner.uid.clone());
                }
                OwnerState::Waiting => {
                    waiting.insert(owner.uid.clone());
                }
            }
        }
        if solid {
            absent.append(&mut waiting);
            if absent.is_empty() {
                return Ok(());
            }
            return self.forget(key, &absent).await;
        }
        if stored.head.deletion_timestamp.is_some() {
            return Ok(());
        }
        let has_dependents = !self.graph.dependents(&stored.head.uid).is_empty();
        let propagation = if !waiting.is_empty() && has_dependents {
            Some(Propagation::Foreground)
        } else {
            None
        };
        let options = DeleteOptions {
            propagation,
            uid: Some(stored.head.uid.clone()),
            version: Some(stored.version.to_string()),
            ..DeleteOptions::default()
        };
        let Some(served) = catalog.storages().get(&key.resource).cloned() else {
            return Ok(());
        };
        match handlers::remove_for(&self.hub, ACTOR, &served, key, &options).await {
            Ok(_) => Ok(()),
            // It is gone, or it changed and its change brings it here again.
            Err(error) if matches!(error.code(), StatusCode::NOT_FOUND | StatusCode::CONFLICT) => {
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    fn state_of(&self, catalog: &Catalog, dependent: &Key, owner: &Owner) -> OwnerState {
        if catalog.find_kind(&owner.api_version, &owner.kind).is_none() {
            return OwnerState::Solid;
        }
        let Some(key) = owner_key(catalog, dependent, owner) else {
            return OwnerState::Solid;
        };
        match self.hub.store.get(&key) {
            Some(found) if found.head.uid == owner.uid => match propagation(&found) {
                Some(Propagation::Foreground) => OwnerState::Waiting,
                Some(Propagation::Orphan | Propagation::Background) | None => OwnerState::Solid,
            },
            Some(_) | None => OwnerState::Absent,
        }
    }

    async fn forget(&self, key: &Key, uids: &BTreeSet<String>) -> Result<(), ApiError> {
        let storages = self.hub.registry.catalog().storages();
        let (Some(served), Some(found)) = (storages.get(&key.resource), self.hub.store.get(key))
        else {
            return Ok(());
        };
        let uid = &found.head.uid;
        handlers::edit_for(&self.hub, ACTOR, served, key, uid, |dependent| {
            let references = dependent
                .pointer("/metadata/ownerReferences")
                .and_then(Value::as_array);
            let kept: Vec<Value> = references
                .into_iter()
                .flatten()
                .filter(|reference| {
                    let uid = reference
                        .get("uid")
                        .and_then(Value::as_str)
                        .unwrap_or_default();
                    !uids.contains(uid)
                })
                .cloned()
                .collect();
            let value = if kept.is_empty() {
                Value::Null
            } else {
                json!(kept)
            };
            object::set_meta(dependent, "ownerReferences", value);
        })
        .await
    }

    async fn release(&self, key: &Key, stored: &Stored, finalizer: &str) -> Result<(), ApiError> {
        let storages = self.hub.registry.catalog().storages();
        let Some(served) = storages.get(&key.resource) else {
            return Ok(());
        };
        handlers::edit_for(&self.hub, ACTOR, served, key, &stored.head.uid, |owner| {
            object::remove_finalizer(owner, finalizer);
        })
        .await
    }
}

/// What an owner is to its dependent.
enum OwnerState {
    /// It is there to stay, or cannot be judged here.
    Solid,
    /// It does not exist.
    Absent,
    /// It is being deleted and waits for its dependents.
    Waiting,
}

/// How a terminating object wants its dependents dealt with.
fn propagation(stored: &Stored) -> Option<Propagation> {
    stored.head.deletion_timestamp.as_ref()?;
    let has = |finalizer: &str| {
        stored
            .head
            .finalizers
            .iter()
            .any(|known| known == finalizer)
    };
    if has(ORPHAN) {
        Some(Propagation::Orphan)
    } else if has(FOREGROUND) {
        Some(Propagation::Foreground)
    } else {
        None
    }
}

/// Where an owner would be: in the dependent's namespace or cluster-scoped. `None` when its kind is not served, or
/// is namespaced while the dependent is not, which cannot be resolved.
fn owner_key(catalog: &Catalog, dependent: &Key, owner: &Owner) -> Option<Key> {
    let served = catalog.find_kind(&owner.api_version, &owner.kind)?;
    let namespace = if served.resource.namespaced {
        if dependent.namespace.is_empty() {
            return None;
        }
        dependent.namespace.as_str()
    } else {
        ""
    };
    Some(Key::new(&served.storage, namespace, &owner.name))
}
