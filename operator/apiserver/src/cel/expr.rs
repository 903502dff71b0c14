//! A checked expression, ready to be evaluated.
//!
//! Owns the tree. Must not know types, costs or values. Invariant: every name in it is resolved, so that evaluation
//! looks nothing up by name but fields.

use regex::Regex;

use super::signature::Signature;

/// An expression.
#[derive(Debug)]
pub enum Expr {
    /// null
    Null,
    /// bool
    Bool(bool),
    /// int
    Int(i64),
    /// uint
    Uint(u64),
    /// double
    Double(f64),
    /// string
    String(String),
    /// bytes
    Bytes(Vec<u8>),
    /// The name of a type.
    Type(&'static str),
    /// A variable, by its place on the stack: 0 is `self`, 1 is `oldSelf`.
    Variable(usize),
    /// `operand.field`, `operand.?field`
    Select(Box<Expr>, String, Access),
    /// `has(operand.field)`
    Has(Box<Expr>, String),
    /// `operand[index]`, `operand[?index]`
    Index(Box<Expr>, Box<Expr>, Access),
    /// `a && b`
    And(Box<Expr>, Box<Expr>),
    /// `a || b`
    Or(Box<Expr>, Box<Expr>),
    /// `a ? b : c`
    Conditional(Box<Expr>, Box<Expr>, Box<Expr>),
    /// An operator or function. A method has its target first.
    Call(Function, Vec<Expr>),
    /// `[a, ?b]`
    List(Vec<(Expr, Access)>),
    /// `{k: v, ?k: v}`
    Map(Vec<(Expr, Expr, Access)>),
    /// A macro over a list or map.
    Fold(Box<Fold>),
    /// `optional.optMap(x, f)` and `optFlatMap`: the body sees the value.
    OptMap(Box<Expr>, Box<Expr>, Flatten),
}

/// Whether an absent part is an error or an empty optional.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// An absent part is an error.
    Required,
    /// The result is an optional.
    Optional,
}

/// Whether the body of `optMap` makes a value or an optional.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flatten {
    /// `optMap`
    No,
    /// `optFlatMap`
    Yes,
}

/// A macro over the elements of a list or the keys of a map.
#[derive(Debug)]
pub struct Fold {
    /// What is walked.
    pub range: Expr,
    /// What is done.
    pub kind: FoldKind,
    /// Whether there are two variables: index or key, and value.
    pub two: bool,
    /// A condition on the element, of `map` and `transformList` with three arguments.
    pub filter: Option<Expr>,
    /// What is evaluated for each.
    pub body: Expr,
}

/// See [`Fold`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FoldKind {
    /// `all`
    All,
    /// `exists`
    Exists,
    /// `exists_one`
    ExistsOne,
    /// `filter`
    Filter,
    /// `map`, `transformList`
    Map,
    /// `transformMap`: a map of the same keys.
    TransformMap,
}

/// What a call calls.
#[derive(Debug)]
pub enum Function {
    /// An operator.
    Operator(Operator),
    /// `matches` with a pattern that is written in the rule.
    Matches(Regex),
    /// A function of CEL's own library.
    Native(&'static str),
    /// A function of Kubernetes' libraries.
    Library(&'static Signature),
    /// One of either, known only when evaluated.
    Either(&'static str, &'static Signature),
}

/// An operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// `!a`
    Not,
    /// `-a`
    Negate,
    /// `a + b`
    Add,
    /// `a - b`
    Subtract,
    /// `a * b`
    Multiply,
    /// `a / b`
    Divide,
    /// `a % b`
    Modulo,
    /// `a == b`
    Equal,
    /// `a != b`
    NotEqual,
    /// `a < b`
    Less,
    /// `a <= b`
    LessOrEqual,
    /// `a > b`
    Greater,
    /// `a >= b`
    GreaterOrEqual,
    /// `a in b`
    In,
}
