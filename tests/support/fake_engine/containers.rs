//! Containers of the fake Engine at rest: making, naming, listing and showing them. What happens when they run is in
//! `lifecycle`.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Map, Value, json};
use tokio::sync::watch;

use super::Shared;
use super::behaviour::Behaviour;
use super::events::text;
use super::images::{empty_config, repository};
use super::options::Generation;
use super::reply::{Asked, Handled, Refusal, empty_reply, json_reply};
use super::world::{
    Container, Endpoint, Files, Life, Mount, Phase, World, labels_of, strings, with_tag,
};

/// The `HostConfig` of a container for which nothing was asked, with the fields that a client may look at.
fn empty_host_config() -> Map<String, Value> {
    serde_json::from_str(include_str!("host_config.json")).expect("the file holds an object")
}

/// Fields that an Engine knows besides those above; anything else is dropped in silence (F11).
const MORE_HOST_FIELDS: [&str; 6] = [
    "Mounts",
    "Tmpfs",
    "Sysctls",
    "Init",
    "StorageOpt",
    "Runtime",
];

impl World {
    /// The complete `Config` of a container: what was asked for over what the image says (F12).
    fn config(&self, asked: &Map<String, Value>, image: &Map<String, Value>) -> Map<String, Value> {
        let mut config = empty_config();
        let empty = |value: &Value| match value {
            Value::Null => true,
            Value::String(text) => text.is_empty(),
            Value::Array(list) => list.is_empty(),
            _ => false,
        };
        let networking = ["HostConfig", "NetworkingConfig"];
        for (key, value) in asked
            .iter()
            .filter(|(key, value)| !networking.contains(&key.as_str()) && !value.is_null())
        {
            config.insert(key.clone(), value.clone());
        }
        let own_command = !empty(&config["Entrypoint"]);
        for key in [
            "User",
            "WorkingDir",
            "StopSignal",
            "Healthcheck",
            "Shell",
            "Entrypoint",
        ] {
            let from_image = image.get(key).filter(|value| !empty(value));
            if let Some(value) = from_image.filter(|_| config.get(key).is_none_or(empty)) {
                config.insert(key.to_owned(), value.clone());
            }
        }
        if empty(&config["Cmd"]) && !own_command {
            config.insert("Cmd".to_owned(), image["Cmd"].clone());
        }
        for key in ["Labels", "ExposedPorts", "Volumes"] {
            let mut merged = image
                .get(key)
                .and_then(Value::as_object)
                .cloned()
                .unwrap_or_default();
            merged.extend(
                config
                    .get(key)
                    .and_then(Value::as_object)
                    .cloned()
                    .unwrap_or_default(),
            );
            let absent = merged.is_empty() && key != "Labels";
            config.insert(
                key.to_owned(),
                if absent {
                    Value::Null
                } else {
                    Value::Object(merged)
                },
            );
        }
        let mut env = strings(&config["Env"]);
        let named: Vec<String> = env.iter().map(|pair| variable(pair).to_owned()).collect();
        env.extend(
            strings(&image["Env"])
                .into_iter()
                .filter(|pair| !named.iter().any(|name| name == variable(pair))),
        );
        config.insert("Env".to_owned(), json!(env));
        config
    }

    /// The behaviour of a process of this image, under whichever of its tags or its id it was scripted, in this environment.
    fn behaviour(&self, reference: &str, env: &[String]) -> Behaviour {
        let reference = with_tag(reference);
        let image = self.tags.get(&reference);
        let mut same = self.tags.iter().filter(|(_, id)| Some(*id) == image);
        let scripted = self
            .behaviours
            .get(&reference)
            .or_else(|| same.find_map(|(tag, _)| self.behaviours.get(tag)))
            .or_else(|| self.behaviours.get(image?))
            .or_else(|| self.behaviours.get(repository(&reference)));
        scripted
            .cloned()
            .unwrap_or_default()
            .with_env(env.iter().map(String::as_str))
    }

