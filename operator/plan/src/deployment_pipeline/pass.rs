//! One pass: the facts joined with the record, and what the pass makes of them.
//!
//! Owns the join: which instances there are, which Release each belongs to, which Release is
//! current and which stable. Must not decide what becomes of anything. Invariant: an instance is
//! in the list once, whether the record, a container or both know of it.

use std::collections::{BTreeMap, BTreeSet};

use crds::labels::Role;
use crds::names::{InstanceName, Revision};
use crds::release::{InstanceState, InstanceStatus, StageStatus};
use crds::{DEFAULT_STAGE, DeploymentPipeline, MAIN_PROCESS, Reason, Release};
use jiff::Timestamp;

use crate::fact::{
    ContainerFacts, ContainerState, FailureClass, HostFacts, ProxyFacts, RestartPolicy,
};
use crate::resources::Resources;
use crate::{Event, Fact};

use super::batch::Limits;
use super::instance::{Instance, Intent, Seen, Served, state_of};
use super::{Observed, moment, placement, recover, routes as sections, trial};

/// Everything that one pass works on.
pub(crate) struct Pass<'a> {
    /// The object.
    pub pipeline: &'a DeploymentPipeline,
    /// The facts.
    pub observed: &'a Observed,
    /// The time.
    pub now: Timestamp,
    /// The numbers of the strategy.
    pub limits: Limits,
    /// True: instances are entries of a section of the route table.
    pub sectioned: bool,
    /// The Releases by number.
    pub releases: BTreeMap<u64, &'a Release>,
    /// The record that is being made, by the Release's number.
    pub stages: BTreeMap<u64, StageStatus>,
    /// Every instance that the record or a container knows.
    pub instances: Vec<Instance>,
    /// The newest Release.
    pub current: Option<u64>,
    /// The last verified Release.
    pub stable: Option<u64>,
    /// Addresses and hosts for new instances.
    pub room: placement::Room,
    /// What people must know about the wait.
    pub troubles: Vec<Trouble>,
    /// When to look again.
    pub wake: Option<Timestamp>,
    /// What to tell.
    pub events: Vec<Event>,
}

/// Something in the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Trouble {
    /// In one word.
    pub reason: Reason,
    /// For people, with what to do next.
    pub message: String,
}

