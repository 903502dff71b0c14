//! Objects seen through their merge types: validation, the fields of an object, and identity of list items.
//!
//! Owns what structured-merge-diff calls a typed value; merging, comparing, removing and reconciling are the files below. It
//! must not know managers. Invariant: nothing here changes its inputs, and every walk follows the schema, never the clock.

pub(super) mod compare;
pub(super) mod merge;
pub(super) mod reconcile;
pub(super) mod remove;

use std::collections::BTreeSet;

use serde_json::{Map as Object, Value};

use super::fields::{FieldSet, PathElement, path_text};
use super::schema::{List, ListRelation, Map, Scalar, Shape, TypeRef};

/// An object, or a part of one, does not fit its type.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {message}")]
pub(super) struct TypedError {
    path: String,
    message: String,
}

pub(super) fn error_at(path: &[PathElement], message: impl Into<String>) -> TypedError {
    TypedError {
        path: path_text(path),
        message: message.into(),
    }
}

/// The value as a map; null and other shapes count as none.
fn as_map(value: Option<&Value>) -> Option<&Object<String, Value>> {
    value.and_then(Value::as_object)
}

/// The value as a list; null and other shapes count as none.
fn as_list(value: Option<&Value>) -> Option<&[Value]> {
    value.and_then(Value::as_array).map(Vec::as_slice)
}

/// The identity of an item of an associative list.
fn item_element(list: &List, item: &Value) -> Result<PathElement, String> {
    match &list.relation {
        ListRelation::Atomic => Err("invalid indexing of non-associative list".to_owned()),
        ListRelation::Set => match item {
            Value::Object(_) => {
                Err("associative list without keys has an element that's a map type".to_owned())
            }
            Value::Array(_) => {
                Err("not supported: associative list with lists as elements".to_owned())
            }
            Value::Null => Err(
                "associative list without keys has an element that's an explicit null".to_owned(),
            ),
            Value::Bool(_) | Value::Number(_) | Value::String(_) => {
                Ok(PathElement::Value(item.clone()))
            }
        },
        ListRelation::Map(keys) => keyed_item_element(list, keys, item),
    }
}

fn keyed_item_element(list: &List, keys: &[String], item: &Value) -> Result<PathElement, String> {
    let object = match item {
        Value::Object(object) => object,
        Value::Null => {
            return Err("associative list with keys may not have a null element".to_owned());
        }
        _ => return Err("associative list with keys may not have non-map elements".to_owned()),
    };
    let element = list.element.resolve().map.as_ref();
    let default = |key: &String| {
        element
            .and_then(|map| map.fields.get(key))
            .and_then(|field| field.default.clone())
    };
    let fields: Vec<(String, Value)> = keys
        .iter()
        .filter_map(|key| {
            Some((
                key.clone(),
                object.get(key).cloned().or_else(|| default(key))?,
            ))
        })
        .collect();
    if fields.is_empty() && !keys.is_empty() {
        let keys: Vec<String> = keys.iter().map(|key| format!("{key:?}")).collect();
        return Err(format!(
            "associative list with keys has an element that omits all key fields [{}] (and doesn't have default values for any key fields)",
            keys.join(" ")
        ));
    }
    Ok(PathElement::key(fields))
}

/// Checks an applied configuration: types of scalars, declared fields, keys of list items, no duplicates.
///
/// # Errors
/// Every problem found, one line each, as Kubernetes words them.
pub(super) fn validate(ty: &TypeRef, value: &Value) -> Result<(), String> {
    let mut errors = Vec::new();
    validate_at(ty, value, &mut Vec::new(), &mut errors);
    match errors.as_slice() {
        [] => Ok(()),
        [one] => Err(one.to_string()),
        many => Err(std::iter::once("errors:".to_owned())
            .chain(many.iter().map(|e| format!("  {e}")))
            .collect::<Vec<_>>()
            .join("\n")),
    }
}

fn validate_at(
    ty: &TypeRef,
    value: &Value,
    path: &mut Vec<PathElement>,
    errors: &mut Vec<TypedError>,
) {
    match ty.resolve().shape(Some(value)) {
        Shape::Scalar(scalar) => {
            if let Some(message) = scalar_mismatch(scalar, value) {
                errors.push(error_at(path, message));
            }
        }
        Shape::List(list) => validate_list(list, value, path, errors),
        Shape::Map(map) => validate_map(map, value, path, errors),
    }
}

fn validate_list(
    list: &List,
    value: &Value,
    path: &mut Vec<PathElement>,
    errors: &mut Vec<TypedError>,
) {
    let Value::Array(items) = value else {
        if !value.is_null() {
            errors.push(error_at(path, format!("expected list, got {value}")));
        }
        return;
    };
    let mut seen = BTreeSet::new();
    for (index, item) in items.iter().enumerate() {
        let element = if list.relation == ListRelation::Atomic {
            PathElement::Index(i64::try_from(index).unwrap_or(i64::MAX))
        } else {
            match item_element(list, item) {
                Ok(element) => element,
                Err(message) => {
                    errors.push(error_at(path, format!("element {index}: {message}")));
                    return;
                }
            }
        };
        if !seen.insert(element.clone()) {
            errors.push(error_at(
                path,
                format!("duplicate entries for key {element}"),
            ));
        }
        path.push(element);
        validate_at(&list.element, item, path, errors);
        path.pop();
    }
}

