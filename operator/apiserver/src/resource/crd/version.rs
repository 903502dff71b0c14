//! Reading one version of a definition.
//!
//! Owns its schema, subresources, printer columns and selectable fields. Must not know the other versions. Invariant: a
//! version that is read can be served as it is.

use std::sync::Arc;

use serde_json::Value;

use crate::apply::TypeSchema;
use crate::resource::{Column, Resource, Scale, SelectableField, VERBS};
use crate::schema::{FieldError, FieldPath, Path, Structural, Subresource, Type, dns_1035_label};

use super::{Names, Place, Reader, text};

/// Selectable fields of one version: Kubernetes' own limit.
const MAX_SELECTABLE_FIELDS: usize = 8;

/// A deprecation warning, in bytes: Kubernetes' own limit.
const MAX_WARNING_BYTES: usize = 256;

const COLUMN_TYPES: [&str; 5] = ["boolean", "date", "integer", "number", "string"];

const COLUMN_FORMATS: [&str; 8] = [
    "byte",
    "date",
    "date-time",
    "double",
    "float",
    "int32",
    "int64",
    "password",
];

impl Reader {
    /// The resource of a version, unless it is too wrong to make one.
    pub(super) fn version(
        &mut self,
        names: &Names,
        version: &Value,
        place: Place<'_>,
    ) -> Option<Resource> {
        let path = place.shared;
        let name = text(version, "name");
        let wrong = dns_1035_label(&name);
        if !wrong.is_empty() {
            self.errors.push(FieldError::invalid(
                place.own.child("name"),
                name.as_str(),
                wrong.join(","),
            ));
        }
        let scale = self.scale(version, path);
        let columns = self.columns(version, path);
        let deprecation_warning = self.deprecation(names, version, &name, place.own);
        let status = version
            .pointer("/subresources/status")
            .is_some_and(|status| !status.is_null());
        let schema = path.child(place.schema);
        let at = schema.child("openAPIV3Schema");
        let Some(document) = version
            .pointer("/schema/openAPIV3Schema")
            .filter(|schema| !schema.is_null())
        else {
            self.errors.push(FieldError::required(at, ""));
            return None;
        };
        let subresource = if status {
            Subresource::Status
        } else {
            Subresource::None
        };
        let structural = match Structural::compile_at(&at.to_string(), document, subresource) {
            Ok(structural) => structural,
            Err(errors) => {
                self.errors.extend(errors);
                return None;
            }
        };
        let selectable_fields = self.selectable(version, &structural, path);
        let flag = |key: &str| version[key] == Value::Bool(true);
        Some(Resource {
            group: names.group.clone(),
            version: name,
            kind: names.kind.clone(),
            list_kind: names.list_kind.clone(),
            plural: names.plural.clone(),
            singular: names.singular.clone(),
            short_names: names.short_names.clone(),
            categories: names.categories.clone(),
            namespaced: names.namespaced,
            served: flag("served"),
            storage: flag("storage"),
            status,
            scale,
            columns,
            selectable_fields,
            deprecation_warning,
            merge: Arc::new(TypeSchema::from_openapi(document).with_status(status)),
            openapi: Arc::new(document.clone()),
            structural: Some(Arc::new(structural)),
            builtin: false,
            verbs: VERBS,
        })
    }

    fn deprecation(
        &mut self,
        names: &Names,
        version: &Value,
        name: &str,
        path: &Path<'_>,
    ) -> Option<String> {
        let deprecated = version["deprecated"] == Value::Bool(true);
        let at = path.child("deprecationWarning");
        match version["deprecationWarning"].as_str() {
            None if deprecated => Some(format!(
                "{}/{name} {} is deprecated",
                names.group, names.kind
            )),
            None => None,
            Some(warning) => {
                let mut refuse = |detail: &str| {
                    self.errors.push(FieldError::invalid(at, warning, detail));
                };
                if !deprecated {
                    refuse("can only be set for deprecated versions");
                }
                if warning.len() > MAX_WARNING_BYTES {
                    refuse("must be <= 256 characters long");
                }
                if warning.is_empty() {
                    refuse("must not be an empty string");
                }
                if warning.chars().any(char::is_control) {
                    refuse("must only contain printable UTF-8 characters");
                }
                Some(warning.to_owned())
            }
        }
    }

    fn scale(&mut self, version: &Value, path: &Path<'_>) -> Option<Scale> {
        let scale = version
            .pointer("/subresources/scale")
            .filter(|scale| !scale.is_null())?;
        let subresources = path.child("subresources");
        let at = subresources.child("scale");
        let spec = self.scale_path(
            scale,
            "specReplicasPath",
            &[".spec."],
            "should be a json path under .spec",
            &at,
        );
        let status = self.scale_path(
            scale,
            "statusReplicasPath",
            &[".status."],
            "should be a json path under .status",
            &at,
        );
        let selector = if text(scale, "labelSelectorPath").is_empty() {
            None
        } else {
            self.scale_path(
                scale,
                "labelSelectorPath",
                &[".spec.", ".status."],
                "should be a json path under either .spec or .status",
                &at,
            )
        };
        Some(Scale {
            spec_replicas_path: spec?,
            status_replicas_path: status?,
            label_selector_path: selector,
        })
    }

