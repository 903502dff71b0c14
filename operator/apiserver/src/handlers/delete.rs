//! Owns deletion: at once, or marked until the finalizers let go.
//!
//! It must not know how dependents or the content of a namespace are cleaned up. Invariant: an object with a finalizer is
//! never removed by a deletion, only marked, and marked once.

use std::sync::Arc;

use http::StatusCode;
use serde_json::{Value, json};

use super::create::{settle, store_error};
use super::update::{TRIES_MAX, effect, is_held, is_same};
use super::{Asked, Done, read, success};
use crate::audit;
use crate::codec;
use crate::definition;
use crate::error::ApiError;
use crate::hub::Hub;
use crate::object;
use crate::query::{DeleteOptions, ListOptions, Propagation};
use crate::registry::DEFINITIONS;
use crate::served::Served;
use crate::store::{Effect, Expect, Key, StoreError, Write};

/// The finalizer that keeps an owner until its dependents are gone.
pub(crate) const FOREGROUND: &str = "foregroundDeletion";

/// The finalizer that keeps an owner until its dependents have forgotten it.
pub(crate) const ORPHAN: &str = "orphan";

/// Namespaces that cannot be deleted, as in Kubernetes.
const IMMORTAL: &[&str] = &["default", "kube-system", "kube-public"];

/// What a deletion came to.
pub(crate) struct Removal {
    /// The object as it is, or as it last was.
    pub value: Value,
    /// Whether it is gone.
    pub gone: bool,
    /// Whether anything was committed.
    pub changed: bool,
}

/// Deletes the named object.
pub(super) async fn delete(hub: &Hub, asked: &Asked) -> Result<Done, ApiError> {
    let options = options(asked)?;
    let removal = remove(hub, &asked.served, &read::key(asked), &options).await?;
    let name = object::name(&removal.value).to_owned();
    let value = if removal.gone {
        let resource = &asked.served.resource;
        let mut details = json!({
            "name": name,
            "kind": resource.plural,
            "uid": object::uid(&removal.value),
        });
        if !resource.group.is_empty() {
            details["group"] = json!(resource.group);
        }
        success(details)
    } else {
        removal.value
    };
    let mut done = Done::new(StatusCode::OK, value, removal.changed);
    done.name = name;
    done.dry_run = options.dry_run;
    Ok(done)
}

/// Deletes what the selectors select.
pub(super) async fn delete_collection(hub: &Hub, asked: &Asked) -> Result<Done, ApiError> {
    let options = options(asked)?;
    let selection = ListOptions::read(&asked.query)?;
    let filter = read::filter(asked, &selection)?;
    let served = &asked.served;
    let listing = hub
        .store
        .list(&served.storage, filter.namespace.as_deref(), None)
        .map_err(|expired| ApiError::expired(expired.to_string()))?;
    let mut removed = Vec::new();
    let mut changed = false;
    for (key, stored) in listing.items {
        if !filter.selects_all() && !filter.selects(served, &served.value(&stored)) {
            continue;
        }
        match remove(hub, served, &key, &options).await {
            Ok(removal) => {
                changed |= removal.changed;
                removed.push(removal.value);
            }
            // Somebody else was faster, which is what was wanted.
            Err(error) if error.code() == StatusCode::NOT_FOUND => {}
            Err(error) => return Err(error),
        }
    }
    let meta = json!({"resourceVersion": hub.store.version().to_string()});
    let list = read::list_of(served, &removed, meta);
    let mut done = Done::new(StatusCode::OK, list, changed);
    done.dry_run = options.dry_run;
    Ok(done)
}

fn options(asked: &Asked) -> Result<DeleteOptions, ApiError> {
    let body = if asked.body.is_empty() {
        None
    } else {
        Some(codec::decode(asked.content_type.as_ref(), &asked.body)?.value)
    };
    DeleteOptions::read(&asked.query, body.as_ref())
}

/// Deletes one object for a loop of the server, and records it.
pub(crate) async fn remove_for(
    hub: &Hub,
    who: &str,
    served: &Arc<Served>,
    key: &Key,
    options: &DeleteOptions,
) -> Result<Removal, ApiError> {
    let result = remove(hub, served, key, options).await;
    let (code, changed) = match &result {
        Ok(removal) => (StatusCode::OK, removal.changed),
        Err(error) => (error.code(), false),
    };
    hub.audit.record(&audit::Entry {
        time: hub.exactly_now(),
        verb: "delete".to_owned(),
        api_version: served.api_version(),
        resource: served.resource.plural.clone(),
        namespace: key.namespace.clone(),
        name: key.name.clone(),
        user: format!("system:{who}"),
        code: code.as_u16(),
        changed,
        dry_run: options.dry_run,
    });
    result
}

