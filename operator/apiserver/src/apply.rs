//! Server-side apply: Kubernetes' field managers over JSON objects.
//!
//! Owns `metadata.managedFields`: who owns which field, what an apply merges and prunes, and what conflicts. The semantics are
//! those of structured-merge-diff and of kube-apiserver's field manager. It must not know resources, storage or HTTP, and it
//! is pure: the time is a parameter. Invariant: applying the same configuration twice changes nothing the second time.
//!
//! All versions of a kind are merged by the schema of the request's version, because conversion between versions changes
//! nothing but `apiVersion` here.

mod client_side;
mod conflict;
mod fields;
mod managers;
mod schema;
mod typed;
mod update;
mod value;

use jiff::Timestamp;
use serde_json::{Map, Value};

pub use conflict::{Conflict, conflict_message};
pub use fields::{FieldSet, FieldsError, PathElement};
pub use managers::Operation;
pub use schema::TypeSchema;

pub(crate) use value::equal;

use managers::{Entry, ManagerKey, Managers};
use update::{Applied, Contested, Refusal, Write};

/// The manager that owns what an object had before anybody was tracked.
const BEFORE_FIRST_APPLY: &str = "before-first-apply";
/// One server-side apply.
#[derive(Clone, Copy, Debug)]
pub struct Apply<'a> {
    /// The merge types of the request's version.
    pub schema: &'a TypeSchema,
    /// The object as stored, in the request's version; `None` creates.
    pub live: Option<&'a Value>,
    /// The applied configuration: a whole object with only the fields that the manager has an opinion on.
    pub config: &'a Value,
    /// `fieldManager`.
    pub manager: &'a str,
    /// Whether to take fields from other managers.
    pub force: bool,
    /// The request's `apiVersion`, such as `apps/v1`.
    pub api_version: &'a str,
    /// `status`, `scale`, or empty.
    pub subresource: &'a str,
    /// Time of the request; entries keep whole seconds.
    pub now: Timestamp,
}

/// Why a configuration was not applied.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    /// Other managers own fields with other values; sorted by owner, then as in a field set. The text is
    /// Kubernetes'.
    #[error("{}", conflict_message(.0))]
    Conflicts(Vec<Conflict>),
    /// The configuration does not fit the schema, or is no configuration at all.
    #[error("{0}")]
    Invalid(String),
}

/// Applies a configuration and answers the new object with its `managedFields`. Equal to `live` if there was nothing to do.
///
/// # Errors
/// [`ApplyError::Conflicts`] unless forced; [`ApplyError::Invalid`] if the configuration is of another version, has
/// `managedFields`, or does not fit the schema.
pub fn apply(a: Apply<'_>) -> Result<Value, ApplyError> {
    check_config(&a)?;
    let recorded = a.live.map_or(&[][..], managers::recorded);
    let known = managers::decode(recorded).map_err(|message| {
        ApplyError::Invalid(format!("failed to decode managed fields: {message}"))
    })?;
    let mut live = a.live.cloned().unwrap_or_else(|| Value::Object(Map::new()));
    managers::replace(&mut live, None);

    let (mut object, managers) = match attempt(&a, &live, known.clone(), a.force) {
        Err(ApplyError::Conflicts(conflicts)) if a.manager == client_side::KUBECTL => {
            let left = client_side::remaining(&a, &live, conflicts);
            if !left.is_empty() {
                return Err(ApplyError::Conflicts(left));
            }
            attempt(&a, &live, known, true)?
        }
        outcome => outcome?,
    };
    if a.manager == client_side::KUBECTL {
        client_side::renew_last_applied(&mut object, a.config);
    }
    managers::encode_into(&mut object, &managers);
    if let Some(old) = a.live {
        keep_times(old, &mut object);
    }
    Ok(object)
}

