//! Volumes of the fake Engine: a second create under a name gives the first one back, labels and all (F3).

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::Shared;
use super::clock::print;
use super::events::text;
use super::reply::{Asked, Handled, Refusal, empty_reply, json_reply};
use super::world::{Files, Volume, World, labels_of};

impl Volume {
    fn view(&self) -> Value {
        json!({
            "CreatedAt": print(Some(self.created)), "Driver": "local", "Labels": self.labels,
            "Mountpoint": mountpoint(&self.name), "Name": self.name, "Options": null, "Scope": "local",
        })
    }
}

/// Where the local driver keeps a volume.
pub(super) fn mountpoint(name: &str) -> String {
    format!("/var/lib/docker/volumes/{name}/_data")
}

impl World {
    /// Makes the volume `name` if there is none.
    pub(super) fn ensure_volume(
        &mut self,
        name: &str,
        labels: Option<BTreeMap<String, String>>,
        anonymous: bool,
    ) {
        if self.volumes.contains_key(name) {
            return;
        }
        let created = self.clock.now();
        let volume = Volume {
            name: name.to_owned(),
            created,
            labels,
            files: Files::new(),
            anonymous,
        };
        self.volumes.insert(name.to_owned(), volume);
        self.tell("volume", "create", name, &[("driver", "local")]);
    }

    fn volume(&self, name: &str) -> Result<&Volume, Refusal> {
        self.volumes
            .get(name)
            .ok_or_else(|| Refusal::new(404, format!("get {name}: no such volume")))
    }
}

/// `GET /volumes`.
pub(super) fn list(shared: &Shared, asked: &Asked) -> Handled {
    let filters = asked.filters(
        shared.options.generation,
        &["label", "name", "driver", "dangling"],
    )?;
    let world = shared.world();
    let none = BTreeMap::new();
    let views: Vec<Value> = world
        .volumes
        .values()
        .filter(|volume| filters.match_labels(volume.labels.as_ref().unwrap_or(&none)))
        .map(Volume::view)
        .collect();
    Ok(json_reply(
        200,
        &json!({ "Volumes": views, "Warnings": null }),
    ))
}

/// `GET /volumes/{name}`.
pub(super) fn inspect(shared: &Shared, asked: &Asked) -> Handled {
    Ok(json_reply(
        200,
        &shared.world().volume(&asked.target)?.view(),
    ))
}

/// `POST /volumes/create`.
pub(super) fn create(shared: &Shared, asked: &Asked) -> Handled {
    let body = asked.json()?;
    let mut world = shared.world();
    let (name, anonymous) = match text(&body["Name"]) {
        "" => (world.ids.next(), true),
        name => (name.to_owned(), false),
    };
    let labels = body["Labels"]
        .is_object()
        .then(|| body.as_object().map(labels_of).unwrap_or_default());
    world.ensure_volume(&name, labels, anonymous);
    Ok(json_reply(201, &world.volume(&name)?.view()))
}

/// `DELETE /volumes/{name}`.
pub(super) fn remove(shared: &Shared, asked: &Asked) -> Handled {
    let name = &asked.target;
    let mut world = shared.world();
    world.volume(name)?;
    let users: Vec<&str> = world
        .containers
        .values()
        .filter(|container| {
            container
                .mounts
                .iter()
                .any(|mount| mount.kind == "volume" && mount.source == *name)
        })
        .map(|container| container.id.as_str())
        .collect();
    if !users.is_empty() {
        return Err(Refusal::new(
            409,
            format!("remove {name}: volume is in use - [{}]", users.join(", ")),
        ));
    }
    world.volumes.remove(name);
    world.tell("volume", "destroy", name, &[("driver", "local")]);
    Ok(empty_reply(204))
}
