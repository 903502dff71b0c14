//! Networks of the fake Engine: subnets are exclusive and names are not (F4, F38), addresses that nobody fixed go to
//! the next one who comes (F16).

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::Shared;
use super::clock::print;
use super::events::text;
use super::reply::{Asked, Handled, Refusal, empty_reply, json_reply};
use super::world::{Endpoint, World, labels_of};

/// The ports of a Linux bridge (F37).
const MAX_PORTS: usize = 1023;

/// Some addresses that belong together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Range {
    first: u32,
    /// The number of bits of the network's part.
    bits: u32,
}

impl Range {
    /// Reads `10.210.0.0/22`.
    pub(super) fn parse(text: &str) -> Option<Range> {
        let (address, bits) = text.split_once('/')?;
        let (address, bits) = (address.parse::<Ipv4Addr>().ok()?, bits.parse::<u32>().ok()?);
        let mask = u32::MAX.checked_shl(32_u32.checked_sub(bits)?).unwrap_or(0);
        Some(Range {
            first: u32::from(address) & mask,
            bits,
        })
    }

    fn last(self) -> u32 {
        self.first | u32::MAX.checked_shr(self.bits).unwrap_or(0)
    }

    fn contains(self, address: Ipv4Addr) -> bool {
        (self.first..=self.last()).contains(&u32::from(address))
    }

    fn overlaps(self, other: Range) -> bool {
        self.first <= other.last() && other.first <= self.last()
    }

    fn print(self) -> String {
        format!("{}/{}", Ipv4Addr::from(self.first), self.bits)
    }
}

/// A network.
#[derive(Debug, Clone)]
pub(super) struct Network {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) created: Timestamp,
    /// `bridge`, `host` or `null`.
    pub(super) driver: &'static str,
    pub(super) subnet: Option<Range>,
    pub(super) range: Option<Range>,
    pub(super) gateway: Option<Ipv4Addr>,
    /// Whether the gateway was asked for: only then it is shown (F34).
    pub(super) shows_gateway: bool,
    pub(super) labels: BTreeMap<String, String>,
}

impl Network {
    /// Whether its addresses are given by the Engine.
    pub(super) fn has_addresses(&self) -> bool {
        self.subnet.is_some()
    }

    fn is_predefined(&self) -> bool {
        matches!(self.name.as_str(), "bridge" | "host" | "none")
    }

    /// `/22` as a number.
    pub(super) fn prefix(&self) -> u32 {
        self.subnet.map_or(0, |subnet| subnet.bits)
    }

    fn view(&self, world: &World) -> Value {
        let mut config = Map::new();
        for (key, value) in [
            ("Subnet", self.subnet.map(Range::print)),
            ("IPRange", self.range.map(Range::print)),
            (
                "Gateway",
                self.gateway
                    .filter(|_| self.shows_gateway)
                    .map(|gateway| gateway.to_string()),
            ),
        ] {
            if let Some(value) = value {
                config.insert(key.to_owned(), json!(value));
            }
        }
        let config = if config.is_empty() {
            json!([])
        } else {
            json!([config])
        };
        let containers: BTreeMap<&String, Value> = world
            .endpoints_on(&self.id)
            .map(|(id, name, endpoint)| {
                let address = endpoint.address.map(|address| format!("{address}/{}", self.prefix()));
                let view = json!({
                    "Name": name, "EndpointID": endpoint.endpoint, "MacAddress": mac(endpoint.address),
                    "IPv4Address": address.unwrap_or_default(), "IPv6Address": "",
                });
                (id, view)
            })
            .collect();
        json!({
            "Name": self.name, "Id": self.id, "Created": print(Some(self.created)), "Scope": "local",
            "Driver": self.driver, "EnableIPv6": false,
            "IPAM": { "Driver": "default", "Options": null, "Config": config },
            "Internal": false, "Attachable": false, "Ingress": false, "ConfigFrom": { "Network": "" },
            "ConfigOnly": false, "Containers": containers, "Options": {}, "Labels": self.labels,
        })
    }
}

/// The hardware address that Docker derives from an address.
pub(super) fn mac(address: Option<Ipv4Addr>) -> String {
    address.map_or_else(String::new, |address| {
        let [a, b, c, d] = address.octets();
        format!("02:42:{a:02x}:{b:02x}:{c:02x}:{d:02x}")
    })
}

