//! How far the rollout is: from facts to the one class that the state machine reads.
//!
//! Owns the waits of each state, the deadline and the clock of what is unknown. Must not make
//! steps. Invariant: the deadline counts only time in which every required fact was known.

use crds::Reason;
use crds::release::{InstanceState, RolloutState};
use jiff::Timestamp;

use crate::Fact;

use super::intents;
use super::members::members;
use super::pass::{Pass, Trouble, is_on};
use super::rollout::{Facts, Next, Rest, next};
use super::transition::{begin, end, enter, is_ended_by_hand};
use super::trial::{self, Failure};
use super::{moment, pull, target, verbs, waits};

/// States that one pass may go through; more would be a circle.
const MAX_TRANSITIONS: usize = 12;

/// Moves the rollout as far as the facts allow and gives every instance its intent.
pub(crate) fn advance(pass: &mut Pass<'_>) {
    supersede(pass);
    verbs::retry(pass);
    if let Some(number) = pass.moving() {
        begin(pass, number);
        for _ in 0..MAX_TRANSITIONS {
            intents::assign(pass);
            let state = pass.stage_mut(number).state;
            let facts = facts(pass, number, state);
            match next(state, facts) {
                Next::Stay => {
                    account(pass, number, facts);
                    break;
                }
                Next::Go(state) => enter(pass, number, state),
                Next::End(outcome) => {
                    end(pass, number, outcome);
                    break;
                }
            }
        }
    }
    intents::assign(pass);
    notice(pass);
}

/// Says which hosts are waited for and what does not belong on their networks.
fn notice(pass: &mut Pass<'_>) {
    for host in pass.hosts() {
        let concerned = pass.instances.iter().any(|i| i.host == host);
        if let Some(trouble) = pass.host_unknown(&host).filter(|_| concerned) {
            pass.trouble(trouble.reason, trouble.message);
        }
        let foreign: Vec<String> = network(pass, &host)
            .map(|network| network.foreign.keys().cloned().collect())
            .unwrap_or_default();
        if !foreign.is_empty() {
            let names = foreign.join(", ");
            pass.trouble(
                Reason::NetworkTampered,
                format!("{names} on host {host} is attached to the namespace's network and is not Mooring's; disconnect it with docker"),
            );
        }
    }
}

/// Every older release that still moves ends: a newer one took over.
fn supersede(pass: &mut Pass<'_>) {
    let older: Vec<u64> = pass
        .stages
        .iter()
        .filter(|(number, stage)| Some(**number) != pass.current && stage.outcome.is_none())
        .map(|(number, _)| *number)
        .collect();
    for number in older {
        let state = pass.stage_mut(number).state;
        if let Next::End(outcome) = next(state, Facts::Superseded) {
            end(pass, number, outcome);
        }
    }
}

/// The class of what was observed, for a state.
fn facts(pass: &mut Pass<'_>, number: u64, state: RolloutState) -> Facts {
    if let Some(said) = verbs::facts(pass, number, state) {
        return said;
    }
    let on_trial = match state {
        RolloutState::Resolving
        | RolloutState::Preparing
        | RolloutState::Starting
        | RolloutState::Warming
        | RolloutState::Shifting
        | RolloutState::Draining
        | RolloutState::Baking => true,
        RolloutState::Finalizing | RolloutState::RollingBack | RolloutState::Paused => false,
    };
    if on_trial && has_return(pass, number) && !failures(pass, number).is_empty() {
        return Facts::Failed;
    }
    if let Some(trouble) = unknown(pass, number, state) {
        pass.trouble(trouble.reason, trouble.message);
        return Facts::Unknown;
    }
    let target = pass.revision(number).unwrap_or_default().to_owned();
    match state {
        RolloutState::Resolving => {
            if target::snapshots_missing(pass, number).is_empty() {
                Facts::Met(Rest::Add)
            } else {
                Facts::Waiting
            }
        }
        RolloutState::Preparing => waits::prepared(pass, number, &target),
        RolloutState::Starting => waits::started(pass, &target),
        RolloutState::Warming => waits::warmed(pass, &target),
        RolloutState::Shifting => waits::shifted(pass, &target),
        RolloutState::Draining => waits::drained(pass, &target),
        RolloutState::Baking => waits::baked(pass, number, &target),
        RolloutState::Finalizing => waits::finalized(pass, &target),
        RolloutState::RollingBack => match waits::rolled_back(pass, &target) {
            Facts::Met(_) if is_ended_by_hand(pass, number) => Facts::Aborted,
            facts => facts,
        },
        RolloutState::Paused => {
            if waits::stable_is_whole(pass) {
                Facts::Met(Rest::Nothing)
            } else {
                Facts::Waiting
            }
        }
    }
}

/// True when there is a verified release, of other content, to return to.
pub(crate) fn has_return(pass: &Pass<'_>, number: u64) -> bool {
    pass.stable
        .is_some_and(|stable| stable != number && pass.revision(stable) != pass.revision(number))
}

/// The failures of the release's instances, else of its deadline.
pub(crate) fn failures(pass: &mut Pass<'_>, number: u64) -> Vec<(Option<usize>, Failure)> {
    let Some(target) = pass.revision(number).map(str::to_owned) else {
        return Vec::new();
    };
    let spared = pass.stages.get(&number).map_or(0, |s| s.unknown_seconds);
    let mut failures = Vec::new();
    for index in members(pass, &target) {
        if let Some(failure) = trial::failure(pass, index, spared) {
            failures.push((Some(index), failure));
        }
    }
    if failures.is_empty() {
        failures.extend(late(pass, number).map(|failure| (None, failure)));
    }
    failures
}

