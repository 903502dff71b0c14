//! What people see: conditions, summary, columns.
//!
//! Owns the words. Must not choose anything. Invariants: `Ready` speaks of the current generation
//! only, and a message that names a trouble names the next step.

use std::collections::BTreeMap;

use crds::condition::{self, ConditionStatus, ConditionType, Verdict};
use crds::deployment_pipeline::{DeploymentPipelineStatus, StageSummary, selector};
use crds::release::{Outcome, ReleaseStatus, RolloutState, StageStatus};
use crds::{Condition, DEFAULT_STAGE, Reason};

use super::pass::{Pass, Trouble, is_on, name_of};
use super::target::{Change, last_number};
use super::{Record, drain, stall, words};

/// Bytes of the summary that the schema allows.
const MAX_SUMMARY_BYTES: usize = 256;

/// True while Mooring's finalizer is on the pipeline.
pub(crate) fn has_finalizer(pass: &Pass<'_>) -> bool {
    let finalizers = pass.pipeline.metadata.finalizers.as_deref();
    finalizers
        .unwrap_or_default()
        .iter()
        .any(|finalizer| finalizer == crds::FINALIZER)
}

/// A record that changes nothing.
pub(crate) fn untouched(pass: &Pass<'_>) -> Record {
    Record {
        releases: BTreeMap::new(),
        summary: pass.pipeline.status.clone().unwrap_or_default(),
    }
}

/// The record of a pipeline that is being deleted.
pub(crate) fn deleting(pass: &Pass<'_>) -> Record {
    let left = pass
        .instances
        .iter()
        .filter(|i| i.container().is_some() || i.unknown().is_some())
        .count();
    let words = format!("Deleting: {left} instances left");
    let message = pass
        .troubles
        .first()
        .map_or_else(|| words.clone(), |trouble| trouble.message.clone());
    let reason = pass
        .troubles
        .first()
        .map_or(super::deletion::REASON, |trouble| trouble.reason);
    let verdicts = vec![
        verdict(
            ConditionType::Ready,
            ConditionStatus::False,
            Reason::Deleting,
            &words,
        ),
        verdict(
            ConditionType::Reconciling,
            ConditionStatus::True,
            reason,
            &message,
        ),
        verdict(
            ConditionType::Stalled,
            ConditionStatus::False,
            Reason::Deleting,
            "",
        ),
        verdict(
            ConditionType::Available,
            ConditionStatus::False,
            Reason::Deleting,
            &words,
        ),
    ];
    Record {
        releases: releases(pass),
        summary: summary(pass, verdicts, words),
    }
}

/// The record of a pass.
pub(crate) fn record(pass: &Pass<'_>, change: &Change) -> Record {
    let judgement = Judgement::of(pass, change);
    Record {
        releases: releases(pass),
        summary: summary(pass, judgement.verdicts(pass), judgement.summary.clone()),
    }
}

/// What is said of the pipeline as a whole.
struct Judgement {
    ready: bool,
    stalled: Option<Trouble>,
    waits: Trouble,
    summary: String,
}

impl Judgement {
    fn of(pass: &Pass<'_>, change: &Change) -> Self {
        let current = pass
            .current
            .and_then(|n| pass.stages.get(&n).map(|s| (n, s)));
        let summary = words::summary(pass, change, current);
        let trouble = worst(pass, change);
        let is_out = current.is_some_and(|(number, stage)| {
            stage.outcome == Some(Outcome::Succeeded) && pass.stable == Some(number)
        });
        let whole = serving(pass) >= pass.limits.replicas && words::surplus(pass) == 0;
        let stalled = stall::stalled(pass, change, current);
        let waits = trouble.unwrap_or_else(|| {
            let reason = match current.map(|(_, stage)| stage) {
                Some(stage) if stage.outcome.is_none() => doing(stage),
                Some(_) if words::surplus(pass) > 0 => Reason::Scaling,
                Some(_) => Reason::Healing,
                None => Reason::Progressing,
            };
            Trouble {
                reason,
                message: summary.clone(),
            }
        });
        Self {
            ready: is_out && whole && *change == Change::None && in_the_way(pass).is_none(),
            stalled,
            waits,
            summary,
        }
    }

