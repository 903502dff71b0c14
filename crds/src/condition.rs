//! Conditions: their types and reasons, each a closed enum, and the one way to merge them.
//!
//! kubectl, kstatus and Flux judge health by these words, so they exist once and are never built
//! from strings. A transition time moves only when the status of a condition moves.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The longest message kept in a condition, in bytes; longer ones end in an ellipsis.
pub const MAX_MESSAGE_BYTES: usize = 4096;

/// The type of a condition.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
pub enum ConditionType {
    /// The current generation is fully realised.
    Ready,
    /// Work is going on, or waits for something that is named.
    Reconciling,
    /// Nothing will move without a change.
    Stalled,
    /// The promised minimum serves.
    Available,
    /// Containers of the host survive a restart of the Engine (live-restore).
    EngineRestartSafe,
}

/// The status of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ConditionStatus {
    /// It holds.
    True,
    /// It does not hold.
    False,
    /// It cannot be told.
    Unknown,
}

/// Why a condition is as it is: the whole vocabulary.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
pub enum Reason {
    /// All is as declared.
    AsDeclared,
    /// The release is out and its bake is over.
    Succeeded,
    /// A failed release was undone.
    RolledBack,
    /// A release failed before anything was touched, or with nothing to return to.
    Failed,
    /// A person ended the release.
    Aborted,
    /// A newer release took over.
    Superseded,
    /// A rollout is moving.
    Progressing,
    /// A failed release is being undone.
    RollingBack,
    /// An instance is being brought back after it was lost or changed by hand.
    Healing,
    /// The number of replicas is being changed.
    Scaling,
    /// The object is being deleted.
    Deleting,
    /// The rollout made no progress within its deadline.
    ProgressDeadlineExceeded,
    /// Fewer instances than promised serve.
    MinimumUnavailable,
    /// No schedulable host grants the namespace.
    NoHost,
    /// A host cannot be reached.
    Unreachable,
    /// The host carries the key of another install, or another DockerHost has claimed it.
    HostClaimed,
    /// Somebody else listens on the proxy's port.
    PortTaken,
    /// The proxy's binary for this architecture was not found.
    ProxyMissing,
    /// The proxy does not answer.
    ProxyUnreachable,
    /// The Engine runs without root.
    RootlessUnsupported,
    /// The Engine is Docker Desktop.
    DesktopUnsupported,
    /// The Engine's API is older than the oldest supported one.
    EngineTooOld,
    /// The host's operating system or architecture is not supported.
    PlatformUnsupported,
    /// The network range of the host is full.
    NetworkFull,
    /// The network range clashes with a route or network of the host.
    NetworkClash,
    /// The namespace's bridge does not exist yet.
    NetworkPending,
    /// The namespace's bridge was changed by somebody else.
    NetworkTampered,
    /// No address is free on the bridge.
    AddressesExhausted,
    /// Something that is not Mooring's holds a name that is needed.
    ForeignObject,
    /// The image is not on the hosts.
    ImageMissing,
    /// The image is asked for at its registry, or is being pulled.
    PullingImage,
    /// The registry does not have the image, or not for the host's platform.
    ImageNotFound,
    /// The registry refuses the image to these credentials, or to nobody in particular.
    ImageAccessDenied,
    /// The registry has the image but not all of its layers.
    ImageLayerMissing,
    /// The registry counts too many requests (429).
    RegistryRateLimited,
    /// The registry answers that it has failed (5xx).
    RegistryFailing,
    /// The registry cannot be reached or does not answer.
    RegistryUnreachable,
    /// The registry began to send the image and stopped.
    RegistryTooSlow,
    /// The image cannot be pulled for another reason, which the message gives.
    ImagePullFailed,
    /// The hosts hold different images under one tag.
    ImageDiffers,
    /// The image of a kept release is gone: a rollback to it would fail.
    RollbackUnavailable,
    /// The Release that is to be gone back to does not exist.
    ReleaseNotFound,
    /// The revision is one of those that may never come out again.
    RevisionRejected,
    /// A person holds the rollout.
    Paused,
    /// A referenced ConfigMap, Secret or key does not exist.
    RefNotFound,
    /// The user that the configuration should belong to is not in the image.
    UserUnknown,
    /// Another pipeline holds the route.
    RouteConflict,
    /// An instance exits again and again.
    CrashLoop,
    /// An instance exited.
    Exited,
    /// An instance ran out of memory.
    OutOfMemory,
    /// An instance did not become ready in time.
    NotReadyInTime,
    /// An instance that was ready is not any more.
    BecameUnready,
    /// The Engine refused a step for good.
    StepRefused,
    /// A step keeps failing and is tried again.
    StepFailing,
    /// The Engine restarts containers on its own stop (live-restore is off).
    LiveRestoreOff,
    /// The Engine keeps containers running over its own restart.
    LiveRestoreOn,
    /// The host takes no new instances.
    Cordoned,
    /// What nobody owns any more is removed soon.
    CleaningUp,
    /// More than a fifth of the host's instances are nobody's: a person decides what is cleaned up.
    CleanUpHeld,
    /// A word written by another version of Mooring.
    #[serde(other)]
    Other,
}

/// One condition, in the shape of `metav1.Condition`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// What the condition is about.
    #[serde(rename = "type")]
    pub type_: ConditionType,
    /// True, False or Unknown.
    pub status: ConditionStatus,
    /// One word from a closed list that says why.
    #[schemars(with = "String", length(max = 64))]
    pub reason: Reason,
    /// The same for people, with what to do next.
    #[schemars(length(max = 4096))]
    pub message: String,
    /// When the status last changed.
    pub last_transition_time: Time,
    /// The generation of the spec that this was computed from.
    #[serde(default)]
    pub observed_generation: i64,
}

/// What `decide` says of a condition: everything but its transition time.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// What it is about.
    pub type_: ConditionType,
    /// True, False or Unknown.
    pub status: ConditionStatus,
    /// Why.
    pub reason: Reason,
    /// For people.
    pub message: String,
}

/// The new list of conditions: one per verdict, in that order, each keeping the old transition
/// time while its status stays the same. Conditions without a verdict go.
pub fn merge(
    old: &[Condition],
    verdicts: Vec<Verdict>,
    generation: i64,
    now: jiff::Timestamp,
) -> Vec<Condition> {
    verdicts
        .into_iter()
        .map(|verdict| {
            let Verdict {
                type_,
                status,
                reason,
                message,
            } = verdict;
            let kept = old
                .iter()
                .find(|condition| condition.type_ == type_ && condition.status == status);
            let last_transition_time = kept.map_or_else(
                || Time(whole_seconds(now)),
                |condition| condition.last_transition_time.clone(),
            );
            let message = bounded(message);
            Condition {
                type_,
                status,
                reason,
                message,
                last_transition_time,
                observed_generation: generation,
            }
        })
        .collect()
}

/// Kubernetes stores times in whole seconds; a finer one would differ after the first read.
pub fn whole_seconds(time: jiff::Timestamp) -> jiff::Timestamp {
    jiff::Timestamp::from_second(time.as_second()).unwrap_or(time)
}

/// Cuts a text at [`MAX_MESSAGE_BYTES`], on a character boundary.
pub fn bounded(mut text: String) -> String {
    const ELLIPSIS: &str = "…";
    if text.len() > MAX_MESSAGE_BYTES {
        let mut end = MAX_MESSAGE_BYTES - ELLIPSIS.len();
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        text.push_str(ELLIPSIS);
    }
    text
}