/// The failure of a rollout that has made no progress for too long.
pub(crate) fn late(pass: &mut Pass<'_>, number: u64) -> Option<Failure> {
    let deadline = deadline(pass, number)?;
    pass.wake_at(deadline);
    let state = pass.stages.get(&number)?.state;
    let limit = pass.pipeline.spec.strategy.progress_deadline_seconds;
    // Why an image does not come is the cause, and in the record.
    let cause = pass
        .stages
        .get(&number)
        .filter(|stage| state == RolloutState::Preparing && !stage.message.is_empty());
    let cause = cause.map_or_else(String::new, |stage| format!(": {}", stage.message));
    (deadline <= pass.now && state != RolloutState::Baking).then(|| Failure {
        reason: Reason::ProgressDeadlineExceeded,
        message: format!(
            "made no progress for {limit} s while {}{cause}",
            state.as_str()
        ),
    })
}

/// When the rollout will have made no progress for too long; never while something is unknown or a
/// person holds it.
pub(crate) fn deadline(pass: &Pass<'_>, number: u64) -> Option<Timestamp> {
    let stage = pass.stages.get(&number)?;
    if stage.unknown_since.is_some() || verbs::holds(pass, number) {
        return None;
    }
    let seconds = pass
        .pipeline
        .spec
        .strategy
        .progress_deadline_seconds
        .saturating_add(stage.unknown_seconds);
    Some(moment::after(stage.progress_at.as_ref()?.0, seconds))
}

/// Keeps the clocks of progress and of the unknown.
fn account(pass: &mut Pass<'_>, number: u64, facts: Facts) {
    let now = moment::recorded(pass.now);
    let progressed = has_progressed(pass) || pulls_progress(pass, number);
    let stage = pass.stage_mut(number);
    if facts == Facts::Unknown {
        stage.unknown_since.get_or_insert(now);
        return;
    }
    if let Some(since) = stage.unknown_since.take() {
        let seconds = moment::seconds_between(since.0, now.0);
        stage.unknown_seconds = stage.unknown_seconds.saturating_add(seconds);
    }
    if progressed {
        stage.progress_at = Some(now);
        stage.unknown_seconds = 0;
    }
    if !has_return(pass, number)
        && let Some(failure) = late(pass, number)
    {
        pass.trouble(failure.reason, failure.message);
    }
}

/// True when more of the image has arrived since the last progress.
fn pulls_progress(pass: &Pass<'_>, number: u64) -> bool {
    pass.stages.get(&number).is_some_and(|stage| {
        let since = stage.progress_at.as_ref();
        stage.state == RolloutState::Preparing
            && since.is_some_and(|since| pull::has_moved(pass, number, since.0))
    })
}

/// True when an instance got further than the record says. Coming back after a crash is none.
fn has_progressed(pass: &Pass<'_>) -> bool {
    pass.instances.iter().any(|instance| {
        let was = instance.past.as_ref().map(|past| past.state);
        let starts =
            was == Some(InstanceState::Starting) && instance.restarts == 0 && instance.is_running();
        let serves = matches!(was, Some(InstanceState::Starting | InstanceState::Warming))
            && instance.is_serving(pass.sectioned);
        let stops = was == Some(InstanceState::Draining) && !instance.is_live();
        instance.unknown().is_none() && (starts || serves || stops)
    })
}

/// The first required fact that is unknown.
fn unknown(pass: &Pass<'_>, number: u64, state: RolloutState) -> Option<Trouble> {
    // What was verified stays verified, whatever cannot be cleaned up yet.
    if state == RolloutState::Finalizing {
        return None;
    }
    let target = pass.revision(number).unwrap_or_default();
    for instance in &pass.instances {
        if let Some(why) = instance.unknown() {
            let reason = pass
                .host_unknown(&instance.host)
                .map_or(Reason::Unreachable, |trouble| trouble.reason);
            return Some(Trouble {
                reason,
                message: why.to_owned(),
            });
        }
        if let Some(why) = instance.readiness_unknown()
            && instance.revision() == target
            && is_on(instance.state)
        {
            return Some(Trouble {
                reason: Reason::Unreachable,
                message: format!("waiting to learn whether {} is ready: {why}", instance.name),
            });
        }
    }
    match state {
        RolloutState::Preparing | RolloutState::Starting => pass
            .observed
            .hosts
            .iter()
            .filter(|(name, _)| pass.host_unknown(name).is_none())
            .find_map(|(name, host)| {
                let why = host.images.unknown().or(host.network.unknown())?;
                Some(Trouble {
                    reason: Reason::Unreachable,
                    message: format!("waiting for host {name}: {why}"),
                })
            }),
        RolloutState::Resolving
        | RolloutState::Warming
        | RolloutState::Shifting
        | RolloutState::Draining
        | RolloutState::Baking
        | RolloutState::Finalizing
        | RolloutState::RollingBack
        | RolloutState::Paused => None,
    }
}

/// The network of a host, if the namespace has one there.
pub(crate) fn network<'a>(pass: &Pass<'a>, host: &str) -> Option<&'a crate::fact::NetworkFacts> {
    match &pass.host(host)?.network {
        Fact::Known(network) => network.as_ref(),
        Fact::Unknown(_) => None,
    }
}
