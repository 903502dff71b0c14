//! How the fields of one kind merge: structs, maps, atomics, list-maps and sets at each path.
//!
//! Owns the translation of an OpenAPI v3 schema with `x-kubernetes-*` extensions into merge types. It must not know objects
//! or managers. Invariant: a type has at least one shape, and every path of an object leads to a type.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use serde_json::{Value, json};

use super::fields::FieldSet;

/// The merge types of one kind in one version.
#[derive(Clone, Debug)]
pub struct TypeSchema {
    root: TypeRef,
    status: bool,
}

impl TypeSchema {
    /// Reads the schema of a whole object. `metadata` always merges as Kubernetes' ObjectMeta does, whatever the document says.
    #[must_use]
    pub fn from_openapi(schema: &Value) -> Self {
        let mut root = parse(schema, false);
        let map = root.map.get_or_insert_with(|| Map {
            fields: BTreeMap::new(),
            element: Some(TypeRef::Deduced),
            atomic: false,
        });
        add_object_fields(map);
        Self {
            root: TypeRef::Inline(Arc::new(root)),
            status: false,
        }
    }

    /// Says whether the kind has the status subresource: then a write to the object does not own `.status`, and a write to
    /// `status` owns nothing of `.spec` and `.metadata`, because the server resets them.
    #[must_use]
    pub fn with_status(mut self, status: bool) -> Self {
        self.status = status;
        self
    }

    pub(super) fn root(&self) -> &TypeRef {
        &self.root
    }

    /// The fields that the server resets when the given subresource (empty: the object itself) is written.
    pub(super) fn reset_fields(&self, subresource: &str) -> FieldSet {
        match subresource {
            "" if self.status => FieldSet::of_fields(&[&["status"]]),
            "status" => FieldSet::of_fields(&[&["metadata"], &["spec"]]),
            _ => FieldSet::default(),
        }
    }
}

/// A reference to a type; the two recursive types have no tree.
#[derive(Clone, Debug)]
pub(super) enum TypeRef {
    /// A type given by the schema.
    Inline(Arc<Type>),
    /// Unknown content: maps are granular, lists and scalars are leaves.
    Deduced,
    /// Unknown content that is one leaf.
    Untyped,
}

impl TypeRef {
    pub(super) fn resolve(&self) -> &Type {
        match self {
            Self::Inline(inner) => inner,
            Self::Deduced => &DEDUCED,
            Self::Untyped => &UNTYPED,
        }
    }
}

/// What a value at a path may be. More than one shape only where the schema names no type.
#[derive(Clone, Debug, Default)]
pub(super) struct Type {
    pub(super) scalar: Option<Scalar>,
    pub(super) list: Option<List>,
    pub(super) map: Option<Map>,
    pub(super) nullable: bool,
}

/// The kinds of scalars that are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scalar {
    Numeric,
    String,
    Boolean,
    Untyped,
}

/// A list and how its items are told apart.
#[derive(Clone, Debug)]
pub(super) struct List {
    pub(super) relation: ListRelation,
    pub(super) element: TypeRef,
}

/// `x-kubernetes-list-type`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ListRelation {
    Atomic,
    Set,
    Map(Vec<String>),
}

/// A struct, a map, or both.
#[derive(Clone, Debug)]
pub(super) struct Map {
    pub(super) fields: BTreeMap<String, Field>,
    /// The type of keys that are not in `fields`; none: they are not allowed.
    pub(super) element: Option<TypeRef>,
    pub(super) atomic: bool,
}

/// A named field with its default, which stands in for a missing key of a list-map.
#[derive(Clone, Debug)]
pub(super) struct Field {
    pub(super) ty: TypeRef,
    pub(super) default: Option<Value>,
}

impl Map {
    /// The declared type at a key, if the key is allowed.
    pub(super) fn declared(&self, key: &str) -> Option<&TypeRef> {
        self.fields
            .get(key)
            .map(|field| &field.ty)
            .or(self.element.as_ref())
    }

    /// The type at a key. A key that is not allowed, left over from an older schema, is deduced rather than lost.
    pub(super) fn at(&self, key: &str) -> &TypeRef {
        self.declared(key).unwrap_or(&TypeRef::Deduced)
    }

