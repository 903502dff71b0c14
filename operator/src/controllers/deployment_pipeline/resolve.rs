//! What the spec asks for, resolved once: the image on the hosts, the configuration's HMACs and the
//! name of the revision.
//!
//! As long as the newest Release says the same, its own resolution stands: a tag that moves later
//! changes nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crds::deployment_pipeline::ImagePullPolicy;
use crds::release::{ConfigRef, HostImage, ReleaseImage};
use crds::{Reason, Release, names};
use kube::ResourceExt as _;
use plan::deployment_pipeline::{Target, Unresolved};
use serde_json::json;

use super::observe::Look;
use crate::docker::{Outcome, images};
use crate::hex;
use crate::hosts::Host;
use crate::image::{canonical, content};
use crate::jobs::resolutions::{Answer, Question};
use crate::registry;
use crate::snapshot::Snapshots;

/// Resolves what the spec asks for, on the hosts that grant the namespace.
///
/// # Errors
/// The API could not be read.
pub(super) async fn target(look: &Look<'_>, hosts: &[Arc<Host>]) -> kube::Result<Target> {
    let spec = &look.pipeline.spec;
    let snapshots = Snapshots::new(look.context.client.clone(), &look.namespace);
    let config = snapshots
        .resolve(&look.context.install.key, &spec.template)
        .await?;
    let newest = look
        .releases
        .iter()
        .max_by_key(|release| release.spec.number);
    let image = match newest.filter(|newest| says_the_same(newest, look, &config)) {
        Some(newest) => {
            look.pipelines.resolutions.forget(&look.key());
            Ok(newest.spec.image.clone())
        }
        None => image(look, newest, hosts).await,
    };
    let revision = match (&image, &config) {
        (Ok(image), Ok(config)) => Some(revision(look, image, config)),
        (Ok(_) | Err(_), Ok(_) | Err(_)) => None,
    };
    Ok(Target {
        image,
        config,
        revision,
    })
}

fn says_the_same(
    release: &Release,
    look: &Look<'_>,
    config: &Result<Vec<ConfigRef>, Unresolved>,
) -> bool {
    let spec = &look.pipeline.spec;
    release.spec.image.reference == spec.source.image
        && release.spec.template.released() == spec.template.released()
        && config
            .as_ref()
            .is_ok_and(|config| *config == release.spec.config)
}

/// The image from where the policy says.
async fn image(
    look: &Look<'_>,
    newest: Option<&Release>,
    hosts: &[Arc<Host>],
) -> Result<ReleaseImage, Unresolved> {
    let source = &look.pipeline.spec.source;
    match source.pull_policy() {
        ImagePullPolicy::Never => on_hosts(&source.image, hosts).await,
        ImagePullPolicy::Always => at_registry(look, hosts, ""),
        ImagePullPolicy::IfNotPresent => {
            if let Some(kept) = kept(look, newest, hosts).await {
                return Ok(kept);
            }
            match on_hosts(&source.image, hosts).await {
                Err(lack) if lack.reason == Reason::ImageMissing => {
                    at_registry(look, hosts, &lack.message)
                }
                found => found,
            }
        }
    }
}

/// What the newest release pulled under the same reference, where every host still has it: for an image that is pulled
/// this is what the tag on the host is for others.
async fn kept(
    look: &Look<'_>,
    newest: Option<&Release>,
    hosts: &[Arc<Host>],
) -> Option<ReleaseImage> {
    let spec = &newest?.spec;
    let same = spec.image.reference == look.pipeline.spec.source.image;
    let revision = names::Revision::parse(&spec.revision)?;
    let tag = names::retained_image(&look.namespace, &look.name, &revision);
    if !same || spec.image.digest.is_empty() || hosts.is_empty() {
        return None;
    }
    for host in hosts {
        images::inspect(&host.engine().await.ok()?, &tag)
            .await
            .ok()?;
    }
    Some(spec.image.clone())
}

/// The image as its registry has it now. `lack` says why the hosts' own is not used.
fn at_registry(
    look: &Look<'_>,
    hosts: &[Arc<Host>],
    lack: &str,
) -> Result<ReleaseImage, Unresolved> {
    let reference = &look.pipeline.spec.source.image;
    let Some(host) = hosts
        .iter()
        .find(|host| host.host_id().is_some())
        .or(hosts.first())
    else {
        return Err(no_host());
    };
    let repository = registry::repository(reference);
    let credentials = look.pull_secrets.of(repository)?;
    let question = Question {
        reference: registry::tagged(reference),
        chance: look.chance,
    };
    let resolutions = &look.pipelines.resolutions;
    match resolutions.ask(&look.key(), host, &question, credentials) {
        Answer::Confirmed(digest) => Ok(ReleaseImage {
            reference: reference.clone(),
            repository: repository.to_owned(),
            digest,
            ..ReleaseImage::default()
        }),
        Answer::Open => Err(Unresolved {
            reason: Reason::PullingImage,
            message: format!("asking the registry for {reference}"),
            unknown: true,
        }),
        Answer::Failed {
            reason,
            message,
            attempts,
        } => {
            let lack = if lack.is_empty() {
                String::new()
            } else {
                format!("; {lack}")
            };
            Err(Unresolved {
                reason,
                message: format!(
                    "the registry cannot be asked for {reference}: {message}; it is asked again (tries that failed: {attempts}){lack}"
                ),
                unknown: !plan::registry::is_final(reason),
            })
        }
    }
}

