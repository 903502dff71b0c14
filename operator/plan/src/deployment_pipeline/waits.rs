//! What each state of a rollout waits for.
//!
//! Owns one function per state, from facts and intents to a class. Must not move anything.
//! Invariant: a wait that protects the stable release ends when that release fails itself.

use crds::release::InstanceState;

use super::instance::{Instance, Intent, Policy};
use super::intents;
use super::members::{has_begun, in_use, members, wanted_slots};
use super::pass::Pass;
use super::rollout::{Facts, Rest};
use super::{image, moment, placement, progress, pull, routes as sections, trial};

/// Preparing: what is of neither the stable nor the new revision is gone, and every host has
/// network and image.
pub(crate) fn prepared(pass: &mut Pass<'_>, number: u64, target: &str) -> Facts {
    let stable = pass.stable_revision().map(str::to_owned);
    let between = stable.is_some()
        && pass.instances.iter().any(|i| {
            i.revision() != target
                && stable.as_deref() != Some(i.revision())
                && (i.is_live() || i.is_leaving())
        });
    // A stable release that fails itself must not keep its fix from coming out.
    let protects = between && !stable_has_failed(pass) && !stable_is_unfit(pass);
    let everywhere = image::is_everywhere(pass, number);
    if !everywhere && pull_is_refused(pass, number) {
        return Facts::Refused;
    }
    if protects || !everywhere {
        return Facts::Waiting;
    }
    if pass.limits.replicas > 0 && image::hosts(pass).is_empty() {
        // Says what is missing.
        placement::host_for(pass, target, 0);
        return Facts::Waiting;
    }
    let old = intents::old_on(pass, target);
    let leave = !intents::may_leave(pass, target, &old).is_empty() && !old.is_empty();
    let rest = if leave && stable.as_deref() != Some(target) && pass.limits.replicas > 0 {
        Rest::Leave
    } else {
        Rest::Add
    };
    Facts::Met(rest)
}

/// Keeps how the pulls go in the Release's own message. True: a registry said no, and there is a
/// release that goes on without this one.
fn pull_is_refused(pass: &mut Pass<'_>, number: u64) -> bool {
    let refused = pull::refused(pass, number);
    let first = || {
        image::hosts(pass)
            .iter()
            .find_map(|host| pull::trouble(pass, number, host))
    };
    let told = refused.clone().or_else(first);
    let stage = pass.stage_mut(number);
    stage.reason = told.as_ref().map(|trouble| trouble.reason);
    stage.message = crds::condition::bounded(told.map(|t| t.message).unwrap_or_default());
    refused.is_some() && progress::has_return(pass, number)
}

/// Starting: everything there is room for was started.
pub(crate) fn started(pass: &Pass<'_>, target: &str) -> Facts {
    let member = members(pass, target);
    let waiting = member
        .iter()
        .any(|index| !has_begun(&pass.instances[*index]) && runs(&pass.instances[*index]));
    let none = member.is_empty() && pass.limits.replicas > 0;
    if waiting || none {
        Facts::Waiting
    } else {
        Facts::Met(Rest::Add)
    }
}

fn runs(instance: &Instance) -> bool {
    matches!(instance.intent, Intent::Run { .. })
}

/// The members that were started.
fn begun<'p>(pass: &'p Pass<'_>, target: &str) -> Vec<&'p Instance> {
    members(pass, target)
        .into_iter()
        .map(|index| &pass.instances[index])
        .filter(|instance| has_begun(instance))
        .collect()
}

/// Warming: what was started is ready for long enough. Where there was no room to start anything,
/// old instances have to leave first.
pub(crate) fn warmed(pass: &Pass<'_>, target: &str) -> Facts {
    let begun = begun(pass, target);
    let fit = begun
        .iter()
        .all(|i| sections::is_fit(pass, i) || i.is_serving(pass.sectioned));
    if fit {
        Facts::Met(Rest::Add)
    } else {
        Facts::Waiting
    }
}

/// Shifting: every host has acknowledged the traffic of what was started.
pub(crate) fn shifted(pass: &Pass<'_>, target: &str) -> Facts {
    let begun = begun(pass, target);
    if begun.iter().all(|i| i.is_serving(pass.sectioned)) {
        Facts::Met(Rest::Add)
    } else if begun
        .iter()
        .all(|i| i.is_serving(pass.sectioned) || sections::is_fit(pass, i))
    {
        Facts::Waiting
    } else {
        Facts::Lost
    }
}

