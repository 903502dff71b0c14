//! What makes an object of a built-in kind valid beyond its schema.
//!
//! Owns Kubernetes' own rules for these kinds, with its messages. It must not change objects. Invariant: no message carries the
//! content of a Secret.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use super::names::{config_key, dns_label, dns_subdomain, qualified_name};
use super::{BuiltIn, EVENTS_GROUP};
use crate::schema::{FieldError, FieldErrorKind};

/// The most bytes of all values of a Secret or ConfigMap together; Kubernetes' own limit.
const MAX_DATA_BYTES: usize = 1024 * 1024;

/// What is wrong with a normalized object; `old` is the stored one on update.
#[must_use]
pub fn validate(builtin: &BuiltIn, new: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Errors(Vec::new());
    if old.is_none() {
        name(builtin, new, &mut errors);
    }
    match (builtin.group, builtin.kind) {
        (_, "Secret") => secret(new, old, &mut errors),
        (_, "ConfigMap") => config_map(new, old, &mut errors),
        (_, "Lease") => lease(new, &mut errors),
        (EVENTS_GROUP, "Event") => event(new, old, &EVENT, &mut errors),
        (_, "Event") => event(new, old, &CORE_EVENT, &mut errors),
        (_, "CustomResourceDefinition") => definition(new, &mut errors),
        _ => {}
    }
    errors.0
}

struct Errors(Vec<FieldError>);

impl Errors {
    fn add(
        &mut self,
        path: impl Into<String>,
        kind: FieldErrorKind,
        value: Option<Value>,
        detail: impl Into<String>,
    ) {
        self.0.push(FieldError {
            path: path.into(),
            kind,
            detail: detail.into(),
            value,
        });
    }

    fn invalid(
        &mut self,
        path: impl Into<String>,
        value: impl Into<Value>,
        detail: impl Into<String>,
    ) {
        self.add(path, FieldErrorKind::Invalid, Some(value.into()), detail);
    }

    fn required(&mut self, path: impl Into<String>) {
        self.add(path, FieldErrorKind::Required, None, "");
    }

    fn forbidden(&mut self, path: impl Into<String>, detail: impl Into<String>) {
        self.add(path, FieldErrorKind::Forbidden, None, detail);
    }
}

fn text<'v>(object: &'v Value, pointer: &str) -> &'v str {
    object
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

fn is_set(object: &Value, key: &str) -> bool {
    object.get(key).is_some_and(|value| match value {
        Value::Null => false,
        Value::String(text) => !text.is_empty(),
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::Object(map) => !map.is_empty(),
        Value::Array(list) => !list.is_empty(),
        Value::Bool(_) => true,
    })
}

fn map<'v>(object: &'v Value, key: &str) -> impl Iterator<Item = (&'v String, &'v Value)> {
    object
        .get(key)
        .and_then(Value::as_object)
        .into_iter()
        .flat_map(Map::iter)
}

fn name(builtin: &BuiltIn, new: &Value, errors: &mut Errors) {
    let name = text(new, "/metadata/name");
    if name.is_empty() {
        return;
    }
    let wrong = if builtin.kind == "Namespace" {
        dns_label(name)
    } else {
        dns_subdomain(name)
    };
    for message in wrong {
        errors.invalid("metadata.name", name, message);
    }
}

/// The bytes of all values; a value that is not base64 is an error at its key.
fn binary_values(object: &Value, key: &str, errors: &mut Errors) -> usize {
    let mut size = 0;
    for (name, value) in map(object, key) {
        match value.as_str().map(|text| STANDARD.decode(text)) {
            Some(Ok(bytes)) => size += bytes.len(),
            Some(Err(_)) => {
                errors.invalid(format!("{key}[{name}]"), REDACTED, "illegal base64 data")
            }
            None => errors.add(
                format!("{key}[{name}]"),
                FieldErrorKind::TypeInvalid,
                Some(REDACTED.into()),
                "must be a string",
            ),
        }
    }
    size
}

const REDACTED: &str = "<secret contents redacted>";

fn key_names(object: &Value, key: &str, errors: &mut Errors) {
    for (name, _) in map(object, key) {
        for message in config_key(name) {
            errors.invalid(format!("{key}[{name}]"), name.as_str(), message);
        }
    }
}

fn too_large(path: &str, size: usize, errors: &mut Errors) {
    if size > MAX_DATA_BYTES {
        errors.add(
            path,
            FieldErrorKind::TooLong,
            None,
            format!("may not be more than {MAX_DATA_BYTES} bytes"),
        );
    }
}

