//! What a person asks of a rollout: to hold it, to end it, to try it again.
//!
//! Owns the reading of `paused`, `abort`, `retryAt` and `rejectedRevisions`, and their precedence:
//! abort, then `rollbackTo`, then `paused`, then retry. Must not make steps. Invariants: a verb that
//! is repeated changes nothing, and one on an older release hits nobody.

use crds::release::{CauseReason, RolloutState};
use crds::{DEFAULT_STAGE, Reason};

use crate::{Event, EventKind};

use super::members::members;
use super::pass::Pass;
use super::rollout::{Facts, reopens};
use super::{asked, moment, progress, target};

/// True for a revision that may never come out again.
pub(crate) fn is_rejected(pass: &Pass<'_>, revision: &str) -> bool {
    pass.pipeline
        .spec
        .rejected_revisions
        .iter()
        .any(|rejected| rejected == revision)
}

/// Why a person has ended a rollout, if so.
pub(crate) fn ended(pass: &Pass<'_>, number: u64) -> Option<(Reason, String)> {
    let release = pass.releases.get(&number)?;
    if release.spec.is_aborted(DEFAULT_STAGE) {
        let who = asked::who(&release.metadata, "abort");
        return Some((Reason::Aborted, format!("aborted by {who}")));
    }
    let revision = release.spec.revision.as_str();
    is_rejected(pass, revision).then(|| {
        let who = asked::who(&pass.pipeline.metadata, "rejectedRevisions");
        (
            Reason::RevisionRejected,
            format!("revision {revision} was rejected by {who}"),
        )
    })
}

/// Who holds a rollout, if anybody does. The way back that `rollbackTo` asks for is not held up.
pub(crate) fn held(pass: &Pass<'_>, number: u64) -> Option<String> {
    let spec = &pass.pipeline.spec;
    let returns = spec.rollback_to.is_some()
        && pass
            .releases
            .get(&number)
            .is_some_and(|release| release.spec.cause.reason == CauseReason::Rollback);
    (spec.paused && !returns).then(|| asked::who(&pass.pipeline.metadata, "paused"))
}

/// True while a person holds the rollout in its state.
pub(crate) fn holds(pass: &Pass<'_>, number: u64) -> bool {
    pass.stages.get(&number).is_some_and(|stage| {
        stage.outcome.is_none()
            && stage.state == RolloutState::Paused
            && stage.reason == Some(Reason::Paused)
    })
}

/// What a person's words say of a state, if they say anything of it.
pub(crate) fn facts(pass: &Pass<'_>, number: u64, state: RolloutState) -> Option<Facts> {
    match state {
        RolloutState::Finalizing | RolloutState::RollingBack => return None,
        // The way back failed: only it can be tried again.
        RolloutState::Paused if !holds(pass, number) => return None,
        RolloutState::Resolving
        | RolloutState::Preparing
        | RolloutState::Starting
        | RolloutState::Warming
        | RolloutState::Shifting
        | RolloutState::Draining
        | RolloutState::Baking
        | RolloutState::Paused => {}
    }
    if ended(pass, number).is_some() {
        return Some(if progress::has_return(pass, number) {
            Facts::Aborted
        } else {
            Facts::Abandoned
        });
    }
    match (held(pass, number), state) {
        (Some(_), RolloutState::Paused) => Some(Facts::Waiting),
        (Some(_), _) => Some(Facts::Held),
        (None, RolloutState::Paused) => Some(Facts::Resumed {
            begun: pass
                .revision(number)
                .is_some_and(|target| !members(pass, target).is_empty()),
        }),
        (None, _) => None,
    }
}

/// Follows the newest release's `retryAt`: begins its rollout anew, or its deadline. It waits while
/// something that goes before it holds.
pub(crate) fn retry(pass: &mut Pass<'_>) {
    let Some(number) = pass.current else { return };
    let Some(release) = pass.releases.get(&number).copied() else {
        return;
    };
    let asked_at = release.spec.retry_at.clone();
    let stage = pass.stage_mut(number);
    if !target::is_later(asked_at.as_ref(), stage.retried_at.as_ref()) {
        return;
    }
    let begins = stage.outcome.is_some_and(reopens);
    if begins && (ended(pass, number).is_some() || held(pass, number).is_some()) {
        return;
    }
    let now = moment::recorded(pass.now);
    let who = asked::who(&release.metadata, "retryAt");
    let name = pass.release_name(number);
    let stage = pass.stage_mut(number);
    stage.retried_at = asked_at.as_ref().map(target::mark);
    if stage.outcome.is_none() {
        stage.progress_at = Some(now.clone());
        stage.unknown_seconds = 0;
    }
    if begins {
        stage.outcome = None;
        stage.state = RolloutState::Resolving;
        stage.started_at = Some(now.clone());
        stage.since = Some(now.clone());
        stage.progress_at = Some(now);
        stage.failures = 0;
        stage.reason = None;
        stage.message = String::new();
        pass.events.push(Event {
            kind: EventKind::Normal,
            reason: "Retried",
            message: format!("{name} is tried again, as {who} asked"),
        });
    }
}
