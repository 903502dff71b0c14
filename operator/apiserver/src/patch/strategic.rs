//! Strategic merge patches, for built-in kinds only: custom resources have no merge keys in this sense.
//!
//! Owns the merge of lists by key and the directives `$patch`, `$retainKeys`, `$deleteFromPrimitiveList/…` and
//! `$setElementOrder/…`. It must not know kinds: merge keys come with the schema as `x-kubernetes-patch-strategy` and
//! `x-kubernetes-patch-merge-key`. Invariant: no directive ends up in the result.

use serde_json::{Map, Value};

use super::PatchError;
use crate::apply::equal;

const PATCH: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const DELETE_FROM_LIST: &str = "$deleteFromPrimitiveList/";
const SET_ORDER: &str = "$setElementOrder/";

/// The most items of a list that is merged. Merging compares every item with every other, and no list of a built-in kind comes
/// near this.
const MAX_MERGED_ITEMS: usize = 5_000;

/// The document with the patch merged in, by the OpenAPI schema of the document.
///
/// # Errors
/// [`PatchError::Malformed`] if a directive has no known form, [`PatchError::DoesNotApply`] if an item has no merge key or a
/// list mixes what cannot be merged, [`PatchError::TooLarge`] if a list to merge has more than 5,000 items.
pub fn strategic(schema: &Value, document: &Value, patch: &Value) -> Result<Value, PatchError> {
    let (Some(document), Some(patch)) = (document.as_object(), patch.as_object()) else {
        return Err(PatchError::Malformed(
            "a strategic merge patch must be an object".to_owned(),
        ));
    };
    Ok(Value::Object(merge_maps(
        Some(schema),
        document.clone(),
        patch,
    )?))
}

/// The schema below a key of a map.
fn below<'s>(schema: Option<&'s Value>, key: &str) -> Option<&'s Value> {
    let schema = schema?;
    schema
        .get("properties")
        .and_then(|fields| fields.get(key))
        .or_else(|| schema.get("additionalProperties"))
}

/// How a list merges.
#[derive(Clone, Copy)]
struct ListRule<'s> {
    items: Option<&'s Value>,
    merges: bool,
    key: Option<&'s str>,
}

impl<'s> ListRule<'s> {
    fn of(list: Option<&'s Value>) -> Self {
        let text = |name: &str| list.and_then(|list| list.get(name)).and_then(Value::as_str);
        Self {
            items: list.and_then(|list| list.get("items")),
            merges: text("x-kubernetes-patch-strategy")
                .is_some_and(|s| s.split(',').any(|part| part == "merge")),
            key: text("x-kubernetes-patch-merge-key"),
        }
    }
}

type Object = Map<String, Value>;

fn merge_maps(
    schema: Option<&Value>,
    mut original: Object,
    patch: &Object,
) -> Result<Object, PatchError> {
    match patch.get(PATCH).map(Value::as_str) {
        None => {}
        Some(Some("replace")) => {
            let mut replaced = patch.clone();
            replaced.remove(PATCH);
            return Ok(match without_directives(&Value::Object(replaced)) {
                Some(Value::Object(map)) => map,
                _ => Object::new(),
            });
        }
        Some(Some("delete")) => return Ok(Object::new()),
        Some(Some("merge")) => {}
        Some(other) => {
            return Err(PatchError::DoesNotApply(format!(
                "unknown patch type: {}",
                other.unwrap_or("not a string")
            )));
        }
    }
    retain_keys(&mut original, patch)?;
    let ordered = merge_ordered(schema, &mut original, patch)?;
    for (key, value) in patch {
        if key == PATCH || key == RETAIN_KEYS || key.starts_with(SET_ORDER) || ordered.contains(key)
        {
            continue;
        }
        if let Some(key) = key.strip_prefix(DELETE_FROM_LIST) {
            delete_from_list(&mut original, key, value)?;
            continue;
        }
        merge_key(below(schema, key), &mut original, key, value)?;
    }
    Ok(original)
}

fn merge_key(
    schema: Option<&Value>,
    original: &mut Object,
    key: &str,
    patch: &Value,
) -> Result<(), PatchError> {
    if patch.is_null() {
        original.remove(key);
        return Ok(());
    }
    let merged = match (original.get_mut(key).map(Value::take), patch) {
        (Some(Value::Object(map)), Value::Object(patch)) => {
            Some(Value::Object(merge_maps(schema, map, patch)?))
        }
        (Some(Value::Array(list)), Value::Array(patch)) => {
            let rule = ListRule::of(schema);
            Some(Value::Array(if rule.merges {
                merge_lists(rule, list, patch)?
            } else {
                patch.clone()
            }))
        }
        _ => without_directives(patch),
    };
    match merged {
        Some(merged) => original.insert(key.to_owned(), merged),
        None => original.remove(key),
    };
    Ok(())
}

