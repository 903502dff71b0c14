//! Who runs, who waits and who leaves, given the state of the rollout.
//!
//! Owns the two shapes a pipeline can be in: one revision holds and everything else leaves, or a
//! new revision advances against the old ones. Must not make steps. Invariant: every instance has
//! an intent, and one that does its work leaves only with the permission of [`super::drain`].

use crds::release::{InstanceState, RolloutState};

use super::drain;
use super::instance::{After, Instance, Intent, Policy, Traffic};
use super::members::{has_begun, in_use, members, wanted_slots};
use super::pass::{Pass, is_on};
use super::{placement, verbs};

/// Failed instances of a release that are kept for inspection.
const KEPT_FAILED: usize = 2;

/// Gives every instance its intent.
pub(crate) fn assign(pass: &mut Pass<'_>) {
    for instance in &mut pass.instances {
        instance.intent = Intent::Leave;
    }
    let moving = pass.moving().and_then(|number| {
        let state = pass.stages.get(&number)?.state;
        Some((number, state))
    });
    match moving {
        None if pass.stable.is_none() => keep_serving(pass),
        None => hold(pass, pass.stable, None),
        Some((number, state)) => match state {
            RolloutState::Resolving | RolloutState::Preparing => {
                hold(pass, pass.stable, Some(number));
            }
            RolloutState::Starting
            | RolloutState::Warming
            | RolloutState::Shifting
            | RolloutState::Draining
            | RolloutState::Baking => advance(pass, number, state),
            RolloutState::Finalizing => hold(pass, Some(number), None),
            RolloutState::Paused if verbs::holds(pass, number) => stand(pass, number),
            RolloutState::RollingBack | RolloutState::Paused => hold(pass, pass.stable, None),
        },
    }
}

/// A person holds the rollout: everybody stays where they are. Before anything of it was made the
/// stable release is looked after as ever.
fn stand(pass: &mut Pass<'_>, number: u64) {
    let begun = pass
        .revision(number)
        .is_some_and(|target| !members(pass, target).is_empty());
    if begun {
        advance(pass, number, RolloutState::Paused);
    } else {
        hold(pass, pass.stable, Some(number));
    }
}

/// What is left when a release was ended with nothing to return to: what serves, of whatever
/// release, goes on and is looked after; the rest goes.
fn keep_serving(pass: &mut Pass<'_>) {
    if pass.current.is_none() {
        return;
    }
    let kept = kept_failed(pass, "");
    for index in 0..pass.instances.len() {
        let instance = &pass.instances[index];
        let serves = instance.is_serving(pass.sectioned)
            || matches!(
                instance.state,
                InstanceState::Serving | InstanceState::BackOff
            );
        if serves && instance.is_viable() && !instance.is_leaving() {
            run(pass, index, Traffic::Routed);
        } else if instance.unknown().is_none() {
            pass.instances[index].intent = Intent::Retire {
                permitted: drain::is_disarmed(instance),
                after: if kept.contains(&index) {
                    After::KeepFailed
                } else {
                    After::Remove
                },
            };
        }
    }
}

/// The whole of one revision runs and everything else leaves. What belongs to `spared` is left as
/// it is. Without a revision to hold nothing is touched.
fn hold(pass: &mut Pass<'_>, primary: Option<u64>, spared: Option<u64>) {
    let revision = |number: Option<u64>| {
        number
            .and_then(|number| pass.revision(number))
            .map(str::to_owned)
    };
    let (primary, spared) = (revision(primary), revision(spared));
    let Some(primary) = primary else { return };
    for slot in wanted_slots(pass) {
        if let Some(index) = hold_slot(pass, &primary, slot) {
            run(pass, index, Traffic::Routed);
        }
    }
    let kept = kept_failed(pass, &primary);
    let mut candidates = Vec::new();
    for index in 0..pass.instances.len() {
        let instance = &pass.instances[index];
        if instance.intent != Intent::Leave
            || instance.unknown().is_some()
            || (spared.as_deref() == Some(instance.revision()) && instance.revision() != primary)
            || awaits_successor(pass, &primary, instance)
        {
            continue;
        }
        let after = if kept.contains(&index) {
            After::KeepFailed
        } else {
            After::Remove
        };
        pass.instances[index].intent = Intent::Retire {
            permitted: false,
            after,
        };
        candidates.push(index);
    }
    prefer(pass, &mut candidates);
    permit(pass, &candidates, None);
}

