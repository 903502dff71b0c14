//! CEL rules of custom resources (`x-kubernetes-validations`).
use serde_json::{Map, Value};

use crate::schema::{FieldError, Node, Path, Structural};

/// One rule of a schema.
#[derive(Debug)]
pub struct Rule {
    /// The expression.
    pub rule: String,
}

/// Reads rules.
pub fn read_rules(map: &Map<String, Value>, _path: &Path<'_>, _errors: &mut Vec<FieldError>) -> Vec<Rule> {
    map.get("x-kubernetes-validations").and_then(Value::as_array).map(|rules| rules.iter().map(|rule| Rule { rule: rule["rule"].as_str().unwrap_or_default().to_owned() }).collect()).unwrap_or_default()
}

/// Compiles.
pub fn compile(_root: &mut Node, _path: &Path<'_>) -> Vec<FieldError> { Vec::new() }

/// Defaults.
pub fn validate_defaults(_root: &Node, _path: &Path<'_>) -> Vec<FieldError> { Vec::new() }

/// Validates.
pub fn validate(_structural: &Structural, _new: &Value, _old: Option<&Value>) -> Vec<FieldError> { Vec::new() }
