//! What the API's objects say that an observation needs: grants, blocks, recorded addresses.
//!
//! Pure. Must not know Engines or proxies.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use crds::{ConditionStatus, ConditionType, DockerHost, Reason, Release};
use plan::docker_host::blocks_pipelines;

/// Whether a host lets pipelines of a namespace in.
pub(super) fn grants(host: &DockerHost, namespace: &str) -> bool {
    host.spec
        .allowed_namespaces
        .iter()
        .any(|allowed| allowed == "*" || allowed == namespace)
}

/// Why a host cannot be worked with at all, as its own pass found out. A port that is taken and a
/// proxy or Engine that is away are facts that this pass sees for itself.
pub(super) fn blocked(host: &DockerHost) -> Option<(Reason, String)> {
    let unclaimed = || {
        (
            Reason::NetworkPending,
            "the host is not claimed yet".to_owned(),
        )
    };
    let Some(status) = &host.status else {
        return Some(unclaimed());
    };
    let ready = status
        .conditions
        .iter()
        .find(|condition| condition.type_ == ConditionType::Ready);
    let trouble = ready
        .filter(|ready| ready.status == ConditionStatus::False)
        .map(|ready| (ready.reason, ready.message.clone()));
    match trouble {
        Some((reason, message)) if blocks_pipelines(reason) => Some((reason, message)),
        // Not claimed: nothing here could carry the host's identity, and the trouble says why.
        trouble if status.host_id.is_none() => Some(trouble.unwrap_or_else(unclaimed)),
        Some(_) | None => None,
    }
}

/// Addresses of instances in any Release, by host.
pub(super) fn recorded_addresses(releases: &[Release]) -> BTreeMap<String, BTreeSet<Ipv4Addr>> {
    let mut recorded: BTreeMap<String, BTreeSet<Ipv4Addr>> = BTreeMap::new();
    let stages = releases
        .iter()
        .filter_map(|release| release.status.as_ref())
        .flat_map(|s| &s.stages);
    for instance in stages.flat_map(|stage| &stage.instances) {
        recorded
            .entry(instance.host.clone())
            .or_default()
            .insert(instance.address);
    }
    recorded
}
