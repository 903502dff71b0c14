//! The JSONPath dialect of printer columns.
//!
//! Owns parsing and search: names, quoted keys, indices, slices, wildcards, recursive descent and filters such as
//! `[?(@.type=="Ready")]`. Must not know tables. Invariant: evaluation visits each value of the object a bounded number
//! of times for each step, and a path that finds nothing is no error.

use serde_json::Value;

/// How many steps a path may have: column paths are short, and a descent multiplies the work of those after it.
const MAX_STEPS: usize = 32;

/// How many values a step may yield: a column shows the first, so more are never needed.
const MAX_VALUES: usize = 10_000;

/// A parsed path.
#[derive(Clone, Debug, PartialEq)]
pub struct JsonPath {
    steps: Vec<Step>,
}

#[derive(Clone, Debug, PartialEq)]
enum Step {
    Name(String),
    Wildcard,
    Descent,
    Index(i64),
    Slice(Option<i64>, Option<i64>),
    Filter(Filter),
}

#[derive(Clone, Debug, PartialEq)]
struct Filter {
    left: Operand,
    comparison: Option<(Comparison, Operand)>,
}

#[derive(Clone, Debug, PartialEq)]
enum Operand {
    /// Below the element that the filter looks at.
    Path(JsonPath),
    Literal(Value),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl JsonPath {
    /// Parses a path that starts with a dot.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut parser = Parser { rest: text };
        let steps = parser.steps()?;
        Ok(Self { steps })
    }

    /// The first value that the path finds.
    pub fn first<'v>(&self, object: &'v Value) -> Option<&'v Value> {
        self.find(object).first().copied()
    }

    fn find<'v>(&self, object: &'v Value) -> Vec<&'v Value> {
        let mut found = vec![object];
        for step in &self.steps {
            let mut next = Vec::new();
            for value in found {
                step.apply(value, &mut next);
                if next.len() > MAX_VALUES {
                    next.truncate(MAX_VALUES);
                    break;
                }
            }
            found = next;
        }
        found
    }
}

impl Step {
    fn apply<'v>(&self, value: &'v Value, out: &mut Vec<&'v Value>) {
        match (self, value) {
            (Step::Name(name), Value::Object(map)) => out.extend(map.get(name)),
            (Step::Wildcard, Value::Object(map)) => out.extend(map.values()),
            (Step::Wildcard, Value::Array(items)) => out.extend(items),
            (Step::Descent, value) => descend(value, out),
            (Step::Index(index), Value::Array(items)) => {
                out.extend(items.get(place(*index, items.len())))
            }
            (Step::Slice(from, to), Value::Array(items)) => {
                let end = to.map_or(items.len(), |to| place(to, items.len()).min(items.len()));
                let start = from.map_or(0, |from| place(from, items.len()));
                out.extend(items.get(start..end).unwrap_or_default());
            }
            (Step::Filter(filter), Value::Array(items)) => {
                out.extend(items.iter().filter(|item| filter.accepts(item)));
            }
            (
                Step::Name(_) | Step::Wildcard | Step::Index(_) | Step::Slice(..) | Step::Filter(_),
                _,
            ) => {}
        }
    }
}

/// Where a possibly negative index points; past the end when it is before the beginning.
fn place(index: i64, length: usize) -> usize {
    let index = if index < 0 {
        index + length as i64
    } else {
        index
    };
    usize::try_from(index).unwrap_or(usize::MAX)
}