/// Refuses changes to an object that says of itself that it is immutable.
fn immutable(new: &Value, old: Option<&Value>, content: &[&str], errors: &mut Errors) {
    const DETAIL: &str = "field is immutable when `immutable` is set";
    let Some(old) = old.filter(|old| old.get("immutable") == Some(&Value::Bool(true))) else {
        return;
    };
    if new.get("immutable") != Some(&Value::Bool(true)) {
        errors.forbidden("immutable", DETAIL);
    }
    for field in content {
        if !map(new, field).eq(map(old, field)) {
            errors.forbidden(*field, DETAIL);
        }
    }
}

fn secret(new: &Value, old: Option<&Value>, errors: &mut Errors) {
    key_names(new, "data", errors);
    let size = binary_values(new, "data", errors);
    too_large("data", size, errors);
    let has = |key: &str| new.get("data").and_then(|data| data.get(key)).is_some();
    let mut need = |key: &str| {
        if !has(key) {
            errors.required(format!("data[{key}]"));
        }
    };
    match text(new, "/type") {
        "kubernetes.io/dockercfg" => need(".dockercfg"),
        "kubernetes.io/dockerconfigjson" => need(".dockerconfigjson"),
        "kubernetes.io/basic-auth" if !has("username") && !has("password") => {
            ["username", "password"].into_iter().for_each(need);
        }
        "kubernetes.io/ssh-auth" if text(new, "/data/ssh-privatekey").is_empty() => {
            errors.required("data[ssh-privatekey]");
        }
        "kubernetes.io/tls" => ["tls.crt", "tls.key"].into_iter().for_each(need),
        "kubernetes.io/service-account-token"
            if text(
                new,
                "/metadata/annotations/kubernetes.io~1service-account.name",
            )
            .is_empty() =>
        {
            errors.required("metadata.annotations[kubernetes.io/service-account.name]");
        }
        _ => {}
    }
    for key in [".dockercfg", ".dockerconfigjson"] {
        registry_credentials(new, key, errors);
    }
    if let Some(old) = old
        && text(new, "/type") != text(old, "/type")
    {
        errors.invalid("type", text(new, "/type"), "field is immutable");
    }
    immutable(new, old, &["data"], errors);
}

fn registry_credentials(new: &Value, key: &str, errors: &mut Errors) {
    let of_type = match text(new, "/type") {
        "kubernetes.io/dockercfg" => ".dockercfg",
        "kubernetes.io/dockerconfigjson" => ".dockerconfigjson",
        _ => return,
    };
    let encoded = new
        .get("data")
        .and_then(|data| data.get(key))
        .and_then(Value::as_str);
    let Some(bytes) = encoded
        .filter(|_| key == of_type)
        .and_then(|text| STANDARD.decode(text).ok())
    else {
        return;
    };
    if serde_json::from_slice::<Map<String, Value>>(&bytes).is_err() {
        errors.invalid(format!("data[{key}]"), REDACTED, "must be a JSON object");
    }
}

fn config_map(new: &Value, old: Option<&Value>, errors: &mut Errors) {
    key_names(new, "data", errors);
    key_names(new, "binaryData", errors);
    let mut size = binary_values(new, "binaryData", errors);
    for (key, value) in map(new, "data") {
        match value.as_str() {
            Some(value) => size += value.len(),
            None => errors.add(
                format!("data[{key}]"),
                FieldErrorKind::TypeInvalid,
                Some(value.clone()),
                "must be a string",
            ),
        }
        if new
            .get("binaryData")
            .and_then(|data| data.get(key))
            .is_some()
        {
            errors.invalid(
                format!("data[{key}]"),
                key.as_str(),
                "duplicate of key present in binaryData",
            );
        }
    }
    too_large("", size, errors);
    immutable(new, old, &["data", "binaryData"], errors);
}

fn lease(new: &Value, errors: &mut Errors) {
    let number = |name: &str| {
        new.pointer(&format!("/spec/{name}"))
            .and_then(Value::as_i64)
    };
    if let Some(seconds) = number("leaseDurationSeconds").filter(|seconds| *seconds <= 0) {
        errors.invalid(
            "spec.leaseDurationSeconds",
            seconds,
            "must be greater than 0",
        );
    }
    if let Some(count) = number("leaseTransitions").filter(|count| *count < 0) {
        errors.invalid(
            "spec.leaseTransitions",
            count,
            "must be greater than or equal to 0",
        );
    }
    let set = |pointer: &str| !text(new, pointer).is_empty();
    if set("/spec/preferredHolder") && !set("/spec/strategy") {
        errors.forbidden(
            "spec.preferredHolder",
            "may only be specified if `strategy` is defined",
        );
    }
}

