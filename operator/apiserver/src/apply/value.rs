//! Order and equality of JSON values as structured-merge-diff defines them.
//!
//! Owns nothing but these two relations and the text of a value in a field path. It must not know types or paths.
//! Invariant: `compare` is a total order in which an integer and a float of the same value are equal.

use std::cmp::Ordering;

use serde_json::{Map, Number, Value};

/// Orders two values: numbers, then strings, booleans, lists, maps and null.
#[must_use]
pub fn compare(left: &Value, right: &Value) -> Ordering {
    match (left, right) {
        (Value::Number(l), Value::Number(r)) => compare_numbers(l, r),
        (Value::String(l), Value::String(r)) => l.cmp(r),
        (Value::Bool(l), Value::Bool(r)) => l.cmp(r),
        (Value::Array(l), Value::Array(r)) => compare_lists(l, r),
        (Value::Object(l), Value::Object(r)) => compare_maps(l, r),
        (l, r) => rank(l).cmp(&rank(r)),
    }
}

/// Whether two values are the same, numbers being compared by value.
#[must_use]
pub fn equal(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Array(l), Value::Array(r)) => {
            l.len() == r.len() && l.iter().zip(r).all(|(l, r)| equal(l, r))
        }
        (Value::Object(l), Value::Object(r)) => {
            l.len() == r.len()
                && l.iter()
                    .all(|(key, l)| r.get(key).is_some_and(|r| equal(l, r)))
        }
        (l, r) => compare(l, r) == Ordering::Equal,
    }
}

/// The text of a value inside a field path, such as `"a"` in `[name="a"]`.
#[must_use]
pub fn text(value: &Value) -> String {
    match value {
        Value::String(string) => format!("{string:?}"),
        other => canonical(other),
    }
}

/// Compact JSON with sorted keys, integral floats written as integers, as they appear inside `fieldsV1`.
#[must_use]
pub fn canonical(value: &Value) -> String {
    match value {
        Value::Number(number) => canonical_number(number),
        Value::Array(items) => format!(
            "[{}]",
            items.iter().map(canonical).collect::<Vec<_>>().join(",")
        ),
        Value::Object(map) => {
            let mut keys: Vec<&String> = map.keys().collect();
            keys.sort();
            let pairs: Vec<String> = keys
                .into_iter()
                .map(|key| format!("{}:{}", quoted(key), canonical(&map[key])))
                .collect();
            format!("{{{}}}", pairs.join(","))
        }
        Value::String(string) => quoted(string),
        Value::Null | Value::Bool(_) => value.to_string(),
    }
}

/// A string as a JSON literal.
#[must_use]
pub fn quoted(string: &str) -> String {
    Value::String(string.to_owned()).to_string()
}

/// The largest magnitude below which every integral float is written exactly as an integer.
const EXACT_INTEGERS: f64 = 9_007_199_254_740_992.0;

fn canonical_number(number: &Number) -> String {
    match number.as_f64() {
        Some(float) if number.is_f64() && float.fract() == 0.0 && float.abs() < EXACT_INTEGERS => {
            format!("{float:.0}")
        }
        _ => number.to_string(),
    }
}

fn compare_numbers(left: &Number, right: &Number) -> Ordering {
    if let (Some(l), Some(r)) = (left.as_i64(), right.as_i64()) {
        return l.cmp(&r);
    }
    let (l, r) = (
        left.as_f64().unwrap_or(f64::MAX),
        right.as_f64().unwrap_or(f64::MAX),
    );
    l.partial_cmp(&r).unwrap_or(Ordering::Equal)
}

fn compare_lists(left: &[Value], right: &[Value]) -> Ordering {
    left.iter()
        .zip(right)
        .map(|(l, r)| compare(l, r))
        .find(|order| order.is_ne())
        .unwrap_or_else(|| left.len().cmp(&right.len()))
}

fn compare_maps(left: &Map<String, Value>, right: &Map<String, Value>) -> Ordering {
    let sorted = |map: &Map<String, Value>| {
        let mut keys: Vec<String> = map.keys().cloned().collect();
        keys.sort();
        keys
    };
    let (left_keys, right_keys) = (sorted(left), sorted(right));
    left_keys
        .iter()
        .zip(&right_keys)
        .map(|(l, r)| l.cmp(r).then_with(|| compare(&left[l], &right[r])))
        .find(|order| order.is_ne())
        .unwrap_or_else(|| left_keys.len().cmp(&right_keys.len()))
}

fn rank(value: &Value) -> u8 {
    match value {
        Value::Number(_) => 0,
        Value::String(_) => 1,
        Value::Bool(_) => 2,
        Value::Array(_) => 3,
        Value::Object(_) => 4,
        Value::Null => 5,
    }
}
