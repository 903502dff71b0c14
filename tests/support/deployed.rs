//! What end-to-end tests put on this machine's Engine, and what is left there when they are over.
//!
//! Owns the images that stories deploy and the sweep after them. Invariants: only what carries the install's id and a
//! signature is swept, under the very name that its labels were written for; of images only ours and tags made since.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use operator::docker::{Endpoint, Engine};
use operator::gate::Open;

use crate::docker_cli::{self, docker, try_docker, words};
use crate::images::Recipe;

/// The repository of the images that stories deploy.
pub const SHOP: &str = "mooring-e2e-shop";
/// The one that never becomes ready.
pub const BAD: &str = "3.0";
/// The one whose image names a user that only its `/etc/passwd` knows: uid 1000.
pub const NAMED_USER: &str = "named-user";

/// Images on the Engine. Dropping it takes them away, and tags of Mooring that were not there before.
#[derive(Debug)]
pub struct Deployed {
    before: BTreeSet<String>,
}

impl Deployed {
    /// Makes the images of the stories: 1.0 and 2.0, [`BAD`] and [`NAMED_USER`].
    ///
    /// # Panics
    /// The Engine does not take them.
    pub fn images(dist: &Path) -> Deployed {
        let deployed = Deployed { before: tags() };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        runtime.block_on(async {
            let endpoint: Endpoint = docker_cli::host().parse().expect("an endpoint");
            let engine = Engine::connect(&endpoint, Arc::new(Open)).await;
            let engine = engine.expect("the Engine answers");
            for recipe in [
                Recipe::version(SHOP, "1.0"),
                Recipe::version(SHOP, "2.0"),
                Recipe::version(SHOP, BAD).env("NEVER_READY", "1"),
                Recipe::version(SHOP, NAMED_USER).change("USER app"),
            ] {
                let imported = recipe.import(&engine, &dist.join("testapp")).await;
                imported.unwrap_or_else(|error| panic!("{}: {error}", recipe.reference()));
            }
        });
        deployed
    }
}

impl Drop for Deployed {
    fn drop(&mut self) {
        let ours = |tag: &&String| {
            let repository = tag.split(':').next().unwrap_or_default();
            let kept = repository == "mooring-proxy" || repository.starts_with("mooring/");
            repository == SHOP || (kept && !self.before.contains(*tag))
        };
        for tag in tags().iter().filter(ours) {
            // One that is in use stays with its user.
            try_docker(&["rmi", tag]);
        }
    }
}

/// Removes what an install left on the Engine and says what that was.
///
/// # Panics
/// The Engine does not answer.
pub fn sweep(install: &str) -> Vec<String> {
    if install.len() != 32 {
        return Vec::new();
    }
    let label = format!("label=mooring.dev/install={install}");
    let signed = [
        "--filter",
        "label=mooring.dev/signature",
        "--filter",
        label.as_str(),
    ];
    let list = |words_before: &[&str]| {
        let arguments: Vec<&str> = words_before.iter().copied().chain(signed).collect();
        words(&arguments)
    };
    let mut swept = Vec::new();
    for id in list(&["ps", "--all", "--quiet", "--no-trunc"]) {
        swept.extend(remove(
            "container",
            ".Config.Labels",
            &id,
            &["rm", "--force", "--volumes"],
        ));
    }
    for id in list(&["network", "ls", "--quiet", "--no-trunc"]) {
        swept.extend(remove("network", ".Labels", &id, &["network", "rm"]));
    }
    for id in list(&["volume", "ls", "--quiet"]) {
        swept.extend(remove("volume", ".Labels", &id, &["volume", "rm"]));
    }
    swept
}

fn tags() -> BTreeSet<String> {
    words(&["images", "--format", "{{.Repository}}:{{.Tag}}"])
        .into_iter()
        .collect()
}

/// Removes one object if it has the name that its labels were written for; a copy of our labels stays.
fn remove(kind: &str, labels: &str, id: &str, call: &[&str]) -> Option<String> {
    let format = format!("{{{{.Name}}}} {{{{index {labels} \"mooring.dev/name\"}}}}");
    let shown = docker(&[kind, "inspect", "--format", &format, id]);
    let (name, declared) = shown.trim().trim_start_matches('/').split_once(' ')?;
    if name != declared {
        return None;
    }
    let arguments: Vec<&str> = call.iter().copied().chain([id]).collect();
    docker(&arguments);
    Some(format!("{kind} {name}"))
}
