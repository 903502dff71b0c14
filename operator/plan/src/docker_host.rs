//! The host's decision: claim, proxy, bridges, garbage.
//!
//! Owns what Mooring keeps on a host for itself: the proxy with its volume, one bridge per namespace, and the claim.
//! It must not know instances beyond their number. Invariants: nothing is done on a host that cannot be read, is not
//! supported or belongs to somebody else; the identity is recorded before anything carries it; a host with instances
//! is not let go.

use std::collections::{BTreeMap, BTreeSet};

use crds::docker_host::{NetworkStatus, ProxyStatus};
use crds::{DockerHost, DockerHostStatus, FINALIZER, Reason};
use jiff::Timestamp;
use routes::{Listener, SectionKey};

use crate::fact::{ContainerState, Fact, RestartPolicy};
use crate::{ApiStep, Plan, Step, StepFailure};

mod bridges;
mod garbage;
mod proxy;
mod subnet;
mod teardown;
mod verdict;

pub use verdict::blocks_pipelines;

use verdict::Trouble;

/// How often a host that is not ready is looked at, if nothing wakes it before: its reports may be what is missing.
const RECHECK_SECONDS: i64 = 10;
/// What the proxy gets to close its connections when it is stopped for good.
const PROXY_GRACE_SECONDS: u32 = 10;

/// Everything that was read for one pass over a DockerHost.
#[derive(Clone, Debug, PartialEq)]
pub struct Observed {
    /// The Engine, or why it cannot be worked with.
    pub engine: Result<EngineFacts, EngineTrouble>,
    /// What is on the Engine.
    pub inventory: Fact<Inventory>,
    /// What the proxy reports.
    pub proxy: Fact<ProxyReport>,
    /// The other DockerHosts that show an identity.
    pub others: Vec<OtherHost>,
    /// The namespaces that have a pipeline and are allowed here.
    pub namespaces: BTreeSet<String>,
    /// Networks that the machine has a route to, and through what.
    pub routes: Fact<BTreeMap<String, String>>,
    /// First twelve hex digits of the proxy's binary for this Engine, or why there is none.
    pub binary: Result<String, String>,
    /// The install that this operator acts for.
    pub install: String,
    /// The operator's fence epoch.
    pub epoch: u64,
    /// A new identity, in case the host has none.
    pub fresh_host_id: String,
    /// Steps that failed and are not over.
    pub failures: Vec<StepFailure>,
}

/// An Engine that answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineFacts {
    /// Its version.
    pub version: String,
    /// The version of the API that is spoken with it.
    pub api_version: String,
    /// The operating system of its containers.
    pub os: String,
    /// The architecture, as it names it.
    pub architecture: String,
    /// How it is run.
    pub form: EngineForm,
    /// Whether containers survive its restart.
    pub live_restore: bool,
}

/// How an Engine is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EngineForm {
    /// As root on a Linux host.
    Native,
    /// Without root.
    Rootless,
    /// Inside Docker Desktop.
    Desktop,
}

/// An Engine that cannot be worked with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EngineTrouble {
    /// It does not answer.
    Unreachable(String),
    /// It speaks no API that is known.
    Incompatible(String),
}

/// What was found on an Engine.
#[derive(Clone, Debug, PartialEq)]
pub struct Inventory {
    /// The volume with the proxy's state.
    pub volume: StateVolume,
    /// Every container that is provably a proxy of ours.
    pub proxies: Vec<ProxyContainer>,
    /// Container names in the proxy's form that something else holds.
    pub foreign: BTreeSet<String>,
    /// The proxy's images, by their twelve digits.
    pub images: BTreeSet<String>,
    /// All networks.
    pub networks: Vec<Network>,
    /// Instances of pipelines, running or not: how many, by namespace and pipeline.
    pub instances: BTreeMap<(String, String), u32>,
    /// Those of them whose pipeline does not exist: their instances go on.
    pub ownerless: BTreeSet<(String, String)>,
    /// Sections of the proxy's table whose owner does not exist.
    pub orphans: Vec<Orphan>,
    /// Tags of ours on images whose pipeline neither exists nor has an instance here.
    pub strays: BTreeSet<String>,
}

/// The volume under the name of the proxy's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StateVolume {
    /// There is none.
    Absent,
    /// Ours, made for the host with this identity.
    Ours {
        /// The identity.
        host_id: String,
    },
    /// Somebody else's: the install that its labels name, if any.
    Foreign {
        /// The install.
        install: Option<String>,
    },
}

