//! Who may lose its traffic, and when what has lost it may be stopped.
//!
//! Owns the promise that ready, routed instances never fall below the minimum. Must not know why
//! somebody leaves. Invariants: pushes to several hosts may land in any order, so that a host pays
//! for what leaves there with what is routed by the very same push, or out of what all hosts have
//! acknowledged beyond the minimum; a container stops only when its proxy has acknowledged that it
//! gets nothing new and nothing is in flight, or the drain limit has passed.

use std::collections::BTreeMap;

use crds::release::InstanceState;
use jiff::Timestamp;
use routes::InstanceState as RouteState;

use crate::fact::{ContainerState, RestartPolicy};

use super::instance::{Instance, Intent, Served, Traffic};
use super::pass::Pass;
use super::{moment, routes as sections};

/// What the proxy may take longer than its own limits to cut and report, in seconds: it counts
/// from its own clock and reports after the cut.
const SLACK_SECONDS: u32 = 10;

/// Which of the candidates, given in order of preference, may lose their traffic in this pass.
/// `most` bounds how many leave, if anything does.
pub(crate) fn permitted(pass: &Pass<'_>, candidates: &[usize], most: Option<usize>) -> Vec<usize> {
    let mut credits = credits(pass);
    let mut spare = acknowledged(pass).saturating_sub(pass.limits.floor);
    let mut left = most.unwrap_or(usize::MAX);
    let mut leaving = Vec::new();
    for index in candidates {
        let instance = &pass.instances[*index];
        // One that has begun to leave takes nothing from anybody.
        if instance.is_leaving() {
            leaving.push(*index);
            continue;
        }
        if left == 0 {
            continue;
        }
        // One that begins with this pass pays with its own credit.
        if !works(pass, instance) {
            leaving.push(*index);
            left -= 1;
            continue;
        }
        let place = if pass.sectioned {
            instance.host.as_str()
        } else {
            ""
        };
        let credit = credits.get_mut(place).filter(|credit| **credit > 0);
        if let Some(credit) = credit {
            *credit -= 1;
        } else if spare > 0 {
            spare -= 1;
        } else {
            continue;
        }
        leaving.push(*index);
        left -= 1;
    }
    leaving
}

/// How many instances do their work and are not on their way out, as every proxy has acknowledged.
pub(crate) fn acknowledged(pass: &Pass<'_>) -> usize {
    pass.instances
        .iter()
        .filter(|i| i.is_serving(pass.sectioned) && !i.is_leaving())
        .count()
}

/// How many ready instances begin their work with this pass, by host; workers without a section
/// count everywhere.
pub(crate) fn credits(pass: &Pass<'_>) -> BTreeMap<String, usize> {
    let mut credits = BTreeMap::new();
    for instance in &pass.instances {
        if begins(pass, instance) {
            let place = if pass.sectioned {
                instance.host.clone()
            } else {
                String::new()
            };
            *credits.entry(place).or_insert(0) += 1;
        }
    }
    credits
}

/// True when an instance does its work, or begins to with this pass.
pub(crate) fn works(pass: &Pass<'_>, instance: &Instance) -> bool {
    instance.is_serving(pass.sectioned) || begins(pass, instance)
}

/// True when an instance begins its work with this pass.
pub(crate) fn begins(pass: &Pass<'_>, instance: &Instance) -> bool {
    matches!(
        instance.intent,
        Intent::Run {
            traffic: Traffic::Routed,
            ..
        }
    ) && !instance.is_serving(pass.sectioned)
        && !instance.is_routed()
        && sections::is_fit(pass, instance)
}

/// True when an instance may be told to leave: Docker will not start it again behind our back, and
/// it is not frozen, so that what it does was seen.
pub(crate) fn is_disarmed(instance: &Instance) -> bool {
    instance.container().is_none_or(|container| {
        !instance.is_live()
            || (container.restart_policy == RestartPolicy::No
                && container.state != ContainerState::Paused)
    })
}

/// True when an instance that is to leave gets nothing new and has nothing left in flight, or its
/// time is over. Wakes when that will be.
pub(crate) fn is_drained(pass: &mut Pass<'_>, index: usize) -> bool {
    let instance = &pass.instances[index];
    let quiet = match instance.served {
        Served::As(RouteState::Draining) | Served::Absent => true,
        Served::As(RouteState::Routed | RouteState::Checked) | Served::Stale => false,
    };
    if !quiet {
        return false;
    }
    if instance.in_flight == 0 {
        return true;
    }
    let Some(limit) = limit(pass, instance) else {
        return false;
    };
    pass.wake_at(limit);
    limit <= pass.now
}

/// When an instance that leaves is stopped whatever it still does.
fn limit(pass: &Pass<'_>, instance: &Instance) -> Option<Timestamp> {
    let past = instance.past.as_ref()?;
    let leaving = match past.state {
        InstanceState::Draining | InstanceState::Failed | InstanceState::Removing => true,
        InstanceState::Starting
        | InstanceState::Warming
        | InstanceState::Serving
        | InstanceState::Stopped
        | InstanceState::BackOff => false,
    };
    let since = past.since.as_ref().filter(|_| leaving)?.0;
    let drain = pass.pipeline.spec.traffic.as_ref().map(|t| &t.drain);
    let seconds = drain.map_or(0, |drain| drain.request_seconds.max(drain.stream_seconds));
    Some(moment::after(since, seconds.saturating_add(SLACK_SECONDS)))
}
