//! Owns the scale subresource: `autoscaling/v1` Scale over whatever paths a definition names.
//!
//! It must not know what is scaled. Invariant: a scale changes the replicas and nothing else.

use http::StatusCode;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::admit::{Admission, Made};
use super::update::modify;
use super::{Asked, Done, Verb, read};
use crate::codec::{self, Encoding, Shape};
use crate::error::{ApiError, Named};
use crate::hub::Hub;
use crate::object;
use crate::patch::{self, PatchError};
use crate::resource::Scale;
use crate::schema::{FieldError, FieldPath};
use crate::table;

/// The Scale of the named object, as a Table if that is wanted.
pub(super) fn get(hub: &Hub, asked: &Asked) -> Result<Value, ApiError> {
    let scale = definition(asked)?;
    let stored = read::stored(hub, asked)?;
    let scale = scale_of(scale, &asked.served.value(&stored))?;
    Ok(match asked.output.shape {
        Shape::Table(version) => as_table(&scale, version, hub.exactly_now()),
        Shape::Metadata(version) => table::partial_metadata(&scale, version),
        Shape::Object | Shape::Discovery(_) => scale,
    })
}

fn as_table(scale: &Value, version: &str, now: Timestamp) -> Value {
    let column = |name: &str, kind: &str| {
        let format = if name == "Name" { "name" } else { "" };
        json!({"name": name, "type": kind, "format": format, "description": "", "priority": 0})
    };
    let created = object::meta(scale, "creationTimestamp").parse();
    let age = created.map_or_else(
        |_| "<unknown>".to_owned(),
        |created| table::human_age(now, created),
    );
    let cells = json!([
        object::name(scale),
        scale.pointer("/spec/replicas").unwrap_or(&Value::Null),
        scale.pointer("/status/replicas").unwrap_or(&Value::Null),
        age,
    ]);
    json!({
        "kind": "Table",
        "apiVersion": format!("meta.k8s.io/{version}"),
        "metadata": {"resourceVersion": object::version(scale)},
        "columnDefinitions": [
            column("Name", "string"),
            column("Desired", "integer"),
            column("Available", "integer"),
            column("Age", "string"),
        ],
        "rows": [{"cells": cells, "object": table::partial_metadata(scale, version)}],
    })
}

/// Replaces or patches the Scale of the named object.
pub(super) async fn write(hub: &Hub, asked: &Asked) -> Result<Done, ApiError> {
    let scale = definition(asked)?;
    let mut admission = Admission::read(hub, asked, "scale")?;
    let verb = super::verb(asked)?;
    let make = |live: &Value| -> Result<Value, ApiError> {
        let wanted = wanted_scale(asked, verb, &scale_of(scale, live)?)?;
        let version = object::version(&wanted);
        if !version.is_empty() && version != object::version(live) {
            return Err(ApiError::modified(asked.served.named(), object::name(live)));
        }
        let replicas = wanted
            .pointer("/spec/replicas")
            .cloned()
            .unwrap_or_else(|| json!(0));
        let count = replicas
            .as_i64()
            .filter(|count| *count >= 0 && *count <= i64::from(i32::MAX));
        if count.is_none() {
            let error = FieldError::invalid(
                "spec.replicas",
                replicas,
                "must be greater than or equal to 0",
            );
            let kind = Named {
                group: "autoscaling",
                resource: "Scale",
            };
            return Err(ApiError::invalid(kind, object::name(live), vec![error]));
        }
        let mut new = live.clone();
        if !scale.spec_replicas_path.set(&mut new, replicas) {
            return Err(ApiError::internal(
                "the replicas have no place in this object",
            ));
        }
        Ok(new)
    };
    let mut done = modify(&mut admission, &[], Made::Written, make).await?;
    done.value = scale_of(scale, &done.value)?;
    done.code = StatusCode::OK;
    Ok(done)
}

fn definition(asked: &Asked) -> Result<&Scale, ApiError> {
    asked
        .served
        .resource
        .scale
        .as_ref()
        .ok_or_else(ApiError::no_such_resource)
}

fn wanted_scale(asked: &Asked, verb: Verb, present: &Value) -> Result<Value, ApiError> {
    let refuse = |error: PatchError| match error {
        PatchError::Malformed(message) => ApiError::bad_request(message),
        PatchError::TooLarge(message) => ApiError::too_large(message),
        PatchError::DoesNotApply(message) => ApiError::unprocessable(message),
    };
    let media = codec::media_type(asked.content_type.as_ref());
    match (verb, media) {
        (Verb::Update, _) => {
            let wanted = codec::decode(asked.content_type.as_ref(), &asked.body)?.value;
            check_name(&wanted, present)?;
            Ok(wanted)
        }
        (_, "application/json-patch+json") => {
            let patch = codec::decode_as(Encoding::Json, &asked.body)?.value;
            patch::json(present, &patch).map_err(refuse)
        }
        // A Scale has no lists, so that the three merges are one.
        (_, "application/merge-patch+json" | "application/strategic-merge-patch+json") => {
            let patch = codec::decode_as(Encoding::Json, &asked.body)?.value;
            Ok(patch::merge(present, &patch))
        }
        (_, "application/apply-patch+yaml") => {
            let patch = codec::decode_as(Encoding::Yaml, &asked.body)?.value;
            Ok(patch::merge(present, &patch))
        }
        _other => Err(ApiError::unsupported_media(&[
            "application/json-patch+json",
            "application/merge-patch+json",
            "application/apply-patch+yaml",
        ])),
    }
}

fn check_name(wanted: &Value, present: &Value) -> Result<(), ApiError> {
    let (given, name) = (object::name(wanted), object::name(present));
    if given.is_empty() || given == name {
        return Ok(());
    }
    Err(ApiError::bad_request(format!(
        "the name of the object ({given}) does not match the name on the URL ({name})"
    )))
}

fn scale_of(scale: &Scale, live: &Value) -> Result<Value, ApiError> {
    let number = |path: &FieldPath| path.find(live).and_then(Value::as_i64);
    let mut status = json!({"replicas": number(&scale.status_replicas_path).unwrap_or_default()});
    let selector = scale
        .label_selector_path
        .as_ref()
        .and_then(|path| path.find(live))
        .and_then(Value::as_str);
    if let Some(selector) = selector {
        status["selector"] = json!(selector);
    }
    let mut metadata = json!({});
    for field in [
        "name",
        "namespace",
        "uid",
        "resourceVersion",
        "creationTimestamp",
    ] {
        let value = object::meta(live, field);
        if !value.is_empty() {
            metadata[field] = json!(value);
        }
    }
    let mut spec = json!({});
    if let Some(replicas) = number(&scale.spec_replicas_path) {
        spec["replicas"] = json!(replicas);
    }
    Ok(json!({
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": metadata,
        "spec": spec,
        "status": status,
    }))
}
