//! How a pipeline goes away.
//!
//! Owns the order: policy, section, drain, stop, remove, then Releases, the pipeline's finalizer
//! last. Invariant: the finalizer goes when it was observed that nothing is left.

use crds::Reason;
use crds::deployment_pipeline::DeletionPolicy;

use crate::{ApiStep, Plan, Step};

use super::instance::{After, Intent, Served};
use super::pass::Pass;
use super::{Record, conditions, drain, history, image, routes as sections, steps};

/// What is left to do for an object that is being deleted.
pub(crate) fn decide(mut pass: Pass<'_>) -> Plan<Record> {
    let ours = conditions::has_finalizer(&pass);
    if !ours {
        return Plan::new(conditions::untouched(&pass));
    }
    match pass.pipeline.spec.deletion_policy {
        DeletionPolicy::Orphan => {
            let mut plan = Plan::new(conditions::untouched(&pass));
            plan.api = release_all(&pass);
            plan.api.push(ApiStep::DropFinalizer);
            plan
        }
        DeletionPolicy::Delete => tear_down(&mut pass),
    }
}

fn tear_down(pass: &mut Pass<'_>) -> Plan<Record> {
    for index in 0..pass.instances.len() {
        let instance = &pass.instances[index];
        // Dropping the section is what takes the traffic away; only then may it stop.
        let out = !pass.sectioned || steps::is_out(instance) || instance.served == Served::Stale;
        if instance.unknown().is_none() {
            pass.instances[index].intent = Intent::Retire {
                permitted: out,
                after: After::Remove,
            };
        }
    }
    let mut hosts = steps::dismantle(pass);
    for host in pass.hosts() {
        let Some(trouble) = pass.host_unknown(&host) else {
            continue;
        };
        let left: Vec<String> = pass
            .instances
            .iter()
            .filter(|i| i.host == host)
            .map(|i| i.name.to_string())
            .collect();
        if left.is_empty() {
            pass.trouble(trouble.reason, trouble.message);
        } else {
            let left = left.join(", ");
            pass.trouble(
                trouble.reason,
                format!(
                    "{}; still there: {left}. Set deletionPolicy to Orphan to leave it behind",
                    trouble.message
                ),
            );
        }
    }
    let blocked = pass.hosts().iter().any(|host| pass.host(host).is_none());
    let left = pass.instances.iter().any(|i| i.container().is_some());
    let served = pass.observed.hosts.keys().any(|host| {
        pass.proxy(host)
            .is_some_and(|proxy| proxy.section.is_some())
    });
    let mut api = Vec::new();
    if !blocked && !left && !served {
        let untag = untag_all(pass);
        let clean = untag.is_empty() && hosts.is_empty();
        for (host, step) in untag {
            hosts.entry(host).or_default().push(step);
        }
        if clean {
            api = release_all(pass);
            api.push(ApiStep::DropFinalizer);
        }
    }
    let record = conditions::deleting(pass);
    let mut plan = Plan::new(record);
    plan.api = api;
    plan.hosts = hosts;
    plan.wake = pass.wake;
    plan
}

fn release_all(pass: &Pass<'_>) -> Vec<ApiStep> {
    pass.releases
        .iter()
        .filter(|(_, release)| history::has_finalizer(release))
        .map(|(number, _)| ApiStep::ReleaseFinalizer {
            name: pass.release_name(*number),
        })
        .collect()
}

fn untag_all(pass: &Pass<'_>) -> Vec<(String, Step)> {
    let mut steps = Vec::new();
    for host in pass.observed.hosts.keys() {
        let mut tags: Vec<String> = pass
            .releases
            .values()
            .filter(|release| image::has_tag(pass, host, &release.spec.revision))
            .filter_map(|release| image::tag(pass, &release.spec.revision))
            .collect();
        tags.sort();
        tags.dedup();
        steps.extend(
            tags.into_iter()
                .map(|tag| (host.clone(), Step::UntagImage { tag })),
        );
    }
    steps
}

/// The step that takes a host's section out, once Docker starts none of its containers again.
pub(crate) fn drop_section(pass: &Pass<'_>, host: &str) -> Option<Step> {
    let section = pass.proxy(host)?.section.as_ref()?;
    let armed = pass
        .instances
        .iter()
        .any(|i| i.host == host && !drain::is_disarmed(i));
    (!armed).then(|| Step::DropSection {
        key: sections::key(pass),
        expect: section.version,
    })
}

/// The reason that a deletion shows.
pub(crate) const REASON: Reason = Reason::Deleting;
