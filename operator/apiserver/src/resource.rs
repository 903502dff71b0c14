//! A resource: one kind in one version, as clients reach it.
//!
//! Owns [`Resource`], the one description that discovery, tables, selectors, validation and storage read, and how it is
//! made from a built-in kind or from a CustomResourceDefinition (`crd`). Must not know storage or requests. Invariant: a
//! resource never changes; a changed CustomResourceDefinition makes new ones.

mod crd;

use std::sync::Arc;

use serde_json::Value;

use crate::apply::TypeSchema;
use crate::builtin::{self, BuiltIn, dns_subdomain};
use crate::cel;
use crate::schema::{FieldError, FieldErrorKind, FieldPath, Path, Structural, validate_metadata};

/// The verbs of a resource, in the order kube-apiserver lists them.
pub const VERBS: &[&str] = &[
    "create",
    "delete",
    "deletecollection",
    "get",
    "list",
    "patch",
    "update",
    "watch",
];

/// The verbs of namespaces, which cannot be deleted by collection.
const NAMESPACE_VERBS: &[&str] = &[
    "create", "delete", "get", "list", "patch", "update", "watch",
];

/// One kind in one version.
#[derive(Debug)]
pub struct Resource {
    /// API group; empty for the core group.
    pub group: String,
    /// API version.
    pub version: String,
    /// Kind of one object.
    pub kind: String,
    /// Kind of a list.
    pub list_kind: String,
    /// Name in paths.
    pub plural: String,
    /// Name for one object, as kubectl accepts it.
    pub singular: String,
    /// Abbreviations that kubectl accepts.
    pub short_names: Vec<String>,
    /// Groups of resources that kubectl accepts, for example `all`.
    pub categories: Vec<String>,
    /// Whether objects live in a namespace.
    pub namespaced: bool,
    /// Whether the version is served.
    pub served: bool,
    /// Whether objects are stored in this version.
    pub storage: bool,
    /// Whether there is a status subresource.
    pub status: bool,
    /// The scale subresource.
    pub scale: Option<Scale>,
    /// Additional printer columns; without any there is `Age`.
    pub columns: Vec<Column>,
    /// Fields that a field selector may name beside `metadata.name` and `metadata.namespace`.
    pub selectable_fields: Vec<SelectableField>,
    /// What every answer about this version is to warn of; the version is deprecated.
    pub deprecation_warning: Option<String>,
    /// OpenAPI v3 schema of an object, with `x-kubernetes-*`.
    pub openapi: Arc<Value>,
    /// The compiled schema: always there for a custom resource, and for a built-in one to find unknown fields.
    pub structural: Option<Arc<Structural>>,
    /// How fields merge in server-side apply.
    pub merge: Arc<TypeSchema>,
    /// Whether the kind is Kubernetes' own.
    pub builtin: bool,
    /// What can be done with it.
    pub verbs: &'static [&'static str],
}

/// The scale subresource: where it finds what it shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scale {
    /// The wanted number, below `.spec`.
    pub spec_replicas_path: FieldPath,
    /// The observed number, below `.status`.
    pub status_replicas_path: FieldPath,
    /// The label selector in text form, below `.spec` or `.status`.
    pub label_selector_path: Option<FieldPath>,
}

impl Scale {
    /// What is wrong with the values that the subresource shows: it could not be served with them.
    fn validate(&self, object: &Value, errors: &mut Vec<FieldError>) {
        for path in [&self.spec_replicas_path, &self.status_replicas_path] {
            let text = path.to_string();
            match path.find(object) {
                None => {}
                Some(Value::Number(number)) if number.is_i64() => {
                    let replicas = number.as_i64().unwrap_or_default();
                    if replicas < 0 {
                        let detail = "should be a non-negative integer";
                        errors.push(FieldError::invalid(text, replicas, detail));
                    } else if replicas > i64::from(i32::MAX) {
                        let detail = format!("should be less than or equal to {}", i32::MAX);
                        errors.push(FieldError::invalid(text, replicas, detail));
                    }
                }
                Some(other) => {
                    let detail = accessor_error(&text, other, "int64");
                    errors.push(FieldError::invalid(text, 0, detail));
                }
            }
        }
        if let Some(path) = &self.label_selector_path
            && let Some(other) = path.find(object).filter(|selector| !selector.is_string())
        {
            let text = path.to_string();
            let detail = accessor_error(&text, other, "string");
            errors.push(FieldError::invalid(text, "", detail));
        }
    }
}

fn accessor_error(path: &str, value: &Value, wanted: &str) -> String {
    let (shown, found) = match value {
        Value::Null => ("<nil>".to_owned(), "<nil>"),
        Value::Bool(flag) => (flag.to_string(), "bool"),
        Value::Number(number) if number.is_i64() => (number.to_string(), "int64"),
        Value::Number(number) => (number.to_string(), "float64"),
        Value::String(text) => (text.clone(), "string"),
        Value::Array(_) => (value.to_string(), "[]interface {}"),
        Value::Object(_) => (value.to_string(), "map[string]interface {}"),
    };
    format!("{path} accessor error: {shown} is of the type {found}, expected {wanted}")
}

