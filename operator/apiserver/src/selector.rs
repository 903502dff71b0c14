//! Label and field selectors.
//!
//! Owns their text forms, in which requests carry them, and what they select. Must not know requests. Invariant: a text
//! that kube-apiserver refuses is refused, and one that both accept selects the same objects.

mod field;
mod label;

pub use field::FieldSelector;
pub use label::LabelSelector;

/// How many requirements one selector may have: each is tried on each object.
const MAX_REQUIREMENTS: usize = 256;

#[cfg(test)]
mod tests;
