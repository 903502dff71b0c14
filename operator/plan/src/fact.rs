//! What was observed of a host, in the words that decisions need.
//!
//! Filled by the operator from live reads, never from a cache of its own making. A part that could
//! not be read is [`Fact::Unknown`], never empty: no step may come from it. Secret bytes and the
//! install key are in none of these, since worlds are printed.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use crds::Reason;
use crds::labels::Role;
use crds::names::InstanceName;
use jiff::Timestamp;

use crate::resources::Resources;

/// Something that was read, or the reason why it could not be.
#[derive(Clone, Debug, PartialEq)]
pub enum Fact<T> {
    /// Read completely.
    Known(T),
    /// Not read; says why, for people.
    Unknown(String),
}

impl<T> Fact<T> {
    /// The value, if it is known.
    pub fn known(&self) -> Option<&T> {
        match self {
            Self::Known(value) => Some(value),
            Self::Unknown(_) => None,
        }
    }

    /// Why it is not known.
    pub fn unknown(&self) -> Option<&str> {
        match self {
            Self::Known(_) => None,
            Self::Unknown(why) => Some(why),
        }
    }
}

/// One host, as far as one pipeline needs it.
#[derive(Clone, Debug, PartialEq)]
pub struct HostFacts {
    /// True: new instances may be placed here (the namespace is allowed, the host not cordoned and
    /// not being deleted). Instances that are here are looked after either way.
    pub schedulable: bool,
    /// Why the host cannot be worked with at all (its DockerHost is not Ready), with its reason.
    pub blocked: Option<(crds::Reason, String)>,
    /// The namespace's bridge; `None` until the DockerHost's pass has made it.
    pub network: Fact<Option<NetworkFacts>>,
    /// Every container here that is provably an instance of this pipeline, of any revision.
    pub containers: Fact<Vec<ContainerFacts>>,
    /// Instances without a container of which scratch volumes or a helper are still there. Those
    /// that no record is about to create are to be removed.
    pub leftovers: BTreeSet<InstanceName>,
    /// Names in our form that something else holds: name to container ID.
    pub foreign: BTreeMap<String, String>,
    /// What the proxy serves and measures of this pipeline.
    pub proxy: Fact<ProxyFacts>,
    /// Image references that were looked up: their ID, or `None` when the host does not have them.
    /// Holds the reference of the spec and of every kept release, what was pulled for them, and every
    /// tag by which an image of this pipeline is or was kept.
    pub images: Fact<BTreeMap<String, Option<String>>>,
    /// Pulls for this pipeline, by `repository@digest`, that are under way or have failed.
    pub pulls: BTreeMap<String, PullFacts>,
    /// Addresses that are free on the bridge and reserved for this pass, rising.
    pub addresses: Vec<Ipv4Addr>,
}

/// The namespace's bridge on a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkFacts {
    /// The Engine's ID.
    pub id: String,
    /// Its subnet, a /22.
    pub subnet: String,
    /// Names or IDs of foreign endpoints on it, with their addresses.
    pub foreign: BTreeMap<String, Ipv4Addr>,
}

/// One container that is provably ours.
#[derive(Clone, Debug, PartialEq)]
pub struct ContainerFacts {
    /// The full ID.
    pub id: String,
    /// The name it has; differs from `instance` when somebody renamed it.
    pub name: String,
    /// What its signed labels say it is.
    pub instance: InstanceName,
    /// Why it exists.
    pub role: Role,
    /// What it is doing.
    pub state: ContainerState,
    /// True: a stop that Mooring asked for is under way. It is not asked for again; the end of the
    /// container wakes its pipeline.
    pub stopping: bool,
    /// Exit code of the last run.
    pub exit_code: Option<i64>,
    /// True: the last run ended for want of memory.
    pub oom_killed: bool,
    /// When the last run began, in the Engine's own words.
    pub started_at: Option<Timestamp>,
    /// The same, verbatim, as the proxy gets it.
    pub started_at_text: String,
    /// When the last run ended.
    pub finished_at: Option<Timestamp>,
    /// When it was created.
    pub created_at: Option<Timestamp>,
    /// How often Docker restarted it by its own policy.
    pub restart_count: u32,
    /// The policy by which Docker restarts it.
    pub restart_policy: RestartPolicy,
    /// The address that it was created with on the bridge, if it is attached there.
    pub address: Option<Ipv4Addr>,
    /// What it may use of the host.
    pub resources: Resources,
    /// True: the network that it was created in does not exist any more.
    pub network_gone: bool,
    /// Whether it is fit for traffic, by whatever judges that.
    pub readiness: Readiness,
    /// The last log lines of one that is not running; secrets are blacked out.
    pub log_tail: Vec<String>,
}

