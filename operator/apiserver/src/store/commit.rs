//! Owns the way of a write: staging with its precondition, the group commit, publication and the answer.
//!
//! It must not know the database's tables or what objects mean. Invariants: preconditions see every write staged
//! before; nothing is published before it is durable; a failed batch takes everything staged after it along, because
//! that may have been judged by it.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError};

use serde_json::Value;
use tokio::sync::oneshot;

use super::backend::{Backend, Row};
use super::{
    Effect, Event, Expect, Key, LIVE_BYTES_MAX, NAMESPACES, OBJECT_BYTES_MAX, Shared, State, Store,
    StoreError, Stored, Write, Writer,
};

/// Writes that may wait for the disk. Requests in flight are limited below this, so only a fault of ours reaches it.
const STAGED_MAX: usize = 4_096;

/// Writes that share one transaction: enough for every writer in flight, few enough to bound its memory.
const BATCH_MAX: usize = 256;

/// Writes that have a resourceVersion and are not durable.
pub(super) struct Staging {
    last_version: u64,
    queue: Vec<Staged>,
    /// The newest staged state of each object; `None` when it is staged to go.
    overlay: HashMap<Key, Option<Arc<Stored>>>,
    stopped: bool,
}

struct Staged {
    event: Event,
    answer: oneshot::Sender<Result<Arc<Stored>, StoreError>>,
}

impl Staging {
    pub(super) fn new(version: u64) -> Self {
        Self {
            last_version: version,
            queue: Vec::new(),
            overlay: HashMap::new(),
            stopped: false,
        }
    }

    fn latest(&self, state: &State, key: &Key) -> Option<Arc<Stored>> {
        match self.overlay.get(key) {
            Some(staged) => staged.clone(),
            None => state.get(key),
        }
    }

    fn check_namespace(&self, state: &State, key: &Key) -> Result<(), StoreError> {
        if key.namespace.is_empty() {
            return Ok(());
        }
        let namespace = Key::new(&Arc::from(NAMESPACES), "", &key.namespace);
        match self.latest(state, &namespace) {
            None => Err(StoreError::NoNamespace),
            Some(found) if found.head.deletion_timestamp.is_some() => {
                Err(StoreError::NamespaceTerminating)
            }
            Some(_) => Ok(()),
        }
    }

    fn check_definition(&self, state: &State, under: Option<&Key>) -> Result<(), StoreError> {
        let alive = under.is_none_or(|key| {
            self.latest(state, key)
                .is_some_and(|found| found.head.deletion_timestamp.is_none())
        });
        if alive {
            Ok(())
        } else {
            Err(StoreError::DefinitionTerminating)
        }
    }

    /// Checks the preconditions of a write against everything staged; answers the state that it replaces.
    fn judge(&self, state: &State, write: &Write) -> Result<Option<Arc<Stored>>, StoreError> {
        let previous = self.latest(state, &write.key);
        match (write.expect, &previous) {
            (Expect::Absent, None) => {
                self.check_namespace(state, &write.key)?;
                self.check_definition(state, write.under.as_ref())?;
            }
            (Expect::Absent, Some(_)) => return Err(StoreError::Exists),
            (Expect::Version(_), None) => return Err(StoreError::Absent),
            (Expect::Version(wanted), Some(found)) if found.version != wanted => {
                return Err(StoreError::Changed {
                    version: found.version,
                });
            }
            (Expect::Version(_), Some(_)) => {}
        }
        Ok(previous)
    }

    fn admit(
        &mut self,
        state: &State,
        write: Write,
        answer: oneshot::Sender<Result<Arc<Stored>, StoreError>>,
    ) -> Result<(), StoreError> {
        if self.stopped {
            return Err(StoreError::Stopped);
        }
        if self.queue.len() >= STAGED_MAX {
            return Err(StoreError::Failed("too many writes are waiting".to_owned()));
        }
        let previous = self.judge(state, &write)?;
        let version = self.last_version + 1;
        let (deleted, value) = match write.effect {
            Effect::Put(value) => (false, value),
            Effect::Remove(value) => (true, value),
        };
        let object = Arc::new(encode(value, version)?);
        let before = previous.as_ref().map_or(0, |stored| stored.bytes.len());
        if !deleted && object.bytes.len() > before {
            if object.bytes.len() > OBJECT_BYTES_MAX {
                return Err(StoreError::TooLarge {
                    bytes: object.bytes.len(),
                });
            }
            if state.live_bytes + object.bytes.len() - before > LIVE_BYTES_MAX {
                return Err(StoreError::Full);
            }
        }
        self.last_version = version;
        self.overlay
            .insert(write.key.clone(), (!deleted).then(|| Arc::clone(&object)));
        self.queue.push(Staged {
            event: Event {
                key: write.key,
                deleted,
                object,
                previous,
            },
            answer,
        });
        Ok(())
    }
}

impl Store {
    /// Commits one write and returns the object with its new resourceVersion.
    ///
    /// When the future is dropped the write may or may not happen, as with a request whose answer was lost.
    pub async fn commit(&self, write: Write) -> Result<Arc<Stored>, StoreError> {
        let (answer, committed) = oneshot::channel();
        {
            let mut staging = self.shared.stage();
            let state = self.shared.read();
            staging.admit(&state, write, answer)?;
        }
        self.shared.work.notify_one();
        committed.await.unwrap_or(Err(StoreError::Stopped))
    }