    fn verdicts(&self, pass: &Pass<'_>) -> Vec<Verdict> {
        use ConditionStatus::{False, True};
        use ConditionType::{Ready, Reconciling, Stalled};
        let mut verdicts = Vec::new();
        if self.ready {
            let message = advised(pass, &self.summary);
            verdicts.push(verdict(Ready, True, Reason::Succeeded, &message));
            verdicts.push(verdict(Reconciling, False, Reason::AsDeclared, ""));
            verdicts.push(verdict(Stalled, False, Reason::AsDeclared, ""));
        } else {
            let why = self.stalled.as_ref().unwrap_or(&self.waits);
            verdicts.push(verdict(Ready, False, why.reason, &why.message));
            let ended = self.stalled.is_some()
                && pass.moving().is_none()
                && serving(pass) >= pass.limits.replicas;
            let (moves, because) = if ended {
                (False, why)
            } else {
                (True, &self.waits)
            };
            verdicts.push(verdict(
                Reconciling,
                moves,
                because.reason,
                &because.message,
            ));
            match &self.stalled {
                Some(why) => verdicts.push(verdict(Stalled, True, why.reason, &why.message)),
                None => verdicts.push(verdict(Stalled, False, self.waits.reason, "")),
            }
        }
        verdicts.push(available(pass));
        verdicts
    }
}

fn available(pass: &Pass<'_>) -> Verdict {
    let serving = serving(pass);
    let floor = pass.limits.floor;
    let words = format!("{serving} of at least {floor} promised instances serve");
    if let Some(trouble) = deaf(pass) {
        return verdict(
            ConditionType::Available,
            ConditionStatus::False,
            trouble.reason,
            &trouble.message,
        );
    }
    let (status, reason) = if serving >= floor {
        (ConditionStatus::True, Reason::AsDeclared)
    } else if pass.instances.iter().any(|i| i.unknown().is_some()) {
        (ConditionStatus::Unknown, Reason::Unreachable)
    } else {
        (ConditionStatus::False, Reason::MinimumUnavailable)
    };
    verdict(ConditionType::Available, status, reason, &words)
}

/// Why no request comes in, though everything else works.
fn deaf(pass: &Pass<'_>) -> Option<Trouble> {
    pass.pipeline.spec.traffic.as_ref()?;
    pass.observed.hosts.iter().find_map(|(name, host)| {
        let proxy = host.proxy.known()?;
        if let Some(why) = &proxy.listener_error {
            return Some(Trouble {
                reason: Reason::PortTaken,
                message: format!("no request comes in on host {name}: {why}"),
            });
        }
        let (route, holder) = proxy.conflicts.first()?;
        Some(Trouble {
            reason: Reason::RouteConflict,
            message: format!("{holder} holds the route {route} on host {name}; remove it there, or choose another host or path"),
        })
    })
}

/// A trouble that keeps the pipeline from being as declared.
fn in_the_way(pass: &Pass<'_>) -> Option<Trouble> {
    deaf(pass).or_else(|| {
        pass.troubles
            .iter()
            .find(|trouble| !is_advice(trouble))
            .cloned()
    })
}

/// True for what people should know though everything works.
fn is_advice(trouble: &Trouble) -> bool {
    matches!(
        trouble.reason,
        Reason::RollbackUnavailable | Reason::NetworkTampered
    )
}

/// The summary with what people should know.
fn advised(pass: &Pass<'_>, summary: &str) -> String {
    let advice = pass.troubles.iter().filter(|trouble| is_advice(trouble));
    let parts = std::iter::once(summary).chain(advice.map(|trouble| trouble.message.as_str()));
    parts.collect::<Vec<_>>().join("; ")
}

/// The trouble that people should read first.
fn worst(pass: &Pass<'_>, change: &Change) -> Option<Trouble> {
    let pending = match change {
        Change::Pending(unresolved) => Some(Trouble {
            reason: unresolved.reason,
            message: unresolved.message.clone(),
        }),
        Change::None | Change::New(_) => None,
    };
    pending
        .or_else(|| in_the_way(pass))
        .or_else(|| failing(pass))
}

/// The step that failed most often.
fn failing(pass: &Pass<'_>) -> Option<Trouble> {
    pass.observed
        .failures
        .iter()
        .max_by_key(|failure| (failure.attempts, &failure.place, &failure.step))
        .map(|failure| {
            let place = if failure.place == crate::API {
                "the API".to_owned()
            } else {
                format!("host {}", failure.place)
            };
            Trouble {
                reason: Reason::StepFailing,
                message: format!(
                    "cannot {} on {place}: {}; it is tried again",
                    failure.step, failure.message
                ),
            }
        })
}

/// The statuses of Releases that differ from what is stored.
fn releases(pass: &Pass<'_>) -> BTreeMap<String, ReleaseStatus> {
    let mut changed = BTreeMap::new();
    for (number, release) in &pass.releases {
        let Some(stage) = pass.stages.get(number) else {
            continue;
        };
        let mut stage = stage.clone();
        stage.instances = pass.instances_of(*number);
        let old = release.status.clone().unwrap_or_default();
        let state = stage.outcome.map_or(stage.state.as_str(), Outcome::as_str);
        let generation = release.metadata.generation.unwrap_or(0);
        let verdicts = release_verdicts(pass, *number, &stage);
        let status = ReleaseStatus {
            conditions: merged(&old.conditions, verdicts, generation, pass),
            state: state.to_owned(),
            stages: vec![stage],
        };
        if status != old {
            changed.insert(pass.release_name(*number), status);
        }
    }
    changed
}

