//! Owns the judgement of an object before it is stored: who may set what, what is filled in, what is refused.
//!
//! It must not commit anything. Invariants: what the server owns in metadata never comes from a client; whatever passes
//! fits its schema and rules; judging a stored object against itself changes nothing.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::Asked;
use super::generated::{generate_name, new_uid};
use crate::apply;
use crate::builtin;
use crate::definition;
use crate::error::ApiError;
use crate::hub::Hub;
use crate::object;
use crate::query::{FieldValidation, WriteOptions};
use crate::registry::DEFINITIONS;
use crate::schema::{FieldError, FieldErrorKind};
use crate::served::Served;

/// Where Secrets are stored.
const SECRETS: &str = "/secrets";

/// How an object came to be what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Made {
    /// By server-side apply, which has recorded the field managers.
    Applied,
    /// In any other way.
    Written,
}

/// One write on its way.
pub(super) struct Admission<'a> {
    pub hub: &'a Hub,
    pub asked: &'a Asked,
    pub options: WriteOptions,
    pub subresource: &'a str,
    /// Who the change is recorded for in managedFields.
    pub manager: String,
    pub now: Timestamp,
    pub warnings: Vec<String>,
}

impl<'a> Admission<'a> {
    pub(super) fn read(
        hub: &'a Hub,
        asked: &'a Asked,
        subresource: &'a str,
    ) -> Result<Self, ApiError> {
        let options = WriteOptions::read(&asked.query)?;
        let manager = options
            .field_manager
            .clone()
            .unwrap_or_else(|| manager_of(&asked.user_agent));
        Ok(Self {
            hub,
            asked,
            options,
            subresource,
            manager,
            now: hub.now(),
            warnings: Vec::new(),
        })
    }

    fn served(&self) -> &Served {
        &self.asked.served
    }

    /// Judges a new object and fills in what the server owns.
    pub(super) async fn admit_new(
        &mut self,
        mut object: Value,
        duplicates: &[String],
        made: Made,
    ) -> Result<Value, ApiError> {
        self.warnings.clear();
        self.check_type(&mut object)?;
        self.check_namespace(&mut object)?;
        if !object::version(&object).is_empty() {
            return Err(ApiError::bad_request(
                "resourceVersion should not be set on objects to be created",
            ));
        }
        self.own_metadata(&mut object)?;
        let served = self.served();
        if served.resource.status && served.resource.kind != "Namespace" {
            object::set_field(&mut object, "status", None);
        }
        let object = self.complete(object, None, duplicates)?;
        let object = self.track(None, object, made);
        self.validate(&object, None).await?;
        Ok(object)
    }

    /// Judges the new state of a stored object; the result is what would be stored.
    pub(super) async fn admit_change(
        &mut self,
        live: &Value,
        mut new: Value,
        duplicates: &[String],
        made: Made,
    ) -> Result<Value, ApiError> {
        self.warnings.clear();
        self.check_type(&mut new)?;
        self.check_namespace(&mut new)?;
        self.check_identity(live, &new)?;
        for field in [
            "name",
            "namespace",
            "generateName",
            "uid",
            "resourceVersion",
            "creationTimestamp",
            "deletionTimestamp",
            "deletionGracePeriodSeconds",
            "generation",
            "selfLink",
        ] {
            object::copy_meta(live, &mut new, field);
        }
        let new = self.keep_other_parts(live, new);
        self.check_finalizers(live, &new)?;
        let mut new = self.complete(new, Some(live), duplicates)?;
        self.count_generation(live, &mut new);
        let new = self.track(Some(live), new, made);
        self.validate(&new, Some(live)).await?;
        Ok(new)
    }

