//! Tables: what `kubectl get` prints.
//!
//! Owns the rendering of objects as `meta.k8s.io` Table, by printer columns for custom resources and by kube-apiserver's
//! own columns for built-in ones (`builtin`), and as PartialObjectMetadata. Must not know storage or requests.
//! Invariant: a column whose value is absent or of the wrong type is an empty cell, never an error.

mod builtin;
mod jsonpath;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::resource::Resource;
use crate::schema::go_float;

pub use jsonpath::JsonPath;

/// How much of each object a row carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IncludeObject {
    /// Nothing.
    None,
    /// Its metadata, as PartialObjectMetadata.
    Metadata,
    /// All of it.
    Object,
}

/// One column of a table.
struct Definition {
    name: String,
    type_: String,
    format: String,
    description: String,
    priority: i64,
}

impl Definition {
    fn new(name: &str, type_: &str, priority: i64, description: &str) -> Self {
        Self {
            name: name.to_owned(),
            type_: type_.to_owned(),
            format: String::new(),
            description: description.to_owned(),
            priority,
        }
    }

    /// The first column of nearly every table.
    fn name() -> Self {
        Self {
            format: "name".to_owned(),
            ..Self::new("Name", "string", 0, NAME)
        }
    }

    fn age() -> Self {
        Self::new("Age", "string", 0, CREATED)
    }

    fn render(&self) -> Value {
        json!({
            "name": self.name,
            "type": self.type_,
            "format": self.format,
            "description": self.description,
            "priority": self.priority,
        })
    }
}

const NAME: &str = "Name must be unique within a namespace. Is required when creating resources, although some resources may allow a client to request the generation of an appropriate name automatically.";
const CREATED: &str = "CreationTimestamp is a timestamp representing the server time when this object was created. It is represented in RFC3339 form and is in UTC.";

/// The table of some objects. `list_meta` is the metadata of the list, or of the one object; `now` is what ages are
/// counted from.
pub fn table(
    resource: &Resource,
    items: &[&Value],
    list_meta: Value,
    include: IncludeObject,
    now: Timestamp,
) -> Value {
    let (definitions, cells): (Vec<Definition>, Vec<Vec<Value>>) = if resource.builtin {
        (
            builtin::definitions(resource),
            items
                .iter()
                .map(|item| builtin::cells(resource, item, now))
                .collect(),
        )
    } else {
        let columns = Columns::new(resource);
        let cells = items.iter().map(|item| columns.cells(item, now)).collect();
        (columns.definitions, cells)
    };
    let rows: Vec<Value> = items
        .iter()
        .zip(cells)
        .map(|(item, cells)| {
            let object = match include {
                IncludeObject::None => Value::Null,
                IncludeObject::Metadata => partial_metadata(item, "v1"),
                IncludeObject::Object => (*item).clone(),
            };
            json!({"cells": cells, "object": object})
        })
        .collect();
    json!({
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": list_meta,
        "columnDefinitions": definitions.iter().map(Definition::render).collect::<Vec<_>>(),
        "rows": rows,
    })
}

/// An object's metadata alone, as `meta.k8s.io/<version>` PartialObjectMetadata.
pub fn partial_metadata(object: &Value, version: &str) -> Value {
    json!({
        "kind": "PartialObjectMetadata",
        "apiVersion": format!("meta.k8s.io/{version}"),
        "metadata": object.get("metadata").cloned().unwrap_or_default(),
    })
}

/// The columns of a custom resource.
struct Columns {
    definitions: Vec<Definition>,
    /// One for each definition but the first, which is the name.
    paths: Vec<Option<JsonPath>>,
}

