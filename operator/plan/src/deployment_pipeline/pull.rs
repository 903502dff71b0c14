//! Images that are pulled: which host lacks one, whether it is time to pull, and the words for it.
//!
//! Owns the judgement over pulls of one release's image. Must not know images that exist only on
//! the hosts. Invariant: only what the registry confirmed is pulled, by its digest.

use std::collections::BTreeSet;

use crds::Reason;
use jiff::Timestamp;

use crate::fact::{PullFacts, PullProgress};
use crate::{Step, registry};

use super::pass::{Pass, Trouble};
use super::{image, moment};

/// The step that pulls a release's image onto a host that lacks it, when it is time.
pub(crate) fn step(pass: &mut Pass<'_>, number: u64, host: &str) -> Option<Step> {
    let image = missing(pass, number, host)?;
    let tag = image::tag(pass, pass.revision(number)?)?;
    match pass.host(host)?.pulls.get(&image) {
        None => Some(Step::PullImage { image, tag }),
        Some(PullFacts::UnderWay(_)) => None,
        Some(PullFacts::Failed {
            reason,
            attempts,
            at,
            ..
        }) => {
            let due = due(*reason, *attempts, *at);
            if due > pass.now {
                pass.wake_at(due);
                return None;
            }
            Some(Step::PullImage { image, tag })
        }
    }
}

/// The steps that end pulls on a host for which no release of `wanted` asks any more.
pub(crate) fn cancel(pass: &Pass<'_>, host: &str, wanted: &[u64]) -> Vec<Step> {
    let wanted: BTreeSet<String> = wanted
        .iter()
        .filter_map(|number| missing(pass, *number, host))
        .collect();
    let pulls = pass.host(host).into_iter().flat_map(|facts| &facts.pulls);
    pulls
        .filter(|(image, pull)| matches!(pull, PullFacts::UnderWay(_)) && !wanted.contains(*image))
        .map(|(image, _)| Step::CancelPull {
            image: image.clone(),
        })
        .collect()
}

/// What is in the way of a release's image on a host that lacks it, for people.
pub(crate) fn trouble(pass: &Pass<'_>, number: u64, host: &str) -> Option<Trouble> {
    let image = missing(pass, number, host)?;
    let name = shortened(&image);
    let trouble = match pass.host(host)?.pulls.get(&image) {
        None => Trouble {
            reason: Reason::PullingImage,
            message: format!("pulling {name} on host {host}"),
        },
        Some(PullFacts::UnderWay(progress)) => Trouble {
            reason: Reason::PullingImage,
            message: format!("pulling {name} on host {host}{}", words(progress)),
        },
        Some(PullFacts::Failed {
            reason,
            message,
            attempts,
            at,
        }) => {
            let again = moment::recorded(due(*reason, *attempts, *at)).0;
            Trouble {
                reason: *reason,
                message: format!(
                    "cannot pull {name} on host {host}: {message}; try {attempts} failed, the next is at {again}{}",
                    advice(*reason)
                ),
            }
        }
    };
    Some(trouble)
}

/// The trouble that ends the release: a registry has said no.
pub(crate) fn refused(pass: &Pass<'_>, number: u64) -> Option<Trouble> {
    image::hosts(pass)
        .iter()
        .filter_map(|host| trouble(pass, number, host))
        .find(|trouble| registry::is_final(trouble.reason))
}

/// True when more of a release's image has arrived somewhere since `since`.
pub(crate) fn has_moved(pass: &Pass<'_>, number: u64, since: Timestamp) -> bool {
    pass.hosts().iter().any(|host| {
        let image = missing(pass, number, host);
        let pull = image.and_then(|image| pass.host(host)?.pulls.get(&image));
        matches!(pull, Some(PullFacts::UnderWay(progress))
            if moment::recorded(progress.moved_at).0 > since)
    })
}

/// `repository@digest`, if the release's image is pulled and the host is known not to have it.
fn missing(pass: &Pass<'_>, number: u64, host: &str) -> Option<String> {
    let release = pass.releases.get(&number)?;
    let image = release.spec.image.pulled()?;
    let known = pass.host(host)?.images.known().is_some();
    let there = image::has_tag(pass, host, &release.spec.revision)
        || image::id_on(pass, number, host).is_some();
    (known && !there).then_some(image)
}

fn due(reason: Reason, attempts: u32, at: Timestamp) -> Timestamp {
    moment::after(at, registry::pause_seconds(reason, attempts))
}

fn advice(reason: Reason) -> &'static str {
    match reason {
        Reason::ImageAccessDenied => "; check template.imagePullSecrets",
        Reason::ImageLayerMissing => "; push the image again",
        _ => "",
    }
}

/// `: 2 of 5 layers, 12.3 of 48.0 MB`, as far as it is known.
fn words(progress: &PullProgress) -> String {
    if progress.layers == 0 {
        return String::new();
    }
    let mut text = format!(": {} of {} layers", progress.layers_done, progress.layers);
    if progress.total_bytes > 0 {
        let mega = |bytes: u64| (bytes / 100_000, bytes / 100_000 % 10);
        let ((done, d), (total, t)) = (mega(progress.bytes), mega(progress.total_bytes));
        text.push_str(&format!(", {}.{d} of {}.{t} MB", done / 10, total / 10));
    }
    text
}

/// The image with twelve digits of its digest, as people know it.
fn shortened(image: &str) -> String {
    match image.split_once("@sha256:") {
        Some((repository, digest)) => {
            let digest = digest.get(..12).unwrap_or(digest);
            format!("{repository}@sha256:{digest}")
        }
        None => image.to_owned(),
    }
}
