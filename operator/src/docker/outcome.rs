//! How a call to an Engine can end other than well.
//!
//! Owns the one distinction that everything else rests on: a definite failure, after which nothing has changed, against
//! an unknown one, after which the effect may be there, may come later or may never come (F1, F6). It must not decide
//! what follows from either.

use std::fmt;

use bytes::Bytes;
use http::StatusCode;
use serde::Deserialize;

/// The longest message of an Engine that is kept, in bytes; a longer one is cut. It ends in conditions and Events.
const MAX_MESSAGE: usize = 2048;

/// Why nobody can say whether a call had its effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cause {
    /// No complete answer within the call's deadline.
    TimedOut,
    /// The connection ended before a complete answer.
    Cut,
    /// The Engine answered 5xx: it may have done the work all the same.
    ServerError,
    /// The answer was complete but could not be understood, or was larger than its limit.
    Unreadable,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Cause::TimedOut => "timed out",
            Cause::Cut => "connection cut",
            Cause::ServerError => "Engine error",
            Cause::Unreadable => "unreadable answer",
        })
    }
}

/// Every way in which a call does not succeed. `call` names verb and object, `message` is in the Engine's words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Outcome {
    /// The Engine refused: definite, and nothing has changed.
    #[error("{call}: {message}")]
    Failed {
        /// The call, for example `start container shop`.
        call: String,
        /// The HTTP status; 200 when the refusal came inside a progress stream (F9).
        status: u16,
        /// The Engine's words.
        message: String,
    },
    /// The object, or one that it needs, does not exist; nothing has changed.
    #[error("{call}: {message}")]
    NotFound {
        /// The call.
        call: String,
        /// The Engine's words: they say which object is missing.
        message: String,
    },
    /// A name or a state is in the way; nothing has changed.
    #[error("{call}: {message}")]
    Conflict {
        /// The call.
        call: String,
        /// The id of the container that holds the name, when the Engine named it (F2).
        holder: Option<String>,
        /// The Engine's words.
        message: String,
    },
    /// Nobody can say whether the effect happened or will: observe again, by name.
    #[error("{call}: {cause}: {message}")]
    Unknown {
        /// The call.
        call: String,
        /// What happened instead of an answer.
        cause: Cause,
        /// The Engine's words, or those of the transport.
        message: String,
    },
    /// No connection could be opened: nothing was sent, and nothing is known of the host.
    #[error("{call}: cannot reach the Engine: {message}")]
    Unreachable {
        /// The call.
        call: String,
        /// The transport's words.
        message: String,
    },
    /// The Engine speaks no API version that is known here.
    #[error("{message}")]
    Incompatible {
        /// What it speaks, what is needed, and what to do.
        message: String,
    },
}

impl Outcome {
    /// Whether the effect of the call may have happened or may still happen.
    pub fn is_unknown(&self) -> bool {
        match self {
            Outcome::Unknown { .. } => true,
            Outcome::Failed { .. }
            | Outcome::NotFound { .. }
            | Outcome::Conflict { .. }
            | Outcome::Unreachable { .. }
            | Outcome::Incompatible { .. } => false,
        }
    }

    /// Whether the call says nothing about the host: freeze, never read it as absent or failed.
    pub fn is_blind(&self) -> bool {
        match self {
            Outcome::Unknown { .. }
            | Outcome::Unreachable { .. }
            | Outcome::Incompatible { .. } => true,
            Outcome::Failed { .. } | Outcome::NotFound { .. } | Outcome::Conflict { .. } => false,
        }
    }

    /// Whether the object does not exist.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Outcome::NotFound { .. })
    }

    /// The words of the Engine or the transport, without the call.
    pub fn message(&self) -> &str {
        match self {
            Outcome::Failed { message, .. }
            | Outcome::NotFound { message, .. }
            | Outcome::Conflict { message, .. }
            | Outcome::Unknown { message, .. }
            | Outcome::Unreachable { message, .. }
            | Outcome::Incompatible { message } => message,
        }
    }

    /// The variant's name, for metrics.
    pub fn label(&self) -> &'static str {
        match self {
            Outcome::Failed { .. } => "Failed",
            Outcome::NotFound { .. } => "NotFound",
            Outcome::Conflict { .. } => "Conflict",
            Outcome::Unknown { .. } => "Unknown",
            Outcome::Unreachable { .. } => "Unreachable",
            Outcome::Incompatible { .. } => "Incompatible",
        }
    }

    /// The outcome of an answer that is neither 2xx nor 304.
    pub(crate) fn of_answer(call: String, status: StatusCode, body: &Bytes) -> Outcome {
        let message = words(status, body);
        match status {
            StatusCode::NOT_FOUND => Outcome::NotFound { call, message },
            StatusCode::CONFLICT => Outcome::Conflict {
                call,
                holder: holder(&message),
                message,
            },
            _ if status.is_server_error() => Outcome::Unknown {
                call,
                cause: Cause::ServerError,
                message,
            },
            // A success or a redirect that the call does not know leaves its effect open.
            _ if !status.is_client_error() => Outcome::Unknown {
                call,
                cause: Cause::Unreadable,
                message,
            },
            _ => Outcome::Failed {
                call,
                status: status.as_u16(),
                message,
            },
        }
    }
}

/// The message inside an Engine's error document, or the text itself, cut at the limit.
fn words(status: StatusCode, body: &Bytes) -> String {
    #[derive(Deserialize)]
    struct Refusal {
        message: String,
    }
    let text = match serde_json::from_slice::<Refusal>(body) {
        Ok(refusal) => refusal.message,
        Err(_) => String::from_utf8_lossy(body).into_owned(),
    };
    let text = text.trim();
    if text.is_empty() {
        return status.to_string();
    }
    cut(text)
}

/// At most [`MAX_MESSAGE`] bytes of `text`, never in the middle of a character.
pub(crate) fn cut(text: &str) -> String {
    text[..text.floor_char_boundary(MAX_MESSAGE)].to_owned()
}

/// The container id in `... is already in use by container "<id>". ...`.
fn holder(message: &str) -> Option<String> {
    let (_, rest) = message.split_once("by container \"")?;
    let (id, _) = rest.split_once('"')?;
    (id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit())).then(|| id.to_owned())
}