/// What a rollout that moves is doing, in one word.
fn doing(stage: &StageStatus) -> Reason {
    match stage.state {
        RolloutState::Paused if stage.reason == Some(Reason::Paused) => Reason::Paused,
        RolloutState::RollingBack | RolloutState::Paused => Reason::RollingBack,
        RolloutState::Resolving
        | RolloutState::Preparing
        | RolloutState::Starting
        | RolloutState::Warming
        | RolloutState::Shifting
        | RolloutState::Draining
        | RolloutState::Baking
        | RolloutState::Finalizing => Reason::Progressing,
    }
}

fn release_verdicts(pass: &Pass<'_>, number: u64, stage: &StageStatus) -> Vec<Verdict> {
    use ConditionStatus::True;
    let name = pass.release_name(number);
    let (type_, reason) = match stage.outcome {
        None => (ConditionType::Reconciling, doing(stage)),
        Some(Outcome::Succeeded) => (ConditionType::Ready, Reason::Succeeded),
        Some(Outcome::RolledBack) => (ConditionType::Stalled, Reason::RolledBack),
        Some(Outcome::Aborted) => (
            ConditionType::Stalled,
            stage.reason.unwrap_or(Reason::Aborted),
        ),
        Some(Outcome::Failed) => (ConditionType::Stalled, Reason::Failed),
        Some(Outcome::Superseded) => return Vec::new(),
    };
    let message = if stage.message.is_empty() {
        format!("{name}: {}", stage.state.as_str())
    } else {
        stage.message.clone()
    };
    vec![verdict(type_, True, reason, &message)]
}

fn summary(pass: &Pass<'_>, verdicts: Vec<Verdict>, words: String) -> DeploymentPipelineStatus {
    let old = pass.pipeline.status.as_ref();
    let old_conditions = old.map(|status| status.conditions.as_slice());
    let generation = pass.pipeline.metadata.generation.unwrap_or(0);
    let ready = serving(pass);
    let desired = pass.limits.replicas;
    let current = pass.current.map(|number| pass.release_name(number));
    let stage = pass.current.and_then(|number| pass.stages.get(&number));
    let selected = selector(&name_of(pass.pipeline))
        .into_iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect::<Vec<_>>()
        .join(",");
    let message = verdicts
        .iter()
        .find(|v| v.type_ == ConditionType::Ready && v.status != ConditionStatus::True)
        .map(|v| v.message.clone())
        .unwrap_or_default();
    DeploymentPipelineStatus {
        observed_generation: generation,
        conditions: merged(
            old_conditions.unwrap_or_default(),
            verdicts,
            generation,
            pass,
        ),
        replicas: number(meant_to_run(pass)),
        ready_replicas: number(ready),
        selector: selected,
        current_release: current.clone(),
        stable_release: pass.stable.map(|number| pass.release_name(number)),
        last_release_number: last_number(pass),
        ready: format!("{ready}/{desired}"),
        summary: shortened(words),
        stages: vec![StageSummary {
            name: DEFAULT_STAGE.to_owned(),
            state: stage
                .map_or("", |s| s.outcome.map_or(s.state.as_str(), Outcome::as_str))
                .to_owned(),
            release: current.unwrap_or_default(),
            ready: number(ready),
            desired: number(desired),
            message: condition::bounded(message),
        }],
    }
}

fn merged(
    old: &[Condition],
    verdicts: Vec<Verdict>,
    generation: i64,
    pass: &Pass<'_>,
) -> Vec<Condition> {
    condition::merge(old, verdicts, generation, pass.now)
}

fn verdict(
    type_: ConditionType,
    status: ConditionStatus,
    reason: Reason,
    message: &str,
) -> Verdict {
    Verdict {
        type_,
        status,
        reason,
        message: message.to_owned(),
    }
}

/// How many instances do their work.
fn serving(pass: &Pass<'_>) -> usize {
    drain::acknowledged(pass)
}

fn meant_to_run(pass: &Pass<'_>) -> usize {
    pass.instances
        .iter()
        .filter(|i| is_on(i.state) && !i.forgotten)
        .count()
}

fn number(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

fn shortened(mut text: String) -> String {
    let mut end = text.len().min(MAX_SUMMARY_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    text
}
