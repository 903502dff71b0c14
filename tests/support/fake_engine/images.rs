//! Images of the fake Engine: loaded, imported, scripted, or pulled from the registry beside this file. `RepoDigests`
//! shows on Engine 20.10 what was pulled alone, and on 29 the image's own id, whoever made it (F24); two imports of one
//! archive have two ids (F23).

use std::collections::BTreeSet;
use std::io::Read as _;

use bytes::Bytes;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use super::Shared;
use super::clock::print;
use super::events::text;
use super::options::Generation;
use super::reply::{Asked, Handled, Refusal, bytes_reply, empty_reply, json_reply};
use super::world::{File, Files, Image, World, labels_of, split_tag, with_tag};

/// The largest file of an image that is kept: enough for `/etc/passwd`, not for a program.
const MAX_FILE: u64 = 64 << 10;

/// The `Config` of an image that says nothing.
pub(super) fn empty_config() -> Map<String, Value> {
    let config = json!({
        "Hostname": "", "Domainname": "", "User": "", "AttachStdin": false, "AttachStdout": false,
        "AttachStderr": false, "Tty": false, "OpenStdin": false, "StdinOnce": false, "Env": null, "Cmd": null,
        "Image": "", "Volumes": null, "WorkingDir": "", "Entrypoint": null, "OnBuild": null, "Labels": null,
    });
    config.as_object().cloned().expect("an object was written")
}

impl Image {
    fn view(&self, world: &World) -> Value {
        json!({
            "Id": self.id, "RepoTags": world.tags_of(&self.id), "RepoDigests": self.digests(world), "Parent": "", "Comment": "",
            "Created": print(Some(self.created)), "Container": "", "DockerVersion": "20.10.24", "Author": "",
            "Config": self.config, "Architecture": "amd64", "Os": "linux", "Size": 1, "VirtualSize": 1,
            "RootFS": { "Type": "layers", "Layers": self.layers },
            "Metadata": { "LastTagTime": print(Some(self.created)) },
        })
    }

    /// F24: with containerd's image store an image has a digest in every repository, also where no registry knows it.
    fn digests(&self, world: &World) -> Vec<String> {
        let repositories: BTreeSet<&str> = match world.generation {
            Generation::Engine20 => BTreeSet::new(),
            Generation::Engine29 => world
                .tags_of(&self.id)
                .into_iter()
                .map(|tag| repository(tag))
                .collect(),
        };
        repositories
            .into_iter()
            .map(|repository| format!("{repository}@{}", self.id))
            .chain(world.digests_of(&self.id).into_iter().cloned())
            .collect()
    }

    fn summary(&self, world: &World) -> Value {
        let digests = match world.generation {
            Generation::Engine20 if world.digests_of(&self.id).is_empty() => Value::Null,
            Generation::Engine20 | Generation::Engine29 => json!(self.digests(world)),
        };
        json!({
            "Containers": -1, "Created": self.created.as_second(), "Id": self.id, "Labels": labels_of(&self.config),
            "ParentId": "", "RepoDigests": digests, "RepoTags": world.tags_of(&self.id), "SharedSize": -1, "Size": 1,
            "VirtualSize": 1,
        })
    }
}

impl World {
    /// An image of one layer, whose processes are scripted.
    pub(super) fn make_image(&mut self, changes: &[&str], files: Files) -> Image {
        let mut config = empty_config();
        config.insert("Entrypoint".to_owned(), json!(["/testapp"]));
        for change in changes {
            apply_change(&mut config, change).expect("a change that an import takes");
        }
        Image {
            id: format!("sha256:{}", self.ids.next()),
            created: self.clock.now(),
            config,
            layers: vec![format!("sha256:{}", self.ids.next())],
            files,
            paths: None,
        }
    }

    /// Adds an image under a tag, which it takes from whoever has it.
    pub(super) fn add_image(&mut self, image: Image, reference: Option<&str>) {
        if let Some(reference) = reference {
            self.tags.insert(with_tag(reference), image.id.clone());
        }
        self.images.insert(image.id.clone(), image);
    }
}

