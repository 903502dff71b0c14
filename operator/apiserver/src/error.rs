//! Owns the one error type of every answer, and its rendering as a `metav1.Status`.
//!
//! It must not know how a request arrived or where objects are stored. Invariant: each error has exactly one HTTP
//! code and one Kubernetes reason, with the wording of kube-apiserver, because clients and people match on both.

use http::StatusCode;
use serde_json::{Value, json};

use crate::apply::{Conflict, conflict_message};
use crate::schema::FieldError;

/// One entry of `Status.details.causes`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// Kubernetes' machine-readable cause, such as `FieldValueRequired`.
    pub reason: String,
    /// What is wrong, in words.
    pub message: String,
    /// Path of the field, such as `spec.replicas`; empty when no field is to blame.
    pub field: String,
}

/// What went wrong with a request, ready to be answered.
///
/// The message is for people and never carries the content of a Secret. Boxed, because nearly every function here
/// returns one and nearly none fails.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{}", .0.message)]
pub struct ApiError(Box<Refusal>);

#[derive(Clone, Debug)]
struct Refusal {
    code: StatusCode,
    reason: &'static str,
    message: String,
    name: String,
    group: String,
    kind: String,
    causes: Vec<Cause>,
    retry_after_seconds: u32,
}

/// A resource as errors name it: `group` is empty for the core group.
#[derive(Clone, Copy, Debug)]
pub struct Named<'a> {
    /// API group.
    pub group: &'a str,
    /// Plural resource name, or the kind where Kubernetes names the kind.
    pub resource: &'a str,
}

impl std::fmt::Display for Named<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.group.is_empty() {
            f.write_str(self.resource)
        } else {
            write!(f, "{}.{}", self.resource, self.group)
        }
    }
}

impl ApiError {
    fn new(code: StatusCode, reason: &'static str, message: impl Into<String>) -> Self {
        Self(Box::new(Refusal {
            code,
            reason,
            message: message.into(),
            name: String::new(),
            group: String::new(),
            kind: String::new(),
            causes: Vec::new(),
            retry_after_seconds: 0,
        }))
    }

    fn about(mut self, what: Named<'_>, name: &str) -> Self {
        self.0.group = what.group.to_owned();
        self.0.kind = what.resource.to_owned();
        self.0.name = name.to_owned();
        self
    }