    fn scale_path(
        &mut self,
        scale: &Value,
        key: &str,
        prefixes: &[&str],
        detail: &str,
        path: &Path<'_>,
    ) -> Option<FieldPath> {
        let at = path.child(key);
        let text = text(scale, key);
        if text.is_empty() {
            self.errors.push(FieldError::required(at, ""));
            return None;
        }
        if !prefixes.iter().any(|prefix| text.starts_with(prefix)) {
            self.errors.push(FieldError::invalid(at, text, detail));
            return None;
        }
        FieldPath::parse(&text)
            .map_err(|error| self.errors.push(FieldError::invalid(at, text, error)))
            .ok()
    }

    fn columns(&mut self, version: &Value, path: &Path<'_>) -> Vec<Column> {
        let at = path.child("additionalPrinterColumns");
        let empty = Vec::new();
        let columns = version["additionalPrinterColumns"]
            .as_array()
            .unwrap_or(&empty);
        columns
            .iter()
            .enumerate()
            .map(|(index, column)| self.column(column, &at.index(index)))
            .collect()
    }

    fn column(&mut self, column: &Value, path: &Path<'_>) -> Column {
        let read = Column {
            name: text(column, "name"),
            type_: text(column, "type"),
            format: text(column, "format"),
            description: text(column, "description"),
            priority: column["priority"].as_i64().unwrap_or(0),
            json_path: text(column, "jsonPath"),
        };
        if read.name.is_empty() {
            self.errors
                .push(FieldError::required(path.child("name"), ""));
        }
        let detail = format!("must be one of {}", COLUMN_TYPES.join(","));
        if read.type_.is_empty() {
            self.errors
                .push(FieldError::required(path.child("type"), detail));
        } else if !COLUMN_TYPES.contains(&read.type_.as_str()) {
            self.errors.push(FieldError::invalid(
                path.child("type"),
                read.type_.as_str(),
                detail,
            ));
        }
        if !read.format.is_empty() && !COLUMN_FORMATS.contains(&read.format.as_str()) {
            self.errors.push(FieldError::invalid(
                path.child("format"),
                read.format.as_str(),
                format!("must be one of {}", COLUMN_FORMATS.join(",")),
            ));
        }
        if read.json_path.is_empty() {
            self.errors
                .push(FieldError::required(path.child("JSONPath"), ""));
        } else if !read.json_path.starts_with('.') {
            self.errors.push(FieldError::invalid(
                path.child("JSONPath"),
                read.json_path.as_str(),
                "must be a simple json path starting with .",
            ));
        } else if let Err(error) = crate::table::JsonPath::parse(&read.json_path) {
            self.errors.push(FieldError::invalid(
                path.child("JSONPath"),
                read.json_path.as_str(),
                error,
            ));
        }
        read
    }

    fn selectable(
        &mut self,
        version: &Value,
        structural: &Structural,
        path: &Path<'_>,
    ) -> Vec<SelectableField> {
        let at = path.child("selectableFields");
        let empty = Vec::new();
        let fields = version["selectableFields"].as_array().unwrap_or(&empty);
        let mut read: Vec<SelectableField> = Vec::new();
        for (index, field) in fields.iter().enumerate() {
            let index = at.index(index);
            let at = index.child("jsonPath");
            match selectable_field(&text(field, "jsonPath"), structural) {
                Ok(field) if read.contains(&field) => {
                    self.errors
                        .push(FieldError::duplicate(at, format!(".{}", field.name)));
                }
                Ok(field) => read.push(field),
                Err(detail) => {
                    let path = text(field, "jsonPath");
                    self.errors.push(if path.is_empty() {
                        FieldError::required(at, "")
                    } else {
                        FieldError::invalid(at, path, detail)
                    });
                }
            }
        }
        if read.len() > MAX_SELECTABLE_FIELDS {
            self.errors.push(FieldError::too_many(
                at,
                read.len(),
                MAX_SELECTABLE_FIELDS as u64,
            ));
        }
        read
    }
}

fn selectable_field(text: &str, structural: &Structural) -> Result<SelectableField, String> {
    let path = if text.contains('[') {
        Err("array notation is not allowed".to_owned())
    } else {
        FieldPath::parse(text)
    };
    let path = path.map_err(|error| format!("is an invalid path: {error}"))?;
    let node = path
        .schema(structural.root())
        .ok_or("is an invalid path: does not refer to a valid field")?;
    if path.steps()[0].name() == "metadata" {
        return Err("must not point to fields in metadata".to_owned());
    }
    if !matches!(
        node.type_,
        Some(Type::String | Type::Boolean | Type::Integer)
    ) {
        return Err(
            "must point to a field of type string, boolean or integer. Enum string fields and strings with formats are allowed."
                .to_owned(),
        );
    }
    Ok(SelectableField {
        name: text.trim_start_matches('.').to_owned(),
        path,
    })
}
