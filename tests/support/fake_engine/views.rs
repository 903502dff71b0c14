//! How the fake Engine shows a container: whole, as inspect does, and in short, as a list does.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use serde_json::{Value, json};

use super::clock::print;
use super::events::text;
use super::volumes::mountpoint;
use super::world::{Container, Phase, World, strings};

impl Container {
    /// Program and arguments.
    pub(super) fn command(&self) -> Vec<String> {
        [
            strings(&self.config["Entrypoint"]),
            strings(&self.config["Cmd"]),
        ]
        .concat()
    }

    fn networks_view(&self, world: &World) -> Value {
        let views: BTreeMap<&String, Value> = self
            .endpoints
            .iter()
            .map(|(name, endpoint)| {
                let network = endpoint.network.as_ref().and_then(|id| world.networks.get(id));
                let up = network.filter(|_| endpoint.address.is_some());
                let view = json!({
                    "IPAMConfig": endpoint.fixed.map(|address| json!({ "IPv4Address": address })),
                    "Links": null, "Aliases": endpoint.aliases,
                    "NetworkID": endpoint.network.as_deref().unwrap_or_default(), "EndpointID": endpoint.endpoint,
                    "Gateway": up.and_then(|network| network.gateway).map_or(String::new(), |gateway| gateway.to_string()),
                    "IPAddress": endpoint.address.map_or(String::new(), |address| address.to_string()),
                    "IPPrefixLen": up.map_or(0, super::networks::Network::prefix),
                    "IPv6Gateway": "", "GlobalIPv6Address": "", "GlobalIPv6PrefixLen": 0,
                    "MacAddress": endpoint.mac(world.generation), "DriverOpts": null,
                });
                (name, view)
            })
            .collect();
        json!(views)
    }

    fn mounts_view(&self) -> Value {
        let views = self.mounts.iter().map(|mount| {
            let volume = mount.kind == "volume";
            let source = if volume { mountpoint(&mount.source) } else { mount.source.clone() };
            let mut view = json!({
                "Type": mount.kind, "Source": source, "Destination": mount.target, "Mode": mount.mode,
                "RW": mount.writable, "Propagation": "",
            });
            if volume {
                view["Name"] = json!(mount.source);
                view["Driver"] = json!("local");
            }
            view
        });
        Value::Array(views.collect())
    }

    fn state_view(&self) -> Value {
        let mut state = json!({
            "Status": self.word(), "Running": matches!(self.phase, Phase::Running | Phase::Restarting),
            "Paused": self.is_paused(), "Restarting": self.phase == Phase::Restarting, "OOMKilled": false, "Dead": false,
            "Pid": self.pid, "ExitCode": self.exit_code, "Error": self.error,
            "StartedAt": print(self.started), "FinishedAt": print(self.finished),
        });
        if let Some(health) = &self.health {
            state["Health"] =
                json!({ "Status": health.status, "FailingStreak": health.streak, "Log": [] });
        }
        state
    }

    /// As `GET /containers/{id}/json` shows it.
    pub(super) fn view(&self, world: &World) -> Value {
        let command = self.command();
        let execs: Vec<&String> = world
            .execs
            .values()
            .filter(|exec| exec.container == self.id && exec.running && exec.listed)
            .map(|exec| &exec.id)
            .collect();
        json!({
            "Id": self.id, "Created": print(Some(self.created)), "Path": command.first(),
            "Args": command.get(1..).unwrap_or_default(), "State": self.state_view(), "Image": self.image,
            "ResolvConfPath": "", "HostnamePath": "", "HostsPath": "", "LogPath": "", "Name": format!("/{}", self.name),
            "RestartCount": self.restarts, "Driver": world.generation.driver(), "Platform": "linux", "MountLabel": "",
            "ProcessLabel": "", "AppArmorProfile": "",
            "ExecIDs": if execs.is_empty() { Value::Null } else { json!(execs) },
            "HostConfig": self.host, "Mounts": self.mounts_view(), "Config": self.config,
            "NetworkSettings": { "Ports": {}, "Networks": self.networks_view(world) },
        })
    }

    /// As `GET /containers/json` shows it.
    pub(super) fn summary(&self, world: &World) -> Value {
        let asked = text(&self.config["Image"]);
        let tagged = world
            .image(asked)
            .is_some_and(|image| image.id == self.image);
        json!({
            "Id": self.id, "Names": [format!("/{}", self.name)],
            // The name it was made from, as long as that still means the same image.
            "Image": if tagged { asked } else { self.image.as_str() },
            "ImageID": self.image, "Command": self.command().join(" "), "Created": self.created.as_second(),
            "Ports": [], "Labels": self.labels(), "State": self.word(), "Status": self.word(),
            "HostConfig": { "NetworkMode": self.host["NetworkMode"] },
            "NetworkSettings": { "Networks": self.networks_view(world) }, "Mounts": self.mounts_view(),
        })
    }
}

/// A container as a test looks at it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerView {
    /// Its id.
    pub id: String,
    /// Its name, without a slash.
    pub name: String,
    /// The image it was made from, as named in its create.
    pub image: String,
    /// Its labels, those of the image included.
    pub labels: BTreeMap<String, String>,
    /// What it is doing.
    pub phase: Phase,
    /// The exit code of its last run.
    pub exit_code: i64,
    /// How often it was started.
    pub runs: u64,
    /// Its restart policy, `no` for none.
    pub restart_policy: String,
    /// The most memory that it may use, in bytes; 0 for as much as there is.
    pub memory: i64,
    /// Whether it is frozen.
    pub paused: bool,
    /// Its environment.
    pub env: Vec<String>,
    /// The address it has on each network while it is up, or the fixed one while it is not.
    pub addresses: BTreeMap<String, Option<Ipv4Addr>>,
}

impl ContainerView {
    pub(super) fn of(container: &Container) -> ContainerView {
        ContainerView {
            id: container.id.clone(),
            name: container.name.clone(),
            image: container.config["Image"]
                .as_str()
                .unwrap_or_default()
                .to_owned(),
            labels: container.labels(),
            phase: container.phase,
            exit_code: container.exit_code,
            runs: container.run,
            restart_policy: container.restart_policy().to_owned(),
            memory: container.host["Memory"].as_i64().unwrap_or_default(),
            paused: *container.paused.borrow(),
            env: strings(&container.config["Env"]),
            addresses: container
                .endpoints
                .iter()
                .map(|(network, endpoint)| (network.clone(), endpoint.address.or(endpoint.fixed)))
                .collect(),
        }
    }
}
