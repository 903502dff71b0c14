//! Files into and out of fake containers. A tmpfs is not there before the start (F21), and what is read-only refuses
//! (F33).

use serde_json::json;

use super::Shared;
use super::images::unpack;
use super::reply::{Asked, Handled, Refusal, bytes_reply, empty_reply};
use super::world::{Container, File, Files, World};

/// Where a path of a container leads.
enum Place {
    /// Into a volume: its name and whether it may be written.
    Volume(String, bool),
    /// Into the container's own layer.
    Layer,
}

impl Container {
    fn place(&self, path: &str) -> Place {
        let under = |target: &str| {
            path == target || path.starts_with(&format!("{}/", target.trim_end_matches('/')))
        };
        let mount = self
            .mounts
            .iter()
            .filter(|mount| mount.kind == "volume" && under(&mount.target));
        match mount.max_by_key(|mount| mount.target.len()) {
            Some(mount) => Place::Volume(mount.source.clone(), mount.writable),
            None => Place::Layer,
        }
    }
}

impl World {
    /// All files a container sees, by the path it sees them under.
    fn files_of(&self, container: &Container) -> Files {
        let mut files = self
            .images
            .get(&container.image)
            .map(|image| image.files.clone())
            .unwrap_or_default();
        files.extend(container.files.clone());
        for mount in container
            .mounts
            .iter()
            .filter(|mount| mount.kind == "volume")
        {
            let volume = self.volumes.get(&mount.source);
            for (path, file) in volume.into_iter().flat_map(|volume| &volume.files) {
                files.insert(
                    format!("{}{path}", mount.target.trim_end_matches('/')),
                    file.clone(),
                );
            }
        }
        files
    }
}

fn clean(path: &str) -> String {
    let path = path.trim_end_matches('/');
    if path.starts_with('/') {
        path.to_owned()
    } else {
        format!("/{path}")
    }
}

/// `PUT /containers/{id}/archive`.
pub(super) fn put(shared: &Shared, asked: &Asked) -> Handled {
    let mut world = shared.world();
    let container = world.find(&asked.target)?;
    let path = asked.parameter("path");
    let directory = clean(path);
    let known = directory == "/"
        || container
            .mounts
            .iter()
            .any(|mount| mount.target == directory && mount.kind != "tmpfs")
        || world
            .files_of(container)
            .keys()
            .any(|file| file.starts_with(&format!("{directory}/")));
    if !known {
        let message = format!(
            "Could not find the file {path} in container {}",
            asked.target
        );
        return Err(Refusal::new(404, message));
    }
    let (id, place) = (container.id.clone(), container.place(&directory));
    let read_only = container.host["ReadonlyRootfs"] == json!(true);
    let files =
        unpack(&asked.body, u64::MAX).map_err(|error| Refusal::new(400, error.to_string()))?;
    let root = directory.trim_end_matches('/');
    let refused = world.generation.either(500, 400);
    match place {
        Place::Volume(_, false) => {
            return Err(Refusal::new(refused, "mounted volume is marked read-only"));
        }
        Place::Layer if read_only => {
            return Err(Refusal::new(
                refused,
                "container rootfs is marked read-only",
            ));
        }
        Place::Volume(name, true) => {
            let target = world
                .find(&id)?
                .mounts
                .iter()
                .find(|mount| mount.source == name)
                .map(|mount| mount.target.clone());
            let below = root
                .strip_prefix(target.unwrap_or_default().trim_end_matches('/'))
                .unwrap_or_default()
                .to_owned();
            if let Some(volume) = world.volumes.get_mut(&name) {
                volume.files.extend(
                    files
                        .into_iter()
                        .map(|(path, file)| (format!("{below}{path}"), file)),
                );
            }
        }
        Place::Layer => {
            let layer = &mut world.find_mut(&id)?.files;
            layer.extend(
                files
                    .into_iter()
                    .map(|(path, file)| (format!("{root}{path}"), file)),
            );
        }
    }
    world.tell_of(&id, "extract-to-dir", &[]);
    Ok(empty_reply(200))
}

/// `GET /containers/{id}/archive`: a file, or a directory with all below it.
pub(super) fn get(shared: &Shared, asked: &Asked) -> Handled {
    let mut world = shared.world();
    let container = world.find(&asked.target)?;
    let path = clean(asked.parameter("path"));
    let id = container.id.clone();
    let (parent, _) = path.rsplit_once('/').unwrap_or_default();
    let below = format!("{}/", path.trim_end_matches('/'));
    let all = world.files_of(container);
    let chosen: Vec<(String, &File)> = all
        .iter()
        .filter(|(file, _)| **file == path || file.starts_with(&below))
        .map(|(file, content)| {
            (
                file[parent.len()..].trim_start_matches('/').to_owned(),
                content,
            )
        })
        .collect();
    if chosen.is_empty() {
        let message = format!(
            "Could not find the file {} in container {}",
            asked.parameter("path"),
            asked.target
        );
        return Err(Refusal::new(404, message));
    }
    let archive = pack(&chosen).map_err(|error| Refusal::new(500, error.to_string()))?;
    world.tell_of(&id, "archive-path", &[]);
    Ok(bytes_reply(200, "application/x-tar", archive))
}

fn pack(files: &[(String, &File)]) -> std::io::Result<Vec<u8>> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, file) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(file.content.len() as u64);
        header.set_mode(file.mode);
        header.set_uid(file.uid);
        header.set_gid(file.gid);
        builder.append_data(&mut header, path, file.content.as_slice())?;
    }
    builder.into_inner()
}