    /// Refuses a name that another container has.
    fn check_name(&self, name: &str, prefix: &str) -> Result<(), Refusal> {
        let mut letters = name.chars();
        let fine = letters
            .next()
            .is_some_and(|first| first.is_ascii_alphanumeric())
            && letters.next().is_some()
            && name
                .chars()
                .all(|letter| letter.is_ascii_alphanumeric() || "_.-".contains(letter));
        if !fine {
            let message = format!(
                "Invalid container name ({name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed"
            );
            return Err(Refusal::new(400, message));
        }
        match self
            .containers
            .values()
            .find(|container| container.name == name)
        {
            None => Ok(()),
            Some(holder) => Err(Refusal::new(
                409,
                format!(
                    "{prefix}Conflict. The container name \"/{name}\" is already in use by container \"{}\". You have to remove (or rename) that container to be able to reuse that name.",
                    holder.id
                ),
            )),
        }
    }

    /// The endpoints of a new container, by the name of the network where it has one.
    fn endpoints(&self, mode: &str, asked: &Value) -> Result<BTreeMap<String, Endpoint>, Refusal> {
        let asked: Vec<(&String, &Value)> = asked.as_object().into_iter().flatten().collect();
        if asked.len() > self.generation.either(1, usize::MAX) {
            let names: Vec<&str> = asked.iter().map(|(name, _)| name.as_str()).collect();
            let message = format!(
                "Container cannot be connected to network endpoints: {}",
                names.join(", ")
            );
            return Err(Refusal::new(400, message));
        }
        let named = |reference: &str| {
            self.network(reference)
                .map_or(reference.to_owned(), |network| network.name.clone())
        };
        let mode = named(if mode == "default" { "bridge" } else { mode });
        let mut endpoints = BTreeMap::from([(mode, Endpoint::default())]);
        for (reference, settings) in asked {
            let endpoint = Endpoint::read(settings);
            self.check_fixed(reference, &endpoint)?;
            endpoints.insert(named(reference), endpoint);
        }
        Ok(endpoints)
    }

    /// The mounts of a new container. Volumes that are not there yet are made.
    fn mounts(
        &mut self,
        config: &Map<String, Value>,
        host: &Map<String, Value>,
    ) -> Result<Vec<Mount>, Refusal> {
        let mut mounts = Vec::new();
        let asked = host.get("Mounts").and_then(Value::as_array);
        for mount in asked.into_iter().flatten() {
            mounts.push(self.mount(mount));
        }
        for bind in strings(&host["Binds"]) {
            mounts.push(self.bind(&bind)?);
        }
        let declared = config["Volumes"].as_object().into_iter().flatten();
        for (target, _) in declared {
            if mounts.iter().any(|mount| mount.target == *target) {
                continue;
            }
            let source = self.ids.next();
            self.ensure_volume(&source, None, true);
            let (kind, target) = ("volume".to_owned(), target.clone());
            mounts.push(Mount {
                kind,
                source,
                target,
                writable: true,
                mode: "",
            });
        }
        Ok(mounts)
    }

    /// One entry of `Mounts`.
    fn mount(&mut self, asked: &Value) -> Mount {
        let kind = text(&asked["Type"]).to_owned();
        let source = text(&asked["Source"]).to_owned();
        if kind == "volume" {
            let labels = asked["VolumeOptions"].as_object().map(labels_of);
            self.ensure_volume(&source, labels.filter(|labels| !labels.is_empty()), false);
        }
        let target = text(&asked["Target"]).to_owned();
        let writable = asked["ReadOnly"] != json!(true);
        Mount {
            kind,
            source,
            target,
            writable,
            mode: "z",
        }
    }

