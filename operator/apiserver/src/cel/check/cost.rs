//! Estimates: how large a value may be.
//!
//! Owns [`Size`] and its arithmetic. Must not know expressions. Invariant: an estimate saturates instead of wrapping, so
//! that a rule without bounds is too expensive and never cheap.

use crate::cel::ty::{Bounds, Kind, Ty};

/// The fewest and the most elements, entries or bytes of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    pub min: u64,
    pub max: u64,
}

impl Size {
    pub const UNKNOWN: Self = Self {
        min: 0,
        max: u64::MAX,
    };

    pub fn exactly(size: u64) -> Self {
        Self {
            min: size,
            max: size,
        }
    }

    pub fn at_most(max: u64) -> Self {
        Self { min: 0, max }
    }

    /// The size of values of a type, as far as the type tells.
    pub fn of(ty: &Ty) -> Self {
        if let Ty::Decl(decl, Bounds::Known) = ty {
            return Self::at_most(decl.max_elements);
        }
        match ty.kind() {
            Kind::Bool
            | Kind::Int
            | Kind::Uint
            | Kind::Double
            | Kind::Duration
            | Kind::Timestamp => Self::exactly(1),
            Kind::Ip | Kind::Cidr => Self::exactly(1),
            Kind::Optional => Self::of(&ty.element()),
            Kind::Any
            | Kind::Null
            | Kind::String
            | Kind::Bytes
            | Kind::List
            | Kind::Map
            | Kind::Object
            | Kind::Type
            | Kind::Quantity
            | Kind::Url
            | Kind::Semver
            | Kind::Format => Self::UNKNOWN,
        }
    }

    pub fn union(self, other: Self) -> Self {
        Self {
            min: self.min.min(other.min),
            max: self.max.max(other.max),
        }
    }

    pub fn plus(self, other: Self) -> Self {
        Self {
            min: self.min.saturating_add(other.min),
            max: self.max.saturating_add(other.max),
        }
    }

    pub fn times(self, other: Self) -> Self {
        Self {
            min: self.min.saturating_mul(other.min),
            max: self.max.saturating_mul(other.max),
        }
    }
}

/// A cost for each element, rounded up.
pub fn scaled(size: u64, factor: f64) -> u64 {
    let cost = (size as f64 * factor).ceil();
    if cost >= u64::MAX as f64 {
        u64::MAX
    } else {
        cost as u64
    }
}
