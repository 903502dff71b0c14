//! When a new instance has failed.
//!
//! Owns what counts as a failure of an instance that is on trial, and its words. Must not know
//! what follows. Invariant: only what was observed is a failure; what is unknown never is.

use crds::Reason;
use crds::names::InstanceName;
use crds::release::InstanceState;

use crate::StepFailure;
use crate::fact::{ContainerState, FailureClass, Readiness, RestartPolicy};

use super::instance::Instance;
use super::moment;
use super::pass::Pass;

/// Log lines of a failed instance that a message carries.
const LOG_LINES: usize = 20;
/// Bytes of one such line.
const LOG_LINE_BYTES: usize = 240;

/// One failure of an instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    /// In one word.
    pub reason: Reason,
    /// For people, without the log.
    pub message: String,
}

/// How an instance on trial failed, if it did. Wakes when its time to become ready is over.
pub(crate) fn failure(pass: &mut Pass<'_>, index: usize, spared_seconds: u32) -> Option<Failure> {
    let instance = &pass.instances[index];
    let who = instance.slot_words();
    if let Some(refusal) = refused(pass, instance) {
        return Some(Failure {
            reason: Reason::StepRefused,
            message: format!("{who}: {}", refusal.message),
        });
    }
    let container = instance.container()?;
    if instance.state == InstanceState::Stopped {
        return None;
    }
    if let Some(ended) = instance.ended() {
        return Some(Failure {
            reason: ended.reason,
            message: format!("{who} {}", ended.words),
        });
    }
    if container.state != ContainerState::Running {
        return None;
    }
    let serving = instance.state == InstanceState::Serving;
    if serving
        && container.restart_policy == RestartPolicy::Always
        && container.restart_count > instance.restarts
    {
        let code = container
            .exit_code
            .map_or_else(String::new, |code| format!(" after exit {code}"));
        return Some(Failure {
            reason: Reason::Exited,
            message: format!("{who} was restarted by Docker{code}"),
        });
    }
    match &container.readiness {
        Readiness::Ready(_) | Readiness::Unknown(_) => None,
        Readiness::NotReady { since, why } => {
            let why = if why.is_empty() {
                String::new()
            } else {
                format!(": {why}")
            };
            if serving {
                return since.is_some().then(|| Failure {
                    reason: Reason::BecameUnready,
                    message: format!("{who} is not ready any more{why}"),
                });
            }
            let limit = pass.pipeline.spec.strategy.healthy_deadline_seconds;
            let started = container.started_at?;
            let deadline = moment::after(started, limit.saturating_add(spared_seconds));
            let failure = Failure {
                reason: Reason::NotReadyInTime,
                message: format!("{who} was not ready within {limit} s{why}"),
            };
            let late = deadline <= pass.now;
            pass.wake_at(deadline);
            late.then_some(failure)
        }
    }
}

/// The refusal of a step that an instance cannot do without, unless something foreign is in the
/// way: that is for a person to move.
fn refused<'a>(pass: &Pass<'a>, instance: &Instance) -> Option<&'a StepFailure> {
    let name = instance.name.to_string();
    let foreign = pass
        .observed
        .hosts
        .get(&instance.host)
        .is_some_and(|host| host.foreign.contains_key(&name));
    if foreign {
        return None;
    }
    let create = format!("create {name} at ");
    let start = start_of(&instance.name);
    pass.observed
        .failures
        .iter()
        .filter(|failure| {
            failure.place == instance.host
                && failure.class == FailureClass::Refused
                && (failure.step == start || failure.step.starts_with(&create))
        })
        .min_by_key(|failure| &failure.step)
}

/// The rendering of the step that starts an instance, by which its failure is known.
pub(crate) fn start_of(name: &InstanceName) -> String {
    format!("start {name}")
}

/// The last log lines of an instance, bounded, on lines of their own; empty when there are none.
pub(crate) fn log(instance: &Instance) -> String {
    let Some(container) = instance.container() else {
        return String::new();
    };
    let lines = &container.log_tail;
    let mut text = String::new();
    for line in &lines[lines.len().saturating_sub(LOG_LINES)..] {
        let mut end = line.len().min(LOG_LINE_BYTES);
        while !line.is_char_boundary(end) {
            end -= 1;
        }
        text.push_str("\n  ");
        text.push_str(&line[..end]);
    }
    text
}