/// Records in `new` who owns what after a create (no `old`), update or patch by `manager`. A client may hand over
/// `managedFields` of its own, or `[{}]` to have them forgotten; through a subresource it may not.
pub fn track_update(
    schema: &TypeSchema,
    old: Option<&Value>,
    new: &mut Value,
    manager: &str,
    api_version: &str,
    subresource: &str,
    now: Timestamp,
) {
    let empty = Value::Object(Map::new());
    let recorded = old.map_or(&[][..], managers::recorded);
    let known = managers_of(recorded, new, subresource);
    managers::replace(new, None);
    // An object that nobody was tracked on stays so until the first apply; a new one is tracked from the start.
    if known.is_empty() && old.is_some() {
        return;
    }
    let mut live = old.cloned().unwrap_or(empty);
    managers::replace(&mut live, None);
    let write = WriteAs {
        schema,
        manager,
        api_version,
        subresource,
        now,
    };
    match write.update(&live, new, known) {
        Ok(managers) => managers::encode_into(new, &managers),
        // A list that cannot be keyed must not cost everybody their ownership.
        Err(_) => managers::replace(new, (!recorded.is_empty()).then(|| recorded.to_vec())),
    }
    if let Some(old) = old {
        keep_times(old, new);
    }
}

/// Takes over the old entries if the two objects differ in nothing but the times of `managedFields`. To be called after
/// defaulting and resetting, and before the two are compared for storage, so that a converged write commits nothing.
pub fn keep_times(old: &Value, new: &mut Value) {
    let (then, now) = (managers::recorded(old), managers::recorded(new));
    if then == now || !same_without_times(then, now) {
        return;
    }
    let then = then.to_vec();
    let strip = |object: &Value| {
        let mut bare = object.clone();
        managers::replace(&mut bare, None);
        if let Some(metadata) = bare.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.remove("resourceVersion");
        }
        bare
    };
    if equal(&strip(old), &strip(new)) {
        managers::replace(new, Some(then));
    }
}

/// Times decide the order of entries too, so both lists are compared as sets.
fn same_without_times(then: &[Value], now: &[Value]) -> bool {
    let bare = |entries: &[Value]| {
        let mut bare: Vec<String> = entries
            .iter()
            .map(|entry| {
                let mut entry = entry.clone();
                if let Some(entry) = entry.as_object_mut() {
                    entry.remove("time");
                }
                value::canonical(&entry)
            })
            .collect();
        bare.sort();
        bare
    };
    then.len() == now.len() && bare(then) == bare(now)
}

/// What the managers of an update start from: the request's own entries where it may and does give any, else the stored.
fn managers_of(recorded: &[Value], new: &Value, subresource: &str) -> Managers {
    let stored = || managers::decode(recorded).unwrap_or_default();
    if !subresource.is_empty() {
        return stored();
    }
    let given = managers::recorded(new);
    let explicit = new
        .pointer("/metadata/managedFields")
        .is_some_and(Value::is_array);
    let reset = match given {
        [] => explicit,
        [one] => one.as_object().is_some_and(Map::is_empty),
        _ => false,
    };
    if reset {
        return Managers::new();
    }
    match managers::decode(given) {
        Ok(managers) if !managers.is_empty() => managers,
        Ok(_) | Err(_) => stored(),
    }
}

/// Who writes, when, and through which endpoint.
struct WriteAs<'a> {
    schema: &'a TypeSchema,
    manager: &'a str,
    api_version: &'a str,
    subresource: &'a str,
    now: Timestamp,
}

impl WriteAs<'_> {
    /// Tracks one update. The writer is compared as if it were new, so that its time moves only if it took something.
    fn update(&self, live: &Value, new: &Value, known: Managers) -> Result<Managers, Refusal> {
        let key = ManagerKey::new(
            self.manager,
            Operation::Update,
            self.api_version,
            self.subresource,
        );
        let current = ManagerKey {
            manager: CURRENT_OPERATION.to_owned(),
            ..key.clone()
        };
        let reset = self.schema.reset_fields(self.subresource);
        let write = Write {
            schema: self.schema,
            live,
            key: &current,
            api_version: self.api_version,
            reset: &reset,
        };
        let mut managers = write.update(new, &known)?;
        if let Some(entry) = managers.remove(&current) {
            let set = entry.set.difference(&never_owned());
            if !set.is_empty() {
                let set = managers
                    .get(&key)
                    .map_or_else(|| set.clone(), |previous| previous.set.union(&set));
                managers.insert(
                    key,
                    Entry {
                        set,
                        time: Some(self.now),
                        ..entry
                    },
                );
            }
        }
        managers::cap_updates(&mut managers);
        Ok(managers)
    }
}

