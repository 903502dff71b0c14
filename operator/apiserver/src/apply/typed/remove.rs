//! Takes fields out of an object.
//!
//! Owns removal by a set of fields. It must not decide what is to be removed.

use serde_json::{Map as Object, Value};

use super::super::fields::{FieldSet, PathElement};
use super::super::schema::{List, ListRelation, Map, Shape, TypeRef};
use super::item_element;

/// The value without the fields of the set. What is emptied by it becomes null, as in structured-merge-diff: whoever removes
/// everything below a field also has the field itself in the set.
pub(in crate::apply) fn remove(ty: &TypeRef, value: &Value, set: &FieldSet) -> Value {
    let out = match ty.resolve().shape(Some(value)) {
        Shape::Scalar(_) => return value.clone(),
        Shape::List(list) => value.as_array().and_then(|items| remove_items(list, items, set)),
        Shape::Map(map) => value.as_object().and_then(|object| remove_keys(map, object, set)),
    };
    out.unwrap_or(Value::Null)
}

fn remove_items(list: &List, items: &[Value], set: &FieldSet) -> Option<Value> {
    if list.relation == ListRelation::Atomic {
        return None;
    }
    let mut out = Vec::new();
    for item in items {
        let Ok(element) = item_element(list, item) else {
            out.push(item.clone());
            continue;
        };
        if set.members.contains(&element) {
            continue;
        }
        out.push(match set.children.get(&element) {
            Some(below) => remove(&list.element, item, below),
            None => item.clone(),
        });
    }
    (!out.is_empty()).then_some(Value::Array(out))
}

fn remove_keys(map: &Map, object: &Object<String, Value>, set: &FieldSet) -> Option<Value> {
    if map.atomic {
        return None;
    }
    let mut out = Object::new();
    for (key, item) in object {
        let element = PathElement::field(key);
        if set.members.contains(&element) {
            continue;
        }
        let left = match set.children.get(&element) {
            Some(below) => remove(map.at(key), item, below),
            None => item.clone(),
        };
        out.insert(key.clone(), left);
    }
    (!out.is_empty()).then_some(Value::Object(out))
}
