//! Fields, elements, sums and other results of two values.
//!
//! Owns what operators and selections mean, one step each. Must not know the budget. Invariant: arithmetic never wraps
//! and never panics.

use std::rc::Rc;

use crate::cel::decl;
use crate::cel::expr::{Access, Operator};
use crate::cel::native;
use crate::cel::value::{Val, is_map};
use crate::schema::{ListType, Node};

use super::{Failure, Outcome, no_overload};

pub fn optional(value: Option<Val<'_>>) -> Val<'_> {
    Val::Optional(value.map(Rc::new))
}

pub fn select<'v>(operand: &Val<'v>, name: &str, access: Access) -> Outcome<'v> {
    match (operand, access) {
        // An optional stays one: what is absent below it is absent.
        (Val::Optional(inner), _) => {
            Ok(optional(inner.as_ref().and_then(|inner| inner.field(name))))
        }
        (operand, Access::Optional) => Ok(optional(operand.field(name))),
        (Val::Object(..) | Val::Map(_), Access::Required) => operand
            .field(name)
            .ok_or_else(|| Failure::Error(format!("no such key: {name}"))),
        (_, Access::Required) => no_overload(),
    }
}

pub fn has<'v>(operand: &Val<'v>, name: &str) -> Outcome<'v> {
    match operand {
        Val::Object(..) | Val::Map(_) => Ok(Val::Bool(operand.field(name).is_some())),
        Val::Optional(inner) => Ok(Val::Bool(
            inner
                .as_ref()
                .is_some_and(|inner| inner.field(name).is_some()),
        )),
        _ => no_overload(),
    }
}

pub fn element<'v>(operand: &Val<'v>, index: &Val<'v>, access: Access) -> Outcome<'v> {
    let (operand, access) = match operand {
        Val::Optional(Some(inner)) => ((**inner).clone(), Access::Optional),
        Val::Optional(None) => return Ok(Val::Optional(None)),
        other => (other.clone(), access),
    };
    let found = if let Some(mut items) = operand.elements() {
        let place = match index {
            Val::Int(place) => usize::try_from(*place).ok(),
            Val::Uint(place) => usize::try_from(*place).ok(),
            Val::Double(place) if place.fract() == 0.0 && *place >= 0.0 => Some(*place as usize),
            Val::Double(_) => None,
            _ => return no_overload(),
        };
        place.and_then(|place| items.nth(place))
    } else {
        match &operand {
            Val::Object(map, node) => index.text().and_then(|key| map.get(key)).map(|value| {
                Val::of(
                    value,
                    node.and_then(|node: &Node| index.text().and_then(|key| node.field(key))),
                )
            }),
            Val::Map(entries) => entries
                .iter()
                .find(|(key, _)| key.equals(index))
                .map(|(_, value)| value.clone()),
            _ => return no_overload(),
        }
    };
    match (found, access) {
        (found, Access::Optional) => Ok(optional(found)),
        (Some(value), Access::Required) => Ok(value),
        (None, Access::Required) if operand.elements().is_some() => Err(Failure::Error(format!(
            "index out of bounds: {}",
            native::text_of(index).unwrap_or_default()
        ))),
        (None, Access::Required) => Err(Failure::Error(format!(
            "no such key: {}",
            native::text_of(index).unwrap_or_default()
        ))),
    }
}

pub fn contains<'v>(value: &Val<'v>, container: &Val<'v>) -> Outcome<'v> {
    if let Some(mut items) = container.elements() {
        return Ok(Val::Bool(items.any(|item| item.equals(value))));
    }
    match container {
        Val::Object(map, node) => Ok(Val::Bool(value.text().is_some_and(|key| {
            if is_map(*node) {
                map.contains_key(key)
            } else {
                map.contains_key(&decl::unescape(key))
            }
        }))),
        Val::Map(entries) => Ok(Val::Bool(entries.iter().any(|(key, _)| key.equals(value)))),
        _ => no_overload(),
    }
}

