//! The managers of an object as `metadata.managedFields` records them.
//!
//! Owns reading, writing, ordering and capping of the entries. It must not know how ownership changes.
//! Invariant: one entry per (manager, operation, apiVersion of an Update, subresource), none with an empty set.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::fields::FieldSet;

/// How a manager came to own its fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operation {
    /// By server-side apply.
    Apply,
    /// By create, update or any other patch.
    Update,
}

impl Operation {
    /// The word in `managedFields`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Apply => "Apply",
            Self::Update => "Update",
        }
    }
}

/// What tells one entry from another.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ManagerKey {
    pub(super) manager: String,
    pub(super) operation: Operation,
    /// Empty for `Apply`, so that a manager that moves to another version keeps its entry.
    pub(super) api_version: String,
    pub(super) subresource: String,
}

impl ManagerKey {
    pub(super) fn new(
        manager: &str,
        operation: Operation,
        api_version: &str,
        subresource: &str,
    ) -> Self {
        let manager = if manager.is_empty() {
            UNKNOWN_MANAGER
        } else {
            manager
        };
        let api_version = match operation {
            Operation::Apply => "",
            Operation::Update => api_version,
        };
        Self {
            manager: manager.to_owned(),
            operation,
            api_version: api_version.to_owned(),
            subresource: subresource.to_owned(),
        }
    }
}

/// The fields of one manager.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) set: FieldSet,
    pub(super) api_version: String,
    pub(super) time: Option<Timestamp>,
}

/// All managers of one object.
pub(super) type Managers = BTreeMap<ManagerKey, Entry>;

/// The name for a client that gives none.
const UNKNOWN_MANAGER: &str = "unknown";
/// The name under which the oldest updaters are kept together.
const ANCIENT_MANAGER: &str = "ancient-changes";
/// Update entries kept apart; Kubernetes' own number. More would let any client with a changing name grow the object forever.
const MAX_UPDATE_MANAGERS: usize = 10;

/// The entries of an object as they stand; none if it has no metadata.
pub(super) fn recorded(object: &Value) -> &[Value] {
    object
        .pointer("/metadata/managedFields")
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

/// Reads the entries.
///
/// # Errors
/// What is wrong with the first bad entry, in Kubernetes' words.
pub(super) fn decode(entries: &[Value]) -> Result<Managers, String> {
    let mut managers = Managers::new();
    for (index, entry) in entries.iter().enumerate() {
        let (key, entry) = decode_entry(index, entry)?;
        managers.insert(key, entry);
    }
    Ok(managers)
}

fn decode_entry(index: usize, entry: &Value) -> Result<(ManagerKey, Entry), String> {
    let field = |name: &str| entry.get(name).and_then(Value::as_str).unwrap_or_default();
    let operation = match field("operation") {
        "Apply" => Operation::Apply,
        "Update" => Operation::Update,
        _ => return Err("operation must be `Apply` or `Update`".to_owned()),
    };
    let api_version = field("apiVersion");
    if api_version.is_empty() {
        return Err("apiVersion must not be empty".to_owned());
    }
    match field("fieldsType") {
        "FieldsV1" => {}
        "" => {
            return Err(format!(
                "missing fieldsType in managed fields entry {index}"
            ));
        }
        other => {
            return Err(format!(
                "invalid fieldsType {other:?} in managed fields entry {index}"
            ));
        }
    }
    let set = FieldSet::from_fields_v1(entry.get("fieldsV1").unwrap_or(&Value::Null))
        .map_err(|e| e.to_string())?;
    let time = match entry.get("time") {
        None | Some(Value::Null) => None,
        Some(time) => {
            let parsed = time
                .as_str()
                .and_then(|time| time.parse::<Timestamp>().ok());
            Some(parsed.ok_or_else(|| format!("invalid time in managed fields entry {index}"))?)
        }
    };
    // The manager may be empty in what a client wrote; only the server's own entries are named.
    let key = ManagerKey {
        manager: field("manager").to_owned(),
        ..ManagerKey::new("", operation, api_version, field("subresource"))
    };
    Ok((
        key,
        Entry {
            set,
            api_version: api_version.to_owned(),
            time,
        },
    ))
}

/// Writes the entries into the object, sorted as Kubernetes does; none removes the field.
pub(super) fn encode_into(object: &mut Value, managers: &Managers) {
    let mut entries: Vec<(&ManagerKey, &Entry)> = managers.iter().collect();
    entries.sort_by_key(|(key, entry)| {
        (
            key.operation,
            seconds(entry),
            &key.manager,
            &entry.api_version,
            &key.subresource,
        )
    });
    let encoded: Vec<Value> = entries
        .into_iter()
        .map(|(key, entry)| encode_entry(key, entry))
        .collect();
    replace(object, (!encoded.is_empty()).then_some(encoded));
}

fn encode_entry(key: &ManagerKey, entry: &Entry) -> Value {
    let mut out = json!({
        "apiVersion": entry.api_version,
        "fieldsType": "FieldsV1",
        "fieldsV1": entry.set.to_fields_v1(),
        "operation": key.operation.as_str(),
    });
    if !key.manager.is_empty() {
        out["manager"] = json!(key.manager);
    }
    if !key.subresource.is_empty() {
        out["subresource"] = json!(key.subresource);
    }
    if let Some(time) = entry.time {
        out["time"] = json!(time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
    }
    out
}

/// Sets or removes `metadata.managedFields`.
pub(super) fn replace(object: &mut Value, entries: Option<Vec<Value>>) {
    let Some(object) = object.as_object_mut() else {
        return;
    };
    match entries {
        Some(entries) => {
            let metadata = object
                .entry("metadata")
                .or_insert_with(|| Value::Object(Map::new()));
            if let Some(metadata) = metadata.as_object_mut() {
                metadata.insert("managedFields".to_owned(), Value::Array(entries));
            }
        }
        None => {
            if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
                metadata.remove("managedFields");
            }
        }
    }
}

/// Merges the oldest Update entries of a version into one, until at most ten are left.
pub(super) fn cap_updates(managers: &mut Managers) {
    let mut updates: Vec<ManagerKey> = managers
        .keys()
        .filter(|key| key.operation == Operation::Update)
        .cloned()
        .collect();
    let mut left = updates.len();
    updates.sort_by(|l, r| (seconds(&managers[l]), l).cmp(&(seconds(&managers[r]), r)));
    let mut oldest: BTreeMap<String, ManagerKey> = BTreeMap::new();
    for key in updates {
        if left <= MAX_UPDATE_MANAGERS {
            return;
        }
        let bucket = ManagerKey::new(ANCIENT_MANAGER, Operation::Update, &key.api_version, "");
        let Some(first) = oldest.get(&key.api_version) else {
            oldest.insert(key.api_version.clone(), key);
            continue;
        };
        let start = if managers.contains_key(&bucket) {
            None
        } else {
            managers.remove(first)
        };
        let Some(merged) = managers.remove(&key) else {
            continue;
        };
        let entry = managers
            .entry(bucket)
            .or_insert_with(|| start.unwrap_or_else(|| merged.clone()));
        entry.set = entry.set.union(&merged.set);
        entry.time = merged.time;
        left -= 1;
    }
}

fn seconds(entry: &Entry) -> i64 {
    entry.time.map_or(0, Timestamp::as_second)
}
