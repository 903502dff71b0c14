//! What may stand in the schema of a CustomResourceDefinition.
//!
//! Owns the rules that make a schema structural, those of the OpenAPI dialect of CRDs, and the judgement of defaults.
//! Must not know resources. Invariant: a schema that is accepted here describes every value it validates, so that
//! pruning, defaulting and CEL have one answer.

mod dialect;
mod structural;

use serde_json::Value;

use crate::cel;

use super::keyword::Reader;
use super::{Additional, FieldError, Node, Path, Subresource, prune, validate};

use dialect::{Dialect, Place};
use structural::{Level, complete, is_set, structure};

/// Compiles a schema, or says everything that is wrong with it.
pub fn compile(
    path: &str,
    document: &Value,
    subresource: Subresource,
) -> Result<Node, Vec<FieldError>> {
    let path = Path::Text(path);
    let mut reader = Reader::new();
    let mut root = reader.node(document, &path, 0);
    let mut errors = reader.errors;
    if errors.is_empty() {
        structure(&root, document, Level::Root, &path, &mut errors);
        complete(&root, &path, &mut errors);
        Dialect {
            errors: &mut errors,
        }
        .schema(&root, document, &path, Place::ROOT);
        root_rules(document, subresource, &path, &mut errors);
    }
    if errors.is_empty() {
        defaults(&root, &path, &mut errors);
    }
    if errors.is_empty() {
        errors = cel::compile(&mut root, &path);
    }
    if errors.is_empty() {
        errors = cel::validate_defaults(&root, &path);
    }
    if errors.is_empty() {
        Ok(root)
    } else {
        errors.sort_by_key(ToString::to_string);
        errors.dedup();
        Err(errors)
    }
}

/// Reads a schema that is ours; keywords that cannot be read are left out.
pub fn trusted(document: &Value) -> Node {
    Reader::new().node(document, &Path::Root, 0)
}

/// What the root may say when status is validated apart from the rest: Kubernetes' list, in its spelling and order.
const AT_ROOT: [(&str, &str); 22] = [
    ("description", "Description"),
    ("type", "Type"),
    ("format", "Format"),
    ("title", "Title"),
    ("maximum", "Maximum"),
    ("exclusiveMaximum", "ExclusiveMaximum"),
    ("minimum", "Minimum"),
    ("exclusiveMinimum", "ExclusiveMinimum"),
    ("maxLength", "MaxLength"),
    ("minLength", "MinLength"),
    ("pattern", "Pattern"),
    ("maxItems", "MaxItems"),
    ("minItems", "MinItems"),
    ("uniqueItems", "UniqueItems"),
    ("multipleOf", "MultipleOf"),
    ("required", "Required"),
    ("items", "Items"),
    ("properties", "Properties"),
    ("externalDocs", "ExternalDocs"),
    ("example", "Example"),
    (
        "x-kubernetes-preserve-unknown-fields",
        "XPreserveUnknownFields",
    ),
    ("x-kubernetes-validations", "XValidations"),
];

fn root_rules(
    document: &Value,
    subresource: Subresource,
    path: &Path<'_>,
    errors: &mut Vec<FieldError>,
) {
    let Some(map) = document.as_object() else {
        return;
    };
    if map.get("nullable") == Some(&Value::Bool(true)) {
        errors.push(FieldError::forbidden(
            path.child("nullable"),
            "nullable cannot be true at the root",
        ));
    }
    let alien = |key: &str| {
        !AT_ROOT.iter().any(|(name, _)| *name == key)
            && (key.starts_with("x-kubernetes-") || !key.starts_with("x-"))
    };
    if subresource == Subresource::Status
        && map.iter().any(|(key, value)| is_set(value) && alien(key))
    {
        let names: Vec<&str> = AT_ROOT.iter().map(|(_, name)| *name).collect();
        errors.push(FieldError::invalid(
            path,
            document.clone(),
            format!(
                "only [{}] fields are allowed at the root of the schema if the status subresource is enabled",
                names.join(" ")
            ),
        ));
    }
}

/// A default must be an object that the schema accepts as it is.
fn defaults(node: &Node, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    if let Some(value) = &node.default {
        let at = path.child("default");
        if !prune::is_pruned(node, value) {
            errors.push(FieldError::invalid(
                at,
                value.clone(),
                "must not have unknown fields",
            ));
        }
        for mut error in validate::validate(node, value, None) {
            error.path = if error.path == "<nil>" {
                at.to_string()
            } else {
                format!("{at}.{}", error.path)
            };
            errors.push(error);
        }
    }
    let properties = path.child("properties");
    for (name, child) in &node.properties {
        defaults(child, &properties.key(name), errors);
    }
    if let Some(items) = &node.items {
        defaults(items, &path.child("items"), errors);
    }
    if let Additional::Schema(values) = &node.additional {
        defaults(values, &path.child("additionalProperties"), errors);
    }
}
