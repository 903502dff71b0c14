//! Validation of an object against a schema, keyword by keyword.
//!
//! Owns the walk and the wording of each keyword's fault. Must not know CEL, list types or metadata. Invariant: time is
//! linear in the object for a given schema, and a part that an update leaves as it was is never an error.

use serde_json::{Number, Value};

use super::{Additional, Checks, FieldError, Node, Path, Type, go_float, lists};

/// How many errors one object is told about: more help nobody, and each is text in the answer.
const MAX_ERRORS: usize = 200;

/// The largest whole number up to which every one is a floating-point number: those beyond are no JSON integers.
const MAX_EXACT: f64 = 9_007_199_254_740_991.0;

/// What is wrong with `new`; what equals its counterpart in `old` is let pass.
pub fn validate(root: &Node, new: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    node(root, new, old, &Path::Root, &mut errors);
    errors.truncate(MAX_ERRORS);
    errors
}

fn node(
    node_: &Node,
    new: &Value,
    old: Option<&Value>,
    path: &Path<'_>,
    errors: &mut Vec<FieldError>,
) {
    if old.is_some_and(|old| old == new) || errors.len() >= MAX_ERRORS {
        return;
    }
    kind(node_, new, path, errors);
    if new.is_null() {
        enumeration(&node_.checks, new, path, errors);
        return;
    }
    junctors(&node_.checks, new, path, errors);
    match new {
        Value::Null | Value::Bool(_) => {}
        Value::String(text) => string(&node_.checks, text, path, errors),
        Value::Number(value) => number(node_, value, path, errors),
        Value::Array(items) => array(node_, items, old, path, errors),
        Value::Object(_) => {}
    }
    enumeration(&node_.checks, new, path, errors);
    if new.is_object() {
        object(node_, new, old, path, errors);
    }
}

