//! What is written and told when a rollout begins, goes to another state, or ends.
//!
//! Owns the record of a transition and its Events. Must not choose the transition.

use std::collections::BTreeSet;

use crds::Reason;
use crds::release::{InstanceState, Outcome, RolloutState};

use crate::{Event, EventKind};

use super::pass::Pass;
use super::progress::failures;
use super::trial::{self, Failure};
use super::{moment, verbs};

/// The release begins.
pub(crate) fn begin(pass: &mut Pass<'_>, number: u64) {
    if pass.stage_mut(number).started_at.is_some() {
        return;
    }
    let now = moment::recorded(pass.now);
    let stage = pass.stage_mut(number);
    stage.started_at = Some(now.clone());
    stage.since = Some(now.clone());
    stage.progress_at = Some(now);
    let name = pass.release_name(number);
    let Some(release) = pass.releases.get(&number).copied() else {
        return;
    };
    let image = &release.spec.image.reference;
    let revision = &release.spec.revision;
    pass.events.push(Event {
        kind: EventKind::Normal,
        reason: "ReleaseCreated",
        message: format!("{name} brings out {image} as revision {revision}"),
    });
    let template = &release.spec.template;
    let mounts = template.main().volume_mounts;
    let scratch: BTreeSet<&str> = template
        .volumes
        .iter()
        .filter(|v| v.empty_dir.is_some() && mounts.iter().any(|mount| mount.name == v.name))
        .map(|v| v.name.as_str())
        .collect();
    if !scratch.is_empty() {
        let names: Vec<&str> = scratch.into_iter().collect();
        pass.events.push(Event {
            kind: EventKind::Warning,
            reason: "ScratchVolume",
            message: format!(
                "what {name} writes to the emptyDir {} goes away with each instance",
                names.join(", ")
            ),
        });
    }
}

/// Another state begins.
pub(crate) fn enter(pass: &mut Pass<'_>, number: u64, state: RolloutState) {
    let now = moment::recorded(pass.now);
    let held = verbs::holds(pass, number);
    let stage = pass.stage_mut(number);
    let paused_for = stage
        .since
        .as_ref()
        .filter(|_| held)
        .map_or(0, |since| moment::seconds_between(since.0, now.0));
    let undone = !held
        && (stage.state == RolloutState::Paused
            || (stage.state, state) == (RolloutState::RollingBack, RolloutState::Paused));
    let why = reasons(pass, number, state, undone);
    let stage = pass.stage_mut(number);
    stage.state = state;
    stage.since = Some(now.clone());
    stage.progress_at = Some(now.clone());
    // The time in which a person held it counts for no deadline.
    stage.unknown_seconds = paused_for;
    stage.unknown_since = None;
    if !undone {
        stage.reason = None;
        stage.message = String::new();
    }
    if state == RolloutState::Finalizing {
        stage.verified_at = Some(now);
        pass.stable = Some(number);
    }
    match why {
        Why::None => {}
        Why::Failed(failures) => {
            for (index, failure) in failures {
                fail(pass, number, index, failure);
            }
        }
        Why::Asked(reason, words) => said(pass, number, reason, &words),
    }
    if held && state != RolloutState::RollingBack {
        let name = pass.release_name(number);
        pass.events.push(Event {
            kind: EventKind::Normal,
            reason: "Resumed",
            message: format!("{name} goes on"),
        });
    }
}

/// Why a rollout goes where it goes, when people must know.
enum Why {
    None,
    Failed(Vec<(Option<usize>, Failure)>),
    Asked(Reason, String),
}

fn reasons(pass: &mut Pass<'_>, number: u64, state: RolloutState, undone: bool) -> Why {
    match state {
        RolloutState::RollingBack if !undone => match verbs::ended(pass, number) {
            Some((reason, words)) => Why::Asked(reason, words),
            None => Why::Failed(failures(pass, number)),
        },
        RolloutState::Paused if !undone => match verbs::held(pass, number) {
            Some(who) => Why::Asked(Reason::Paused, format!("paused by {who}")),
            None => Why::None,
        },
        RolloutState::Resolving
        | RolloutState::Preparing
        | RolloutState::Starting
        | RolloutState::Warming
        | RolloutState::Shifting
        | RolloutState::Draining
        | RolloutState::Baking
        | RolloutState::Finalizing
        | RolloutState::RollingBack
        | RolloutState::Paused => Why::None,
    }
}

