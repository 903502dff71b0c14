//! The pipeline's decision: from the object, the facts and the time to a plan.

use std::collections::{BTreeMap, BTreeSet};

use crds::release::{ConfigRef, ReleaseImage};
use crds::{DeploymentPipelineStatus, Reason, Release, ReleaseStatus};

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
    /// The field manager that last wrote the spec, for the record of who asked.
    pub by: String,
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
