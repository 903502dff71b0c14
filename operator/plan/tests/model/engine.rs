//! One simulated host: its Engine's containers and images, and its proxy's one section.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use crds::Reason;
use crds::names::InstanceName;
use jiff::Timestamp;
use plan::fact::{ContainerState, PullFacts, PullProgress, RestartPolicy};
use plan::resources::Resources;
use routes::{InstanceState, Section};

use crate::app::{App, later, millis};

/// Milliseconds that a pull takes.
const PULL_MILLIS: i64 = 3000;

/// A host.
#[derive(Clone, Debug)]
pub struct Host {
    pub reachable: bool,
    pub proxy_reachable: bool,
    pub schedulable: bool,
    pub network: Option<String>,
    pub containers: BTreeMap<String, Container>,
    /// Names that something foreign holds, with its ID.
    pub foreign: BTreeMap<String, String>,
    /// Foreign endpoints on the namespace's network, with their addresses.
    pub intruders: BTreeMap<String, Ipv4Addr>,
    pub images: BTreeMap<String, String>,
    /// What became of pulls, by `repository@digest`.
    pub pulls: BTreeMap<String, PullFacts>,
    /// When each pull that is under way ends, how, and as which tag.
    pub arrivals: BTreeMap<String, Arrival>,
    pub section: Option<Section>,
    pub version: u64,
    /// When each entry of the section got the state that it has, by name.
    pub entered: BTreeMap<String, (InstanceState, String, Timestamp)>,
}

/// The end of a pull.
#[derive(Clone, Debug)]
pub struct Arrival {
    pub at: Timestamp,
    pub refusal: Option<Reason>,
    pub tag: String,
}

/// A container of ours.
#[derive(Clone, Debug)]
pub struct Container {
    pub id: String,
    pub name: String,
    pub instance: InstanceName,
    pub state: ContainerState,
    pub exit_code: Option<i64>,
    pub created: Timestamp,
    pub started: Option<Timestamp>,
    pub finished: Option<Timestamp>,
    pub restart_count: u32,
    pub policy: RestartPolicy,
    pub address: Ipv4Addr,
    pub network: String,
    /// False: somebody disconnected it from its network.
    pub attached: bool,
    pub resources: Resources,
    /// When a stop that is under way ends.
    pub stops_at: Option<Timestamp>,
    /// When Docker starts it again.
    pub restarts_at: Option<Timestamp>,
    /// Docker's pause before the next restart, in milliseconds.
    pub pause: i64,
    pub app: App,
}

impl Host {
    pub fn new() -> Self {
        Self {
            reachable: true,
            proxy_reachable: true,
            schedulable: true,
            network: Some("net-1".to_owned()),
            containers: BTreeMap::new(),
            foreign: BTreeMap::new(),
            intruders: BTreeMap::new(),
            images: BTreeMap::new(),
            pulls: BTreeMap::new(),
            arrivals: BTreeMap::new(),
            section: None,
            version: 0,
            entered: BTreeMap::new(),
        }
    }

    /// Lets everything happen that happens by itself until `now`.
    pub fn settle(&mut self, now: Timestamp) {
        for container in self.containers.values_mut() {
            container.settle(now);
        }
        self.arrive(now);
    }

    /// Ends the pulls that are over.
    fn arrive(&mut self, now: Timestamp) {
        let over = self.arrivals.iter().find(|(_, arrival)| arrival.at <= now);
        let Some((image, Arrival { at, refusal, tag })) =
            over.map(|(image, arrival)| (image.clone(), arrival.clone()))
        else {
            return;
        };
        self.arrivals.remove(&image);
        let attempts = match self.pulls.remove(&image) {
            Some(PullFacts::Failed { attempts, .. }) => attempts,
            Some(PullFacts::UnderWay(progress)) => progress.layers_done,
            None => 0,
        };
        match refusal {
            None => _ = self.images.insert(tag, format!("sha256:{image}")),
            Some(reason) => {
                let failed = PullFacts::Failed {
                    reason,
                    message: "the registry says no".to_owned(),
                    attempts: attempts + 1,
                    at,
                };
                self.pulls.insert(image, failed);
            }
        }
        self.arrive(now);
    }

    /// Gives a pull up.
    pub fn cancel_pull(&mut self, image: &str) {
        self.pulls.remove(image);
        self.arrivals.remove(image);
    }

    /// Begins a pull. How often it failed before is kept in its progress.
    pub fn pull(&mut self, image: &str, tag: &str, now: Timestamp, refusal: Option<Reason>) {
        let (at, tag) = (later(now, PULL_MILLIS), tag.to_owned());
        let before = match self.pulls.get(image) {
            Some(PullFacts::Failed { attempts, .. }) => *attempts,
            Some(PullFacts::UnderWay(_)) | None => 0,
        };
        let progress = PullProgress {
            layers: before,
            layers_done: before,
            bytes: 0,
            total_bytes: 0,
            moved_at: now,
        };
        self.pulls
            .insert(image.to_owned(), PullFacts::UnderWay(progress));
        self.arrivals
            .insert(image.to_owned(), Arrival { at, refusal, tag });
    }

