//! How ownership moves when an object changes.
//!
//! Owns the merge of an applied configuration with the live object and every manager's set: conflicts, forced and shared
//! ownership, pruning of what nobody applies any more. It must not know the wire form or the clock.
//! Invariant: no two managers own a field that one of them changed against the other's will.

use super::fields::{FieldSet, PathElement};
use super::managers::{Entry, ManagerKey, Managers};
use super::schema::TypeSchema;
use super::typed::compare::{Comparison, compare};
use super::typed::merge::merge;
use super::typed::reconcile::reconcile;
use super::typed::remove::{Emptied, remove};
use super::typed::{TypedError, field_set, present_set, with_named_fields};
use super::value::equal;

use serde_json::{Map, Value};

/// A field that another manager owns and the configuration would change.
#[derive(Clone, Debug)]
pub(super) struct Clash {
    pub(super) owner: ManagerKey,
    pub(super) api_version: String,
    pub(super) path: Vec<PathElement>,
}

/// Why an apply did not happen.
#[derive(Debug)]
pub(super) enum Refusal {
    Clashes(Vec<Clash>),
    Typed(TypedError),
}

impl From<TypedError> for Refusal {
    fn from(error: TypedError) -> Self {
        Self::Typed(error)
    }
}

/// Whether an apply takes fields from others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Contested {
    /// Refuse the apply.
    Refuse,
    /// Take the field, the others lose it.
    Take,
}

/// The part of a write that both operations share.
pub(super) struct Write<'a> {
    pub(super) schema: &'a TypeSchema,
    pub(super) live: &'a Value,
    pub(super) key: &'a ManagerKey,
    pub(super) api_version: &'a str,
    /// Fields that the server resets for this endpoint and that nobody comes to own through it.
    pub(super) reset: &'a FieldSet,
}

/// An applied configuration's outcome.
pub(super) struct Applied {
    /// The new object; `None` if the live object stays as it is.
    pub(super) object: Option<Value>,
    pub(super) managers: Managers,
}

impl Write<'_> {
    /// Merges a configuration into the live object in the name of `key`.
    pub(super) fn apply(
        &self,
        config: &Value,
        managers: &Managers,
        contested: Contested,
    ) -> Result<Applied, Refusal> {
        let mut managers = self.reconciled(managers);
        let root = self.schema.root();
        let empty = || Value::Object(Map::new());
        let merged = merge(root, Some(self.live), Some(config))?.unwrap_or_else(empty);
        let last = managers.get(self.key).cloned();
        let set = field_set(root, config)?.recursive_difference(self.reset);
        let time = last.as_ref().and_then(|last| last.time);
        managers.insert(
            self.key.clone(),
            Entry {
                set,
                api_version: self.api_version.to_owned(),
                time,
            },
        );
        let mut object = merged;
        if let Some(last) = last.filter(|last| !last.set.is_empty()) {
            object = self.prune(&object, config, &managers, &last.set)?;
        }
        let managers = self.shift(&object, managers, contested)?.0;
        let changed = !equal(self.live, &object);
        Ok(Applied {
            object: changed.then_some(object),
            managers,
        })
    }

    /// Gives the fields that changed between the live object and `new` to `key`.
    pub(super) fn update(&self, new: &Value, managers: &Managers) -> Result<Managers, Refusal> {
        let (mut managers, comparison) =
            self.shift(new, self.reconciled(managers), Contested::Take)?;
        let before = managers
            .remove(self.key)
            .map(|entry| entry.set)
            .unwrap_or_default();
        let set = before
            .difference(&comparison.removed)
            .union(&comparison.changed())
            .recursive_difference(self.reset);
        if !set.is_empty() {
            let entry = Entry {
                set,
                api_version: self.api_version.to_owned(),
                time: None,
            };
            managers.insert(self.key.clone(), entry);
        }
        Ok(managers)
    }

    fn reconciled(&self, managers: &Managers) -> Managers {
        let today = |(key, entry): (&ManagerKey, &Entry)| {
            (
                key.clone(),
                Entry {
                    set: reconcile(self.schema.root(), &entry.set),
                    ..entry.clone()
                },
            )
        };
        managers.iter().map(today).collect()
    }

    /// Takes what changed from everybody but the writer, or refuses.
    fn shift(
        &self,
        new: &Value,
        mut managers: Managers,
        contested: Contested,
    ) -> Result<(Managers, Comparison), Refusal> {
        let comparison = compare(self.schema.root(), self.live, new)?.without(self.reset);
        let changed = comparison.changed();
        let others = || managers.iter().filter(|(key, _)| *key != self.key);
        if contested == Contested::Refuse {
            let mut clashes = Vec::new();
            for (key, entry) in others() {
                entry.set.intersection(&changed).for_each(&mut |path| {
                    clashes.push(Clash {
                        owner: key.clone(),
                        api_version: entry.api_version.clone(),
                        path: path.to_vec(),
                    });
                });
            }
            if !clashes.is_empty() {
                return Err(Refusal::Clashes(clashes));
            }
        }
        for (key, entry) in &mut managers {
            if key != self.key {
                let taken = entry.set.intersection(&changed);
                entry.set = entry.set.difference(&taken).difference(&comparison.removed);
            }
        }
        managers.retain(|_, entry| !entry.set.is_empty());
        Ok((managers, comparison))
    }

    /// Removes what the writer applied last time, does not apply now, and nobody else owns.
    fn prune(
        &self,
        merged: &Value,
        config: &Value,
        managers: &Managers,
        last: &FieldSet,
    ) -> Result<Value, TypedError> {
        let root = self.schema.root();
        let named = |set: &FieldSet| with_named_fields(root, set);
        let without_last = remove(root, merged, &named(last), Emptied::Null);

        let configured = present_set(root, config)?.recursive_difference(self.reset);
        let owned = managers
            .values()
            .fold(configured, |all, entry| all.union(&entry.set));
        let merged_set = named(&present_set(root, merged)?);
        let kept = named(&present_set(root, &without_last)?).union(&named(&owned));
        let pruned = remove(root, merged, &merged_set.difference(&kept), Emptied::Null);

        // Items that the writer never owned, by itself or through others, are not its to remove.
        let pruned_set = named(&present_set(root, &pruned)?);
        let gone = merged_set
            .difference(&pruned_set)
            .intersection(&named(last));
        Ok(remove(
            root,
            merged,
            &gone,
            Emptied::AsConfigured(Some(config)),
        ))
    }
}
