//! Evaluation of a checked rule.
//!
//! Owns the walk over [`Expr`], the meaning of operators and macros, and the budget that ends an evaluation. Must not
//! know schemas or faults. Invariant: every step is paid from the budget before it is made, so that time and memory are
//! bounded whatever the rule and the object are.

mod access;

use std::rc::Rc;

use crate::schema::ListType;

use super::expr::{Access, Expr, Flatten, Fold, FoldKind, Function, Operator};
use super::library;
use super::native::{self, NO_OVERLOAD};
use super::value::Val;

use access::{add, arithmetic, contains, element, has, select};

/// What one evaluation may cost: Kubernetes' own limit, about a tenth of a second.
pub const PER_CALL: u64 = 1_000_000;

/// Why an evaluation has no result.
#[derive(Clone, Debug, PartialEq)]
pub enum Failure {
    /// The rule does not fit the object: a missing key, a division by zero and the like.
    Error(String),
    /// The budget is spent.
    Budget,
}

impl From<String> for Failure {
    fn from(text: String) -> Self {
        Failure::Error(text)
    }
}

type Outcome<'v> = Result<Val<'v>, Failure>;

fn no_overload<'v>() -> Outcome<'v> {
    Err(Failure::Error(NO_OVERLOAD.to_owned()))
}

/// One evaluation.
pub struct Evaluation<'v> {
    stack: Vec<Val<'v>>,
    spent: u64,
    limit: u64,
}

impl<'v> Evaluation<'v> {
    /// Begins an evaluation with `self` and `oldSelf`; `limit` is what it may cost at most.
    pub fn new(this: Val<'v>, old: Val<'v>, limit: u64) -> Self {
        Self {
            stack: vec![this, old],
            spent: 0,
            limit: limit.min(PER_CALL),
        }
    }

    /// What has been spent.
    pub fn spent(&self) -> u64 {
        self.spent
    }

    fn pay(&mut self, cost: u64) -> Result<(), Failure> {
        self.spent = self.spent.saturating_add(cost);
        if self.spent > self.limit {
            return Err(Failure::Budget);
        }
        Ok(())
    }

    /// The value of an expression.
    ///
    /// # Errors
    /// Why there is none.
    pub fn value(&mut self, expr: &'v Expr) -> Outcome<'v> {
        match expr {
            Expr::Null => Ok(Val::Null),
            Expr::Bool(flag) => Ok(Val::Bool(*flag)),
            Expr::Int(integer) => Ok(Val::Int(*integer)),
            Expr::Uint(integer) => Ok(Val::Uint(*integer)),
            Expr::Double(float) => Ok(Val::Double(*float)),
            Expr::String(text) => Ok(Val::Str(text)),
            Expr::Bytes(bytes) => Ok(Val::Bytes(bytes.as_slice().into())),
            Expr::Type(name) => Ok(Val::Type(name)),
            Expr::Variable(place) => {
                self.pay(1)?;
                Ok(self.stack[*place].clone())
            }
            Expr::Select(operand, name, access) => {
                let operand = self.value(operand)?;
                self.pay(1)?;
                select(&operand, name, *access)
            }
            Expr::Has(operand, name) => {
                let operand = self.value(operand)?;
                has(&operand, name)
            }
            Expr::Index(operand, index, access) => {
                let operand = self.value(operand)?;
                let index = self.value(index)?;
                self.pay(1)?;
                element(&operand, &index, *access)
            }
            Expr::And(a, b) => self.connective(a, b, false),
            Expr::Or(a, b) => self.connective(a, b, true),
            Expr::Conditional(condition, yes, no) => match self.value(condition)? {
                Val::Bool(true) => self.value(yes),
                Val::Bool(false) => self.value(no),
                _ => no_overload(),
            },
            Expr::Call(function, arguments) => self.call(function, arguments),
            Expr::List(items) => self.list(items),
            Expr::Map(entries) => self.map(entries),
            Expr::Fold(fold) => self.fold(fold),
            Expr::OptMap(target, body, flatten) => self.opt_map(target, body, *flatten),
        }
    }

    /// `&&` (`decisive` false) and `||` (`decisive` true): one decisive side is the result even if the other fails.
    fn connective(&mut self, a: &'v Expr, b: &'v Expr, decisive: bool) -> Outcome<'v> {
        let left = self.value(a);
        if matches!(left, Err(Failure::Budget)) {
            return left;
        }
        if matches!(left, Ok(Val::Bool(value)) if value == decisive) {
            return left;
        }
        let right = self.value(b);
        match (left, right) {
            (_, Err(Failure::Budget)) => Err(Failure::Budget),
            (_, Ok(Val::Bool(value))) if value == decisive => Ok(Val::Bool(decisive)),
            (Ok(Val::Bool(_)), Ok(Val::Bool(_))) => Ok(Val::Bool(!decisive)),
            (Err(failure), _) | (_, Err(failure)) => Err(failure),
            (Ok(_), Ok(_)) => no_overload(),
        }
    }

