//! Compiling the rules of a schema: types, costs and what each place of a schema allows.
//!
//! Owns the walk over a schema that compiles each rule once, and the budgets for a rule and for all rules together. Must
//! not know objects. Invariant: a rule without a program is an error, so that a schema that compiled has every rule.

use std::sync::Arc;

use crate::schema::{Additional, FieldError, FieldErrorKind, FieldPath, ListType, Node, Path};

use super::check::{self, Checked};
use super::decl::{self, Decl, MAX_REQUEST_BYTES};
use super::expr::Expr;
use super::ty::Kind;
use super::{Program, Rule};

/// What one rule may cost by estimate, times how often its value may occur: Kubernetes' own limit.
const MAX_RULE_COST: u64 = 10_000_000;

/// What all rules of a schema together may cost by estimate: Kubernetes' own limit.
const MAX_TOTAL_COST: u64 = 100_000_000;

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
                    at,
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
                    at,
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