/// What a patch leaves where there was nothing: its directives and nulls mean nothing there. `None` if it is a directive itself.
fn without_directives(patch: &Value) -> Option<Value> {
    match patch {
        Value::Object(map) if map.contains_key(PATCH) => None,
        Value::Object(map) => {
            let kept = map.iter().filter(|(key, value)| {
                !value.is_null()
                    && *key != RETAIN_KEYS
                    && !key.starts_with(DELETE_FROM_LIST)
                    && !key.starts_with(SET_ORDER)
            });
            Some(Value::Object(
                kept.filter_map(|(key, value)| Some((key.clone(), without_directives(value)?)))
                    .collect(),
            ))
        }
        Value::Array(items) => Some(items.iter().filter_map(without_directives).collect()),
        other => Some(other.clone()),
    }
}

/// `$retainKeys`: keys of the original that it does not name go; the patch may set no other.
fn retain_keys(original: &mut Object, patch: &Object) -> Result<(), PatchError> {
    let Some(keys) = patch.get(RETAIN_KEYS) else {
        return Ok(());
    };
    let malformed = || PatchError::Malformed("invalid patch format of retainKeys".to_owned());
    let keys = keys.as_array().ok_or_else(malformed)?;
    let named = |key: &str| keys.iter().any(|name| name.as_str() == Some(key));
    let sets = |(key, value): &(&String, &Value)| !key.starts_with('$') && !value.is_null();
    if !patch.iter().filter(sets).all(|(key, _)| named(key)) {
        return Err(malformed());
    }
    original.retain(|key, _| named(key));
    Ok(())
}

fn delete_from_list(original: &mut Object, key: &str, values: &Value) -> Result<(), PatchError> {
    let malformed = || PatchError::Malformed("invalid patch format of primitive list".to_owned());
    let values = values.as_array().ok_or_else(malformed)?;
    if let Some(list) = original.get_mut(key).and_then(Value::as_array_mut) {
        bounded(list.len().max(values.len()))?;
        list.retain(|item| !values.iter().any(|value| equal(item, value)));
    }
    Ok(())
}

/// Merges the lists that come with an order, and says which keys of the patch are thereby done.
fn merge_ordered(
    schema: Option<&Value>,
    original: &mut Object,
    patch: &Object,
) -> Result<Vec<String>, PatchError> {
    let malformed =
        || PatchError::Malformed("invalid patch format of setElementOrder list".to_owned());
    let mut done = Vec::new();
    for (directive, order) in patch {
        let Some(key) = directive.strip_prefix(SET_ORDER) else {
            continue;
        };
        let order = order.as_array().ok_or_else(malformed)?;
        let before = match original.get(key) {
            None => None,
            Some(list) => Some(list.as_array().ok_or_else(malformed)?.clone()),
        };
        let changes = match patch.get(key) {
            None => None,
            Some(list) => Some(list.as_array().ok_or_else(malformed)?),
        };
        let rule = ListRule::of(below(schema, key));
        bounded(order.len() + before.as_ref().map_or(0, Vec::len) + changes.map_or(0, Vec::len))?;
        check_order(rule.key, changes.map_or(&[][..], Vec::as_slice), order)?;
        let merged = match (&before, changes) {
            (None, None) => continue,
            (Some(before), None) => before.clone(),
            (None, Some(changes)) => changes.iter().filter_map(without_directives).collect(),
            (Some(before), Some(changes)) if rule.merges => {
                merge_lists(rule, before.clone(), changes)?
            }
            (Some(_), Some(changes)) => changes.clone(),
        };
        let sorted = put_in_order(
            rule.key,
            merged,
            order,
            before.as_deref().unwrap_or_default(),
        )?;
        original.insert(key.to_owned(), Value::Array(sorted));
        done.push(key.to_owned());
    }
    Ok(done)
}

/// The items that a patch sets must come in the order that it asks for.
fn check_order(key: Option<&str>, changes: &[Value], order: &[Value]) -> Result<(), PatchError> {
    if changes.is_empty() || order.is_empty() {
        return Ok(());
    }
    let mut wanted = order.iter();
    for change in changes.iter().filter(|change| change.get(PATCH).is_none()) {
        if !wanted.any(|item| same_item(key, change, item)) {
            let message = format!(
                "The order in patch list doesn't match {} list",
                SET_ORDER.trim_end_matches('/')
            );
            return Err(PatchError::DoesNotApply(message));
        }
    }
    Ok(())
}

fn bounded(items: usize) -> Result<(), PatchError> {
    if items > MAX_MERGED_ITEMS {
        let message =
            format!("a list to merge may have at most {MAX_MERGED_ITEMS} items, got {items}");
        return Err(PatchError::TooLarge(message));
    }
    Ok(())
}

