//! `DeploymentPipeline`: what runs, how traffic reaches it and how it is updated.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::{CustomResource, KubeSchema};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::Condition;
use crate::template::Template;

/// What runs, how traffic reaches it and how it is updated. `spec.source.image` alone is complete.
/// `mooring logs NAME` shows what the instances write.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "mooring.dev",
    version = "v1alpha1",
    kind = "DeploymentPipeline",
    plural = "deploymentpipelines",
    shortname = "dp",
    category = "mooring",
    namespaced,
    status = "DeploymentPipelineStatus",
    derive = "PartialEq",
    doc = "What runs, how traffic reaches it and how it is updated. `spec.source.image` alone is complete. There are no Pods: `mooring logs NAME` shows what the instances write.",
    scale(spec_replicas_path = ".spec.replicas", status_replicas_path = ".status.replicas", label_selector_path = ".status.selector"),
    printcolumn(name = "READY", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "STATUS", type_ = "string", json_path = ".status.summary"),
    printcolumn(name = "RELEASE", type_ = "string", json_path = ".status.currentRelease"),
    printcolumn(name = "IMAGE", type_ = "string", json_path = ".spec.source.image"),
    printcolumn(name = "REPLICAS", type_ = "string", json_path = ".status.ready"),
    printcolumn(name = "AGE", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = Rule::new("size(self.metadata.name) <= 40 && self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')").message("metadata.name: a pipeline's name is part of container names; use a DNS label of at most 40 characters that begins with a letter")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.strategy.minReadySeconds < self.strategy.healthyDeadlineSeconds && self.strategy.healthyDeadlineSeconds < self.strategy.progressDeadlineSeconds").message("spec.strategy: minReadySeconds < healthyDeadlineSeconds < progressDeadlineSeconds must hold; raise the later or lower the earlier"))]
pub struct DeploymentPipelineSpec {
    /// How many instances run. 0 to 500.
    #[serde(default = "default_replicas")]
    #[schemars(range(min = 0, max = 500))]
    pub replicas: u32,
    /// What is released.
    pub source: Source,
    /// What one instance runs.
    #[serde(default)]
    pub template: Template,
    /// How traffic reaches the instances. Absent: a worker that serves none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traffic: Option<Traffic>,
    /// How a new release comes out.
    #[serde(default)]
    pub strategy: Strategy,
    /// What happens to the containers when the pipeline is deleted.
    #[serde(default)]
    pub deletion_policy: DeletionPolicy,
    /// How many finished Releases are kept beside the current and the stable one. 0 to 100.
    #[serde(default = "default_history")]
    #[schemars(range(min = 0, max = 100))]
    pub revision_history_limit: u32,
    /// True: a rollout stays where it is and no new release begins, until it is false again. What
    /// runs is looked after, and the replicas follow. A rollback is not held up.
    #[serde(default)]
    pub paused: bool,
    /// Goes back to what an earlier release brought out, as a new release. As long as it is set,
    /// nothing else comes out: correct the spec, then clear it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollback_to: Option<RollbackTo>,
    /// Each later time than before restarts every instance once, at once, as a release with its own
    /// bake and rollback. It is a mark, not a schedule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restart_at: Option<Time>,
    /// Revisions that may never come out again; one that is on its way is undone. At most 100.
    #[serde(default)]
    #[schemars(length(max = 100), inner(length(max = 10)), extend("x-kubernetes-list-type" = "set"))]
    #[x_kube(validation = Rule::new("self.all(r, r.matches('^[0-9a-f]{10}$'))").message("spec.rejectedRevisions[]: write the ten hex digits of a revision, as kubectl get releases shows them"))]
    pub rejected_revisions: Vec<String>,
}

/// What to go back to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RollbackTo {
    /// The name of a Release of this pipeline, such as `shop-3`.
    #[schemars(length(min = 1, max = 253))]
    pub release: String,
}

fn default_replicas() -> u32 {
    1
}

fn default_history() -> u32 {
    10
}

/// What is released.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Source {
    /// The image's reference, such as `shop:1.0`. It is resolved once per release; a tag that
    /// moves later changes nothing. It is used as it is on the hosts, or pulled by the digest that
    /// its registry confirmed: see `imagePullPolicy`.
    #[schemars(length(min = 1, max = 512))]
    #[x_kube(validation = Rule::new("self.matches('^[A-Za-z0-9][A-Za-z0-9._:/@-]*$')").message("spec.source.image: not an image reference; write repository:tag"))]
    pub image: String,
    /// Where the image comes from. Absent: Always for the tag `latest` or none, else IfNotPresent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_pull_policy: Option<ImagePullPolicy>,
}

impl Source {
    /// The policy that is written, or the one that the tag gives.
    pub fn pull_policy(&self) -> ImagePullPolicy {
        let last = self.image.rsplit('/').next().unwrap_or(&self.image);
        let moves = !last.contains('@') && (!last.contains(':') || last.ends_with(":latest"));
        self.image_pull_policy.unwrap_or(if moves {
            ImagePullPolicy::Always
        } else {
            ImagePullPolicy::IfNotPresent
        })
    }
}

