//! CEL rules of custom resources: `x-kubernetes-validations`.
//!
//! Owns how rules are read, compiled, budgeted and applied to an object. A rule is parsed once by `cel`, checked against
//! the schema with `check` (names, types, cost) and evaluated by `eval` in place, over the object's own bytes; `library`
//! lends Kubernetes' function libraries. Must not know resources or requests. Invariant: evaluation is bounded by
//! Kubernetes' own budgets, counted in steps and not in time, so that the same object is judged the same everywhere.

mod check;
mod decl;
mod eval;
mod expr;
mod library;
mod native;
mod types;
mod value;

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::{Map, Value};

use crate::schema::{
    Additional, FieldError, FieldErrorKind, FieldPath, ListType, Node, Path, Structural, Type,
};

use check::Checked;
use decl::{Decl, MAX_REQUEST_BYTES};
use eval::{Evaluation, Failure};
use expr::Expr;
use types::Kind;
use value::Val;

/// The longest rule or message expression, in bytes. The parser's time grows with it; published rules have some hundreds.
const MAX_RULE_BYTES: usize = 8 * 1024;

/// How many rules one schema may have: each runs on each value it describes.
const MAX_RULES_PER_SCHEMA: usize = 256;

/// What one rule may cost by estimate, times how often its value may occur: Kubernetes' own limit.
const MAX_RULE_COST: u64 = 10_000_000;

/// What all rules of a schema together may cost by estimate: Kubernetes' own limit.
const MAX_TOTAL_COST: u64 = 100_000_000;

/// What all rules together may cost on one object: Kubernetes' own limit, about a second.
const OBJECT_BUDGET: u64 = 10_000_000;

/// The longest message that an expression may make, in bytes: Kubernetes' own limit.
const MAX_MESSAGE_BYTES: usize = 5 * 1024;

/// How many errors of rules one object is told about.
const MAX_ERRORS: usize = 100;

/// One rule of a schema.
#[derive(Debug)]
pub struct Rule {
    rule: String,
    message: String,
    message_expression: String,
    kind: FieldErrorKind,
    field_path: String,
    optional_old_self: Option<bool>,
    /// The rule as written, for errors about it.
    document: Value,
    program: Option<Program>,
}

/// A compiled rule.
#[derive(Debug)]
struct Program {
    expr: Expr,
    uses_old: bool,
    message: Option<Expr>,
    field_path: Option<FieldPath>,
}

/// Reads the rules of one schema, uncompiled.
pub fn read_rules(
    schema: &Map<String, Value>,
    path: &Path<'_>,
    errors: &mut Vec<FieldError>,
) -> Vec<Rule> {
    let at = path.child("x-kubernetes-validations");
    let Some(rules) = schema
        .get("x-kubernetes-validations")
        .and_then(Value::as_array)
    else {
        return Vec::new();
    };
    if rules.len() > MAX_RULES_PER_SCHEMA {
        errors.push(FieldError::too_many(
            at,
            rules.len(),
            MAX_RULES_PER_SCHEMA as u64,
        ));
        return Vec::new();
    }
    rules
        .iter()
        .enumerate()
        .map(|(index, rule)| read_rule(rule, &at.index(index), errors))
        .collect()
}

