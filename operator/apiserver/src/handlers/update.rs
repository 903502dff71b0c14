//! Owns the change of a stored object: read, make the new state, judge, commit if nobody was faster, else again.
//!
//! It must not know how the new state is made. Invariants: no change is lost to another; a change that changes nothing
//! commits nothing; a terminating object whose last finalizer goes is removed by that same write.

use http::StatusCode;
use serde_json::Value;

use super::admit::{Admission, Made};
use super::create::{insert, settle, store_error};
use super::{Asked, Done, read};
use crate::codec;
use crate::error::ApiError;
use crate::hub::Hub;
use crate::object;
use crate::served::Served;
use crate::store::{Effect, Expect, StoreError, Stored, Write};

/// Tries against other writers of the same object before the caller is told of the conflict.
pub(super) const TRIES_MAX: usize = 64;

/// Replaces the named object, or a part of it, with the body.
pub(super) async fn update(hub: &Hub, asked: &Asked, subresource: &str) -> Result<Done, ApiError> {
    let decoded = codec::decode(asked.content_type.as_ref(), &asked.body)?;
    let mut admission = Admission::read(hub, asked, subresource)?;
    if subresource.is_empty()
        && is_created_by_update(&asked.served)
        && read::stored(hub, asked).is_err()
    {
        let mut body = decoded.value;
        object::set_meta(&mut body, "resourceVersion", Value::Null);
        return insert(&mut admission, body, &decoded.duplicates, Made::Written).await;
    }
    let body = decoded.value;
    modify(
        &mut admission,
        &decoded.duplicates,
        Made::Written,
        |_live| Ok(body.clone()),
    )
    .await
}

/// Kinds that a replace brings into being, as in Kubernetes.
fn is_created_by_update(served: &Served) -> bool {
    served
        .builtin
        .is_some_and(|kind| matches!(kind.kind, "Lease" | "Event"))
}

/// Brings the named object to the state that `make` makes of the present one.
pub(super) async fn modify(
    admission: &mut Admission<'_>,
    duplicates: &[String],
    made: Made,
    make: impl Fn(&Value) -> Result<Value, ApiError>,
) -> Result<Done, ApiError> {
    let (hub, asked) = (admission.hub, admission.asked);
    let served = &asked.served;
    let key = read::key(asked);
    for _ in 0..TRIES_MAX {
        let stored = read::stored(hub, asked)?;
        let live = served.value(&stored);
        let new = make(&live)?;
        let new = admission.admit_change(&live, new, duplicates, made).await?;
        if is_same(served, &stored, &new) {
            return Ok(done(admission, new, false));
        }
        let write = Write {
            key: key.clone(),
            expect: Expect::Version(stored.version),
            effect: effect(served, new.clone()),
            under: None,
        };
        let refuse = |error| store_error(served, &key.namespace, &key.name, error);
        let committed = if admission.options.dry_run {
            hub.store.check(&write).map(|()| new)
        } else {
            hub.store
                .commit(write)
                .await
                .map(|stored| served.value(&stored))
        };
        match committed {
            Ok(value) => {
                settle(hub, served);
                let changed = !admission.options.dry_run;
                return Ok(done(admission, value, changed));
            }
            Err(StoreError::Changed { version }) => hub.store.reached(version).await,
            Err(error) => return Err(refuse(error)),
        }
    }
    Err(ApiError::modified(served.named(), &key.name))
}

fn done(admission: &mut Admission<'_>, value: Value, changed: bool) -> Done {
    let mut done = Done::new(StatusCode::OK, value, changed);
    done.dry_run = admission.options.dry_run;
    done.warnings = std::mem::take(&mut admission.warnings);
    done
}

/// Whether storing the new state would leave the bytes as they are.
pub(super) fn is_same(served: &Served, stored: &Stored, new: &Value) -> bool {
    served.to_stored(new.clone()) == stored.value()
}

/// A terminating object that nobody holds back any more goes with this write.
pub(super) fn effect(served: &Served, new: Value) -> Effect {
    let gone = object::is_terminating(&new) && !is_held(&new);
    let value = served.to_stored(new);
    if gone {
        Effect::Remove(value)
    } else {
        Effect::Put(value)
    }
}

/// Whether a finalizer, or the content of a namespace, keeps an object from being removed.
pub(super) fn is_held(object: &Value) -> bool {
    let is_namespace = object.get("kind").is_some_and(|kind| kind == "Namespace")
        && object
            .get("apiVersion")
            .is_some_and(|version| version == "v1");
    let holds_content = is_namespace
        && object
            .pointer("/spec/finalizers")
            .and_then(Value::as_array)
            .is_some_and(|list| !list.is_empty());
    !object::finalizers(object).is_empty() || holds_content
}