/// Where the image comes from. Absent: Always for the tag `latest` or none, else IfNotPresent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ImagePullPolicy {
    /// From the registry at each release, never from what a host has under the same name.
    Always,
    /// From the hosts when all of them have it and agree, else from the registry.
    IfNotPresent,
    /// From the hosts alone.
    Never,
}

/// How traffic reaches the instances.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.default || size(self.hosts) > 0").message("spec.traffic: say which requests are meant: hosts, or default: true for all that nobody else declared"))]
pub struct Traffic {
    /// The port on which each instance listens. 1 to 65535.
    #[schemars(range(min = 1, max = 65535))]
    pub port: u16,
    /// What is spoken on it.
    #[serde(default)]
    pub protocol: TrafficProtocol,
    /// Host names of the requests; `*.example.com` matches one label. At most 64.
    #[serde(default)]
    #[schemars(length(max = 64), inner(length(max = 253)), extend("x-kubernetes-list-type" = "set"))]
    #[x_kube(validation = Rule::new("self.all(h, h.matches('^([*][.])?[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$'))").message("spec.traffic.hosts[]: write a lower-case host name without a port, such as shop.example.com or *.example.com"))]
    pub hosts: Vec<String>,
    /// True: also serve requests for host names that nobody declared. One pipeline per host.
    #[serde(default)]
    pub default: bool,
    /// Which paths are meant; the longest prefix wins. At most 32.
    #[serde(default = "default_paths")]
    #[schemars(length(min = 1, max = 32), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["prefix"]))]
    pub paths: Vec<PathRule>,
    /// How long an instance that leaves may finish what it has begun.
    #[serde(default)]
    pub drain: Drain,
    /// Seconds to the first byte of an answer; then the client gets 504. 1 to 3600.
    #[serde(default = "default_response_timeout")]
    #[schemars(range(min = 1, max = 3600))]
    pub response_timeout_seconds: u32,
}

fn default_paths() -> Vec<PathRule> {
    vec![PathRule::default()]
}

fn default_response_timeout() -> u32 {
    60
}

/// What is spoken on the traffic port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TrafficProtocol {
    /// HTTP/1.1, WebSocket included.
    #[default]
    #[serde(rename = "HTTP")]
    Http,
}

/// Requests whose path begins with a prefix.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct PathRule {
    /// Begins with `/` and matches whole segments: `/api` matches `/api` and `/api/x`.
    #[serde(default = "default_prefix")]
    #[schemars(length(min = 1, max = 512))]
    #[x_kube(validation = Rule::new("self.matches('^/[A-Za-z0-9._~!$&()*+,;=:@%/-]*$')").message("spec.traffic.paths[].prefix: write a path that begins with /, without query"))]
    pub prefix: String,
    /// True: the instance sees the path without the prefix.
    #[serde(default)]
    pub strip: bool,
}

fn default_prefix() -> String {
    "/".to_owned()
}

impl Default for PathRule {
    fn default() -> Self {
        Self {
            prefix: default_prefix(),
            strip: false,
        }
    }
}

/// How long an instance that leaves may finish what it has begun.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Drain {
    /// Seconds for requests. 0 to 3600.
    #[serde(default = "default_request_seconds")]
    #[schemars(range(min = 0, max = 3600))]
    pub request_seconds: u32,
    /// Seconds for WebSockets and other long streams. 0 to 86400.
    #[serde(default = "default_stream_seconds")]
    #[schemars(range(min = 0, max = 86400))]
    pub stream_seconds: u32,
}

fn default_request_seconds() -> u32 {
    30
}

fn default_stream_seconds() -> u32 {
    300
}

impl Default for Drain {
    fn default() -> Self {
        Self {
            request_seconds: default_request_seconds(),
            stream_seconds: default_stream_seconds(),
        }
    }
}

/// How a new release comes out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Strategy {
    /// RollingUpdate: instances are replaced batch by batch.
    #[serde(rename = "type", default)]
    pub type_: StrategyType,
    /// The size of a batch.
    #[serde(default)]
    pub rolling_update: RollingUpdate,
    /// Seconds for which an instance must be ready without a break before it counts; the clock
    /// starts again on a flap. 0 to 3600.
    #[serde(default = "default_min_ready")]
    #[schemars(range(min = 0, max = 3600))]
    pub min_ready_seconds: u32,
    /// Seconds from its start within which an instance must be ready. 1 to 86400.
    #[serde(default = "default_healthy_deadline")]
    #[schemars(range(min = 1, max = 86400))]
    pub healthy_deadline_seconds: u32,
    /// Seconds since the last progress after which a rollout has failed. 2 to 172800.
    #[serde(default = "default_progress_deadline")]
    #[schemars(range(min = 2, max = 172800))]
    pub progress_deadline_seconds: u32,
    /// Seconds for which the release is watched after it serves everything; a failure here still
    /// rolls back. 0 to 86400.
    #[serde(default = "default_bake")]
    #[schemars(range(min = 0, max = 86400))]
    pub bake_seconds: u32,
}

