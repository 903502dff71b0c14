//! The template: what one instance runs. A subset of Kubernetes' PodSpec, in its own shapes, with
//! no `spec` level.
//!
//! Fields that people paste from a Deployment and that cannot work here are declared and refused
//! by a rule that names the replacement, so that nothing is accepted and ignored.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::KubeSchema;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What one instance runs, and under what limits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.initContainers)").message("initContainers: not supported; do the work in the image's entrypoint"))]
#[x_kube(validation = Rule::new("!has(self.affinity)").message("affinity: not supported; instances are spread over the hosts that grant the namespace"))]
#[x_kube(validation = Rule::new("!has(self.serviceAccountName)").message("serviceAccountName: not supported; instances do not talk to the Kubernetes API. Mount a Secret instead"))]
#[x_kube(validation = Rule::new("self.containers.all(c, c.volumeMounts.all(m, self.volumes.exists(v, v.name == m.name)))").message("containers[].volumeMounts[].name: names no entry of volumes; declare the volume in template.volumes"))]
pub struct Template {
    /// Labels and annotations of the containers.
    #[serde(default)]
    pub metadata: TemplateMetadata,
    /// Exactly one container, named `main`.
    #[serde(default = "default_containers")]
    #[schemars(length(min = 1, max = 1), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub containers: Vec<Container>,
    /// What can be mounted. At most 32.
    #[serde(default)]
    #[schemars(length(max = 32), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub volumes: Vec<Volume>,
    /// Seconds between the stop signal and the kill. 0 to 86400.
    #[serde(default = "default_grace")]
    #[schemars(range(min = 0, max = 86400))]
    pub termination_grace_period_seconds: u32,
    /// Secrets of type kubernetes.io/dockerconfigjson with the credentials for the image's
    /// registry. At most 16; of several that name it the first is used. They are read whenever the
    /// registry is asked and are no part of the revision.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub image_pull_secrets: Vec<PullSecretRef>,
    /// How much of an instance's output the Engine keeps.
    #[serde(default)]
    pub logging: Logging,
    /// Not supported; declared so that the refusal can say what to use instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "refused_list")]
    pub init_containers: Option<Value>,
    /// Not supported; declared so that the refusal can say what to use instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "refused_object")]
    pub affinity: Option<Value>,
    /// Not supported; declared so that the refusal can say what to use instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub service_account_name: Option<String>,
}

fn default_containers() -> Vec<Container> {
    vec![Container::default()]
}

fn default_grace() -> u32 {
    30
}

impl Default for Template {
    fn default() -> Self {
        Self {
            metadata: TemplateMetadata::default(),
            containers: default_containers(),
            volumes: Vec::new(),
            termination_grace_period_seconds: default_grace(),
            image_pull_secrets: Vec::new(),
            logging: Logging::default(),
            init_containers: None,
            affinity: None,
            service_account_name: None,
        }
    }
}

impl Template {
    /// The one container. A template without any reads as one with nothing set.
    pub fn main(&self) -> Container {
        self.containers.first().cloned().unwrap_or_default()
    }

    /// The part that a release keeps and a revision hashes: all but the pull secrets.
    pub fn released(&self) -> Template {
        Template {
            image_pull_secrets: Vec::new(),
            ..self.clone()
        }
    }
}

/// A Secret of type kubernetes.io/dockerconfigjson, in the pipeline's namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PullSecretRef {
    /// Its name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// An object of any shape, visible to rules.
fn refused_object(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "object", "x-kubernetes-preserve-unknown-fields": true, "description": "Not supported; declared so that the refusal can say what to use instead."})
}

/// A list of objects of any shape, visible to rules.
fn refused_list(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "array", "maxItems": 64, "items": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}, "description": "Not supported; declared so that the refusal can say what to use instead."})
}