/// True for what a slot had, while the next attempt cannot be added: the record keeps it, so that
/// no attempt is ever counted twice.
fn awaits_successor(pass: &Pass<'_>, primary: &str, instance: &Instance) -> bool {
    instance.revision() == primary
        && is_on(instance.state)
        && wanted_slots(pass).contains(&instance.name.slot)
        && pass.holder(primary, instance.name.slot).is_none()
}

/// The new revision gets its batch, the old ones give way.
fn advance(pass: &mut Pass<'_>, number: u64, state: RolloutState) {
    let Some(target) = pass.revision(number).map(str::to_owned) else {
        return;
    };
    olds(pass, &target, state);
    refill(pass, &target);
    match state {
        // One batch ahead: what is only created costs the host nothing, and the next batch starts
        // at once.
        RolloutState::Starting | RolloutState::Warming => enlist(pass, &target),
        RolloutState::Resolving
        | RolloutState::Preparing
        | RolloutState::Shifting
        | RolloutState::Draining
        | RolloutState::Baking
        | RolloutState::Finalizing
        | RolloutState::RollingBack
        | RolloutState::Paused => {}
    }
    news(pass, &target, state);
    give_way(pass, &target, state);
}

/// The new instances: the members of the batch run, the rest waits for room.
fn news(pass: &mut Pass<'_>, target: &str, state: RolloutState) {
    let traffic = match state {
        RolloutState::Starting | RolloutState::Warming if drain::acknowledged(pass) > 0 => {
            Traffic::Checked
        }
        // Nobody gets further than they are, but the promised minimum goes before that.
        RolloutState::Paused if drain::acknowledged(pass) >= pass.limits.floor => Traffic::Checked,
        RolloutState::Starting
        | RolloutState::Warming
        | RolloutState::Resolving
        | RolloutState::Preparing
        | RolloutState::Shifting
        | RolloutState::Draining
        | RolloutState::Baking
        | RolloutState::Finalizing
        | RolloutState::RollingBack
        | RolloutState::Paused => Traffic::Routed,
    };
    let mut room = pass.limits.room(in_use(pass, target));
    for index in members(pass, target) {
        if pass.instances[index].unknown().is_some() {
            continue;
        }
        if has_begun(&pass.instances[index]) {
            run(pass, index, traffic);
        } else if room > 0 {
            room -= 1;
            run(pass, index, traffic);
        } else {
            pass.instances[index].intent = Intent::Reserve;
        }
    }
}

/// The old instances that go on for now. Lost ones are healed and new slots filled as long as the
/// minimum is not made up without them: what carries the traffic is what was verified.
fn olds(pass: &mut Pass<'_>, target: &str, state: RolloutState) {
    let Some(stable) = pass.stable_revision().map(str::to_owned) else {
        return;
    };
    if stable == target {
        return;
    }
    let mut on = 0;
    for slot in wanted_slots(pass) {
        let holder = pass.holder(&stable, slot);
        if let Some(index) = holder.filter(|index| is_on(pass.instances[*index].state)) {
            run(pass, index, Traffic::Routed);
            on += 1;
        }
    }
    // What works beside them counts as well: the new ones, and slots that are to go.
    let wanted = wanted_slots(pass);
    let beside = pass
        .instances
        .iter()
        .filter(|i| i.is_serving(pass.sectioned) && !i.is_leaving())
        .filter(|i| i.revision() != stable || !wanted.contains(&i.name.slot))
        .count();
    let mut missing = pass.limits.floor.saturating_sub(on + beside);
    let grows = on > 0 && state != RolloutState::Baking;
    for slot in wanted_slots(pass) {
        if missing == 0 {
            break;
        }
        let lacks = pass.holder(&stable, slot).is_none()
            && (was_on(pass, &stable, slot) || (grows && !pass.slots(&stable).contains(&slot)));
        if lacks && let Some(index) = placement::add(pass, &stable, slot) {
            run(pass, index, Traffic::Routed);
            missing -= 1;
        }
    }
}

