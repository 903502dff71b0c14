//! Owns the creation of an object.
//!
//! It must not know patches or updates. Invariant: an object is created once or not at all, in a namespace that exists.

use http::StatusCode;
use serde_json::Value;

use super::admit::{Admission, Made};
use super::{Asked, Done};
use crate::codec;
use crate::error::{ApiError, Named};
use crate::hub::Hub;
use crate::object;
use crate::registry::DEFINITIONS;
use crate::served::Served;
use crate::store::{Effect, Expect, Key, StoreError, Write};

/// Generated names that are tried before the caller is told that they are all taken.
const NAMES_MAX: usize = 8;

/// Creates the object in the body.
pub(super) async fn create(hub: &Hub, asked: &Asked) -> Result<Done, ApiError> {
    if asked.served.resource.namespaced && asked.target.namespace.is_none() {
        return Err(super::not_allowed());
    }
    let decoded = codec::decode(asked.content_type.as_ref(), &asked.body)?;
    let mut admission = Admission::read(hub, asked, "")?;
    insert(
        &mut admission,
        decoded.value,
        &decoded.duplicates,
        Made::Written,
    )
    .await
}

/// Judges and stores a new object.
pub(super) async fn insert(
    admission: &mut Admission<'_>,
    object: Value,
    duplicates: &[String],
    made: Made,
) -> Result<Done, ApiError> {
    let asked = admission.asked;
    let hub = admission.hub;
    let served = &asked.served;
    let is_generated = object::name(&object).is_empty();
    for _ in 0..NAMES_MAX {
        let object = admission
            .admit_new(object.clone(), duplicates, made)
            .await?;
        let name = object::name(&object).to_owned();
        let key = Key::new(&served.storage, object::namespace(&object), &name);
        let write = Write {
            key,
            expect: Expect::Absent,
            effect: Effect::Put(served.to_stored(object.clone())),
            under: served.definition.clone(),
        };
        let namespace = object::namespace(&object).to_owned();
        let refuse = |error| store_error(served, &namespace, &name, error);
        if admission.options.dry_run {
            hub.store.check(&write).map_err(refuse)?;
            return Ok(done(admission, object, false));
        }
        match hub.store.commit(write).await {
            Ok(stored) => {
                settle(hub, served);
                return Ok(done(admission, served.value(&stored), true));
            }
            Err(StoreError::Exists) if is_generated => {}
            Err(error) => return Err(refuse(error)),
        }
    }
    Err(ApiError::already_exists(
        served.named(),
        object::meta(&object, "generateName"),
    ))
}

fn done(admission: &mut Admission<'_>, value: Value, changed: bool) -> Done {
    let mut done = Done::new(StatusCode::CREATED, value, changed);
    done.dry_run = admission.options.dry_run;
    done.warnings = std::mem::take(&mut admission.warnings);
    done
}

/// What must follow a committed write before it is answered: a definition is served, or not, from then on.
pub(crate) fn settle(hub: &Hub, served: &Served) {
    if &*served.storage == DEFINITIONS {
        hub.registry.rebuild(&hub.store);
    }
}

/// A refusal of the store in the words of kube-apiserver.
pub(super) fn store_error(
    served: &Served,
    namespace: &str,
    name: &str,
    error: StoreError,
) -> ApiError {
    let what = served.named();
    match error {
        StoreError::Exists => ApiError::already_exists(what, name),
        StoreError::Absent => ApiError::not_found(what, name),
        StoreError::Changed { .. } => ApiError::modified(what, name),
        StoreError::NoNamespace => {
            let namespaces = Named {
                group: "",
                resource: "namespaces",
            };
            ApiError::not_found(namespaces, namespace)
        }
        StoreError::NamespaceTerminating => ApiError::namespace_terminating(what, name, namespace),
        StoreError::DefinitionTerminating => ApiError::method_not_allowed(
            "create not allowed while custom resource definition is terminating",
        ),
        StoreError::TooLarge { .. } => ApiError::too_large(error.to_string()),
        StoreError::Full => ApiError::forbidden(what, name, &error.to_string()),
        StoreError::Failed(_) => ApiError::internal(error),
        StoreError::Stopped => ApiError::unavailable(error.to_string()),
    }
}