fn read_rule(document: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) -> Rule {
    let text = |key: &str| document[key].as_str().unwrap_or_default().to_owned();
    let rule = Rule {
        rule: text("rule"),
        message: text("message"),
        message_expression: text("messageExpression"),
        kind: match document["reason"].as_str() {
            Some("FieldValueRequired") => FieldErrorKind::Required,
            Some("FieldValueForbidden") => FieldErrorKind::Forbidden,
            Some("FieldValueDuplicate") => FieldErrorKind::Duplicate,
            _ => FieldErrorKind::Invalid,
        },
        field_path: text("fieldPath"),
        optional_old_self: document["optionalOldSelf"].as_bool(),
        document: document.clone(),
        program: None,
    };
    let breaks = |text: &str| text.contains(['\n', '\r']);
    let (trimmed, message) = (rule.rule.trim(), rule.message.trim());
    if trimmed.is_empty() {
        errors.push(FieldError::required(
            path.child("rule"),
            "rule is not specified",
        ));
    } else if !rule.message.is_empty() && message.is_empty() {
        errors.push(FieldError::invalid(
            path.child("message"),
            rule.message.as_str(),
            "must be non-empty if specified",
        ));
    } else if breaks(message) {
        errors.push(FieldError::invalid(
            path.child("message"),
            rule.message.as_str(),
            "must not contain line breaks",
        ));
    } else if breaks(trimmed) && message.is_empty() {
        errors.push(FieldError::required(
            path.child("message"),
            "message must be specified if rule contains line breaks",
        ));
    }
    if !rule.message_expression.is_empty() && rule.message_expression.trim().is_empty() {
        errors.push(FieldError::required(
            path.child("messageExpression"),
            "messageExpression must be non-empty if specified",
        ));
    }
    const REASONS: [&str; 4] = [
        "FieldValueDuplicate",
        "FieldValueForbidden",
        "FieldValueInvalid",
        "FieldValueRequired",
    ];
    if let Some(reason) = document["reason"].as_str()
        && !REASONS.contains(&reason)
    {
        errors.push(FieldError::not_supported(
            path.child("reason"),
            reason,
            &REASONS,
        ));
    }
    for (key, text) in [
        ("rule", &rule.rule),
        ("messageExpression", &rule.message_expression),
        ("message", &rule.message),
    ] {
        if text.len() > MAX_RULE_BYTES {
            errors.push(FieldError::too_long(path.child(key), MAX_RULE_BYTES as u64));
        }
    }
    rule
}

/// Compiles all rules of a schema in place, and says what is wrong with them.
pub fn compile(root: &mut Node, path: &Path<'_>) -> Vec<FieldError> {
    if !root.has_rules {
        return Vec::new();
    }
    let mut compiler = Compiler {
        errors: Vec::new(),
        total: 0,
        expensive: Vec::new(),
    };
    compiler.node(root, None, path, &Context::ROOT);
    if compiler.total > MAX_TOTAL_COST {
        for path in compiler.expensive {
            compiler.errors.push(FieldError::forbidden(
                path,
                "contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema",
            ));
        }
        compiler.errors.push(FieldError::forbidden(
            path,
            over_budget(
                "x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema",
                compiler.total,
                MAX_TOTAL_COST,
            ),
        ));
    }
    compiler.errors
}

struct Compiler {
    errors: Vec<FieldError>,
    total: u64,
    /// Where rules are that cost more than a hundredth of all that is allowed.
    expensive: Vec<String>,
}

/// What the place of a schema means for its rules.
#[derive(Clone)]
struct Context {
    resource: bool,
    /// How often a value may occur in an object; `None` without a bound.
    cardinality: Option<u64>,
    /// The list below which old values cannot be found.
    uncorrelatable: Option<String>,
}

impl Context {
    const ROOT: Self = Self {
        resource: true,
        cardinality: Some(1),
        uncorrelatable: None,
    };

    fn times(&self, max: Option<u64>) -> Self {
        Self {
            resource: false,
            cardinality: match (self.cardinality, max) {
                (Some(count), Some(max)) => Some(count.saturating_mul(max)),
                _ => None,
            },
            uncorrelatable: self.uncorrelatable.clone(),
        }
    }
}