    /// One entry of `Binds`: `source:target` or `source:target:ro`.
    fn bind(&mut self, asked: &str) -> Result<Mount, Refusal> {
        let parts: Vec<&str> = asked.split(':').collect();
        let [source, target, options @ ..] = parts.as_slice() else {
            let message = format!("invalid volume specification: '{asked}'");
            return Err(Refusal::new(400, message));
        };
        let kind = if source.starts_with('/') {
            "bind"
        } else {
            "volume"
        };
        if kind == "volume" {
            self.ensure_volume(source, None, false);
        }
        let read_only = options
            .iter()
            .any(|options| options.split(',').any(|option| option == "ro"));
        let (kind, source, target) = (kind.to_owned(), (*source).to_owned(), (*target).to_owned());
        Ok(Mount {
            kind,
            source,
            target,
            writable: !read_only,
            mode: "z",
        })
    }
}

fn variable(pair: &str) -> &str {
    pair.split_once('=').map_or(pair, |(name, _)| name)
}

/// A restart policy as it is kept, if it is one.
fn check_policy(generation: Generation, policy: &Value) -> Result<Value, Refusal> {
    let retries = policy["MaximumRetryCount"].as_i64().unwrap_or(0);
    let (count, unknown) = ("maximum retry count", "invalid restart policy");
    let name = match text(&policy["Name"]) {
        "" => generation.either("", "no"),
        name => name,
    };
    let wrong = match name {
        "" | "no" | "always" | "unless-stopped" if retries != 0 => generation.either(
            format!("{count} cannot be used with restart policy '{name}'"),
            format!("{unknown}: {count} can only be used with 'on-failure'"),
        ),
        "" | "no" | "always" | "unless-stopped" | "on-failure" => {
            return Ok(json!({ "Name": name, "MaximumRetryCount": retries }));
        }
        name => generation.either(
            format!("{unknown} '{name}'"),
            format!(
                "{unknown}: unknown policy '{name}'; use one of 'no', 'always', 'on-failure', or 'unless-stopped'"
            ),
        ),
    };
    Err(Refusal::new(400, wrong))
}

/// The complete `HostConfig` of a new container.
fn host_config(
    generation: Generation,
    body: &Map<String, Value>,
) -> Result<Map<String, Value>, Refusal> {
    let mut host = empty_host_config();
    let wanted = body.get("HostConfig").and_then(Value::as_object);
    for (key, value) in wanted.into_iter().flatten() {
        let known = host.contains_key(key) || MORE_HOST_FIELDS.contains(&key.as_str());
        if known && !value.is_null() {
            host.insert(key.clone(), value.clone());
        }
    }
    if matches!(text(&host["NetworkMode"]), "" | "default") {
        let usual = generation.either("default", "bridge");
        host.insert("NetworkMode".to_owned(), json!(usual));
    }
    let policy = check_policy(generation, &host["RestartPolicy"])?;
    host.insert("RestartPolicy".to_owned(), policy);
    Ok(host)
}

/// `POST /containers/create`.
pub(super) fn create(shared: &Shared, asked: &Asked) -> Handled {
    let body = asked.json()?;
    let body = body
        .as_object()
        .ok_or_else(|| Refusal::new(400, "the body is no object"))?;
    let reference = text(body.get("Image").unwrap_or(&Value::Null)).to_owned();
    let mut world = shared.world();
    let host = host_config(world.generation, body)?;
    let endpoints = body
        .get("NetworkingConfig")
        .map_or(Value::Null, |networking| {
            networking["EndpointsConfig"].clone()
        });
    let endpoints = world.endpoints(text(&host["NetworkMode"]), &endpoints)?;
    let image = world.image(&reference).cloned();
    let image = image
        .ok_or_else(|| Refusal::new(404, format!("No such image: {}", with_tag(&reference))))?;
    let id = world.ids.next();
    let name = match asked.parameter("name") {
        "" => format!("nameless_{}", &id[..8]),
        name => name.trim_start_matches('/').to_owned(),
    };
    world.check_name(&name, "")?;
    let mut config = world.config(body, &image.config);
    if config["Hostname"] == json!("") {
        config.insert("Hostname".to_owned(), json!(&id[..12]));
    }
    let mounts = world.mounts(&config, &host)?;
    let behaviour = world.behaviour(&reference, &strings(&config["Env"]));
    let container = Container {
        id: id.clone(),
        name,
        created: world.clock.now(),
        sequence: world.ids.count(),
        image: image.id,
        config,
        host,
        endpoints,
        mounts,
        files: Files::new(),
        behaviour,
        ready: None,
        phase: Phase::Created,
        run: 0,
        pid: 0,
        exit_code: 0,
        error: String::new(),
        started: None,
        started_at: None,
        finished: None,
        health: None,
        restarts: 0,
        backoff: Duration::ZERO,
        ends_for_good: false,
        stopped_by_hand: false,
        life: watch::channel(Life::Gone).0,
        paused: watch::channel(false).0,
        log: Vec::new(),
        written: watch::channel(0).0,
    };
    world.containers.insert(id.clone(), container);
    world.tell_of(&id, "create", &[]);
    Ok(json_reply(201, &json!({ "Id": id, "Warnings": [] })))
}

