//! Structural schemas: what a CustomResourceDefinition says about its objects, compiled once and asked often.
//!
//! Owns [`Structural`] and the tree of [`Node`]s under it. The four questions live below: `compile` (is this schema
//! structural), `prune` (which fields are unknown), `default` (what is filled in) and `validate` (is this object right);
//! `field` has the words for faults, `metadata` the rules of `metadata`. Must not know resources, storage or requests.
//! Invariant: whatever a compiled schema accepts, kube-apiserver accepts with the same schema, and refuses in the same
//! words.

mod compile;
mod default;
mod field;
mod format;
mod keyword;
mod lists;
mod metadata;
mod path;
mod pattern;
mod prune;
mod validate;

use std::collections::BTreeMap;

use regex::Regex;
use serde_json::Value;

use crate::cel;

pub use field::{FieldError, FieldErrorKind, Path, go_float, quote};
pub use format::{Format, go_duration_nanos};
pub use metadata::{dns_1035_label, label_value, validate_metadata};
pub use path::{FieldPath, FieldStep};
pub use pattern::compile as compile_pattern;

/// A compiled structural schema.
#[derive(Debug)]
pub struct Structural {
    root: Node,
}

impl Structural {
    /// Compiles the `openAPIV3Schema` of a version of a CustomResourceDefinition.
    ///
    /// # Errors
    /// Everything that Kubernetes refuses in such a schema: what is not structural, defaults that do not fit, bad or too
    /// expensive CEL rules. Paths start at `openAPIV3Schema`.
    pub fn compile(openapi_v3_schema: &Value) -> Result<Self, Vec<FieldError>> {
        Self::compile_at("openAPIV3Schema", openapi_v3_schema, Subresource::None)
    }

    /// Like [`Self::compile`], with the path of the schema in its CRD and whether there is a status subresource, which
    /// restricts what may stand at the root.
    ///
    /// # Errors
    /// As [`Self::compile`].
    pub fn compile_at(
        path: &str,
        openapi_v3_schema: &Value,
        subresource: Subresource,
    ) -> Result<Self, Vec<FieldError>> {
        let root = compile::compile(path, openapi_v3_schema, subresource)?;
        Ok(Self { root })
    }

    /// Takes a built-in kind's OpenAPI schema, without `$ref`s, as it is: it is ours, and need not be structural.
    pub fn from_builtin(openapi_v3_schema: &Value) -> Self {
        Self {
            root: compile::trusted(openapi_v3_schema),
        }
    }

    /// The node that describes the object itself.
    pub fn root(&self) -> &Node {
        &self.root
    }

    /// Removes the fields that the schema does not know and returns their paths, sorted, for example
    /// `spec.containers[0].foo`. A caller words them `unknown field "spec.containers[0].foo"`.
    ///
    /// `apiVersion`, `kind` and `metadata` are always known; the fields below `metadata` are those of ObjectMeta.
    pub fn prune(&self, object: &mut Value) -> Vec<String> {
        let mut unknown = prune::prune(&self.root, object);
        unknown.sort();
        unknown
    }

    /// Fills in defaults, and drops nulls where the schema allows none and has no default.
    pub fn default(&self, object: &mut Value) {
        default::drop_nulls(&self.root, object);
        default::default(&self.root, object);
    }

    /// Everything that is wrong with `new` by the schema, and entries that are twice in a set or a list map.
    ///
    /// `old` is the stored object of an update: faults in a part that did not change are let pass, as Kubernetes does
    /// since 1.30, so that a tightened schema does not block unrelated changes. CEL rules are [`cel::validate`]'s.
    pub fn validate(&self, new: &Value, old: Option<&Value>) -> Vec<FieldError> {
        let mut errors = validate::validate(&self.root, new, old);
        errors.extend(metadata::validate_embedded(&self.root, new));
        errors.extend(lists::validate(&self.root, new));
        errors
    }
}

/// Whether a version has a status subresource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subresource {
    /// No status subresource.
    None,
    /// With a status subresource: the root schema may only say what can be said of an object without its status.
    Status,
}

/// The `type` keyword.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// `array`
    Array,
    /// `boolean`
    Boolean,
    /// `integer`
    Integer,
    /// `number`
    Number,
    /// `object`
    Object,
    /// `string`
    String,
}

