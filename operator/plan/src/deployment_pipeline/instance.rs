//! One instance in one pass: what the record says of it joined with what was observed, and what
//! that means.
//!
//! Owns the meaning of a container's facts: fit to go on, ended, ready for how long. Must not know
//! rollouts. Invariant: nothing is read out of a host that is not known.

use std::net::Ipv4Addr;

use crds::Reason;
use crds::names::InstanceName;
use crds::release::{InstanceState, InstanceStatus};
use jiff::Timestamp;
use routes::InstanceState as RouteState;

use crate::fact::{ContainerFacts, ContainerState, Readiness, RestartPolicy};

use super::moment;

/// One instance: the record and the facts of it, and what this pass makes of both.
#[derive(Clone, Debug)]
pub(crate) struct Instance {
    /// Which instance.
    pub name: InstanceName,
    /// Where it is or is going to be.
    pub host: String,
    /// Its fixed address, from the record, else as observed.
    pub address: Option<Ipv4Addr>,
    /// What the record said before this pass.
    pub past: Option<InstanceStatus>,
    /// Its container.
    pub seen: Seen,
    /// Its entry in the section that the proxy serves.
    pub served: Served,
    /// True: it does not run, and something foreign has its address by now.
    pub address_taken: bool,
    /// True: somebody changed what it may use of the host.
    pub resources_changed: bool,
    /// True: it does not run, and the Engine said that it will never start it again.
    pub unusable: bool,
    /// Requests and streams in flight.
    pub in_flight: u64,
    /// What is to become of it.
    pub intent: Intent,
    /// What the record will say it is in.
    pub state: InstanceState,
    /// What the record will say of its restarts.
    pub restarts: u32,
    /// True: `since` begins anew though the state stays.
    pub since_anew: bool,
    /// True: the record drops it.
    pub forgotten: bool,
}

/// The container of an instance, as far as it is known.
#[derive(Clone, Debug)]
pub(crate) enum Seen {
    /// The host cannot be asked or must not be touched; says why.
    Unknown(String),
    /// It does not exist.
    Missing,
    /// It exists.
    Present(Box<ContainerFacts>),
}

/// An instance in the served section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Served {
    /// It is not there.
    Absent,
    /// It is, with this very run of this very container.
    As(RouteState),
    /// It is, but with an earlier run or another container.
    Stale,
}

/// What is to become of an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Intent {
    /// It is left as it is.
    Leave,
    /// It runs.
    Run {
        /// What it may get.
        traffic: Traffic,
        /// What Docker is to do when it ends.
        policy: Policy,
    },
    /// It is to exist but not to be started yet.
    Reserve,
    /// It loses its traffic, finishes, stops.
    Retire {
        /// False: it has to wait, since others could not do its work.
        permitted: bool,
        /// What comes then.
        after: After,
    },
}

/// Whether an instance may be given traffic once it is fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Traffic {
    /// It is only checked, unless it has traffic already.
    Checked,
    /// As soon as it is fit.
    Routed,
}

/// What Docker is to do when an instance that serves ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Policy {
    /// Start it again, once it is proven.
    WhenProven,
    /// Nothing: it is about to be drained.
    Never,
}

/// What becomes of an instance that has stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum After {
    /// It stays, stopped, for a rollback.
    Keep,
    /// It stays, stopped, for inspection.
    KeepFailed,
    /// It goes.
    Remove,
}

/// How an instance ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ended {
    /// In one word.
    pub reason: Reason,
    /// For people: `exited with 1`.
    pub words: String,
}

impl Instance {
    /// The container, if it exists and is known.
    pub fn container(&self) -> Option<&ContainerFacts> {
        match &self.seen {
            Seen::Present(container) => Some(container),
            Seen::Unknown(_) | Seen::Missing => None,
        }
    }

    /// Why nothing is known of it.
    pub fn unknown(&self) -> Option<&str> {
        match &self.seen {
            Seen::Unknown(why) => Some(why),
            Seen::Missing | Seen::Present(_) => None,
        }
    }

    /// The revision that it runs.
    pub fn revision(&self) -> &str {
        self.name.revision.as_str()
    }

    /// True when its container runs, frozen or not.
    pub fn is_running(&self) -> bool {
        self.container()
            .is_some_and(|c| matches!(c.state, ContainerState::Running | ContainerState::Paused))
    }

    /// True when its container was started and may be running or come back by itself.
    pub fn is_live(&self) -> bool {
        match &self.seen {
            Seen::Unknown(_) => !matches!(
                self.state,
                InstanceState::Stopped | InstanceState::Failed | InstanceState::Removing
            ),
            Seen::Missing => false,
            Seen::Present(c) => matches!(
                c.state,
                ContainerState::Running | ContainerState::Paused | ContainerState::Restarting
            ),
        }
    }

    /// Since when it is ready without a break, while it runs. One without its network is reached by nobody, whatever
    /// the last check said.
    pub fn ready_since(&self) -> Option<Timestamp> {
        let container = self.container().filter(|c| {
            let reached = c.address.is_some() && !c.network_gone;
            c.state == ContainerState::Running && !c.stopping && reached
        })?;
        match &container.readiness {
            Readiness::Ready(since) => Some(*since),
            Readiness::NotReady { .. } | Readiness::Unknown(_) => None,
        }
    }

    /// True when it runs and whoever judges its readiness cannot tell.
    pub fn readiness_unknown(&self) -> Option<&str> {
        let container = self
            .container()
            .filter(|c| c.state == ContainerState::Running)?;
        match &container.readiness {
            Readiness::Unknown(why) => Some(why),
            Readiness::Ready(_) | Readiness::NotReady { .. } => None,
        }
    }

