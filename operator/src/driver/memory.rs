//! What the driver remembers of an object between two passes: failed steps and its own pace.
//!
//! Nothing that matters is in here: it is lost with the process, and all it does is spread tries over time.

use jiff::Timestamp;
use plan::fact::FailureClass;
use plan::{Plan, StepFailure};
use std::time::Duration;

use super::{MAX_STREAK, REST, StepError};
use crate::{backoff, clock};

/// The memory of one object.
#[derive(Default)]
pub(super) struct Memory {
    failures: Vec<StepFailure>,
    /// Passes that failed in a row.
    failed: u32,
    /// Passes with steps in a row.
    streak: u32,
    uid: Option<String>,
    generation: Option<i64>,
}

impl Memory {
    /// Steps that failed and are still planned.
    pub(super) fn failures(&self) -> &[StepFailure] {
        &self.failures
    }

    /// Forgets everything about another object of the same name, or another spec of this one: a change is a new chance.
    pub(super) fn belongs_to(&mut self, uid: Option<&str>, generation: Option<i64>) {
        if self.uid.as_deref() != uid || self.generation != generation {
            *self = Memory {
                uid: uid.map(str::to_owned),
                generation,
                ..Memory::default()
            };
        }
    }

    /// Forgets steps that the plan has not any more.
    pub(super) fn forget_all_but<R>(&mut self, plan: &Plan<R>) {
        if self.failures.is_empty() {
            return;
        }
        self.failures.retain(|failure| {
            if failure.place == plan::API {
                return plan.api.iter().any(|step| step.to_string() == failure.step);
            }
            let steps = plan.hosts.get(&failure.place);
            steps.is_some_and(|steps| steps.iter().any(|step| step.to_string() == failure.step))
        });
    }

    /// Keeps what became of a step.
    pub(super) fn remember(
        &mut self,
        place: String,
        step: String,
        result: Result<(), StepError>,
        now: Timestamp,
        random: impl Fn() -> u64,
    ) {
        let known = self
            .failures
            .iter()
            .position(|failure| failure.place == place && failure.step == step);
        let attempts = match known {
            Some(index) => self.failures.swap_remove(index).attempts,
            None => 0,
        };
        let Err(error) = result else { return };
        let class = error.class();
        let attempts = attempts.saturating_add(1);
        let wait = match class {
            // A refusal does not pass by itself: somebody has to change something, which is seldom done in a second.
            FailureClass::Refused => backoff::STEP.delay(attempts.saturating_add(2), random()),
            FailureClass::Transient | FailureClass::Unusable | FailureClass::Unknown => {
                backoff::STEP.delay(attempts, random())
            }
        };
        self.failures.push(StepFailure {
            place,
            step,
            class,
            message: error.to_string(),
            attempts,
            retry_at: clock::later(now, wait),
        });
    }

    /// A pass got as far as its steps.
    pub(super) fn passed(&mut self) {
        self.failed = 0;
    }

    /// A pass had nothing to do.
    pub(super) fn rested(&mut self) {
        self.streak = 0;
    }

    /// The rest after a pass with steps: none, unless there were too many in a row.
    pub(super) fn at_once(&mut self) -> Duration {
        self.streak = self.streak.saturating_add(1);
        if self.streak > MAX_STREAK {
            REST
        } else {
            Duration::ZERO
        }
    }

    /// The rest after a pass that failed.
    pub(super) fn after_failure(&mut self, random: u64) -> Duration {
        self.failed = self.failed.saturating_add(1);
        backoff::STEP.delay(self.failed, random)
    }
}

#[cfg(test)]
mod tests;
