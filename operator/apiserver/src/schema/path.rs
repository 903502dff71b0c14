//! Simple JSON paths: `.spec.replicas`, `.status.conditions['x']`.
//!
//! Owns the one dialect that CRDs use in `scale`, `selectableFields` and a rule's `fieldPath`: names and quoted keys,
//! no filters. Must not know what is at the end of a path. Invariant: what parses prints as the same path.

use std::fmt;

use serde_json::Value;

use super::{Additional, Node, Path};

/// How many steps a path may have: deeper than any schema that is accepted.
const MAX_STEPS: usize = 64;

/// A parsed path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldPath {
    steps: Vec<FieldStep>,
}

/// One step of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FieldStep {
    /// `.name`
    Name(String),
    /// `['key']`
    Key(String),
}

impl FieldStep {
    /// The field name or key.
    pub fn name(&self) -> &str {
        match self {
            FieldStep::Name(name) | FieldStep::Key(name) => name,
        }
    }
}

impl FieldPath {
    /// Parses a path.
    ///
    /// # Errors
    /// What was expected where, in Kubernetes' words.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut steps = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            if steps.len() == MAX_STEPS {
                return Err(format!("has more than {MAX_STEPS} steps"));
            }
            if let Some(after) = rest.strip_prefix('.') {
                let end = after.find(['.', '[', ']']).unwrap_or(after.len());
                if end == 0 {
                    return Err("unexpected end of JSON path".to_owned());
                }
                steps.push(FieldStep::Name(after[..end].to_owned()));
                rest = &after[end..];
            } else if let Some(after) = rest.strip_prefix('[') {
                let (key, after) = quoted(after)?;
                steps.push(FieldStep::Key(key));
                rest = after.strip_prefix(']').ok_or("expected ]")?;
            } else {
                let end = rest.find(['.', '[']).unwrap_or(rest.len());
                return Err(format!("expected [ or . but got: {}", &rest[..end]));
            }
        }
        if steps.is_empty() {
            return Err("unexpected end of JSON path".to_owned());
        }
        Ok(Self { steps })
    }

    /// The steps, at least one.
    pub fn steps(&self) -> &[FieldStep] {
        &self.steps
    }

    /// The schema at the end of the path below `node`, if the schema has that path.
    pub fn schema<'n>(&self, node: &'n Node) -> Option<&'n Node> {
        let mut node = node;
        for step in &self.steps {
            node = if node.properties.is_empty() {
                match &node.additional {
                    Additional::Schema(values) => values,
                    Additional::Absent | Additional::Any | Additional::Forbidden => return None,
                }
            } else {
                node.properties.get(step.name())?
            };
        }
        Some(node)
    }

    /// The value at the end of the path.
    pub fn find<'v>(&self, object: &'v Value) -> Option<&'v Value> {
        self.steps
            .iter()
            .try_fold(object, |value, step| value.get(step.name()))
    }

    /// Sets the value at the end of the path, making objects on the way. Whether that was possible: not when something
    /// that is no object stands in the way.
    pub fn set(&self, object: &mut Value, value: Value) -> bool {
        let mut place = object;
        for step in &self.steps {
            if place.is_null() {
                *place = Value::Object(serde_json::Map::new());
            }
            let Value::Object(map) = place else {
                return false;
            };
            place = map.entry(step.name()).or_insert(Value::Null);
        }
        *place = value;
        true
    }

    /// The path as errors print it, below `base`.
    pub fn below(&self, base: &Path<'_>, node: &Node) -> String {
        let mut text = if base.is_root() {
            String::new()
        } else {
            base.to_string()
        };
        let mut node = Some(node);
        for step in &self.steps {
            let name = step.name();
            let named = node.is_none_or(|node| !node.properties.is_empty());
            if named {
                if !text.is_empty() {
                    text.push('.');
                }
                text.push_str(name);
            } else {
                text.push('[');
                text.push_str(name);
                text.push(']');
            }
            node = node.and_then(|node| node.field(name));
        }
        text
    }
}

impl fmt::Display for FieldPath {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for step in &self.steps {
            match step {
                FieldStep::Name(name) => write!(out, ".{name}")?,
                FieldStep::Key(key) => write!(
                    out,
                    "['{}']",
                    key.replace('\\', "\\\\").replace('\'', "\\'")
                )?,
            }
        }
        Ok(())
    }
}

/// Reads `'…'` and returns what is quoted and what follows.
fn quoted(text: &str) -> Result<(String, &str), String> {
    let mut chars = text.char_indices();
    if !matches!(chars.next(), Some((_, '\''))) {
        let end = text.find(']').unwrap_or(text.len());
        return Err(format!(
            "expected single quoted string but got {}",
            &text[..end]
        ));
    }
    let mut key = String::new();
    while let Some((at, c)) = chars.next() {
        match c {
            '\'' => return Ok((key, &text[at + 1..])),
            '\\' => match chars.next() {
                Some((_, '\'')) => key.push('\''),
                Some((_, '\\')) => key.push('\\'),
                Some((_, 'n')) => key.push('\n'),
                Some((_, 't')) => key.push('\t'),
                Some((_, 'r')) => key.push('\r'),
                Some((_, other)) => return Err(format!("invalid escape char \\{other}")),
                None => break,
            },
            c => key.push(c),
        }
    }
    Err("unexpected end of JSON path".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn paths_parse_find_and_set() {
        let object = json!({"spec": {"a.b": {"c": 1}, "replicas": 3}});
        for (path, value) in [
            (".spec.replicas", Some(json!(3))),
            (".spec['a.b'].c", Some(json!(1))),
            (".spec.none", None),
        ] {
            let parsed = FieldPath::parse(path).unwrap();
            assert_eq!(parsed.find(&object).cloned(), value, "{path}");
        }
        let mut fresh = json!({});
        assert!(
            FieldPath::parse(".spec.replicas")
                .unwrap()
                .set(&mut fresh, json!(2))
        );
        assert_eq!(fresh, json!({"spec": {"replicas": 2}}));
        assert!(
            !FieldPath::parse(".spec.replicas.x")
                .unwrap()
                .set(&mut fresh, json!(2))
        );
    }

    #[test]
    fn what_is_no_simple_path_is_refused() {
        for path in [
            "",
            "spec",
            ".",
            ".a[0]",
            ".a['x'",
            ".a..b",
            ".a[?(@.x)]",
            ".a['\\q']",
        ] {
            assert!(FieldPath::parse(path).is_err(), "{path}");
        }
    }
}
