//! Owns the writes of the server's own loops: the same judgement, commits and audit entries as a client's.
//!
//! It must not know what the loops are for. Invariant: a loop's write is recorded like any other.

use std::sync::Arc;

use bytes::Bytes;
use http::{Method, StatusCode};
use serde_json::Value;

use super::create::{create, settle, store_error};
use super::update::{TRIES_MAX, effect, is_same};
use super::{Asked, Verb, record};
use crate::audit;
use crate::auth::Identity;
use crate::codec::Output;
use crate::error::ApiError;
use crate::hub::Hub;
use crate::path::Target;
use crate::query::Query;
use crate::served::Served;
use crate::store::{Expect, Key, StoreError, Write};

/// Creates an object of the core group.
pub(crate) async fn create_for(
    hub: &Arc<Hub>,
    who: &str,
    plural: &str,
    namespace: Option<&str>,
    object: &Value,
) -> Result<(), ApiError> {
    let served = hub
        .registry
        .catalog()
        .find("", "v1", plural)
        .ok_or_else(ApiError::no_such_resource)?;
    let asked = Asked {
        identity: Identity::system(who),
        method: Method::POST,
        target: Target {
            version: "v1".to_owned(),
            resource: plural.to_owned(),
            namespace: namespace.map(str::to_owned),
            ..Target::default()
        },
        query: Query::default(),
        output: Output::default(),
        content_type: None,
        user_agent: who.to_owned(),
        body: Bytes::from(object.to_string()),
        served,
    };
    let result = create(hub, &asked).await;
    record(hub, &asked, Verb::Create, &result);
    result.map(|_done| ())
}

/// Edits an object as long as it is the one with this uid; one that is gone needs no edit.
pub(crate) async fn edit_for(
    hub: &Hub,
    who: &str,
    served: &Served,
    key: &Key,
    uid: &str,
    edit: impl Fn(&mut Value),
) -> Result<(), ApiError> {
    for _ in 0..TRIES_MAX {
        let Some(stored) = hub.store.get(key).filter(|found| found.head.uid == uid) else {
            return Ok(());
        };
        let mut value = served.value(&stored);
        edit(&mut value);
        let effect = effect(served, value.clone());
        let removes = matches!(effect, crate::store::Effect::Remove(_));
        if !removes && is_same(served, &stored, &value) {
            return Ok(());
        }
        let write = Write {
            key: key.clone(),
            expect: Expect::Version(stored.version),
            effect,
            under: None,
        };
        let result = hub.store.commit(write).await;
        match result {
            Err(StoreError::Changed { version }) => hub.store.reached(version).await,
            Err(StoreError::Absent) => return Ok(()),
            other => {
                let result = other
                    .map(|_stored| ())
                    .map_err(|error| store_error(served, &key.namespace, &key.name, error));
                settle(hub, served);
                hub.audit.record(&entry(hub, who, served, key, &result));
                return result;
            }
        }
    }
    Err(ApiError::modified(served.named(), &key.name))
}

fn entry(
    hub: &Hub,
    who: &str,
    served: &Served,
    key: &Key,
    result: &Result<(), ApiError>,
) -> audit::Entry {
    audit::Entry {
        time: hub.exactly_now(),
        verb: "update".to_owned(),
        api_version: served.api_version(),
        resource: served.resource.plural.clone(),
        namespace: key.namespace.clone(),
        name: key.name.clone(),
        user: format!("system:{who}"),
        code: result
            .as_ref()
            .err()
            .map_or(StatusCode::OK, ApiError::code)
            .as_u16(),
        changed: result.is_ok(),
        dry_run: false,
    }
}
