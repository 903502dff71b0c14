//! Owns the questions of a caller about itself: who am I, what may I do.
//!
//! It must not know tokens or resources. Invariant: the answer is what the server does: whoever is let in may do
//! everything.

use bytes::Bytes;
use http::Method;
use http::header::CONTENT_TYPE;
use http::request::Parts;
use serde_json::{Value, json};

use crate::auth::Identity;
use crate::codec;
use crate::error::ApiError;
use crate::path::Target;

/// (group, resource) of the reviews that are answered.
const REVIEWS: &[(&str, &str)] = &[
    ("authorization.k8s.io", "selfsubjectaccessreviews"),
    ("authorization.k8s.io", "selfsubjectrulesreviews"),
    ("authentication.k8s.io", "selfsubjectreviews"),
];

/// Whether a path is one of these questions.
pub(super) fn is_review(target: &Target) -> bool {
    target.version == "v1"
        && target.name.is_none()
        && REVIEWS.contains(&(target.group.as_str(), target.resource.as_str()))
}

/// Answers one.
pub(super) fn review(
    identity: &Identity,
    target: &Target,
    parts: &Parts,
    body: &Bytes,
) -> Result<Value, ApiError> {
    if parts.method != Method::POST {
        return Err(super::not_allowed());
    }
    let mut review = codec::decode(parts.headers.get(CONTENT_TYPE), body)?.value;
    if !review.is_object() {
        return Err(ApiError::bad_request("the body must be a review"));
    }
    review["status"] = match target.resource.as_str() {
        "selfsubjectaccessreviews" => {
            json!({"allowed": true, "reason": "the caller is the administrator"})
        }
        "selfsubjectrulesreviews" => json!({
            "resourceRules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}],
            "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}],
            "incomplete": false,
        }),
        _self => json!({"userInfo": {
            "username": *identity.user,
            "groups": ["system:masters", "system:authenticated"],
        }}),
    };
    Ok(review)
}
