//! Where new instances go, and under which address.
//!
//! Owns the spread of slots over hosts: evenly over the schedulable ones, stable, beside what it
//! replaces where that keeps it even. Must not move what exists. Invariant: an address is given
//! out once per pass, and only from what was reserved for it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use crds::Reason;
use crds::names::Revision;
use crds::release::InstanceState;

use super::instance::{Instance, Intent, Seen, Served};
use super::pass::Pass;

/// Addresses that this pass may still give out, by host, rising.
#[derive(Clone, Debug, Default)]
pub(crate) struct Room {
    free: BTreeMap<String, Vec<Ipv4Addr>>,
}

impl Room {
    /// What was reserved, without what the record already holds.
    pub fn of(pass: &Pass<'_>) -> Self {
        let held: BTreeSet<Ipv4Addr> = pass.instances.iter().filter_map(|i| i.address).collect();
        let free = pass
            .observed
            .hosts
            .iter()
            .map(|(host, facts)| {
                let mut free: Vec<Ipv4Addr> = facts
                    .addresses
                    .iter()
                    .copied()
                    .filter(|address| !held.contains(address))
                    .collect();
                free.reverse();
                (host.clone(), free)
            })
            .collect();
        Self { free }
    }

    fn take(&mut self, host: &str) -> Option<Ipv4Addr> {
        self.free.get_mut(host)?.pop()
    }
}

/// Adds the next attempt of a slot to the instances, or says why it cannot.
pub(crate) fn add(pass: &mut Pass<'_>, revision: &str, slot: u32) -> Option<usize> {
    let parsed = Revision::parse(revision)?;
    let host = host_for(pass, revision, slot)?;
    let Some(facts) = pass.host(&host) else {
        if let Some(trouble) = pass.host_unknown(&host) {
            pass.trouble(trouble.reason, trouble.message);
        }
        return None;
    };
    match &facts.network {
        crate::Fact::Known(Some(_)) => {}
        crate::Fact::Known(None) => {
            pass.trouble(
                Reason::NetworkPending,
                format!("waiting for the namespace's network on host {host}"),
            );
            return None;
        }
        crate::Fact::Unknown(why) => {
            pass.trouble(
                Reason::Unreachable,
                format!("waiting for host {host}: {why}"),
            );
            return None;
        }
    }
    let Some(address) = pass.room.take(&host) else {
        pass.trouble(
            Reason::AddressesExhausted,
            format!("no address is free on the namespace's network on host {host}; scale something down, or run it in another namespace"),
        );
        return None;
    };
    let attempt = pass.next_attempt(revision, slot);
    let name = pass.instance_name(parsed, slot, attempt);
    pass.instances.push(Instance {
        name,
        host,
        address: Some(address),
        past: None,
        seen: Seen::Missing,
        served: Served::Absent,
        address_taken: false,
        resources_changed: false,
        unusable: false,
        in_flight: 0,
        intent: Intent::Leave,
        state: InstanceState::Starting,
        restarts: 0,
        since_anew: false,
        forgotten: false,
    });
    Some(pass.instances.len() - 1)
}

/// The host for a slot of a revision. Says why when there is none.
pub(crate) fn host_for(pass: &mut Pass<'_>, revision: &str, slot: u32) -> Option<String> {
    let beside = beside(pass, revision, slot);
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for (name, facts) in &pass.observed.hosts {
        if facts.schedulable {
            counts.insert(name, 0);
        }
    }
    // A host that cannot be worked with gets nothing new as long as there is another.
    if counts.keys().any(|name| pass.host_unknown(name).is_none()) {
        counts.retain(|name, _| pass.host_unknown(name).is_none());
    }
    for instance in &pass.instances {
        if instance.revision() == revision
            && instance.is_viable()
            && instance.name.slot != slot
            && instance.state != InstanceState::Stopped
            && let Some(count) = counts.get_mut(instance.host.as_str())
        {
            *count += 1;
        }
    }
    // A host that takes nothing new keeps being updated in place.
    if let Some(host) = &beside
        && !counts.contains_key(host.as_str())
        && pass.observed.hosts.contains_key(host)
    {
        return beside;
    }
    let fewest = counts.values().min().copied();
    let chosen = counts
        .iter()
        .filter(|(_, count)| Some(**count) == fewest)
        .map(|(name, _)| *name)
        .min_by_key(|name| (beside.as_deref() != Some(*name), *name))
        .map(str::to_owned);
    if chosen.is_none() {
        let namespace = super::pass::namespace_of(pass.pipeline);
        pass.trouble(
            Reason::NoHost,
            format!("no host takes instances of namespace {namespace}; add the namespace to allowedNamespaces of a DockerHost, or uncordon one"),
        );
    }
    chosen
}

/// Where the slot was before: an earlier attempt, else the same slot of another revision.
fn beside(pass: &Pass<'_>, revision: &str, slot: u32) -> Option<String> {
    let same = pass
        .instances
        .iter()
        .filter(|i| i.name.slot == slot && i.revision() == revision)
        .max_by_key(|i| i.name.attempt);
    let other = pass.instances.iter().find(|i| {
        i.name.slot == slot && i.revision() != revision && i.state != InstanceState::Failed
    });
    same.or(other).map(|i| i.host.clone())
}