    /// Whether nothing at all is declared here, so that no ownership can have changed shape with the schema.
    pub(super) fn is_deduced(&self) -> bool {
        self.fields.is_empty() && matches!(self.element, Some(TypeRef::Deduced))
    }
}

/// The shape that one value takes.
pub(super) enum Shape<'t> {
    Scalar(Scalar),
    List(&'t List),
    Map(&'t Map),
}

impl Type {
    /// The shape for a value. Null, nothing and values that fit no shape take the first of map, scalar, list that the type has.
    pub(super) fn shape(&self, value: Option<&Value>) -> Shape<'_> {
        match value {
            Some(Value::Number(_) | Value::String(_) | Value::Bool(_)) => {
                if let Some(scalar) = self.scalar {
                    return Shape::Scalar(scalar);
                }
            }
            Some(Value::Array(_)) => {
                if let Some(list) = &self.list {
                    return Shape::List(list);
                }
            }
            Some(Value::Object(_)) => {
                if let Some(map) = &self.map {
                    return Shape::Map(map);
                }
            }
            Some(Value::Null) | None => {}
        }
        self.first_shape()
    }

    /// The shape when no value decides.
    pub(super) fn first_shape(&self) -> Shape<'_> {
        match (&self.map, self.scalar, &self.list) {
            (Some(map), _, _) => Shape::Map(map),
            (None, None, Some(list)) => Shape::List(list),
            (None, scalar, _) => Shape::Scalar(scalar.unwrap_or(Scalar::Untyped)),
        }
    }

    /// Whether two values take shapes of their own, so that one replaced the other as a whole.
    pub(super) fn differ_in_shape(&self, left: &Value, right: &Value) -> bool {
        let fits = |value: &Value| match value {
            Value::Number(_) | Value::String(_) | Value::Bool(_) => {
                self.scalar.is_some().then_some(1)
            }
            Value::Array(_) => self.list.is_some().then_some(2),
            Value::Object(_) => self.map.is_some().then_some(3),
            Value::Null => None,
        };
        fits(left) != fits(right)
    }
}

static DEDUCED: LazyLock<Type> = LazyLock::new(|| Type {
    scalar: Some(Scalar::Untyped),
    list: Some(List {
        relation: ListRelation::Atomic,
        element: TypeRef::Untyped,
    }),
    map: Some(Map {
        fields: BTreeMap::new(),
        element: Some(TypeRef::Deduced),
        atomic: false,
    }),
    nullable: false,
});

static UNTYPED: LazyLock<Type> = LazyLock::new(|| Type {
    scalar: Some(Scalar::Untyped),
    list: Some(List {
        relation: ListRelation::Atomic,
        element: TypeRef::Untyped,
    }),
    map: Some(Map {
        fields: BTreeMap::new(),
        element: Some(TypeRef::Untyped),
        atomic: true,
    }),
    nullable: false,
});

static OBJECT_META: LazyLock<Arc<Type>> = LazyLock::new(|| {
    let string = json!({"type": "string"});
    let time = json!({"type": "string", "format": "date-time"});
    let strings = json!({"type": "object", "additionalProperties": {"type": "string"}});
    Arc::new(parse(
        &json!({"type": "object", "properties": {
            "annotations": strings,
            "creationTimestamp": time,
            "deletionGracePeriodSeconds": {"type": "integer"},
            "deletionTimestamp": time,
            "finalizers": {"type": "array", "x-kubernetes-list-type": "set", "items": string},
            "generateName": string,
            "generation": {"type": "integer"},
            "labels": strings,
            "managedFields": {"type": "array", "x-kubernetes-list-type": "atomic", "items": {"type": "object"}},
            "name": string,
            "namespace": string,
            "ownerReferences": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["uid"],
                "items": {"type": "object", "x-kubernetes-map-type": "atomic", "properties": {
                    "apiVersion": string, "kind": string, "name": string, "uid": string,
                    "controller": {"type": "boolean"}, "blockOwnerDeletion": {"type": "boolean"},
                }}},
            "resourceVersion": string,
            "selfLink": string,
            "uid": string,
        }}),
        false,
    ))
});

