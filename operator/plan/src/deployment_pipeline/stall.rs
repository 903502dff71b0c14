//! Why nothing will move without a person, and what that person does.
//!
//! Owns the words of `Stalled`. Must not choose anything.

use crds::Reason;
use crds::release::{Outcome, RolloutState, StageStatus};

use super::pass::{Pass, Trouble};
use super::target::Change;
use super::{progress, verbs, words};

/// Why nothing will move without a change, if so.
pub(crate) fn stalled(
    pass: &Pass<'_>,
    change: &Change,
    current: Option<(u64, &StageStatus)>,
) -> Option<Trouble> {
    if let Change::Pending(unresolved) = change
        && !unresolved.unknown
        && !matches!(unresolved.reason, Reason::RefNotFound | Reason::Paused)
    {
        return Some(Trouble {
            reason: unresolved.reason,
            message: unresolved.message.clone(),
        });
    }
    let (number, stage) = current?;
    let name = pass.release_name(number);
    match stage.outcome {
        Some(Outcome::RolledBack) => Some(Trouble {
            reason: Reason::RolledBack,
            message: format!(
                "{}\nIt stays so until the spec changes; correct it and apply again, or set spec.retryAt of {name}",
                rolled_back(pass, &name, stage)
            ),
        }),
        Some(Outcome::Aborted) => Some(Trouble {
            reason: stage.reason.unwrap_or(Reason::Aborted),
            message: format!("{}\n{}", stage.message, words::after_abort(stage)),
        }),
        Some(Outcome::Failed) => Some(Trouble {
            reason: Reason::Failed,
            message: format!("{name}: {}", stage.message),
        }),
        Some(Outcome::Succeeded | Outcome::Superseded) => None,
        None if verbs::holds(pass, number) => None,
        None if stage.state == RolloutState::Paused => Some(Trouble {
            reason: Reason::RollingBack,
            message: format!(
                "the rollback of {name} cannot be finished: an instance of the release to return to fails as well; it is tried again. {}",
                stage.message
            ),
        }),
        None => {
            let late = progress::deadline(pass, number).is_some_and(|at| at <= pass.now);
            (late && !progress::has_return(pass, number)).then(|| Trouble {
                reason: Reason::ProgressDeadlineExceeded,
                message: format!(
                    "{name} makes no progress while {}, and there is no earlier release to return to; it goes on. {}",
                    stage.state.as_str(),
                    pass.troubles.iter().map(|t| t.message.as_str()).collect::<Vec<_>>().join("; ")
                ),
            })
        }
    }
}

fn rolled_back(pass: &Pass<'_>, name: &str, stage: &StageStatus) -> String {
    let stable = pass
        .stable
        .map(|number| pass.release_name(number))
        .unwrap_or_default();
    if stage.message.is_empty() {
        format!("{name} was rolled back to {stable}")
    } else {
        format!("{name} was rolled back to {stable}: {}", stage.message)
    }
}
