//! All judgement: observed facts in, a plan out.
//!
//! `decide(object, observed, now) -> Plan` is pure and total for every kind: no clock, no
//! randomness, no I/O, no `Result`. The same input gives the same plan, byte for byte. This package
//! must not be able to reach the world; its dependencies see to that.
//!
//! * [`fact`]: what was observed, with unknown as a value of its own
//! * [`step`]: one idempotent effect as data
//! * [`registry`]: what the answers of a registry mean for the next try
//! * [`docker_host`], [`deployment_pipeline`]: the decisions, one module per kind

pub mod deployment_pipeline;
pub mod docker_host;
pub mod fact;
pub mod registry;
pub mod resources;
pub mod step;

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;

pub use fact::{Fact, StepFailure};
pub use step::{ApiStep, Step};

/// What to write, what to do and when to look again. `R` is the record of the kind.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan<R> {
    /// The next status, written before any step and not at all when it is equal.
    pub record: R,
    /// Effects on the API, in order, before those on hosts.
    pub api: Vec<ApiStep>,
    /// Effects on hosts: in order on each host, hosts in parallel.
    pub hosts: BTreeMap<String, Vec<Step>>,
    /// When to look again if nothing wakes the object before.
    pub wake: Option<Timestamp>,
    /// What a user must know.
    pub events: Vec<Event>,
}

impl<R> Plan<R> {
    /// A plan that only records.
    pub fn new(record: R) -> Self {
        Self {
            record,
            api: Vec::new(),
            hosts: BTreeMap::new(),
            wake: None,
            events: Vec::new(),
        }
    }

    /// True when there is nothing to do.
    pub fn is_converged(&self) -> bool {
        self.api.is_empty() && self.hosts.values().all(Vec::is_empty)
    }

    /// Adds a step on a host.
    pub fn step(&mut self, host: &str, step: Step) {
        self.hosts.entry(host.to_owned()).or_default().push(step);
    }

    /// Looks again at `at`, unless something earlier was asked for.
    pub fn wake_at(&mut self, at: Timestamp) {
        self.wake = Some(self.wake.map_or(at, |earlier| earlier.min(at)));
    }

    /// Takes out every step that failed and may not be tried again yet, with all that come after
    /// it on its host, and wakes when the first may be.
    pub fn hold_back(&mut self, failures: &[StepFailure], now: Timestamp) {
        let waiting = |place: &str, text: String| {
            failures
                .iter()
                .find(|f| f.place == place && f.step == text && f.retry_at > now)
                .map(|f| f.retry_at)
        };
        let mut wakes = Vec::new();
        let held = self.api.iter().position(|step| {
            waiting(API, step.to_string())
                .inspect(|at| wakes.push(*at))
                .is_some()
        });
        if let Some(first) = held {
            self.api.truncate(first);
            self.hosts.clear();
        }
        for (host, steps) in &mut self.hosts {
            let held = steps.iter().position(|step| {
                waiting(host, step.to_string())
                    .inspect(|at| wakes.push(*at))
                    .is_some()
            });
            if let Some(first) = held {
                steps.truncate(first);
            }
        }
        for at in wakes {
            self.wake_at(at);
        }
    }
}

/// The place of steps on the API in a [`StepFailure`]; no host can have this name.
pub const API: &str = "";

/// The rendering that a dry run shows and that tests compare: one line per step, host by host.
impl<R> fmt::Display for Plan<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for step in &self.api {
            writeln!(f, "{step}")?;
        }
        for (host, steps) in &self.hosts {
            for step in steps {
                writeln!(f, "{step} on {host}")?;
            }
        }
        for event in &self.events {
            writeln!(f, "event {event}")?;
        }
        Ok(())
    }
}

/// A Kubernetes Event to be published about the object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Normal or Warning.
    pub kind: EventKind,
    /// One CamelCase word.
    pub reason: &'static str,
    /// For people.
    pub message: String,
}

/// The type of an Event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// Something happened as it should.
    Normal,
    /// A person should look.
    Warning,
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            EventKind::Normal => "Normal",
            EventKind::Warning => "Warning",
        };
        write!(f, "{kind} {}: {}", self.reason, self.message)
    }
}