/// A pull that was begun here by this operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PullFacts {
    /// It goes on.
    UnderWay(PullProgress),
    /// It failed and may be tried again.
    Failed {
        /// In one word.
        reason: Reason,
        /// What the Engine or the registry said.
        message: String,
        /// How often in a row.
        attempts: u32,
        /// When it failed last.
        at: Timestamp,
    },
}

/// How far a pull is. Renewed every few seconds, since whatever changes here is written down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PullProgress {
    /// Layers that the Engine has told of.
    pub layers: u32,
    /// Those that are complete.
    pub layers_done: u32,
    /// Bytes that have arrived.
    pub bytes: u64,
    /// Bytes of the layers of which the size is known.
    pub total_bytes: u64,
    /// When it last got further.
    pub moved_at: Timestamp,
}

/// What a container is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ContainerState {
    /// Created, never started.
    Created,
    /// Running.
    Running,
    /// Frozen.
    Paused,
    /// Between two runs, by Docker's policy.
    Restarting,
    /// Ended.
    Exited,
    /// Being removed.
    Removing,
    /// Half removed; the Engine cannot start it.
    Dead,
}

/// The policies that Mooring sets, and any other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RestartPolicy {
    /// Docker leaves it alone: an exit is a signal.
    No,
    /// Docker starts it again, also with the daemon.
    Always,
    /// Somebody set something else.
    Other,
}

/// Whether an instance is fit for traffic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// It is, without a break since then.
    Ready(Timestamp),
    /// It is not, with the words of the last check. `since` is when it stopped being, or `None`
    /// when it never was since its start.
    NotReady {
        /// When it stopped being ready.
        since: Option<Timestamp>,
        /// What the check said, bounded; empty before the first check.
        why: String,
    },
    /// Nobody could tell.
    Unknown(String),
}

/// What the proxy of a host serves and measures of one pipeline.
#[derive(Clone, Debug, PartialEq)]
pub struct ProxyFacts {
    /// The section as it is served and its version; `None` when there is none.
    pub section: Option<routes::Section>,
    /// True: the table that is served is on disk.
    pub persisted: bool,
    /// Requests and streams in flight, by container ID; one that is missing has none.
    pub in_flight: BTreeMap<String, u64>,
    /// Routes of this pipeline that others hold: route and holder.
    pub conflicts: Vec<(String, String)>,
    /// Why no request comes in, if the proxy cannot listen.
    pub listener_error: Option<String>,
}

/// A step that failed, remembered by the driver until it succeeds or the object's plan drops it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepFailure {
    /// The host, or [`crate::API`].
    pub place: String,
    /// The step's rendering.
    pub step: String,
    /// What kind of failure.
    pub class: FailureClass,
    /// What the Engine or the API said.
    pub message: String,
    /// How often in a row.
    pub attempts: u32,
    /// Not to be tried again before.
    pub retry_at: Timestamp,
}

/// What a failure means for the next try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureClass {
    /// Definitely not done, and trying again without a change will not help.
    Refused,
    /// Definitely not done; may work later.
    Transient,
    /// Definitely not done, and never will be on what it acts on: that has to be made anew.
    Unusable,
    /// Nobody knows whether it was done: observe again.
    Unknown,
}