/// `GET /images/json`.
pub(super) fn list(shared: &Shared, asked: &Asked) -> Handled {
    let filters = asked.filters(
        shared.options.generation,
        &["label", "reference", "dangling"],
    )?;
    let world = shared.world();
    let views: Vec<Value> = world
        .images
        .values()
        .filter(|image| filters.match_labels(&labels_of(&image.config)))
        .map(|image| image.summary(&world))
        .collect();
    Ok(json_reply(200, &json!(views)))
}

/// `GET /images/{name}/json`.
pub(super) fn inspect(shared: &Shared, asked: &Asked) -> Handled {
    let world = shared.world();
    let name = &asked.target;
    let image = world.image(name).ok_or_else(|| {
        let prefix = format!("no such image: {name}: ");
        let prefix = world.generation.either(prefix, String::new());
        Refusal::new(404, format!("{prefix}{}", missing(name).message))
    })?;
    Ok(json_reply(200, &image.view(&world)))
}

fn missing(name: &str) -> Refusal {
    Refusal::new(404, format!("No such image: {}", with_tag(name)))
}

/// `POST /images/{name}/tag`.
pub(super) fn tag(shared: &Shared, asked: &Asked) -> Handled {
    let mut world = shared.world();
    let id = world
        .image(&asked.target)
        .ok_or_else(|| missing(&asked.target))?
        .id
        .clone();
    let tag = match asked.parameter("tag") {
        "" => "latest",
        tag => tag,
    };
    let reference = format!("{}:{tag}", asked.parameter("repo"));
    world.tags.insert(reference.clone(), id.clone());
    world.tell("image", "tag", &id, &[("name", &reference)]);
    Ok(empty_reply(201))
}

/// `DELETE /images/{name}`, which takes one tag away, and the image with the last one.
pub(super) fn remove(shared: &Shared, asked: &Asked) -> Handled {
    let mut world = shared.world();
    if let Some(id) = world.digests.remove(&asked.target) {
        world.tell("image", "untag", &id, &[("name", &id)]);
        return Ok(json_reply(200, &json!([{ "Untagged": asked.target }])));
    }
    let reference = with_tag(&asked.target);
    let id = world
        .tags
        .get(&reference)
        .ok_or_else(|| missing(&asked.target))?
        .clone();
    let last = world.tags_of(&id).len() == 1;
    let user = world
        .containers
        .values()
        .find(|container| container.image == id);
    if let (true, Some(user)) = (last, user) {
        let (user, image) = (&user.id[..12], short(&id));
        let name = &asked.target;
        let unable = world.generation.either(
            format!("remove repository reference \"{name}\" (must force)"),
            format!("delete {name} (must be forced)"),
        );
        let message = format!(
            "conflict: unable to {unable} - container {user} is using its referenced image {image}"
        );
        return Err(Refusal::new(409, message));
    }
    world.tags.remove(&reference);
    world.tell("image", "untag", &id, &[("name", &id)]);
    let mut done = vec![json!({ "Untagged": reference })];
    if last {
        world.images.remove(&id);
        world.tell("image", "delete", &id, &[("name", &id)]);
        done.push(json!({ "Deleted": id }));
    }
    Ok(json_reply(200, &json!(done)))
}

fn short(id: &str) -> &str {
    let hex = id.strip_prefix("sha256:").unwrap_or(id);
    &hex[..hex.len().min(12)]
}

