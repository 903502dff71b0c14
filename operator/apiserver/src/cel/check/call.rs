//! Checking calls: which function is meant, with what types, at what cost.
//!
//! Owns overload resolution and the estimates of each function, which are kube-apiserver's. Must not know evaluation.
//! Invariant: a call that passes has a function that takes such arguments.

use cel::common::ast::{CallExpr, Expr as Ast, IdedExpr, operators};

use crate::cel::expr::{Access, Expr, Function};
use crate::cel::signature::{Makes, Provider, Signature, signatures};
use crate::cel::ty::{Kind, Ty};
use crate::schema::compile_pattern;

use super::operator::operator_of;
use super::price::estimate;
use super::{Checker, Info, Typed, united};

impl Checker<'_> {
    pub(super) fn call(&mut self, call: &CallExpr) -> Typed {
        match (call.func_name.as_str(), call.args.as_slice()) {
            (operators::LOGICAL_AND | operators::LOGICAL_OR, [a, b]) => {
                return self.connective(call, a, b);
            }
            (operators::CONDITIONAL, [condition, yes, no]) => {
                return self.conditional(condition, yes, no);
            }
            (operators::INDEX, [operand, index]) => {
                return self.index(operand, index, Access::Required);
            }
            (operators::OPT_INDEX, [operand, index]) => {
                return self.index(operand, index, Access::Optional);
            }
            (operators::OPT_SELECT, [operand, field]) => {
                return self.optional_select(operand, field);
            }
            _ => {}
        }
        if let Some(operator) = operator_of(&call.func_name) {
            let (arguments, infos) = self.arguments(&call.args)?;
            let info = self.operator(&call.func_name, operator, &infos)?;
            return Ok((Expr::Call(Function::Operator(operator), arguments), info));
        }
        if let Some(typed) = self.extended_macro(call)? {
            return Ok(typed);
        }
        self.function(call)
    }

    fn arguments(&mut self, args: &[IdedExpr]) -> Result<(Vec<Expr>, Vec<Info>), String> {
        let mut exprs = Vec::with_capacity(args.len());
        let mut infos = Vec::with_capacity(args.len());
        for arg in args {
            let (expr, info) = self.expr(arg)?;
            exprs.push(expr);
            infos.push(info);
        }
        Ok((exprs, infos))
    }

    fn connective(&mut self, call: &CallExpr, a: &IdedExpr, b: &IdedExpr) -> Typed {
        let (left, left_info) = self.expr(a)?;
        let (right, right_info) = self.expr(b)?;
        let boolean = |info: &Info| matches!(info.ty.kind(), Kind::Bool | Kind::Any);
        if !boolean(&left_info) || !boolean(&right_info) {
            return Err(self.no_overload(&call.func_name, None, &[left_info, right_info]));
        }
        let cost = left_info.cost.saturating_add(right_info.cost);
        let (left, right) = (Box::new(left), Box::new(right));
        let expr = if call.func_name == operators::LOGICAL_AND {
            Expr::And(left, right)
        } else {
            Expr::Or(left, right)
        };
        Ok((expr, Info::costing(Ty::Plain(Kind::Bool), cost)))
    }

    fn conditional(&mut self, condition: &IdedExpr, yes: &IdedExpr, no: &IdedExpr) -> Typed {
        let (condition, condition_info) = self.expr(condition)?;
        let (yes, yes_info) = self.expr(yes)?;
        let (no, no_info) = self.expr(no)?;
        let same = yes_info.ty.comparable(&no_info.ty);
        if !matches!(condition_info.ty.kind(), Kind::Bool | Kind::Any) || !same {
            return Err(self.no_overload(
                operators::CONDITIONAL,
                None,
                &[condition_info, yes_info, no_info],
            ));
        }
        let ty = match (yes_info.ty.kind(), no_info.ty.kind()) {
            (a, b) if a == b => yes_info.ty.clone().lost(),
            (Kind::Null, _) => no_info.ty.clone().lost(),
            (_, Kind::Null) => yes_info.ty.clone().lost(),
            _ => Ty::Dyn,
        };
        let info = Info {
            size: Some(yes_info.size().union(no_info.size())),
            item: united(yes_info.item, no_info.item),
            ..Info::costing(
                ty,
                condition_info
                    .cost
                    .saturating_add(yes_info.cost.max(no_info.cost)),
            )
        };
        let expr = Expr::Conditional(Box::new(condition), Box::new(yes), Box::new(no));
        Ok((expr, info))
    }

    fn index(&mut self, operand: &IdedExpr, index: &IdedExpr, access: Access) -> Typed {
        let (operand, info) = self.expr(operand)?;
        let (index, index_info) = self.expr(index)?;
        let (ty, optional) = match &info.ty {
            Ty::Optional(inner) => ((**inner).clone(), true),
            other => (other.clone(), access == Access::Optional),
        };
        let fits = match (ty.kind(), index_info.ty.kind()) {
            (Kind::List, kind) => matches!(kind, Kind::Int | Kind::Uint | Kind::Double | Kind::Any),
            (Kind::Map | Kind::Any, _) => true,
            _ => false,
        };
        if !fits {
            return Err(self.no_overload(operators::INDEX, None, &[info, index_info]));
        }
        let element = match access {
            Access::Required => ty.element(),
            Access::Optional => ty.element().lost(),
        };
        let cost = info.cost.saturating_add(index_info.cost).saturating_add(1);
        let found = Info {
            size: info.item,
            ..Info::costing(
                if optional {
                    Ty::Optional(Box::new(element))
                } else {
                    element
                },
                cost,
            )
        };
        Ok((
            Expr::Index(Box::new(operand), Box::new(index), access),
            found,
        ))
    }

    fn optional_select(&mut self, operand: &IdedExpr, field: &IdedExpr) -> Typed {
        use cel::common::ast::LiteralValue;
        let (operand, info) = self.expr(operand)?;
        let Ast::Literal(LiteralValue::String(name)) = &field.expr else {
            return Err(self.error("expected a field name"));
        };
        let ty = match &info.ty {
            Ty::Optional(inner) => (**inner).clone(),
            other => other.clone(),
        };
        let (found, size) = self.field(&ty, name.inner(), &info)?;
        let info = Info {
            size,
            ..Info::costing(
                Ty::Optional(Box::new(found.lost())),
                info.cost.saturating_add(1),
            )
        };
        Ok((
            Expr::Select(Box::new(operand), name.inner().to_owned(), Access::Optional),
            info,
        ))
    }

    /// A function, whose name may have a namespace that parses like a target.
    fn function(&mut self, call: &CallExpr) -> Typed {
        let namespaced = call.target.as_ref().and_then(|target| match &target.expr {
            Ast::Ident(prefix) if !self.scope.iter().any(|variable| variable.name == *prefix) => {
                Some(format!("{prefix}.{}", call.func_name))
            }
            _ => None,
        });
        if let Some(name) = namespaced {
            if signatures(&name, false).next().is_none() {
                return Err(self.error(&format!(
                    "undeclared reference to '{name}' (in container '')"
                )));
            }
            let (arguments, infos) = self.arguments(&call.args)?;
            return self.resolved(&name, None, arguments, infos, call);
        }
        let name = call.func_name.as_str();
        if signatures(name, call.target.is_some()).next().is_none() {
            return Err(self.error(&format!(
                "undeclared reference to '{name}' (in container '')"
            )));
        }
        let target = match &call.target {
            Some(target) => Some(self.expr(target)?),
            None => None,
        };
        self.mixed_list = name == "format"
            && matches!(call.args.first().map(|arg| &arg.expr), Some(Ast::List(_)));
        let (mut arguments, infos) = self.arguments(&call.args)?;
        let target = target.map(|(expr, info)| {
            arguments.insert(0, expr);
            info
        });
        self.resolved(name, target, arguments, infos, call)
    }

    fn resolved(
        &self,
        name: &str,
        target: Option<Info>,
        mut arguments: Vec<Expr>,
        infos: Vec<Info>,
        call: &CallExpr,
    ) -> Typed {
        let all: Vec<&Info> = target.iter().chain(&infos).collect();
        let takes = |signature: &&Signature| {
            signature.takes.len() == all.len()
                && signature
                    .takes
                    .iter()
                    .zip(&all)
                    .all(|(wanted, info)| accepts(*wanted, info.ty.kind()))
        };
        let fitting: Vec<&'static Signature> =
            signatures(name, target.is_some()).filter(takes).collect();
        let summable = all.first().is_none_or(|list| {
            matches!(
                list.ty.element().kind(),
                Kind::Int | Kind::Uint | Kind::Double | Kind::Duration | Kind::Any
            )
        });
        if name == "sum" && !summable {
            return Err(self.no_overload(name, target.as_ref(), &infos));
        }
        let Some(first) = fitting.first() else {
            return Err(self.no_overload(name, target.as_ref(), &infos));
        };
        let (cost, size) = estimate(name, target.as_ref(), &infos);
        let sum = all
            .iter()
            .fold(cost, |sum, info| sum.saturating_add(info.cost));
        let ty = if fitting.iter().all(|other| other.makes == first.makes) {
            made(first.makes, all.first().copied())
        } else {
            Ty::Dyn
        };
        let info = Info {
            size,
            ..Info::costing(ty, sum)
        };
        let function = if name == "matches"
            && let Some(Expr::String(pattern)) = arguments.get(1)
        {
            let regex =
                compile_pattern(pattern).map_err(|_| self.error("invalid matches argument"))?;
            arguments.truncate(1);
            Function::Matches(regex)
        } else {
            self.literals(name, &arguments, call)?;
            let library = fitting
                .iter()
                .find(|signature| signature.provider == Provider::Library);
            let native = fitting
                .iter()
                .find(|signature| signature.provider == Provider::Native);
            match (native, library) {
                (Some(native), Some(library)) => Function::Either(native.name, library),
                (None, Some(library)) => Function::Library(library),
                (Some(native), None) => Function::Native(native.name),
                (None, None) => return Err(self.no_overload(name, target.as_ref(), &infos)),
            }
        };
        Ok((Expr::Call(function, arguments), info))
    }

    /// Literals that are no duration or time are refused when the rule is written, not when it runs.
    fn literals(&self, name: &str, arguments: &[Expr], call: &CallExpr) -> Result<(), String> {
        use crate::cel::native;
        let fault = match (name, arguments) {
            ("duration", [Expr::String(text)]) => native::duration(text).err(),
            ("timestamp", [Expr::String(text)]) => native::timestamp(text).err(),
            ("find" | "findAll", [_, Expr::String(pattern), ..]) => compile_pattern(pattern).err(),
            _ => None,
        };
        match (fault, call.args.last()) {
            (Some(_), Some(_)) => Err(self.error(&format!("invalid {name} argument"))),
            _ => Ok(()),
        }
    }

    pub(super) fn no_overload(&self, name: &str, target: Option<&Info>, args: &[Info]) -> String {
        let names: Vec<String> = args.iter().map(|info| info.ty.name()).collect();
        let applied = match target {
            Some(target) => format!("{}.({})", target.ty.name(), names.join(", ")),
            None => format!("({})", names.join(", ")),
        };
        self.error(&format!(
            "found no matching overload for '{name}' applied to '{applied}'"
        ))
    }
}

fn accepts(wanted: Kind, found: Kind) -> bool {
    wanted == found || wanted == Kind::Any || found == Kind::Any
}

fn made(makes: Makes, first: Option<&Info>) -> Ty {
    let first = || first.map_or(Ty::Dyn, |info| info.ty.clone());
    let plain = |kind| {
        if kind == Kind::Any {
            Ty::Dyn
        } else {
            Ty::Plain(kind)
        }
    };
    match makes {
        Makes::Kind(kind) => plain(kind),
        Makes::Same => first().lost(),
        Makes::Element => first().element().lost(),
        Makes::List(kind) => Ty::List(Box::new(plain(kind))),
        Makes::OptionalStrings => {
            Ty::Optional(Box::new(Ty::List(Box::new(Ty::Plain(Kind::String)))))
        }
        Makes::Optional(kind) => Ty::Optional(Box::new(plain(kind))),
        Makes::OptionalSame => Ty::Optional(Box::new(first().lost())),
    }
}
