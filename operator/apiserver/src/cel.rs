//! CEL rules of custom resources: `x-kubernetes-validations`.
//!
//! Owns how rules are read, compiled, budgeted and applied to an object. A rule is parsed once by `cel`, checked against
//! the schema with `check` (names, types, cost) and evaluated by `eval` in place, over the object's own bytes; `library`
//! lends Kubernetes' function libraries. Must not know resources or requests. Invariant: evaluation is bounded by
//! Kubernetes' own budgets, counted in steps and not in time, so that the same object is judged the same everywhere.

mod check;
mod compile;
mod decl;
mod eval;
mod expr;
mod library;
mod native;
mod signature;
mod ty;
mod value;
mod walk;

use serde_json::{Map, Value};

use crate::schema::{FieldError, FieldErrorKind, FieldPath, Node, Path, Structural};

use expr::Expr;
use walk::{Unchanged, Walk};

pub use compile::compile;

/// The longest rule or message expression, in bytes. The parser's time grows with it; published rules have some hundreds.
const MAX_RULE_BYTES: usize = 8 * 1024;

/// How many rules one schema may have: each runs on each value it describes.
const MAX_RULES_PER_SCHEMA: usize = 256;

/// One rule of a schema.
#[derive(Debug)]
pub struct Rule {
    rule: String,
    message: String,
    message_expression: String,
    kind: FieldErrorKind,
    field_path: String,
    optional_old_self: Option<bool>,
    /// The rule as written, for errors about it.
    document: Value,
    program: Option<Program>,
}

/// A compiled rule.
#[derive(Debug)]
struct Program {
    expr: Expr,
    uses_old: bool,
    message: Option<Expr>,
    field_path: Option<FieldPath>,
}

/// Reads the rules of one schema, uncompiled.
pub fn read_rules(
    schema: &Map<String, Value>,
    path: &Path<'_>,
    errors: &mut Vec<FieldError>,
) -> Vec<Rule> {
    let at = path.child("x-kubernetes-validations");
    let Some(rules) = schema
        .get("x-kubernetes-validations")
        .and_then(Value::as_array)
    else {
        return Vec::new();
    };
    if rules.len() > MAX_RULES_PER_SCHEMA {
        errors.push(FieldError::too_many(
            at,
            rules.len(),
            MAX_RULES_PER_SCHEMA as u64,
        ));
        return Vec::new();
    }
    rules
        .iter()
        .enumerate()
        .map(|(index, rule)| read_rule(rule, &at.index(index), errors))
        .collect()
}

fn read_rule(document: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) -> Rule {
    let text = |key: &str| document[key].as_str().unwrap_or_default().to_owned();
    let rule = Rule {
        rule: text("rule"),
        message: text("message"),
        message_expression: text("messageExpression"),
        kind: match document["reason"].as_str() {
            Some("FieldValueRequired") => FieldErrorKind::Required,
            Some("FieldValueForbidden") => FieldErrorKind::Forbidden,
            Some("FieldValueDuplicate") => FieldErrorKind::Duplicate,
            _ => FieldErrorKind::Invalid,
        },
        field_path: text("fieldPath"),
        optional_old_self: document["optionalOldSelf"].as_bool(),
        document: document.clone(),
        program: None,
    };
    check_words(&rule, path, errors);
    if !rule.message_expression.is_empty() && rule.message_expression.trim().is_empty() {
        errors.push(FieldError::required(
            path.child("messageExpression"),
            "messageExpression must be non-empty if specified",
        ));
    }
    const REASONS: [&str; 4] = [
        "FieldValueDuplicate",
        "FieldValueForbidden",
        "FieldValueInvalid",
        "FieldValueRequired",
    ];
    if let Some(reason) = document["reason"].as_str()
        && !REASONS.contains(&reason)
    {
        errors.push(FieldError::not_supported(
            path.child("reason"),
            reason,
            &REASONS,
        ));
    }
    for (key, text) in [
        ("rule", &rule.rule),
        ("messageExpression", &rule.message_expression),
        ("message", &rule.message),
    ] {
        if text.len() > MAX_RULE_BYTES {
            errors.push(FieldError::too_long(path.child(key), MAX_RULE_BYTES as u64));
        }
    }
    rule
}

/// A rule needs words, on one line.
fn check_words(rule: &Rule, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let breaks = |text: &str| text.contains(['\n', '\r']);
    let (trimmed, message) = (rule.rule.trim(), rule.message.trim());
    if trimmed.is_empty() {
        errors.push(FieldError::required(
            path.child("rule"),
            "rule is not specified",
        ));
    } else if !rule.message.is_empty() && message.is_empty() {
        errors.push(FieldError::invalid(
            path.child("message"),
            rule.message.as_str(),
            "must be non-empty if specified",
        ));
    } else if breaks(message) {
        errors.push(FieldError::invalid(
            path.child("message"),
            rule.message.as_str(),
            "must not contain line breaks",
        ));
    } else if breaks(trimmed) && message.is_empty() {
        errors.push(FieldError::required(
            path.child("message"),
            "message must be specified if rule contains line breaks",
        ));
    }
}

/// What the rules have against the defaults of a schema.
pub fn validate_defaults(root: &Node, path: &Path<'_>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    default_errors(root, path, &mut errors);
    errors
}

fn default_errors(node: &Node, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    if !node.has_rules {
        return;
    }
    if let Some(value) = &node.default {
        let at = path.child("default");
        // A default is introduced by a create, and stands beside itself in an update.
        for old in [None, Some(value)] {
            let mut walk = Walk::new();
            walk.node(node, value, old, Unchanged::NEVER, &at);
            if !walk.errors.is_empty() {
                errors.extend(walk.errors);
                break;
            }
        }
    }
    let properties = path.child("properties");
    for (name, child) in &node.properties {
        default_errors(child, &properties.key(name), errors);
    }
    if let Some(items) = &node.items {
        default_errors(items, &path.child("items"), errors);
    }
}

/// What the rules have against `new`; `old` is the stored object of an update.
///
/// Rules about unset fields are skipped. Rules with `oldSelf` run only where there is an old value to compare with. A
/// rule without it is let pass where the value did not change, as Kubernetes does.
pub fn validate(structural: &Structural, new: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let root = structural.root();
    if !root.has_rules {
        return Vec::new();
    }
    let mut walk = Walk::new();
    walk.node(root, new, old, Unchanged::of(new, old), &Path::Root);
    walk.errors
}

impl Rule {
    /// The rule as errors name it.
    fn shown(&self) -> &str {
        if self.message.is_empty() {
            self.rule.trim()
        } else {
            self.message.trim()
        }
    }
}

#[cfg(test)]
mod tests;
