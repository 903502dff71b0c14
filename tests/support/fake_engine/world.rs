//! Everything that exists on the fake Engine, and how one finds it. Plain data: what happens to it is in the files
//! beside this one.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Map, Value};
use tokio::sync::watch;
use tokio::time::Instant;

use super::behaviour::Behaviour;
use super::clock::{Clock, Ids};
use super::events::Events;
use super::faults::Applied;
use super::networks::Network;
use super::options::Generation;
use super::registry::Registry;
use super::reply::Refusal;

/// The most lines of a container's log that are kept.
const MAX_LOG: usize = 10_000;

/// Files by absolute path.
pub(super) type Files = BTreeMap<String, File>;

/// One file in an image, a container or a volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Its bytes.
    pub content: Vec<u8>,
    /// Its mode, for example 0o400.
    pub mode: u32,
    /// Its owner.
    pub uid: u64,
    /// Its group.
    pub gid: u64,
}

/// All there is.
#[derive(Debug)]
pub(super) struct World {
    /// How it behaves.
    pub(super) generation: Generation,
    pub(super) clock: Clock,
    pub(super) ids: Ids,
    pub(super) containers: BTreeMap<String, Container>,
    pub(super) images: BTreeMap<String, Image>,
    /// `repository:tag` to image id.
    pub(super) tags: BTreeMap<String, String>,
    /// `repository@digest` to image id, of what was pulled by digest.
    pub(super) digests: BTreeMap<String, String>,
    pub(super) registry: Registry,
    pub(super) networks: BTreeMap<String, Network>,
    pub(super) volumes: BTreeMap<String, Volume>,
    pub(super) execs: BTreeMap<String, Exec>,
    pub(super) events: Events,
    /// By repository, or by `repository:tag`, which wins.
    pub(super) behaviours: BTreeMap<String, Behaviour>,
    pub(super) ledger: Vec<Applied>,
    pub(super) unlisted: Vec<String>,
    /// How often each POST was executed, by its `X-Request-Id`.
    pub(super) posts: BTreeMap<String, u32>,
}

/// An image.
#[derive(Debug, Clone)]
pub(super) struct Image {
    pub(super) id: String,
    pub(super) created: Timestamp,
    /// Its `Config`, complete.
    pub(super) config: Map<String, Value>,
    pub(super) layers: Vec<String>,
    pub(super) files: Files,
    /// The paths of all its files, large ones too; `None` for a scripted image, which has every program.
    pub(super) paths: Option<BTreeSet<String>>,
}

/// A volume.
#[derive(Debug, Clone)]
pub(super) struct Volume {
    pub(super) name: String,
    pub(super) created: Timestamp,
    pub(super) labels: Option<BTreeMap<String, String>>,
    pub(super) files: Files,
    pub(super) anonymous: bool,
}

/// A prepared command.
#[derive(Debug, Clone)]
pub(super) struct Exec {
    pub(super) id: String,
    pub(super) container: String,
    pub(super) command: Vec<String>,
    pub(super) stdin: bool,
    pub(super) running: bool,
    pub(super) code: Option<i64>,
    /// Whether the Engine still knows that it belongs to its container (F20).
    pub(super) listed: bool,
}

/// What is mounted where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mount {
    /// `volume`, `bind` or `tmpfs`.
    pub(super) kind: String,
    pub(super) source: String,
    pub(super) target: String,
    pub(super) writable: bool,
    /// `z` for a mount that was asked for, empty for one that the image's VOLUME made.
    pub(super) mode: &'static str,
}

/// The part of a container on one network.
#[derive(Debug, Clone, Default)]
pub(super) struct Endpoint {
    /// The fixed address asked for.
    pub(super) fixed: Option<Ipv4Addr>,
    pub(super) aliases: Option<Vec<String>>,
    /// Set by the first start, and preferred to the name from then on (F35).
    pub(super) network: Option<String>,
    /// Set while it is up.
    pub(super) address: Option<Ipv4Addr>,
    pub(super) endpoint: String,
}

/// What a container is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Never started.
    Created,
    /// Its process runs.
    Running,
    /// Its process has ended and Docker waits before it starts it again.
    Restarting,
    /// Its process has ended.
    Exited,
}

impl Phase {
    /// The Engine's word for it.
    pub fn word(self) -> &'static str {
        match self {
            Phase::Created => "created",
            Phase::Running => "running",
            Phase::Restarting => "restarting",
            Phase::Exited => "exited",
        }
    }
}

/// The process of a container, for those who must end with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Life {
    /// It runs.
    Alive,
    /// It has got SIGTERM and takes no new connection.
    Ending,
    /// It is gone.
    Gone,
}

/// The health of a container with a check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Health {
    pub(super) status: &'static str,
    pub(super) streak: u32,
}

/// A line of a log: when, whether on stderr, text.
pub(super) type LogLine = (Timestamp, bool, String);

/// A container.
#[derive(Debug)]
pub(super) struct Container {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) created: Timestamp,
    /// Counts up with every create.
    pub(super) sequence: u64,
    pub(super) image: String,
    pub(super) config: Map<String, Value>,
    pub(super) host: Map<String, Value>,
    pub(super) endpoints: BTreeMap<String, Endpoint>,
    pub(super) mounts: Vec<Mount>,
    pub(super) files: Files,
    pub(super) behaviour: Behaviour,
    /// Readiness set by the test, over the behaviour.
    pub(super) ready: Option<bool>,

    pub(super) phase: Phase,
    /// Counts starts: what belongs to an earlier one does nothing.
    pub(super) run: u64,
    pub(super) pid: u32,
    pub(super) exit_code: i64,
    pub(super) error: String,
    pub(super) started: Option<Timestamp>,
    pub(super) started_at: Option<Instant>,
    pub(super) finished: Option<Timestamp>,
    pub(super) health: Option<Health>,
    pub(super) restarts: u32,
    pub(super) backoff: Duration,
    /// Someone stopped or killed it: its next end is not followed by a restart.
    pub(super) ends_for_good: bool,
    pub(super) stopped_by_hand: bool,
    pub(super) life: watch::Sender<Life>,
    /// Whether its process is frozen.
    pub(super) paused: watch::Sender<bool>,

    pub(super) log: Vec<LogLine>,
    /// How many lines were ever written; followers wait for it to grow.
    pub(super) written: watch::Sender<u64>,
}

