//! JSON merge patches, RFC 7396.
//!
//! Owns nothing but the call: null removes, maps merge, everything else is replaced.

use serde_json::Value;

/// The document with the patch merged in.
#[must_use]
pub fn merge(document: &Value, patch: &Value) -> Value {
    let mut document = document.clone();
    json_patch::merge(&mut document, patch);
    document
}
