//! A world as text, without ids, times, addresses and attempts: what two runs must have in common.

use std::collections::BTreeMap;

use crds::names::InstanceName;
use crds::{DeploymentPipeline, DockerHost, Release};
use kube::api::ListParams;
use kube::{Api, ResourceExt as _};

use crate::world::World;

/// Everything that is there once a world has settled, one line each, in order.
pub async fn picture(world: &World) -> Vec<String> {
    let client = world.person();
    let releases: Vec<Release> = Api::<Release>::namespaced(client.clone(), "default")
        .list(&ListParams::default())
        .await
        .expect("the API answers")
        .items;
    let names = Names::of(&releases);
    let mut lines = Vec::new();
    engine(world, &names, &mut lines);
    routes(world, &names, &mut lines);
    for release in &releases {
        lines.push(release_line(release, &names));
    }
    for pipeline in world
        .pipelines()
        .list(&ListParams::default())
        .await
        .expect("the API answers")
    {
        lines.push(pipeline_line(&pipeline));
    }
    for host in Api::<DockerHost>::all(client.clone())
        .list(&ListParams::default())
        .await
        .expect("the API answers")
    {
        lines.push(host_line(&host));
    }
    let secrets = world.names::<k8s_openapi::api::core::v1::Secret>().await;
    lines.push(format!("{} secrets", secrets.len()));
    lines.sort();
    lines
}

/// The lines that only one of two worlds has: `-` those that are wanted, `+` those that were found.
pub fn difference(wanted: &[String], found: &[String]) -> String {
    let missing = wanted
        .iter()
        .filter(|line| !found.contains(line))
        .map(|line| format!("  - {line}"));
    let extra = found
        .iter()
        .filter(|line| !wanted.contains(line))
        .map(|line| format!("  + {line}"));
    missing.chain(extra).collect::<Vec<_>>().join("\n")
}

/// A picture without history: what is declared, serves and runs, but not by which Releases it came to that, nor what is
/// kept of those that failed.
pub fn standing(picture: &[String]) -> Vec<String> {
    let lasting = |line: &&String| {
        let kept = ["Exited", "Created"];
        let failed = line.starts_with("container") && kept.iter().any(|phase| line.contains(phase));
        !failed && !line.starts_with("release ") && !line.starts_with("tag mooring/")
    };
    let mut lines: Vec<String> = picture
        .iter()
        .filter(lasting)
        .map(|line| plain(line))
        .collect();
    lines.sort();
    lines
}

/// A line without the names of Releases, and without counts of what is kept.
fn plain(line: &str) -> String {
    let mut parts = line.split(" of ");
    let first = parts.next().unwrap_or_default().to_owned();
    let unnamed = parts.fold(first, |whole, part| {
        let name = part.find('>').unwrap_or_default();
        whole + &part[name..]
    });
    let words = unnamed.split(' ').filter(|word| {
        let named = word.starts_with("current=") || word.starts_with("stable=");
        !named && !word.chars().all(|digit| digit.is_ascii_digit())
    });
    words.collect::<Vec<_>>().join(" ")
}

/// Revisions by what they run and the Release that first did: the hex digits follow from a key that differs in every
/// world.
struct Names(BTreeMap<String, String>);

impl Names {
    fn of(releases: &[Release]) -> Self {
        let mut names = BTreeMap::new();
        for release in releases {
            let (image, first) = (&release.spec.image.reference, release.name_any());
            names
                .entry(release.spec.revision.clone())
                .or_insert_with(|| format!("<{image} of {first}>"));
        }
        Self(names)
    }

    /// A text with every revision replaced by its image.
    fn mask(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (revision, image) in &self.0 {
            text = text.replace(revision.as_str(), image);
        }
        text
    }

    /// An instance without its attempt.
    fn instance(&self, name: &str) -> String {
        match InstanceName::parse(name) {
            Some(parsed) => {
                let attempt = format!("-{}", parsed.attempt);
                self.mask(name.strip_suffix(attempt.as_str()).unwrap_or(name))
            }
            None => self.mask(name),
        }
    }
}

