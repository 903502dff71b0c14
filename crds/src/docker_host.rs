//! `DockerHost`: an Engine, its proxy and network, and who may use it.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Condition;

/// A Docker Engine that Mooring manages: where it is, what its proxy and network look like, and
/// which namespaces may run on it.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "mooring.dev",
    version = "v1alpha1",
    kind = "DockerHost",
    plural = "dockerhosts",
    shortname = "dh",
    category = "mooring",
    status = "DockerHostStatus",
    derive = "PartialEq",
    doc = "A Docker Engine that Mooring manages: where it is, what its proxy and network look like, and which namespaces may run on it.",
    printcolumn(name = "READY", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "VERSION", type_ = "string", json_path = ".status.engineVersion"),
    printcolumn(name = "INSTANCES", type_ = "integer", json_path = ".status.instances"),
    printcolumn(name = "PROXY", type_ = "string", json_path = ".status.proxy.version"),
    printcolumn(name = "REASON", type_ = "string", priority = 1, json_path = ".status.conditions[?(@.type==\"Ready\")].reason"),
    printcolumn(name = "DOING", type_ = "string", priority = 1, json_path = ".status.conditions[?(@.type==\"Reconciling\")].reason"),
    printcolumn(name = "AGE", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = Rule::new("size(self.metadata.name) <= 63").message("metadata.name: a host's name is at most 63 characters; choose a shorter one")
)]
#[serde(rename_all = "camelCase")]
pub struct DockerHostSpec {
    /// Where the Engine listens: `unix:///path/to/docker.sock`.
    #[serde(default = "default_endpoint")]
    #[schemars(length(max = 256))]
    #[x_kube(validation = Rule::new("self.startsWith('unix:///')").message("spec.endpoint: write unix:///path/to/docker.sock; other transports are not supported"))]
    pub endpoint: String,
    /// True: the host takes no new instances. Those that are there stay and keep being updated in
    /// place.
    #[serde(default)]
    pub cordoned: bool,
    /// The proxy that carries this host's traffic.
    #[serde(default)]
    pub proxy: ProxySpec,
    /// The addresses that instances get on this host.
    #[serde(default)]
    pub network: NetworkSpec,
    /// The namespaces whose pipelines may run here, by name; `'*'` is all. None by default.
    #[serde(default)]
    #[schemars(length(max = 256), inner(length(max = 63)), extend("x-kubernetes-list-type" = "set"))]
    pub allowed_namespaces: Vec<String>,
    /// What was found to be nobody's until then may be removed, however many of the host's instances are nobody's. Set it as
    /// the message says when `Reconciling` has the reason `CleanUpHeld` and what it lists is not missed. A time to come
    /// counts when it has come.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clean_up_at: Option<Time>,
}

fn default_endpoint() -> String {
    "unix:///var/run/docker.sock".to_owned()
}

/// The proxy's ports on the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProxySpec {
    /// The port on which the proxy listens for HTTP, on all addresses of the host. 1 to 65535.
    #[serde(default = "default_http_port")]
    #[schemars(range(min = 1, max = 65535))]
    pub http_port: u16,
}

fn default_http_port() -> u16 {
    80
}

impl Default for ProxySpec {
    fn default() -> Self {
        Self {
            http_port: default_http_port(),
        }
    }
}

/// The range out of which each namespace gets a bridge of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct NetworkSpec {
    /// An IPv4 range that nothing else on the host uses. Each namespace takes a /22 of it (766
    /// instances), so a /16 holds 64 namespaces. Between /8 and /22.
    #[serde(default = "default_cidr")]
    #[schemars(length(max = 18))]
    #[x_kube(validation = Rule::new("isCIDR(self) && cidr(self).ip().family() == 4 && cidr(self).prefixLength() >= 8 && cidr(self).prefixLength() <= 22").message("spec.network.cidr: write an IPv4 network between /8 and /22, such as 10.210.0.0/16"))]
    #[x_kube(validation = Rule::new("self == oldSelf").message("spec.network.cidr is immutable: instances keep their addresses; make another DockerHost"))]
    pub cidr: String,
}

fn default_cidr() -> String {
    "10.210.0.0/16".to_owned()
}

impl Default for NetworkSpec {
    fn default() -> Self {
        Self {
            cidr: default_cidr(),
        }
    }
}

/// What was observed of the host.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DockerHostStatus {
    /// The generation of the spec that this status was computed from.
    #[serde(default)]
    pub observed_generation: i64,
    /// `Ready`: instances can run and be reached. `EngineRestartSafe`: they survive a restart of
    /// the Engine.
    #[serde(default)]
    #[schemars(length(max = 8), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// The host's identity, 32 hex digits, made when the host was claimed and kept on it.
    #[serde(rename = "hostID", default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub host_id: Option<String>,
    /// The Engine's version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub engine_version: Option<String>,
    /// The version of the Engine's API that Mooring speaks with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    pub api_version: Option<String>,
    /// The operating system, as the Engine names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub os: Option<String>,
    /// The architecture, as the Engine names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub architecture: Option<String>,
    /// How many instances of pipelines exist on the host, running or not.
    #[serde(default)]
    pub instances: i32,
    /// The proxy as it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy: Option<ProxyStatus>,
    /// The bridges, one per namespace.
    #[serde(default)]
    #[schemars(length(max = 16384), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["namespace"]))]
    pub networks: Vec<NetworkStatus>,
    /// What of Mooring's is nobody's any more. It is removed when it has been so for five minutes, unless more than a fifth
    /// of the host's instances are nobody's: see `spec.cleanUpAt`. Instances are never among it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256))]
    pub garbage: Vec<GarbageStatus>,
}

/// Something of Mooring's whose owner does not exist.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GarbageStatus {
    /// What it is.
    pub kind: GarbageKind,
    /// Its name: `namespace/pipeline/stage` of a section, else the name on the Engine.
    #[schemars(length(max = 256))]
    pub name: String,
    /// Since when it is nobody's.
    pub since: Time,
}

/// The kinds of things that are cleaned up when their owner is gone.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
pub enum GarbageKind {
    /// A pipeline's part of the proxy's route table.
    Section,
    /// A namespace's bridge.
    Network,
    /// A tag by which the image of a release was kept.
    Image,
}

/// The proxy as it runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProxyStatus {
    /// The version that the running proxy reports.
    #[schemars(length(max = 64))]
    pub version: String,
    /// Where it listens, such as `0.0.0.0:80`; empty while it cannot.
    #[serde(default)]
    #[schemars(length(max = 64))]
    pub address: String,
}

/// The bridge of one namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NetworkStatus {
    /// The namespace.
    #[schemars(length(max = 63))]
    pub namespace: String,
    /// The Engine's ID of the network.
    #[schemars(length(max = 64))]
    pub id: String,
    /// Its subnet, a /22.
    #[schemars(length(max = 18))]
    pub subnet: String,
}