fn validate_map(
    map: &Map,
    value: &Value,
    path: &mut Vec<PathElement>,
    errors: &mut Vec<TypedError>,
) {
    let Value::Object(object) = value else {
        if !value.is_null() {
            errors.push(error_at(path, format!("expected map, got {value}")));
        }
        return;
    };
    for (key, item) in object {
        path.push(PathElement::field(key));
        match map.declared(key) {
            Some(ty) => validate_at(ty, item, path, errors),
            None => errors.push(error_at(path, "field not declared in schema")),
        }
        path.pop();
    }
}

fn scalar_mismatch(scalar: Scalar, value: &Value) -> Option<String> {
    let (fits, wanted) = match scalar {
        Scalar::Numeric => (value.is_number(), "numeric (int or float)"),
        Scalar::String => (value.is_string(), "string"),
        Scalar::Boolean => (value.is_boolean(), "boolean"),
        Scalar::Untyped => (!value.is_array() && !value.is_object(), "any scalar"),
    };
    (!fits && !value.is_null()).then(|| format!("expected {wanted}, got {value}"))
}

/// The fields that an object sets, as they are owned. An empty associative list is not among them, as in Kubernetes.
///
/// # Errors
/// [`TypedError`] if an item of an associative list has no identity.
pub(super) fn field_set(ty: &TypeRef, value: &Value) -> Result<FieldSet, TypedError> {
    let mut set = FieldSet::default();
    collect(ty, value, EmptyLists::Skipped, &mut Vec::new(), &mut set)?;
    Ok(set)
}

/// The fields that are there, empty associative lists too: what prunes must see, or it would take them for nothing.
///
/// # Errors
/// As [`field_set`].
pub(super) fn present_set(ty: &TypeRef, value: &Value) -> Result<FieldSet, TypedError> {
    let mut set = FieldSet::default();
    collect(ty, value, EmptyLists::Counted, &mut Vec::new(), &mut set)?;
    Ok(set)
}

/// Whether an associative list without items is a field.
#[derive(Clone, Copy, PartialEq, Eq)]
enum EmptyLists {
    Counted,
    Skipped,
}

fn collect(
    ty: &TypeRef,
    value: &Value,
    empty: EmptyLists,
    path: &mut Vec<PathElement>,
    set: &mut FieldSet,
) -> Result<(), TypedError> {
    match ty.resolve().shape(Some(value)) {
        Shape::Scalar(_) => set.insert(path),
        Shape::List(list) if list.relation == ListRelation::Atomic => set.insert(path),
        Shape::List(list) => match as_list(Some(value)) {
            Some([]) if empty == EmptyLists::Counted => set.insert(path),
            items => collect_list(list, items.unwrap_or_default(), empty, path, set)?,
        },
        Shape::Map(map) if map.atomic => set.insert(path),
        Shape::Map(map) => {
            for (key, item) in as_map(Some(value)).into_iter().flatten() {
                path.push(PathElement::field(key));
                collect(map.at(key), item, empty, path, set)?;
                let hollow = item.is_null() || item.as_object().is_some_and(Object::is_empty);
                if hollow || !map.fields.contains_key(key) {
                    set.insert(path);
                }
                path.pop();
            }
        }
    }
    Ok(())
}

/// Items that share an identity are owned as one, without what lies below them.
fn collect_list(
    list: &List,
    items: &[Value],
    empty: EmptyLists,
    path: &mut Vec<PathElement>,
    set: &mut FieldSet,
) -> Result<(), TypedError> {
    let elements = elements_of(list, items, path)?;
    let (mut seen, mut twice) = (BTreeSet::new(), BTreeSet::new());
    for element in &elements {
        if !seen.insert(element) {
            twice.insert(element);
        }
    }
    for (element, item) in elements.iter().zip(items) {
        path.push(element.clone());
        set.insert(path);
        if !twice.contains(element) {
            collect(&list.element, item, empty, path, set)?;
        }
        path.pop();
    }
    Ok(())
}

/// The identities of all items, in order.
fn elements_of(
    list: &List,
    items: &[Value],
    path: &[PathElement],
) -> Result<Vec<PathElement>, TypedError> {
    items
        .iter()
        .enumerate()
        .map(|(index, item)| {
            item_element(list, item)
                .map_err(|message| error_at(path, format!("element {index}: {message}")))
        })
        .collect()
}

/// Adds the named fields on the way to members, which ownership leaves out because they cannot be owned alone.
pub(super) fn with_named_fields(ty: &TypeRef, set: &FieldSet) -> FieldSet {
    let ty = ty.resolve();
    let mut out = FieldSet {
        members: set.members.clone(),
        ..FieldSet::default()
    };
    for (element, child) in &set.children {
        let below = match (element, &ty.map, &ty.list) {
            (PathElement::Field(name), Some(map), _) => {
                if map.fields.contains_key(name) {
                    out.members.insert(element.clone());
                }
                map.at(name)
            }
            (PathElement::Key(_), _, Some(list)) => &list.element,
            _ => &TypeRef::Untyped,
        };
        out.children
            .insert(element.clone(), with_named_fields(below, child));
    }
    out
}