/// Labels and annotations of the containers. Annotations become labels as well: the Engine has no
/// others.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!self.labels.exists(k, k.startsWith('mooring.dev/')) && !self.annotations.exists(k, k.startsWith('mooring.dev/'))").message("template.metadata: keys below mooring.dev/ are Mooring's own; choose another prefix"))]
pub struct TemplateMetadata {
    /// Labels of the containers. At most 64.
    #[serde(default)]
    #[schemars(extend("maxProperties" = 64), inner(length(max = 4096)))]
    pub labels: BTreeMap<String, String>,
    /// More labels of the containers, for those who keep them apart. At most 64.
    #[serde(default)]
    #[schemars(extend("maxProperties" = 64), inner(length(max = 4096)))]
    pub annotations: BTreeMap<String, String>,
}

/// The container of an instance.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.image)").message("containers[].image: not supported here; the image stands in spec.source.image"))]
pub struct Container {
    /// `main`.
    #[serde(default = "default_container_name")]
    #[schemars(length(max = 20))]
    #[x_kube(validation = Rule::new("self == 'main'").message("containers[].name: the one container is called main"))]
    pub name: String,
    /// Replaces the image's ENTRYPOINT. Not run in a shell.
    #[serde(default)]
    #[schemars(length(max = 64), inner(length(max = 8192)))]
    pub command: Vec<String>,
    /// Replaces the image's CMD.
    #[serde(default)]
    #[schemars(length(max = 256), inner(length(max = 8192)))]
    pub args: Vec<String>,
    /// Replaces the image's working directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub working_dir: Option<String>,
    /// Environment variables. At most 256. Whoever may inspect containers on the host can read
    /// them, those from a Secret too: mount a Secret as a volume to keep it from view.
    #[serde(default)]
    #[schemars(length(max = 256), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub env: Vec<EnvVar>,
    /// Whole ConfigMaps and Secrets as environment variables. At most 32; `env` wins, then the
    /// later entry.
    #[serde(default)]
    #[schemars(length(max = 32))]
    pub env_from: Vec<EnvFrom>,
    /// Ports that the application listens on. For people and for named ports in probes.
    #[serde(default)]
    #[schemars(length(max = 32), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["containerPort", "protocol"]))]
    pub ports: Vec<ContainerPort>,
    /// Volumes and where they are mounted. At most 32.
    #[serde(default)]
    #[schemars(length(max = 32), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["mountPath"]))]
    pub volume_mounts: Vec<VolumeMount>,
    /// Limits and reservations.
    #[serde(default)]
    pub resources: Resources,
    /// Under which user and with which rights it runs.
    #[serde(default)]
    pub security_context: SecurityContext,
    /// When the instance may get traffic. Absent: the image's HEALTHCHECK, else a TCP connect to
    /// `traffic.port`, else running for `minReadySeconds`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub readiness_probe: Option<Probe>,
    /// How the container is stopped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lifecycle: Option<Lifecycle>,
    /// Not supported; declared so that the refusal can say what to use instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub image: Option<String>,
}

fn default_container_name() -> String {
    crate::MAIN_PROCESS.to_owned()
}

impl Default for Container {
    fn default() -> Self {
        Self {
            name: default_container_name(),
            command: Vec::new(),
            args: Vec::new(),
            working_dir: None,
            env: Vec::new(),
            env_from: Vec::new(),
            ports: Vec::new(),
            volume_mounts: Vec::new(),
            resources: Resources::default(),
            security_context: SecurityContext::default(),
            readiness_probe: None,
            lifecycle: None,
            image: None,
        }
    }
}

/// One environment variable.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!(has(self.value) && has(self.valueFrom))").message("env[]: value and valueFrom exclude each other; remove one"))]
pub struct EnvVar {
    /// The variable's name.
    #[schemars(length(min = 1, max = 256), regex(pattern = r"^[^=\x00-\x1f]+$"))]
    pub name: String,
    /// The value, as it is: `$(OTHER)` is not expanded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32768))]
    pub value: Option<String>,
    /// Where the value comes from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value_from: Option<EnvVarSource>,
}

