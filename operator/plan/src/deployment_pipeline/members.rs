//! Who takes part in a rollout: slots, the new revision's instances, and how many there are.
//!
//! Must not give intents.

use crds::release::InstanceState;

use super::instance::Instance;
use super::pass::{Pass, is_on};

/// The instances of the new revision that are in the rollout, by slot.
pub(crate) fn members(pass: &Pass<'_>, target: &str) -> Vec<usize> {
    wanted_slots(pass)
        .filter_map(|slot| pass.holder(target, slot))
        .filter(|index| {
            let state = pass.instances[*index].state;
            is_on(state) || state == InstanceState::Draining
        })
        .collect()
}

/// True when an instance was started, or is a container that has to be started again.
pub(crate) fn has_begun(instance: &Instance) -> bool {
    use crate::fact::ContainerState as C;
    match instance.container() {
        None => false,
        Some(container) => match container.state {
            C::Created => false,
            C::Running | C::Paused | C::Restarting | C::Exited | C::Removing | C::Dead => true,
        },
    }
}

/// How many instances run or are going to, those that wait for room aside.
pub(crate) fn in_use(pass: &Pass<'_>, target: &str) -> usize {
    let new = members(pass, target)
        .iter()
        .filter(|index| has_begun(&pass.instances[**index]))
        .count();
    let old = pass
        .instances
        .iter()
        .filter(|i| i.revision() != target && (i.is_live() || is_on(i.state)) && !i.is_lost())
        .count();
    new + old
}

/// The slots that are wanted.
pub(crate) fn wanted_slots(pass: &Pass<'_>) -> std::ops::Range<u32> {
    0..pass.pipeline.spec.replicas
}
