//! Checking a rule: names, types and what it may cost.
//!
//! Owns the translation of parsed CEL into [`Expr`]. Functions and their costs are in `call`, macros in `macros`. Must
//! not know how a rule is stored or evaluated. Invariant: an expression that passes has a type for every part as far as
//! the schema tells it, and an estimate that kube-apiserver would also have made.

mod call;
mod cost;
mod macros;
mod operator;
mod price;

use std::sync::Arc;

use cel::common::ast::{EntryExpr, IdedExpr, LiteralValue};

use super::decl::{Decl, DeclKind};
use super::expr::{Access, Expr};
use super::ty::{Bounds, Kind, Ty};

use cost::Size;

/// How deeply the tree of an expression may be. Evaluation recurses, and a written rule is never that deep.
const MAX_DEPTH: usize = 100;

/// How deeply brackets may nest in the text: the parser recurses several times for each.
const MAX_NESTING: u16 = 50;

/// How many brackets and conditional operators a text may have: each may be a level of the parsed tree, which is also
/// dropped recursively.
const MAX_BRACKETS: usize = 500;

/// A rule that passed.
#[derive(Debug)]
pub struct Checked {
    /// The expression.
    pub expr: Expr,
    /// What it makes.
    pub kind: Kind,
    /// The most it costs, in Kubernetes' units.
    pub cost: u64,
    /// Whether it mentions `oldSelf`.
    pub uses_old: bool,
}

/// Parses and checks a rule over `self` of type `this`. `optional_old`: `oldSelf` is an optional.
///
/// # Errors
/// What is wrong and where, as kube-apiserver says it.
pub fn check(text: &str, this: &Arc<Decl>, optional_old: bool) -> Result<Checked, String> {
    if text.bytes().filter(|byte| b"([{?".contains(byte)).count() > MAX_BRACKETS {
        return Err(format!(
            "an expression may have at most {MAX_BRACKETS} brackets and questions"
        ));
    }
    let ast = cel::parser::PrattParser::new()
        .enable_optional_syntax(true)
        .max_recursion_depth(MAX_NESTING)
        .parse(text)
        .map_err(|errors| errors.to_string().replace("\n| ", "\n | "))?;
    let old = Ty::Decl(Arc::clone(this), Bounds::Known);
    let mut checker = Checker {
        source: text,
        scope: vec![
            Variable::new("self", Info::of(old.clone())),
            Variable::new(
                "oldSelf",
                Info::of(if optional_old {
                    Ty::Optional(Box::new(old))
                } else {
                    old
                }),
            ),
        ],
        uses_old: false,
        depth: 0,
        mixed_list: false,
    };
    let (expr, info) = checker.expr(&ast)?;
    Ok(Checked {
        expr,
        kind: info.ty.kind(),
        cost: info.cost,
        uses_old: checker.uses_old,
    })
}

/// What is known of an expression.
#[derive(Clone, Debug)]
struct Info {
    ty: Ty,
    /// The size, where it is not that of the type.
    size: Option<Size>,
    /// The size of an element, where it is not that of the type.
    item: Option<Size>,
    /// The most it costs to evaluate.
    cost: u64,
}

impl Info {
    fn of(ty: Ty) -> Self {
        Self {
            ty,
            size: None,
            item: None,
            cost: 0,
        }
    }

    fn costing(ty: Ty, cost: u64) -> Self {
        Self {
            cost,
            ..Self::of(ty)
        }
    }

    fn sized(self, size: Size) -> Self {
        Self {
            size: Some(size),
            ..self
        }
    }

    /// The size, or that anything is possible.
    fn size(&self) -> Size {
        self.size.unwrap_or_else(|| Size::of(&self.ty))
    }
}

/// The size that covers both, as far as either is known.
fn united(a: Option<Size>, b: Option<Size>) -> Option<Size> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.union(b)),
        (known, None) | (None, known) => known,
    }
}

struct Variable {
    name: String,
    info: Info,
}

impl Variable {
    fn new(name: &str, info: Info) -> Self {
        Self {
            name: name.to_owned(),
            info,
        }
    }
}

struct Checker<'s> {
    source: &'s str,
    scope: Vec<Variable>,
    uses_old: bool,
    depth: usize,
    /// The next list may hold values of several types: it is the argument of `format`.
    mixed_list: bool,
}

type Typed = Result<(Expr, Info), String>;