impl Type {
    /// The names, sorted, as error messages list them.
    pub const NAMES: [&'static str; 6] =
        ["array", "boolean", "integer", "number", "object", "string"];

    fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "array" => Self::Array,
            "boolean" => Self::Boolean,
            "integer" => Self::Integer,
            "number" => Self::Number,
            "object" => Self::Object,
            "string" => Self::String,
            _ => return None,
        })
    }

    /// The name in a schema.
    pub fn name(self) -> &'static str {
        match self {
            Self::Array => "array",
            Self::Boolean => "boolean",
            Self::Integer => "integer",
            Self::Number => "number",
            Self::Object => "object",
            Self::String => "string",
        }
    }
}

/// The `additionalProperties` keyword.
#[derive(Debug)]
pub enum Additional {
    /// Absent: other fields are unknown.
    Absent,
    /// `true`: any key, its value is not described.
    Any,
    /// `false`: another field is an error.
    Forbidden,
    /// Any key, each value as described.
    Schema(Box<Node>),
}

/// The `x-kubernetes-list-type` and `x-kubernetes-list-map-keys` keywords.
#[derive(Debug, PartialEq, Eq)]
pub enum ListType {
    /// One value as a whole; also when absent.
    Atomic,
    /// Each value once.
    Set,
    /// Elements are told apart by these fields.
    Map(Vec<String>),
}

/// One schema in the tree.
#[derive(Debug)]
pub struct Node {
    /// `type`; absent for int-or-string, for what is not described, and inside `allOf` and its like.
    pub type_: Option<Type>,
    /// `nullable`
    pub nullable: bool,
    /// `x-kubernetes-int-or-string`
    pub int_or_string: bool,
    /// `x-kubernetes-preserve-unknown-fields`
    pub preserve_unknown: bool,
    /// `x-kubernetes-embedded-resource`
    pub embedded: bool,
    /// `properties`
    pub properties: BTreeMap<String, Node>,
    /// `additionalProperties`
    pub additional: Additional,
    /// `items`
    pub items: Option<Box<Node>>,
    /// `default`
    pub default: Option<Value>,
    /// `x-kubernetes-list-type`
    pub list_type: ListType,
    /// `x-kubernetes-validations`
    pub rules: Vec<cel::Rule>,
    /// The keywords that only validate.
    pub checks: Checks,
    /// Whether a rule stands here or anywhere below, so that the others are not walked.
    pub has_rules: bool,
}

/// The keywords of a schema that only validate.
#[derive(Debug, Default)]
pub struct Checks {
    /// `format`, as written.
    pub format_name: String,
    /// `format` of a string, when it is known.
    pub format: Option<Format>,
    /// `minimum`, and whether it is exclusive.
    pub minimum: Option<(f64, bool)>,
    /// `maximum`, and whether it is exclusive.
    pub maximum: Option<(f64, bool)>,
    /// `multipleOf`
    pub multiple_of: Option<f64>,
    /// `minLength`, in characters.
    pub min_length: Option<u64>,
    /// `maxLength`, in characters.
    pub max_length: Option<u64>,
    /// `pattern`
    pub pattern: Option<Regex>,
    /// `pattern` as written, for messages.
    pub pattern_text: String,
    /// `minItems`
    pub min_items: Option<u64>,
    /// `maxItems`
    pub max_items: Option<u64>,
    /// `minProperties`
    pub min_properties: Option<u64>,
    /// `maxProperties`
    pub max_properties: Option<u64>,
    /// `required`
    pub required: Vec<String>,
    /// `enum`
    pub enumeration: Vec<Value>,
    /// `allOf`
    pub all_of: Vec<Node>,
    /// `anyOf`
    pub any_of: Vec<Node>,
    /// `oneOf`
    pub one_of: Vec<Node>,
    /// `not`
    pub not: Option<Box<Node>>,
}

impl Node {
    /// The schema of the value at `key` of an object described by this node.
    pub fn field(&self, key: &str) -> Option<&Node> {
        self.properties.get(key).or(match &self.additional {
            Additional::Schema(node) => Some(node),
            Additional::Absent | Additional::Any | Additional::Forbidden => None,
        })
    }

    /// The field names that tell the elements of this list apart; empty unless it is a list map.
    pub fn list_map_keys(&self) -> &[String] {
        match &self.list_type {
            ListType::Map(keys) => keys,
            ListType::Atomic | ListType::Set => &[],
        }
    }
}

#[cfg(test)]
mod tests;
