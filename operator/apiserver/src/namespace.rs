//! Owns the life of namespaces: those that exist from the start, what each is given, and its end with all its content.
//!
//! It must not know what is in them. Invariants: nothing new gets into a terminating namespace; a namespace is removed
//! only when nothing is left in it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use serde_json::{Value, json};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};

use crate::error::ApiError;
use crate::handlers;
use crate::hub::Hub;
use crate::object;
use crate::query::DeleteOptions;
use crate::store::{Event, Key, Stored};

/// Where namespaces are stored.
const NAMESPACES: &str = "/namespaces";

/// Where service accounts are stored.
const SERVICE_ACCOUNTS: &str = "/serviceaccounts";

/// Namespaces that exist from the start, as in Kubernetes.
const INITIAL: &[&str] = &["default", "kube-system", "kube-public", "kube-node-lease"];

/// Who the audit log names for what this loop does.
const ACTOR: &str = "namespace-controller";

/// After a failed write the loop tries again so much later.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Creates the namespaces that must exist.
pub async fn create_initial(hub: &Arc<Hub>) -> Result<(), ApiError> {
    for name in INITIAL {
        let key = Key::new(&Arc::from(NAMESPACES), "", name);
        if hub.store.get(&key).is_none() {
            let namespace =
                json!({"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": name}});
            handlers::create_for(hub, ACTOR, "namespaces", None, &namespace).await?;
        }
    }
    Ok(())
}

/// Gives each namespace its service account and finishes deletions. Runs until the server stops.
pub async fn tend(hub: Arc<Hub>) {
    let mut changes = hub.store.all_changes();
    let mut due = all(&hub);
    loop {
        let mut again = BTreeSet::new();
        for name in std::mem::take(&mut due) {
            if visit(&hub, &name).await.is_err() {
                again.insert(name);
            }
        }
        let wait = next(&hub, &mut changes);
        let found = if again.is_empty() {
            wait.await
        } else {
            match tokio::time::timeout(RETRY_AFTER, wait).await {
                Ok(found) => found,
                Err(_elapsed) => Some(BTreeSet::new()),
            }
        };
        let Some(found) = found else {
            return;
        };
        due = found;
        due.extend(again);
    }
}

fn all(hub: &Hub) -> BTreeSet<String> {
    let listing = hub.store.list(&Arc::from(NAMESPACES), None, None);
    let items = listing.map(|listing| listing.items).unwrap_or_default();
    items.into_iter().map(|(key, _)| key.name).collect()
}

/// The namespaces that something has happened to; `None` when the store is gone.
async fn next(hub: &Hub, changes: &mut Receiver<Arc<Event>>) -> Option<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    loop {
        match changes.recv().await {
            Ok(change) => found.extend(concerned(&change)),
            Err(RecvError::Lagged(_)) => return Some(all(hub)),
            Err(RecvError::Closed) => return None,
        }
        loop {
            match changes.try_recv() {
                Ok(change) => found.extend(concerned(&change)),
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Lagged(_)) => return Some(all(hub)),
                Err(TryRecvError::Closed) => return None,
            }
        }
        if !found.is_empty() {
            return Some(found);
        }
    }
}

/// A namespace is looked at when it changes and when something in it goes.
fn concerned(change: &Event) -> Option<String> {
    if &*change.key.resource == NAMESPACES {
        return (!change.deleted).then(|| change.key.name.clone());
    }
    let counts = change.deleted && !change.key.namespace.is_empty();
    counts.then(|| change.key.namespace.clone())
}

async fn visit(hub: &Arc<Hub>, name: &str) -> Result<(), ApiError> {
    let key = Key::new(&Arc::from(NAMESPACES), "", name);
    let Some(stored) = hub.store.get(&key) else {
        return Ok(());
    };
    if stored.head.deletion_timestamp.is_some() {
        return empty(hub, &key, &stored).await;
    }
    let account = Key::new(&Arc::from(SERVICE_ACCOUNTS), name, "default");
    if hub.store.get(&account).is_some() {
        return Ok(());
    }
    let account =
        json!({"kind": "ServiceAccount", "apiVersion": "v1", "metadata": {"name": "default"}});
    match handlers::create_for(hub, ACTOR, "serviceaccounts", Some(name), &account).await {
        // The namespace has begun to go, or somebody was faster.
        Err(error) if error.code() == StatusCode::FORBIDDEN || error.is_already_exists() => Ok(()),
        Err(error) if error.code() == StatusCode::NOT_FOUND => Ok(()),
        other => other,
    }
}