    fn call(&mut self, function: &'v Function, arguments: &'v [Expr]) -> Outcome<'v> {
        let mut values = Vec::with_capacity(arguments.len());
        for argument in arguments {
            values.push(self.value(argument)?);
        }
        match function {
            Function::Operator(operator) => self.operator(*operator, &values),
            Function::Matches(pattern) => {
                let [text] = values.as_slice() else {
                    return no_overload();
                };
                let Some(text) = text.text() else {
                    return no_overload();
                };
                self.pay((text.len() as u64 / 10 + 1) * (pattern.as_str().len() as u64 / 4 + 1))?;
                Ok(Val::Bool(pattern.is_match(text)))
            }
            Function::Native(name) => {
                self.pay(price(name, &values))?;
                native::call(name, &values).map_err(|error| named(error, name))
            }
            Function::Library(signature) => {
                self.pay(price(signature.name, &values))?;
                Ok(library::call(signature, &values)?)
            }
            Function::Either(name, signature) => {
                self.pay(price(name, &values))?;
                match native::call(name, &values) {
                    Err(error) if error == NO_OVERLOAD => Ok(library::call(signature, &values)?),
                    outcome => Ok(outcome?),
                }
            }
        }
    }

    fn operator(&mut self, operator: Operator, values: &[Val<'v>]) -> Outcome<'v> {
        let compared = || match values {
            [a, b] => a
                .order(b)
                .ok_or_else(|| Failure::Error(NO_OVERLOAD.to_owned())),
            _ => Err(Failure::Error(NO_OVERLOAD.to_owned())),
        };
        let cost = match (operator, values) {
            (Operator::In, [_, list]) => list.size().map_or(1, |size| size as u64 + 1),
            (Operator::Add, [a, b]) => a.weight() + b.weight(),
            (_, [a, b]) => a.weight().min(b.weight()),
            _ => 1,
        };
        self.pay(cost)?;
        match (operator, values) {
            (Operator::Not, [Val::Bool(flag)]) => Ok(Val::Bool(!flag)),
            (Operator::Negate, [Val::Int(integer)]) => Ok(Val::Int(
                integer
                    .checked_neg()
                    .ok_or_else(|| "integer overflow".to_owned())?,
            )),
            (Operator::Negate, [Val::Double(float)]) => Ok(Val::Double(-float)),
            (Operator::Equal, [a, b]) => self.equal(a, b).map(Val::Bool),
            (Operator::NotEqual, [a, b]) => self.equal(a, b).map(|equal| Val::Bool(!equal)),
            (Operator::Less, _) => Ok(Val::Bool(compared()?.is_lt())),
            (Operator::LessOrEqual, _) => Ok(Val::Bool(compared()?.is_le())),
            (Operator::Greater, _) => Ok(Val::Bool(compared()?.is_gt())),
            (Operator::GreaterOrEqual, _) => Ok(Val::Bool(compared()?.is_ge())),
            (Operator::In, [value, container]) => contains(value, container),
            (Operator::Add, [a, b]) => add(a, b),
            (_, [a, b]) => arithmetic(operator, a, b),
            _ => no_overload(),
        }
    }

    /// Equality of large values is paid for in full before it is tried.
    fn equal(&mut self, a: &Val<'v>, b: &Val<'v>) -> Result<bool, Failure> {
        let unordered =
            matches!(a, Val::Array(_, Some(node)) if node.list_type != ListType::Atomic);
        if unordered && let (Some(a), Some(b)) = (a.size(), b.size()) {
            self.pay((a as u64).saturating_mul(b as u64))?;
        }
        Ok(a.equals(b))
    }

    fn list(&mut self, items: &'v [(Expr, Access)]) -> Outcome<'v> {
        self.pay(10)?;
        let mut values = Vec::with_capacity(items.len());
        for (item, access) in items {
            match (self.value(item)?, access) {
                (value, Access::Required) => values.push(value),
                (Val::Optional(Some(value)), Access::Optional) => values.push((*value).clone()),
                (Val::Optional(None), Access::Optional) => {}
                _ => return no_overload(),
            }
        }
        Ok(Val::List(Rc::new(values)))
    }

    fn map(&mut self, entries: &'v [(Expr, Expr, Access)]) -> Outcome<'v> {
        self.pay(30)?;
        let mut values = Vec::with_capacity(entries.len());
        for (key, value, access) in entries {
            let key = self.value(key)?;
            match (self.value(value)?, access) {
                (value, Access::Required) => values.push((key, value)),
                (Val::Optional(Some(value)), Access::Optional) => {
                    values.push((key, (*value).clone()))
                }
                (Val::Optional(None), Access::Optional) => {}
                _ => return no_overload(),
            }
        }
        Ok(Val::Map(Rc::new(values)))
    }

    fn opt_map(&mut self, target: &'v Expr, body: &'v Expr, flatten: Flatten) -> Outcome<'v> {
        match self.value(target)? {
            Val::Optional(Some(value)) => {
                self.stack.push((*value).clone());
                let result = self.value(body);
                self.stack.pop();
                match (result?, flatten) {
                    (value, Flatten::No) => Ok(Val::Optional(Some(Rc::new(value)))),
                    (value @ Val::Optional(_), Flatten::Yes) => Ok(value),
                    (_, Flatten::Yes) => no_overload(),
                }
            }
            none @ Val::Optional(None) => Ok(none),
            _ => no_overload(),
        }
    }

    fn fold(&mut self, fold: &'v Fold) -> Outcome<'v> {
        let range = self.value(&fold.range)?;
        let pairs: Vec<(Val<'v>, Val<'v>)> = match (range.elements(), range.entries()) {
            (Some(items), _) => items
                .enumerate()
                .map(|(index, item)| (Val::Int(index as i64), item))
                .collect(),
            (None, Some(entries)) => entries,
            (None, None) => return no_overload(),
        };
        // A single variable is the element of a list, but the key of a map.
        let is_list = range.elements().is_some();
        let mut collected = Collected::new(fold.kind);
        for (key, value) in pairs {
            self.pay(1)?;
            let depth = self.stack.len();
            let single = if is_list { value.clone() } else { key.clone() };
            if fold.two {
                self.stack.push(key.clone());
                self.stack.push(value);
            } else {
                self.stack.push(single.clone());
            }
            let step = self.step(fold, &mut collected, single, key);
            self.stack.truncate(depth);
            if step? == Step::Done {
                break;
            }
        }
        collected.result()
    }

    fn step(
        &mut self,
        fold: &'v Fold,
        collected: &mut Collected<'v>,
        single: Val<'v>,
        key: Val<'v>,
    ) -> Result<Step, Failure> {
        if let Some(filter) = &fold.filter {
            match self.value(filter)? {
                Val::Bool(true) => {}
                Val::Bool(false) => return Ok(Step::Next),
                _ => return Err(Failure::Error(NO_OVERLOAD.to_owned())),
            }
        }
        let value = self.value(&fold.body);
        match fold.kind {
            FoldKind::All | FoldKind::Exists => {
                let decisive = fold.kind == FoldKind::Exists;
                match value {
                    Ok(Val::Bool(value)) if value == decisive => {
                        collected.decided = Some(decisive);
                        return Ok(Step::Done);
                    }
                    Ok(Val::Bool(_)) => {}
                    Err(Failure::Budget) => return Err(Failure::Budget),
                    // A decisive element after a failing one still decides.
                    Err(failure) => collected.failure = collected.failure.take().or(Some(failure)),
                    Ok(_) => return Err(Failure::Error(NO_OVERLOAD.to_owned())),
                }
            }
            FoldKind::ExistsOne | FoldKind::Filter => match value? {
                Val::Bool(true) => collected.items.push((key, single)),
                Val::Bool(false) => {}
                _ => return Err(Failure::Error(NO_OVERLOAD.to_owned())),
            },
            FoldKind::Map | FoldKind::TransformMap => {
                self.pay(1)?;
                collected.items.push((key, value?));
            }
        }
        Ok(Step::Next)
    }
}

#[derive(PartialEq)]
enum Step {
    Next,
    Done,
}

/// What a macro has gathered.
struct Collected<'v> {
    kind: FoldKind,
    decided: Option<bool>,
    failure: Option<Failure>,
    items: Vec<(Val<'v>, Val<'v>)>,
}

impl<'v> Collected<'v> {
    fn new(kind: FoldKind) -> Self {
        Self {
            kind,
            decided: None,
            failure: None,
            items: Vec::new(),
        }
    }

    fn result(self) -> Outcome<'v> {
        match (self.kind, self.decided, self.failure) {
            (FoldKind::All | FoldKind::Exists, Some(decided), _) => Ok(Val::Bool(decided)),
            (FoldKind::All | FoldKind::Exists, None, Some(failure)) => Err(failure),
            (FoldKind::All, None, None) => Ok(Val::Bool(true)),
            (FoldKind::Exists, None, None) => Ok(Val::Bool(false)),
            (FoldKind::ExistsOne, ..) => Ok(Val::Bool(self.items.len() == 1)),
            (FoldKind::Filter | FoldKind::Map, ..) => Ok(Val::List(Rc::new(
                self.items.into_iter().map(|(_, item)| item).collect(),
            ))),
            (FoldKind::TransformMap, ..) => Ok(Val::Map(Rc::new(self.items))),
        }
    }
}

/// A function that does not take such values is named in the error.
fn named(error: String, function: &str) -> Failure {
    Failure::Error(if error == NO_OVERLOAD {
        format!("{NO_OVERLOAD}: {function}")
    } else {
        error
    })
}

/// What a function costs: the values it reads, and the product where it compares all with all.
fn price(name: &str, values: &[Val<'_>]) -> u64 {
    let sum: u64 = values.iter().map(Val::weight).sum();
    match (name, values) {
        ("size" | "hasValue" | "value" | "orValue" | "or" | "optional.of" | "type" | "dyn", _) => 1,
        (
            "sets.contains" | "sets.equivalent" | "sets.intersects" | "matches" | "find"
            | "findAll" | "contains",
            [a, b, ..],
        ) => a.weight().saturating_mul(b.weight()).saturating_add(1),
        _ => sum + 1,
    }
}