/// Where the value of a variable comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.configMapKeyRef) != has(self.secretKeyRef)").message("valueFrom: name exactly one of configMapKeyRef and secretKeyRef"))]
pub struct EnvVarSource {
    /// A key of a ConfigMap in this namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_map_key_ref: Option<KeyRef>,
    /// A key of a Secret in this namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_key_ref: Option<KeyRef>,
}

/// One key of a ConfigMap or Secret.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct KeyRef {
    /// Name of the object.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// The key.
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
    /// True: a missing object or key leaves the variable unset instead of holding the release.
    #[serde(default)]
    pub optional: bool,
}

/// A whole ConfigMap or Secret as environment variables.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.configMapRef) != has(self.secretRef)").message("envFrom[]: name exactly one of configMapRef and secretRef"))]
pub struct EnvFrom {
    /// Put before each key.
    #[serde(default)]
    #[schemars(length(max = 64))]
    pub prefix: String,
    /// A ConfigMap in this namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_map_ref: Option<ObjectRef>,
    /// A Secret in this namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<ObjectRef>,
}

/// A ConfigMap or Secret by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ObjectRef {
    /// Name of the object.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// True: a missing object is like an empty one.
    #[serde(default)]
    pub optional: bool,
}

/// A port that the application listens on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ContainerPort {
    /// A name for the port, which probes can use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 15))]
    pub name: Option<String>,
    /// The port. 1 to 65535.
    #[schemars(range(min = 1, max = 65535))]
    pub container_port: u16,
    /// TCP or UDP.
    #[serde(default)]
    pub protocol: Protocol,
}

/// A transport protocol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Protocol {
    /// TCP.
    #[default]
    #[serde(rename = "TCP")]
    Tcp,
    /// UDP.
    #[serde(rename = "UDP")]
    Udp,
}

/// A volume and where it is mounted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct VolumeMount {
    /// Name of an entry of `volumes`.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// The absolute path in the container.
    #[schemars(length(min = 2, max = 1024))]
    #[x_kube(validation = Rule::new("self.startsWith('/') && !self.contains('..') && !self.contains(':')").message("volumeMounts[].mountPath: write an absolute path without '..' and ':'"))]
    pub mount_path: String,
    /// True: the container cannot write there. ConfigMaps and Secrets are mounted as their own
    /// files either way.
    #[serde(default)]
    pub read_only: bool,
}

/// Something that can be mounted: exactly one kind.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("(has(self.emptyDir) ? 1 : 0) + (has(self.configMap) ? 1 : 0) + (has(self.secret) ? 1 : 0) == 1").message("volumes[]: name exactly one of emptyDir, configMap and secret"))]
pub struct Volume {
    /// The name that `volumeMounts` uses.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// An empty directory that goes away with the instance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub empty_dir: Option<EmptyDir>,
    /// The keys of a ConfigMap as files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_map: Option<ConfigMapVolume>,
    /// The keys of a Secret as files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<SecretVolume>,
}

/// An empty directory that goes away with the instance.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EmptyDir {}

/// The keys of a ConfigMap as files.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConfigMapVolume {
    /// Name of the ConfigMap in this namespace.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Which keys, under which paths. Absent or empty: all, under their own names.
    #[serde(default)]
    #[schemars(length(max = 128))]
    pub items: Vec<KeyToPath>,
    /// File mode of the files, 0 to 511 (octal 0777). Absent: octal 0444.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 511))]
    pub default_mode: Option<u32>,
    /// True: a missing ConfigMap is like an empty one.
    #[serde(default)]
    pub optional: bool,
}

/// The keys of a Secret as files.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretVolume {
    /// Name of the Secret in this namespace.
    #[schemars(length(min = 1, max = 253))]
    pub secret_name: String,
    /// Which keys, under which paths. Absent or empty: all, under their own names.
    #[serde(default)]
    #[schemars(length(max = 128))]
    pub items: Vec<KeyToPath>,
    /// File mode of the files, 0 to 511 (octal 0777). Absent: octal 0400.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 511))]
    pub default_mode: Option<u32>,
    /// True: a missing Secret is like an empty one.
    #[serde(default)]
    pub optional: bool,
}