impl Checker<'_> {
    fn expr(&mut self, ast: &IdedExpr) -> Typed {
        use cel::common::ast::Expr as Ast;
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(self.error(&format!("expressions may nest at most {MAX_DEPTH} deep")));
        }
        let typed = match &ast.expr {
            Ast::Literal(literal) => Ok(constant(literal)),
            Ast::Ident(name) => self.ident(name),
            Ast::Select(select) => self.select(&select.operand, &select.field, select.test),
            Ast::Call(call) => self.call(call),
            Ast::List(list) => self.list(&list.elements, &list.optional_indices),
            Ast::Map(map) => self.map(&map.entries),
            Ast::Comprehension(comprehension) => self.comprehension(comprehension),
            Ast::Struct(_) => Err(self.error("messages cannot be made in rules")),
            Ast::Unspecified => Err(self.error("unsupported expression")),
        };
        self.depth -= 1;
        typed
    }

    /// A fault in the form of the Go implementation, with its place as far as the name it quotes shows it.
    fn error(&self, text: &str) -> String {
        let name = text.split('\'').nth(1).unwrap_or_default();
        let operator = name.trim_matches('_');
        let offset = if text.starts_with("undefined field") {
            self.source.find(&format!(".{name}"))
        } else if operator != name {
            self.source.find(operator)
        } else {
            // A call is at its bracket.
            let call = format!("{name}(");
            self.source
                .find(&call)
                .map(|start| start + name.len())
                .or_else(|| self.source.find(name))
        };
        let before = self.source.get(..offset.unwrap_or(0)).unwrap_or_default();
        let line = before.matches('\n').count();
        let column = before.rsplit('\n').next().unwrap_or("").chars().count();
        let snippet = self.source.lines().nth(line).unwrap_or("");
        format!(
            "ERROR: <input>:{}:{}: {text}\n | {snippet}\n | {}^",
            line + 1,
            column + 1,
            ".".repeat(column)
        )
    }

    fn ident(&mut self, name: &str) -> Typed {
        if let Some(place) = self
            .scope
            .iter()
            .rposition(|variable| variable.name == name)
        {
            if place == 1 {
                self.uses_old = true;
            }
            let info = Info {
                cost: 1,
                ..self.scope[place].info.clone()
            };
            return Ok((Expr::Variable(place), info));
        }
        let type_name = match name {
            "bool" | "bytes" | "double" | "int" | "uint" | "string" | "list" | "map"
            | "null_type" | "type" => name,
            _ => {
                return Err(self.error(&format!(
                    "undeclared reference to '{name}' (in container '')"
                )));
            }
        };
        const TYPES: [&str; 10] = [
            "bool",
            "bytes",
            "double",
            "int",
            "uint",
            "string",
            "list",
            "map",
            "null_type",
            "type",
        ];
        let known = TYPES
            .into_iter()
            .find(|known| *known == type_name)
            .unwrap_or("type");
        Ok((
            Expr::Type(known),
            Info::costing(Ty::Plain(Kind::Type), 1).sized(Size::at_most(0)),
        ))
    }

    fn select(&mut self, operand: &IdedExpr, field: &str, test: bool) -> Typed {
        if let Some(known) = self.qualified_type(operand, field) {
            return Ok((
                Expr::Type(known),
                Info::costing(Ty::Plain(Kind::Type), 1).sized(Size::at_most(0)),
            ));
        }
        let (operand, info) = self.expr(operand)?;
        let (ty, optional) = match &info.ty {
            Ty::Optional(inner) => ((**inner).clone(), true),
            other => (other.clone(), false),
        };
        let (field_ty, item) = self.field(&ty, field, &info)?;
        if test {
            return Ok((
                Expr::Has(Box::new(operand), field.to_owned()),
                Info::costing(Ty::Plain(Kind::Bool), info.cost),
            ));
        }
        let cost = match ty.kind() {
            Kind::Map | Kind::Object => info.cost.saturating_add(1),
            _ => info.cost,
        };
        let ty = if optional {
            Ty::Optional(Box::new(field_ty))
        } else {
            field_ty
        };
        let selected = Info {
            size: item,
            ..Info::costing(ty, cost)
        };
        Ok((
            Expr::Select(Box::new(operand), field.to_owned(), Access::Required),
            selected,
        ))
    }

    /// `google.protobuf.Timestamp` and `Duration`, the only types with a qualified name.
    fn qualified_type(&self, operand: &IdedExpr, field: &str) -> Option<&'static str> {
        use cel::common::ast::Expr as Ast;
        let Ast::Select(outer) = &operand.expr else {
            return None;
        };
        let root = matches!(&outer.operand.expr, Ast::Ident(name) if name == "google");
        if !root || outer.field != "protobuf" {
            return None;
        }
        match field {
            "Timestamp" => Some("google.protobuf.Timestamp"),
            "Duration" => Some("google.protobuf.Duration"),
            _ => None,
        }
    }

    /// The type of a field of a value of this type.
    fn field(&self, ty: &Ty, field: &str, info: &Info) -> Result<(Ty, Option<Size>), String> {
        if let Ty::Decl(decl, bounds) = ty
            && let DeclKind::Object(fields) = &decl.kind
        {
            let found = fields
                .get(field)
                .ok_or_else(|| self.error(&format!("undefined field '{field}'")))?;
            return Ok((Ty::Decl(Arc::clone(found), *bounds), None));
        }
        match ty.kind() {
            // Kubernetes' estimate does not see through a key that is written like a field.
            Kind::Map => Ok((ty.element().lost(), info.item)),
            Kind::Any => Ok((Ty::Dyn, None)),
            _ => Err(self.error(&format!(
                "type '{}' does not support field selection",
                ty.name()
            ))),
        }
    }

    fn list(&mut self, elements: &[IdedExpr], optional: &[usize]) -> Typed {
        let mut items = Vec::with_capacity(elements.len());
        let mut cost = 10u64;
        let mut ty: Option<Ty> = None;
        let mut item: Option<Size> = None;
        let mixed = std::mem::take(&mut self.mixed_list);
        for (index, element) in elements.iter().enumerate() {
            let (expr, info) = self.expr(element)?;
            cost = cost.saturating_add(info.cost);
            let access = if optional.contains(&index) {
                Access::Optional
            } else {
                Access::Required
            };
            let found = if access == Access::Optional {
                info.ty.element()
            } else {
                info.ty.clone()
            };
            item = Some(item.map_or(info.size(), |size| size.union(info.size())));
            ty = Some(if mixed {
                Ty::Dyn
            } else {
                self.joined(ty, found)?
            });
            items.push((expr, access));
        }
        let size = Size::exactly(items.len() as u64);
        let info = Info {
            size: Some(size),
            item,
            ..Info::costing(Ty::List(Box::new(ty.unwrap_or(Ty::Dyn).lost())), cost)
        };
        Ok((Expr::List(items), info))
    }

    fn map(&mut self, entries: &[cel::common::ast::IdedEntryExpr]) -> Typed {
        let mut parts = Vec::with_capacity(entries.len());
        let mut cost = 30u64;
        let (mut keys, mut values): (Option<Ty>, Option<Ty>) = (None, None);
        let mut item: Option<Size> = None;
        for entry in entries {
            let EntryExpr::MapEntry(entry) = &entry.expr else {
                return Err(self.error("messages cannot be made in rules"));
            };
            let (key, key_info) = self.expr(&entry.key)?;
            let (value, value_info) = self.expr(&entry.value)?;
            cost = cost
                .saturating_add(key_info.cost)
                .saturating_add(value_info.cost);
            let access = if entry.optional {
                Access::Optional
            } else {
                Access::Required
            };
            let found = if entry.optional {
                value_info.ty.element()
            } else {
                value_info.ty.clone()
            };
            item = Some(item.map_or(value_info.size(), |size| size.union(value_info.size())));
            keys = Some(self.joined(keys, key_info.ty)?);
            values = Some(self.joined(values, found)?);
            parts.push((key, value, access));
        }
        let ty = Ty::Map(
            Box::new(keys.unwrap_or(Ty::Dyn)),
            Box::new(values.unwrap_or(Ty::Dyn).lost()),
        );
        let info = Info {
            size: Some(Size::exactly(parts.len() as u64)),
            item,
            ..Info::costing(ty, cost)
        };
        Ok((Expr::Map(parts), info))
    }

    /// The type of a literal's elements, which must be one.
    fn joined(&self, known: Option<Ty>, found: Ty) -> Result<Ty, String> {
        let Some(known) = known else {
            return Ok(found);
        };
        match (known.kind(), found.kind()) {
            (Kind::Any, _) | (_, Kind::Any) => Ok(Ty::Dyn),
            (a, b) if a == b => Ok(known),
            _ => Err(self.error(&format!(
                "expected type '{}' but found '{}'",
                known.name(),
                found.name()
            ))),
        }
    }
}

fn constant(literal: &LiteralValue) -> (Expr, Info) {
    let one = |kind| Info::of(Ty::Plain(kind)).sized(Size::exactly(1));
    match literal {
        LiteralValue::Boolean(flag) => (Expr::Bool(*flag.inner()), one(Kind::Bool)),
        LiteralValue::Int(integer) => (Expr::Int(*integer.inner()), one(Kind::Int)),
        LiteralValue::UInt(integer) => (Expr::Uint(*integer.inner()), one(Kind::Uint)),
        LiteralValue::Double(float) => (Expr::Double(*float.inner()), one(Kind::Double)),
        LiteralValue::Null => (Expr::Null, Info::of(Ty::Plain(Kind::Null))),
        LiteralValue::String(text) => {
            let text = text.inner().to_owned();
            let size = Size::exactly(text.len() as u64);
            (
                Expr::String(text),
                Info::of(Ty::Plain(Kind::String)).sized(size),
            )
        }
        LiteralValue::Bytes(bytes) => {
            let bytes = bytes.inner().to_vec();
            let size = Size::exactly(bytes.len() as u64);
            (
                Expr::Bytes(bytes),
                Info::of(Ty::Plain(Kind::Bytes)).sized(size),
            )
        }
    }
}
