//! Reading CustomResourceDefinitions.
//!
//! Owns what Kubernetes demands of the `spec` of a definition around its schemas, and the making of [`Resource`]s from
//! it. Must not know how definitions are stored or become established. Invariant: a definition that is accepted makes
//! resources that can be served.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::Value;

use crate::apply::TypeSchema;
use crate::builtin::dns_subdomain;
use crate::schema::{FieldError, FieldPath, Path, Structural, Subresource, Type, dns_1035_label};

use super::{Column, Resource, Scale, SelectableField, VERBS};

/// How many versions one definition may have: each compiles a schema of its own. Published ones have at most ten.
const MAX_VERSIONS: usize = 32;

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

/// The resources of a definition, or everything that is wrong with it.
pub fn resources(crd: &Value) -> Result<Vec<Resource>, Vec<FieldError>> {
    let mut reader = Reader { errors: Vec::new() };
    let resources = reader.definition(crd);
    if reader.errors.is_empty() {
        Ok(resources)
    } else {
        Err(reader.errors)
    }
}

/// Everything that is wrong with a definition, also in relation to the stored one.
pub fn validate(new: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if let Some(old) = old {
        immutable(new, old, &mut errors);
    }
    // An unchanged spec was judged when it was stored; a write to status must not compile every schema again.
    if old.is_none_or(|old| old.get("spec") != new.get("spec")) {
        errors.extend(resources(new).err().unwrap_or_default());
    }
    stored_versions(new, &mut errors);
    errors
}

fn immutable(new: &Value, old: &Value, errors: &mut Vec<FieldError>) {
    let established = old
        .pointer("/status/conditions")
        .and_then(Value::as_array)
        .is_some_and(|conditions| {
            conditions.iter().any(|condition| {
                condition["type"] == "Established" && condition["status"] == "True"
            })
        });
    for (pointer, path, always) in [
        ("/spec/scope", "spec.scope", false),
        ("/spec/names/kind", "spec.names.kind", false),
        ("/spec/group", "spec.group", true),
        ("/spec/names/plural", "spec.names.plural", true),
    ] {
        if (established || always) && new.pointer(pointer) != old.pointer(pointer) {
            let value = new.pointer(pointer).cloned().unwrap_or_default();
            errors.push(FieldError::invalid(path, value, "field is immutable"));
        }
    }
}

/// Objects may be stored in each of `status.storedVersions`, so none of them may go from `spec.versions`.
fn stored_versions(crd: &Value, errors: &mut Vec<FieldError>) {
    let Some(stored) = crd
        .pointer("/status/storedVersions")
        .and_then(Value::as_array)
    else {
        return;
    };
    let names: Vec<&Value> = crd
        .pointer("/spec/versions")
        .and_then(Value::as_array)
        .map(|versions| versions.iter().map(|version| &version["name"]).collect())
        .unwrap_or_default();
    for (index, version) in stored.iter().enumerate() {
        if !names.contains(&version) {
            let name = version.as_str().unwrap_or_default();
            errors.push(FieldError::invalid(
                format!("status.storedVersions[{index}]"),
                name,
                format!(
                    "missing from spec.versions; {name} was previously a storage version, and must remain in spec.versions until a storage migration ensures no data remains persisted in {name} and removes {name} from status.storedVersions"
                ),
            ));
        }
    }
}

struct Reader {
    errors: Vec<FieldError>,
}

/// What all versions of a definition share.
struct Names {
    group: String,
    kind: String,
    list_kind: String,
    plural: String,
    singular: String,
    short_names: Vec<String>,
    categories: Vec<String>,
    namespaced: bool,
}

/// Where a version is, and where errors name what versions may share.
#[derive(Clone, Copy)]
struct Place<'p> {
    own: &'p Path<'p>,
    shared: &'p Path<'p>,
    schema: &'static str,
}

impl Reader {
    fn definition(&mut self, crd: &Value) -> Vec<Resource> {
        let root = Path::Root;
        let path = root.child("spec");
        let null = Value::Null;
        let spec = crd.get("spec").unwrap_or(&null);
        let names = self.names(spec, &path);
        if spec["preserveUnknownFields"] == Value::Bool(true) {
            self.errors.push(FieldError::invalid(
                path.child("preserveUnknownFields"),
                true,
                "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead",
            ));
        }
        self.conversion(spec, &path);
        let empty = Vec::new();
        let versions = spec["versions"].as_array().unwrap_or(&empty);
        let at = path.child("versions");
        if versions.len() > MAX_VERSIONS {
            self.errors.push(FieldError::too_many(
                at,
                versions.len(),
                MAX_VERSIONS as u64,
            ));
            return Vec::new();
        }
        let unique: BTreeSet<&str> = versions
            .iter()
            .filter_map(|version| version["name"].as_str())
            .collect();
        if unique.len() != versions.len() {
            self.errors.push(FieldError::invalid(
                at,
                spec["versions"].clone(),
                "must contain unique version names",
            ));
        }
        let storing = versions
            .iter()
            .filter(|version| version["storage"] == Value::Bool(true))
            .count();
        if storing != 1 {
            self.errors.push(FieldError::invalid(
                at,
                spec["versions"].clone(),
                "must have exactly one version marked as storage version",
            ));
        }
        versions
            .iter()
            .enumerate()
            .filter_map(|(index, version)| {
                let own = at.index(index);
                // Kubernetes keeps what all versions share apart, and names it there: always so with one version.
                let place = match versions.len() {
                    1 => Place {
                        own: &own,
                        shared: &path,
                        schema: "validation",
                    },
                    _ => Place {
                        own: &own,
                        shared: &own,
                        schema: "schema",
                    },
                };
                self.version(&names, version, place)
            })
            .collect()
    }