/// Where the two forms of an Event differ.
struct EventForm {
    about: &'static str,
    controller: &'static str,
    note: &'static str,
    /// Whether the rules of the newer form hold, which the older one relaxes for old clients.
    strict: bool,
    /// Fields of the newer form that only the older one sets.
    deprecated: &'static [&'static str],
}

const CORE_EVENT: EventForm = EventForm {
    about: "involvedObject",
    controller: "reportingComponent",
    note: "message",
    strict: false,
    deprecated: &[],
};

const EVENT: EventForm = EventForm {
    about: "regarding",
    controller: "reportingController",
    note: "note",
    strict: true,
    deprecated: &[
        "deprecatedFirstTimestamp",
        "deprecatedLastTimestamp",
        "deprecatedCount",
        "deprecatedSource",
    ],
};

/// The most characters of an Event's action, reason and reporting instance, and of its note; Kubernetes' own limits.
const MAX_EVENT_WORD: usize = 128;
const MAX_EVENT_NOTE: usize = 1024;

fn event(new: &Value, old: Option<&Value>, form: &EventForm, errors: &mut Errors) {
    let namespace = text(new, "/metadata/namespace");
    let about = text(new, &format!("/{}/namespace", form.about));
    let timed = is_set(new, "eventTime");
    let elsewhere = match (about.is_empty(), timed) {
        (true, true) => namespace != "default" && namespace != "kube-system",
        (true, false) => !namespace.is_empty() && namespace != "default",
        (false, true) => false,
        (false, false) => namespace != about,
    };
    if elsewhere {
        errors.invalid(
            format!("{}.namespace", form.about),
            about,
            "does not match event.namespace",
        );
    }
    if timed {
        event_words(new, form, errors);
    }
    if form.strict {
        match old {
            None => new_event(new, form, errors),
            Some(old) => event_update(new, old, form, errors),
        }
    }
}

fn event_words(new: &Value, form: &EventForm, errors: &mut Errors) {
    for field in [form.controller, "reportingInstance", "action", "reason"] {
        let value = new.get(field).and_then(Value::as_str).unwrap_or_default();
        if value.is_empty() {
            errors.required(field);
        } else if field == form.controller {
            for message in qualified_name(value) {
                errors.invalid(field, value, message);
            }
        } else if value.len() > MAX_EVENT_WORD {
            errors.invalid(
                field,
                "",
                format!("can have at most {MAX_EVENT_WORD} characters"),
            );
        }
    }
    if new
        .get(form.note)
        .and_then(Value::as_str)
        .is_some_and(|note| note.len() > MAX_EVENT_NOTE)
    {
        errors.invalid(
            form.note,
            "",
            format!("can have at most {MAX_EVENT_NOTE} characters"),
        );
    }
}

fn new_event(new: &Value, form: &EventForm, errors: &mut Errors) {
    if !is_set(new, "eventTime") {
        errors.required("eventTime");
    }
    let kind = text(new, "/type");
    if kind != "Normal" && kind != "Warning" {
        errors.invalid("type", "", format!("has invalid value: {kind}"));
    }
    for field in form.deprecated {
        if is_set(new, field) {
            errors.invalid(*field, "", "needs to be unset");
        }
    }
    event_series(new, errors);
}

fn event_update(new: &Value, old: &Value, form: &EventForm, errors: &mut Errors) {
    if new.get("series") != old.get("series") {
        event_series(new, errors);
    }
    let fixed = [
        form.about,
        "reason",
        form.note,
        "type",
        "eventTime",
        "action",
        "related",
        form.controller,
        "reportingInstance",
    ];
    for field in fixed.iter().chain(form.deprecated) {
        if new.get(field) != old.get(field) {
            errors.invalid(
                *field,
                new.get(field).cloned().unwrap_or_default(),
                "field is immutable",
            );
        }
    }
}

fn event_series(new: &Value, errors: &mut Errors) {
    let Some(series) = new.get("series").filter(|series| series.is_object()) else {
        return;
    };
    if series
        .get("count")
        .and_then(Value::as_i64)
        .unwrap_or_default()
        < 2
    {
        errors.invalid("series.count", "", "should be at least 2");
    }
    if !is_set(series, "lastObservedTime") {
        errors.required("series.lastObservedTime");
    }
}

/// The name of a definition is made of what it defines; everything else about it is judged where it is compiled.
fn definition(new: &Value, errors: &mut Errors) {
    let wanted = format!(
        "{}.{}",
        text(new, "/spec/names/plural"),
        text(new, "/spec/group")
    );
    let name = text(new, "/metadata/name");
    if name != wanted {
        errors.invalid(
            "metadata.name",
            name,
            "must be spec.names.plural+\".\"+spec.group",
        );
    }
}