impl Columns {
    fn new(resource: &Resource) -> Self {
        let mut definitions = vec![Definition::name()];
        let mut paths = Vec::new();
        for column in &resource.columns {
            let description = if column.description.is_empty() {
                format!(
                    "Custom resource definition column (in JSONPath format): {}",
                    column.json_path
                )
            } else {
                column.description.clone()
            };
            definitions.push(Definition {
                format: column.format.clone(),
                ..Definition::new(&column.name, &column.type_, column.priority, &description)
            });
            paths.push(JsonPath::parse(&column.json_path).ok());
        }
        if resource.columns.is_empty() {
            definitions.push(Definition::new("Age", "date", 0, CREATED));
            paths.push(JsonPath::parse(".metadata.creationTimestamp").ok());
        }
        Self { definitions, paths }
    }

    fn cells(&self, item: &Value, now: Timestamp) -> Vec<Value> {
        let name = item.pointer("/metadata/name").cloned().unwrap_or_default();
        let others = self
            .definitions
            .iter()
            .skip(1)
            .zip(&self.paths)
            .map(|(definition, path)| {
                path.as_ref()
                    .and_then(|path| path.first(item))
                    .map_or(Value::Null, |value| cell(&definition.type_, value, now))
            });
        std::iter::once(name).chain(others).collect()
    }
}

/// The value of a cell in a column of some type; null when it does not fit.
fn cell(type_: &str, value: &Value, now: Timestamp) -> Value {
    match (type_, value) {
        ("string", value) => Value::String(text(value)),
        ("integer", Value::Number(number)) => number
            .as_i64()
            .or_else(|| number.as_f64().map(|float| float as i64))
            .map_or(Value::Null, Value::from),
        ("number", Value::Number(number)) => number.as_f64().map_or(Value::Null, Value::from),
        ("boolean", Value::Bool(flag)) => Value::Bool(*flag),
        ("date", Value::String(date)) => Value::String(match date.parse::<Timestamp>() {
            Ok(time) => human_age(now, time),
            Err(_) => "<invalid>".to_owned(),
        }),
        _ => Value::Null,
    }
}

/// A value as Go prints it, which is how a column of strings shows what is no string.
fn text(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(flag) => flag.to_string(),
        Value::Number(number) => match number.as_i64() {
            Some(integer) => integer.to_string(),
            None => go_float(number.as_f64().unwrap_or(f64::NAN)),
        },
        Value::String(text) => text.clone(),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(text).collect();
            format!("[{}]", items.join(" "))
        }
        Value::Object(map) => {
            let fields: Vec<String> = map
                .iter()
                .map(|(key, value)| format!("{key}:{}", text(value)))
                .collect();
            format!("map[{}]", fields.join(" "))
        }
    }
}

/// How long ago a time is, as kubectl says it: `5m`, `3h20m`, `2d`.
pub fn human_age(now: Timestamp, time: Timestamp) -> String {
    let nanos = now.as_nanosecond() - time.as_nanosecond();
    let seconds = i64::try_from(nanos / 1_000_000_000).unwrap_or(i64::MAX);
    human_duration(seconds, nanos < 0)
}

/// `seconds` is rounded towards zero; clocks that differ by less than two seconds are no error.
fn human_duration(seconds: i64, negative: bool) -> String {
    let pair = |big: i64, unit: &str, small: i64, small_unit: &str| {
        if small == 0 {
            format!("{big}{unit}")
        } else {
            format!("{big}{unit}{small}{small_unit}")
        }
    };
    let (minutes, hours) = (seconds / 60, seconds / 3600);
    let days = hours / 24;
    match seconds {
        ..-1 => "<invalid>".to_owned(),
        _ if negative => "0s".to_owned(),
        -1..120 => format!("{seconds}s"),
        120..600 => pair(minutes, "m", seconds % 60, "s"),
        600..10_800 => format!("{minutes}m"),
        10_800..28_800 => pair(hours, "h", minutes % 60, "m"),
        28_800..172_800 => format!("{hours}h"),
        172_800..691_200 => pair(days, "d", hours % 24, "h"),
        691_200..63_072_000 => format!("{days}d"),
        63_072_000..252_288_000 => pair(days / 365, "y", days % 365, "d"),
        _ => format!("{}y", days / 365),
    }
}

#[cfg(test)]
mod tests;