/// `a + b`, also of lists; those of sets and list maps are united.
pub fn add<'v>(a: &Val<'v>, b: &Val<'v>) -> Outcome<'v> {
    let (Some(left), Some(right)) = (a.elements(), b.elements()) else {
        return Ok(native::add(a, b)?);
    };
    let mut items: Vec<Val<'v>> = left.collect();
    match a {
        Val::Array(_, Some(node)) if node.list_type != ListType::Atomic => {
            let keys = node.list_map_keys();
            for item in right {
                match items.iter_mut().find(|other| same(other, &item, keys)) {
                    Some(place) => *place = item,
                    None => items.push(item),
                }
            }
        }
        _ => items.extend(right),
    }
    Ok(Val::List(Rc::new(items)))
}

/// Whether two elements are one in a set, or in a list map with these keys.
fn same<'v>(a: &Val<'v>, b: &Val<'v>, keys: &[String]) -> bool {
    if keys.is_empty() {
        return a.equals(b);
    }
    keys.iter().all(|key| {
        let escaped = decl::escape(key).unwrap_or_default();
        match (a.field(&escaped), b.field(&escaped)) {
            (Some(a), Some(b)) => a.equals(&b),
            (None, None) => true,
            _ => false,
        }
    })
}

pub fn arithmetic<'v>(operator: Operator, a: &Val<'v>, b: &Val<'v>) -> Outcome<'v> {
    let overflow = || Failure::Error("integer overflow".to_owned());
    let value = match (operator, a, b) {
        (Operator::Subtract, Val::Int(a), Val::Int(b)) => {
            Val::Int(a.checked_sub(*b).ok_or_else(overflow)?)
        }
        (Operator::Subtract, Val::Uint(a), Val::Uint(b)) => {
            Val::Uint(a.checked_sub(*b).ok_or_else(overflow)?)
        }
        (Operator::Subtract, Val::Double(a), Val::Double(b)) => Val::Double(a - b),
        (Operator::Subtract, Val::Duration(a), Val::Duration(b)) => {
            Val::Duration(a.checked_sub(*b).ok_or_else(overflow)?)
        }
        (Operator::Subtract, Val::Timestamp(_), Val::Duration(b)) => {
            return Ok(native::add(
                a,
                &Val::Duration(b.checked_neg().ok_or_else(overflow)?),
            )?);
        }
        (Operator::Subtract, Val::Timestamp(a), Val::Timestamp(b)) => {
            let nanos = a.as_nanosecond() - b.as_nanosecond();
            Val::Duration(i64::try_from(nanos).map_err(|_| overflow())?)
        }
        (Operator::Multiply, Val::Int(a), Val::Int(b)) => {
            Val::Int(a.checked_mul(*b).ok_or_else(overflow)?)
        }
        (Operator::Multiply, Val::Uint(a), Val::Uint(b)) => {
            Val::Uint(a.checked_mul(*b).ok_or_else(overflow)?)
        }
        (Operator::Multiply, Val::Double(a), Val::Double(b)) => Val::Double(a * b),
        (Operator::Divide, Val::Int(_), Val::Int(0))
        | (Operator::Divide, Val::Uint(_), Val::Uint(0)) => {
            return Err(Failure::Error("division by zero".to_owned()));
        }
        (Operator::Divide, Val::Int(a), Val::Int(b)) => {
            Val::Int(a.checked_div(*b).ok_or_else(overflow)?)
        }
        (Operator::Divide, Val::Uint(a), Val::Uint(b)) => Val::Uint(a / b),
        (Operator::Divide, Val::Double(a), Val::Double(b)) => Val::Double(a / b),
        (Operator::Modulo, Val::Int(_), Val::Int(0))
        | (Operator::Modulo, Val::Uint(_), Val::Uint(0)) => {
            return Err(Failure::Error("modulus by zero".to_owned()));
        }
        (Operator::Modulo, Val::Int(a), Val::Int(b)) => {
            Val::Int(a.checked_rem(*b).ok_or_else(overflow)?)
        }
        (Operator::Modulo, Val::Uint(a), Val::Uint(b)) => Val::Uint(a % b),
        _ => return no_overload(),
    };
    Ok(value)
}