impl World {
    /// Everyone who is up on a network: container id and name, and its part there.
    fn endpoints_on<'a>(
        &'a self,
        network: &'a str,
    ) -> impl Iterator<Item = (&'a String, &'a String, &'a Endpoint)> {
        self.containers
            .values()
            .filter(|container| container.is_running())
            .flat_map(move |container| {
                let on = |endpoint: &&Endpoint| endpoint.network.as_deref() == Some(network);
                container
                    .endpoints
                    .values()
                    .filter(on)
                    .map(move |endpoint| (&container.id, &container.name, endpoint))
            })
    }

    /// An address on `network`: the fixed one, if it is free, or the lowest free one that is not for fixing.
    pub(super) fn allocate(
        &self,
        network: &Network,
        fixed: Option<Ipv4Addr>,
    ) -> Result<Option<Ipv4Addr>, Refusal> {
        let Some(subnet) = network.subnet else {
            return Ok(None);
        };
        let taken: Vec<Ipv4Addr> = self
            .endpoints_on(&network.id)
            .filter_map(|(_, _, endpoint)| endpoint.address)
            .collect();
        if taken.len() >= MAX_PORTS {
            return Err(Refusal::new(
                500,
                "failed to add interface to bridge: exchange full",
            ));
        }
        if let Some(address) = fixed {
            if !subnet.contains(address) {
                let message = format!(
                    "Invalid address {address}: It does not belong to any of this network's subnets"
                );
                return Err(Refusal::new(500, message));
            }
            if taken.contains(&address) || network.gateway == Some(address) {
                return Err(Refusal::new(403, "Address already in use"));
            }
            return Ok(Some(address));
        }
        let range = network.range.unwrap_or(subnet);
        let free = |address: &Ipv4Addr| {
            let number = u32::from(*address);
            number != subnet.first
                && number != subnet.last()
                && network.gateway != Some(*address)
                && !taken.contains(address)
        };
        (range.first..=range.last())
            .map(Ipv4Addr::from)
            .find(free)
            .map(Some)
            .ok_or_else(|| {
                Refusal::new(
                    500,
                    "no available IPv4 addresses on this network's address pools",
                )
            })
    }

    /// The networks that every Engine has.
    pub(super) fn add_predefined_networks(&mut self) {
        for (name, driver, subnet) in [
            ("bridge", "bridge", Some("172.17.0.0/16")),
            ("host", "host", None),
            ("none", "null", None),
        ] {
            let subnet = subnet.and_then(Range::parse);
            let network = Network {
                id: self.ids.next(),
                name: name.to_owned(),
                created: self.clock.now(),
                driver,
                subnet,
                range: None,
                gateway: subnet.map(|subnet| Ipv4Addr::from(subnet.first + 1)),
                shows_gateway: false,
                labels: BTreeMap::new(),
            };
            self.networks.insert(network.id.clone(), network);
        }
    }

    /// Whether a network overlaps these addresses.
    fn is_used(&self, range: Range) -> bool {
        let mut used = self.networks.values().filter_map(|network| network.subnet);
        used.any(|used| used.overlaps(range))
    }

    /// The first /16 after the default bridge's that no network overlaps, as Docker's own pools go.
    fn free_pool(&self) -> Option<Range> {
        (18..32)
            .filter_map(|number| Range::parse(&format!("172.{number}.0.0/16")))
            .find(|pool| !self.is_used(*pool))
    }
}

/// `GET /networks`.
pub(super) fn list(shared: &Shared, asked: &Asked) -> Handled {
    let filters = asked.filters(&["label", "name", "driver", "id", "scope", "type", "dangling"])?;
    let world = shared.world();
    let views: Vec<Value> = world
        .networks
        .values()
        .filter(|network| {
            filters.match_labels(&network.labels) && filters.match_one("name", &network.name)
        })
        .map(|network| {
            let mut view = network.view(&world);
            // A list shows no containers, on a real Engine as well.
            view["Containers"] = json!({});
            view
        })
        .collect();
    Ok(json_reply(200, &json!(views)))
}

/// `GET /networks/{id}`.
pub(super) fn inspect(shared: &Shared, asked: &Asked) -> Handled {
    let world = shared.world();
    Ok(json_reply(200, &world.network(&asked.target)?.view(&world)))
}

