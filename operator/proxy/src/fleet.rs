//! The instances that run because of the table: made, kept, checked, opened, drained and let go.
//!
//! Owns the step from a section to live instances and routes. Must not know who may change the table. Invariant: a
//! change is made in two steps, [`Fleet::place`] which only adds, and [`Fleet::settle`] which swaps the routes and
//! then closes the gates of everything that gets no more requests.

use std::collections::BTreeMap;
use std::net::SocketAddrV4;
use std::sync::Arc;
use std::time::Duration;

use routes::limit::{MAX_INSTANCES, MAX_SECTIONS};
use routes::{
    Check, Conflict, Drain, Fault, InstanceState, Leaving, Report, Revision, Section, SectionKey,
    SectionStatus, Table, settle,
};
use tokio::sync::broadcast;
use tokio::time::Instant;

use crate::instance::{Identity, Instance};
use crate::probe::Prober;
use crate::route::{Router, Share, Target};
use crate::shared::Shared;
use crate::traffic::Counters;

/// What instances are made with.
#[derive(Clone)]
pub struct Makings {
    /// What requests share.
    pub shared: Arc<Shared>,
    /// Makes checks.
    pub prober: Prober,
    /// Where changes are told.
    pub reports: broadcast::Sender<Report>,
}

/// All live instances.
#[derive(Default)]
pub struct Fleet {
    live: BTreeMap<SectionKey, Live>,
    leaving: Vec<Arc<Instance>>,
    conflicts: Vec<Conflict>,
}

/// The live side of one section.
#[derive(Default)]
struct Live {
    running: BTreeMap<String, Running>,
    /// What left with the last change and is drained when the routes are swapped.
    left: Vec<Arc<Instance>>,
    counters: BTreeMap<Revision, Arc<Counters>>,
}

struct Running {
    instance: Arc<Instance>,
    state: InstanceState,
    revision: Revision,
    checking: Option<Checking>,
}

/// A check under way; ends when dropped.
struct Checking {
    check: Check,
    started_at: String,
    task: tokio::task::AbortHandle,
}

impl Drop for Checking {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Fleet {
    /// What makes a section too much for this table.
    pub fn faults(&self, table: &Table, section: &Section) -> Vec<Fault> {
        let key = section.key();
        let others = || table.sections.iter().filter(|(other, _)| **other != key);
        let instances: usize = others().map(|(_, other)| other.instances.len()).sum();
        let mut faults = Vec::new();
        if others().count() >= MAX_SECTIONS {
            faults.push(Fault::new(
                "section",
                format!("the table holds at most {MAX_SECTIONS} sections"),
            ));
        }
        if instances + section.instances.len() > MAX_INSTANCES {
            faults.push(Fault::new(
                "instances",
                format!("the table holds at most {MAX_INSTANCES} instances"),
            ));
        }
        faults
    }

    /// Makes the instances of a section and starts their checks. Nobody is let in or shut out before `settle`.
    pub fn place(&mut self, makings: &Makings, section: &Section) {
        let key = section.key();
        let Live {
            mut running,
            mut left,
            mut counters,
        } = self.live.remove(&key).unwrap_or_default();
        let mut next = BTreeMap::new();
        for wanted in &section.instances {
            let identity = Identity {
                name: wanted.name.clone(),
                container_id: wanted.container_id.clone(),
                address: SocketAddrV4::new(wanted.address, wanted.port.unwrap_or(0)),
            };
            let check = section
                .revisions
                .get(&wanted.revision)
                .and_then(|revision| revision.check.clone());
            let (instance, checking) = match running.remove(&wanted.name) {
                Some(same) if same.instance.is(&identity) => (Some(same.instance), same.checking),
                Some(other) => {
                    left.push(other.instance);
                    (None, None)
                }
                None => (None, None),
            };
            let instance = instance
                .or_else(|| self.rejoin(&key, &identity))
                .unwrap_or_else(|| {
                    let trusted = wanted.state == InstanceState::Routed;
                    let workers = makings.shared.workers;
                    let reports = makings.reports.clone();
                    Arc::new(Instance::new(
                        key.clone(),
                        identity,
                        wanted.started_at.clone(),
                        trusted,
                        workers,
                        reports,
                    ))
                });
            if instance.started_at() != wanted.started_at {
                instance.restarted(&wanted.started_at, check.is_some());
            }
            let checking = keep_checking(makings, &instance, checking, check, &wanted.started_at);
            let revision = wanted.revision.clone();
            next.insert(
                wanted.name.clone(),
                Running {
                    instance,
                    state: wanted.state,
                    revision,
                    checking,
                },
            );
        }
        left.extend(running.into_values().map(|gone| gone.instance));
        counters.retain(|revision, _| section.revisions.contains_key(revision));
        for revision in section.revisions.keys() {
            counters.entry(revision.clone()).or_default();
        }
        self.live.insert(
            key,
            Live {
                running: next,
                left,
                counters,
            },
        );
    }

    /// Lets go of a section's instances. They are shut out at once: the routes without them follow with `settle`.
    pub fn remove(&mut self, section: &Section) {
        if let Some(Live {
            running,
            left,
            counters: _,
        }) = self.live.remove(&section.key())
        {
            let gone = running
                .into_values()
                .map(|gone| gone.instance)
                .chain(left)
                .collect();
            self.let_go(gone, section.drain);
        }
    }