    /// The next moment at which something happens by itself.
    pub fn next_change(&self, now: Timestamp) -> Option<Timestamp> {
        let containers = self.containers.values().filter_map(|c| c.next_change(now));
        let flights = self
            .entered
            .iter()
            .filter(|(_, (state, _, _))| *state == InstanceState::Draining)
            .filter_map(|(name, (_, _, since))| {
                let busy = self
                    .containers
                    .values()
                    .find(|c| c.instance.to_string() == *name)?;
                Some(later(*since, busy.app.busy_for))
            });
        let arrivals = self.arrivals.values().map(|arrival| arrival.at);
        containers
            .chain(flights)
            .chain(arrivals)
            .filter(|at| *at > now)
            .min()
    }

    /// Requests in flight of a container.
    pub fn in_flight(&self, container: &Container, now: Timestamp) -> u64 {
        let entry = self.entered.get(&container.instance.to_string());
        match entry {
            Some((InstanceState::Draining, _, since)) => {
                u64::from(now < later(*since, container.app.busy_for))
            }
            Some((InstanceState::Routed, _, _)) => 1,
            Some((InstanceState::Checked, _, _)) | None => 0,
        }
    }

    /// What the proxy serves of a container: only an entry of this very run counts.
    pub fn served(&self, container: &Container) -> Option<(InstanceState, Timestamp)> {
        let (state, started, since) = self.entered.get(&container.instance.to_string())?;
        let run = container.started.map(|t| t.to_string())?;
        let same = self.section.iter().flat_map(|s| &s.instances).any(|entry| {
            entry.name == container.instance.to_string() && entry.container_id == container.id
        });
        (same && *started == run).then_some((*state, *since))
    }

    /// The instances that answer requests: routed, running and ready.
    pub fn answering(&self, now: Timestamp) -> Vec<String> {
        self.containers
            .values()
            .filter(|c| {
                c.state == ContainerState::Running
                    && c.attached
                    && matches!(self.served(c), Some((InstanceState::Routed, _)))
                    && c.started
                        .is_some_and(|s| c.app.ready_since(s, now).is_some())
            })
            .map(|c| c.instance.to_string())
            .collect()
    }

    /// Replaces the section.
    pub fn swap(&mut self, mut section: Section, now: Timestamp) {
        self.version += 1;
        section.version = self.version;
        let mut entered = BTreeMap::new();
        for entry in &section.instances {
            let old = self.entered.get(&entry.name).filter(|(state, started, _)| {
                *state == entry.state && *started == entry.started_at
            });
            let since = old.map_or(now, |(_, _, since)| *since);
            entered.insert(
                entry.name.clone(),
                (entry.state, entry.started_at.clone(), since),
            );
        }
        self.entered = entered;
        self.section = Some(section);
    }
}

impl Container {
    /// Starts a run.
    pub fn start(&mut self, now: Timestamp) {
        self.state = ContainerState::Running;
        self.started = Some(now);
        self.exit_code = None;
        self.stops_at = None;
        self.restarts_at = None;
    }

    fn end(&mut self, now: Timestamp, code: i64) {
        self.finished = Some(now);
        self.exit_code = Some(code);
        self.stops_at = None;
        self.state = ContainerState::Exited;
    }

    /// Ends the run for good, as `docker stop` and `docker kill` by hand do.
    pub fn halt(&mut self, now: Timestamp) {
        if matches!(
            self.state,
            ContainerState::Running | ContainerState::Restarting | ContainerState::Paused
        ) {
            self.end(now, 137);
            self.restarts_at = None;
        }
    }

    fn settle(&mut self, now: Timestamp) {
        for _ in 0..64 {
            match (self.state, self.stops_at, self.restarts_at) {
                (ContainerState::Running, Some(at), _) if at <= now => self.end(at, 0),
                (ContainerState::Running, _, _) => {
                    let exit = self
                        .started
                        .zip(self.app.exits_after)
                        .map(|(started, after)| later(started, after));
                    let Some(at) = exit.filter(|at| *at <= now) else {
                        return;
                    };
                    let ran = self.started.map_or(0, |started| millis(started, at));
                    self.end(at, 1);
                    if self.policy == RestartPolicy::Always {
                        self.pause = if ran > 10_000 {
                            100
                        } else {
                            (self.pause * 2).min(60_000)
                        };
                        self.state = ContainerState::Restarting;
                        self.restarts_at = Some(later(at, self.pause));
                    }
                }
                (ContainerState::Restarting, _, Some(at)) if at <= now => {
                    self.restart_count += 1;
                    self.start(at);
                }
                _ => return,
            }
        }
    }

    fn next_change(&self, now: Timestamp) -> Option<Timestamp> {
        let app = (self.state == ContainerState::Running)
            .then(|| {
                self.started
                    .and_then(|started| self.app.next_change(started, now))
            })
            .flatten();
        [self.stops_at, self.restarts_at, app]
            .into_iter()
            .flatten()
            .filter(|at| *at > now)
            .min()
    }
}
