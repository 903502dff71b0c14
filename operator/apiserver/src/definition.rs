//! Owns the life of a CustomResourceDefinition: its conditions, its names, and its end with all its objects.
//!
//! It must not know what a definition's schema says. Invariants: a definition is established in the same write that
//! creates it, unless another one holds its names; it is removed only when no object of it is left.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::sync::broadcast::error::RecvError;

use crate::builtin;
use crate::handlers;
use crate::hub::Hub;
use crate::object;
use crate::query::DeleteOptions;
use crate::registry::DEFINITIONS;
use crate::store::{Event, Key, Store, Stored};

/// Keeps a definition until its objects are gone.
const FINALIZER: &str = "customresourcecleanup.apiextensions.k8s.io";

/// Who the audit log names for what this loop does.
const ACTOR: &str = "definition-controller";

/// After a failed write the loop tries again so much later.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Whether a definition's resources are served.
pub fn is_established(definition: &Value) -> bool {
    condition(definition, "Established").is_some_and(|found| found["status"] == "True")
}

fn condition<'a>(definition: &'a Value, kind: &str) -> Option<&'a Value> {
    definition
        .pointer("/status/conditions")?
        .as_array()?
        .iter()
        .find(|condition| condition["type"] == kind)
}

/// Fills in what the server owns of a definition: finalizer and status. Changes nothing that is right already.
pub fn complete(store: &Store, definition: &mut Value, live: Option<&Value>, now: Timestamp) {
    if live.is_none() {
        object::add_finalizer(definition, FINALIZER);
    }
    let spec = definition.get("spec").cloned().unwrap_or_default();
    let conflict = name_conflict(store, definition, &spec);
    let mut versions: Vec<Value> = definition
        .pointer("/status/storedVersions")
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default();
    let storage = storage_version(&spec);
    if let Some(storage) = storage.filter(|storage| !versions.contains(storage)) {
        versions.push(storage);
    }
    let accepted = if conflict.is_none() {
        spec.get("names").cloned().unwrap_or_default()
    } else {
        definition
            .pointer("/status/acceptedNames")
            .cloned()
            .unwrap_or_else(|| json!({"plural": "", "kind": ""}))
    };
    let mut status = json!({
        "conditions": definition.pointer("/status/conditions").cloned().unwrap_or_else(|| json!([])),
        "acceptedNames": accepted,
        "storedVersions": versions,
    });
    let was_established = is_established(definition);
    judge_names(&mut status, conflict, was_established, now);
    if object::is_terminating(definition) {
        let message = "CustomResource deletion is in progress";
        set_condition(
            &mut status,
            now,
            "Terminating",
            true,
            "InstanceDeletionInProgress",
            message,
        );
    }
    definition["status"] = status;
}