fn engine(world: &World, names: &Names, lines: &mut Vec<String>) {
    for (name, container) in world.engine.containers() {
        let name = if name.starts_with("mooring-proxy-") {
            "proxy".to_owned()
        } else {
            names.instance(&name)
        };
        let image = names.mask(&container.image);
        let image = if name == "proxy" {
            "proxy"
        } else {
            image.as_str()
        };
        lines.push(format!(
            "container {name}: {:?}, image {image}, restart {}",
            container.phase, container.restart_policy
        ));
    }
    for (name, labels) in world.engine.networks() {
        lines.push(format!("network {name}, {} labels", labels.len()));
    }
    for name in world.engine.volumes().keys() {
        lines.push(format!("volume {}", names.instance(name)));
    }
    for tag in world
        .engine
        .tags()
        .keys()
        .filter(|tag| !tag.starts_with("mooring-proxy:"))
    {
        lines.push(format!("tag {}", names.mask(tag)));
    }
    for unlisted in world.engine.unlisted() {
        lines.push(format!("UNLISTED {unlisted}"));
    }
}

fn routes(world: &World, names: &Names, lines: &mut Vec<String>) {
    let Some(status) = world.proxies.status() else {
        lines.push("no proxy".to_owned());
        return;
    };
    for (key, section) in &status.sections {
        for instance in &section.section.instances {
            lines.push(format!(
                "route {key}: {} {:?}",
                names.instance(&instance.name),
                instance.state
            ));
        }
        let weights: Vec<String> = section
            .section
            .revisions
            .iter()
            .map(|(revision, route)| format!("{}={}", names.mask(revision), route.weight))
            .collect();
        lines.push(format!("weights {key}: {}", weights.join(" ")));
    }
}

fn release_line(release: &Release, names: &Names) -> String {
    let stage = release
        .status
        .as_ref()
        .and_then(|status| status.stages.first());
    let mut instances: Vec<String> = stage
        .iter()
        .flat_map(|stage| &stage.instances)
        .map(|instance| {
            format!(
                "{} {:?} ready={}",
                names.instance(&instance.name),
                instance.state,
                instance.ready
            )
        })
        .collect();
    instances.sort();
    let outcome = stage.and_then(|stage| stage.outcome);
    let verified = stage.is_some_and(|stage| stage.verified_at.is_some());
    format!(
        "release {}: {} {outcome:?} verified={verified} deleting={} [{}]",
        release.name_any(),
        release.spec.image.reference,
        release.metadata.deletion_timestamp.is_some(),
        instances.join(", ")
    )
}

fn pipeline_line(pipeline: &DeploymentPipeline) -> String {
    let status = pipeline.status.clone().unwrap_or_default();
    let conditions: Vec<String> = status
        .conditions
        .iter()
        .map(|condition| {
            format!(
                "{:?}={:?}/{:?}",
                condition.type_, condition.status, condition.reason
            )
        })
        .collect();
    format!(
        "pipeline {}: {} current={:?} stable={:?} {}",
        pipeline.name_any(),
        status.ready,
        status.current_release,
        status.stable_release,
        conditions.join(" ")
    )
}

fn host_line(host: &DockerHost) -> String {
    let status = host.status.clone().unwrap_or_default();
    let conditions: Vec<String> = status
        .conditions
        .iter()
        .map(|condition| {
            format!(
                "{:?}={:?}/{:?}",
                condition.type_, condition.status, condition.reason
            )
        })
        .collect();
    let networks: Vec<String> = status
        .networks
        .iter()
        .map(|network| network.namespace.clone())
        .collect();
    format!(
        "host {}: {} instances, networks {networks:?}, {}",
        host.name_any(),
        status.instances,
        conditions.join(" ")
    )
}