fn kind(node: &Node, value: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let wanted = match (node.int_or_string, node.type_) {
        (true, _) => "integer,string",
        (false, Some(type_)) => type_.name(),
        (false, None) => return,
    };
    let found = match value {
        Value::Null if node.nullable => return,
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_i64() => "integer",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let integral = value
        .as_f64()
        .is_some_and(|number| number.fract() == 0.0 && number.abs() <= MAX_EXACT);
    let fits = wanted.split(',').any(|name| {
        name == found
            || (name == "number" && found == "integer")
            || (name == "integer" && found == "number" && integral)
    });
    if fits {
        return;
    }
    // With a format, Kubernetes names the formats instead of the types of what is no string.
    let format = &node.checks.format_name;
    let (wanted, found) = match value {
        Value::Number(number) if !format.is_empty() => (
            format.as_str(),
            if number.is_i64() { "int64" } else { "float64" },
        ),
        Value::Bool(_) | Value::Object(_) if !format.is_empty() => (format.as_str(), ""),
        _ => (wanted, found),
    };
    errors.push(FieldError::type_invalid(
        path,
        found,
        format!("{}must be of type {wanted}: \"{found}\"", subject(path)),
    ));
}

/// `spec.replicas in body `, as the messages begin.
fn subject(path: &Path<'_>) -> String {
    if path.is_root() {
        " in body ".to_owned()
    } else {
        format!("{path} in body ")
    }
}

fn string(checks: &Checks, text: &str, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    if checks.max_length.is_some() || checks.min_length.is_some() {
        let length = text.chars().count() as u64;
        if let Some(max) = checks.max_length.filter(|max| length > *max) {
            errors.push(FieldError::too_long(path, max));
        }
        if let Some(min) = checks.min_length.filter(|min| length < *min) {
            errors.push(FieldError::invalid(
                path,
                text,
                format!("{}should be at least {min} chars long", subject(path)),
            ));
        }
    }
    if let Some(pattern) = &checks.pattern
        && !pattern.is_match(text)
    {
        errors.push(FieldError::invalid(
            path,
            text,
            format!("{}should match '{}'", subject(path), checks.pattern_text),
        ));
    }
    if let Some(format) = checks.format
        && !format.accepts(text)
    {
        errors.push(FieldError::type_invalid(
            path,
            text,
            format!(
                "{}must be of type {}: {}",
                subject(path),
                checks.format_name,
                super::quote(text)
            ),
        ));
    }
}

fn number(node: &Node, value: &Number, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let checks = &node.checks;
    let float = value.as_f64().unwrap_or(f64::NAN);
    range(node, value, float, path, errors);
    let mut fault = |detail: String| {
        errors.push(FieldError::invalid(
            path,
            Value::Number(value.clone()),
            format!("{}{detail}", subject(path)),
        ));
    };
    // Bounds of an integer are printed and compared as integers.
    let bound = |limit: f64| {
        if value.is_i64() {
            format!("{}", limit as i64)
        } else {
            go_float(limit)
        }
    };
    let beyond = |limit: f64| match value.as_i64() {
        Some(integer) => integer.cmp(&(limit as i64)) as i32 as f64,
        None => float - limit,
    };
    if let Some(factor) = checks.multiple_of
        && factor > 0.0
        && !is_multiple(value, float, factor)
    {
        fault(format!("should be a multiple of {}", bound(factor)));
    }
    match checks.maximum {
        Some((limit, false)) if beyond(limit) > 0.0 => {
            fault(format!("should be less than or equal to {}", bound(limit)));
        }
        Some((limit, true)) if beyond(limit) >= 0.0 => {
            fault(format!("should be less than {}", bound(limit)));
        }
        Some(_) | None => {}
    }
    match checks.minimum {
        Some((limit, false)) if beyond(limit) < 0.0 => {
            fault(format!(
                "should be greater than or equal to {}",
                bound(limit)
            ));
        }
        Some((limit, true)) if beyond(limit) <= 0.0 => {
            fault(format!("should be greater than {}", bound(limit)));
        }
        Some(_) | None => {}
    }
}

fn is_multiple(value: &Number, float: f64, factor: f64) -> bool {
    if let Some(integer) = value.as_i64()
        && factor >= 1.0
    {
        return integer % (factor as i64) == 0;
    }
    let quotient = if factor < 1.0 {
        1.0 / factor * float
    } else {
        float / factor
    };
    (quotient - quotient.round()).abs() < 1e-9
}

fn range(node: &Node, value: &Number, float: f64, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let format = node.checks.format_name.as_str();
    let (type_, fits) = match (node.int_or_string, node.type_, format) {
        (true, ..) | (_, None, _) => return,
        (_, Some(Type::Integer), "int32") => (
            "integer",
            float.fract() == 0.0 && (i32::MIN as f64..=i32::MAX as f64).contains(&float),
        ),
        (_, Some(Type::Integer), _) => (
            "integer",
            value.is_i64() || (float.fract() == 0.0 && (-9.2e18..9.2e18).contains(&float)),
        ),
        (_, Some(Type::Number), "float") => ("number", (float as f32).is_finite()),
        (_, Some(_), _) => return,
    };
    if fits {
        return;
    }
    let named = match format {
        "int32" | "int64" | "float" => format!("with format {format}"),
        _ => "(default format)".to_owned(),
    };
    errors.push(FieldError::invalid(
        Path::Root,
        "",
        format!("Checked value must be of type {type_} {named} in {path}"),
    ));
}

fn array(
    node_: &Node,
    items: &[Value],
    old: Option<&Value>,
    path: &Path<'_>,
    errors: &mut Vec<FieldError>,
) {
    let checks = &node_.checks;
    if let Some(schema) = &node_.items {
        let keys = node_.list_map_keys();
        let old_items = old.and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let before = lists::index(keys, old_items);
        for (index, item) in items.iter().enumerate() {
            let old = before.get(&lists::key(keys, item)).copied();
            node(schema, item, old, &path.index(index), errors);
        }
    }
    let size = items.len() as u64;
    if let Some(min) = checks.min_items.filter(|min| size < *min) {
        errors.push(FieldError::invalid(
            path,
            size,
            format!("{}should have at least {min} items", subject(path)),
        ));
    }
    if let Some(max) = checks.max_items.filter(|max| size > *max) {
        errors.push(FieldError::too_many(path, items.len(), max));
    }
}

fn enumeration(checks: &Checks, value: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let allowed = &checks.enumeration;
    let equal = |other: &Value| {
        other == value
            || matches!((other, value), (Value::Number(a), Value::Number(b)) if a.as_f64() == b.as_f64())
    };
    if allowed.is_empty() || allowed.iter().any(equal) {
        return;
    }
    let texts: Vec<String> = allowed
        .iter()
        .map(|value| match value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        })
        .collect();
    errors.push(FieldError::not_supported(path, value.clone(), &texts));
}