async fn remove(
    hub: &Hub,
    served: &Served,
    key: &Key,
    options: &DeleteOptions,
) -> Result<Removal, ApiError> {
    let what = served.named();
    for _ in 0..TRIES_MAX {
        let stored = hub
            .store
            .get(key)
            .ok_or_else(|| ApiError::not_found(what, &key.name))?;
        let live = served.value(&stored);
        check_preconditions(served, &live, options)?;
        let new = marked(hub, served, &live, options);
        let held = is_held(&new);
        if held && is_same(served, &stored, &new) {
            return Ok(Removal {
                value: live,
                gone: false,
                changed: false,
            });
        }
        let effect = if held {
            effect(served, new.clone())
        } else {
            Effect::Remove(served.to_stored(live))
        };
        let write = Write {
            key: key.clone(),
            expect: Expect::Version(stored.version),
            effect,
            under: None,
        };
        if options.dry_run {
            return Ok(Removal {
                value: new,
                gone: !held,
                changed: false,
            });
        }
        match hub.store.commit(write).await {
            Ok(stored) => {
                settle(hub, served);
                let value = served.value(&stored);
                return Ok(Removal {
                    value,
                    gone: !held,
                    changed: true,
                });
            }
            Err(StoreError::Changed { version }) => hub.store.reached(version).await,
            Err(error) => return Err(store_error(served, &key.namespace, &key.name, error)),
        }
    }
    Err(ApiError::modified(what, &key.name))
}

fn check_preconditions(
    served: &Served,
    live: &Value,
    options: &DeleteOptions,
) -> Result<(), ApiError> {
    let name = object::name(live);
    let is_namespace = served.builtin.is_some() && served.resource.kind == "Namespace";
    if is_namespace && IMMORTAL.contains(&name) {
        let message = "this namespace may not be deleted";
        return Err(ApiError::forbidden(served.named(), name, message));
    }
    let (uid, version) = (object::uid(live), object::version(live));
    if let Some(wanted) = options.uid.as_deref().filter(|wanted| *wanted != uid) {
        let message = format!(
            "Precondition failed: UID in precondition: {wanted}, UID in object meta: {uid}"
        );
        return Err(ApiError::conflict(served.named(), name, &message));
    }
    if let Some(wanted) = options
        .version
        .as_deref()
        .filter(|wanted| *wanted != version)
    {
        let message = format!(
            "the ResourceVersion in the precondition ({wanted}) does not match the ResourceVersion in record ({version}). The object might have been modified"
        );
        return Err(ApiError::conflict(served.named(), name, &message));
    }
    Ok(())
}

/// The object with the finalizers that the propagation asks for, and marked for deletion when any is left.
fn marked(hub: &Hub, served: &Served, live: &Value, options: &DeleteOptions) -> Value {
    let mut new = live.clone();
    match options.propagation {
        Some(Propagation::Orphan) => {
            object::remove_finalizer(&mut new, FOREGROUND);
            object::add_finalizer(&mut new, ORPHAN);
        }
        Some(Propagation::Foreground) => {
            object::remove_finalizer(&mut new, ORPHAN);
            object::add_finalizer(&mut new, FOREGROUND);
        }
        Some(Propagation::Background) => {
            object::remove_finalizer(&mut new, ORPHAN);
            object::remove_finalizer(&mut new, FOREGROUND);
        }
        None => {}
    }
    if is_held(&new) && !object::is_terminating(&new) {
        let now = hub.now();
        object::set_meta(&mut new, "deletionTimestamp", json!(now.to_string()));
        object::set_meta(&mut new, "deletionGracePeriodSeconds", json!(0));
        if let Some(generation) = live.pointer("/metadata/generation").and_then(Value::as_i64) {
            object::set_meta(&mut new, "generation", json!(generation + 1));
        }
        if served.builtin.is_some() && served.resource.kind == "Namespace" {
            new["status"]["phase"] = json!("Terminating");
        }
        if &*served.storage == DEFINITIONS {
            definition::complete(&hub.store, &mut new, Some(live), now);
        }
    }
    new
}