impl Container {
    /// Whether its process is frozen.
    pub(super) fn is_paused(&self) -> bool {
        *self.paused.borrow()
    }

    /// The Engine's word for what it is doing.
    pub(super) fn word(&self) -> &'static str {
        if self.is_paused() {
            "paused"
        } else {
            self.phase.word()
        }
    }

    /// Its labels.
    pub(super) fn labels(&self) -> BTreeMap<String, String> {
        labels_of(&self.config)
    }

    /// The name of its restart policy, `no` for none.
    pub(super) fn restart_policy(&self) -> &str {
        match self.host["RestartPolicy"]["Name"].as_str() {
            None | Some("") => "no",
            Some(name) => name,
        }
    }

    /// Whether its process runs.
    pub(super) fn is_running(&self) -> bool {
        self.phase == Phase::Running
    }

    /// Whether its process would answer a readiness check with yes.
    pub(super) fn is_ready(&self) -> bool {
        let up = self.started_at.map(|start| start.elapsed());
        self.is_running()
            && self
                .ready
                .unwrap_or_else(|| up.is_some_and(|up| self.behaviour.is_ready(up)))
    }

    /// The image's name as it was asked for, without its tag.
    pub(super) fn repository(&self) -> &str {
        split_tag(self.config["Image"].as_str().unwrap_or_default()).0
    }

    /// Writes one line to its log.
    pub(super) fn write(&mut self, now: Timestamp, stderr: bool, text: &str) {
        if self.log.len() == MAX_LOG {
            self.log.remove(0);
        }
        self.log.push((now, stderr, text.to_owned()));
        self.written.send_modify(|written| *written += 1);
    }
}

impl World {
    /// The container with this id, name, or unique start of an id.
    pub(super) fn find(&self, reference: &str) -> Result<&Container, Refusal> {
        let name = reference.strip_prefix('/').unwrap_or(reference);
        let by_id = self.containers.get(reference);
        let by_name = || {
            self.containers
                .values()
                .find(|container| container.name == name)
        };
        let by_start = || {
            let mut matching = self
                .containers
                .values()
                .filter(|container| container.id.starts_with(reference));
            matching
                .next()
                .filter(|_| matching.next().is_none() && !reference.is_empty())
        };
        by_id
            .or_else(by_name)
            .or_else(by_start)
            .ok_or_else(|| Refusal::new(404, format!("No such container: {reference}")))
    }

    /// As [`World::find`], to change it.
    pub(super) fn find_mut(&mut self, reference: &str) -> Result<&mut Container, Refusal> {
        let id = self.find(reference)?.id.clone();
        Ok(self
            .containers
            .get_mut(&id)
            .expect("it was found under this id"))
    }

    /// The image with this tag or id.
    pub(super) fn image(&self, reference: &str) -> Option<&Image> {
        let tag = with_tag(reference);
        let named = self.tags.get(&tag).or_else(|| self.digests.get(reference));
        let id = named.map_or(reference, String::as_str);
        self.images
            .get(id)
            .or_else(|| self.images.get(&format!("sha256:{reference}")))
    }

    /// The tags of an image.
    pub(super) fn tags_of(&self, id: &str) -> Vec<&String> {
        self.tags
            .iter()
            .filter(|(_, tagged)| *tagged == id)
            .map(|(tag, _)| tag)
            .collect()
    }

    /// The digests by which an image was pulled, with their repositories.
    pub(super) fn digests_of(&self, id: &str) -> Vec<&String> {
        self.digests
            .iter()
            .filter(|(_, pulled)| *pulled == id)
            .map(|(name, _)| name)
            .collect()
    }

    /// The network with this id or name.
    pub(super) fn network(&self, reference: &str) -> Result<&Network, Refusal> {
        if let Some(network) = self.networks.get(reference) {
            return Ok(network);
        }
        let mut named = self
            .networks
            .values()
            .filter(|network| network.name == reference);
        match (named.next(), named.count()) {
            (None, _) => Err(Refusal::new(404, format!("network {reference} not found"))),
            (Some(network), 0) => Ok(network),
            (Some(_), more) => Err(Refusal::new(
                400,
                format!(
                    "{} matches found based on name: network {reference} is ambiguous",
                    more + 1
                ),
            )),
        }
    }
}

/// `repository` and `tag` of a reference, with `latest` for none.
pub(super) fn split_tag(reference: &str) -> (&str, &str) {
    match reference.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => (repository, tag),
        _ => (reference, "latest"),
    }
}

/// A reference with its tag.
pub(super) fn with_tag(reference: &str) -> String {
    let (repository, tag) = split_tag(reference);
    format!("{repository}:{tag}")
}

/// The labels in the `Config` of an image or a container.
pub(super) fn labels_of(config: &Map<String, Value>) -> BTreeMap<String, String> {
    let labels = config.get("Labels").and_then(Value::as_object);
    labels
        .into_iter()
        .flatten()
        .map(|(key, value)| (key.clone(), value.as_str().unwrap_or_default().to_owned()))
        .collect()
}

/// The strings of a JSON list, none for null.
pub(super) fn strings(value: &Value) -> Vec<String> {
    value
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect()
}