    fn check_type(&self, object: &mut Value) -> Result<(), ApiError> {
        let resource = &self.served().resource;
        if !object.is_object() {
            return Err(ApiError::bad_request("the body must be an object"));
        }
        let text = |field: &str| {
            object
                .get(field)
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        let (kind, version) = (text("kind"), text("apiVersion"));
        let expected = self.served().api_version();
        let is_builtin = self.served().builtin.is_some();
        if kind.is_empty() && !is_builtin {
            return Err(ApiError::bad_request("Object 'Kind' is missing"));
        }
        if !version.is_empty() && version != expected || version.is_empty() && !is_builtin {
            return Err(ApiError::bad_request(format!(
                "the API version in the data ({version}) does not match the expected API version ({expected})"
            )));
        }
        if !kind.is_empty() && kind != resource.kind {
            return Err(ApiError::bad_request(format!(
                "the object provided is unrecognized (must be of type {}): it is of type {kind}",
                resource.kind
            )));
        }
        object["kind"] = json!(resource.kind);
        object["apiVersion"] = json!(expected);
        object::meta_mut(object);
        Ok(())
    }

    fn check_namespace(&self, object: &mut Value) -> Result<(), ApiError> {
        let asked = self.asked.target.namespace.as_deref().unwrap_or_default();
        let given = object::namespace(object);
        if given.is_empty() && !asked.is_empty() {
            object::set_meta(object, "namespace", json!(asked));
            return Ok(());
        }
        if given != asked && !asked.is_empty() {
            return Err(ApiError::bad_request(format!(
                "the namespace of the provided object does not match the namespace sent on the request ({given} and {asked})"
            )));
        }
        if asked.is_empty() {
            object::set_meta(object, "namespace", Value::Null);
        }
        Ok(())
    }

    /// The named object is the one in the path, and the one that the client has seen.
    fn check_identity(&self, live: &Value, new: &Value) -> Result<(), ApiError> {
        let served = self.served();
        let name = object::name(live);
        let given = object::name(new);
        if given != name {
            return Err(ApiError::bad_request(format!(
                "the name of the object ({given}) does not match the name on the URL ({name})"
            )));
        }
        let (uid, live_uid) = (object::uid(new), object::uid(live));
        if !uid.is_empty() && uid != live_uid {
            let message = format!(
                "Precondition failed: UID in precondition: {uid}, UID in object meta: {live_uid}"
            );
            return Err(ApiError::conflict(served.named(), name, &message));
        }
        let version = object::version(new);
        if version.is_empty() && needs_version(served) {
            let error = FieldError::invalid(
                "metadata.resourceVersion",
                "",
                "must be specified for an update",
            );
            return Err(ApiError::invalid(served.kind(), name, vec![error]));
        }
        if !version.is_empty() && version != "0" && version != object::version(live) {
            return Err(ApiError::modified(served.named(), name));
        }
        Ok(())
    }

    fn own_metadata(&self, object: &mut Value) -> Result<(), ApiError> {
        let prefix = object::meta(object, "generateName").to_owned();
        if object::name(object).is_empty() {
            if prefix.is_empty() {
                let error =
                    FieldError::required("metadata.name", "name or generateName is required");
                return Err(ApiError::invalid(self.served().kind(), "", vec![error]));
            }
            object::set_meta(object, "name", json!(generate_name(&prefix)?));
        }
        for field in [
            "deletionTimestamp",
            "deletionGracePeriodSeconds",
            "selfLink",
            "generation",
        ] {
            object::set_meta(object, field, Value::Null);
        }
        object::set_meta(object, "uid", json!(new_uid()?));
        object::set_meta(object, "creationTimestamp", json!(self.now.to_string()));
        if counts_generation(self.served()) {
            object::set_meta(object, "generation", json!(1));
        }
        Ok(())
    }

    /// A write to one part of an object leaves the other parts as they are.
    fn keep_other_parts(&self, live: &Value, mut new: Value) -> Value {
        let served = self.served();
        let is_namespace = served.builtin.is_some() && served.resource.kind == "Namespace";
        match self.subresource {
            "status" => {
                let mut kept = live.clone();
                object::set_field(&mut kept, "status", new.get("status").cloned());
                object::copy_meta(&new, &mut kept, "managedFields");
                kept
            }
            "finalize" => {
                let mut kept = live.clone();
                let finalizers = new.pointer("/spec/finalizers").cloned();
                kept["spec"]["finalizers"] = finalizers.unwrap_or_else(|| json!([]));
                kept
            }
            _main => {
                if served.resource.status {
                    object::set_field(&mut new, "status", live.get("status").cloned());
                }
                if is_namespace {
                    object::set_field(&mut new, "spec", live.get("spec").cloned());
                }
                new
            }
        }
    }

    fn check_finalizers(&self, live: &Value, new: &Value) -> Result<(), ApiError> {
        if !object::is_terminating(live) {
            return Ok(());
        }
        let known = object::finalizers(live);
        let added: Vec<String> = object::finalizers(new)
            .into_iter()
            .filter(|finalizer| !known.contains(finalizer))
            .map(|finalizer| format!("{finalizer:?}"))
            .collect();
        if added.is_empty() {
            return Ok(());
        }
        let detail = format!(
            "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
            added.join(", ")
        );
        let error = FieldError::forbidden("metadata.finalizers", detail);
        Err(ApiError::invalid(
            self.served().kind(),
            object::name(live),
            vec![error],
        ))
    }

    /// Drops what the schema does not know, as the client wants it told, and fills in what is not given.
    fn complete(
        &mut self,
        mut object: Value,
        live: Option<&Value>,
        duplicates: &[String],
    ) -> Result<Value, ApiError> {
        let asked = self.asked;
        let mut faults: Vec<String> = Vec::new();
        if let Some(structural) = &asked.served.resource.structural {
            let unknown = structural.prune(&mut object);
            faults.extend(
                unknown
                    .iter()
                    .map(|path| format!("unknown field \"{path}\"")),
            );
        }
        faults.extend(
            duplicates
                .iter()
                .map(|path| format!("duplicate field \"{path}\"")),
        );
        self.report(faults)?;
        if let Some(kind) = asked.served.builtin {
            builtin::normalize(kind, &mut object);
        }
        if let Some(structural) = &asked.served.resource.structural {
            structural.default(&mut object);
        }
        if &*asked.served.storage == DEFINITIONS {
            definition::complete(&self.hub.store, &mut object, live, self.now);
        }
        Ok(object)
    }

    fn report(&mut self, faults: Vec<String>) -> Result<(), ApiError> {
        match self.options.field_validation {
            FieldValidation::Ignore => Ok(()),
            FieldValidation::Warn => {
                self.warnings.extend(faults);
                Ok(())
            }
            FieldValidation::Strict if faults.is_empty() => Ok(()),
            FieldValidation::Strict => {
                let resource = &self.served().resource;
                Err(ApiError::bad_request(format!(
                    "{kind} in version \"{}\" cannot be handled as a {kind}: strict decoding error: {}",
                    resource.version,
                    faults.join(", "),
                    kind = resource.kind,
                )))
            }
        }
    }

    /// The generation counts the changes of what people want: everything but metadata and status.
    fn count_generation(&self, live: &Value, new: &mut Value) {
        if !counts_generation(self.served()) {
            return;
        }
        let ignores_status = self.served().resource.status;
        let differs = |a: &Value, b: &Value| {
            let fields = |value: &Value| {
                let mut map = value.as_object().cloned().unwrap_or_default();
                map.remove("metadata");
                if ignores_status {
                    map.remove("status");
                }
                map
            };
            fields(a) != fields(b)
        };
        if differs(live, new) {
            let generation = live
                .pointer("/metadata/generation")
                .and_then(Value::as_i64)
                .unwrap_or_default();
            object::set_meta(new, "generation", json!(generation + 1));
        }
    }

    fn track(&self, live: Option<&Value>, mut new: Value, made: Made) -> Value {
        match made {
            Made::Written => apply::track_update(
                &self.served().resource.merge,
                live,
                &mut new,
                &self.manager,
                &self.served().api_version(),
                self.subresource,
                self.now,
            ),
            Made::Applied => {
                if let Some(live) = live {
                    apply::keep_times(live, &mut new);
                }
            }
        }
        new
    }

    async fn validate(&self, new: &Value, live: Option<&Value>) -> Result<(), ApiError> {
        let served = self.served();
        let resource = &served.resource;
        let has_rules = resource
            .structural
            .as_ref()
            .is_some_and(|schema| !served.resource.builtin && schema.root().has_rules);
        // The schemas in a definition take as long to compile as rules do to run.
        let mut errors = if has_rules || &*served.storage == DEFINITIONS {
            let (resource, new, live) = (resource.clone(), new.clone(), live.cloned());
            self.hub
                .judge(move || resource.validate(&new, live.as_ref()))
                .await?
        } else {
            resource.validate(new, live)
        };
        if errors.is_empty() {
            return Ok(());
        }
        if &*served.storage == SECRETS {
            errors.iter_mut().for_each(conceal);
        }
        Err(ApiError::invalid(served.kind(), object::name(new), errors))
    }
}

/// A value of the wrong form is still a secret, and refusals end up in logs.
fn conceal(error: &mut FieldError) {
    if error.path.starts_with("data") || error.path.starts_with("stringData") {
        error.value = None;
        if error.kind == FieldErrorKind::TypeInvalid {
            "the value has not the form that it must have here".clone_into(&mut error.detail);
        }
    }
}

/// Whether an update must say which version it was made from. Kubernetes lets these built-in kinds go without.
fn needs_version(served: &Served) -> bool {
    !served.builtin.is_some_and(|kind| {
        matches!(
            kind.kind,
            "Namespace" | "Secret" | "ConfigMap" | "Event" | "ServiceAccount"
        )
    })
}

/// Which kinds have a generation.
pub(super) fn counts_generation(served: &Served) -> bool {
    served.builtin.is_none() || &*served.storage == DEFINITIONS
}

/// The field manager of a client that names none: its program's name.
fn manager_of(user_agent: &str) -> String {
    let program = user_agent.split('/').next().unwrap_or_default();
    let clean: String = program
        .chars()
        .filter(|char| !char.is_control())
        .take(128)
        .collect();
    if clean.is_empty() {
        "unknown".to_owned()
    } else {
        clean
    }
}