/// A container that runs a proxy of ours, or ran it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyContainer {
    /// The full ID.
    pub id: String,
    /// The name it has.
    pub name: String,
    /// The name it was made with.
    pub made_as: String,
    /// What it is doing.
    pub state: ContainerState,
    /// The policy by which Docker restarts it.
    pub restart_policy: RestartPolicy,
    /// The port that it was made for.
    pub http_port: Option<u16>,
    /// Whether claim and key lie in its volume; not asked while it runs.
    pub claimed: Option<bool>,
    /// The end of its log, unless it runs.
    pub log_tail: Vec<String>,
}

impl ProxyContainer {
    /// The twelve digits of the binary in it.
    fn sha12(&self) -> &str {
        self.made_as
            .strip_prefix(&crds::names::proxy_container(""))
            .unwrap_or_default()
    }

    fn is_up(&self) -> bool {
        match self.state {
            ContainerState::Running | ContainerState::Paused | ContainerState::Restarting => true,
            ContainerState::Created
            | ContainerState::Exited
            | ContainerState::Removing
            | ContainerState::Dead => false,
        }
    }
}

/// A network on the Engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network {
    /// The Engine's ID.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its IPv4 subnets.
    pub subnets: Vec<String>,
    /// When it was made, in the Engine's words, whose order is that of time.
    pub created: String,
    /// The namespace, if it is provably a bridge of ours.
    pub bridge_of: Option<String>,
}

/// What the proxy says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyReport {
    /// Its software version.
    pub version: String,
    /// The install that it belongs to.
    pub install: Option<String>,
    /// The highest epoch it has seen.
    pub epoch: u64,
    /// Whether requests come in.
    pub listener: Listener,
}

/// Another DockerHost that shows an identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OtherHost {
    /// Its name.
    pub name: String,
    /// The identity.
    pub host_id: String,
    /// When it was created.
    pub created: Option<Timestamp>,
    /// Its uid.
    pub uid: String,
}

/// A section whose pipeline does not exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Orphan {
    /// The section.
    pub key: SectionKey,
    /// Its version.
    pub version: u64,
    /// How many instances it has.
    pub entries: usize,
    /// Its containers that still exist: those of a pipeline that was deleted with `Orphan` go on.
    pub containers: Vec<String>,
}

/// From the object, the facts and the time to a plan.
pub fn decide(object: &DockerHost, observed: &Observed, now: Timestamp) -> Plan<DockerHostStatus> {
    let old = object.status.clone().unwrap_or_default();
    let mut case = Case {
        object,
        observed,
        now,
        plan: Plan::new(old),
        clean_up: None,
    };
    let trouble = case.work();
    verdict::write(&mut case, trouble);
    case.plan
}

/// The identity that the host has or gets: what the volume says, else what was recorded, else the new one.
pub fn host_id(object: &DockerHost, observed: &Observed) -> String {
    if let Some(inventory) = observed.inventory.known()
        && let StateVolume::Ours { host_id } = &inventory.volume
    {
        return host_id.clone();
    }
    let recorded = object
        .status
        .as_ref()
        .and_then(|status| status.host_id.clone());
    recorded.unwrap_or_else(|| observed.fresh_host_id.clone())
}

/// One decision on its way.
struct Case<'a> {
    object: &'a DockerHost,
    observed: &'a Observed,
    now: Timestamp,
    plan: Plan<DockerHostStatus>,
    /// The clean-up that goes on or waits for a person: no host is less ready for it.
    clean_up: Option<Trouble>,
}

