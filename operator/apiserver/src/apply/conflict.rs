//! A conflict between managers, and how it is told.
//!
//! Owns Kubernetes' wording of conflicts. It must not know how they are found.

use std::fmt;

use super::fields::path_text;
use super::managers::Operation;
use super::update::Clash;

/// A field that another manager owns with another value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// The owner's name.
    pub manager: String,
    /// How the owner came to own it.
    pub operation: Operation,
    /// The `apiVersion` that the owner used.
    pub api_version: String,
    /// The owner's subresource; empty for the object itself.
    pub subresource: String,
    /// The field, such as `.spec.replicas`.
    pub field: String,
}

impl Conflict {
    /// The owner as Kubernetes prints it: `"kubectl-client-side-apply" using apps/v1`.
    #[must_use]
    pub fn owner(&self) -> String {
        let mut out = format!("{:?}", self.manager);
        if !self.subresource.is_empty() {
            out.push_str(&format!(" with subresource {:?}", self.subresource));
        }
        match self.operation {
            Operation::Apply => out,
            Operation::Update => format!("{out} using {}", self.api_version),
        }
    }
}

/// `conflict with "kubectl-client-side-apply" using apps/v1`, the message of one cause of the answer.
impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "conflict with {}", self.owner())
    }
}

/// The message for a whole answer: `Apply failed with 1 conflict: conflict with "a" using v1: .spec.replicas`.
#[must_use]
pub fn conflict_message(conflicts: &[Conflict]) -> String {
    if let [one] = conflicts {
        return format!("Apply failed with 1 conflict: {one}: {}", one.field);
    }
    let mut lines = Vec::new();
    let mut owner = String::new();
    for conflict in conflicts {
        let next = conflict.owner();
        if next != owner {
            lines.push(format!("conflicts with {next}:"));
            owner = next;
        }
        lines.push(format!("- {}", conflict.field));
    }
    format!(
        "Apply failed with {} conflicts: {}",
        conflicts.len(),
        lines.join("\n")
    )
}

impl From<Clash> for Conflict {
    fn from(clash: Clash) -> Self {
        Self {
            manager: clash.owner.manager,
            operation: clash.owner.operation,
            api_version: clash.api_version,
            subresource: clash.owner.subresource,
            field: path_text(&clash.path),
        }
    }
}
