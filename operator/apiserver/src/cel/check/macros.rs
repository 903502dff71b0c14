//! Checking macros: `all`, `exists`, `exists_one`, `map`, `filter`, those with two variables, and `optMap`.
//!
//! Owns the recognition of what the parser expanded and of what it does not know, and their costs. Must not know
//! evaluation. Invariant: a macro costs what kube-apiserver's expansion of it costs.

use cel::common::ast::{CallExpr, ComprehensionExpr, Expr as Ast, IdedExpr, operators};

use crate::cel::expr::{Expr, Flatten, Fold, FoldKind};
use crate::cel::ty::{Bounds, Kind, Ty};

use super::cost::Size;
use super::{Checker, Info, Typed, Variable};

/// A macro as written.
struct Written<'a> {
    kind: FoldKind,
    range: &'a IdedExpr,
    variables: Vec<&'a str>,
    filter: Option<&'a IdedExpr>,
    body: &'a IdedExpr,
}

impl Checker<'_> {
    /// A macro that the parser has expanded: what was written is found in the parts of the expansion.
    pub(super) fn comprehension(&mut self, parts: &ComprehensionExpr) -> Typed {
        let Some((kind, filter, body)) = recognized(parts) else {
            return Err(self.error("unsupported comprehension"));
        };
        let mut variables = vec![parts.iter_var.as_str()];
        variables.extend(parts.iter_var2.as_deref());
        self.fold(&Written {
            kind,
            range: &parts.iter_range,
            variables,
            filter,
            body,
        })
    }

    /// A macro that the parser takes for a call.
    pub(super) fn extended_macro(
        &mut self,
        call: &CallExpr,
    ) -> Result<Option<(Expr, Info)>, String> {
        let Some(target) = call.target.as_deref() else {
            return Ok(None);
        };
        let name = |arg: &IdedExpr| match &arg.expr {
            Ast::Ident(name) => Ok(name.clone()),
            _ => Err(self.error("argument must be a simple name")),
        };
        let (kind, filter) = match (call.func_name.as_str(), call.args.len()) {
            ("optMap" | "optFlatMap", 2) => {
                let variable = name(&call.args[0])?;
                let flatten = if call.func_name == "optMap" {
                    Flatten::No
                } else {
                    Flatten::Yes
                };
                return self
                    .opt_map(target, &variable, &call.args[1], flatten)
                    .map(Some);
            }
            ("all", 3) => (FoldKind::All, None),
            ("exists", 3) => (FoldKind::Exists, None),
            ("exists_one" | "existsOne", 3) => (FoldKind::ExistsOne, None),
            ("transformList", 3) => (FoldKind::Map, None),
            ("transformList", 4) => (FoldKind::Map, Some(&call.args[2])),
            ("transformMap", 3) => (FoldKind::TransformMap, None),
            ("transformMap", 4) => (FoldKind::TransformMap, Some(&call.args[2])),
            _ => return Ok(None),
        };
        let (first, second) = (name(&call.args[0])?, name(&call.args[1])?);
        let written = Written {
            kind,
            range: target,
            variables: vec![&first, &second],
            filter,
            body: &call.args[call.args.len() - 1],
        };
        self.fold(&written).map(Some)
    }

    fn fold(&mut self, written: &Written<'_>) -> Typed {
        let (range, info) = self.expr(written.range)?;
        let kind = info.ty.kind();
        if !matches!(kind, Kind::List | Kind::Map | Kind::Any) {
            let text = format!(
                "expression of type '{}' cannot be range of a comprehension (must be list, map, or dynamic)",
                info.ty.name()
            );
            return Err(self.error(&text));
        }
        // Where the path to a range is forgotten, Kubernetes' estimate takes the size of the whole for that of a part.
        let known = matches!(&info.ty, Ty::Decl(_, Bounds::Known));
        let whole = Some(Size::of(&self.scope[0].info.ty));
        let value = Info {
            size: if known { info.item } else { whole },
            ..Info::of(info.ty.element())
        };
        let key = Info {
            size: match kind {
                Kind::Map if known => Some(Size::at_most(0)),
                Kind::Map | Kind::Any => whole,
                _ => None,
            },
            ..Info::of(info.ty.key())
        };
        let depth = self.scope.len();
        match written.variables.as_slice() {
            [key_name, value_name] => {
                self.scope.push(Variable::new(key_name, key.clone()));
                self.scope.push(Variable::new(value_name, value.clone()));
            }
            [name] => {
                let single = if kind == Kind::Map {
                    key.clone()
                } else {
                    value.clone()
                };
                self.scope.push(Variable::new(name, single));
            }
            _ => return Err(self.error("unsupported comprehension")),
        }
        let filter = written.filter.map(|filter| self.expr(filter)).transpose()?;
        let (body, body_info) = self.expr(written.body)?;
        self.scope.truncate(depth);
        let boolean = |info: &Info| matches!(info.ty.kind(), Kind::Bool | Kind::Any);
        let wants_bool = !matches!(written.kind, FoldKind::Map | FoldKind::TransformMap);
        if (wants_bool && !boolean(&body_info))
            || filter.as_ref().is_some_and(|(_, info)| !boolean(info))
        {
            return Err(self.no_overload(operators::LOGICAL_AND, None, &[body_info]));
        }
        let single = if kind == Kind::Map { key } else { value };
        let filter_cost = filter.as_ref().map(|(_, info)| info.cost);
        let folded = costed(written.kind, &info, single, &body_info, filter_cost);
        let fold = Fold {
            range,
            kind: written.kind,
            two: written.variables.len() == 2,
            filter: filter.map(|(expr, _)| expr),
            body,
        };
        Ok((Expr::Fold(Box::new(fold)), folded))
    }

    fn opt_map(
        &mut self,
        target: &IdedExpr,
        variable: &str,
        body: &IdedExpr,
        flatten: Flatten,
    ) -> Typed {
        let (target, info) = self.expr(target)?;
        if !matches!(info.ty.kind(), Kind::Optional | Kind::Any) {
            return Err(self.no_overload("optMap", Some(&info), &[]));
        }
        let inner = Info::of(info.ty.element().lost());
        self.scope.push(Variable::new(variable, inner));
        let checked = self.expr(body);
        self.scope.pop();
        let (body, body_info) = checked?;
        let ty = match flatten {
            Flatten::No => Ty::Optional(Box::new(body_info.ty.clone())),
            Flatten::Yes => body_info.ty.clone(),
        };
        // The expansion tests, takes and wraps the value: a call each, and the target twice.
        let cost = info
            .cost
            .saturating_mul(2)
            .saturating_add(body_info.cost)
            .saturating_add(13);
        let mapped = Info {
            size: Some(body_info.size()),
            ..Info::costing(ty, cost)
        };
        Ok((
            Expr::OptMap(Box::new(target), Box::new(body), flatten),
            mapped,
        ))
    }
}

