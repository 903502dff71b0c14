//! The way from client-side to server-side apply, for kubectl alone.
//!
//! Owns the annotation in which client-side apply keeps the last configuration: what it proves to be kubectl's own, and
//! keeping it in step. It must not know how ownership moves.

use std::collections::BTreeSet;

use serde_json::Value;

use super::conflict::Conflict;
use super::fields::{FieldSet, path_text};
use super::{Apply, typed, value};

/// The annotation in which client-side apply keeps the last configuration.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// The manager for whom, and only for whom, client-side apply is migrated by the server.
pub(super) const KUBECTL: &str = "kubectl";
/// The bytes that all annotations of an object may have together; Kubernetes' own limit.
const MAX_ANNOTATIONS_BYTES: usize = 256 * 1024;

/// The conflicts that remain: after years of client-side apply, what the annotation proves to be kubectl's own is none.
pub(super) fn remaining(a: &Apply<'_>, live: &Value, conflicts: Vec<Conflict>) -> Vec<Conflict> {
    let Some(own) = client_side_fields(a, live) else {
        return conflicts;
    };
    let mut texts = BTreeSet::new();
    own.for_each(&mut |path| {
        texts.insert(path_text(path));
    });
    let contested = |conflict: &Conflict| !texts.contains(&conflict.field);
    conflicts.into_iter().filter(contested).collect()
}

/// The fields of the last client-side configuration that the live object still has unchanged.
fn client_side_fields(a: &Apply<'_>, live: &Value) -> Option<FieldSet> {
    let annotations = live.pointer("/metadata/annotations")?;
    let last: Value = serde_json::from_str(annotations.get(LAST_APPLIED)?.as_str()?).ok()?;
    if last.get("apiVersion").and_then(Value::as_str) != Some(a.api_version) {
        return None;
    }
    let root = a.schema.root();
    typed::validate(root, &last).ok()?;
    let changes = typed::compare::compare(root, &last, live).ok()?;
    let set = typed::field_set(root, &last).ok()?;
    Some(
        set.difference(&changes.modified)
            .difference(&changes.added)
            .difference(&changes.removed),
    )
}

/// Keeps the annotation of client-side apply, where there is one, in step with what kubectl applied.
pub(super) fn renew_last_applied(object: &mut Value, config: &Value) {
    let Some(annotations) = object
        .pointer_mut("/metadata/annotations")
        .and_then(Value::as_object_mut)
    else {
        return;
    };
    if annotations
        .get(LAST_APPLIED)
        .and_then(Value::as_str)
        .is_none_or(str::is_empty)
    {
        return;
    }
    let mut bare = config.clone();
    if let Some(metadata) = bare.get_mut("metadata").and_then(Value::as_object_mut)
        && let Some(own) = metadata
            .get_mut("annotations")
            .and_then(Value::as_object_mut)
    {
        own.remove(LAST_APPLIED);
    }
    annotations.insert(
        LAST_APPLIED.to_owned(),
        Value::String(format!("{}\n", value::canonical(&bare))),
    );
    let size: usize = annotations
        .iter()
        .map(|(key, text)| key.len() + text.as_str().map_or(0, str::len))
        .sum();
    if size > MAX_ANNOTATIONS_BYTES {
        annotations.remove(LAST_APPLIED);
    }
}