/// `POST /networks/create`.
pub(super) fn create(shared: &Shared, asked: &Asked) -> Handled {
    let body = asked.json()?;
    let name = text(&body["Name"]).to_owned();
    let mut world = shared.world();
    let holder = world
        .networks
        .values()
        .find(|network| network.name == name)
        .map(|network| network.id.clone());
    let mut warning = String::new();
    if let Some(holder) = holder {
        if body["CheckDuplicate"] == json!(true) {
            return Err(Refusal::new(
                409,
                format!("network with name {name} already exists"),
            ));
        }
        warning = format!("Network with name {name} (id : {holder}) already exists");
    }
    let config = &body["IPAM"]["Config"][0];
    let subnet = match config["Subnet"].as_str() {
        None => world
            .free_pool()
            .ok_or_else(|| Refusal::new(500, "could not find an available pool"))?,
        Some(subnet) => Range::parse(subnet).ok_or_else(|| {
            Refusal::new(
                500,
                format!("Invalid subnet {subnet} : invalid CIDR address: {subnet}"),
            )
        })?,
    };
    if world.is_used(subnet) {
        return Err(Refusal::new(
            403,
            "Pool overlaps with other one on this address space",
        ));
    }
    let range = config["IPRange"].as_str().and_then(Range::parse);
    let asked_for = config["Gateway"]
        .as_str()
        .and_then(|gateway| gateway.parse().ok());
    // F34: the first address that the Engine would give out.
    let first = range.unwrap_or(subnet).first;
    let gateway = asked_for.unwrap_or(Ipv4Addr::from(if first == subnet.first {
        first + 1
    } else {
        first
    }));
    let network = Network {
        id: world.ids.next(),
        name: name.clone(),
        created: world.clock.now(),
        driver: "bridge",
        subnet: Some(subnet),
        range,
        gateway: Some(gateway),
        shows_gateway: asked_for.is_some(),
        labels: body.as_object().map(labels_of).unwrap_or_default(),
    };
    let id = network.id.clone();
    world.networks.insert(id.clone(), network);
    world.tell(
        "network",
        "create",
        &id,
        &[("name", &name), ("type", "bridge")],
    );
    Ok(json_reply(201, &json!({ "Id": id, "Warning": warning })))
}

/// `DELETE /networks/{id}`.
pub(super) fn remove(shared: &Shared, asked: &Asked) -> Handled {
    let mut world = shared.world();
    let network = world.network(&asked.target)?.clone();
    let name = &network.name;
    if network.is_predefined() {
        return Err(Refusal::new(
            403,
            format!("{name} is a pre-defined network and cannot be removed"),
        ));
    }
    if world.endpoints_on(&network.id).next().is_some() {
        return Err(Refusal::new(
            403,
            format!(
                "error while removing network: network {name} id {} has active endpoints",
                network.id
            ),
        ));
    }
    world.networks.remove(&network.id);
    world.tell(
        "network",
        "destroy",
        &network.id,
        &[("name", name), ("type", network.driver)],
    );
    Ok(empty_reply(204))
}

/// `POST /networks/{id}/connect`.
pub(super) fn connect(shared: &Shared, asked: &Asked) -> Handled {
    let body = asked.json()?;
    let mut world = shared.world();
    let network = world.network(&asked.target)?.clone();
    let container = world.find(text(&body["Container"]))?;
    let (id, running) = (container.id.clone(), container.is_running());
    let mut endpoint = Endpoint::read(&body["EndpointConfig"]);
    if running {
        if container.endpoints.contains_key(&network.name) {
            let message = format!(
                "endpoint with name {} already exists in network {}",
                container.name, network.name
            );
            return Err(Refusal::new(403, message));
        }
        endpoint.address = world.allocate(&network, endpoint.fixed)?;
        endpoint.network = Some(network.id.clone());
        endpoint.endpoint = world.ids.next();
    }
    world
        .find_mut(&id)?
        .endpoints
        .insert(network.name.clone(), endpoint);
    if running {
        world.tell_connect("connect", &network, &id);
    }
    Ok(empty_reply(200))
}

/// `POST /networks/{id}/disconnect`.
pub(super) fn disconnect(shared: &Shared, asked: &Asked) -> Handled {
    let body = asked.json()?;
    let mut world = shared.world();
    let network = world.network(&asked.target)?.clone();
    let container = world.find_mut(text(&body["Container"]))?;
    let id = container.id.clone();
    if container.endpoints.remove(&network.name).is_none() {
        let article = if container.is_running() { "" } else { "the " };
        let message = format!(
            "container {id} is not connected to {article}network {}",
            network.name
        );
        return Err(Refusal::new(500, message));
    }
    world.tell_connect("disconnect", &network, &id);
    Ok(empty_reply(200))
}

impl World {
    /// Tells that a container came to or left a network.
    pub(super) fn tell_connect(&mut self, action: &str, network: &Network, container: &str) {
        let attributes = [
            ("container", container),
            ("name", network.name.as_str()),
            ("type", network.driver),
        ];
        self.tell("network", action, &network.id, &attributes);
    }
}

impl Endpoint {
    /// Reads an `EndpointSettings`.
    pub(super) fn read(settings: &Value) -> Endpoint {
        let fixed = settings["IPAMConfig"]["IPv4Address"]
            .as_str()
            .and_then(|address| address.parse().ok());
        let aliases = settings["Aliases"]
            .as_array()
            .map(|_| super::world::strings(&settings["Aliases"]));
        Endpoint {
            fixed,
            aliases,
            ..Endpoint::default()
        }
    }
}
