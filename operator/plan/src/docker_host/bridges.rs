//! One bridge per namespace: which are wanted, which range each gets, which of two goes.

use std::collections::BTreeMap;

use crds::{Reason, names};

use super::subnet::Subnet;
use super::verdict::Trouble;
use super::{Case, Inventory, Network, network_status};
use crate::Step;
use crate::fact::Fact;

/// What stands in the way of a range.
enum Taken {
    /// A bridge of ours.
    Ours,
    /// Another network or route, in words.
    Other(String),
}

pub(super) fn decide(case: &mut Case<'_>, inventory: &Inventory) -> Vec<Trouble> {
    let (kept, doubled) = ours(inventory);
    case.plan.record.networks = network_status(&kept);
    // The bridge of a name that is there twice (F4): the younger has no instance of ours, or refuses to go.
    for network in doubled {
        case.step(remove(network));
    }
    let with_instances = inventory.instances.keys().map(|(namespace, _)| namespace);
    let mut missing: Vec<String> = case
        .observed
        .namespaces
        .iter()
        .chain(with_instances)
        .filter(|namespace| !kept.contains_key(*namespace))
        .cloned()
        .collect();
    missing.sort();
    missing.dedup();
    create(case, inventory, &missing)
}

/// True while a namespace has a pipeline, or instances here.
pub(super) fn is_needed(case: &Case<'_>, inventory: &Inventory, namespace: &str) -> bool {
    case.observed.namespaces.contains(namespace)
        || inventory.instances.keys().any(|(of, _)| of == namespace)
}

/// Makes the missing bridges, as far as there is room.
fn create(case: &mut Case<'_>, inventory: &Inventory, missing: &[String]) -> Vec<Trouble> {
    let mut troubles = Vec::new();
    let mut planned: Vec<Subnet> = Vec::new();
    for namespace in missing {
        let name = names::bridge(namespace);
        if inventory
            .networks
            .iter()
            .any(|network| network.name == name && network.bridge_of.is_none())
        {
            troubles.push(Trouble::new(
                Reason::ForeignObject,
                format!("the network {name} is not Mooring's; rename or remove it"),
            ));
            continue;
        }
        let routes = match &case.observed.routes {
            Fact::Known(routes) => routes,
            Fact::Unknown(why) => {
                troubles.push(Trouble::unknown(
                    Reason::NetworkClash,
                    format!("no bridge is made for {namespace}, since the host's routes cannot be read: {why}"),
                ));
                continue;
            }
        };
        match pick(case, inventory, routes, &planned, namespace) {
            Ok(subnet) => {
                planned.push(subnet);
                case.step(Step::CreateBridge {
                    namespace: namespace.clone(),
                    subnet: subnet.to_string(),
                    ip_range: subnet.last_24().to_string(),
                    gateway: subnet.gateway(),
                });
            }
            Err(trouble) => troubles.push(trouble),
        }
    }
    troubles
}

/// The range for a namespace: the one it had, if that is free, else the first that is.
fn pick(
    case: &Case<'_>,
    inventory: &Inventory,
    routes: &BTreeMap<String, String>,
    planned: &[Subnet],
    namespace: &str,
) -> Result<Subnet, Trouble> {
    let cidr = &case.object.spec.network.cidr;
    let range = Subnet::parse(cidr)
        .ok_or_else(|| Trouble::new(Reason::NetworkClash, format!("{cidr} is no IPv4 network")))?;
    let old = case
        .object
        .status
        .iter()
        .flat_map(|status| &status.networks);
    let recorded = old
        .into_iter()
        .find(|network| network.namespace == namespace)
        .and_then(|network| Subnet::parse(&network.subnet))
        .filter(|subnet| range.bridges().any(|bridge| bridge == *subnet));
    let mut clash = None;
    for subnet in recorded.into_iter().chain(range.bridges()) {
        match taken(subnet, inventory, routes, planned) {
            None => return Ok(subnet),
            Some(Taken::Ours) => {}
            Some(Taken::Other(what)) => clash = clash.or(Some(what)),
        }
    }
    Err(match clash {
        Some(what) => Trouble::new(
            Reason::NetworkClash,
            format!(
                "no range in {cidr} is free for namespace {namespace}: {what} is in the way. Free it, or make another DockerHost with another spec.network.cidr"
            ),
        ),
        None => Trouble::new(
            Reason::NetworkFull,
            format!(
                "all {} ranges of {cidr} are in use; namespace {namespace} gets no bridge here",
                range.bridges().count()
            ),
        ),
    })
}

/// What is in the way of a range, if anything.
fn taken(
    subnet: Subnet,
    inventory: &Inventory,
    routes: &BTreeMap<String, String>,
    planned: &[Subnet],
) -> Option<Taken> {
    if planned.contains(&subnet) {
        return Some(Taken::Ours);
    }
    let subnets = |network: &Network| -> Vec<Subnet> {
        network
            .subnets
            .iter()
            .filter_map(|text| Subnet::parse(text))
            .collect()
    };
    for network in &inventory.networks {
        if subnets(network).iter().any(|other| other.overlaps(subnet)) {
            return Some(match network.bridge_of {
                Some(_) => Taken::Ours,
                None => Taken::Other(format!("the network {}", network.name)),
            });
        }
    }
    // A route to a network of the Engine is that network's own.
    let of_engine = |route: Subnet| {
        inventory
            .networks
            .iter()
            .any(|network| subnets(network).contains(&route))
    };
    routes.iter().find_map(|(text, interface)| {
        let route = Subnet::parse(text)?;
        (route.overlaps(subnet) && !of_engine(route))
            .then(|| Taken::Other(format!("the route to {text} through {interface}")))
    })
}

/// The bridges of ours: the oldest of each namespace, and the others.
pub(super) fn ours(inventory: &Inventory) -> (BTreeMap<String, &Network>, Vec<&Network>) {
    let mut kept: BTreeMap<String, &Network> = BTreeMap::new();
    let mut doubled = Vec::new();
    let mut networks: Vec<&Network> = inventory.networks.iter().collect();
    networks.sort_by(|a, b| (&a.created, &a.id).cmp(&(&b.created, &b.id)));
    for network in networks {
        let Some(namespace) = &network.bridge_of else {
            continue;
        };
        if kept.contains_key(namespace) {
            doubled.push(network);
        } else {
            kept.insert(namespace.clone(), network);
        }
    }
    (kept, doubled)
}

pub(super) fn remove(network: &Network) -> Step {
    Step::RemoveBridge {
        id: network.id.clone(),
        name: network.name.clone(),
    }
}
