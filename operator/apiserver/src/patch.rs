//! The three kinds of patches that are not server-side apply.
//!
//! Owns turning (object, patch) into the patched object. It must not know field managers, storage or HTTP, and it is pure.
//! Invariant: a patch that fails leaves nothing behind, because the patched object is always a new one.

mod json;
mod merge;
mod strategic;

pub use json::json;
pub use merge::merge;
pub use strategic::strategic;

/// Why a patch cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatchError {
    /// The patch is not of the form that its content type says: answered 400.
    #[error("{0}")]
    Malformed(String),
    /// The patch is well formed and does not apply to this object: answered 422.
    #[error("{0}")]
    DoesNotApply(String),
    /// The patch has too many operations or items, or copies too much: answered 413.
    #[error("{0}")]
    TooLarge(String),
}

#[cfg(test)]
mod tests;