    /// Decides who holds which route, opens what is routed, swaps the routes, then closes what is not. When this
    /// returns nobody can enter an instance that the table does not route.
    pub fn settle(&mut self, makings: &Makings, table: &mut Table) {
        (table.holders, self.conflicts) = settle(&table.sections, &table.holders);
        let mut router = Router::default();
        for (key, section) in &table.sections {
            let Some(live) = self.live.get(key) else {
                continue;
            };
            for running in live
                .running
                .values()
                .filter(|running| is_routed(section, running))
            {
                running.instance.open();
            }
            router.add(section, target(section, live), &table.holders);
        }
        makings.shared.router.store(Arc::new(router));
        let mut gone = Vec::new();
        for (key, section) in &table.sections {
            let Some(live) = self.live.get_mut(key) else {
                continue;
            };
            for running in live
                .running
                .values()
                .filter(|running| !is_routed(section, running))
            {
                match running.state {
                    InstanceState::Draining => running.instance.drain(section.drain),
                    InstanceState::Checked | InstanceState::Routed => running.instance.close(),
                }
            }
            gone.push((std::mem::take(&mut live.left), section.drain));
        }
        for (gone, limits) in gone {
            self.let_go(gone, limits);
        }
    }

    /// A section as it is served.
    pub fn status(&self, section: &Section, now: Instant) -> SectionStatus {
        let live = self.live.get(&section.key());
        let running = live.into_iter().flat_map(|live| &live.running);
        let counters = live.into_iter().flat_map(|live| &live.counters);
        SectionStatus {
            section: section.clone(),
            instances: running
                .map(|(name, running)| (name.clone(), running.instance.status(now)))
                .collect(),
            traffic: counters
                .map(|(revision, counters)| (revision.clone(), counters.read()))
                .collect(),
        }
    }

    /// Instances in no section with requests in flight.
    pub fn leaving(&self) -> Vec<Leaving> {
        let leaving = |instance: &Arc<Instance>| {
            let in_flight = instance.in_flight();
            Leaving {
                key: instance.key.clone(),
                name: instance.name.clone(),
                container_id: instance.container_id.clone(),
                requests: in_flight.requests,
                streams: in_flight.streams,
            }
        };
        self.leaving
            .iter()
            .filter(|instance| !instance.in_flight().is_zero())
            .map(leaving)
            .collect()
    }

    /// Claimed routes that are not served.
    pub fn conflicts(&self) -> Vec<Conflict> {
        self.conflicts.clone()
    }

    /// Those of one section.
    pub fn conflicts_of(&self, key: &SectionKey) -> Vec<Conflict> {
        self.conflicts
            .iter()
            .filter(|conflict| conflict.claimant == *key)
            .cloned()
            .collect()
    }

    /// Forgets instances that left and have nothing in flight.
    pub fn forget_drained(&mut self) {
        self.leaving
            .retain(|instance| !instance.in_flight().is_zero());
    }

    /// Drops connections that were idle for too long.
    pub fn sweep(&mut self, now: Instant) {
        self.forget_drained();
        for running in self.live.values().flat_map(|live| live.running.values()) {
            running.instance.pool.sweep(now);
        }
    }

    /// An instance that left with requests in flight and comes back: its count goes on.
    fn rejoin(&mut self, key: &SectionKey, identity: &Identity) -> Option<Arc<Instance>> {
        let same = |instance: &Arc<Instance>| instance.key == *key && instance.is(identity);
        let position = self.leaving.iter().position(same)?;
        Some(self.leaving.swap_remove(position))
    }

    fn let_go(&mut self, gone: Vec<Arc<Instance>>, limits: Drain) {
        for instance in gone {
            instance.drain(limits);
            if !instance.in_flight().is_zero() {
                self.leaving.push(instance);
            }
        }
    }
}

fn is_routed(section: &Section, running: &Running) -> bool {
    section.route.is_some() && running.state == InstanceState::Routed
}

/// What the routes of a section lead to.
fn target(section: &Section, live: &Live) -> Target {
    let share = |(revision, entry): (&Revision, &routes::RevisionRoute)| {
        let instances: Vec<_> = live
            .running
            .values()
            .filter(|running| running.revision == *revision && is_routed(section, running))
            .map(|running| Arc::clone(&running.instance))
            .collect();
        let counters = Arc::clone(live.counters.get(revision)?);
        (entry.weight > 0 && !instances.is_empty()).then(|| Share {
            weight: entry.weight,
            instances,
            counters,
        })
    };
    Target {
        key: section.key(),
        shares: section.revisions.iter().filter_map(share).collect(),
        response_timeout: Duration::from_secs(u64::from(section.response_timeout_seconds)),
    }
}

/// Goes on with a check that is still the right one, else begins the right one.
fn keep_checking(
    makings: &Makings,
    instance: &Arc<Instance>,
    checking: Option<Checking>,
    check: Option<Check>,
    started_at: &str,
) -> Option<Checking> {
    let Some(check) = check else {
        if checking.is_some() {
            instance.unchecked();
        }
        return None;
    };
    match checking {
        Some(current) if current.check == check && current.started_at == started_at => {
            Some(current)
        }
        Some(_) | None => {
            let watch = makings.prober.clone().watch(
                Arc::clone(instance),
                started_at.to_owned(),
                check.clone(),
            );
            let task = tokio::spawn(watch).abort_handle();
            Some(Checking {
                check,
                started_at: started_at.to_owned(),
                task,
            })
        }
    }
}
