//! Sets of fields and their wire form `fieldsV1`.
//!
//! Owns [`PathElement`] and [`FieldSet`] with their algebra. It must not know objects, managers or schemas.
//! Invariant: a child set is never empty, so that equal sets have equal trees, and elements are kept in the order of
//! structured-merge-diff (fields, keys, values, indexes).

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde_json::{Map, Value};

use super::value;

/// One step of a field path.
#[derive(Clone, Debug)]
pub enum PathElement {
    /// A field of a struct or a key of a map: `f:name`.
    Field(String),
    /// The item of a list-map with these key fields, sorted by name: `k:{"name":"x"}`.
    Key(Vec<(String, Value)>),
    /// The item of a set with this value: `v:"x"`.
    Value(Value),
    /// The item of a list at this position: `i:0`.
    Index(i64),
}

/// Why a `fieldsV1` value cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FieldsError {
    /// A set must be a JSON object.
    #[error("fieldsV1: expected an object")]
    NotAnObject,
    /// A key is neither `.` nor a path element.
    #[error("fieldsV1: {0:?} is not a path element")]
    BadElement(String),
}

impl PathElement {
    /// The element for a field name.
    #[must_use]
    pub fn field(name: &str) -> Self {
        Self::Field(name.to_owned())
    }

    /// The element for the key fields of a list item, in any order.
    #[must_use]
    pub fn key(mut fields: Vec<(String, Value)>) -> Self {
        fields.sort_by(|l, r| l.0.cmp(&r.0));
        Self::Key(fields)
    }

    /// Reads the wire form. `None` for a kind of element that this server does not know, which is dropped as Kubernetes does.
    ///
    /// # Errors
    /// [`FieldsError::BadElement`] if the text has no known form at all.
    pub fn parse(text: &str) -> Result<Option<Self>, FieldsError> {
        let bad = || FieldsError::BadElement(text.to_owned());
        let (kind, rest) = text.split_once(':').ok_or_else(bad)?;
        match kind {
            "f" => Ok(Some(Self::field(rest))),
            "v" => Ok(Some(Self::Value(
                serde_json::from_str(rest).map_err(|_| bad())?,
            ))),
            "i" => Ok(Some(Self::Index(rest.parse().map_err(|_| bad())?))),
            "k" => {
                let map: Map<String, Value> = serde_json::from_str(rest).map_err(|_| bad())?;
                Ok(Some(Self::key(map.into_iter().collect())))
            }
            unknown if unknown.chars().count() == 1 => Ok(None),
            _ => Err(bad()),
        }
    }

    /// The wire form.
    #[must_use]
    pub fn wire(&self) -> String {
        match self {
            Self::Field(name) => format!("f:{name}"),
            Self::Key(fields) => {
                let pairs: Vec<String> = fields
                    .iter()
                    .map(|(name, v)| format!("{}:{}", value::quoted(name), value::canonical(v)))
                    .collect();
                format!("k:{{{}}}", pairs.join(","))
            }
            Self::Value(v) => format!("v:{}", value::canonical(v)),
            Self::Index(index) => format!("i:{index}"),
        }
    }

    fn rank(&self) -> u8 {
        match self {
            Self::Field(_) => 0,
            Self::Key(_) => 1,
            Self::Value(_) => 2,
            Self::Index(_) => 3,
        }
    }
}

impl Ord for PathElement {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Field(l), Self::Field(r)) => l.cmp(r),
            (Self::Key(l), Self::Key(r)) => l
                .iter()
                .zip(r)
                .map(|(l, r)| l.0.cmp(&r.0).then_with(|| value::compare(&l.1, &r.1)))
                .find(|order| order.is_ne())
                .unwrap_or_else(|| l.len().cmp(&r.len())),
            (Self::Value(l), Self::Value(r)) => value::compare(l, r),
            (Self::Index(l), Self::Index(r)) => l.cmp(r),
            (l, r) => l.rank().cmp(&r.rank()),
        }
    }
}

impl PartialOrd for PathElement {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for PathElement {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for PathElement {}

impl fmt::Display for PathElement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Field(name) => write!(f, ".{name}"),
            Self::Key(fields) => {
                let pairs: Vec<String> = fields
                    .iter()
                    .map(|(name, v)| format!("{name}={}", value::text(v)))
                    .collect();
                write!(f, "[{}]", pairs.join(","))
            }
            Self::Value(v) => write!(f, "[={}]", value::text(v)),
            Self::Index(index) => write!(f, "[{index}]"),
        }
    }
}

/// The text of a path as people read it, such as `.spec.containers[name="a"].image`.
#[must_use]
pub fn path_text(path: &[PathElement]) -> String {
    path.iter().map(PathElement::to_string).collect()
}

/// A set of fields, as a tree.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldSet {
    /// Elements that are in the set themselves.
    pub members: BTreeSet<PathElement>,
    /// Elements below which there are members. Being here does not make an element a member.
    pub children: BTreeMap<PathElement, FieldSet>,
}

impl FieldSet {
    /// The set of these paths of field names.
    #[must_use]
    pub fn of_fields(paths: &[&[&str]]) -> Self {
        let mut set = Self::default();
        for path in paths {
            let path: Vec<PathElement> = path.iter().map(|name| PathElement::field(name)).collect();
            set.insert(&path);
        }
        set
    }

