//! Applying rules to an object.
//!
//! Owns the walk over an object and its old form, the budget of one object, and the errors that broken rules are. Must
//! not know how rules are compiled. Invariant: a rule runs only on a value that is there, and one with `oldSelf` only
//! where the old value can be told.

use std::collections::HashMap;

use serde_json::Value;

use crate::schema::{Additional, FieldError, Node, Path, Type};

use super::eval::{Evaluation, Failure};
use super::expr::Expr;
use super::native;
use super::value::Val;
use super::{Program, Rule};

/// What all rules together may cost on one object: Kubernetes' own limit, about a second.
const OBJECT_BUDGET: u64 = 10_000_000;

/// The longest message that an expression may make, in bytes: Kubernetes' own limit.
const MAX_MESSAGE_BYTES: usize = 5 * 1024;

/// How many errors of rules one object is told about.
const MAX_ERRORS: usize = 100;

/// The nearest value above with a known old value: an error in a part that did not change is let pass.
#[derive(Clone, Copy)]
pub struct Unchanged<'v> {
    pair: Option<(&'v Value, &'v Value)>,
}

impl<'v> Unchanged<'v> {
    /// Nothing is let pass.
    pub const NEVER: Self = Self { pair: None };

    /// Of the object itself.
    pub fn of(new: &'v Value, old: Option<&'v Value>) -> Self {
        Self {
            pair: old.map(|old| (new, old)),
        }
    }

    /// For a part: its own pair if it has one, else that of what is around it.
    fn part(self, new: &'v Value, old: Option<&'v Value>) -> Self {
        match old {
            Some(_) if self.pair.is_some() => Self::of(new, old),
            Some(_) | None => self,
        }
    }

    fn holds(self) -> bool {
        self.pair.is_some_and(|(new, old)| new == old)
    }
}

/// One validation of one object.
pub struct Walk {
    /// What was found.
    pub errors: Vec<FieldError>,
    /// `None` when it is spent: no further rule runs.
    budget: Option<u64>,
}

impl Walk {
    /// A walk that has found and spent nothing.
    pub fn new() -> Self {
        Self {
            errors: Vec::new(),
            budget: Some(OBJECT_BUDGET),
        }
    }

