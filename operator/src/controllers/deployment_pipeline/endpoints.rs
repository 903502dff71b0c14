//! Names and addresses of containers, as the Engine lists them.
//!
//! Pure. Must not know whose the containers are.

use std::net::Ipv4Addr;

use bollard::models::ContainerSummary;

/// The name that people know a container by.
pub(super) fn display_name(container: &ContainerSummary) -> String {
    let name = container.names.iter().flatten().next();
    let id = container.id.clone().unwrap_or_default();
    name.map_or(id, |name| name.trim_start_matches('/').to_owned())
}

/// Every address that a container has or will have again.
pub(super) fn addresses(container: &ContainerSummary) -> Vec<Ipv4Addr> {
    let networks = container
        .network_settings
        .as_ref()
        .and_then(|settings| settings.networks.as_ref());
    let endpoints = networks.into_iter().flat_map(|networks| networks.values());
    endpoints
        .flat_map(|endpoint| {
            let fixed = endpoint
                .ipam_config
                .as_ref()
                .and_then(|config| config.ipv4_address.as_ref());
            [fixed, endpoint.ip_address.as_ref()]
        })
        .flatten()
        .filter_map(|text| text.parse().ok())
        .collect()
}

/// The address of a container on one network.
pub(super) fn address_on(container: &ContainerSummary, network: &str) -> Option<Ipv4Addr> {
    let networks = container.network_settings.as_ref()?.networks.as_ref()?;
    let endpoint = networks
        .values()
        .find(|endpoint| endpoint.network_id.as_deref() == Some(network))?;
    endpoint.ip_address.as_ref()?.parse().ok()
}
