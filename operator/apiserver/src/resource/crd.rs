//! Reading CustomResourceDefinitions.
//!
//! Owns what Kubernetes demands of the `spec` of a definition around its schemas, and the making of [`Resource`]s from
//! it. Must not know how definitions are stored or become established. Invariant: a definition that is accepted makes
//! resources that can be served.

mod version;

use std::collections::BTreeSet;

use serde_json::Value;

use crate::builtin::dns_subdomain;
use crate::schema::{FieldError, Path, dns_1035_label};

use super::Resource;

/// How many versions one definition may have: each compiles a schema of its own. Published ones have at most ten.
const MAX_VERSIONS: usize = 32;

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

    fn group_and_scope(&mut self, spec: &Value, path: &Path<'_>) -> (String, String) {
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
        (group, scope)
    }

    fn names(&mut self, spec: &Value, path: &Path<'_>) -> Names {
        let (group, scope) = self.group_and_scope(spec, path);
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