    /// Whether nothing is in the set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.members.is_empty() && self.children.values().all(Self::is_empty)
    }

    /// Adds one path; its parents are not added. The empty path, the whole object, is never owned.
    pub fn insert(&mut self, path: &[PathElement]) {
        let Some((last, parents)) = path.split_last() else {
            return;
        };
        let mut set = self;
        for element in parents {
            set = set.children.entry(element.clone()).or_default();
        }
        set.members.insert(last.clone());
    }

    /// Whether exactly this path is a member.
    #[must_use]
    pub fn has(&self, path: &[PathElement]) -> bool {
        let Some((last, parents)) = path.split_last() else {
            return false;
        };
        let mut set = self;
        for element in parents {
            let Some(child) = set.children.get(element) else {
                return false;
            };
            set = child;
        }
        set.members.contains(last)
    }

    /// Everything in either set.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        let mut out = self.clone();
        out.absorb(other);
        out
    }

    fn absorb(&mut self, other: &Self) {
        self.members.extend(other.members.iter().cloned());
        for (element, child) in &other.children {
            self.children
                .entry(element.clone())
                .or_default()
                .absorb(child);
        }
    }

    /// Everything in both sets.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        let both = |(element, child): (&PathElement, &Self)| {
            let common = child.intersection(other.children.get(element)?);
            (!common.is_empty()).then(|| (element.clone(), common))
        };
        Self {
            members: self.members.intersection(&other.members).cloned().collect(),
            children: self.children.iter().filter_map(both).collect(),
        }
    }

    /// Everything in this set that is not a member of the other; what lies below a member of the other stays.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Self {
        let rest = |(element, child): (&PathElement, &Self)| {
            let left = other
                .children
                .get(element)
                .map_or_else(|| child.clone(), |o| child.difference(o));
            (!left.is_empty()).then(|| (element.clone(), left))
        };
        Self {
            members: self.members.difference(&other.members).cloned().collect(),
            children: self.children.iter().filter_map(rest).collect(),
        }
    }

    /// Everything in this set that is neither a member of the other nor below one.
    #[must_use]
    pub fn recursive_difference(&self, other: &Self) -> Self {
        let rest = |(element, child): (&PathElement, &Self)| {
            if other.members.contains(element) {
                return None;
            }
            let left = other
                .children
                .get(element)
                .map_or_else(|| child.clone(), |o| child.recursive_difference(o));
            (!left.is_empty()).then(|| (element.clone(), left))
        };
        Self {
            members: self.members.difference(&other.members).cloned().collect(),
            children: self.children.iter().filter_map(rest).collect(),
        }
    }

    /// Calls `visit` with every member's path, members of a level before what lies below it.
    pub fn for_each(&self, visit: &mut dyn FnMut(&[PathElement])) {
        self.walk(&mut Vec::new(), visit);
    }

    fn walk(&self, path: &mut Vec<PathElement>, visit: &mut dyn FnMut(&[PathElement])) {
        for member in &self.members {
            path.push(member.clone());
            visit(path);
            path.pop();
        }
        for (element, child) in &self.children {
            path.push(element.clone());
            child.walk(path, visit);
            path.pop();
        }
    }

    /// Reads the wire form. Kinds of elements that this server does not know are dropped.
    ///
    /// # Errors
    /// [`FieldsError`] if the value is not a tree of path elements.
    pub fn from_fields_v1(fields: &Value) -> Result<Self, FieldsError> {
        if fields.is_null() {
            return Ok(Self::default());
        }
        Ok(read(fields)?.0.unwrap_or_default())
    }

    /// The wire form, `{"f:spec":{"f:replicas":{}}}`.
    #[must_use]
    pub fn to_fields_v1(&self) -> Value {
        let mut out = Map::new();
        for element in self
            .members
            .iter()
            .chain(self.children.keys())
            .collect::<BTreeSet<_>>()
        {
            let mut content = match self.children.get(element).map(Self::to_fields_v1) {
                Some(Value::Object(content)) => content,
                _ => Map::new(),
            };
            if self.members.contains(element) && !content.is_empty() {
                content.insert(".".to_owned(), Value::Object(Map::new()));
                // Sorted again so that the output does not depend on how the map type orders its keys.
                content.sort_keys();
            }
            out.insert(element.wire(), Value::Object(content));
        }
        out.sort_keys();
        Value::Object(out)
    }
}

/// Reads one level: what lies below, and whether the element itself is a member (written `.`, or by having nothing below).
fn read(fields: &Value) -> Result<(Option<FieldSet>, bool), FieldsError> {
    let map = fields.as_object().ok_or(FieldsError::NotAnObject)?;
    let mut set: Option<FieldSet> = None;
    let mut member = false;
    for (key, below) in map {
        if key == "." {
            member = true;
            continue;
        }
        let Some(element) = PathElement::parse(key)? else {
            continue;
        };
        let (children, is_member) = read(below)?;
        let set = set.get_or_insert_default();
        if is_member {
            set.members.insert(element.clone());
        }
        if let Some(children) = children {
            set.children.entry(element).or_default().absorb(&children);
        }
    }
    let member = member || set.is_none();
    Ok((set, member))
}

#[cfg(test)]
mod tests;
