//! Merges an applied configuration into the live object.
//!
//! Owns the rule of structured-merge-diff: leaves of the right side win, what only the left side has stays, and items of
//! associative lists take the order of the right side with the rest kept where it was. It must not know who owns what.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde_json::{Map as Object, Value};

use super::super::fields::PathElement;
use super::super::schema::{List, ListRelation, Map, Shape, TypeRef};
use super::{TypedError, as_list, as_map, elements_of, error_at};

/// The two merged; `None` if neither leaves anything.
///
/// # Errors
/// [`TypedError`] if items of an associative list have no identity, or the right side has one twice.
pub(in crate::apply) fn merge(
    ty: &TypeRef,
    left: Option<&Value>,
    right: Option<&Value>,
) -> Result<Option<Value>, TypedError> {
    merge_at(ty, left, right, &mut Vec::new())
}

fn merge_at(
    ty: &TypeRef,
    left: Option<&Value>,
    right: Option<&Value>,
    path: &mut Vec<PathElement>,
) -> Result<Option<Value>, TypedError> {
    let shape = ty.resolve().shape(right.or(left));
    let leaf = || right.or(left).cloned();
    match shape {
        Shape::Scalar(_) => Ok(leaf()),
        Shape::List(list) => {
            let (l, r) = (
                as_list(left).unwrap_or_default(),
                as_list(right).unwrap_or_default(),
            );
            if list.relation == ListRelation::Atomic || (l.is_empty() && r.is_empty()) {
                return Ok(leaf());
            }
            merge_list(list, l, r, path)
        }
        Shape::Map(map) => {
            let (l, r) = (as_map(left), as_map(right));
            let empty = |side: Option<&Object<String, Value>>| side.is_none_or(Object::is_empty);
            if map.atomic || (empty(l) && empty(r)) {
                return Ok(leaf());
            }
            merge_map(map, l, r, path)
        }
    }
}

fn merge_map(
    map: &Map,
    left: Option<&Object<String, Value>>,
    right: Option<&Object<String, Value>>,
    path: &mut Vec<PathElement>,
) -> Result<Option<Value>, TypedError> {
    let keys: BTreeSet<&String> = left
        .into_iter()
        .chain(right)
        .flat_map(Object::keys)
        .collect();
    let mut out = Object::new();
    for key in keys {
        path.push(PathElement::field(key));
        let merged = merge_at(
            map.at(key),
            left.and_then(|l| l.get(key)),
            right.and_then(|r| r.get(key)),
            path,
        )?;
        path.pop();
        if let Some(merged) = merged {
            out.insert(key.clone(), merged);
        }
    }
    Ok((!out.is_empty()).then_some(Value::Object(out)))
}

/// One side of a list merge: identities in order, and the item for each. An identity that occurs twice stands for nothing,
/// because no single item could be merged with the other side's.
struct Side<'v> {
    elements: Vec<PathElement>,
    items: BTreeMap<PathElement, &'v Value>,
}

impl<'v> Side<'v> {
    fn new(list: &List, items: &'v [Value], path: &[PathElement]) -> Result<Self, TypedError> {
        let elements = elements_of(list, items, path)?;
        let mut by_element = BTreeMap::new();
        for (element, item) in elements.iter().zip(items) {
            by_element
                .entry(element.clone())
                .and_modify(|seen| *seen = &Value::Null)
                .or_insert(item);
        }
        Ok(Self {
            elements,
            items: by_element,
        })
    }
}

/// The right side's order decides for everything it names; items of the left side alone keep their place before the next
/// item that both have.
fn merge_list(
    list: &List,
    left: &[Value],
    right: &[Value],
    path: &mut Vec<PathElement>,
) -> Result<Option<Value>, TypedError> {
    let l = Side::new(list, left, path)?;
    let r = Side::new(list, right, path)?;
    if r.items.len() != r.elements.len() {
        return Err(error_at(path, "duplicate entries in the applied list"));
    }
    let mut shared: VecDeque<&PathElement> = r
        .elements
        .iter()
        .filter(|element| l.items.contains_key(element))
        .collect();
    let mut done: BTreeSet<&PathElement> = BTreeSet::new();
    let mut out = Vec::new();
    let (mut li, mut ri) = (0, 0);
    while li < l.elements.len() || ri < r.elements.len() {
        if let Some(here) = l.elements.get(li) {
            let named_right = r.items.contains_key(here);
            if !named_right {
                push_item(list, here, Some(&left[li]), None, path, &mut out)?;
                li += 1;
                continue;
            }
            let turn = r.elements.get(ri) == Some(here);
            let out_of_turn =
                ri < r.elements.len() && shared.front().is_some_and(|next| *next != here);
            if !turn && (out_of_turn || done.contains(here)) {
                li += 1;
                if out_of_turn {
                    continue;
                }
            }
            if turn {
                li += 1;
            }
        }
        if let Some(here) = r.elements.get(ri) {
            push_item(
                list,
                here,
                l.items.get(here).copied(),
                r.items.get(here).copied(),
                path,
                &mut out,
            )?;
            done.insert(here);
            if shared.front() == Some(&here) {
                shared.pop_front();
            }
            ri += 1;
        }
    }
    Ok((!out.is_empty()).then_some(Value::Array(out)))
}

fn push_item(
    list: &List,
    element: &PathElement,
    left: Option<&Value>,
    right: Option<&Value>,
    path: &mut Vec<PathElement>,
    out: &mut Vec<Value>,
) -> Result<(), TypedError> {
    path.push(element.clone());
    let merged = merge_at(&list.element, left, right, path)?;
    path.pop();
    out.extend(merged);
    Ok(())
}
