//! What a pipeline is doing, in a few words for one column.
//!
//! Owns the summary. Must not judge health: that is for the conditions.

use crds::release::{InstanceState, Outcome, RolloutState, StageStatus};

use crds::Reason;

use super::members::wanted_slots;
use super::pass::Pass;
use super::target::Change;
use super::verbs;

/// The summary: what comes out, serves or is undone, and how far.
pub(crate) fn summary(
    pass: &Pass<'_>,
    change: &Change,
    current: Option<(u64, &StageStatus)>,
) -> String {
    let Some((number, stage)) = current else {
        return match change {
            Change::Pending(unresolved) => format!("Waiting: {}", unresolved.message),
            Change::None | Change::New(_) => "Starting".to_owned(),
        };
    };
    let name = pass.release_name(number);
    let stable = pass.stable.map(|number| pass.release_name(number));
    let replicas = pass.limits.replicas;
    let count = |revision: Option<&str>| {
        pass.instances
            .iter()
            .filter(|i| Some(i.revision()) == revision && i.is_serving(pass.sectioned))
            .count()
    };
    match stage.outcome {
        Some(Outcome::RolledBack) => {
            let line = stage.message.lines().next().unwrap_or_default();
            format!("Rolled back to {}: {line}", stable.unwrap_or_default())
        }
        Some(Outcome::Aborted) => {
            let line = stage.message.lines().next().unwrap_or_default();
            match stable {
                Some(stable) => format!("Back on {stable}: {line}"),
                None => format!("Ended: {line}"),
            }
        }
        Some(Outcome::Succeeded | Outcome::Superseded | Outcome::Failed) => {
            let running = count(pass.stable_revision());
            let release = stable.unwrap_or(name);
            if replicas == 0 && surplus(pass) == 0 {
                format!("{release} is scaled to 0")
            } else if running >= replicas {
                format!("Serving {release}{}", held(pass))
            } else {
                format!("Serving {release}: {running}/{replicas} ready")
            }
        }
        None => {
            let out = count(pass.revision(number));
            match stage.state {
                RolloutState::RollingBack => {
                    format!(
                        "Rolling back to {}: {}",
                        stable.unwrap_or_default(),
                        stage.message.lines().next().unwrap_or_default()
                    )
                }
                RolloutState::Paused if verbs::holds(pass, number) => {
                    // The message begins with the release too, for those who read it alone.
                    let message = stage.message.as_str();
                    let message = message.strip_prefix(&format!("{name} ")).unwrap_or(message);
                    format!("Paused {name}: {out}/{replicas} serving; {message}")
                }
                RolloutState::Paused => {
                    format!("Rollback of {name} cannot be finished")
                }
                RolloutState::Baking => format!("Baking {name}: {out}/{replicas} serving"),
                RolloutState::Finalizing => format!("Finalizing {name}"),
                RolloutState::Resolving
                | RolloutState::Preparing
                | RolloutState::Starting
                | RolloutState::Warming
                | RolloutState::Shifting
                | RolloutState::Draining => format!(
                    "Rolling out {name}: {out}/{replicas} serving, {}",
                    stage.state.as_str().to_lowercase()
                ),
            }
        }
    }
}

/// What keeps the spec from coming out, if a person asked for that.
fn held(pass: &Pass<'_>) -> String {
    let spec = &pass.pipeline.spec;
    match &spec.rollback_to {
        Some(to)
            if pass
                .releases
                .keys()
                .any(|number| pass.release_name(*number) == to.release) =>
        {
            format!(", held by rollbackTo {}", to.release)
        }
        Some(to) => format!(", but rollbackTo names {}, which is not there", to.release),
        None if spec.paused => ", paused".to_owned(),
        None => String::new(),
    }
}

/// What a person does after a release was ended by hand.
pub(crate) fn after_abort(stage: &StageStatus) -> &'static str {
    if stage.reason == Some(Reason::RevisionRejected) {
        "It stays so until the spec changes, or the revision is taken out of spec.rejectedRevisions and spec.retryAt of the release is set"
    } else {
        "It stays so until the spec changes, or spec.abort of the release is cleared and its spec.retryAt set"
    }
}

/// How many containers run that are not wanted in the end.
pub(crate) fn surplus(pass: &Pass<'_>) -> usize {
    let stable = pass.stable_revision();
    pass.instances
        .iter()
        .filter(|i| {
            let wanted = Some(i.revision()) == stable
                && wanted_slots(pass).contains(&i.name.slot)
                && i.state != InstanceState::Draining
                && i.state != InstanceState::Removing;
            i.is_live() && !wanted
        })
        .count()
}