impl Case<'_> {
    fn name(&self) -> &str {
        self.object.metadata.name.as_deref().unwrap_or_default()
    }

    fn is_deleted(&self) -> bool {
        self.object.metadata.deletion_timestamp.is_some()
    }

    fn has_finalizer(&self) -> bool {
        let finalizers = self.object.metadata.finalizers.iter().flatten();
        finalizers.into_iter().any(|name| name == FINALIZER)
    }

    fn step(&mut self, step: Step) {
        let name = self.name().to_owned();
        self.plan.step(&name, step);
    }

    /// An Engine that does not answer: where it was looked for, what that means, and what was met last.
    fn unreachable(&self, why: &str) -> Trouble {
        let endpoint = &self.object.spec.endpoint;
        Trouble::unknown(
            Reason::Unreachable,
            format!(
                "the Engine at {endpoint} does not answer; what runs there is left alone; start it, or correct spec.endpoint ({why})"
            ),
        )
    }

    /// Fills the plan with steps and facts; gives what is in the way of Ready, the gravest first.
    fn work(&mut self) -> Vec<Trouble> {
        if !self.is_deleted() && !self.has_finalizer() {
            // Before anything is made on the host, so that it cannot be forgotten there.
            self.plan.api.push(ApiStep::AddFinalizer);
        }
        let engine = match &self.observed.engine {
            Ok(engine) => engine,
            Err(trouble) => {
                if self.plan.record.host_id.is_none() {
                    // Nothing was ever made there: the identity is recorded before anything is.
                    self.let_go_untouched();
                }
                return vec![match trouble {
                    EngineTrouble::Unreachable(why) => self.unreachable(why),
                    EngineTrouble::Incompatible(why) => {
                        Trouble::new(Reason::EngineTooOld, why.clone())
                    }
                }];
            }
        };
        let status = &mut self.plan.record;
        status.engine_version = Some(engine.version.clone());
        status.api_version = Some(engine.api_version.clone());
        status.os = Some(engine.os.clone());
        status.architecture = Some(engine.architecture.clone());
        if let Some(trouble) = verdict::unsupported(engine) {
            self.let_go_untouched();
            return vec![trouble];
        }
        let inventory = match &self.observed.inventory {
            Fact::Known(inventory) => inventory,
            Fact::Unknown(why) => {
                return vec![self.unreachable(why)];
            }
        };
        if let Some(trouble) = self.claimed_elsewhere(inventory) {
            self.plan.record.host_id = None;
            self.plan.record.networks.clear();
            self.plan.record.garbage.clear();
            self.plan.record.proxy = None;
            self.plan.record.instances = 0;
            self.let_go_untouched();
            return vec![trouble];
        }
        self.plan.record.host_id = Some(host_id(self.object, self.observed));
        self.plan.record.instances =
            i32::try_from(inventory.instances.values().sum::<u32>()).unwrap_or(i32::MAX);
        if self.is_deleted() {
            return teardown::decide(self, inventory);
        }
        let mut troubles = proxy::decide(self, inventory);
        troubles.extend(bridges::decide(self, inventory));
        self.clean_up = garbage::decide(self, inventory);
        troubles
    }

    /// A host that is not ours, or cannot be: nothing of ours is there, so the object may go.
    fn let_go_untouched(&mut self) {
        if self.is_deleted() && self.has_finalizer() {
            self.plan.api.push(ApiStep::DropFinalizer);
        }
    }

    /// Whether another install, another DockerHost or something foreign is where our claim should be.
    fn claimed_elsewhere(&self, inventory: &Inventory) -> Option<Trouble> {
        if let StateVolume::Foreign { install } = &inventory.volume {
            return Some(match install {
                Some(install) => Trouble::new(
                    Reason::HostClaimed,
                    format!(
                        "the host belongs to install {install}; this one is {}. Nothing was touched. To take it over, run `mooring up --adopt` with an empty data directory there, or delete the DockerHost of the other install first",
                        self.observed.install
                    ),
                ),
                None => Trouble::new(
                    Reason::ForeignObject,
                    format!(
                        "the volume {} is not Mooring's; rename or remove it, since the proxy keeps its state under this name",
                        crds::names::PROXY_VOLUME
                    ),
                ),
            });
        }
        if let Some(report) = self.observed.proxy.known()
            && let Some(install) = &report.install
            && *install != self.observed.install
        {
            return Some(Trouble::new(
                Reason::HostClaimed,
                format!(
                    "the proxy belongs to install {install}; this one is {}. Nothing was touched",
                    self.observed.install
                ),
            ));
        }
        let mine = host_id(self.object, self.observed);
        let age = |created: Option<Timestamp>, uid: &str| (created, uid.to_owned());
        let created = self.object.metadata.creation_timestamp.as_ref();
        let own = age(
            created.map(|time| time.0),
            self.object.metadata.uid.as_deref().unwrap_or_default(),
        );
        let older = self
            .observed
            .others
            .iter()
            .find(|other| other.host_id == mine && age(other.created, &other.uid) < own)?;
        Some(Trouble::new(
            Reason::HostClaimed,
            format!(
                "DockerHost {} is the same host and older; delete one of the two",
                older.name
            ),
        ))
    }
}

/// The bridges as the status shows them.
fn network_status(bridges: &BTreeMap<String, &Network>) -> Vec<NetworkStatus> {
    bridges
        .iter()
        .map(|(namespace, network)| NetworkStatus {
            namespace: namespace.clone(),
            id: network.id.clone(),
            subnet: network.subnets.first().cloned().unwrap_or_default(),
        })
        .collect()
}

/// The proxy as the status shows it.
fn proxy_status(report: &ProxyReport) -> ProxyStatus {
    let address = match &report.listener {
        Listener::Bound { port, ipv6: true } => format!("[::]:{port}"),
        Listener::Bound { port, ipv6: false } => format!("0.0.0.0:{port}"),
        Listener::Closed
        | Listener::PortTaken { .. }
        | Listener::Refused { .. }
        | Listener::Unknown => String::new(),
    };
    ProxyStatus {
        version: report.version.clone(),
        address,
    }
}

#[cfg(test)]
mod tests;