/// What is left in a namespace after everything in it was deleted.
#[derive(Default)]
struct Remaining {
    resources: Vec<String>,
    finalizers: BTreeSet<String>,
}

/// Deletes the content of a terminating namespace; when nothing is left, the namespace goes too.
async fn empty(hub: &Arc<Hub>, key: &Key, stored: &Stored) -> Result<(), ApiError> {
    let storages = hub.registry.catalog().storages();
    let mut remaining = Remaining::default();
    let mut failure = None;
    for (storage, served) in &storages {
        if !served.resource.namespaced {
            continue;
        }
        let listed = |error: crate::store::Expired| ApiError::internal(error);
        let listing = hub
            .store
            .list(storage, Some(&key.name), None)
            .map_err(listed)?;
        let options = DeleteOptions::default();
        for (content, found) in listing.items {
            if found.head.deletion_timestamp.is_some() {
                continue;
            }
            match handlers::remove_for(hub, ACTOR, served, &content, &options).await {
                Ok(_) => {}
                Err(error) if error.code() == StatusCode::NOT_FOUND => {}
                Err(error) => failure = Some(error),
            }
        }
        let left = hub
            .store
            .list(storage, Some(&key.name), None)
            .map_err(listed)?;
        if !left.items.is_empty() {
            let count = left.items.len();
            let named = served.named();
            remaining
                .resources
                .push(format!("{named} has {count} resource instances"));
            let held = left
                .items
                .iter()
                .flat_map(|(_, found)| found.head.finalizers.iter().cloned());
            remaining.finalizers.extend(held);
        }
    }
    let Some(namespaces) = storages.get(NAMESPACES) else {
        return Ok(());
    };
    let now = hub.now().to_string();
    let done = remaining.resources.is_empty();
    handlers::edit_for(hub, ACTOR, namespaces, key, &stored.head.uid, |namespace| {
        if done {
            namespace["spec"]["finalizers"] = json!([]);
        } else {
            tell(namespace, &remaining, &now);
        }
    })
    .await?;
    failure.map_or(Ok(()), Err)
}

/// Says in the conditions what a terminating namespace waits for.
fn tell(namespace: &mut Value, remaining: &Remaining, now: &str) {
    let resources = format!(
        "Some resources are remaining: {}",
        remaining.resources.join(", ")
    );
    let finalizers: Vec<&str> = remaining.finalizers.iter().map(String::as_str).collect();
    let finalizers = format!(
        "Some content in the namespace has finalizers remaining: {}",
        finalizers.join(", ")
    );
    let held = !remaining.finalizers.is_empty();
    let wanted = [
        (
            "NamespaceContentRemaining",
            true,
            "SomeResourcesRemain",
            resources.as_str(),
        ),
        (
            "NamespaceFinalizersRemaining",
            held,
            if held {
                "SomeFinalizersRemain"
            } else {
                "ContentHasNoFinalizers"
            },
            if held {
                finalizers.as_str()
            } else {
                "All content-preserving finalizers finished"
            },
        ),
    ];
    let mut conditions = namespace
        .pointer("/status/conditions")
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default();
    for (kind, holds, reason, message) in wanted {
        let status = if holds { "True" } else { "False" };
        let known = conditions
            .iter_mut()
            .find(|condition| condition["type"] == kind);
        match known {
            Some(known) if known["status"] == status => {
                known["reason"] = json!(reason);
                known["message"] = json!(message);
            }
            Some(known) => {
                *known = json!({"type": kind, "status": status, "lastTransitionTime": now, "reason": reason, "message": message});
            }
            None => conditions.push(
                json!({"type": kind, "status": status, "lastTransitionTime": now, "reason": reason, "message": message}),
            ),
        }
    }
    object::set_field(
        &mut namespace["status"],
        "conditions",
        Some(Value::Array(conditions)),
    );
}