fn object(
    node_: &Node,
    new: &Value,
    old: Option<&Value>,
    path: &Path<'_>,
    errors: &mut Vec<FieldError>,
) {
    let Value::Object(map) = new else { return };
    let checks = &node_.checks;
    let size = map.len() as u64;
    if let Some(min) = checks.min_properties.filter(|min| size < *min) {
        errors.push(FieldError::invalid(
            path,
            size,
            format!("{}should have at least {min} properties", subject(path)),
        ));
    }
    if let Some(max) = checks.max_properties.filter(|max| size > *max) {
        errors.push(FieldError::too_many(path, map.len(), max));
    }
    for (key, value) in map {
        let at = path.child(key);
        let before = old.and_then(|old| old.get(key));
        if let Some(property) = node_.properties.get(key) {
            node(property, value, before, &at, errors);
            continue;
        }
        match &node_.additional {
            Additional::Schema(schema) => node(schema, value, before, &at, errors),
            Additional::Forbidden => errors.push(FieldError::invalid(
                at,
                "",
                format!("{}.{key} in body is a forbidden property", RootText(path)),
            )),
            Additional::Absent | Additional::Any => {}
        }
    }
    for key in &checks.required {
        if !map.contains_key(key) {
            errors.push(FieldError::required(path.child(key), ""));
        }
    }
}

/// A path that is empty at the root, as the messages inside Kubernetes' composite errors have it.
struct RootText<'p>(&'p Path<'p>);

impl std::fmt::Display for RootText<'_> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0.is_root() {
            return Ok(());
        }
        write!(out, "{}", self.0)
    }
}

fn junctors(checks: &Checks, value: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let attempt = |schema: &Node| {
        let mut found = Vec::new();
        node(schema, value, None, path, &mut found);
        found
    };
    // These faults are told about the object as a whole, with the path in the text.
    let composite = |text: String| FieldError::invalid(Path::Root, "", text);
    let name = super::quote(&RootText(path).to_string());
    if !checks.any_of.is_empty() {
        let failures = failures(checks.any_of.iter().map(attempt));
        if failures.passed == 0 {
            errors.push(composite(format!(
                "{name} must validate at least one schema (anyOf)"
            )));
            errors.extend(failures.first);
        }
    }
    if !checks.one_of.is_empty() {
        let failures = failures(checks.one_of.iter().map(attempt));
        if failures.passed != 1 {
            let found = if failures.passed == 0 {
                "Found none valid".to_owned()
            } else {
                format!("Found {} valid alternatives", failures.passed)
            };
            errors.push(composite(format!(
                "{name} must validate one and only one schema (oneOf). {found}"
            )));
            if failures.passed == 0 {
                errors.extend(failures.first);
            }
        }
    }
    if !checks.all_of.is_empty() {
        let results: Vec<_> = checks.all_of.iter().map(attempt).collect();
        let passed = results.iter().filter(|found| found.is_empty()).count();
        let complete = passed == results.len();
        errors.extend(results.into_iter().flatten());
        if !complete {
            let none = if passed == 0 { ". None validated" } else { "" };
            errors.push(composite(format!(
                "{name} must validate all the schemas (allOf){none}"
            )));
        }
    }
    if let Some(schema) = &checks.not
        && attempt(schema).is_empty()
    {
        errors.push(composite(format!(
            "{name} must not validate the schema (not)"
        )));
    }
}

/// How many alternatives passed, and the faults of the first that did not.
struct Failures {
    passed: usize,
    first: Vec<FieldError>,
}

fn failures(results: impl Iterator<Item = Vec<FieldError>>) -> Failures {
    let mut outcome = Failures {
        passed: 0,
        first: Vec::new(),
    };
    for found in results {
        if found.is_empty() {
            outcome.passed += 1;
        } else if outcome.first.is_empty() {
            outcome.first = found;
        }
    }
    outcome
}
