//! How reading, recording and acting can fail, as far as it matters for what comes next.
//!
//! Owns the sorting of the errors of API, Engine and proxy into those three. It must not decide what follows.

use plan::fact::FailureClass;

use crate::api::{Failure, words};
use crate::docker::{Outcome, containers};
use crate::proxy_client::ProxyError;

/// The API could not be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read the API: {0}")]
pub struct ObserveError(String);

impl From<kube::Error> for ObserveError {
    fn from(error: kube::Error) -> Self {
        ObserveError(words(&error))
    }
}

/// The record was not written, so no step may be done.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The object is another by now: observe again.
    #[error("the object changed: {0}")]
    Conflict(String),
    /// Anything else.
    #[error("cannot write the record: {0}")]
    Failed(String),
}

impl From<kube::Error> for RecordError {
    fn from(error: kube::Error) -> Self {
        let text = words(&error);
        match crate::api::failure(&error) {
            Failure::Conflict => RecordError::Conflict(text),
            // The object is gone: the next pass sees it.
            Failure::Transient if crate::api::is_not_found(&error) => RecordError::Conflict(text),
            Failure::Transient | Failure::Refused | Failure::Unknown => RecordError::Failed(text),
        }
    }
}

/// A step was not done, or nobody knows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StepError {
    /// Definitely not done.
    #[error("{message}")]
    Failed {
        /// Whether another try may help.
        class: FailureClass,
        /// What the Engine, the proxy or the API said.
        message: String,
    },
    /// Nobody knows whether it was done.
    #[error("{message}")]
    Unknown {
        /// What happened instead of an answer.
        message: String,
    },
}

impl StepError {
    /// Not done, and trying again without a change will not help.
    pub fn refused(message: impl Into<String>) -> StepError {
        StepError::Failed {
            class: FailureClass::Refused,
            message: message.into(),
        }
    }

    /// Not done, but may work later.
    pub fn transient(message: impl Into<String>) -> StepError {
        StepError::Failed {
            class: FailureClass::Transient,
            message: message.into(),
        }
    }

    /// The start of a container was not answered well: whether it can ever be started is in the Engine's words.
    pub fn of_start(outcome: Outcome) -> StepError {
        if containers::is_left_behind(&outcome) {
            return StepError::Failed {
                class: FailureClass::Unusable,
                message: outcome.to_string(),
            };
        }
        outcome.into()
    }

    pub(super) fn class(&self) -> FailureClass {
        match self {
            StepError::Failed { class, .. } => *class,
            StepError::Unknown { .. } => FailureClass::Unknown,
        }
    }
}

impl From<kube::Error> for StepError {
    fn from(error: kube::Error) -> Self {
        let message = words(&error);
        match crate::api::failure(&error) {
            Failure::Conflict | Failure::Transient => StepError::transient(message),
            Failure::Refused => StepError::refused(message),
            Failure::Unknown => StepError::Unknown { message },
        }
    }
}

impl From<Outcome> for StepError {
    fn from(outcome: Outcome) -> Self {
        let message = outcome.to_string();
        match outcome {
            Outcome::Failed { .. } => StepError::refused(message),
            Outcome::NotFound { .. } | Outcome::Conflict { .. } | Outcome::Unreachable { .. } => {
                StepError::transient(message)
            }
            Outcome::Incompatible { .. } => StepError::refused(message),
            Outcome::Unknown { .. } => StepError::Unknown { message },
        }
    }
}

impl From<ProxyError> for StepError {
    fn from(error: ProxyError) -> Self {
        let message = error.to_string();
        match error {
            ProxyError::Unreachable { .. } => StepError::transient(message),
            ProxyError::Refused { reason, .. } => match reason {
                routes::Refusal::VersionMismatch { .. } | routes::Refusal::StaleEpoch { .. } => {
                    StepError::transient(message)
                }
                routes::Refusal::OtherInstall { .. }
                | routes::Refusal::Invalid { .. }
                | routes::Refusal::TooLarge
                | routes::Refusal::Unsupported
                | routes::Refusal::Unknown => StepError::refused(message),
            },
            ProxyError::Unknown { .. } => StepError::Unknown { message },
        }
    }
}
