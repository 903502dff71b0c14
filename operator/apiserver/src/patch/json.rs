//! JSON patches, RFC 6902.
//!
//! Owns their limits and Kubernetes' wording; the operations themselves are the `json-patch` crate's. It must not know objects.

use json_patch::{PatchErrorKind, PatchOperation};
use serde_json::Value;

use super::PatchError;

/// The most operations of one patch; Kubernetes' own limit.
const MAX_OPERATIONS: usize = 10_000;
/// The most bytes that all copy operations of one patch may add; Kubernetes' own limit. Each copy may double the object.
const MAX_COPIED_BYTES: usize = 3 * 1024 * 1024;

/// The document after all operations.
///
/// # Errors
/// [`PatchError::Malformed`] if it is no JSON patch, [`PatchError::DoesNotApply`] if a test fails or a path is missing,
/// [`PatchError::TooLarge`] past 10,000 operations or 3 MiB of copies.
pub fn json(document: &Value, patch: &Value) -> Result<Value, PatchError> {
    let count = patch.as_array().map_or(0, Vec::len);
    if count > MAX_OPERATIONS {
        let message = format!(
            "The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {count}"
        );
        return Err(PatchError::TooLarge(message));
    }
    let operations: Vec<PatchOperation> = serde_json::from_value(patch.clone())
        .map_err(|error| PatchError::Malformed(format!("invalid JSON patch: {error}")))?;
    let mut document = document.clone();
    let mut copied = 0;
    for operation in &operations {
        if tests_absence(&document, operation) {
            continue;
        }
        if let PatchOperation::Copy(copy) = operation {
            copied += document
                .pointer(copy.from.as_str())
                .map_or(0, |value| value.to_string().len());
            if copied > MAX_COPIED_BYTES {
                let message = format!(
                    "Unable to complete the copy, the accumulated size increase of copy is {copied}, exceeding the limit {MAX_COPIED_BYTES}"
                );
                return Err(PatchError::TooLarge(message));
            }
        }
        json_patch::patch(&mut document, std::slice::from_ref(operation))
            .map_err(|error| PatchError::DoesNotApply(explain(operation, &error.kind)))?;
    }
    Ok(document)
}

/// A test for null also holds where there is nothing, as Kubernetes has it.
fn tests_absence(document: &Value, operation: &PatchOperation) -> bool {
    match operation {
        PatchOperation::Test(test) => {
            test.value.is_null() && document.pointer(test.path.as_str()).is_none()
        }
        PatchOperation::Add(_)
        | PatchOperation::Remove(_)
        | PatchOperation::Replace(_)
        | PatchOperation::Move(_)
        | PatchOperation::Copy(_) => false,
    }
}

fn explain(operation: &PatchOperation, kind: &PatchErrorKind) -> String {
    let path = operation.path();
    let verb = match operation {
        PatchOperation::Test(_) => return format!("testing value {path} failed: test failed"),
        PatchOperation::Add(_) => "add",
        PatchOperation::Remove(_) => "remove",
        PatchOperation::Replace(_) => "replace",
        PatchOperation::Move(_) => "move",
        PatchOperation::Copy(_) => "copy",
    };
    match kind {
        PatchErrorKind::InvalidPointer | PatchErrorKind::InvalidFromPointer => {
            format!("{verb} operation does not apply: doc is missing path: {path}: missing value")
        }
        other => format!("{verb} operation does not apply: {path}: {other}"),
    }
}