/// `POST /images/load`.
pub(super) fn load(shared: &Shared, asked: &Asked) -> Handled {
    let parts =
        unpack(&asked.body, u64::MAX).map_err(|error| Refusal::new(500, error.to_string()))?;
    let part = |name: &str| {
        parts
            .get(&format!("/{name}"))
            .map(|file| file.content.as_slice())
    };
    let bad = |what: &str| Refusal::new(500, format!("invalid archive: {what}"));
    let manifest = part("manifest.json").ok_or_else(|| bad("there is no manifest.json"))?;
    let manifest: Vec<Value> =
        serde_json::from_slice(manifest).map_err(|error| bad(&error.to_string()))?;
    let mut said = String::new();
    for entry in manifest {
        let raw = part(text(&entry["Config"])).ok_or_else(|| bad("the config is missing"))?;
        let document: Value =
            serde_json::from_slice(raw).map_err(|error| bad(&error.to_string()))?;
        let mut config = empty_config();
        config.extend(document["config"].as_object().cloned().unwrap_or_default());
        let (mut files, mut paths) = (Files::new(), BTreeSet::new());
        for layer in super::world::strings(&entry["Layers"]) {
            let layer = part(&layer).ok_or_else(|| bad("a layer is missing"))?;
            let (some, all) = unpack_all(&Bytes::copy_from_slice(layer), MAX_FILE)
                .map_err(|error| bad(&error.to_string()))?;
            files.extend(some);
            paths.extend(all);
        }
        let mut world = shared.world();
        let image = Image {
            id: format!("sha256:{}", hex(&Sha256::digest(raw))),
            created: world.clock.now(),
            config,
            layers: super::world::strings(&document["rootfs"]["diff_ids"]),
            files,
            paths: Some(paths),
        };
        let id = image.id.clone();
        let tags = super::world::strings(&entry["RepoTags"]);
        world.add_image(image, None);
        for tag in tags {
            world.tags.insert(with_tag(&tag), id.clone());
            said.push_str(&format!(
                "{}\n",
                json!({ "stream": format!("Loaded image: {tag}\n") })
            ));
        }
        world.tell("image", "load", &id, &[("name", &id)]);
    }
    Ok(bytes_reply(200, "application/json", said.into_bytes()))
}

/// `POST /images/create?fromSrc=-`.
pub(super) fn import(shared: &Shared, asked: &Asked) -> Handled {
    let (files, paths) =
        unpack_all(&asked.body, MAX_FILE).map_err(|error| Refusal::new(500, error.to_string()))?;
    let mut config = empty_config();
    for change in asked.parameters("changes") {
        apply_change(&mut config, change).map_err(|problem| Refusal::new(400, problem))?;
    }
    let tag = asked.parameter("tag");
    let reference = match asked.parameter("repo") {
        "" => None,
        repository => Some(format!(
            "{repository}:{}",
            if tag.is_empty() { "latest" } else { tag }
        )),
    };
    let mut world = shared.world();
    let image = Image {
        id: format!("sha256:{}", world.ids.next()),
        created: world.clock.now(),
        config,
        layers: vec![format!("sha256:{}", hex(&Sha256::digest(&asked.body)))],
        files,
        paths: Some(paths),
    };
    let id = image.id.clone();
    world.add_image(image, reference.as_deref());
    world.tell(
        "image",
        "import",
        &id,
        &[("name", reference.as_deref().unwrap_or(&id))],
    );
    Ok(bytes_reply(
        200,
        "application/json",
        format!("{}\n", json!({ "status": id })).into_bytes(),
    ))
}

/// One line of a Dockerfile, as far as an import may have it.
pub(super) fn apply_change(config: &mut Map<String, Value>, change: &str) -> Result<(), String> {
    let (word, rest) = change
        .trim()
        .split_once(char::is_whitespace)
        .ok_or("a change needs a word and a value")?;
    let rest = rest.trim();
    let list = |rest: &str| {
        serde_json::from_str::<Vec<String>>(rest).map_err(|_| format!("{word} wants a JSON list"))
    };
    match word.to_ascii_uppercase().as_str() {
        "ENTRYPOINT" => _ = config.insert("Entrypoint".to_owned(), json!(list(rest)?)),
        "CMD" => _ = config.insert("Cmd".to_owned(), json!(list(rest)?)),
        "ENV" => push(config, "Env", &unquote(rest)),
        "EXPOSE" => {
            let port = if rest.contains('/') {
                rest.to_owned()
            } else {
                format!("{rest}/tcp")
            };
            set(config, "ExposedPorts", &port, json!({}));
        }
        "LABEL" => {
            let (key, value) = rest.split_once('=').ok_or("LABEL wants key=value")?;
            set(config, "Labels", &unquote(key), json!(unquote(value)));
        }
        "USER" => _ = config.insert("User".to_owned(), json!(rest)),
        "WORKDIR" => _ = config.insert("WorkingDir".to_owned(), json!(rest)),
        "VOLUME" => {
            let paths = list(rest).unwrap_or_else(|_| vec![rest.to_owned()]);
            paths
                .iter()
                .for_each(|path| set(config, "Volumes", path, json!({})));
        }
        "HEALTHCHECK" => _ = config.insert("Healthcheck".to_owned(), healthcheck(rest)?),
        other => {
            return Err(format!(
                "{} is not a valid change command",
                other.to_ascii_lowercase()
            ));
        }
    }
    Ok(())
}