/// Old instances leave as far as they may; the next ones are disarmed in time.
fn give_way(pass: &mut Pass<'_>, target: &str, state: RolloutState) {
    let stable = pass.stable_revision().map(str::to_owned);
    let member = members(pass, target);
    let mut candidates = Vec::new();
    for index in 0..pass.instances.len() {
        let instance = &pass.instances[index];
        if instance.unknown().is_some() || member.contains(&index) {
            continue;
        }
        let old = instance.revision() != target;
        if matches!(instance.intent, Intent::Run { .. }) && old {
            candidates.push(index);
            continue;
        }
        let keeps = stable.as_deref() == Some(instance.revision())
            && old
            && instance.is_viable()
            && wanted_slots(pass).contains(&instance.name.slot);
        let after = if keeps { After::Keep } else { After::Remove };
        let gone = instance.is_leaving() || instance.state == InstanceState::Stopped;
        pass.instances[index].intent = Intent::Retire {
            permitted: keeps && gone,
            after,
        };
        if !(keeps && gone) {
            candidates.push(index);
        }
    }
    prefer(pass, &mut candidates);
    let leaves = leaves(state);
    let stands = state == RolloutState::Paused;
    if !stands {
        disarm_next(pass, target, &candidates);
    }
    for index in may_leave(pass, target, &candidates) {
        let disarmed = drain::is_disarmed(&pass.instances[index]);
        match &mut pass.instances[index].intent {
            Intent::Run { .. } if stands => {}
            Intent::Run { policy, .. } if !(leaves && disarmed) => *policy = Policy::Never,
            Intent::Retire { permitted, .. } => *permitted = disarmed,
            intent @ (Intent::Run { .. } | Intent::Leave | Intent::Reserve) => {
                let after = if stable.is_some() {
                    After::Keep
                } else {
                    After::Remove
                };
                *intent = Intent::Retire {
                    permitted: true,
                    after,
                };
            }
        }
    }
}

/// Takes Docker's restart from the old instances that will leave for those that are ready by now,
/// so that their drain need not wait for it.
fn disarm_next(pass: &mut Pass<'_>, target: &str, candidates: &[usize]) {
    let ready = members(pass, target)
        .iter()
        .map(|index| &pass.instances[*index])
        .filter(|i| i.ready_since().is_some() && !i.is_serving(pass.sectioned))
        .count();
    for index in candidates.iter().take(ready) {
        if let Intent::Run { policy, .. } = &mut pass.instances[*index].intent {
            *policy = Policy::Never;
        }
    }
}

/// True for the states in which old instances leave.
fn leaves(state: RolloutState) -> bool {
    match state {
        RolloutState::Shifting | RolloutState::Draining | RolloutState::Baking => true,
        RolloutState::Resolving
        | RolloutState::Preparing
        | RolloutState::Starting
        | RolloutState::Warming
        | RolloutState::Finalizing
        | RolloutState::RollingBack
        | RolloutState::Paused => false,
    }
}

/// The old instances that may leave for what the new ones do: never so many that fewer than the
/// minimum exist, ready or not.
pub(crate) fn may_leave(pass: &Pass<'_>, target: &str, candidates: &[usize]) -> Vec<usize> {
    let new = pass
        .instances
        .iter()
        .filter(|i| i.revision() == target && drain::works(pass, i) && !i.is_leaving())
        .count();
    let old = pass
        .instances
        .iter()
        .filter(|i| {
            i.revision() != target
                && !i.is_leaving()
                && match i.intent {
                    Intent::Run { .. } => true,
                    Intent::Retire { permitted, .. } => {
                        !permitted && (is_on(i.state) || i.is_routed())
                    }
                    Intent::Leave | Intent::Reserve => false,
                }
        })
        .count();
    let most = (new + old).saturating_sub(pass.limits.floor);
    drain::permitted(pass, candidates, Some(most))
}

/// Candidates of [`may_leave`] for looking ahead: old instances on their way, in the order in
/// which they leave.
pub(crate) fn old_on(pass: &Pass<'_>, target: &str) -> Vec<usize> {
    let mut candidates: Vec<usize> = (0..pass.instances.len())
        .filter(|index| {
            let instance = &pass.instances[*index];
            instance.revision() != target
                && instance.unknown().is_none()
                && (is_on(instance.state)
                    || (instance.is_live() && instance.state != InstanceState::Draining))
        })
        .collect();
    prefer(pass, &mut candidates);
    candidates
}

