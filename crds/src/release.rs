//! `Release`: one attempt to bring one revision out. Made by the controller; its status is the one
//! record of a rollout.

use std::net::Ipv4Addr;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::template::Template;
use crate::{Condition, Reason};

/// One attempt to bring one revision of a pipeline out. Mooring makes and deletes these.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "mooring.dev",
    version = "v1alpha1",
    kind = "Release",
    plural = "releases",
    shortname = "rel",
    category = "mooring",
    namespaced,
    status = "ReleaseStatus",
    derive = "PartialEq",
    doc = "One attempt to bring one revision of a pipeline out. Mooring makes and deletes these; its status is the record of the rollout.",
    selectable = ".spec.pipeline",
    printcolumn(name = "PIPELINE", type_ = "string", json_path = ".spec.pipeline"),
    printcolumn(name = "STATE", type_ = "string", json_path = ".status.state"),
    printcolumn(name = "REVISION", type_ = "string", json_path = ".spec.revision"),
    printcolumn(name = "IMAGE", type_ = "string", json_path = ".spec.image.reference"),
    printcolumn(name = "BY", type_ = "string", json_path = ".spec.cause.by"),
    printcolumn(
        name = "AGE",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    )
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.pipeline == oldSelf.pipeline && self.number == oldSelf.number && self.revision == oldSelf.revision && self.image == oldSelf.image && self.template == oldSelf.template && self.config == oldSelf.config && self.cause == oldSelf.cause && has(self.restartAt) == has(oldSelf.restartAt) && (!has(self.restartAt) || self.restartAt == oldSelf.restartAt)").message("spec: a Release is immutable but for abort and retryAt; change the DeploymentPipeline, which makes another"))]
pub struct ReleaseSpec {
    /// The pipeline, in the same namespace.
    #[schemars(length(min = 1, max = 40))]
    pub pipeline: String,
    /// Which attempt of the pipeline this is, from 1.
    #[schemars(range(min = 1))]
    pub number: u64,
    /// The name of what runs: ten hex digits of an HMAC over image, template and configuration.
    #[schemars(length(max = 10))]
    pub revision: String,
    /// The image, as it was resolved once.
    pub image: ReleaseImage,
    /// The template as it was.
    #[serde(default)]
    pub template: Template,
    /// The ConfigMaps and Secrets as they were, each kept in a Secret of its own.
    #[serde(default)]
    #[schemars(length(max = 128))]
    pub config: Vec<ConfigRef>,
    /// Who or what asked for it.
    #[serde(default)]
    pub cause: Cause,
    /// The pipeline's `restartAt` when this was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restart_at: Option<Time>,
    /// A person ends the rollout in these stages: traffic goes back to the last verified release.
    /// Without one, what serves goes on serving. There is one stage, `default`.
    #[serde(default)]
    #[schemars(length(max = 16), inner(length(max = 20)), extend("x-kubernetes-list-type" = "set"))]
    #[x_kube(validation = Rule::new("self.all(s, s == 'default')").message("spec.abort[]: there is no such stage; write default"))]
    pub abort: Vec<String>,
    /// Each later time than before tries the rollout once more, if it is the pipeline's newest
    /// release and was rolled back, aborted or failed; of one under way the deadline begins anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_at: Option<Time>,
}

impl ReleaseSpec {
    /// True when a person has ended the rollout in a stage.
    pub fn is_aborted(&self, stage: &str) -> bool {
        self.abort.iter().any(|aborted| aborted == stage)
    }
}

/// An image as it was resolved once.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReleaseImage {
    /// What the pipeline said.
    #[schemars(length(max = 512))]
    pub reference: String,
    /// For an image that exists only on the hosts: a hash of its content, 64 hex digits, which is
    /// the same on every Engine.
    #[serde(default)]
    #[schemars(length(max = 64))]
    pub content: String,
    /// For an image that exists only on the hosts: its ID on each of them.
    #[serde(default)]
    #[schemars(length(max = 1024), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["host"]))]
    pub hosts: Vec<HostImage>,
    /// For an image that is pulled: where it is pulled from, without tag.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 512))]
    pub repository: String,
    /// For an image that is pulled: the digest that its registry confirmed when it was resolved.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 160))]
    pub digest: String,
}

impl ReleaseImage {
    /// `repository@digest` of an image that is pulled; nothing for one that exists only on the hosts.
    pub fn pulled(&self) -> Option<String> {
        (!self.digest.is_empty()).then(|| format!("{}@{}", self.repository, self.digest))
    }
}

/// The ID of an image on one host. IDs differ between Engines.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HostImage {
    /// The DockerHost.
    #[schemars(length(max = 63))]
    pub host: String,
    /// The Engine's ID of the image.
    #[schemars(length(max = 80))]
    pub id: String,
}

/// One referenced ConfigMap or Secret, as it was.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConfigRef {
    /// ConfigMap or Secret.
    pub kind: ConfigKind,
    /// Its name.
    #[schemars(length(max = 253))]
    pub name: String,
    /// An HMAC over kind, name and bytes, 64 hex digits.
    #[schemars(length(max = 64))]
    pub hmac: String,
    /// The Secret that keeps the bytes; empty for an optional reference to nothing.
    #[serde(default)]
    #[schemars(length(max = 253))]
    pub secret: String,
}

/// The kind of a configuration object.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
pub enum ConfigKind {
    /// A ConfigMap.
    ConfigMap,
    /// A Secret.
    Secret,
}

/// Who or what asked for a Release.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Cause {
    /// What changed.
    #[serde(default)]
    pub reason: CauseReason,
    /// The field manager that last wrote the pipeline's spec.
    #[serde(default)]
    #[schemars(length(max = 128))]
    pub by: String,
    /// The Release that this one undoes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub rollback_of: Option<String>,
}