    /// True when the proxy has acknowledged that it gives this run traffic.
    pub fn is_routed(&self) -> bool {
        self.served == Served::As(RouteState::Routed) && self.is_running()
    }

    /// True when it does its work: ready and routed, or for a worker without a section ready and
    /// recorded as serving.
    pub fn is_serving(&self, sectioned: bool) -> bool {
        let works = if sectioned {
            self.is_routed()
        } else {
            self.state == InstanceState::Serving
        };
        works && self.ready_since().is_some()
    }

    /// True when it has lost its traffic on the way out. One that is only recorded to leave and is
    /// still routed does its work: the minimum may have changed since.
    pub fn is_leaving(&self) -> bool {
        match self.served {
            Served::As(RouteState::Draining) => true,
            Served::As(RouteState::Routed) => false,
            Served::As(RouteState::Checked) | Served::Absent | Served::Stale => {
                self.state == InstanceState::Draining
            }
        }
    }

    /// True when it was recorded with its container, which does not exist any more.
    pub fn is_lost(&self) -> bool {
        matches!(self.seen, Seen::Missing)
            && self.past.as_ref().is_some_and(|past| !past.id.is_empty())
    }

    /// Why its container cannot do the work again, if so: another attempt must.
    pub fn broken(&self) -> Option<&'static str> {
        let container = self.container()?;
        let recorded = self.past.as_ref().map(|past| past.address);
        match container.state {
            ContainerState::Removing => Some("is being removed"),
            ContainerState::Dead => Some("is half removed"),
            ContainerState::Created
            | ContainerState::Running
            | ContainerState::Paused
            | ContainerState::Restarting
            | ContainerState::Exited => {
                if container.network_gone {
                    Some("has lost its network")
                } else if container.address.is_none() {
                    Some("is not attached to its network")
                } else if recorded.is_some() && recorded != container.address {
                    Some("has another address than recorded")
                } else if self.address_taken {
                    Some("has lost its address to something foreign")
                } else if self.resources_changed {
                    Some("may use other resources than its release says")
                } else if self.unusable {
                    Some("cannot be started any more")
                } else {
                    None
                }
            }
        }
    }

    /// True when the slot can go on with it.
    pub fn is_viable(&self) -> bool {
        !matches!(self.state, InstanceState::Failed | InstanceState::Removing)
            && !self.forgotten
            && !self.is_lost()
            && self.broken().is_none()
    }

    /// How its last run ended, when it is over and was not meant to be.
    pub fn ended(&self) -> Option<Ended> {
        let container = self.container()?;
        let ended = match container.state {
            ContainerState::Exited | ContainerState::Dead | ContainerState::Restarting => true,
            ContainerState::Created
            | ContainerState::Running
            | ContainerState::Paused
            | ContainerState::Removing => false,
        };
        if !ended || container.started_at.is_none() || self.start_is_due() {
            return None;
        }
        if container.oom_killed {
            return Some(Ended {
                reason: Reason::OutOfMemory,
                words: "ran out of memory".to_owned(),
            });
        }
        let words = container
            .exit_code
            .map_or_else(|| "ended".to_owned(), |code| format!("exited with {code}"));
        Some(Ended {
            reason: Reason::Exited,
            words,
        })
    }

    /// True when the record says that it is started again and the run that ended is the one before.
    /// Recorded times are rounded up, so the end of the run before is never later.
    pub fn start_is_due(&self) -> bool {
        let Some(past) = &self.past else { return false };
        if past.state != InstanceState::Starting || past.restarts == 0 {
            return false;
        }
        let finished = self.container().and_then(|c| c.finished_at);
        match (finished, &past.since) {
            (Some(finished), Some(since)) => finished < since.0,
            (None, _) | (_, None) => true,
        }
    }

    /// True when it was part of the set that was verified at `verified`, or Docker already keeps
    /// it alive: once it is ready it needs no other proof.
    pub fn proven_before(&self, verified: Option<Timestamp>) -> bool {
        let Some(container) = self.container() else {
            return false;
        };
        container.restart_policy == RestartPolicy::Always
            || matches!((verified, container.created_at), (Some(v), Some(c)) if c <= v)
    }

    /// When its readiness is long enough, if it is ready: `min_ready` seconds without a break.
    pub fn proven_at(&self, min_ready: u32) -> Option<Timestamp> {
        self.ready_since()
            .map(|since| moment::after(since, min_ready))
    }

    /// The words of a failed step on it. `start` and `create` are the steps' renderings.
    pub fn slot_words(&self) -> String {
        format!("instance {}", self.name.slot)
    }
}

/// What an instance without a record is in, by its facts alone.
pub(crate) fn state_of(
    container: &ContainerFacts,
    served: Served,
    sectioned: bool,
) -> InstanceState {
    match container.state {
        ContainerState::Created => InstanceState::Starting,
        ContainerState::Running | ContainerState::Paused | ContainerState::Restarting => {
            match served {
                Served::As(RouteState::Routed) => InstanceState::Serving,
                Served::As(RouteState::Draining) => InstanceState::Draining,
                Served::As(RouteState::Checked) | Served::Absent | Served::Stale => {
                    if !sectioned && container.restart_policy == RestartPolicy::Always {
                        InstanceState::Serving
                    } else {
                        InstanceState::Warming
                    }
                }
            }
        }
        ContainerState::Exited => match container.restart_policy {
            RestartPolicy::Always => InstanceState::Serving,
            RestartPolicy::No | RestartPolicy::Other => InstanceState::Stopped,
        },
        ContainerState::Removing | ContainerState::Dead => InstanceState::Removing,
    }
}
