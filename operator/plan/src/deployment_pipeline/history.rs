//! Which Releases are kept, and how the others go.
//!
//! Owns the history limit, and the tags that no Release accounts for. Invariant: a Release goes
//! after its containers and its image's tag, and never while it is current, stable or to be gone
//! back to.

use std::collections::BTreeSet;

use crate::{ApiStep, Step};

use super::pass::Pass;
use super::{image, moment};

/// How old the oldest Release must be until tags that no Release accounts for go: whoever restores an API from a backup
/// has its Releases back by then.
const GRACE_SECONDS: u32 = 300;

/// Takes out Releases beyond the limit, and the finalizers of those of which nothing is left.
/// Returns steps on the API and, by host, on images.
pub(crate) fn trim(pass: &Pass<'_>) -> (Vec<ApiStep>, Vec<(String, Step)>) {
    let kept = kept(pass);
    let mut api = Vec::new();
    let mut hosts = Vec::new();
    for (number, release) in &pass.releases {
        if kept.contains(number) {
            continue;
        }
        let revision = release.spec.revision.as_str();
        let shared = kept
            .iter()
            .any(|other| pass.revision(*other) == Some(revision));
        let containers = pass.instances.iter().any(|i| {
            i.revision() == revision
                && (i.container().is_some() || i.unknown().is_some())
                && pass.owner(revision) == Some(*number)
        });
        if containers {
            continue;
        }
        let mut clean = true;
        if !shared {
            for host in pass.observed.hosts.keys() {
                match tagged(pass, host, revision) {
                    Tagged::Yes(step) => {
                        clean = false;
                        hosts.push((host.clone(), step));
                    }
                    Tagged::Unknown => clean = false,
                    Tagged::No => {}
                }
            }
        }
        if !clean {
            continue;
        }
        let name = pass.release_name(*number);
        if release.metadata.deletion_timestamp.is_none() {
            api.push(ApiStep::DeleteRelease { name: name.clone() });
        }
        if has_finalizer(release) {
            api.push(ApiStep::ReleaseFinalizer { name });
        }
    }
    hosts.extend(strays(pass));
    (api, hosts)
}

/// Tags of this pipeline for content that no Release has, such as those of an install whose data was lost. One whose
/// containers are still there stays with them.
fn strays(pass: &Pass<'_>) -> Vec<(String, Step)> {
    let mut steps = Vec::new();
    let mut created = pass
        .releases
        .values()
        .filter_map(|release| release.metadata.creation_timestamp.as_ref());
    if !created.any(|time| moment::after(time.0, GRACE_SECONDS) <= pass.now) {
        return steps;
    }
    for host in pass.observed.hosts.keys() {
        let Some(images) = pass.host(host).and_then(|facts| facts.images.known()) else {
            continue;
        };
        let ours = images.iter().filter(|(_, image)| image.is_some());
        for (tag, _) in ours {
            let Some(revision) = image::revision_of(pass, tag) else {
                continue;
            };
            let known = pass.releases.values().any(|r| r.spec.revision == revision);
            let used = pass.instances.iter().any(|i| i.revision() == revision);
            if !known && !used {
                steps.push((host.clone(), Step::UntagImage { tag: tag.clone() }));
            }
        }
    }
    steps
}

/// True while Mooring's finalizer is on a Release.
pub(crate) fn has_finalizer(release: &crds::Release) -> bool {
    release
        .metadata
        .finalizers
        .iter()
        .flatten()
        .any(|finalizer| finalizer == crds::FINALIZER)
}

/// The current, the stable, the one to go back to and as many others, newest first, as the limit allows. One that a person
/// has deleted is not kept.
fn kept(pass: &Pass<'_>) -> BTreeSet<u64> {
    let limit = usize::try_from(pass.pipeline.spec.revision_history_limit).unwrap_or(usize::MAX);
    let asked = pass.pipeline.spec.rollback_to.as_ref().and_then(|to| {
        let is_named = |number: &u64| pass.release_name(*number) == to.release;
        pass.releases.keys().copied().find(is_named)
    });
    let mut kept: BTreeSet<u64> = [pass.current, pass.stable, asked]
        .into_iter()
        .flatten()
        .collect();
    let others: Vec<u64> = pass
        .releases
        .iter()
        .rev()
        .filter(|(number, release)| {
            !kept.contains(number) && release.metadata.deletion_timestamp.is_none()
        })
        .map(|(number, _)| *number)
        .take(limit)
        .collect();
    kept.extend(others);
    kept
}

enum Tagged {
    Yes(Step),
    No,
    Unknown,
}

fn tagged(pass: &Pass<'_>, host: &str, revision: &str) -> Tagged {
    let images = pass.host(host).and_then(|facts| facts.images.known());
    let (Some(images), Some(tag)) = (images, image::tag(pass, revision)) else {
        return Tagged::Unknown;
    };
    match images.get(&tag) {
        Some(Some(_)) => Tagged::Yes(Step::UntagImage { tag }),
        Some(None) | None => Tagged::No,
    }
}