/// One key and the path of its file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct KeyToPath {
    /// The key.
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
    /// The file's path below the mount.
    #[schemars(length(min = 1, max = 512))]
    #[x_kube(validation = Rule::new("!self.startsWith('/') && !self.contains('..')").message("items[].path: write a relative path without '..'"))]
    pub path: String,
    /// File mode, 0 to 511 (octal 0777). Absent: `defaultMode`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 511))]
    pub mode: Option<u32>,
}

/// Limits and reservations.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Resources {
    /// What the instance cannot go beyond. Absent: no limit.
    #[serde(default)]
    pub limits: Amounts,
    /// What the instance is given first when the host is short: CPU weight, and the memory down
    /// to which it is pressed.
    #[serde(default)]
    pub requests: Amounts,
}

/// Amounts of CPU and memory.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Amounts {
    /// Cores, such as `500m` or `2`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "cpu_amount")]
    pub cpu: Option<IntOrString>,
    /// Bytes, such as `512Mi`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "memory_amount")]
    pub memory: Option<IntOrString>,
}

const QUANTITY_PATTERN: &str = r"^[0-9]{1,18}(\.[0-9]{1,9})?(n|u|m|k|M|G|T|Ki|Mi|Gi|Ti)?$";

fn cpu_amount(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"description": "Cores, such as `500m` or `2`.", "x-kubernetes-int-or-string": true, "maxLength": 32, "pattern": QUANTITY_PATTERN})
}

fn memory_amount(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"description": "Bytes, such as `512Mi`.", "x-kubernetes-int-or-string": true, "maxLength": 32, "pattern": QUANTITY_PATTERN})
}

/// Under which user and with which rights the container runs. Nothing here adds rights.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!(has(self.runAsNonRoot) && self.runAsNonRoot && has(self.runAsUser) && self.runAsUser == 0)").message("securityContext: runAsNonRoot forbids runAsUser 0; choose another user"))]
pub struct SecurityContext {
    /// Numeric user. Absent: the image's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 4294967294_u32))]
    pub run_as_user: Option<u32>,
    /// Numeric group. Absent: the image's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 4294967294_u32))]
    pub run_as_group: Option<u32>,
    /// True: an image whose user is root, or is named and not numeric, is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_as_non_root: Option<bool>,
    /// True: the container's root file system cannot be written.
    #[serde(default)]
    pub read_only_root_filesystem: bool,
    /// Capabilities taken away.
    #[serde(default)]
    pub capabilities: Capabilities,
}

/// Capabilities taken away. None can be added.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Capabilities {
    /// Names without `CAP_`, or `ALL`.
    #[serde(default)]
    #[schemars(
        length(max = 64),
        inner(length(max = 32), regex(pattern = "^[A-Z_]+$"))
    )]
    pub drop: Vec<String>,
}

/// When an instance may get traffic: exactly one kind of check, in Kubernetes' terms.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("(has(self.httpGet) ? 1 : 0) + (has(self.tcpSocket) ? 1 : 0) + (has(self.exec) ? 1 : 0) == 1").message("readinessProbe: name exactly one of httpGet, tcpSocket and exec"))]
pub struct Probe {
    /// An HTTP request; an answer from 200 to 399 passes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http_get: Option<HttpGet>,
    /// A TCP connection that can be opened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tcp_socket: Option<TcpSocket>,
    /// A command in the container that ends with 0. It costs the host about 50 ms of CPU, so it
    /// runs at most every 2 s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exec: Option<Exec>,
    /// Seconds after the start before the first check. 0 to 3600.
    #[serde(default)]
    #[schemars(range(min = 0, max = 3600))]
    pub initial_delay_seconds: u32,
    /// Seconds between checks once an instance was ready; until then they come faster. 1 to 3600.
    #[serde(default = "default_period")]
    #[schemars(range(min = 1, max = 3600))]
    pub period_seconds: u32,
    /// Seconds after which a check has failed. 1 to 300.
    #[serde(default = "default_one")]
    #[schemars(range(min = 1, max = 300))]
    pub timeout_seconds: u32,
    /// Successes in a row before the instance is ready. 1 to 20.
    #[serde(default = "default_one")]
    #[schemars(range(min = 1, max = 20))]
    pub success_threshold: u32,
    /// Failures in a row before the instance is not ready. 1 to 20.
    #[serde(default = "default_failures")]
    #[schemars(range(min = 1, max = 20))]
    pub failure_threshold: u32,
}