/// Gives a whole object (the root, or an embedded resource) its `apiVersion`, `kind` and `metadata`.
fn add_object_fields(map: &mut Map) {
    let string = || {
        TypeRef::Inline(Arc::new(Type {
            scalar: Some(Scalar::String),
            ..Type::default()
        }))
    };
    for (name, ty) in [
        ("apiVersion", string()),
        ("kind", string()),
        ("metadata", TypeRef::Inline(Arc::clone(&OBJECT_META))),
    ] {
        map.fields
            .insert(name.to_owned(), Field { ty, default: None });
    }
}

fn flag(schema: &Value, name: &str) -> bool {
    schema.get(name).and_then(Value::as_bool).unwrap_or(false)
}

/// `preserve` is inherited: once a schema keeps unknown fields, everything below it does.
fn parse(schema: &Value, preserve: bool) -> Type {
    let preserve = preserve || flag(schema, "x-kubernetes-preserve-unknown-fields");
    let mut parsed = match schema.get("type").and_then(Value::as_str) {
        Some("object") => Type {
            map: Some(parse_map(schema, preserve)),
            ..Type::default()
        },
        Some("array") => Type {
            list: Some(parse_list(schema, preserve)),
            ..Type::default()
        },
        Some("integer" | "number") => Type {
            scalar: Some(Scalar::Numeric),
            ..Type::default()
        },
        Some("boolean") => Type {
            scalar: Some(Scalar::Boolean),
            ..Type::default()
        },
        Some("string") => {
            let plain = matches!(
                schema.get("format").and_then(Value::as_str),
                None | Some("" | "byte")
            );
            let scalar = if plain {
                Scalar::String
            } else {
                Scalar::Untyped
            };
            Type {
                scalar: Some(scalar),
                ..Type::default()
            }
        }
        Some(_) => Type {
            scalar: Some(Scalar::Untyped),
            ..Type::default()
        },
        None => Type {
            scalar: Some(Scalar::Untyped),
            list: Some(parse_list(schema, preserve)),
            map: Some(parse_map(schema, preserve)),
            ..Type::default()
        },
    };
    parsed.nullable = flag(schema, "nullable");
    if flag(schema, "x-kubernetes-embedded-resource")
        && let Some(map) = &mut parsed.map
    {
        add_object_fields(map);
    }
    parsed
}

fn parse_ref(schema: &Value, preserve: bool) -> TypeRef {
    TypeRef::Inline(Arc::new(parse(schema, preserve)))
}

fn parse_map(schema: &Value, preserve: bool) -> Map {
    let properties = schema.get("properties").and_then(Value::as_object);
    let fields: BTreeMap<String, Field> = properties
        .into_iter()
        .flatten()
        .map(|(name, field)| {
            let default = field
                .get("default")
                .filter(|default| !default.is_null())
                .cloned();
            (
                name.clone(),
                Field {
                    ty: parse_ref(field, preserve),
                    default,
                },
            )
        })
        .collect();
    let element = match schema.get("additionalProperties") {
        None if preserve || fields.is_empty() => Some(TypeRef::Deduced),
        None | Some(Value::Bool(false)) => None,
        Some(element @ Value::Object(_)) => Some(parse_ref(element, preserve)),
        Some(_) => Some(TypeRef::Deduced),
    };
    let atomic = schema.get("x-kubernetes-map-type").and_then(Value::as_str) == Some("atomic");
    Map {
        fields,
        element,
        atomic,
    }
}

fn parse_list(schema: &Value, preserve: bool) -> List {
    let keys = || {
        let keys = schema
            .get("x-kubernetes-list-map-keys")
            .and_then(Value::as_array);
        keys.into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let relation = match schema.get("x-kubernetes-list-type").and_then(Value::as_str) {
        Some("set") => ListRelation::Set,
        Some("map") => ListRelation::Map(keys()),
        _ => ListRelation::Atomic,
    };
    let element = schema
        .get("items")
        .map_or(TypeRef::Untyped, |items| parse_ref(items, preserve));
    List { relation, element }
}