/// The costs of the parts of an expansion that are not written: what the result begins with, and each turn.
fn costed(kind: FoldKind, range: &Info, single: Info, body: &Info, filter: Option<u64>) -> Info {
    let size = range.size();
    let begin: u64 = match kind {
        FoldKind::All | FoldKind::Exists => 1,
        FoldKind::ExistsOne => 2,
        FoldKind::Filter | FoldKind::Map => 11,
        FoldKind::TransformMap => 31,
    };
    let turn = match kind {
        FoldKind::All => body.cost.saturating_add(3),
        FoldKind::Exists => body.cost.saturating_add(4),
        FoldKind::ExistsOne => body.cost.saturating_add(2),
        FoldKind::Filter => body.cost.saturating_add(13),
        FoldKind::Map => body.cost.saturating_add(12),
        FoldKind::TransformMap => body.cost.saturating_add(3),
    };
    let turn = filter.map_or(turn, |filter| filter.saturating_add(turn));
    let cost = range
        .cost
        .saturating_add(begin)
        .saturating_add(size.max.saturating_mul(turn));
    let collection = |ty, item: Size| Info {
        size: Some(Size::at_most(size.max)),
        item: Some(item),
        ..Info::costing(ty, cost)
    };
    match kind {
        FoldKind::All | FoldKind::Exists | FoldKind::ExistsOne => {
            Info::costing(Ty::Plain(Kind::Bool), cost)
        }
        FoldKind::Filter => collection(Ty::List(Box::new(single.ty.clone().lost())), single.size()),
        FoldKind::Map => collection(Ty::List(Box::new(body.ty.clone().lost())), body.size()),
        FoldKind::TransformMap => collection(
            Ty::Map(Box::new(range.ty.key()), Box::new(body.ty.clone().lost())),
            body.size(),
        ),
    }
}

/// What macro an expansion is, with its condition and body.
fn recognized(parts: &ComprehensionExpr) -> Option<(FoldKind, Option<&IdedExpr>, &IdedExpr)> {
    let Ast::Call(step) = &parts.loop_step.expr else {
        return None;
    };
    match (step.func_name.as_str(), step.args.as_slice()) {
        (operators::LOGICAL_AND, [_, body]) => Some((FoldKind::All, None, body)),
        (operators::LOGICAL_OR, [_, body]) => Some((FoldKind::Exists, None, body)),
        (operators::ADD, [_, added]) => Some((FoldKind::Map, None, only_element(added)?)),
        (operators::CONDITIONAL, [condition, yes, _]) => {
            if matches!(parts.accu_init.expr, Ast::Literal(_)) {
                return Some((FoldKind::ExistsOne, None, condition));
            }
            let Ast::Call(added) = &yes.expr else {
                return None;
            };
            let element = only_element(added.args.get(1)?)?;
            // `filter` collects the variable itself; `map` with a condition may do so too, which is the same.
            if matches!(&element.expr, Ast::Ident(name) if *name == parts.iter_var) {
                Some((FoldKind::Filter, None, condition))
            } else {
                Some((FoldKind::Map, Some(condition), element))
            }
        }
        _ => None,
    }
}

fn only_element(list: &IdedExpr) -> Option<&IdedExpr> {
    match &list.expr {
        Ast::List(list) if list.elements.len() == 1 => list.elements.first(),
        _ => None,
    }
}