    /// 404: the object does not exist.
    pub fn not_found(what: Named<'_>, name: &str) -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "NotFound",
            format!("{what} \"{name}\" not found"),
        )
        .about(what, name)
    }

    /// 404: no such resource, version or subresource is served.
    pub fn no_such_resource() -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "NotFound",
            "the server could not find the requested resource",
        )
    }

    /// 409: an object of that name exists.
    pub fn already_exists(what: Named<'_>, name: &str) -> Self {
        Self::new(
            StatusCode::CONFLICT,
            "AlreadyExists",
            format!("{what} \"{name}\" already exists"),
        )
        .about(what, name)
    }

    /// 409: a precondition on resourceVersion or uid does not hold.
    pub fn conflict(what: Named<'_>, name: &str, message: &str) -> Self {
        Self::new(
            StatusCode::CONFLICT,
            "Conflict",
            format!("Operation cannot be fulfilled on {what} \"{name}\": {message}"),
        )
        .about(what, name)
    }

    /// 409: the object has a newer resourceVersion than the request was made from.
    pub fn modified(what: Named<'_>, name: &str) -> Self {
        Self::conflict(
            what,
            name,
            "the object has been modified; please apply your changes to the latest version and try again",
        )
    }

    /// 409: other field managers own fields that a server-side apply sets to other values.
    pub fn apply_conflict(conflicts: &[Conflict]) -> Self {
        let mut error = Self::new(
            StatusCode::CONFLICT,
            "Conflict",
            conflict_message(conflicts),
        );
        error.0.causes = conflicts
            .iter()
            .map(|conflict| Cause {
                reason: "FieldManagerConflict".to_owned(),
                message: conflict.to_string(),
                field: conflict.field.clone(),
            })
            .collect();
        error
    }

    /// 422: the object breaks its schema or a rule. `kind.resource` is the kind here, as Kubernetes has it.
    pub fn invalid(kind: Named<'_>, name: &str, errors: Vec<FieldError>) -> Self {
        let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
        let list = match texts.as_slice() {
            [one] => one.clone(),
            many => format!("[{}]", many.join(", ")),
        };
        let mut error = Self::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "Invalid",
            format!("{kind} \"{name}\" is invalid: {list}"),
        )
        .about(kind, name);
        error.0.causes = errors
            .iter()
            .map(|field| Cause {
                reason: field.kind.reason().to_owned(),
                message: field.body(),
                field: field.path.clone(),
            })
            .collect();
        error
    }

    /// 422 without a list of fields, as a JSON patch that does not apply.
    pub fn unprocessable(message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "Invalid", message)
    }

    /// 400: the request cannot be understood.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "BadRequest", message)
    }

    /// 410: the resourceVersion or continue token is older than the history that is kept.
    pub fn expired(message: impl Into<String>) -> Self {
        Self::new(StatusCode::GONE, "Expired", message)
    }

    /// 415: the body has a media type that is not understood here.
    pub fn unsupported_media(accepted: &[&str]) -> Self {
        Self::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "UnsupportedMediaType",
            format!(
                "the body of the request was in an unknown format - accepted media types include: {}",
                accepted.join(", ")
            ),
        )
    }

    /// The same with what the client's user can do.
    pub fn advising(mut self, advice: &str) -> Self {
        self.0.message = format!("{}; {advice}", self.0.message);
        self
    }

    /// 406: nothing that the client accepts can be produced.
    pub fn not_acceptable(offered: &[&str]) -> Self {
        Self::new(
            StatusCode::NOT_ACCEPTABLE,
            "NotAcceptable",
            format!(
                "only the following media types are accepted: {}",
                offered.join(", ")
            ),
        )
    }

    /// 405: the verb is not there for this resource.
    pub fn method_not_allowed(message: &str) -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed", message)
    }

    /// 401: no or a wrong credential.
    pub fn unauthorized() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "Unauthorized", "Unauthorized")
    }

    /// 403: understood and refused.
    pub fn forbidden(what: Named<'_>, name: &str, message: &str) -> Self {
        Self::new(
            StatusCode::FORBIDDEN,
            "Forbidden",
            format!("{what} \"{name}\" is forbidden: {message}"),
        )
        .about(what, name)
    }

    /// 403: the namespace is going away and takes nothing new.
    pub fn namespace_terminating(what: Named<'_>, name: &str, namespace: &str) -> Self {
        let mut error = Self::forbidden(
            what,
            name,
            &format!(
                "unable to create new content in namespace {namespace} because it is being terminated"
            ),
        );
        error.0.causes.push(Cause {
            reason: "NamespaceTerminating".to_owned(),
            message: format!("namespace {namespace} is being terminated"),
            field: "metadata.namespace".to_owned(),
        });
        error
    }

    /// 413: the request or the object is over its limit.
    pub fn too_large(message: impl Into<String>) -> Self {
        Self::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "RequestEntityTooLarge",
            message,
        )
    }

    /// 429: over a limit that passes; the client is told when to come back.
    pub fn too_many(message: impl Into<String>) -> Self {
        let mut error = Self::new(StatusCode::TOO_MANY_REQUESTS, "TooManyRequests", message);
        error.0.retry_after_seconds = 1;
        error
    }

    /// 504: the answer was not there in time.
    pub fn timeout(message: impl Into<String>) -> Self {
        Self::new(StatusCode::GATEWAY_TIMEOUT, "Timeout", message)
    }

    /// 504: the client has seen a newer state than this server has.
    pub fn version_ahead(wanted: u64, current: u64) -> Self {
        let message = format!("Too large resource version: {wanted}, current: {current}");
        let mut error = Self::new(
            StatusCode::GATEWAY_TIMEOUT,
            "Timeout",
            format!("Timeout: {message}"),
        );
        error.0.retry_after_seconds = 1;
        error.0.causes.push(Cause {
            reason: "ResourceVersionTooLarge".to_owned(),
            message: "Too large resource version".to_owned(),
            field: String::new(),
        });
        error
    }

    /// 503: not ready, or going down.
    pub fn unavailable(message: impl Into<String>) -> Self {
        let mut error = Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "ServiceUnavailable",
            message,
        );
        error.0.retry_after_seconds = 1;
        error
    }

    /// 500: the fault is ours or the disk's.
    pub fn internal(message: impl std::fmt::Display) -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "InternalError",
            format!("Internal error occurred: {message}"),
        )
    }

    /// The HTTP code.
    pub fn code(&self) -> StatusCode {
        self.0.code
    }

    /// Whether an object of that name was there first.
    pub fn is_already_exists(&self) -> bool {
        self.0.reason == "AlreadyExists"
    }

    /// Seconds for the `Retry-After` header, when there is one.
    pub fn retry_after_seconds(&self) -> Option<u32> {
        (self.0.retry_after_seconds > 0).then_some(self.0.retry_after_seconds)
    }

    /// The answer's body: a `metav1.Status`.
    pub fn status(&self) -> Value {
        let mut details = serde_json::Map::new();
        for (key, value) in [
            ("name", &self.0.name),
            ("group", &self.0.group),
            ("kind", &self.0.kind),
        ] {
            if !value.is_empty() {
                details.insert(key.to_owned(), json!(value));
            }
        }
        if !self.0.causes.is_empty() {
            let causes = self.0.causes.iter().map(Cause::to_value).collect();
            details.insert("causes".to_owned(), Value::Array(causes));
        }
        if self.0.retry_after_seconds > 0 {
            details.insert(
                "retryAfterSeconds".to_owned(),
                json!(self.0.retry_after_seconds),
            );
        }
        let mut status = json!({
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.0.message,
            "reason": self.0.reason,
        });
        if !details.is_empty() || self.0.code == StatusCode::NOT_FOUND {
            status["details"] = Value::Object(details);
        }
        status["code"] = json!(self.0.code.as_u16());
        status
    }
}

impl Cause {
    fn to_value(&self) -> Value {
        let mut cause = json!({"reason": self.reason, "message": self.message});
        if !self.field.is_empty() {
            cause["field"] = json!(self.field);
        }
        cause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_object_is_told_as_kubernetes_tells_it() {
        let what = Named {
            group: "example.com",
            resource: "widgets",
        };
        let status = ApiError::not_found(what, "a").status();
        assert_eq!(
            status,
            json!({
                "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
                "message": "widgets.example.com \"a\" not found", "reason": "NotFound",
                "details": {"name": "a", "group": "example.com", "kind": "widgets"}, "code": 404
            })
        );
    }

    #[test]
    fn a_refusal_that_passes_says_when_to_come_back() {
        let error = ApiError::too_many("too many requests, please try again later");
        assert_eq!(error.retry_after_seconds(), Some(1));
        assert_eq!(error.status()["details"]["retryAfterSeconds"], 1);
    }
}
