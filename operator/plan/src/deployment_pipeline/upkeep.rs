//! What keeps a host in order beside its instances: tags of images, and what instances left behind.
//!
//! Owns steps that nothing else waits for. Invariant: a host on which one of them fails is looked
//! after all the same, so they come last.

use crds::Reason;

use crate::Step;

use super::instance::Intent;
use super::pass::Pass;
use super::{image, pull};

/// Pulls and tags the images of what comes out or runs here, where they are missing.
pub(crate) fn keep_images(pass: &mut Pass<'_>, host: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    let comes = pass
        .moving()
        .filter(|_| pass.limits.replicas > 0 && image::hosts(pass).contains(host));
    let runs = pass.stable.filter(|number| {
        let revision = pass.revision(*number);
        pass.instances
            .iter()
            .any(|i| i.host == host && Some(i.revision()) == revision && !i.forgotten)
    });
    let wanted: Vec<u64> = [comes, runs].into_iter().flatten().collect();
    for number in &wanted {
        let step = pull::step(pass, *number, host).or_else(|| image::keep(pass, *number, host));
        if let Some(step) = step
            && !steps.contains(&step)
        {
            steps.push(step);
        }
    }
    steps.extend(pull::cancel(pass, host, &wanted));
    if let Some(number) = runs {
        let failed = image::keep(pass, number, host).is_none_or(|step| {
            pass.observed
                .failures
                .iter()
                .any(|f| f.place == host && f.step == step.to_string())
        });
        let revision = pass.revision(number).unwrap_or_default().to_owned();
        let known = pass
            .host(host)
            .is_some_and(|facts| facts.images.known().is_some());
        if failed && known && !image::has_tag(pass, host, &revision) {
            let release = pass.release_name(number);
            let remedy = pull::trouble(pass, number, host).map_or_else(
                || "load the image there again".to_owned(),
                |trouble| trouble.message,
            );
            pass.trouble(
                Reason::RollbackUnavailable,
                format!("host {host} does not have the image of {release} any more: a rollback to it would fail; {remedy}"),
            );
        }
    }
    steps
}

/// Clears away what instances without a container left behind, unless they are about to be created.
pub(crate) fn leftovers(pass: &Pass<'_>, host: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    let Some(facts) = pass.host(host) else {
        return steps;
    };
    for name in &facts.leftovers {
        let awaited = pass.instances.iter().any(|i| {
            i.host == host
                && i.name == *name
                && !i.forgotten
                && matches!(
                    i.intent,
                    Intent::Run { .. } | Intent::Reserve | Intent::Leave
                )
        });
        if !awaited {
            steps.push(Step::RemoveLeftovers { name: name.clone() });
        }
    }
    steps
}