/// What made a Release necessary.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum CauseReason {
    /// The pipeline is new.
    #[default]
    Created,
    /// The image changed.
    ImageChanged,
    /// The template changed.
    TemplateChanged,
    /// A referenced ConfigMap or Secret changed.
    ConfigChanged,
    /// `restartAt` became later.
    Restart,
    /// `rollbackTo` names an earlier release.
    Rollback,
}

/// The record of the rollout.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReleaseStatus {
    /// `Reconciling` while it moves; `Ready` when it succeeded; `Stalled` when it was rolled back,
    /// aborted or failed; none of them when it was superseded.
    #[serde(default)]
    #[schemars(length(max = 8), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// One entry per stage.
    #[serde(default)]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub stages: Vec<StageStatus>,
    /// What it is doing, or how it ended.
    #[serde(default)]
    #[schemars(length(max = 64))]
    pub state: String,
}

/// The state of a stage's rollout.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    JsonSchema,
)]
pub enum RolloutState {
    /// Image, configuration and placement are being found.
    #[default]
    Resolving,
    /// Every host is being made ready: image, network, names.
    Preparing,
    /// A batch is created and started at weight 0.
    Starting,
    /// The batch must be ready for minReadySeconds without a break.
    Warming,
    /// The batch gets traffic.
    Shifting,
    /// As many old instances lose their traffic, finish and are stopped.
    Draining,
    /// Everything is on the new revision, which is watched.
    Baking,
    /// The release is verified; what it replaced is cleaned up.
    Finalizing,
    /// Traffic goes back to the last verified release.
    RollingBack,
    /// A person holds it; or the rollback itself could not be finished, and the best serving set is
    /// kept.
    Paused,
}

impl RolloutState {
    /// The word that people see.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Resolving => "Resolving",
            Self::Preparing => "Preparing",
            Self::Starting => "Starting",
            Self::Warming => "Warming",
            Self::Shifting => "Shifting",
            Self::Draining => "Draining",
            Self::Baking => "Baking",
            Self::Finalizing => "Finalizing",
            Self::RollingBack => "RollingBack",
            Self::Paused => "Paused",
        }
    }
}

/// How a rollout ended.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
pub enum Outcome {
    /// Out, baked and verified.
    Succeeded,
    /// Undone: the last verified release serves.
    RolledBack,
    /// Ended by a person.
    Aborted,
    /// A newer release took over.
    Superseded,
    /// Ended before anything was touched, or with nothing to return to.
    Failed,
}

impl Outcome {
    /// The word that people see.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Succeeded => "Succeeded",
            Self::RolledBack => "RolledBack",
            Self::Aborted => "Aborted",
            Self::Superseded => "Superseded",
            Self::Failed => "Failed",
        }
    }
}

/// The record of one stage's rollout.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StageStatus {
    /// The stage's name.
    #[schemars(length(max = 20))]
    pub name: String,
    /// Where the rollout stands; with an outcome, where it ended.
    #[serde(default)]
    pub state: RolloutState,
    /// Since when it is in this state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Time>,
    /// The last progress that counts for the deadline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress_at: Option<Time>,
    /// Seconds since the last progress in which a required fact was unknown; the deadline does not
    /// count them.
    #[serde(default)]
    pub unknown_seconds: u32,
    /// Since when a required fact is unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unknown_since: Option<Time>,
    /// When the rollout began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Time>,
    /// When the release was verified; only such a one can be rolled back to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verified_at: Option<Time>,
    /// How it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
    /// The last `retryAt` that was followed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retried_at: Option<Time>,
    /// Why it waits or failed, in one word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", length(max = 64))]
    pub reason: Option<Reason>,
    /// The same for people, with the last log lines of a failed instance.
    #[serde(default)]
    #[schemars(length(max = 4096))]
    pub message: String,
    /// How many instances failed.
    #[serde(default)]
    pub failures: u32,
    /// Every instance that exists or is about to.
    #[serde(default)]
    #[schemars(length(max = 1100), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub instances: Vec<InstanceStatus>,
}

/// One instance: recorded before it is created, so that it can always be found again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct InstanceStatus {
    /// The DockerHost.
    #[schemars(length(max = 63))]
    pub host: String,
    /// The container's name.
    #[schemars(length(max = 253))]
    pub name: String,
    /// The container's ID; empty until it was seen.
    #[serde(default)]
    #[schemars(length(max = 64))]
    pub id: String,
    /// The slot.
    pub slot: u32,
    /// The attempt.
    pub attempt: u32,
    /// Its fixed address on the namespace's bridge.
    #[schemars(with = "String", length(max = 15))]
    pub address: Ipv4Addr,
    /// What it is in.
    #[serde(default)]
    pub state: InstanceState,
    /// True: it passed its readiness check at the last look.
    #[serde(default)]
    pub ready: bool,
    /// How often it was started again after it had exited.
    #[serde(default)]
    pub restarts: u32,
    /// Since when it is in this state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Time>,
}

/// What an instance is in.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    JsonSchema,
)]
pub enum InstanceState {
    /// It is about to be created or started.
    #[default]
    Starting,
    /// It runs and is checked; no traffic yet.
    Warming,
    /// It was ready for minReadySeconds and is in the route table; a worker: it counts.
    Serving,
    /// It gets no new requests and finishes what it has.
    Draining,
    /// It is stopped and kept, to be started again by a rollback.
    Stopped,
    /// It failed and is kept for inspection.
    Failed,
    /// It exited and is started again after a pause.
    BackOff,
    /// It is being removed.
    Removing,
}