/// `POST /containers/{id}/rename`.
pub(super) fn rename(shared: &Shared, asked: &Asked) -> Handled {
    let mut world = shared.world();
    let name = asked.parameter("name").trim_start_matches('/').to_owned();
    let container = world.find(&asked.target)?;
    let (id, old) = (container.id.clone(), container.name.clone());
    if old == name {
        return Err(Refusal::new(
            400,
            "Renaming a container with the same name as its current name",
        ));
    }
    world.check_name(&name, "Error when allocating new name: ")?;
    world.find_mut(&id)?.name = name;
    world.tell_of(&id, "rename", &[("oldName", &format!("/{old}"))]);
    Ok(empty_reply(204))
}

/// `POST /containers/{id}/update`.
pub(super) fn update(shared: &Shared, asked: &Asked) -> Handled {
    let body = asked.json()?;
    let mut world = shared.world();
    let id = world.find(&asked.target)?.id.clone();
    let policy = check_policy(world.generation, &body["RestartPolicy"])?;
    let known = empty_host_config();
    let container = world.find_mut(&id)?;
    let changes = body.as_object().into_iter().flatten();
    for (key, value) in changes.filter(|(key, value)| !value.is_null() && known.contains_key(*key))
    {
        let value = if key == "RestartPolicy" {
            &policy
        } else {
            value
        };
        container.host.insert(key.clone(), value.clone());
    }
    world.tell_of(&id, "update", &[]);
    Ok(json_reply(200, &json!({ "Warnings": null })))
}

/// `GET /containers/json`.
pub(super) fn list(shared: &Shared, asked: &Asked) -> Handled {
    let filters = asked.filters(
        shared.options.generation,
        &[
            "label", "name", "id", "status", "network", "volume", "ancestor", "health",
        ],
    )?;
    let all = asked.flag("all");
    let world = shared.world();
    let mut listed: Vec<&Container> = world
        .containers
        .values()
        .filter(|container| all || matches!(container.phase, Phase::Running | Phase::Restarting))
        .filter(|container| filters.match_labels(&container.labels()))
        .filter(|container| filters.match_one("status", container.word()))
        .filter(|container| {
            filters.match_one("name", &container.name) && filters.match_one("id", &container.id)
        })
        .collect();
    // Youngest first, as the Engine lists them.
    listed.sort_by_key(|container| std::cmp::Reverse(container.sequence));
    let views: Vec<Value> = listed
        .into_iter()
        .map(|container| container.summary(&world))
        .collect();
    Ok(json_reply(200, &json!(views)))
}

/// `GET /containers/{id}/json`.
pub(super) fn inspect(shared: &Shared, asked: &Asked) -> Handled {
    let world = shared.world();
    let container = world.find(&asked.target)?;
    Ok(json_reply(200, &container.view(&world)))
}