/// Who leaves first: those that do no work, then those beside a new one that begins, then the
/// highest slots.
fn prefer(pass: &Pass<'_>, candidates: &mut [usize]) {
    let credits = drain::credits(pass);
    candidates.sort_by_key(|index| {
        let instance = &pass.instances[*index];
        (
            drain::works(pass, instance) && !instance.is_leaving(),
            !credits.contains_key(&instance.host),
            std::cmp::Reverse(instance.name.slot),
            instance.name.attempt,
        )
    });
}

fn permit(pass: &mut Pass<'_>, candidates: &[usize], most: Option<usize>) {
    for index in drain::permitted(pass, candidates, most) {
        let disarmed = drain::is_disarmed(&pass.instances[index]);
        if let Intent::Retire { permitted, .. } = &mut pass.instances[index].intent {
            *permitted = disarmed;
        }
    }
}

/// Adds members until the next batch is complete, created or not.
fn enlist(pass: &mut Pass<'_>, target: &str) {
    let have = members(pass, target);
    let waiting = have
        .iter()
        .filter(|index| !has_begun(&pass.instances[**index]))
        .count();
    let missing = pass.limits.replicas.saturating_sub(have.len());
    let batch = batch_size(pass, target);
    let mut more = missing.min(batch.saturating_sub(waiting));
    let mut room = pass.limits.room(in_use(pass, target));
    for slot in wanted_slots(pass) {
        if more == 0 {
            break;
        }
        match pass.holder(target, slot) {
            // One that an earlier release of this content left behind is started again, at once.
            Some(index) if pass.instances[index].state == InstanceState::Stopped => {
                if room == 0 {
                    break;
                }
                room -= 1;
                pass.instances[index].state = InstanceState::Starting;
            }
            Some(_) => continue,
            None => {
                if placement::add(pass, target, slot).is_none() {
                    break;
                }
                room = room.saturating_sub(1);
            }
        }
        more -= 1;
    }
}

/// How many instances a batch has: what may be started beyond the wanted number and what may be
/// missing, and never less than there is room for now.
fn batch_size(pass: &Pass<'_>, target: &str) -> usize {
    let usual = pass.limits.surge + (pass.limits.replicas - pass.limits.floor);
    usual.max(1).max(pass.limits.room(in_use(pass, target)))
}

/// Slots of the new revision that had a member whose container was taken away get the next
/// attempt.
fn refill(pass: &mut Pass<'_>, target: &str) {
    for slot in wanted_slots(pass) {
        if pass.holder(target, slot).is_none() && was_on(pass, target, slot) {
            placement::add(pass, target, slot);
        }
    }
}

/// True when the highest attempt of a slot was on its way or at work before it was lost or broken.
fn was_on(pass: &Pass<'_>, revision: &str, slot: u32) -> bool {
    pass.instances
        .iter()
        .filter(|i| i.revision() == revision && i.name.slot == slot)
        .max_by_key(|i| i.name.attempt)
        .is_some_and(|i| is_on(i.state) && (i.is_lost() || i.broken().is_some()))
}

/// The instance that holds a slot, or the next attempt.
fn hold_slot(pass: &mut Pass<'_>, revision: &str, slot: u32) -> Option<usize> {
    pass.holder(revision, slot)
        .or_else(|| placement::add(pass, revision, slot))
}

/// The failed instances of the newest release that are kept, unless its content runs again.
fn kept_failed(pass: &Pass<'_>, primary: &str) -> Vec<usize> {
    let Some(current) = pass.current.and_then(|number| pass.revision(number)) else {
        return Vec::new();
    };
    if current == primary {
        return Vec::new();
    }
    (0..pass.instances.len())
        .filter(|index| {
            let instance = &pass.instances[*index];
            instance.revision() == current && instance.state == InstanceState::Failed
        })
        .take(KEPT_FAILED)
        .collect()
}

fn run(pass: &mut Pass<'_>, index: usize, traffic: Traffic) {
    let instance = &mut pass.instances[index];
    if instance.unknown().is_none() {
        instance.intent = Intent::Run {
            traffic,
            policy: Policy::WhenProven,
        };
    }
}
