//! Field selectors: `metadata.name=x,status.phase!=Running`.
//!
//! Owns their grammar, which fields a resource can be selected by, and what is selected. Must not know labels.
//! Invariant: a field that the resource does not offer is refused, never taken for absent.

use serde_json::Value;

use crate::resource::Resource;
use crate::schema::quote;

use super::MAX_REQUIREMENTS;

/// A parsed field selector; empty selects everything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldSelector {
    terms: Vec<Term>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Term {
    field: String,
    equal: bool,
    value: String,
}

/// Fields of built-in kinds that a selector may name: group, kind and fields; empty group is the core group.
const BUILTIN_FIELDS: &[(&str, &str, &[&str])] = &[
    (
        "",
        "Event",
        &[
            "involvedObject.kind",
            "involvedObject.namespace",
            "involvedObject.name",
            "involvedObject.uid",
            "involvedObject.apiVersion",
            "involvedObject.resourceVersion",
            "involvedObject.fieldPath",
            "reason",
            "reportingComponent",
            "source",
            "type",
        ],
    ),
    (
        "events.k8s.io",
        "Event",
        &[
            "regarding.kind",
            "regarding.namespace",
            "regarding.name",
            "regarding.uid",
            "regarding.apiVersion",
            "regarding.resourceVersion",
            "regarding.fieldPath",
            "reason",
            "reportingController",
            "type",
        ],
    ),
    ("", "Secret", &["type"]),
    ("", "Namespace", &["status.phase", "name"]),
];

impl FieldSelector {
    /// Parses `metadata.name=x,status.phase!=Running`.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut terms = Vec::new();
        for part in split_terms(text) {
            if part.is_empty() {
                continue;
            }
            if terms.len() == MAX_REQUIREMENTS {
                return Err(format!(
                    "a selector may have at most {MAX_REQUIREMENTS} requirements"
                ));
            }
            terms.push(term(&part).ok_or_else(|| {
                format!("invalid selector: '{text}'; can't understand '{part}'")
            })??);
        }
        Ok(Self { terms })
    }

    /// Whether this resource can be selected by these fields.
    ///
    /// # Errors
    /// `field label not supported: <field>`.
    pub fn check(&self, resource: &Resource) -> Result<(), String> {
        for term in &self.terms {
            let field = term.field.as_str();
            let known = field == "metadata.name"
                || (field == "metadata.namespace" && resource.namespaced)
                || resource
                    .selectable_fields
                    .iter()
                    .any(|known| known.name == field)
                || (resource.builtin
                    && BUILTIN_FIELDS.iter().any(|(group, kind, fields)| {
                        resource.group == *group
                            && resource.kind == *kind
                            && fields.contains(&field)
                    }));
            if !known {
                return Err(format!("field label not supported: {field}"));
            }
        }
        Ok(())
    }

    /// Whether an object is selected.
    pub fn matches(&self, resource: &Resource, object: &Value) -> bool {
        self.terms
            .iter()
            .all(|term| (value(resource, object, &term.field) == term.value) == term.equal)
    }

    /// The value that a field must have, when the selector demands one: a list by name can then be a lookup.
    pub fn required(&self, field: &str) -> Option<&str> {
        self.terms
            .iter()
            .find(|term| term.equal && term.field == field)
            .map(|term| term.value.as_str())
    }
}

/// A field as selectors compare it: text, empty when absent.
fn value(resource: &Resource, object: &Value, field: &str) -> String {
    let found = match resource
        .selectable_fields
        .iter()
        .find(|known| known.name == field)
    {
        Some(known) => known.path.find(object),
        // Old selectors of events and namespaces do not name a path.
        None => match (resource.kind.as_str(), field) {
            ("Event", "source") => object
                .pointer("/source/component")
                .filter(|component| component.as_str() != Some(""))
                .or_else(|| object.get("reportingComponent")),
            ("Namespace", "name") => object.pointer("/metadata/name"),
            _ => field
                .split('.')
                .try_fold(object, |value, name| value.get(name)),
        },
    };
    match found {
        None | Some(Value::Null | Value::Object(_) | Value::Array(_)) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other @ (Value::Bool(_) | Value::Number(_))) => other.to_string(),
    }
}

/// Splits at commas that are not escaped.
fn split_terms(text: &str) -> Vec<String> {
    let mut terms = vec![String::new()];
    let mut escaped = false;
    for c in text.chars() {
        let last = terms
            .last_mut()
            .expect("there is always a term being built");
        match c {
            ',' if !escaped => terms.push(String::new()),
            c => last.push(c),
        }
        escaped = c == '\\' && !escaped;
    }
    terms
}

fn term(text: &str) -> Option<Result<Term, String>> {
    let at = text.find(['=', '!'])?;
    let (field, rest) = text.split_at(at);
    let (equal, value) = match rest.strip_prefix("!=") {
        Some(value) => (false, value),
        None => (
            true,
            rest.strip_prefix("==").or_else(|| rest.strip_prefix('='))?,
        ),
    };
    Some(unescape(value).map(|value| Term {
        field: field.to_owned(),
        equal,
        value,
    }))
}

fn unescape(text: &str) -> Result<String, String> {
    let mut out = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some(escaped @ ('\\' | ',' | '=')) => out.push(escaped),
                Some(other) => {
                    return Err(format!(
                        "invalid escape sequence: {}",
                        quote(&format!("\\{other}"))
                    ));
                }
                None => return Err(format!("invalid escape sequence: {}", quote("\\"))),
            },
            ',' | '=' => {
                return Err(format!(
                    "invalid field selector: unescaped character in value: {c}"
                ));
            }
            c => out.push(c),
        }
    }
    Ok(out)
}