    /// Tries the rules of a value and of all below it.
    pub fn node<'v>(
        &mut self,
        node: &'v Node,
        new: &'v Value,
        old: Option<&'v Value>,
        unchanged: Unchanged<'v>,
        path: &Path<'_>,
    ) {
        if !node.has_rules || new.is_null() {
            return;
        }
        let old = old.filter(|old| !old.is_null());
        for rule in &node.rules {
            if self.budget.is_none() || self.errors.len() >= MAX_ERRORS {
                return;
            }
            self.rule(rule, node, new, old, unchanged, path);
        }
        match new {
            Value::Object(map) => {
                for (key, value) in map {
                    let before = old.and_then(|old| old.get(key));
                    let unchanged = unchanged.part(value, before);
                    if let Some(child) = node.properties.get(key) {
                        self.node(child, value, before, unchanged, &path.child(key));
                    } else if let Additional::Schema(child) = &node.additional {
                        self.node(child, value, before, unchanged, &path.key(key));
                    }
                }
            }
            Value::Array(items) => {
                if let Some(child) = &node.items {
                    self.items(node, child, items, old, unchanged, path);
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    /// Only the elements of a list map have old values.
    fn items<'v>(
        &mut self,
        list: &'v Node,
        child: &'v Node,
        items: &'v [Value],
        old: Option<&'v Value>,
        unchanged: Unchanged<'v>,
        path: &Path<'_>,
    ) {
        let keys = list.list_map_keys();
        let key = |item: &Value| -> String {
            keys.iter()
                .map(|key| item.get(key).map(Value::to_string).unwrap_or_default() + "\0")
                .collect()
        };
        let mut before: HashMap<String, &'v Value> = HashMap::new();
        if !keys.is_empty() {
            for item in old.and_then(Value::as_array).into_iter().flatten() {
                before.insert(key(item), item);
            }
        }
        for (index, item) in items.iter().enumerate() {
            let old = before.get(&key(item)).copied();
            self.node(
                child,
                item,
                old,
                unchanged.part(item, old),
                &path.index(index),
            );
        }
    }

    fn rule<'v>(
        &mut self,
        rule: &'v Rule,
        node: &'v Node,
        new: &'v Value,
        old: Option<&'v Value>,
        unchanged: Unchanged<'v>,
        path: &Path<'_>,
    ) {
        let Some(program) = &rule.program else {
            return;
        };
        let optional = rule.optional_old_self == Some(true);
        if program.uses_old && old.is_none() && !optional {
            return;
        }
        let this = Val::of(new, Some(node));
        let before = match (old, optional) {
            (Some(old), true) => Val::Optional(Some(std::rc::Rc::new(Val::of(old, Some(node))))),
            (Some(old), false) => Val::of(old, Some(node)),
            (None, true) => Val::Optional(None),
            (None, false) => Val::Null,
        };
        let type_name = node.type_.map_or("", Type::name);
        let outcome = match self.evaluate(&program.expr, this.clone(), before.clone()) {
            Ok(outcome) => outcome,
            Err(Spent) => {
                self.errors.push(FieldError::invalid(
                    path,
                    type_name,
                    format!(
                        "'operation cancelled: actual cost limit exceeded': no further validation rules will be run due to call cost exceeds limit for rule: {}",
                        rule.shown()
                    ),
                ));
                self.budget = None;
                return;
            }
        };
        match outcome {
            Ok(Val::Bool(true)) => {}
            Ok(_) => {
                let error = self.broken(rule, program, node, new, (this, before), path);
                if program.uses_old || !unchanged.holds() {
                    self.errors.push(error);
                }
            }
            Err(text) if text.starts_with(native::NO_OVERLOAD) => self.errors.push(FieldError::invalid(
                path,
                type_name,
                format!(
                    "'{text}': call arguments did not match a supported operator, function or macro signature for rule: {}",
                    rule.shown()
                ),
            )),
            Err(text) => self.errors.push(FieldError::invalid(
                path,
                type_name,
                format!("{text} evaluating rule: {}", rule.shown()),
            )),
        }
    }

    /// The value of an expression, or why there is none, paid from the budget.
    fn evaluate<'v>(
        &mut self,
        expr: &'v Expr,
        this: Val<'v>,
        old: Val<'v>,
    ) -> Result<Result<Val<'v>, String>, Spent> {
        let Some(budget) = self.budget else {
            return Err(Spent);
        };
        let mut evaluation = Evaluation::new(this, old, budget);
        let outcome = evaluation.value(expr);
        self.budget = Some(budget.saturating_sub(evaluation.spent()));
        match outcome {
            Ok(value) => Ok(Ok(value)),
            Err(Failure::Error(text)) => Ok(Err(text)),
            Err(Failure::Budget) => Err(Spent),
        }
    }

    /// The error that a broken rule is.
    fn broken<'v>(
        &mut self,
        rule: &Rule,
        program: &'v Program,
        node: &Node,
        new: &Value,
        values: (Val<'v>, Val<'v>),
        path: &Path<'_>,
    ) -> FieldError {
        let made = program.message.as_ref().and_then(|message| {
            let made = self.evaluate(message, values.0, values.1).ok()?.ok()?;
            let text = made.text()?.trim().to_owned();
            let fits = !text.is_empty() && text.len() <= MAX_MESSAGE_BYTES && !text.contains('\n');
            fits.then_some(text)
        });
        let detail = made.unwrap_or_else(|| {
            if rule.message.is_empty() {
                format!("failed rule: {}", rule.shown())
            } else {
                rule.message.trim().to_owned()
            }
        });
        let value = (!matches!(node.type_, Some(Type::Object | Type::Array))).then(|| new.clone());
        let at = match &program.field_path {
            Some(below) => below.below(path, node),
            None => path.to_string(),
        };
        FieldError::new(at, rule.kind, value, detail)
    }
}

/// The budget is spent.
struct Spent;