fn default_period() -> u32 {
    10
}

fn default_one() -> u32 {
    1
}

fn default_failures() -> u32 {
    3
}

impl Default for Probe {
    fn default() -> Self {
        Self {
            http_get: None,
            tcp_socket: None,
            exec: None,
            initial_delay_seconds: 0,
            period_seconds: default_period(),
            timeout_seconds: default_one(),
            success_threshold: default_one(),
            failure_threshold: default_failures(),
        }
    }
}

/// An HTTP request as a check.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct HttpGet {
    /// The path, with a query if need be.
    #[serde(default = "default_path")]
    #[schemars(length(max = 1024), regex(pattern = r"^/[\x21-\x7e]*$"))]
    pub path: String,
    /// A port number, or the name of one of the container's ports.
    #[schemars(schema_with = "port_reference")]
    pub port: IntOrString,
    /// Headers of the request. Without a Host header the first of `traffic.hosts` is sent, since
    /// frameworks refuse unknown hosts.
    #[serde(default)]
    #[schemars(length(max = 32))]
    pub http_headers: Vec<HttpHeader>,
}

fn default_path() -> String {
    "/".to_owned()
}

/// A header of a check's request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HttpHeader {
    /// The header's name.
    #[schemars(length(min = 1, max = 128), regex(pattern = "^[A-Za-z0-9-]+$"))]
    pub name: String,
    /// Its value.
    #[schemars(length(max = 1024), regex(pattern = r"^[\x20-\x7e]*$"))]
    pub value: String,
}

/// A TCP connection as a check.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TcpSocket {
    /// A port number, or the name of one of the container's ports.
    #[schemars(schema_with = "port_reference")]
    pub port: IntOrString,
}

fn port_reference(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"description": "A port number, or the name of one of the container's ports.", "x-kubernetes-int-or-string": true, "maxLength": 15, "minimum": 1, "maximum": 65535})
}

/// A command as a check.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Exec {
    /// The command and its arguments. Not run in a shell.
    #[schemars(length(min = 1, max = 64), inner(length(max = 8192)))]
    pub command: Vec<String>,
}

/// How the container is stopped.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.preStop)").message("lifecycle.preStop: not needed; an instance is stopped only after its proxy has drained it. Handle the stop signal instead"))]
pub struct Lifecycle {
    /// The signal that asks the application to end, such as `SIGQUIT`. Absent: the image's, else
    /// SIGTERM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16), regex(pattern = "^SIG[A-Z0-9+]+$"))]
    pub stop_signal: Option<String>,
    /// Not supported; declared so that the refusal can say what to use instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "refused_object")]
    pub pre_stop: Option<Value>,
}

/// How much of an instance's output the Engine keeps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Logging {
    /// Size at which a log file is rotated, such as `20Mi`.
    #[serde(default = "default_log_size")]
    #[schemars(length(max = 32), regex(pattern = r"^[0-9]{1,18}(k|M|G|Ki|Mi|Gi)?$"))]
    pub max_size: String,
    /// How many log files are kept. 1 to 100.
    #[serde(default = "default_log_files")]
    #[schemars(range(min = 1, max = 100))]
    pub max_files: u32,
}

fn default_log_size() -> String {
    "20Mi".to_owned()
}

fn default_log_files() -> u32 {
    3
}

impl Default for Logging {
    fn default() -> Self {
        Self {
            max_size: default_log_size(),
            max_files: default_log_files(),
        }
    }
}
