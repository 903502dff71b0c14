//! What a registry's refusal means, told from what an Engine makes of it.
//!
//! An Engine hands the status of a registry on only now and then: 20.10 answers 500 to nearly everything, or 200 with
//! an error in its stream (F9, F29), and says in words what happened. So words count as much as the status. The words
//! are those of Engines 20.10 (distribution) and 29 (containerd). Must not decide what follows.

use crds::Reason;

use crate::docker::{Cause, Outcome};

/// Why the Engine has not got an answer or an image. `begun`: some of the image had arrived.
pub fn reason(outcome: &Outcome, begun: bool) -> Reason {
    match outcome {
        Outcome::Unreachable { .. } | Outcome::Incompatible { .. } => Reason::Unreachable,
        Outcome::Unknown {
            cause: Cause::TimedOut,
            ..
        } if begun => Reason::RegistryTooSlow,
        Outcome::Unknown {
            cause: Cause::TimedOut,
            ..
        } => Reason::RegistryUnreachable,
        Outcome::Unknown {
            cause: Cause::Cut | Cause::Unreadable,
            ..
        } => Reason::Unreachable,
        Outcome::NotFound { message, .. } => of_words(message).unwrap_or(Reason::ImageNotFound),
        Outcome::Failed {
            status: 401 | 403,
            message,
            ..
        } => of_words(message).unwrap_or(Reason::ImageAccessDenied),
        Outcome::Failed { status: 429, .. } => Reason::RegistryRateLimited,
        Outcome::Failed { message, .. }
        | Outcome::Conflict { message, .. }
        | Outcome::Unknown {
            cause: Cause::ServerError,
            message,
            ..
        } => of_words(message).unwrap_or(Reason::ImagePullFailed),
    }
}

/// Rarer meanings first: a layer that is not found is also "not found".
const ROWS: [(Reason, &[&str]); 6] = [
    (
        Reason::RegistryRateLimited,
        &[
            "toomanyrequests",
            "too many requests",
            "http 429",
            "status: 429",
            "status code 429",
        ],
    ),
    (
        Reason::ImageLayerMissing,
        &[
            "unknown blob",
            "blob unknown",
            "blob_unknown",
            "content descriptor",
        ],
    ),
    (
        Reason::RegistryFailing,
        &[
            "http status: 5",
            "http 50",
            "status code 50",
            "internal server error",
            "bad gateway",
            "service unavailable",
            "gateway timeout",
        ],
    ),
    (
        Reason::ImageAccessDenied,
        &[
            "unauthorized",
            "authentication required",
            "no basic auth credentials",
            "access denied",
            "denied: ",
            "access to the resource is denied",
            "insufficient_scope",
            "forbidden",
            "http 401",
            "http 403",
            "status: 401",
            "status: 403",
            "incorrect username or password",
        ],
    ),
    (
        Reason::ImageNotFound,
        &[
            "manifest unknown",
            "name unknown",
            "not known to registry",
            "not found",
            "http 404",
            "status: 404",
            "no matching manifest",
            "does not match the specified platform",
        ],
    ),
    (
        Reason::RegistryUnreachable,
        &[
            "dial tcp",
            "lookup ",
            "no such host",
            "connection refused",
            "network is unreachable",
            "i/o timeout",
            "timeout",
            "deadline exceeded",
            "request canceled",
            ": eof",
            "unexpected eof",
            "connection reset",
            "tls: ",
            "x509: ",
            "http response to https client",
        ],
    ),
];

/// The first row with a word that is in the message.
fn of_words(message: &str) -> Option<Reason> {
    let message = message.to_lowercase();
    let row = ROWS
        .iter()
        .find(|(_, words)| words.iter().any(|word| message.contains(word)));
    row.map(|(reason, _)| *reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    use Reason::*;

    /// What real Engines said, and what had happened.
    const SAID: &[(Reason, &str)] = &[
        // Engine 20.10.24
        (ImageNotFound, "manifest unknown: manifest unknown"),
        (
            ImageNotFound,
            "manifest for r.example.com/shop@sha256:00 not found: manifest unknown: manifest unknown",
        ),
        (
            ImageNotFound,
            "error parsing HTTP 404 response body: invalid character 'p' looking for beginning of value: \"plain\"",
        ),
        (ImageAccessDenied, "unauthorized: authentication required"),
        (
            ImageAccessDenied,
            "Head \"http://127.0.0.1:5001/v2/team/shop/manifests/1.0\": no basic auth credentials",
        ),
        (
            ImageAccessDenied,
            "error parsing HTTP 403 response body: invalid character 'p' looking for beginning of value: \"plain\"",
        ),
        (
            ImageAccessDenied,
            "pull access denied for shop, repository does not exist or may require 'docker login': denied: requested access to the resource is denied",
        ),
        (
            RegistryRateLimited,
            "error parsing HTTP 429 response body: invalid character 'p' looking for beginning of value: \"plain\"",
        ),
        (
            RegistryRateLimited,
            "toomanyrequests: You have reached your pull rate limit",
        ),
        (
            RegistryFailing,
            "received unexpected HTTP status: 503 Service Unavailable",
        ),
        (
            RegistryFailing,
            "error pulling image configuration: download failed after attempts=6: received unexpected HTTP status: 500 Internal Server Error",
        ),
        (
            ImageLayerMissing,
            "error pulling image configuration: download failed after attempts=1: unknown blob",
        ),
        (
            RegistryUnreachable,
            "Get \"http://127.0.0.1:5001/v2/\": dial tcp 127.0.0.1:5001: connect: connection refused",
        ),
        (
            RegistryUnreachable,
            "Get \"http://127.0.0.1:5001/v2/\": EOF",
        ),
        (
            RegistryUnreachable,
            "Get \"https://no.such.host/v2/\": dial tcp: lookup no.such.host: no such host",
        ),
        (
            RegistryUnreachable,
            "Get \"http://127.0.0.1:5001/v2/\": net/http: request canceled while waiting for connection (Client.Timeout exceeded while awaiting headers)",
        ),
        // Engine 29
        (
            ImageNotFound,
            "failed to resolve reference \"r.example.com/shop:9\": r.example.com/shop:9: not found",
        ),
        (
            ImageAccessDenied,
            "pull access denied, repository does not exist or may require authorization: server message: insufficient_scope: authorization failed",
        ),
        (
            ImageLayerMissing,
            "failed to copy: httpReadSeeker: failed open: could not fetch content descriptor sha256:aa (application/vnd.oci.image.layer.v1.tar+gzip) from remote: not found",
        ),
        (
            RegistryFailing,
            "unexpected status from HEAD request to https://r.example.com/v2/shop/manifests/1: 500 Internal Server Error",
        ),
        (
            RegistryRateLimited,
            "unexpected status from GET request to https://r.example.com/v2/shop/manifests/1: 429 Too Many Requests",
        ),
    ];

    #[test]
    fn the_words_of_real_engines_are_understood() {
        for (reason, words) in SAID {
            let outcome = Outcome::Unknown {
                call: String::new(),
                cause: Cause::ServerError,
                message: (*words).to_owned(),
            };
            assert_eq!(super::reason(&outcome, false), *reason, "{words}");
        }
    }

    #[test]
    fn what_nobody_understands_is_told_as_it_is() {
        let full = Outcome::Failed {
            call: String::new(),
            status: 200,
            message: "write /var/lib/docker/tmp/x: no space left on device".to_owned(),
        };
        assert_eq!(reason(&full, true), Reason::ImagePullFailed);
    }
}