    fn names(&mut self, spec: &Value, path: &Path<'_>) -> Names {
        let group = text(spec, "group");
        let at = path.child("group");
        let wrong = dns_subdomain(&group);
        if group.is_empty() {
            self.errors.push(FieldError::required(at, ""));
        } else if !wrong.is_empty() {
            self.errors
                .push(FieldError::invalid(at, group.as_str(), wrong.join(",")));
        } else if !group.contains('.') {
            self.errors.push(FieldError::invalid(
                at,
                group.as_str(),
                "should be a domain with at least one dot",
            ));
        }
        let scope = text(spec, "scope");
        let at = path.child("scope");
        match scope.as_str() {
            "Cluster" | "Namespaced" => {}
            "" => self.errors.push(FieldError::required(at, "")),
            other => {
                self.errors.push(FieldError::not_supported(
                    at,
                    other,
                    &["Cluster", "Namespaced"],
                ));
            }
        }
        let names = &spec["names"];
        let at = path.child("names");
        let kind = text(names, "kind");
        let or = |key: &str, default: String| {
            Some(text(names, key))
                .filter(|name| !name.is_empty())
                .unwrap_or(default)
        };
        let read = Names {
            singular: or("singular", kind.to_lowercase()),
            list_kind: or(
                "listKind",
                if kind.is_empty() {
                    String::new()
                } else {
                    format!("{kind}List")
                },
            ),
            plural: text(names, "plural"),
            short_names: texts(names, "shortNames"),
            categories: texts(names, "categories"),
            namespaced: scope == "Namespaced",
            group,
            kind,
        };
        self.name(&read.plural, &at.child("plural"));
        self.name(&read.singular, &at.child("singular"));
        self.kind(&read.kind, &at.child("kind"));
        self.kind(&read.list_kind, &at.child("listKind"));
        if !read.kind.is_empty() && read.kind == read.list_kind {
            self.errors.push(FieldError::invalid(
                at.child("listKind"),
                read.list_kind.as_str(),
                "kind and listKind may not be the same",
            ));
        }
        for (key, list) in [
            ("shortNames", &read.short_names),
            ("categories", &read.categories),
        ] {
            let at = at.child(key);
            for (index, name) in list.iter().enumerate() {
                self.name(name, &at.index(index));
            }
        }
        read
    }

    fn name(&mut self, name: &str, path: &Path<'_>) {
        if name.is_empty() {
            self.errors.push(FieldError::required(path, ""));
            return;
        }
        let wrong = dns_1035_label(name);
        if !wrong.is_empty() {
            self.errors
                .push(FieldError::invalid(path, name, wrong.join(",")));
        }
    }

    fn kind(&mut self, kind: &str, path: &Path<'_>) {
        if kind.is_empty() {
            self.errors.push(FieldError::required(path, ""));
            return;
        }
        let wrong = dns_1035_label(&kind.to_lowercase());
        if !wrong.is_empty() {
            self.errors.push(FieldError::invalid(
                path,
                kind,
                format!(
                    "may have mixed case, but should otherwise match: {}",
                    wrong.join(",")
                ),
            ));
        }
    }

    /// Only the conversion that changes nothing but `apiVersion` is there.
    fn conversion(&mut self, spec: &Value, path: &Path<'_>) {
        let conversion = path.child("conversion");
        let at = conversion.child("strategy");
        match spec.pointer("/conversion/strategy").and_then(Value::as_str) {
            None | Some("None" | "") => {}
            Some("Webhook") => self.errors.push(FieldError::forbidden(
                at,
                "conversion webhooks are not supported by this server; use None",
            )),
            Some(other) => {
                self.errors
                    .push(FieldError::not_supported(at, other, &["None", "Webhook"]))
            }
        }
    }

    fn version(&mut self, names: &Names, version: &Value, place: Place<'_>) -> Option<Resource> {
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
                    self.errors.push(FieldError::invalid(&at, warning, detail));
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

fn text(object: &Value, key: &str) -> String {
    object[key].as_str().unwrap_or_default().to_owned()
}

fn texts(object: &Value, key: &str) -> Vec<String> {
    object[key]
        .as_array()
        .map(|list| {
            list.iter()
                .filter_map(|name| name.as_str().map(str::to_owned))
                .collect()
        })
        .unwrap_or_default()
}
