//! Networks of the fake Engine: subnets are exclusive and names are not (F4, F38), addresses that nobody fixed go to
//! the next one who comes (F16).

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::Shared;
use super::clock::print;
use super::events::text;
use super::options::Generation;
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
    /// Whether the gateway was asked for: only then Engine 20.10 shows it (F34).
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
        let generation = world.generation;
        let mut config = Map::new();
        for (key, value) in [
            ("Subnet", self.subnet.map(Range::print)),
            ("IPRange", self.range.map(Range::print)),
            (
                "Gateway",
                self.gateway
                    .filter(|_| self.shows_gateway || generation == Generation::Engine29)
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
                    "Name": name, "EndpointID": endpoint.endpoint, "MacAddress": endpoint.mac(generation),
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

    /// Refuses a fixed address that its network does not have, as Engine 29 does at the create.
    pub(super) fn check_fixed(&self, reference: &str, endpoint: &Endpoint) -> Result<(), Refusal> {
        let subnet = self
            .network(reference)
            .ok()
            .and_then(|network| network.subnet);
        let (Generation::Engine29, Some(subnet), Some(fixed)) =
            (self.generation, subnet, endpoint.fixed)
        else {
            return Ok(());
        };
        if subnet.contains(fixed) {
            return Ok(());
        }
        let message = format!(
            "invalid config for network {reference}: invalid endpoint settings:\nno configured subnet contains IP address {fixed}"
        );
        Err(Refusal::new(400, message))
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

    /// The addresses of a new network: those asked for, or a pool.
    fn subnet(&self, config: &Value) -> Result<Range, Refusal> {
        let Some(asked) = config["Subnet"].as_str() else {
            let full = || Refusal::new(500, "could not find an available pool");
            return self.free_pool().ok_or_else(full);
        };
        let Some(subnet) = Range::parse(asked) else {
            let (status, why) = self.generation.either(
                (
                    500,
                    format!("Invalid subnet {asked} : invalid CIDR address: {asked}"),
                ),
                (
                    400,
                    format!("invalid JSON: netip.ParsePrefix(\"{asked}\"): no '/'"),
                ),
            );
            return Err(Refusal::new(status, why));
        };
        if self.is_used(subnet) {
            let prefix = self.generation.either("", "invalid pool request: ");
            let message = format!("{prefix}Pool overlaps with other one on this address space");
            return Err(Refusal::new(403, message));
        }
        Ok(subnet)
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
    let filters = asked.filters(
        shared.options.generation,
        &["label", "name", "driver", "id", "scope", "type", "dangling"],
    )?;
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
        if body["CheckDuplicate"] == json!(true) || world.generation == Generation::Engine29 {
            return Err(Refusal::new(
                409,
                format!("network with name {name} already exists"),
            ));
        }
        warning = format!("Network with name {name} (id : {holder}) already exists");
    }
    let config = &body["IPAM"]["Config"][0];
    let subnet = world.subnet(config)?;
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
    let active: Vec<String> = world
        .endpoints_on(&network.id)
        .map(|(_, name, endpoint)| format!("name:\"{name}\" id:\"{}\"", &endpoint.endpoint[..12]))
        .collect();
    if !active.is_empty() {
        let has = world.generation.either(
            format!("id {} has active endpoints", network.id),
            format!("has active endpoints ({})", active.join(", ")),
        );
        return Err(Refusal::new(
            403,
            format!("error while removing network: network {name} {has}"),
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

    /// Its hardware address while it is up: Engine 20.10 derives it from the address, 29 draws it.
    pub(super) fn mac(&self, generation: Generation) -> String {
        let Some(address) = self.address else {
            return String::new();
        };
        let [a, b, c, d] = address.octets();
        let drawn = || {
            let pairs: Vec<&str> = (0..5)
                .map(|at| &self.endpoint[2 * at..2 * at + 2])
                .collect();
            format!("be:{}", pairs.join(":"))
        };
        match generation {
            Generation::Engine20 => format!("02:42:{a:02x}:{b:02x}:{c:02x}:{d:02x}"),
            Generation::Engine29 => drawn(),
        }
    }
}