/// One additional printer column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// The heading.
    pub name: String,
    /// `integer`, `number`, `string`, `boolean` or `date`.
    pub type_: String,
    /// Format for clients that know it; may be empty.
    pub format: String,
    /// What it means; may be empty.
    pub description: String,
    /// 0 is always shown, more only with `-o wide`.
    pub priority: i64,
    /// Where the value is.
    pub json_path: String,
}

/// A field that a field selector may name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SelectableField {
    /// As selectors name it: without the leading dot.
    pub name: String,
    /// Where the value is.
    pub path: FieldPath,
}

impl Resource {
    /// `group/version`, or `version` in the core group: an object's `apiVersion`.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.clone()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    /// `apiVersion` and kind.
    pub fn gvk(&self) -> (String, &str) {
        (self.api_version(), &self.kind)
    }

    /// `apiVersion` and plural name.
    pub fn gvr(&self) -> (String, &str) {
        (self.api_version(), &self.plural)
    }

    /// The resources of a CustomResourceDefinition, one for each version, served or not.
    ///
    /// # Errors
    /// Everything that is wrong with its `spec`, with paths from the root of the definition.
    pub fn from_crd(crd: &Value) -> Result<Vec<Self>, Vec<FieldError>> {
        crd::resources(crd)
    }

    /// The resource of a built-in kind.
    pub fn from_builtin(kind: &BuiltIn) -> Self {
        let merge = TypeSchema::from_openapi(&kind.schema).with_status(kind.status);
        Self {
            group: kind.group.to_owned(),
            version: kind.version.to_owned(),
            kind: kind.kind.to_owned(),
            list_kind: kind.list_kind.to_owned(),
            plural: kind.plural.to_owned(),
            singular: kind.singular.to_owned(),
            short_names: kind.short_names.iter().map(ToString::to_string).collect(),
            categories: kind.categories.iter().map(ToString::to_string).collect(),
            namespaced: kind.namespaced,
            served: true,
            storage: true,
            status: kind.status,
            scale: None,
            columns: Vec::new(),
            selectable_fields: Vec::new(),
            deprecation_warning: None,
            openapi: Arc::new(kind.schema.clone()),
            structural: Some(Arc::new(Structural::from_builtin(&kind.schema))),
            merge: Arc::new(merge),
            builtin: true,
            verbs: if kind.kind == "Namespace" {
                NAMESPACE_VERBS
            } else {
                VERBS
            },
        }
    }

    /// Everything that is wrong with an object that has been pruned and defaulted; `old` is the stored one of an update.
    ///
    /// In Kubernetes' order: metadata, schema, and CEL rules unless the object is so wrong that they could mislead. For
    /// a built-in kind also its own rules.
    pub fn validate(&self, new: &Value, old: Option<&Value>) -> Vec<FieldError> {
        let mut errors = validate_metadata(new, old);
        if !self.builtin && old.is_none() {
            errors.extend(self.name_errors(new));
        }
        let Some(structural) = &self.structural else {
            return errors;
        };
        errors.extend(structural.validate(new, old));
        if let Some(scale) = &self.scale {
            scale.validate(new, &mut errors);
        }
        if self.builtin {
            errors.extend(self.builtin_errors(new, old));
            return errors;
        }
        let blocking = |error: &FieldError| {
            matches!(
                error.kind,
                FieldErrorKind::Required
                    | FieldErrorKind::NotSupported
                    | FieldErrorKind::TooLong
                    | FieldErrorKind::TooMany
                    | FieldErrorKind::TypeInvalid
            )
        };
        if structural.root().has_rules {
            if errors.iter().any(blocking) {
                errors.push(FieldError::invalid(
                    Path::Root,
                    Value::Null,
                    "some validation rules were not checked because the object was invalid; correct the existing errors to complete validation",
                ));
            } else {
                errors.extend(cel::validate(structural, new, old));
            }
        }
        errors
    }

    fn name_errors(&self, new: &Value) -> Vec<FieldError> {
        let name = new
            .pointer("/metadata/name")
            .and_then(Value::as_str)
            .unwrap_or("");
        if name.is_empty() {
            return Vec::new();
        }
        dns_subdomain(name)
            .into_iter()
            .map(|message| FieldError::invalid("metadata.name", name, message))
            .collect()
    }

    fn builtin_errors(&self, new: &Value, old: Option<&Value>) -> Vec<FieldError> {
        let kind = builtin::all().iter().find(|kind| {
            kind.group == self.group && kind.version == self.version && kind.kind == self.kind
        });
        let mut errors = kind.map_or_else(Vec::new, |kind| builtin::validate(kind, new, old));
        if self.kind == "CustomResourceDefinition" && self.builtin {
            errors.extend(crd::validate(new, old));
        }
        errors
    }
}

#[cfg(test)]
pub(crate) mod tests;