    /// Whether a write would be taken at this moment, for a dry run.
    pub fn check(&self, write: &Write) -> Result<(), StoreError> {
        let staging = self.shared.stage();
        let state = self.shared.read();
        staging.judge(&state, write).map(|_previous| ())
    }

    /// Refuses new writes and lets the writer end once everything staged is on disk.
    pub fn stop(&self) {
        self.shared.stage().stopped = true;
        self.shared.work.notify_one();
    }
}

impl Writer {
    /// Commits batches until the store is stopped; then closes the database.
    pub async fn run(mut self) {
        loop {
            let (batch, stopped) = self.take();
            if batch.is_empty() {
                if stopped {
                    return;
                }
                self.shared.work.notified().await;
                continue;
            }
            let rows = batch.iter().map(row).collect::<Vec<_>>();
            let (backend, result) = if self.inline {
                let mut backend = self.backend;
                let result = backend.commit(&rows);
                (Some(backend), result)
            } else {
                persist_aside(self.backend, rows).await
            };
            let Some(backend) = backend else {
                fail(&self.shared, batch, StoreError::Stopped);
                return;
            };
            self.backend = backend;
            match result {
                Ok(()) => publish(&self.shared, batch),
                Err(error) => fail(&self.shared, batch, error),
            }
        }
    }

    fn take(&self) -> (Vec<Staged>, bool) {
        let mut staging = self.shared.stage();
        let count = staging.queue.len().min(BATCH_MAX);
        let batch = staging.queue.drain(..count).collect();
        (batch, staging.stopped)
    }
}

/// A commit waits for the disk, so it runs where blocking is allowed. The backend is lost only if that panics.
async fn persist_aside(
    mut backend: Backend,
    rows: Vec<Row>,
) -> (Option<Backend>, Result<(), StoreError>) {
    let task = tokio::task::spawn_blocking(move || {
        let result = backend.commit(&rows);
        (backend, result)
    });
    match task.await {
        Ok((backend, result)) => (Some(backend), result),
        Err(_ended) => (None, Err(StoreError::Stopped)),
    }
}

fn row(staged: &Staged) -> Row {
    Row {
        key: staged.event.key.clone(),
        version: staged.event.object.version,
        body: (!staged.event.deleted).then(|| Arc::clone(&staged.event.object)),
    }
}

/// Makes a durable batch visible, in order, to readers, watchers and those who wait for an answer.
fn publish(shared: &Shared, batch: Vec<Staged>) {
    let mut answers = Vec::with_capacity(batch.len());
    let mut events = Vec::with_capacity(batch.len());
    let mut last = 0;
    {
        let mut staging = shared.stage();
        let mut state = shared.state.write().unwrap_or_else(PoisonError::into_inner);
        for staged in batch {
            let event = Arc::new(staged.event);
            last = event.object.version;
            if staging
                .overlay
                .get(&event.key)
                .is_some_and(|newest| is_this(newest.as_ref(), &event))
            {
                staging.overlay.remove(&event.key);
            }
            let after = if event.deleted {
                0
            } else {
                event.object.bytes.len()
            };
            let before = event.previous.as_ref().map_or(0, |old| old.bytes.len());
            state.live_bytes = (state.live_bytes + after).saturating_sub(before);
            state.topic(&event.key.resource).push(Arc::clone(&event));
            answers.push((staged.answer, Arc::clone(&event.object)));
            events.push(event);
        }
        state.version = last;
        for event in &events {
            state.topic(&event.key.resource).announce(last);
        }
    }
    *shared
        .failure
        .lock()
        .unwrap_or_else(PoisonError::into_inner) = None;
    for (answer, object) in answers {
        // Whoever asked may have gone; the write stands.
        let _gone = answer.send(Ok(object));
    }
    for event in events {
        // Without a clean-up loop, as in tests of the store alone, nobody listens.
        let _nobody = shared.changes.send(event);
    }
    shared.version.send_replace(last);
}

/// Whether the newest staged state of an object is the one that this event made.
fn is_this(newest: Option<&Arc<Stored>>, event: &Event) -> bool {
    match newest {
        Some(stored) => Arc::ptr_eq(stored, &event.object),
        None => event.deleted,
    }
}

/// Answers a batch that is not on disk, and everything that was staged on top of it.
fn fail(shared: &Shared, batch: Vec<Staged>, error: StoreError) {
    let later = {
        let mut staging = shared.stage();
        staging.overlay.clear();
        std::mem::take(&mut staging.queue)
    };
    *shared
        .failure
        .lock()
        .unwrap_or_else(PoisonError::into_inner) = Some(error.to_string());
    let last = later
        .last()
        .or(batch.last())
        .map(|s| s.event.object.version);
    for staged in batch.into_iter().chain(later) {
        let _gone = staged.answer.send(Err(error.clone()));
    }
    if let Some(last) = last {
        // Nobody may go on waiting for a version that will never be.
        shared.version.send_replace(last);
    }
}

fn encode(mut value: Value, version: u64) -> Result<Stored, StoreError> {
    if let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.insert(
            "resourceVersion".to_owned(),
            Value::String(version.to_string()),
        );
    }
    let bytes =
        serde_json::to_vec(&value).map_err(|error| StoreError::Failed(error.to_string()))?;
    Stored::read(version, bytes).map_err(|error| StoreError::Failed(error.to_string()))
}