impl<'a> Pass<'a> {
    /// Joins facts and record.
    pub fn open(
        pipeline: &'a DeploymentPipeline,
        observed: &'a Observed,
        now: Timestamp,
    ) -> Pass<'a> {
        let releases = crate::step::by_number(&observed.releases);
        let stages: BTreeMap<u64, StageStatus> = releases
            .iter()
            .map(|(number, release)| (*number, recorded_stage(release)))
            .collect();
        let current = releases.keys().next_back().copied();
        let mut pass = Pass {
            pipeline,
            observed,
            now,
            limits: Limits::of(&pipeline.spec),
            sectioned: false,
            releases,
            stages,
            instances: Vec::new(),
            current,
            stable: None,
            room: placement::Room::default(),
            troubles: Vec::new(),
            wake: None,
            events: Vec::new(),
        };
        pass.sectioned = sections::are_needed(&pass);
        pass.join();
        pass.room = placement::Room::of(&pass);
        pass.stable = recover::stable(&mut pass);
        pass
    }

    /// The host's facts, if it may be worked with.
    pub fn host(&self, name: &str) -> Option<&'a HostFacts> {
        self.observed
            .hosts
            .get(name)
            .filter(|_| self.host_unknown(name).is_none())
    }

    /// Why no step may be made on a host, if so.
    pub fn host_unknown(&self, name: &str) -> Option<Trouble> {
        let trouble = |reason, why: &str| {
            Some(Trouble {
                reason,
                message: format!("waiting for host {name}: {why}"),
            })
        };
        let Some(host) = self.observed.hosts.get(name) else {
            return trouble(
                Reason::Unreachable,
                "there is no such DockerHost; apply it again",
            );
        };
        // A taken port keeps requests out, but everything else works.
        if let Some((reason, why)) = &host.blocked
            && *reason != Reason::PortTaken
        {
            return trouble(*reason, why);
        }
        if let Some(why) = host.containers.unknown() {
            return trouble(Reason::Unreachable, why);
        }
        match &host.proxy {
            Fact::Unknown(why) if self.sectioned => trouble(Reason::ProxyUnreachable, why),
            Fact::Unknown(_) | Fact::Known(_) => None,
        }
    }

    /// What the proxy of a host says, if it is known.
    pub fn proxy(&self, host: &str) -> Option<&'a ProxyFacts> {
        self.host(host).and_then(|host| host.proxy.known())
    }

    /// Names of every host that is known of.
    pub fn hosts(&self) -> BTreeSet<String> {
        self.observed
            .hosts
            .keys()
            .cloned()
            .chain(self.instances.iter().map(|instance| instance.host.clone()))
            .collect()
    }

    /// Looks again at `at`, if it is not over.
    pub fn wake_at(&mut self, at: Timestamp) {
        if at > self.now {
            self.wake = Some(self.wake.map_or(at, |earlier| earlier.min(at)));
        }
    }

    /// Says what is in the way, once.
    pub fn trouble(&mut self, reason: Reason, message: impl Into<String>) {
        let trouble = Trouble {
            reason,
            message: message.into(),
        };
        if !self.troubles.contains(&trouble) {
            self.troubles.push(trouble);
        }
    }

    /// The Release that instances of a revision belong to: the current or the stable one, else the
    /// newest.
    pub fn owner(&self, revision: &str) -> Option<u64> {
        let runs = |number: &u64| self.revision(*number) == Some(revision);
        self.current
            .filter(runs)
            .or_else(|| self.stable.filter(runs))
            .or_else(|| self.releases.keys().rev().copied().find(runs))
    }

    /// The revision of a Release.
    pub fn revision(&self, number: u64) -> Option<&'a str> {
        self.releases
            .get(&number)
            .map(|release| release.spec.revision.as_str())
    }

    /// The revision of the stable Release.
    pub fn stable_revision(&self) -> Option<&'a str> {
        self.stable.and_then(|number| self.revision(number))
    }

    /// The name of a Release.
    pub fn release_name(&self, number: u64) -> String {
        crds::names::release(&name_of(self.pipeline), number)
    }

    /// When the stable Release was verified, for instances of its revision.
    pub fn verified_at(&self, revision: &str) -> Option<Timestamp> {
        let stable = self.stable?;
        (self.revision(stable) == Some(revision))
            .then(|| self.stages.get(&stable)?.verified_at.as_ref().map(|t| t.0))
            .flatten()
    }

    /// The newest Release, while it moves.
    pub fn moving(&self) -> Option<u64> {
        self.current.filter(|number| {
            self.stages
                .get(number)
                .is_some_and(|stage| stage.outcome.is_none())
        })
    }

    /// The record of a Release that is being made.
    pub fn stage_mut(&mut self, number: u64) -> &mut StageStatus {
        self.stages.entry(number).or_insert_with(|| StageStatus {
            name: DEFAULT_STAGE.to_owned(),
            ..StageStatus::default()
        })
    }

    /// The name of another attempt of a slot.
    pub fn instance_name(&self, revision: Revision, slot: u32, attempt: u32) -> InstanceName {
        InstanceName {
            namespace: namespace_of(self.pipeline),
            pipeline: name_of(self.pipeline),
            stage: DEFAULT_STAGE.to_owned(),
            process: MAIN_PROCESS.to_owned(),
            revision,
            slot,
            attempt,
        }
    }

    /// One more than the highest attempt of a slot in record and labels, over all hosts.
    pub fn next_attempt(&self, revision: &str, slot: u32) -> u32 {
        self.instances
            .iter()
            .filter(|i| i.revision() == revision && i.name.slot == slot)
            .map(|i| i.name.attempt)
            .max()
            .unwrap_or(0)
            .saturating_add(1)
    }

    /// The instance that a slot of a revision goes on with: its highest viable attempt.
    pub fn holder(&self, revision: &str, slot: u32) -> Option<usize> {
        self.instances
            .iter()
            .enumerate()
            .filter(|(_, i)| i.revision() == revision && i.name.slot == slot && i.is_viable())
            .max_by_key(|(_, i)| i.name.attempt)
            .map(|(index, _)| index)
    }

    /// Every slot of a revision that something is known of.
    pub fn slots(&self, revision: &str) -> BTreeSet<u32> {
        self.instances
            .iter()
            .filter(|i| i.revision() == revision && !i.forgotten)
            .map(|i| i.name.slot)
            .collect()
    }

    /// The records of Releases that differ from what is stored, without their conditions.
    pub fn instances_of(&self, number: u64) -> Vec<InstanceStatus> {
        let mut list: BTreeMap<String, (u32, u32, InstanceStatus)> = BTreeMap::new();
        for instance in &self.instances {
            if instance.forgotten || self.owner(instance.revision()) != Some(number) {
                continue;
            }
            if let Some(status) = self.instance_status(instance) {
                let name = status.name.clone();
                let wins = instance.intent != Intent::Leave || !list.contains_key(&name);
                if wins {
                    list.insert(name, (instance.name.slot, instance.name.attempt, status));
                }
            }
        }
        let mut rows: Vec<_> = list.into_values().collect();
        rows.sort_by_key(|(slot, attempt, _)| (*slot, *attempt));
        rows.into_iter().map(|(_, _, status)| status).collect()
    }

    /// What the record says of an instance; nothing while it has no address.
    fn instance_status(&self, instance: &Instance) -> Option<InstanceStatus> {
        if instance.unknown().is_some() {
            return instance.past.clone();
        }
        let past = instance.past.as_ref();
        let kept = past.filter(|past| past.state == instance.state && !instance.since_anew);
        let since = kept
            .and_then(|past| past.since.clone())
            .or_else(|| Some(moment::recorded(self.now)));
        let id = instance.container().map_or_else(
            || past.map(|past| past.id.clone()).unwrap_or_default(),
            |container| container.id.clone(),
        );
        Some(InstanceStatus {
            host: instance.host.clone(),
            name: instance.name.to_string(),
            id,
            slot: instance.name.slot,
            attempt: instance.name.attempt,
            address: instance.address?,
            state: instance.state,
            ready: instance.ready_since().is_some(),
            restarts: instance.restarts,
            since,
        })
    }

    fn join(&mut self) {
        let mut found: BTreeMap<(InstanceName, String), Instance> = BTreeMap::new();
        for stage in self.stages.values() {
            for past in &stage.instances {
                let Some(name) = InstanceName::parse(&past.name) else {
                    continue;
                };
                let seen = match self.host_unknown(&past.host) {
                    Some(trouble) => Seen::Unknown(trouble.message),
                    None => Seen::Missing,
                };
                let key = (name.clone(), past.host.clone());
                found
                    .entry(key)
                    .or_insert_with(|| from_record(name, past.clone(), seen));
            }
        }
        for (host, facts) in &self.observed.hosts {
            // What is known of a host that must not be touched is not used: the record stands.
            if self.host_unknown(host).is_some() {
                continue;
            }
            let proxy = facts.proxy.known();
            for container in facts.containers.known().into_iter().flatten() {
                if container.role == Role::Instance {
                    let key = (container.instance.clone(), host.clone());
                    let past = found.remove(&key).and_then(|instance| instance.past);
                    let joined = self.joined(host, container, proxy, past);
                    found.insert(key, joined);
                }
            }
        }
        self.instances = found.into_values().collect();
    }

    fn joined(
        &self,
        host: &str,
        container: &ContainerFacts,
        proxy: Option<&ProxyFacts>,
        past: Option<InstanceStatus>,
    ) -> Instance {
        let served = served(container, proxy);
        let state = past.as_ref().map_or_else(
            || state_of(container, served, self.sectioned),
            |past| past.state,
        );
        let runs = matches!(
            container.state,
            ContainerState::Running | ContainerState::Paused | ContainerState::Restarting
        );
        let address_taken = !runs
            && self
                .observed
                .hosts
                .get(host)
                .and_then(|facts| facts.network.known()?.as_ref())
                .is_some_and(|network| {
                    network
                        .foreign
                        .values()
                        .any(|taken| Some(*taken) == container.address)
                });
        let restarts = past.as_ref().map_or_else(
            || match container.restart_policy {
                RestartPolicy::Always => container.restart_count,
                RestartPolicy::No | RestartPolicy::Other => 0,
            },
            |past| past.restarts,
        );
        Instance {
            name: container.instance.clone(),
            host: host.to_owned(),
            address: past.as_ref().map(|past| past.address).or(container.address),
            past,
            served,
            address_taken,
            resources_changed: self.resources_changed(container),
            unusable: !runs && self.is_unusable(host, container),
            in_flight: proxy
                .and_then(|proxy| proxy.in_flight.get(&container.id).copied())
                .unwrap_or(0),
            seen: Seen::Present(Box::new(container.clone())),
            intent: Intent::Leave,
            state,
            restarts,
            since_anew: false,
            forgotten: false,
        }
    }

    /// True when the Engine said that it will never start a container again.
    fn is_unusable(&self, host: &str, container: &ContainerFacts) -> bool {
        let start = trial::start_of(&container.instance);
        self.observed.failures.iter().any(|failure| {
            failure.class == FailureClass::Unusable
                && failure.place == host
                && failure.step == start
        })
    }

    /// True when somebody changed what a container may use of its host since it was made for its Release.
    fn resources_changed(&self, container: &ContainerFacts) -> bool {
        let number = self.owner(container.instance.revision.as_str());
        let release = number.and_then(|number| self.releases.get(&number));
        let declared = release.and_then(|r| Resources::declared(&r.spec.template.main()).ok());
        declared.is_some_and(|declared| container.resources.differ_from(&declared))
    }
}