impl Compiler {
    fn node(
        &mut self,
        node: &mut Node,
        decl: Option<Arc<Decl>>,
        path: &Path<'_>,
        context: &Context,
    ) {
        if !node.has_rules {
            return;
        }
        // Large schemas are described once from above; only a part that rules above cannot see is described anew.
        let decl = decl.or_else(|| Decl::of(node, context.resource || node.embedded));
        self.rules(node, decl.as_ref(), path, context);
        let at = path.child("properties");
        for (name, child) in &mut node.properties {
            let below = decl.as_ref().and_then(|decl| match &decl.kind {
                decl::DeclKind::Object(fields) => {
                    decl::escape(name).and_then(|name| fields.get(&name).cloned())
                }
                _ => None,
            });
            self.node(child, below, &at.key(name), &context.times(Some(1)));
        }
        let element = decl.as_ref().and_then(|decl| decl.element().cloned());
        let uncorrelatable = context
            .uncorrelatable
            .clone()
            .or_else(|| match node.list_type {
                ListType::Map(_) => None,
                ListType::Atomic | ListType::Set => Some(path.to_string()),
            });
        if let Some(items) = &mut node.items {
            let below = Context {
                uncorrelatable,
                ..context.times(node.checks.max_items)
            };
            self.node(items, element.clone(), &path.child("items"), &below);
        }
        if let Additional::Schema(values) = &mut node.additional {
            let below = context.times(node.checks.max_properties);
            self.node(values, element, &path.child("additionalProperties"), &below);
        }
    }

    fn rules(
        &mut self,
        node: &mut Node,
        decl: Option<&Arc<Decl>>,
        path: &Path<'_>,
        context: &Context,
    ) {
        let mut rules = std::mem::take(&mut node.rules);
        let at = path.child("x-kubernetes-validations");
        for (index, rule) in rules.iter_mut().enumerate() {
            let at = at.index(index);
            match decl {
                Some(decl) => rule.program = self.rule(rule, node, decl, &at, context),
                None => self.errors.push(FieldError::new(
                    &at,
                    FieldErrorKind::Internal,
                    None,
                    "failed to convert to declType for CEL validation rules",
                )),
            }
        }
        node.rules = rules;
    }

    fn rule(
        &mut self,
        rule: &Rule,
        node: &Node,
        decl: &Arc<Decl>,
        path: &Path<'_>,
        context: &Context,
    ) -> Option<Program> {
        let optional = rule.optional_old_self == Some(true);
        let at = path.child("rule");
        let cardinality = context
            .cardinality
            .unwrap_or(MAX_REQUEST_BYTES / (decl.min_size + 1));
        let checked = self.expression(rule, &rule.rule, decl, &at, "compilation failed")?;
        if !matches!(checked.kind, Kind::Bool) {
            self.invalid(rule, &at, "cel expression must evaluate to a bool");
            return None;
        }
        self.budget(
            &at,
            "estimated rule cost",
            checked.cost.saturating_mul(cardinality),
        );
        if checked.uses_old {
            if let Some(list) = &context.uncorrelatable {
                self.errors.push(FieldError::invalid(
                    &at,
                    rule.rule.as_str(),
                    format!("oldSelf cannot be used on the uncorrelatable portion of the schema within {list}"),
                ));
            }
        } else if let Some(set) = rule.optional_old_self {
            self.errors.push(FieldError::invalid(
                path.child("optionalOldSelf"),
                set,
                "may not be set if oldSelf is not used in rule",
            ));
        }
        let _ = optional;
        Some(Program {
            expr: checked.expr,
            uses_old: checked.uses_old,
            message: self.message(rule, decl, path),
            field_path: self.field_path(rule, node, path),
        })
    }

    fn expression(
        &mut self,
        rule: &Rule,
        text: &str,
        decl: &Arc<Decl>,
        path: &Path<'_>,
        what: &str,
    ) -> Option<Checked> {
        match check::check(text, decl, rule.optional_old_self == Some(true)) {
            Ok(checked) => Some(checked),
            Err(error) => {
                self.invalid(rule, path, &format!("{what}: {error}"));
                None
            }
        }
    }

    fn message(&mut self, rule: &Rule, decl: &Arc<Decl>, path: &Path<'_>) -> Option<Expr> {
        if rule.message_expression.is_empty() {
            return None;
        }
        let at = path.child("messageExpression");
        let what = "messageExpression compilation failed";
        let checked = self.expression(rule, &rule.message_expression, decl, &at, what)?;
        if checked.kind != Kind::String {
            self.invalid(rule, &at, "messageExpression must evaluate to a string");
            return None;
        }
        self.budget(&at, "estimated messageExpression cost", checked.cost);
        Some(checked.expr)
    }