fn default_min_ready() -> u32 {
    3
}

fn default_healthy_deadline() -> u32 {
    300
}

fn default_progress_deadline() -> u32 {
    600
}

fn default_bake() -> u32 {
    30
}

impl Default for Strategy {
    fn default() -> Self {
        Self {
            type_: StrategyType::default(),
            rolling_update: RollingUpdate::default(),
            min_ready_seconds: default_min_ready(),
            healthy_deadline_seconds: default_healthy_deadline(),
            progress_deadline_seconds: default_progress_deadline(),
            bake_seconds: default_bake(),
        }
    }
}

/// The kind of strategy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum StrategyType {
    /// Instances are replaced batch by batch.
    #[default]
    RollingUpdate,
}

/// The size of a batch, in instances or in percent of `replicas`; not both 0.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!((type(self.maxSurge) == int ? self.maxSurge == 0 : self.maxSurge == '0%') && (type(self.maxUnavailable) == int ? self.maxUnavailable == 0 : self.maxUnavailable == '0%'))").message("spec.strategy.rollingUpdate: maxSurge and maxUnavailable cannot both be 0; raise one of them"))]
pub struct RollingUpdate {
    /// How many instances may exist beyond `replicas`, a number or a percentage (rounded up).
    #[serde(default = "default_surge")]
    #[schemars(schema_with = "int_or_percent")]
    pub max_surge: IntOrString,
    /// How many instances may be missing, a number or a percentage (rounded down).
    #[serde(default = "default_unavailable")]
    #[schemars(schema_with = "int_or_percent")]
    pub max_unavailable: IntOrString,
}

fn default_surge() -> IntOrString {
    IntOrString::Int(1)
}

fn default_unavailable() -> IntOrString {
    IntOrString::Int(0)
}

impl Default for RollingUpdate {
    fn default() -> Self {
        Self {
            max_surge: default_surge(),
            max_unavailable: default_unavailable(),
        }
    }
}

fn int_or_percent(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "description": "A number of instances, or a percentage of `replicas` such as \"25%\".",
        "x-kubernetes-int-or-string": true,
        "minimum": 0,
        "maximum": 500,
        "maxLength": 4,
        "pattern": "^(0|[1-9][0-9]?|100)%$",
    })
}

/// What happens to the containers when the pipeline is deleted. Volumes are never removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DeletionPolicy {
    /// Routes go first, then the instances are drained, stopped and removed.
    #[default]
    Delete,
    /// Only the record goes: containers and routes stay as they are.
    Orphan,
}

/// What is observed of the pipeline: a summary for people. The record of a rollout is in its
/// Release.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeploymentPipelineStatus {
    /// The generation of the spec that this status was computed from.
    #[serde(default)]
    pub observed_generation: i64,
    /// `Ready`: the current generation is fully out and its bake is over. `Reconciling`: work goes
    /// on. `Stalled`: nothing moves without a change. `Available`: the promised minimum serves.
    #[serde(default)]
    #[schemars(length(max = 8), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// How many instances exist and are meant to run.
    #[serde(default)]
    pub replicas: i32,
    /// How many of them are ready.
    #[serde(default)]
    pub ready_replicas: i32,
    /// The label selector of this pipeline's Releases, as the scale subresource shows it.
    #[serde(default)]
    #[schemars(length(max = 256))]
    pub selector: String,
    /// The newest Release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub current_release: Option<String>,
    /// The last verified Release: where a rollback goes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub stable_release: Option<String>,
    /// The highest number that a Release of this pipeline ever had.
    #[serde(default)]
    pub last_release_number: u64,
    /// Ready and wanted instances, such as `3/3`.
    #[serde(default)]
    #[schemars(length(max = 16))]
    pub ready: String,
    /// What it is doing, in a few words.
    #[serde(default)]
    #[schemars(length(max = 256))]
    pub summary: String,
    /// One entry per stage.
    #[serde(default)]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub stages: Vec<StageSummary>,
}

/// One stage, for people.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StageSummary {
    /// The stage's name.
    #[schemars(length(max = 20))]
    pub name: String,
    /// The state of its rollout, or its outcome.
    #[serde(default)]
    #[schemars(length(max = 32))]
    pub state: String,
    /// The Release that it runs or goes to.
    #[serde(default)]
    #[schemars(length(max = 253))]
    pub release: String,
    /// Ready instances.
    #[serde(default)]
    pub ready: i32,
    /// Wanted instances.
    #[serde(default)]
    pub desired: i32,
    /// What it waits for or why it failed.
    #[serde(default)]
    #[schemars(length(max = 4096))]
    pub message: String,
}

/// Labels that select the objects of a pipeline.
pub fn selector(pipeline: &str) -> BTreeMap<String, String> {
    BTreeMap::from([(
        crate::labels::OBJECT_PIPELINE.to_owned(),
        pipeline.to_owned(),
    )])
}