/// Stands for the writer of an update while ownership is computed. No client can have this name in a key of ours, because
/// a field manager's name is printable.
const CURRENT_OPERATION: &str = "\0current-operation";

fn check_config(a: &Apply<'_>) -> Result<(), ApplyError> {
    let invalid = |message: String| Err(ApplyError::Invalid(message));
    if !a.config.is_object() {
        return invalid("the applied configuration must be an object".to_owned());
    }
    let version = a
        .config
        .get("apiVersion")
        .and_then(Value::as_str)
        .unwrap_or_default();
    if version != a.api_version {
        return invalid(format!(
            "Incorrect version specified in apply patch. Specified patch version: {version}, expected: {}",
            a.api_version
        ));
    }
    if a.config
        .pointer("/metadata/managedFields")
        .is_some_and(|fields| !fields.is_null())
    {
        return invalid("metadata.managedFields must be nil".to_owned());
    }
    typed::validate(a.schema.root(), a.config).or_else(|message| {
        invalid(format!(
            "failed to create typed patch object ({}): {message}",
            describe(a.config)
        ))
    })
}

/// `namespace/name; group/version, Kind=kind`, as Kubernetes names an object in these messages.
fn describe(object: &Value) -> String {
    let text = |pointer: &str| {
        object
            .pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    let version = text("/apiVersion");
    let separator = if version.contains('/') { "" } else { "/" };
    format!(
        "{}/{}; {separator}{version}, Kind={}",
        text("/metadata/namespace"),
        text("/metadata/name"),
        text("/kind")
    )
}

/// One try, with the managers that the outcome leaves.
fn attempt(
    a: &Apply<'_>,
    live: &Value,
    known: Managers,
    force: bool,
) -> Result<(Value, Managers), ApplyError> {
    let mut known = known;
    if known.is_empty() {
        let before = WriteAs {
            schema: a.schema,
            manager: BEFORE_FIRST_APPLY,
            api_version: a.api_version,
            subresource: a.subresource,
            now: a.now,
        };
        let nothing = Value::Object(Map::new());
        known = before
            .update(&nothing, live, known)
            .map_err(|refusal| refused(refusal, a.config))?;
    }
    let key = ManagerKey::new(a.manager, Operation::Apply, a.api_version, a.subresource);
    let reset = a.schema.reset_fields(a.subresource);
    let write = Write {
        schema: a.schema,
        live,
        key: &key,
        api_version: a.api_version,
        reset: &reset,
    };
    let contested = if force {
        Contested::Take
    } else {
        Contested::Refuse
    };
    let Applied {
        object,
        mut managers,
    } = write
        .apply(a.config, &known, contested)
        .map_err(|refusal| refused(refusal, a.config))?;
    if let Some(mut entry) = managers.remove(&key) {
        entry.set = entry.set.difference(&never_owned());
        if object.is_some() {
            entry.time = Some(a.now);
        }
        if !entry.set.is_empty() {
            managers.insert(key, entry);
        }
    }
    Ok((object.unwrap_or_else(|| live.clone()), managers))
}

fn refused(refusal: Refusal, config: &Value) -> ApplyError {
    match refusal {
        Refusal::Clashes(clashes) => {
            ApplyError::Conflicts(clashes.into_iter().map(Conflict::from).collect())
        }
        Refusal::Typed(error) => ApplyError::Invalid(format!(
            "failed to merge config ({}): {error}",
            describe(config)
        )),
    }
}

/// Fields that describe the object or belong to the server; nobody manages them.
fn never_owned() -> FieldSet {
    FieldSet::of_fields(&[
        &["apiVersion"],
        &["kind"],
        &["metadata"],
        &["metadata", "name"],
        &["metadata", "namespace"],
        &["metadata", "creationTimestamp"],
        &["metadata", "selfLink"],
        &["metadata", "uid"],
        &["metadata", "clusterName"],
        &["metadata", "generation"],
        &["metadata", "managedFields"],
        &["metadata", "resourceVersion"],
    ])
}

#[cfg(test)]
mod tests;