/// Names that are free are accepted; names that were accepted once stay served.
fn judge_names(
    status: &mut Value,
    conflict: Option<(&'static str, String)>,
    was_established: bool,
    now: Timestamp,
) {
    let mut set = |kind, holds, reason, message: &str| {
        set_condition(status, now, kind, holds, reason, message);
    };
    match conflict {
        None => {
            set("NamesAccepted", true, "NoConflicts", "no conflicts found");
            let message = "the initial names have been accepted";
            set("Established", true, "InitialNamesAccepted", message);
        }
        Some((reason, message)) => {
            set("NamesAccepted", false, reason, &message);
            if !was_established {
                let message = "not all names are accepted";
                set("Established", false, "NotAccepted", message);
            }
        }
    }
}

fn storage_version(spec: &Value) -> Option<Value> {
    spec.get("versions")?
        .as_array()?
        .iter()
        .find(|version| version["storage"] == true)?
        .get("name")
        .cloned()
}

fn set_condition(
    status: &mut Value,
    now: Timestamp,
    kind: &str,
    holds: bool,
    reason: &str,
    message: &str,
) {
    let text = if holds { "True" } else { "False" };
    let fresh = json!({
        "type": kind,
        "status": text,
        "lastTransitionTime": now.to_string(),
        "reason": reason,
        "message": message,
    });
    let Some(conditions) = status["conditions"].as_array_mut() else {
        status["conditions"] = json!([fresh]);
        return;
    };
    match conditions
        .iter_mut()
        .find(|condition| condition["type"] == kind)
    {
        None => conditions.push(fresh),
        Some(known) => {
            if known["status"] != text {
                *known = fresh;
            } else {
                known["reason"] = json!(reason);
                known["message"] = json!(message);
            }
        }
    }
}

/// The names of a definition or a built-in kind, as they are in use.
struct Names {
    resources: BTreeSet<String>,
    kinds: BTreeSet<String>,
}

impl Names {
    fn of(names: &Value) -> Self {
        let text = |field: &str| names.get(field).and_then(Value::as_str).map(str::to_owned);
        let short = names.get("shortNames").and_then(Value::as_array);
        let short = short
            .into_iter()
            .flatten()
            .filter_map(|name| name.as_str().map(str::to_owned));
        Self {
            resources: text("plural")
                .into_iter()
                .chain(text("singular"))
                .chain(short)
                .collect(),
            kinds: text("kind").into_iter().chain(text("listKind")).collect(),
        }
    }
}

/// The first name that another resource of the group holds.
fn name_conflict(
    store: &Store,
    definition: &Value,
    spec: &Value,
) -> Option<(&'static str, String)> {
    let group = spec
        .get("group")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let mut used = Names {
        resources: BTreeSet::new(),
        kinds: BTreeSet::new(),
    };
    for kind in builtin::all().iter().filter(|kind| kind.group == group) {
        used.resources
            .extend([kind.plural, kind.singular].map(str::to_owned));
        used.resources
            .extend(kind.short_names.iter().map(ToString::to_string));
        used.kinds
            .extend([kind.kind, kind.list_kind].map(str::to_owned));
    }
    let listing = store.list(&Arc::from(DEFINITIONS), None, None).ok()?;
    for (key, stored) in listing.items {
        let other = stored.value();
        if key.name == object::name(definition) || other["spec"]["group"] != group {
            continue;
        }
        let names = Names::of(&other["status"]["acceptedNames"]);
        used.resources.extend(names.resources);
        used.kinds.extend(names.kinds);
    }
    let names = spec.get("names").unwrap_or(&Value::Null);
    let taken = |field: &str, used: &BTreeSet<String>| {
        names
            .get(field)
            .and_then(Value::as_str)
            .filter(|name| used.contains(*name))
            .map(|name| format!("\"{name}\" is already in use"))
    };
    let short = names.get("shortNames").and_then(Value::as_array);
    let short_taken = || {
        let mut names = short.into_iter().flatten().filter_map(Value::as_str);
        names
            .find(|name| used.resources.contains(*name))
            .map(|name| format!("\"{name}\" is already in use"))
    };
    taken("plural", &used.resources)
        .map(|message| ("PluralConflict", message))
        .or_else(|| taken("singular", &used.resources).map(|message| ("SingularConflict", message)))
        .or_else(|| short_taken().map(|message| ("ShortNamesConflict", message)))
        .or_else(|| taken("kind", &used.kinds).map(|message| ("KindConflict", message)))
        .or_else(|| taken("listKind", &used.kinds).map(|message| ("ListKindConflict", message)))
}

/// Keeps conditions true and finishes deletions. Runs until the server stops.
pub async fn tend(hub: Arc<Hub>) {
    let mut changes = hub.store.all_changes();
    loop {
        let leaving = pass(&hub).await;
        let wait = async {
            loop {
                match changes.recv().await {
                    Ok(change) if concerns(&change, &leaving.resources) => return true,
                    Ok(_) => {}
                    Err(RecvError::Lagged(_)) => return true,
                    Err(RecvError::Closed) => return false,
                }
            }
        };
        let goes_on = if leaving.failed {
            tokio::time::timeout(RETRY_AFTER, wait)
                .await
                .unwrap_or(true)
        } else {
            wait.await
        };
        if !goes_on {
            return;
        }
    }
}

/// What a pass left to do.
#[derive(Default)]
struct Leaving {
    /// Storages of definitions that wait for their objects to go.
    resources: BTreeSet<Arc<str>>,
    failed: bool,
}

fn concerns(change: &Event, leaving: &BTreeSet<Arc<str>>) -> bool {
    &*change.key.resource == DEFINITIONS || change.deleted && leaving.contains(&change.key.resource)
}

async fn pass(hub: &Arc<Hub>) -> Leaving {
    let mut leaving = Leaving::default();
    let Ok(listing) = hub.store.list(&Arc::from(DEFINITIONS), None, None) else {
        return leaving;
    };
    for (key, stored) in listing.items {
        refresh(hub, &key, &stored, &mut leaving).await;
        if stored.head.deletion_timestamp.is_some() {
            finish(hub, &key, &stored, &mut leaving).await;
        }
    }
    leaving
}

/// Names that became free, or a build that words a condition otherwise, show in the status.
async fn refresh(hub: &Arc<Hub>, key: &Key, stored: &Stored, leaving: &mut Leaving) {
    let present = stored.value();
    let mut wanted = present.clone();
    complete(&hub.store, &mut wanted, Some(&present), hub.now());
    if wanted == present {
        return;
    }
    let Some(served) = hub.registry.catalog().storages().get(DEFINITIONS).cloned() else {
        return;
    };
    let uid = stored.head.uid.clone();
    let edited = handlers::edit_for(hub, ACTOR, &served, key, &uid, |definition| {
        let live = definition.clone();
        complete(&hub.store, definition, Some(&live), hub.now());
    });
    leaving.failed |= edited.await.is_err();
}

/// Deletes the objects of a terminating definition; the last one lets it go.
async fn finish(hub: &Arc<Hub>, key: &Key, stored: &Stored, leaving: &mut Leaving) {
    let definition = stored.value();
    let text = |pointer: &str| {
        definition
            .pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    let storage: Arc<str> = Arc::from(format!(
        "{}/{}",
        text("/spec/group"),
        text("/spec/names/plural")
    ));
    let storages = hub.registry.catalog().storages();
    if let Some(served) = storages.get(&storage)
        && let Ok(listing) = hub.store.list(&storage, None, None)
    {
        for (instance, found) in listing.items {
            if found.head.deletion_timestamp.is_some() {
                continue;
            }
            let options = DeleteOptions::default();
            let removed = handlers::remove_for(hub, ACTOR, served, &instance, &options).await;
            leaving.failed |=
                removed.is_err_and(|error| error.code() != http::StatusCode::NOT_FOUND);
        }
    }
    leaving.resources.insert(Arc::clone(&storage));
    if hub.store.count(&storage) > 0 {
        return;
    }
    let Some(definitions) = storages.get(DEFINITIONS) else {
        return;
    };
    let uid = stored.head.uid.clone();
    let edited = handlers::edit_for(hub, ACTOR, definitions, key, &uid, |definition| {
        object::remove_finalizer(definition, FINALIZER);
    });
    leaving.failed |= edited.await.is_err();
}