fn healthcheck(rest: &str) -> Result<Value, String> {
    let mut check = Map::new();
    let mut rest = rest;
    while let Some(option) = rest.strip_prefix("--") {
        let (option, after) = option
            .split_once(' ')
            .ok_or("HEALTHCHECK wants CMD or NONE")?;
        rest = after.trim_start();
        let (name, value) = option
            .split_once('=')
            .ok_or("an option of HEALTHCHECK wants a value")?;
        let (key, value) = match name {
            "interval" => ("Interval", json!(nanos(value)?)),
            "timeout" => ("Timeout", json!(nanos(value)?)),
            "start-period" => ("StartPeriod", json!(nanos(value)?)),
            "retries" => (
                "Retries",
                json!(value.parse::<u32>().map_err(|error| error.to_string())?),
            ),
            other => return Err(format!("unknown option {other}")),
        };
        check.insert(key.to_owned(), value);
    }
    let test = match rest.split_once(' ') {
        Some(("CMD", command)) => {
            let command: Vec<String> =
                serde_json::from_str(command).map_err(|error| error.to_string())?;
            [vec!["CMD".to_owned()], command].concat()
        }
        _ if rest == "NONE" => vec!["NONE".to_owned()],
        _ => return Err("HEALTHCHECK wants CMD or NONE".to_owned()),
    };
    check.insert("Test".to_owned(), json!(test));
    Ok(Value::Object(check))
}

/// `300ms` or `5s` in nanoseconds.
fn nanos(text: &str) -> Result<u64, String> {
    let (number, unit) = match text.strip_suffix("ms") {
        Some(number) => (number, 1_000_000),
        None => (
            text.strip_suffix('s').ok_or("a duration ends in s or ms")?,
            1_000_000_000,
        ),
    };
    number
        .parse::<u64>()
        .map(|number| number * unit)
        .map_err(|error| error.to_string())
}

fn unquote(text: &str) -> String {
    text.replace('"', "")
}

fn push(config: &mut Map<String, Value>, key: &str, value: &str) {
    let mut list = super::world::strings(&config[key]);
    list.push(value.to_owned());
    config.insert(key.to_owned(), json!(list));
}

fn set(config: &mut Map<String, Value>, key: &str, name: &str, value: Value) {
    let mut map = config
        .get(key)
        .and_then(Value::as_object)
        .cloned()
        .unwrap_or_default();
    map.insert(name.to_owned(), value);
    config.insert(key.to_owned(), Value::Object(map));
}

/// The plain files of an archive of at most `limit` bytes each, by absolute path.
pub(super) fn unpack(archive: &Bytes, limit: u64) -> std::io::Result<Files> {
    let (files, _) = unpack_all(archive, limit)?;
    Ok(files)
}

/// As [`unpack`], with the paths of all files, larger ones too.
fn unpack_all(archive: &Bytes, limit: u64) -> std::io::Result<(Files, BTreeSet<String>)> {
    let (mut files, mut paths) = (Files::new(), BTreeSet::new());
    for entry in tar::Archive::new(archive.as_ref()).entries()? {
        let mut entry = entry?;
        if !entry.header().entry_type().is_file() {
            continue;
        }
        let path = entry.path()?.display().to_string();
        let path = format!("/{}", path.trim_start_matches("./").trim_start_matches('/'));
        paths.insert(path.clone());
        let header = entry.header();
        if header.size()? > limit {
            continue;
        }
        let mode = header.mode().unwrap_or(0o644);
        let (uid, gid) = (header.uid().unwrap_or(0), header.gid().unwrap_or(0));
        let mut content = Vec::new();
        entry.read_to_end(&mut content)?;
        files.insert(
            path,
            File {
                content,
                mode,
                uid,
                gid,
            },
        );
    }
    Ok((files, paths))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The repository of a reference, for scripts.
pub(super) fn repository(reference: &str) -> &str {
    split_tag(reference).0
}