fn from_record(name: InstanceName, past: InstanceStatus, seen: Seen) -> Instance {
    Instance {
        name,
        host: past.host.clone(),
        address: Some(past.address),
        seen,
        served: Served::Absent,
        address_taken: false,
        resources_changed: false,
        unusable: false,
        in_flight: 0,
        intent: Intent::Leave,
        state: past.state,
        restarts: past.restarts,
        since_anew: false,
        forgotten: false,
        past: Some(past),
    }
}

fn served(container: &ContainerFacts, proxy: Option<&ProxyFacts>) -> Served {
    let entry = proxy
        .and_then(|proxy| proxy.section.as_ref())
        .and_then(|section| {
            let name = container.instance.to_string();
            section.instances.iter().find(|entry| entry.name == name)
        });
    match entry {
        None => Served::Absent,
        Some(entry)
            if entry.container_id == container.id
                && entry.started_at == container.started_at_text =>
        {
            Served::As(entry.state)
        }
        Some(_) => Served::Stale,
    }
}

fn recorded_stage(release: &Release) -> StageStatus {
    release
        .status
        .iter()
        .flat_map(|status| &status.stages)
        .find(|stage| stage.name == DEFAULT_STAGE)
        .cloned()
        .unwrap_or_else(|| StageStatus {
            name: DEFAULT_STAGE.to_owned(),
            ..StageStatus::default()
        })
}

/// The pipeline's name.
pub(crate) fn name_of(pipeline: &DeploymentPipeline) -> String {
    pipeline.metadata.name.clone().unwrap_or_default()
}

/// The pipeline's namespace.
pub(crate) fn namespace_of(pipeline: &DeploymentPipeline) -> String {
    pipeline.metadata.namespace.clone().unwrap_or_default()
}

/// True for states of an instance that is on, or on its way to, its work.
pub(crate) fn is_on(state: InstanceState) -> bool {
    match state {
        InstanceState::Starting
        | InstanceState::Warming
        | InstanceState::Serving
        | InstanceState::BackOff => true,
        InstanceState::Draining
        | InstanceState::Stopped
        | InstanceState::Failed
        | InstanceState::Removing => false,
    }
}
