//! The image of a release on its hosts, and the tags by which it is kept.
//!
//! Owns which host needs which tag. Must not resolve anything: a release's image was resolved once.
//! Invariant: an instance is only ever created from its release's own tag.

use std::collections::BTreeSet;

use crds::Reason;
use crds::names::{self, Revision};

use crate::{Fact, Step};

use super::pass::{Pass, name_of, namespace_of};
use super::pull;

/// The tag that keeps a revision's image on a host.
pub(crate) fn tag(pass: &Pass<'_>, revision: &str) -> Option<String> {
    let revision = Revision::parse(revision)?;
    Some(names::retained_image(
        &namespace_of(pass.pipeline),
        &name_of(pass.pipeline),
        &revision,
    ))
}

/// The revision that a tag of this pipeline keeps; `None` for any other tag.
pub(crate) fn revision_of<'t>(pass: &Pass<'_>, tag: &'t str) -> Option<&'t str> {
    let owner = (namespace_of(pass.pipeline), name_of(pass.pipeline));
    let (namespace, pipeline) = names::retained_by(tag)?;
    let own = (namespace, pipeline) == (owner.0.as_str(), owner.1.as_str());
    tag.rsplit_once(':')
        .map(|(_, revision)| revision)
        .filter(|_| own)
}

/// The hosts that a release comes out on: those that take instances, unless they cannot be worked
/// with and others can, and those that are updated in place.
pub(crate) fn hosts(pass: &Pass<'_>) -> BTreeSet<String> {
    let takes = |known: bool| -> BTreeSet<String> {
        pass.observed
            .hosts
            .iter()
            .filter(|(name, facts)| {
                facts.schedulable && (!known || pass.host_unknown(name).is_none())
            })
            .map(|(name, _)| name.clone())
            .collect()
    };
    let mut hosts = takes(true);
    if hosts.is_empty() {
        hosts = takes(false);
    }
    hosts.extend(
        pass.instances
            .iter()
            .filter(|i| i.is_live())
            .map(|i| i.host.clone()),
    );
    hosts
}

/// True when every host of a release has its tag and the namespace's network. Says what is missing
/// where.
pub(crate) fn is_everywhere(pass: &mut Pass<'_>, number: u64) -> bool {
    if pass.limits.replicas == 0 {
        return true;
    }
    let Some(revision) = pass.revision(number).map(str::to_owned) else {
        return false;
    };
    let mut everywhere = true;
    for host in hosts(pass) {
        if pass.host(&host).is_none() {
            if let Some(trouble) = pass.host_unknown(&host) {
                pass.trouble(trouble.reason, trouble.message);
            }
            everywhere = false;
            continue;
        }
        if super::progress::network(pass, &host).is_none() {
            pass.trouble(
                Reason::NetworkPending,
                format!("waiting for the namespace's network on host {host}"),
            );
            everywhere = false;
        }
        if !has_tag(pass, &host, &revision) {
            everywhere = false;
            if let Some(trouble) = pull::trouble(pass, number, &host) {
                pass.trouble(trouble.reason, trouble.message);
            } else if id_on(pass, number, &host).is_none() {
                let reference = reference(pass, number);
                pass.trouble(
                    Reason::ImageMissing,
                    format!("host {host} does not have the image {reference} of this release; load it there"),
                );
            }
        }
    }
    everywhere
}

/// True when a host was observed to have a revision's tag.
pub(crate) fn has_tag(pass: &Pass<'_>, host: &str, revision: &str) -> bool {
    let Some(tag) = tag(pass, revision) else {
        return false;
    };
    pass.host(host)
        .and_then(|facts| facts.images.known())
        .is_some_and(|images| images.get(&tag).is_some_and(Option::is_some))
}

/// The step that gives a release's image its tag on a host, if it lacks it.
pub(crate) fn keep(pass: &Pass<'_>, number: u64, host: &str) -> Option<Step> {
    let revision = pass.revision(number)?;
    let known = matches!(pass.host(host)?.images, Fact::Known(_));
    if !known || has_tag(pass, host, revision) {
        return None;
    }
    Some(Step::TagImage {
        image: id_on(pass, number, host)?,
        tag: tag(pass, revision)?,
    })
}

/// The image's ID on a host: as it was pulled for this or another release, as it was resolved, or as
/// it is resolved now when it is the same.
pub(crate) fn id_on(pass: &Pass<'_>, number: u64, host: &str) -> Option<String> {
    let image = &pass.releases.get(&number)?.spec.image;
    if let Some(pulled) = image.pulled() {
        let images = pass.host(host)?.images.known()?;
        let others = pass.releases.values().map(|release| &release.spec);
        let tags = others
            .filter(|spec| spec.image.pulled().as_ref() == Some(&pulled))
            .filter_map(|spec| tag(pass, &spec.revision));
        return std::iter::once(pulled.clone())
            .chain(tags)
            .find_map(|name| images.get(&name)?.clone());
    }
    let resolved = image.hosts.iter();
    let again = pass
        .observed
        .target
        .image
        .as_ref()
        .ok()
        .filter(|now| now.reference == image.reference && now.content == image.content)
        .into_iter()
        .flat_map(|now| &now.hosts);
    resolved
        .chain(again)
        .find(|entry| entry.host == host)
        .map(|entry| entry.id.clone())
}

fn reference(pass: &Pass<'_>, number: u64) -> String {
    pass.releases
        .get(&number)
        .map(|release| release.spec.image.reference.clone())
        .unwrap_or_default()
}