/// Draining: whoever may leave has left and stopped.
pub(crate) fn drained(pass: &Pass<'_>, target: &str) -> Facts {
    let leaving = |i: &&Instance| {
        i.revision() != target
            && i.is_live()
            && match i.intent {
                Intent::Run { policy, .. } => policy == Policy::Never,
                Intent::Retire { permitted, .. } => permitted || i.is_leaving(),
                Intent::Leave | Intent::Reserve => false,
            }
    };
    if pass.instances.iter().any(|i| leaving(&i)) {
        return Facts::Waiting;
    }
    let begun = begun(pass, target);
    if !begun.iter().all(|i| i.is_serving(pass.sectioned)) {
        return Facts::Lost;
    }
    if begun.len() < pass.limits.replicas {
        return if pass.limits.room(in_use(pass, target)) > 0 {
            Facts::Met(Rest::Add)
        } else {
            Facts::Waiting
        };
    }
    let old = pass
        .instances
        .iter()
        .any(|i| i.revision() != target && (i.is_live() || runs(i)));
    if old {
        Facts::Waiting
    } else {
        Facts::Met(Rest::Nothing)
    }
}

/// Baking: everything serves and goes on serving.
pub(crate) fn baked(pass: &mut Pass<'_>, number: u64, target: &str) -> Facts {
    let begun = begun(pass, target);
    if !begun.iter().all(|i| i.is_serving(pass.sectioned)) {
        return Facts::Lost;
    }
    if begun.len() < pass.limits.replicas {
        return Facts::Met(Rest::Add);
    }
    // What is stable already needs no other bake.
    let proven = pass.stable_revision() == Some(target);
    let since = pass.stages.get(&number).and_then(|s| s.since.clone());
    let bake = if proven {
        0
    } else {
        pass.pipeline.spec.strategy.bake_seconds
    };
    let over = since.map_or(pass.now, |since| moment::after(since.0, bake));
    if over > pass.now && bake > 0 {
        pass.wake_at(over);
        return Facts::Waiting;
    }
    Facts::Met(Rest::Nothing)
}

/// Finalizing: on every host that can be reached nothing of another revision is left, but for what
/// could not be removed.
pub(crate) fn finalized(pass: &Pass<'_>, target: &str) -> Facts {
    let failing = |instance: &Instance| {
        let name = instance.name.to_string();
        pass.observed
            .failures
            .iter()
            .any(|f| f.place == instance.host && f.step == format!("remove {name}"))
    };
    let left = pass
        .instances
        .iter()
        .any(|i| i.revision() != target && i.container().is_some() && !failing(i));
    if left {
        Facts::Waiting
    } else {
        Facts::Met(Rest::Nothing)
    }
}

/// RollingBack: the stable revision does all the work and nothing else gets any.
pub(crate) fn rolled_back(pass: &mut Pass<'_>, target: &str) -> Facts {
    let late = pass
        .current
        .and_then(|number| progress::late(pass, number))
        .is_some();
    if stable_has_failed(pass) || late {
        return Facts::Failed;
    }
    let live = pass
        .instances
        .iter()
        .any(|i| i.revision() == target && (i.is_live() || i.is_leaving()));
    if stable_is_whole(pass) && !live {
        Facts::Met(Rest::Nothing)
    } else {
        Facts::Waiting
    }
}

fn stable_holders(pass: &Pass<'_>) -> Vec<Option<usize>> {
    let Some(stable) = pass.stable_revision() else {
        return Vec::new();
    };
    wanted_slots(pass)
        .map(|slot| pass.holder(stable, slot))
        .collect()
}

pub(crate) fn stable_is_whole(pass: &Pass<'_>) -> bool {
    stable_holders(pass)
        .into_iter()
        .all(|holder| holder.is_some_and(|index| pass.instances[index].is_serving(pass.sectioned)))
}

/// True when an instance of the stable release has traffic and is not ready for it.
fn stable_is_unfit(pass: &Pass<'_>) -> bool {
    stable_holders(pass).into_iter().flatten().any(|index| {
        let instance = &pass.instances[index];
        instance.state == InstanceState::Serving
            && instance.is_running()
            && instance.ready_since().is_none()
            && instance.readiness_unknown().is_none()
    })
}

/// True when an instance of the release to return to fails itself.
fn stable_has_failed(pass: &mut Pass<'_>) -> bool {
    let mut failed = false;
    for index in stable_holders(pass).into_iter().flatten() {
        let instance = &pass.instances[index];
        // One that was stopped for the rollout, or by hand, is only about to be started.
        let trying = matches!(
            instance.state,
            InstanceState::Starting | InstanceState::Warming | InstanceState::BackOff
        );
        if trying && trial::failure(pass, index, 0).is_some() {
            failed = true;
        }
    }
    failed
}