    fn field_path(&mut self, rule: &Rule, node: &Node, path: &Path<'_>) -> Option<FieldPath> {
        if rule.field_path.is_empty() {
            return None;
        }
        let at = path.child("fieldPath");
        let parsed = FieldPath::parse(&rule.field_path)
            .ok()
            .filter(|path| path.schema(node).is_some());
        if parsed.is_none() {
            self.errors.push(FieldError::invalid(
                at,
                rule.field_path.as_str(),
                "must be a valid path",
            ));
        }
        parsed
    }

    fn budget(&mut self, path: &Path<'_>, what: &str, cost: u64) {
        self.total = self.total.saturating_add(cost);
        if cost > MAX_TOTAL_COST / 100 {
            self.expensive.push(path.to_string());
        }
        if cost > MAX_RULE_COST {
            self.errors.push(FieldError::forbidden(
                path,
                over_budget(what, cost, MAX_RULE_COST),
            ));
        }
    }

    fn invalid(&mut self, rule: &Rule, path: &Path<'_>, detail: &str) {
        self.errors
            .push(FieldError::invalid(path, rule.document.clone(), detail));
    }
}

fn over_budget(what: &str, cost: u64, limit: u64) -> String {
    let factor = cost as f64 / limit as f64;
    let factor = if factor > 100.0 {
        "more than 100x".to_owned()
    } else if factor < 1.5 {
        format!("{factor:.6}x")
    } else {
        format!("{factor:.1}x")
    };
    format!(
        "{what} exceeds budget by factor of {factor} (try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are declared)"
    )
}

/// What the rules have against the defaults of a schema.
pub fn validate_defaults(root: &Node, path: &Path<'_>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    default_errors(root, path, &mut errors);
    errors
}

fn default_errors(node: &Node, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    if !node.has_rules {
        return;
    }
    if let Some(value) = &node.default {
        let at = path.child("default");
        // A default is introduced by a create, and stands beside itself in an update.
        for old in [None, Some(value)] {
            let mut walk = Walk::new();
            walk.node(node, value, old, Unchanged::NEVER, &at);
            if !walk.errors.is_empty() {
                errors.extend(walk.errors);
                break;
            }
        }
    }
    let properties = path.child("properties");
    for (name, child) in &node.properties {
        default_errors(child, &properties.key(name), errors);
    }
    if let Some(items) = &node.items {
        default_errors(items, &path.child("items"), errors);
    }
}

/// What the rules have against `new`; `old` is the stored object of an update.
///
/// Rules about unset fields are skipped. Rules with `oldSelf` run only where there is an old value to compare with. A
/// rule without it is let pass where the value did not change, as Kubernetes does.
pub fn validate(structural: &Structural, new: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let root = structural.root();
    if !root.has_rules {
        return Vec::new();
    }
    let mut walk = Walk::new();
    walk.node(root, new, old, Unchanged::of(new, old), &Path::Root);
    walk.errors
}

/// The nearest value above with a known old value: an error in a part that did not change is let pass.
#[derive(Clone, Copy)]
struct Unchanged<'v> {
    pair: Option<(&'v Value, &'v Value)>,
}

impl<'v> Unchanged<'v> {
    const NEVER: Self = Self { pair: None };

    fn of(new: &'v Value, old: Option<&'v Value>) -> Self {
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
struct Walk {
    errors: Vec<FieldError>,
    /// `None` when it is spent: no further rule runs.
    budget: Option<u64>,
}

impl Walk {
    fn new() -> Self {
        Self {
            errors: Vec::new(),
            budget: Some(OBJECT_BUDGET),
        }
    }

    fn node<'v>(
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

impl Rule {
    /// The rule as errors name it.
    fn shown(&self) -> &str {
        if self.message.is_empty() {
            self.rule.trim()
        } else {
            self.message.trim()
        }
    }
}

#[cfg(test)]
mod tests;