/// Writes down what a person asked of a release, and tells it.
fn said(pass: &mut Pass<'_>, number: u64, reason: Reason, words: &str) {
    let message = format!("{} {words}", pass.release_name(number));
    let stage = pass.stage_mut(number);
    stage.reason = Some(reason);
    stage.message = crds::condition::bounded(message.clone());
    pass.events.push(Event {
        kind: EventKind::Normal,
        reason: if reason == Reason::Paused {
            "Paused"
        } else {
            "Aborted"
        },
        message,
    });
}

/// Writes down why a release is undone and marks what failed, so that it is kept.
fn fail(pass: &mut Pass<'_>, number: u64, index: Option<usize>, failure: Failure) {
    let name = pass.release_name(number);
    let Failure { reason, message } = failure;
    let log = index.map_or_else(String::new, |index| trial::log(&pass.instances[index]));
    let text = format!("{name} {message}{log}");
    if let Some(index) = index {
        pass.instances[index].state = InstanceState::Failed;
        pass.events.push(Event {
            kind: EventKind::Warning,
            reason: "InstanceFailed",
            message: text.clone(),
        });
    }
    let stage = pass.stage_mut(number);
    // The first failure is the cause; others are often its consequence.
    if stage.reason.is_none() {
        stage.reason = Some(reason);
        stage.message = crds::condition::bounded(text);
    }
    stage.failures = stage.failures.saturating_add(1);
}

/// The rollout is over.
pub(crate) fn end(pass: &mut Pass<'_>, number: u64, outcome: Outcome) {
    if outcome == Outcome::Aborted
        && !is_ended_by_hand(pass, number)
        && let Some((reason, words)) = verbs::ended(pass, number)
    {
        said(pass, number, reason, &words);
    }
    let now = moment::recorded(pass.now);
    let name = pass.release_name(number);
    let stable = pass.stable.map(|stable| pass.release_name(stable));
    let log = if outcome == Outcome::RolledBack {
        last_words(pass, number)
    } else {
        String::new()
    };
    let stage = pass.stage_mut(number);
    // One that was still running when it failed has its log only now.
    if !stage.message.contains('\n') {
        stage.message = crds::condition::bounded(format!("{}{log}", stage.message));
    }
    stage.outcome = Some(outcome);
    stage.since = Some(now);
    stage.unknown_since = None;
    stage.unknown_seconds = 0;
    let event = match outcome {
        Outcome::Succeeded => {
            stage.reason = None;
            stage.message = String::new();
            Some((EventKind::Normal, "Succeeded", format!("{name} is out")))
        }
        Outcome::RolledBack | Outcome::Aborted => stable.map(|stable| {
            (
                EventKind::Warning,
                outcome.as_str(),
                format!("{stable} serves again: {}", stage.message),
            )
        }),
        Outcome::Superseded => None,
        Outcome::Failed => Some((EventKind::Warning, outcome.as_str(), stage.message.clone())),
    };
    if let Some((kind, reason, message)) = event {
        pass.events.push(Event {
            kind,
            reason,
            message: crds::condition::bounded(message),
        });
    }
}

/// The last log lines of the first failed instance of a release that has any.
fn last_words(pass: &Pass<'_>, number: u64) -> String {
    pass.instances
        .iter()
        .filter(|i| Some(i.revision()) == pass.revision(number))
        .filter(|i| i.state == InstanceState::Failed)
        .map(trial::log)
        .find(|log| !log.is_empty())
        .unwrap_or_default()
}

/// True for a rollout that is undone because a person ended it.
pub(crate) fn is_ended_by_hand(pass: &Pass<'_>, number: u64) -> bool {
    let reason = pass.stages.get(&number).and_then(|stage| stage.reason);
    matches!(reason, Some(Reason::Aborted | Reason::RevisionRejected))
}
