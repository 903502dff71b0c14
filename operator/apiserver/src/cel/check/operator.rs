//! Checking operators: which operands they take, what they make and cost.
//!
//! Owns the tables of CEL's operators. Must not know functions. Invariant: operands of types that are known and do not
//! go together are refused.

use cel::common::ast::operators;

use crate::cel::expr::Operator;
use crate::cel::ty::{Kind, Ty};

use super::cost::scaled;
use super::{Checker, Info, united};

impl Checker<'_> {
    /// An operator whose operands have been checked.
    pub(super) fn operator(
        &self,
        name: &str,
        operator: Operator,
        args: &[Info],
    ) -> Result<Info, String> {
        let kinds: Vec<Kind> = args.iter().map(|info| info.ty.kind()).collect();
        let refuse = || {
            let names: Vec<String> = args.iter().map(|info| info.ty.name()).collect();
            Err(self.error(&format!(
                "found no matching overload for '{name}' applied to '({})'",
                names.join(", ")
            )))
        };
        let sum = args
            .iter()
            .fold(0u64, |sum, info| sum.saturating_add(info.cost));
        let plain = |kind, cost: u64| Ok(Info::costing(Ty::Plain(kind), sum.saturating_add(cost)));
        match (operator, kinds.as_slice()) {
            (Operator::Not, [Kind::Bool | Kind::Any]) => plain(Kind::Bool, 1),
            (Operator::Negate, [kind @ (Kind::Int | Kind::Double | Kind::Any)]) => plain(*kind, 1),
            (Operator::Equal | Operator::NotEqual, [_, _]) => {
                if !args[0].ty.comparable(&args[1].ty) {
                    return refuse();
                }
                // Kubernetes compares its own fixed-size types at the cost of one step, but only for equality.
                let fixed = [Kind::Ip, Kind::Cidr, Kind::Quantity, Kind::Semver];
                if matches!(operator, Operator::Equal)
                    && kinds[0] == kinds[1]
                    && fixed.contains(&kinds[0])
                {
                    return plain(Kind::Bool, 1);
                }
                let smaller = args[0].size().max.min(args[1].size().max);
                plain(Kind::Bool, scaled(smaller, 0.1))
            }
            (
                Operator::Less
                | Operator::LessOrEqual
                | Operator::Greater
                | Operator::GreaterOrEqual,
                [a, b],
            ) => {
                if !ordered(*a, *b) {
                    return refuse();
                }
                let text = matches!(
                    (a, b),
                    (Kind::String | Kind::Bytes, _) | (_, Kind::String | Kind::Bytes)
                );
                let smaller = args[0].size().max.min(args[1].size().max);
                plain(Kind::Bool, if text { scaled(smaller, 0.1) } else { 1 })
            }
            (Operator::In, [_, Kind::List]) => {
                if !args[0].ty.comparable(&args[1].ty.element()) {
                    return refuse();
                }
                plain(Kind::Bool, args[1].size().max)
            }
            (Operator::In, [_, Kind::Map]) => plain(Kind::Bool, 1),
            (Operator::In, [_, Kind::Any]) => plain(Kind::Bool, args[1].size().max),
            (Operator::Add, [_, _]) => sum_of(args, sum).map_or_else(refuse, Ok),
            (_, [a, b]) => match calculated(operator, *a, *b) {
                Some(kind) => plain(kind, 1),
                None => refuse(),
            },
            _ => refuse(),
        }
    }
}

/// What a sum is; `None` when there is no such sum.
fn sum_of(args: &[Info], cost: u64) -> Option<Info> {
    let [left, right] = args else {
        return None;
    };
    let (a, b) = (left.ty.kind(), right.ty.kind());
    let size = left.size().plus(right.size());
    match added(a, b)? {
        Kind::String | Kind::Bytes => {
            let kind = if a == Kind::Any { b } else { a };
            let cost = cost.saturating_add(scaled(size.max, 0.1));
            Some(Info::costing(Ty::Plain(kind), cost).sized(size))
        }
        Kind::List => {
            let list = if a == Kind::Any { right } else { left };
            Some(Info {
                item: united(left.item, right.item),
                ..Info::costing(list.ty.clone().lost(), cost.saturating_add(1)).sized(size)
            })
        }
        kind => Some(Info::costing(Ty::Plain(kind), cost.saturating_add(1))),
    }
}

fn ordered(a: Kind, b: Kind) -> bool {
    let number = |kind| matches!(kind, Kind::Int | Kind::Uint | Kind::Double);
    let has_order = |kind| {
        matches!(
            kind,
            Kind::Bool | Kind::String | Kind::Bytes | Kind::Duration | Kind::Timestamp | Kind::Any
        ) || number(kind)
    };
    has_order(a)
        && has_order(b)
        && (a == b || a == Kind::Any || b == Kind::Any || (number(a) && number(b)))
}

fn added(a: Kind, b: Kind) -> Option<Kind> {
    match (a, b) {
        (Kind::Any, Kind::Any) => Some(Kind::Any),
        (Kind::Timestamp, Kind::Duration) | (Kind::Duration, Kind::Timestamp) => {
            Some(Kind::Timestamp)
        }
        (Kind::Any, kind) | (kind, Kind::Any) => addable(kind).then_some(kind),
        (a, b) if a == b && addable(a) => Some(a),
        _ => None,
    }
}

fn addable(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::Int
            | Kind::Uint
            | Kind::Double
            | Kind::String
            | Kind::Bytes
            | Kind::List
            | Kind::Duration
            | Kind::Timestamp
    )
}

fn calculated(operator: Operator, a: Kind, b: Kind) -> Option<Kind> {
    let number = |kind| matches!(kind, Kind::Int | Kind::Uint | Kind::Double);
    match (operator, a, b) {
        (Operator::Modulo, Kind::Double, _) | (Operator::Modulo, _, Kind::Double) => None,
        (Operator::Subtract, Kind::Timestamp, Kind::Timestamp) => Some(Kind::Duration),
        (Operator::Subtract, Kind::Timestamp, Kind::Duration) => Some(Kind::Timestamp),
        (Operator::Subtract, Kind::Duration, Kind::Duration) => Some(Kind::Duration),
        (_, Kind::Any, Kind::Any) => Some(Kind::Any),
        (_, Kind::Any, kind) | (_, kind, Kind::Any) => number(kind).then_some(kind),
        (_, a, b) if a == b && number(a) => Some(a),
        _ => None,
    }
}

/// The operator that a parsed name means.
pub fn operator_of(name: &str) -> Option<Operator> {
    Some(match name {
        operators::LOGICAL_NOT => Operator::Not,
        operators::NEGATE => Operator::Negate,
        operators::ADD => Operator::Add,
        operators::SUBSTRACT => Operator::Subtract,
        operators::MULTIPLY => Operator::Multiply,
        operators::DIVIDE => Operator::Divide,
        operators::MODULO => Operator::Modulo,
        operators::EQUALS => Operator::Equal,
        operators::NOT_EQUALS => Operator::NotEqual,
        operators::LESS => Operator::Less,
        operators::LESS_EQUALS => Operator::LessOrEqual,
        operators::GREATER => Operator::Greater,
        operators::GREATER_EQUALS => Operator::GreaterOrEqual,
        operators::IN => Operator::In,
        _ => return None,
    })
}
