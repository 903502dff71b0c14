//! The conditions of a host, from what was found in the way of Ready.

use crds::condition::{self, Verdict};
use crds::{ConditionStatus, ConditionType, Reason};

use super::{Case, EngineFacts, EngineForm, RECHECK_SECONDS};
use crate::fact::FailureClass;
use crate::{Event, EventKind};

/// One thing in the way of Ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Trouble {
    pub(super) reason: Reason,
    pub(super) message: String,
    is_unknown: bool,
}

impl Trouble {
    /// It is so.
    pub(super) fn new(reason: Reason, message: String) -> Trouble {
        Trouble {
            reason,
            message,
            is_unknown: false,
        }
    }

    /// It cannot be told.
    pub(super) fn unknown(reason: Reason, message: String) -> Trouble {
        Trouble {
            is_unknown: true,
            ..Trouble::new(reason, message)
        }
    }
}

/// Whether nothing may be done for pipelines on a host whose Ready is not True for this reason. For the others only
/// routes wait (`PortTaken`), only namespaces without a bridge (`NetworkFull`, `NetworkClash`), or the pipeline's own
/// pass finds out what it cannot reach.
pub fn blocks_pipelines(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::HostClaimed
            | Reason::ProxyMissing
            | Reason::RootlessUnsupported
            | Reason::DesktopUnsupported
            | Reason::EngineTooOld
            | Reason::PlatformUnsupported
    )
}

/// Why an Engine cannot be used at all.
pub(super) fn unsupported(engine: &EngineFacts) -> Option<Trouble> {
    match engine.form {
        EngineForm::Native => {}
        EngineForm::Rootless => {
            return Some(Trouble::new(
                Reason::RootlessUnsupported,
                "the Engine runs without root, so its containers cannot be reached from the host's network. Point spec.endpoint to the socket of an Engine that runs as root".to_owned(),
            ));
        }
        EngineForm::Desktop => {
            return Some(Trouble::new(
                Reason::DesktopUnsupported,
                "the Engine is Docker Desktop: its containers live in a virtual machine, whose network is not this host's. Use an Engine on Linux".to_owned(),
            ));
        }
    }
    (engine.os != "linux").then(|| {
        Trouble::new(
            Reason::PlatformUnsupported,
            format!(
                "the Engine runs {} containers; only linux is supported",
                engine.os
            ),
        )
    })
}

/// Writes the conditions, asks for another look and tells of changes.
pub(super) fn write(case: &mut Case<'_>, mut troubles: Vec<Trouble>) {
    if let Some(trouble) = failing(case) {
        // A step that fails is the cause of what else is missing, unless something graver keeps all steps back.
        let place = troubles
            .iter()
            .position(|trouble| !blocks_pipelines(trouble.reason))
            .unwrap_or(troubles.len());
        let waits_only = troubles
            .first()
            .is_some_and(|first| first.reason == Reason::Deleting);
        troubles.insert(if waits_only { 1 } else { place }, trouble);
    }
    let generation = case.object.metadata.generation.unwrap_or_default();
    let mut verdicts = vec![ready(case, &troubles)];
    if let Ok(engine) = &case.observed.engine {
        verdicts.push(restart_safe(engine.live_restore));
    } else if let Some(known) = case
        .plan
        .record
        .conditions
        .iter()
        .find(|condition| condition.type_ == ConditionType::EngineRestartSafe)
    {
        verdicts.push(Verdict {
            type_: known.type_,
            status: ConditionStatus::Unknown,
            reason: Reason::Unreachable,
            message: "the Engine does not answer".to_owned(),
        });
    }
    if case.is_deleted() {
        let all: Vec<&str> = troubles
            .iter()
            .map(|trouble| trouble.message.as_str())
            .collect();
        verdicts.push(Verdict {
            type_: ConditionType::Reconciling,
            status: ConditionStatus::True,
            reason: Reason::Deleting,
            message: all.join("; "),
        });
    }
    if let Some(clean_up) = &case.clean_up {
        verdicts.push(Verdict {
            type_: ConditionType::Reconciling,
            status: ConditionStatus::True,
            reason: clean_up.reason,
            message: clean_up.message.clone(),
        });
    }
    tell(case, &verdicts[0]);
    let conditions = condition::merge(&case.plan.record.conditions, verdicts, generation, case.now);
    case.plan.record.conditions = conditions;
    case.plan.record.observed_generation = generation;
    if !troubles.is_empty() || !case.plan.is_converged() {
        let soon = case
            .now
            .checked_add(jiff::SignedDuration::from_secs(RECHECK_SECONDS));
        case.plan.wake_at(soon.unwrap_or(jiff::Timestamp::MAX));
    }
}

fn ready(case: &Case<'_>, troubles: &[Trouble]) -> Verdict {
    let (status, reason, message) = match troubles.first() {
        Some(trouble) => (
            if trouble.is_unknown {
                ConditionStatus::Unknown
            } else {
                ConditionStatus::False
            },
            trouble.reason,
            trouble.message.clone(),
        ),
        None if case.object.spec.cordoned => (
            ConditionStatus::True,
            Reason::Cordoned,
            "instances run and can be reached; the host takes no new ones".to_owned(),
        ),
        None => (
            ConditionStatus::True,
            Reason::AsDeclared,
            "instances can run and be reached".to_owned(),
        ),
    };
    Verdict {
        type_: ConditionType::Ready,
        status,
        reason,
        message,
    }
}

/// The step that fails, if one does.
fn failing(case: &Case<'_>) -> Option<Trouble> {
    let failure = case.observed.failures.first()?;
    let message = format!("{}: {}", failure.step, failure.message);
    Some(match failure.class {
        FailureClass::Refused => Trouble::new(Reason::StepRefused, message),
        FailureClass::Transient | FailureClass::Unusable => {
            Trouble::new(Reason::StepFailing, message)
        }
        FailureClass::Unknown => Trouble::unknown(Reason::StepFailing, message),
    })
}

fn restart_safe(live_restore: bool) -> Verdict {
    let (status, reason, message) = if live_restore {
        (
            ConditionStatus::True,
            Reason::LiveRestoreOn,
            "containers run on while the Engine restarts",
        )
    } else {
        (
            ConditionStatus::False,
            Reason::LiveRestoreOff,
            "a restart of the Engine stops every container for a while; \"live-restore\": true in its daemon.json keeps them running",
        )
    };
    Verdict {
        type_: ConditionType::EngineRestartSafe,
        status,
        reason,
        message: message.to_owned(),
    }
}

/// An Event when Ready changes, or why it is not.
fn tell(case: &mut Case<'_>, ready: &Verdict) {
    let old = case
        .plan
        .record
        .conditions
        .iter()
        .find(|condition| condition.type_ == ConditionType::Ready);
    let same = old.is_some_and(|old| old.status == ready.status && old.reason == ready.reason);
    if same {
        return;
    }
    let is_ready = ready.status == ConditionStatus::True;
    // What is under way for the first time is no news, and neither is a deletion that was asked for.
    let was_ready = old.is_some_and(|old| old.status == ConditionStatus::True);
    let expected = ready.reason == Reason::Deleting
        || (ready.reason == Reason::ProxyUnreachable && !was_ready);
    if !is_ready && expected {
        return;
    }
    case.plan.events.push(Event {
        kind: if is_ready {
            EventKind::Normal
        } else {
            EventKind::Warning
        },
        reason: if is_ready {
            "HostReady"
        } else {
            "HostNotReady"
        },
        message: ready.message.clone(),
    });
}