fn descend<'v>(value: &'v Value, out: &mut Vec<&'v Value>) {
    if out.len() > MAX_VALUES {
        return;
    }
    out.push(value);
    match value {
        Value::Object(map) => map.values().for_each(|child| descend(child, out)),
        Value::Array(items) => items.iter().for_each(|child| descend(child, out)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

impl Filter {
    fn accepts(&self, item: &Value) -> bool {
        let Some(left) = self.left.value(item) else {
            return false;
        };
        let Some((comparison, right)) = &self.comparison else {
            return true;
        };
        let Some(right) = right.value(item) else {
            return false;
        };
        let order = match (left, right) {
            (Value::Number(a), Value::Number(b)) => a.as_f64().partial_cmp(&b.as_f64()),
            (Value::String(a), Value::String(b)) => Some(a.cmp(b)),
            (Value::Bool(a), Value::Bool(b)) => Some(a.cmp(b)),
            _ => None,
        };
        order.is_some_and(|order| match comparison {
            Comparison::Equal => order.is_eq(),
            Comparison::NotEqual => order.is_ne(),
            Comparison::Less => order.is_lt(),
            Comparison::LessOrEqual => order.is_le(),
            Comparison::Greater => order.is_gt(),
            Comparison::GreaterOrEqual => order.is_ge(),
        })
    }
}

impl Operand {
    fn value<'v>(&'v self, item: &'v Value) -> Option<&'v Value> {
        match self {
            Operand::Path(path) => path.first(item),
            Operand::Literal(value) => Some(value),
        }
    }
}

struct Parser<'t> {
    rest: &'t str,
}

impl Parser<'_> {
    fn steps(&mut self) -> Result<Vec<Step>, String> {
        let mut steps = Vec::new();
        while !self.rest.is_empty() {
            if steps.len() >= MAX_STEPS {
                return Err(format!("a path may have at most {MAX_STEPS} steps"));
            }
            if self.take("..") {
                steps.push(Step::Descent);
                if !self.rest.starts_with('[') {
                    steps.push(self.name()?);
                }
            } else if self.take(".") {
                // A dot alone is the object itself, and one before a bracket is allowed.
                if !self.rest.is_empty() && !self.rest.starts_with('[') {
                    steps.push(self.name()?);
                }
            } else if self.take("[") {
                steps.push(self.bracket()?);
            } else {
                return Err(format!("unexpected {:?}", self.rest));
            }
        }
        Ok(steps)
    }

    fn take(&mut self, prefix: &str) -> bool {
        match self.rest.strip_prefix(prefix) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn space(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn name(&mut self) -> Result<Step, String> {
        if self.take("*") {
            return Ok(Step::Wildcard);
        }
        let mut name = String::new();
        let mut chars = self.rest.char_indices();
        let mut end = self.rest.len();
        while let Some((at, c)) = chars.next() {
            match c {
                // A dot in a name is written `\.`.
                '\\' => name.extend(chars.next().map(|(_, escaped)| escaped)),
                c if c.is_alphanumeric() || matches!(c, '_' | '-' | '/' | '$') => name.push(c),
                _ => {
                    end = at;
                    break;
                }
            }
        }
        self.rest = &self.rest[end..];
        if name.is_empty() {
            return Err("expected a field name".to_owned());
        }
        Ok(Step::Name(name))
    }

    fn bracket(&mut self) -> Result<Step, String> {
        self.space();
        let step = if self.take("?(") {
            let filter = self.filter()?;
            if !self.take(")") {
                return Err("unterminated filter".to_owned());
            }
            Step::Filter(filter)
        } else if self.take("*") {
            Step::Wildcard
        } else if self.rest.starts_with(['\'', '"']) {
            Step::Name(self.quoted()?)
        } else {
            self.index()?
        };
        self.space();
        if self.take("]") {
            Ok(step)
        } else {
            Err("unterminated array".to_owned())
        }
    }

    fn index(&mut self) -> Result<Step, String> {
        let from = self.integer()?;
        if self.take(":") {
            let to = self.integer()?;
            return Ok(Step::Slice(from, to));
        }
        from.map(Step::Index)
            .ok_or_else(|| "invalid array index".to_owned())
    }

    fn integer(&mut self) -> Result<Option<i64>, String> {
        let end = self
            .rest
            .find(|c: char| !c.is_ascii_digit() && c != '-')
            .unwrap_or(self.rest.len());
        let (digits, rest) = self.rest.split_at(end);
        self.rest = rest;
        if digits.is_empty() {
            return Ok(None);
        }
        digits
            .parse()
            .map(Some)
            .map_err(|_| format!("invalid array index {digits}"))
    }

    fn quoted(&mut self) -> Result<String, String> {
        let quote = self.rest.chars().next().ok_or("expected a quoted string")?;
        let mut text = String::new();
        let mut chars = self.rest.char_indices().skip(1);
        while let Some((at, c)) = chars.next() {
            match c {
                c if c == quote => {
                    self.rest = &self.rest[at + 1..];
                    return Ok(text);
                }
                '\\' => text.extend(chars.next().map(|(_, escaped)| escaped)),
                c => text.push(c),
            }
        }
        Err("unterminated quoted string".to_owned())
    }

    fn filter(&mut self) -> Result<Filter, String> {
        let left = self.operand()?;
        self.space();
        let comparison = [
            ("==", Comparison::Equal),
            ("!=", Comparison::NotEqual),
            ("<=", Comparison::LessOrEqual),
            (">=", Comparison::GreaterOrEqual),
            ("<", Comparison::Less),
            (">", Comparison::Greater),
        ]
        .into_iter()
        .find(|(sign, _)| self.take(sign));
        let comparison = match comparison {
            Some((_, comparison)) => Some((comparison, self.operand()?)),
            None => None,
        };
        self.space();
        Ok(Filter { left, comparison })
    }

    fn operand(&mut self) -> Result<Operand, String> {
        self.space();
        if self.take("@") {
            let mut steps = Vec::new();
            while self.rest.starts_with(['.', '[']) && steps.len() < MAX_STEPS {
                if self.take(".") {
                    steps.push(self.name()?);
                } else {
                    self.take("[");
                    steps.push(self.bracket()?);
                }
            }
            return Ok(Operand::Path(JsonPath { steps }));
        }
        if self.rest.starts_with(['\'', '"']) {
            return Ok(Operand::Literal(Value::String(self.quoted()?)));
        }
        let end = self
            .rest
            .find(|c: char| c.is_whitespace() || matches!(c, ')' | '=' | '!' | '<' | '>'))
            .unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        serde_json::from_str(word)
            .map(Operand::Literal)
            .map_err(|_| format!("unrecognized operand {word:?} in filter"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn paths_find_what_kubectl_finds() {
        let object = json!({
            "metadata": {"labels": {"app.kubernetes.io/name": "x"}, "annotations": {"a.b": "y"}},
            "spec": {"replicas": 3, "list": [1, 2, 3]},
            "status": {"conditions": [
                {"type": "Synced", "status": "False", "n": 1},
                {"type": "Ready", "status": "True", "n": 2},
            ]},
        });
        for (path, value) in [
            (".spec.replicas", Some(json!(3))),
            (".spec.list[0]", Some(json!(1))),
            (".spec.list[-1]", Some(json!(3))),
            (".spec.list[1:2]", Some(json!(2))),
            (".spec.list[9]", None),
            (".spec.list[*]", Some(json!(1))),
            (
                ".status.conditions[?(@.type==\"Ready\")].status",
                Some(json!("True")),
            ),
            (
                ".status.conditions[?(@.type=='Synced')].status",
                Some(json!("False")),
            ),
            (".status.conditions[?(@.n>1)].type", Some(json!("Ready"))),
            (
                ".status.conditions[?(@.type!=\"Synced\")].type",
                Some(json!("Ready")),
            ),
            (".status.conditions[?(@.missing)].type", None),
            (
                ".metadata.labels['app.kubernetes.io/name']",
                Some(json!("x")),
            ),
            (
                ".metadata.labels.app\\.kubernetes\\.io/name",
                Some(json!("x")),
            ),
            (".metadata.annotations.a\\.b", Some(json!("y"))),
            ("..status", Some(object["status"].clone())),
            (".nothing.here", None),
        ] {
            let parsed = JsonPath::parse(path).unwrap_or_else(|e| panic!("{path}: {e}"));
            assert_eq!(parsed.first(&object).cloned(), value, "{path}");
        }
    }

    #[test]
    fn malformed_paths_are_refused() {
        for path in [
            "spec",
            ".a[",
            ".a[x]",
            ".a['b]",
            ".a[?(@.b==)]",
            ".a.{}",
            ".a[?(@.b",
        ] {
            assert!(JsonPath::parse(path).is_err(), "{path}");
        }
    }
}
