//! A host that is let go: refused while instances of pipelines are on it, then everything of ours goes, then the
//! finalizer. Data volumes are never among it.

use crds::{Reason, names};

use super::verdict::Trouble;
use super::{Case, Inventory, StateVolume, bridges, proxy};
use crate::fact::ContainerState;
use crate::{ApiStep, Step};

/// Pipelines that a message names; more are counted.
const MAX_NAMED: usize = 5;

pub(super) fn decide(case: &mut Case<'_>, inventory: &Inventory) -> Vec<Trouble> {
    let (kept, doubled) = bridges::ours(inventory);
    case.plan.record.networks = super::network_status(&kept);
    if !case.has_finalizer() {
        return vec![going("waits for others to let the object go")];
    }
    if !inventory.instances.is_empty() {
        return vec![going(&in_the_way(inventory))];
    }
    for container in &inventory.proxies {
        if container.state != ContainerState::Removing {
            proxy::remove(case, container);
        }
    }
    for network in kept.values().copied().chain(doubled) {
        case.step(bridges::remove(network));
    }
    if let StateVolume::Ours { .. } = inventory.volume {
        case.step(Step::RemoveProxyVolume);
    }
    for sha12 in &inventory.images {
        case.step(Step::UntagImage {
            tag: names::proxy_image(sha12),
        });
    }
    if case.plan.hosts.is_empty() && inventory.proxies.is_empty() {
        case.plan.api.push(ApiStep::DropFinalizer);
    }
    case.plan.record.proxy = None;
    vec![going("proxy, bridges and claim are being removed")]
}

fn going(what: &str) -> Trouble {
    Trouble::new(Reason::Deleting, what.to_owned())
}

/// Whose instances are in the way.
fn in_the_way(inventory: &Inventory) -> String {
    let total: u32 = inventory.instances.values().sum();
    let mut named: Vec<String> = inventory
        .instances
        .iter()
        .take(MAX_NAMED)
        .map(|((namespace, pipeline), count)| format!("{namespace}/{pipeline} ({count})"))
        .collect();
    let more = inventory.instances.len().saturating_sub(MAX_NAMED);
    if more > 0 {
        named.push(format!("{more} more"));
    }
    format!(
        "waits for {total} instances of {}: delete these pipelines, or take their namespaces out of spec.allowedNamespaces of this host and let them move",
        named.join(", ")
    )
}
