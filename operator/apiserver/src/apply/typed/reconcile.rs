//! Brings recorded ownership in line with a schema that changed since.
//!
//! Owns one rule: whoever owned something below a field that is now atomic owns the field itself. It must not know objects.

use super::super::fields::{FieldSet, PathElement};
use super::super::schema::{ListRelation, Shape, TypeRef};

/// The set as the schema has it today.
pub(in crate::apply) fn reconcile(ty: &TypeRef, set: &FieldSet) -> FieldSet {
    let mut now_atomic = FieldSet::default();
    find(
        ty,
        Some(set),
        Granularity::Below,
        &mut Vec::new(),
        &mut now_atomic,
    );
    if now_atomic.is_empty() {
        return set.clone();
    }
    set.recursive_difference(&now_atomic).union(&now_atomic)
}

/// How a field is owned: alone, or by what lies below it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Granularity {
    Whole,
    Below,
}

fn find(
    ty: &TypeRef,
    set: Option<&FieldSet>,
    owned: Granularity,
    path: &mut Vec<PathElement>,
    out: &mut FieldSet,
) {
    let below = owned == Granularity::Below;
    match ty.resolve().first_shape() {
        Shape::Scalar(_) => {}
        Shape::List(list) => {
            if below && list.relation == ListRelation::Atomic {
                out.insert(path);
                return;
            }
            visit(set, path, out, |_| Some(&list.element));
        }
        Shape::Map(map) => {
            if map.is_deduced() {
                return;
            }
            if below && map.atomic {
                if set.is_some_and(|set| !set.is_empty()) {
                    out.insert(path);
                }
                return;
            }
            visit(set, path, out, |element| match element {
                PathElement::Field(name) => map.declared(name),
                PathElement::Key(_) | PathElement::Value(_) | PathElement::Index(_) => {
                    map.element.as_ref()
                }
            });
        }
    }
}

fn visit<'t>(
    set: Option<&FieldSet>,
    path: &mut Vec<PathElement>,
    out: &mut FieldSet,
    type_of: impl Fn(&PathElement) -> Option<&'t TypeRef>,
) {
    let Some(set) = set else { return };
    let only_children = set
        .children
        .keys()
        .filter(|element| !set.members.contains(element));
    for element in only_children.chain(&set.members) {
        let Some(ty) = type_of(element) else { continue };
        let child = set.children.get(element);
        let whole = set.members.contains(element) && child.is_none();
        path.push(element.clone());
        find(
            ty,
            child,
            if whole {
                Granularity::Whole
            } else {
                Granularity::Below
            },
            path,
            out,
        );
        path.pop();
    }
}
