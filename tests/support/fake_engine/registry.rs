//! A registry behind the fake Engine, as far as an Engine shows it: digests of tags, pulls by digest, and everything
//! that goes wrong with either, in the words of an Engine 20.10.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE;
use bytes::Bytes;
use futures::stream;
use serde_json::{Value, json};
use tokio::time;

use super::behaviour::Behaviour;
use super::reply::{Asked, Handled, Refusal, json_reply, stream_reply};
use super::world::{Files, Image, World, split_tag, with_tag};
use super::{FakeEngine, Shared};

/// Bytes of the one layer of each image.
const SIZE: u64 = 40_000_000;
/// Lines in which a pull tells of it.
const PARTS: u64 = 8;

/// What is wrong with the registry.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum RegistryFault {
    /// Nothing.
    #[default]
    None,
    /// 401, whatever the credentials.
    Denies,
    /// 404 for everything.
    Empty,
    /// 429.
    Limits,
    /// 500.
    Fails,
    /// It has the manifest and not the layer.
    LacksLayer,
    /// Nothing listens there.
    Refuses,
    /// It takes connections and says nothing.
    Hangs,
    /// It sends the eighth part of a layer each so often.
    Slow(Duration),
    /// It sends half of a layer, then nothing.
    Stalls,
}

/// What the registry has.
#[derive(Debug, Default)]
pub(super) struct Registry {
    /// `repository:tag` to digest.
    tags: BTreeMap<String, String>,
    /// `repository@digest` to image.
    images: BTreeMap<String, (Image, Behaviour)>,
    /// A text that the credentials must contain, once decoded.
    password: Option<String>,
    fault: RegistryFault,
    asked: u64,
}

impl FakeEngine {
    /// Puts an image into the registry, or moves the tag to another one, and gives its digest.
    pub fn publish(&self, reference: &str, behaviour: Behaviour, changes: &[&str]) -> String {
        let mut world = self.shared.world();
        let image = world.make_image(changes, Files::new());
        let digest = format!("sha256:{}", world.ids.next());
        let name = format!("{}@{digest}", split_tag(reference).0);
        let registry = &mut world.registry;
        registry.tags.insert(with_tag(reference), digest.clone());
        registry.images.insert(name, (image, behaviour));
        digest
    }

    /// From now on the registry wants this password.
    pub fn require_password(&self, password: &str) {
        self.shared.world().registry.password = Some(password.to_owned());
    }

    /// From now on this is wrong with the registry.
    pub fn set_registry(&self, fault: RegistryFault) {
        self.shared.world().registry.fault = fault;
    }

    /// How often the registry was asked for a digest or an image.
    pub fn registry_asked(&self) -> u64 {
        self.shared.world().registry.asked
    }
}

/// What the registry says before it looks for anything. `None`: it never says anything.
fn admitted(world: &mut World, asked: &Asked) -> Option<Result<RegistryFault, Refusal>> {
    let registry = &mut world.registry;
    registry.asked += 1;
    let shown = asked.registry_auth.as_deref().unwrap_or_default();
    let shown = BASE64_URL_SAFE.decode(shown).unwrap_or_default();
    let shown = String::from_utf8_lossy(&shown).into_owned();
    let denied = registry
        .password
        .as_ref()
        .is_some_and(|password| !shown.contains(&format!("\"password\":\"{password}\"")));
    let refusal = |text: &str| Some(Err(Refusal::new(500, text)));
    match registry.fault {
        RegistryFault::Hangs => None,
        RegistryFault::Denies => refusal("unauthorized: authentication required"),
        RegistryFault::Limits => refusal("toomanyrequests: too many requests"),
        RegistryFault::Fails => {
            refusal("received unexpected HTTP status: 500 Internal Server Error")
        }
        RegistryFault::Refuses => refusal(
            "Get \"https://registry.test/v2/\": dial tcp 192.0.2.1:443: connect: connection refused",
        ),
        _ if denied => refusal("Head \"https://registry.test/v2/\": no basic auth credentials"),
        fault => Some(Ok(fault)),
    }
}

/// `GET /distribution/{name}/json`.
pub(super) async fn digest(shared: &Arc<Shared>, asked: &Asked) -> Handled {
    let answer = admitted(&mut shared.world(), asked);
    let Some(answer) = answer else {
        return std::future::pending().await;
    };
    let fault = answer?;
    let world = shared.world();
    let tags = &world.registry.tags;
    match tags.get(&with_tag(&asked.target)) {
        Some(digest) if fault != RegistryFault::Empty => {
            let descriptor = json!({ "mediaType": "x", "digest": digest, "size": 1 });
            let body = json!({ "Descriptor": descriptor, "Platforms": [] });
            Ok(json_reply(200, &body))
        }
        _ => Err(Refusal::new(404, "manifest unknown: manifest unknown")),
    }
}

/// `POST /images/create?fromImage=repository&tag=digest`.
pub(super) async fn pull(shared: &Arc<Shared>, asked: &Asked) -> Handled {
    let answer = admitted(&mut shared.world(), asked);
    let Some(answer) = answer else {
        return std::future::pending().await;
    };
    let fault = answer?;
    let name = format!(
        "{}@{}",
        asked.parameter("fromImage"),
        asked.parameter("tag")
    );
    let found = shared.world().registry.images.get(&name).cloned();
    let Some((image, behaviour)) = found.filter(|_| fault != RegistryFault::Empty) else {
        let text = format!("manifest for {name} not found: manifest unknown: manifest unknown");
        return Err(Refusal::new(404, text));
    };
    let shared = Arc::clone(shared);
    let line = |value: Value| Bytes::from(format!("{value}\r\n"));
    // Whoever stops to read has the Engine give the pull up.
    let chunks = stream::unfold(0, move |part| {
        let (shared, name) = (Arc::clone(&shared), name.clone());
        let (image, behaviour) = (image.clone(), behaviour.clone());
        async move {
            match (fault, part) {
                (_, 0) => {
                    let text =
                        json!({"status": "Pulling fs layer", "progressDetail": {}, "id": "aaaa"});
                    return Some((line(text), 1));
                }
                (RegistryFault::LacksLayer, 1) => {
                    let text = "error pulling image configuration: download failed after attempts=1: unknown blob";
                    let text = json!({"errorDetail": {"message": text}, "error": text});
                    return Some((line(text), PARTS + 2));
                }
                (RegistryFault::Slow(pause), _) if part <= PARTS => time::sleep(pause).await,
                (RegistryFault::Stalls, _) if part > PARTS / 2 => std::future::pending().await,
                _ => {}
            }
            if part <= PARTS {
                let detail = json!({"current": SIZE / PARTS * part, "total": SIZE});
                let text = json!({"status": "Downloading", "progressDetail": detail, "id": "aaaa"});
                return Some((line(text), part + 1));
            }
            if part > PARTS + 1 {
                return None;
            }
            let mut world = shared.world();
            let id = image.id.clone();
            world.behaviours.insert(id.clone(), behaviour);
            world.digests.insert(name.clone(), id.clone());
            world.add_image(image, None);
            world.tell("image", "pull", &id, &[("name", &name)]);
            let text = json!({"status": "Pull complete", "progressDetail": {}, "id": "aaaa"});
            Some((line(text), part + 1))
        }
    });
    Ok(stream_reply("application/json", chunks))
}
