//! Types of expressions.
//!
//! Owns [`Ty`], which knows sizes as far as the schema gives them. Must not know functions, evaluation or costs.
//! Invariant: a type says no more than the schema does.

use std::sync::Arc;

use super::decl::{Decl, DeclKind};

/// The type of an expression.
#[derive(Clone, Debug)]
pub enum Ty {
    /// As the schema says, with its sizes or without.
    Decl(Arc<Decl>, Bounds),
    /// Known only when evaluated.
    Dyn,
    /// A plain kind.
    Plain(Kind),
    /// A list.
    List(Box<Ty>),
    /// A map: keys and values.
    Map(Box<Ty>, Box<Ty>),
    /// An optional.
    Optional(Box<Ty>),
}

/// Whether the sizes that a schema gives still hold: only as long as a value is reached by fields and elements alone, as
/// in kube-apiserver, which forgets them at each call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bounds {
    /// They hold.
    Known,
    /// They are forgotten.
    Lost,
}

/// The kind of a type, as functions distinguish them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Anything, known only when evaluated.
    Any,
    /// null
    Null,
    /// bool
    Bool,
    /// int
    Int,
    /// uint
    Uint,
    /// double
    Double,
    /// string
    String,
    /// bytes
    Bytes,
    /// duration
    Duration,
    /// timestamp
    Timestamp,
    /// list
    List,
    /// map
    Map,
    /// object: fields, but no keys
    Object,
    /// optional
    Optional,
    /// type
    Type,
    /// Kubernetes' quantity
    Quantity,
    /// Kubernetes' IP address
    Ip,
    /// Kubernetes' CIDR
    Cidr,
    /// Kubernetes' URL
    Url,
    /// Kubernetes' semantic version
    Semver,
    /// Kubernetes' named format
    Format,
}

impl Kind {
    /// The name in messages.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Any => "dyn",
            Kind::Null => "null",
            Kind::Bool => "bool",
            Kind::Int => "int",
            Kind::Uint => "uint",
            Kind::Double => "double",
            Kind::String => "string",
            Kind::Bytes => "bytes",
            Kind::Duration => "google.protobuf.Duration",
            Kind::Timestamp => "google.protobuf.Timestamp",
            Kind::List => "list",
            Kind::Map => "map",
            Kind::Object => "object",
            Kind::Optional => "optional_type",
            Kind::Type => "type",
            Kind::Quantity => "kubernetes.Quantity",
            Kind::Ip => "net.IP",
            Kind::Cidr => "net.CIDR",
            Kind::Url => "kubernetes.URL",
            Kind::Semver => "kubernetes.Semver",
            Kind::Format => "kubernetes.NamedFormat",
        }
    }
}

impl Ty {
    /// The kind of the type.
    pub fn kind(&self) -> Kind {
        match self {
            Ty::Dyn => Kind::Any,
            Ty::Plain(kind) => *kind,
            Ty::List(_) => Kind::List,
            Ty::Map(..) => Kind::Map,
            Ty::Optional(_) => Kind::Optional,
            Ty::Decl(decl, _) => match &decl.kind {
                DeclKind::Dyn => Kind::Any,
                DeclKind::Bool => Kind::Bool,
                DeclKind::Int => Kind::Int,
                DeclKind::Double => Kind::Double,
                DeclKind::String => Kind::String,
                DeclKind::Bytes => Kind::Bytes,
                DeclKind::Duration => Kind::Duration,
                DeclKind::Timestamp => Kind::Timestamp,
                DeclKind::List(_) => Kind::List,
                DeclKind::Map(_) => Kind::Map,
                DeclKind::Object(_) => Kind::Object,
            },
        }
    }

    /// The type of an element of a list, or of a value of a map; anything when that is not known.
    pub fn element(&self) -> Ty {
        match self {
            Ty::Decl(decl, bounds) => decl
                .element()
                .map_or(Ty::Dyn, |element| Ty::Decl(Arc::clone(element), *bounds)),
            Ty::List(element) | Ty::Map(_, element) | Ty::Optional(element) => (**element).clone(),
            Ty::Dyn | Ty::Plain(_) => Ty::Dyn,
        }
    }

    /// The same type with its sizes forgotten.
    pub fn lost(self) -> Ty {
        match self {
            Ty::Decl(decl, _) => Ty::Decl(decl, Bounds::Lost),
            Ty::List(element) => Ty::List(Box::new(element.lost())),
            Ty::Map(key, value) => Ty::Map(key, Box::new(value.lost())),
            Ty::Optional(inner) => Ty::Optional(Box::new(inner.lost())),
            Ty::Dyn | Ty::Plain(_) => self,
        }
    }

    /// The type of the keys of a map, or of the places of a list.
    pub fn key(&self) -> Ty {
        match (self, self.kind()) {
            (Ty::Map(key, _), _) => (**key).clone(),
            (_, Kind::Map) => Ty::Plain(Kind::String),
            (_, Kind::List) => Ty::Plain(Kind::Int),
            _ => Ty::Dyn,
        }
    }

    /// The name in messages, with what is inside.
    pub fn name(&self) -> String {
        match self.kind() {
            Kind::List => format!("list({})", self.element().name()),
            Kind::Map => format!("map({}, {})", self.key().name(), self.element().name()),
            Kind::Optional => format!("optional_type({})", self.element().name()),
            kind => kind.name().to_owned(),
        }
    }

    /// Whether a value of one type may be compared with one of the other.
    pub fn comparable(&self, other: &Ty) -> bool {
        let (a, b) = (self.kind(), other.kind());
        match (a, b) {
            (Kind::Any, _) | (_, Kind::Any) => true,
            // A nullable scalar has the type of its values, and null is none of them.
            (Kind::Null, other) | (other, Kind::Null) => !matches!(
                other,
                Kind::Bool
                    | Kind::Int
                    | Kind::Uint
                    | Kind::Double
                    | Kind::String
                    | Kind::Bytes
                    | Kind::List
                    | Kind::Map
                    | Kind::Type
            ),
            (Kind::List, Kind::List)
            | (Kind::Map, Kind::Map)
            | (Kind::Optional, Kind::Optional) => self.element().comparable(&other.element()),
            (Kind::Object, Kind::Object) => true,
            _ => a == b,
        }
    }
}