fn same_item(key: Option<&str>, left: &Value, right: &Value) -> bool {
    match key {
        None => equal(left, right),
        Some(key) => match (left.get(key), right.get(key)) {
            (Some(left), Some(right)) => equal(left, right),
            _ => false,
        },
    }
}

fn position(key: Option<&str>, list: &[Value], item: &Value) -> Option<usize> {
    list.iter().position(|other| same_item(key, item, other))
}

fn merge_lists(
    rule: ListRule<'_>,
    original: Vec<Value>,
    patch: &[Value],
) -> Result<Vec<Value>, PatchError> {
    bounded(original.len() + patch.len())?;
    let items = || original.iter().chain(patch);
    if items().any(Value::is_array) {
        return Err(PatchError::DoesNotApply(
            "lists of lists are not supported".to_owned(),
        ));
    }
    let maps = items().filter(|item| item.is_object()).count();
    if maps == 0 {
        let mut merged: Vec<Value> = Vec::new();
        for item in items() {
            if !merged.iter().any(|seen| equal(seen, item)) {
                merged.push(item.clone());
            }
        }
        return put_in_order(None, merged, patch, &original);
    }
    if maps != items().count() {
        return Err(PatchError::DoesNotApply(
            "list element types are not identical".to_owned(),
        ));
    }
    let key = rule.key.ok_or_else(|| {
        PatchError::DoesNotApply("cannot merge lists without merge key".to_owned())
    })?;
    let (before, changes) = apply_item_directives(key, original, patch)?;
    let mut merged = before.clone();
    for change in &changes {
        match position(Some(key), &merged, change) {
            None => merged.extend(without_directives(change)),
            Some(at) => {
                if let (Value::Object(item), Value::Object(change)) = (merged[at].take(), change) {
                    merged[at] = Value::Object(merge_maps(rule.items, item, change)?);
                }
            }
        }
    }
    put_in_order(Some(key), merged, &changes, &before)
}

/// `$patch` inside list items: the list that is left to merge into, and the items that are left to merge.
fn apply_item_directives(
    key: &str,
    mut original: Vec<Value>,
    patch: &[Value],
) -> Result<(Vec<Value>, Vec<Value>), PatchError> {
    let no_key =
        || PatchError::DoesNotApply(format!("map does not contain declared merge key: {key}"));
    let mut changes = Vec::new();
    let mut replaces = false;
    for item in patch {
        match item.get(PATCH).map(Value::as_str) {
            None => {
                item.get(key).ok_or_else(no_key)?;
                changes.push(item.clone());
            }
            Some(Some("delete")) => {
                item.get(key).ok_or_else(no_key)?;
                original.retain(|other| !same_item(Some(key), item, other));
            }
            Some(Some("replace")) => replaces = true,
            Some(Some("merge")) => {
                return Err(PatchError::DoesNotApply(
                    "merging lists cannot yet be specified in the patch".to_owned(),
                ));
            }
            Some(other) => {
                return Err(PatchError::DoesNotApply(format!(
                    "unknown patch type: {}",
                    other.unwrap_or("not a string")
                )));
            }
        }
    }
    Ok(if replaces {
        (changes, Vec::new())
    } else {
        (original, changes)
    })
}

/// Items that the order names come in that order; the others keep theirs, and stand before the first item of the order that
/// they stood before.
fn put_in_order(
    key: Option<&str>,
    merged: Vec<Value>,
    order: &[Value],
    before: &[Value],
) -> Result<Vec<Value>, PatchError> {
    if let Some(key) = key
        && merged.iter().any(|item| item.get(key).is_none())
    {
        return Err(PatchError::DoesNotApply(format!(
            "map does not contain declared merge key: {key}"
        )));
    }
    let (mut named, mut others): (Vec<Value>, Vec<Value>) = merged
        .into_iter()
        .partition(|item| position(key, order, item).is_some());
    named.sort_by_key(|item| position(key, order, item));
    others.sort_by_key(|item| position(key, before, item).unwrap_or(usize::MAX));
    let mut out = Vec::with_capacity(named.len() + others.len());
    let (mut named, mut others) = (named.into_iter().peekable(), others.into_iter().peekable());
    loop {
        let other_first = match (others.peek(), named.peek()) {
            (None, None) => return Ok(out),
            (Some(_), None) => true,
            (None, Some(_)) => false,
            (Some(other), Some(named)) => {
                match (position(key, before, other), position(key, before, named)) {
                    (Some(other), Some(named)) => other < named,
                    _ => false,
                }
            }
        };
        out.extend(if other_first {
            others.next()
        } else {
            named.next()
        });
    }
}
