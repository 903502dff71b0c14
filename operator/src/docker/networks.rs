//! Calls about networks. Names of networks are not unique (F4): after the create, refer to a network by its id.

use std::collections::HashMap;

use bollard::models::{
    EndpointSettings, Ipam, IpamConfig, Network, NetworkConnectRequest, NetworkCreateRequest,
    NetworkCreateResponse, NetworkDisconnectRequest, NetworkInspect,
};
use serde::Serialize;

use super::client::Ask;
use super::containers::gone_is_success;
use super::{Engine, Outcome, calls};

/// A bridge network to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bridge {
    /// Its name.
    pub name: String,
    /// All its addresses, for example `10.210.0.0/22`. A subnet is exclusive on an Engine (F38).
    pub subnet: String,
    /// The part of them that Docker may give out by itself.
    pub ip_range: String,
    /// The host's address on it; without it the Engine would take the first of the range (F34).
    pub gateway: String,
    /// Its labels.
    pub labels: HashMap<String, String>,
}

/// The create as sent: newer APIs have dropped the field from their model, older ones need it (F38).
#[derive(Serialize)]
struct Body {
    #[serde(rename = "CheckDuplicate")]
    check_duplicate: bool,
    #[serde(flatten)]
    request: NetworkCreateRequest,
}

/// All networks that carry every one of `labels` (`key` or `key=value`). No labels: all there are.
pub async fn list(engine: &Engine, labels: &[String]) -> Result<Vec<Network>, Outcome> {
    engine
        .client
        .read(Ask::new(&calls::NETWORK_LIST, "").labels(labels))
        .await
}

/// One network with its endpoints.
pub async fn inspect(engine: &Engine, id: &str) -> Result<NetworkInspect, Outcome> {
    engine
        .client
        .read(Ask::new(&calls::NETWORK_INSPECT, id))
        .await
}

/// Makes a bridge and gives its id. Refused when the name is taken ([`Outcome::Conflict`], a check without a lock) or
/// when the subnet overlaps another network's ([`Outcome::Failed`], exclusive).
pub async fn create(engine: &Engine, bridge: &Bridge) -> Result<String, Outcome> {
    let Bridge {
        name,
        subnet,
        ip_range,
        gateway,
        labels,
    } = bridge.clone();
    let config = IpamConfig {
        subnet: Some(subnet),
        ip_range: Some(ip_range),
        gateway: Some(gateway),
        auxiliary_addresses: None,
    };
    let request = NetworkCreateRequest {
        name,
        driver: Some("bridge".to_owned()),
        ipam: Some(Ipam {
            driver: Some("default".to_owned()),
            config: Some(vec![config]),
            options: None,
        }),
        labels: Some(labels),
        ..NetworkCreateRequest::default()
    };
    let ask = Ask::new(&calls::NETWORK_CREATE, bridge.name.as_str()).json(&Body {
        check_duplicate: true,
        request,
    });
    let made: NetworkCreateResponse = engine.client.read(ask).await?;
    Ok(made.id)
}

/// Puts a container on a network, with address and aliases as in `endpoint`.
pub async fn connect(
    engine: &Engine,
    id: &str,
    container: &str,
    endpoint: EndpointSettings,
) -> Result<(), Outcome> {
    let body = NetworkConnectRequest {
        container: container.to_owned(),
        endpoint_config: Some(endpoint),
    };
    engine
        .client
        .send(Ask::new(&calls::NETWORK_CONNECT, id).json(&body))
        .await
        .map(drop)
}

/// Takes a container off a network.
pub async fn disconnect(engine: &Engine, id: &str, container: &str) -> Result<(), Outcome> {
    let body = NetworkDisconnectRequest {
        container: container.to_owned(),
        force: None,
    };
    engine
        .client
        .send(Ask::new(&calls::NETWORK_DISCONNECT, id).json(&body))
        .await
        .map(drop)
}

/// Removes a network; a missing one is success, one with running containers is refused.
pub async fn remove(engine: &Engine, id: &str) -> Result<(), Outcome> {
    gone_is_success(
        engine
            .client
            .send(Ask::new(&calls::NETWORK_REMOVE, id))
            .await
            .map(drop),
    )
}
