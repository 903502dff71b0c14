//! The pipeline's decision: from the object, the facts and the time to a plan.
//!
//! Owns the order of one pass: finalizer, Release, rollout, steps, history, words. Must not know
//! how anything is read or done. Invariant: every pass that changes the record or makes a step
//! gets nearer to what is declared, and a pass with nothing to do changes nothing. What it decides
//! is data, such as `Step::CreateContainer`; the operator's `act` carries it out.

mod asked;
mod batch;
mod conditions;
mod container;
mod deletion;
mod drain;
mod history;
mod image;
mod instance;
mod intents;
mod members;
pub(crate) mod moment;
mod pass;
mod placement;
mod progress;
mod pull;
mod recover;
mod rollout;
mod routes;
mod stall;
mod steady;
mod steps;
mod target;
mod transition;
mod trial;
mod upkeep;
mod verbs;
mod waits;
mod words;

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use self::pass::Pass;
use self::target::Change;
use crate::{ApiStep, Plan};

use crds::release::{ConfigRef, ReleaseImage};
use crds::{DeploymentPipeline, DeploymentPipelineStatus, Reason, Release, ReleaseStatus};

use crate::StepFailure;
use crate::fact::HostFacts;

/// Everything that was read for one pass over a pipeline.
#[derive(Clone, Debug, PartialEq)]
pub struct Observed {
    /// Every host that grants the namespace or carries something of this pipeline, by name.
    pub hosts: BTreeMap<String, HostFacts>,
    /// Every Release of this pipeline.
    pub releases: Vec<Release>,
    /// What the spec asks for, resolved now.
    pub target: Target,
    /// Names of the snapshot Secrets of this pipeline that exist, with the Releases that own them.
    pub snapshots: BTreeMap<String, BTreeSet<String>>,
    /// Steps that failed and are not over.
    pub failures: Vec<StepFailure>,
}

/// What the spec asks for, as far as it can be resolved.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    /// The image on the hosts, or why there is none.
    pub image: Result<ReleaseImage, Unresolved>,
    /// The referenced ConfigMaps and Secrets, or which is missing.
    pub config: Result<Vec<ConfigRef>, Unresolved>,
    /// The revision's name, when both are resolved.
    pub revision: Option<String>,
}

/// Why something could not be resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unresolved {
    /// In one word.
    pub reason: Reason,
    /// For people, with what to do next.
    pub message: String,
    /// True: it is not known, because a host or the API could not be asked.
    pub unknown: bool,
}

/// What a pass over a pipeline writes: Releases first, which gates the steps, then the summary.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// The status of each Release that changes, by name.
    pub releases: BTreeMap<String, ReleaseStatus>,
    /// The summary for people.
    pub summary: DeploymentPipelineStatus,
}

/// What is to be recorded and done for a pipeline, and when to look again.
pub fn decide(pipeline: &DeploymentPipeline, observed: &Observed, now: Timestamp) -> Plan<Record> {
    let mut pass = Pass::open(pipeline, observed, now);
    if pipeline.metadata.deletion_timestamp.is_some() {
        return settled(deletion::decide(pass), now);
    }
    if !conditions::has_finalizer(&pass) {
        let mut plan = Plan::new(conditions::untouched(&pass));
        plan.api.push(ApiStep::AddFinalizer);
        return plan;
    }
    let change = target::change(&pass);
    let mut api = match &change {
        Change::New(spec) => target::create(&pass, (**spec).clone()),
        Change::None | Change::Pending(_) => pass
            .moving()
            .map(|number| target::snapshots_missing(&pass, number))
            .unwrap_or_default(),
    };
    // A Release and its snapshots come before anything else. While they are refused, what runs is
    // looked after.
    if let Some((message, at)) = target::held(&pass, &api) {
        api.clear();
        pass.trouble(Reason::StepFailing, message);
        pass.wake_at(at);
    } else if matches!(change, Change::New(_)) {
        let mut plan = Plan::new(conditions::untouched(&pass));
        plan.api = api;
        return plan;
    }
    progress::advance(&mut pass);
    let mut hosts = steps::act(&mut pass);
    let (finished, untags) = history::trim(&pass);
    api.extend(finished);
    for (host, step) in untags {
        hosts.entry(host).or_default().push(step);
    }
    let mut plan = Plan::new(conditions::record(&pass, &change));
    plan.api = api;
    plan.hosts = hosts;
    plan.wake = pass.wake;
    plan.events = std::mem::take(&mut pass.events);
    settled(plan, now)
}

/// A pass that moved the record without a step is followed by another at once, and one that
/// recorded nothing has nothing to tell.
fn settled(mut plan: Plan<Record>, now: Timestamp) -> Plan<Record> {
    if plan.record.releases.is_empty() {
        plan.events.clear();
    } else if plan.is_converged() {
        plan.wake_at(now);
    }
    plan
}
