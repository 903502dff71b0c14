//! What changed between two objects, as sets of fields.
//!
//! Owns the comparison that update tracking and conflicts are made from. It must not know managers.
//! Invariant: no field is in more than one of the three sets unless a value changed its shape.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map as Object, Value};

use super::super::fields::{FieldSet, PathElement};
use super::super::schema::{List, ListRelation, Map, Shape, TypeRef};
use super::super::value::equal;
use super::{TypedError, as_list, as_map, elements_of};

/// The fields that differ.
#[derive(Clone, Debug, Default)]
pub(in crate::apply) struct Comparison {
    /// Fields that only the left object has.
    pub(in crate::apply) removed: FieldSet,
    /// Fields that both have, with other values.
    pub(in crate::apply) modified: FieldSet,
    /// Fields that only the right object has.
    pub(in crate::apply) added: FieldSet,
}

impl Comparison {
    /// The comparison without these fields and all below them.
    pub(in crate::apply) fn without(&self, fields: &FieldSet) -> Self {
        Self {
            removed: self.removed.recursive_difference(fields),
            modified: self.modified.recursive_difference(fields),
            added: self.added.recursive_difference(fields),
        }
    }

    /// Everything that the right object sets anew.
    pub(in crate::apply) fn changed(&self) -> FieldSet {
        self.modified.union(&self.added)
    }
}

/// Compares two objects of one type.
///
/// # Errors
/// [`TypedError`] if an item of an associative list has no identity.
pub(in crate::apply) fn compare(
    ty: &TypeRef,
    left: &Value,
    right: &Value,
) -> Result<Comparison, TypedError> {
    let mut walk = Walk {
        comparison: Comparison::default(),
        path: Vec::new(),
    };
    walk.values(ty, Some(left), Some(right))?;
    Ok(walk.comparison)
}

/// Whether a value was compared as one leaf, or item by item.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Compared {
    AsLeaf,
    ByItem,
}

struct Walk {
    comparison: Comparison,
    path: Vec<PathElement>,
}

impl Walk {
    fn values(
        &mut self,
        ty: &TypeRef,
        left: Option<&Value>,
        right: Option<&Value>,
    ) -> Result<(), TypedError> {
        let resolved = ty.resolve();
        if let (Some(l), Some(r)) = (left, right)
            && resolved.differ_in_shape(l, r)
        {
            self.shaped(&resolved.shape(left), left, right)?;
        }
        let compared = self.shaped(&resolved.shape(right.or(left)), left, right)?;
        if compared == Compared::ByItem {
            match (left, right) {
                (None, _) => self.comparison.added.insert(&self.path),
                (_, None) => self.comparison.removed.insert(&self.path),
                (Some(_), Some(_)) => {}
            }
        }
        Ok(())
    }

    fn shaped(
        &mut self,
        shape: &Shape<'_>,
        left: Option<&Value>,
        right: Option<&Value>,
    ) -> Result<Compared, TypedError> {
        match shape {
            Shape::Scalar(_) => self.leaf(left, right),
            Shape::List(list) => {
                let (l, r) = (
                    as_list(left).unwrap_or_default(),
                    as_list(right).unwrap_or_default(),
                );
                if list.relation == ListRelation::Atomic || (l.is_empty() && r.is_empty()) {
                    self.leaf(left, right);
                    return Ok(Compared::AsLeaf);
                }
                self.lists(list, l, r)?;
                return Ok(Compared::ByItem);
            }
            Shape::Map(map) => {
                let (l, r) = (as_map(left), as_map(right));
                let empty =
                    |side: Option<&Object<String, Value>>| side.is_none_or(Object::is_empty);
                if !(map.atomic || (empty(l) && empty(r))) {
                    self.maps(map, l, r)?;
                    return Ok(Compared::ByItem);
                }
                self.leaf(left, right);
            }
        }
        Ok(Compared::AsLeaf)
    }

    fn leaf(&mut self, left: Option<&Value>, right: Option<&Value>) {
        match (left, right) {
            (None, _) => self.comparison.added.insert(&self.path),
            (_, None) => self.comparison.removed.insert(&self.path),
            (Some(l), Some(r)) if !equal(l, r) => self.comparison.modified.insert(&self.path),
            (Some(_), Some(_)) => {}
        }
    }

    fn maps(
        &mut self,
        map: &Map,
        left: Option<&Object<String, Value>>,
        right: Option<&Object<String, Value>>,
    ) -> Result<(), TypedError> {
        let keys: BTreeSet<&String> = left
            .into_iter()
            .chain(right)
            .flat_map(Object::keys)
            .collect();
        for key in keys {
            self.path.push(PathElement::field(key));
            self.values(
                map.at(key),
                left.and_then(|l| l.get(key)),
                right.and_then(|r| r.get(key)),
            )?;
            self.path.pop();
        }
        Ok(())
    }

    fn lists(&mut self, list: &List, left: &[Value], right: &[Value]) -> Result<(), TypedError> {
        let mut items: BTreeMap<PathElement, (Vec<&Value>, Vec<&Value>)> = BTreeMap::new();
        for (element, item) in elements_of(list, left, &self.path)?.into_iter().zip(left) {
            items.entry(element).or_default().0.push(item);
        }
        for (element, item) in elements_of(list, right, &self.path)?.into_iter().zip(right) {
            items.entry(element).or_default().1.push(item);
        }
        for (element, (l, r)) in items {
            self.path.push(element);
            self.items(list, &l, &r)?;
            self.path.pop();
        }
        Ok(())
    }

    /// Items that share an identity are compared as one leaf; becoming or ceasing to be several counts for the whole.
    fn items(&mut self, list: &List, left: &[&Value], right: &[&Value]) -> Result<(), TypedError> {
        match (left, right) {
            ([] | [_], [] | [_]) => {
                self.values(&list.element, left.first().copied(), right.first().copied())?
            }
            ([_, _, ..], [_, _, ..]) => {
                let same =
                    left.len() == right.len() && left.iter().zip(right).all(|(l, r)| equal(l, r));
                if !same {
                    self.comparison.modified.insert(&self.path);
                }
            }
            ([_, _, ..], _) => {
                if let Some(item) = right.first() {
                    self.values(&list.element, None, Some(item))?;
                }
                self.comparison.removed.insert(&self.path);
            }
            (_, [_, _, ..]) => {
                if let Some(item) = left.first() {
                    self.values(&list.element, Some(item), None)?;
                }
                self.comparison.added.insert(&self.path);
            }
        }
        Ok(())
    }
}