fn no_host() -> Unresolved {
    Unresolved {
        reason: Reason::NoHost,
        message:
            "no DockerHost grants this namespace; add it to spec.allowedNamespaces of a DockerHost"
                .to_owned(),
        unknown: false,
    }
}

/// The image as it is on the hosts: everywhere, and everywhere the same.
async fn on_hosts(reference: &str, hosts: &[Arc<Host>]) -> Result<ReleaseImage, Unresolved> {
    let mut found: Vec<(HostImage, String)> = Vec::new();
    for host in hosts {
        let seen = async { images::inspect(&host.engine().await?, reference).await }.await;
        match seen {
            Ok(image) => {
                let id = image.id.clone().unwrap_or_default();
                found.push((
                    HostImage {
                        host: host.name.clone(),
                        id,
                    },
                    content(&image),
                ));
            }
            Err(outcome) => return Err(unresolved(reference, &host.name, &outcome)),
        }
    }
    agreed(reference, found)
}

/// One image out of what each host holds under a reference, with its content.
fn agreed(reference: &str, found: Vec<(HostImage, String)>) -> Result<ReleaseImage, Unresolved> {
    let Some((_, content)) = found.first().cloned() else {
        return Err(no_host());
    };
    if found.iter().any(|(_, other)| *other != content) {
        let table: Vec<String> = found
            .iter()
            .map(|(image, content)| format!("{} {}", image.host, &content[..12]))
            .collect();
        return Err(Unresolved {
            reason: Reason::ImageDiffers,
            message: format!(
                "image {reference} is not the same on every host ({}); load one build on all of them",
                table.join(", ")
            ),
            unknown: false,
        });
    }
    let hosts = found.into_iter().map(|(image, _)| image).collect();
    Ok(ReleaseImage {
        reference: reference.to_owned(),
        content,
        hosts,
        ..ReleaseImage::default()
    })
}

fn unresolved(reference: &str, host: &str, outcome: &Outcome) -> Unresolved {
    if outcome.is_not_found() {
        return Unresolved {
            reason: Reason::ImageMissing,
            message: format!(
                "host {host} does not have image {reference}; load it there (docker load, docker build or docker tag)"
            ),
            unknown: false,
        };
    }
    Unresolved {
        reason: Reason::Unreachable,
        message: format!("host {host}: {outcome}"),
        unknown: outcome.is_blind(),
    }
}

/// The name of what runs: ten hex digits of an HMAC over canonical JSON.
fn revision(look: &Look<'_>, image: &ReleaseImage, config: &[ConfigRef]) -> String {
    let hmacs: Vec<_> = config
        .iter()
        .map(|entry| (entry.kind, &entry.name, &entry.hmac))
        .collect();
    let image = match image.pulled() {
        Some(pulled) => json!({"pulled": pulled}),
        None => json!({"reference": image.reference, "content": image.content}),
    };
    let mut document = json!({
        "image": image,
        "template": look.pipeline.spec.template.released(),
        "config": hmacs,
    });
    // Left out when there is none: what was named before there were restarts keeps its name.
    if let Some(restart_at) = &look.pipeline.spec.restart_at {
        document["restartAt"] = json!(restart_at);
    }
    let text = canonical(&document).to_string();
    let mut digits = hex::encode(
        &look
            .context
            .install
            .key
            .hmac("revision", &[text.as_bytes()]),
    );
    digits.truncate(crds::names::Revision::LENGTH);
    digits
}

/// The snapshot Secrets that this pipeline needs and that exist, with the Releases that own them.
///
/// # Errors
/// The API could not be read.
pub(super) async fn snapshots(
    look: &Look<'_>,
    target: &Target,
) -> kube::Result<BTreeMap<String, BTreeSet<String>>> {
    let newest = look
        .releases
        .iter()
        .max_by_key(|release| release.spec.number);
    let wanted_back = look.pipeline.spec.rollback_to.iter().flat_map(|to| {
        look.releases
            .iter()
            .filter(|release| release.name_any() == to.release)
    });
    let kept = newest
        .into_iter()
        .chain(wanted_back)
        .flat_map(|release| &release.spec.config);
    let wanted = target.config.iter().flatten().chain(kept);
    let names = wanted
        .map(|entry| entry.secret.clone())
        .filter(|name| !name.is_empty())
        .collect();
    Snapshots::new(look.context.client.clone(), &look.namespace)
        .existing(&names)
        .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_that_disagree_about_a_tag_are_told() {
        let on = |host: &str, letter: &str| {
            let image = HostImage {
                host: host.to_owned(),
                id: String::new(),
            };
            (image, letter.repeat(64))
        };
        let one = agreed("shop:1", vec![on("a", "1"), on("b", "1")]).expect("they agree");
        assert_eq!((one.hosts.len(), one.content), (2, "1".repeat(64)));
        let refused = agreed("shop:1", vec![on("a", "1"), on("b", "2")]).expect_err("they differ");
        assert_eq!(refused.reason, Reason::ImageDiffers);
        for word in [
            "shop:1",
            "a 111111111111",
            "b 222222222222",
            "load one build",
        ] {
            assert!(refused.message.contains(word), "{}", refused.message);
        }
    }
}
