//! What of ours nobody owns any more: noticed, told, waited for, removed.
//!
//! Owns the clean-up of absent owners: sections, bridges, tags of images. It must not find out who is absent. Invariants:
//! nothing goes the first time it is seen, nor before it has been nobody's for [`GRACE_SECONDS`]; while more than a fifth
//! of the host's instances are nobody's, a person decides; what goes was told before, with the way to keep it.

use crds::docker_host::{GarbageKind, GarbageStatus};
use crds::{Reason, condition};
use jiff::Timestamp;

use super::verdict::Trouble;
use super::{Case, Inventory, bridges};
use crate::deployment_pipeline::moment;
use crate::{Event, EventKind, Step};

/// How long something must have been nobody's: whoever restores an API from a backup has its pipelines back by then.
const GRACE_SECONDS: u32 = 300;
/// The part of a host's instances, one in so many, whose owners may be missing at once: more of them look like an API
/// that lost its data.
const PART: usize = 5;
/// What is remembered at a time; the rest waits for its turn.
const MOST: usize = 256;
/// What a message names; more is counted, and stands in the status.
const MAX_NAMED: usize = 10;

/// One thing that nobody owns.
struct Found {
    status: GarbageStatus,
    step: Step,
}

/// Records and tells what is nobody's, and removes what has been so for long enough; gives what of it is still there.
pub(super) fn decide(case: &mut Case<'_>, inventory: &Inventory) -> Option<Trouble> {
    let found = found(case, inventory);
    let before = std::mem::take(&mut case.plan.record.garbage);
    case.plan.record.garbage = found.iter().map(|found| found.status.clone()).collect();
    let last = found.iter().map(|found| found.status.since.0).max()?;
    let brake = Brake::of(inventory);
    let granted = granted(case);
    let kept_back = |found: &Found| brake.is_on() && granted < Some(found.status.since.0);
    let trouble = if found.iter().any(&kept_back) {
        let waiting = found.iter().filter(|found| kept_back(found));
        held(case, &brake, &listed(waiting), last)
    } else {
        let at = moment::after(last, GRACE_SECONDS);
        announced(&listed(found.iter()), at)
    };
    let is_news = found.iter().any(|found| !before.contains(&found.status));
    tell(case, &trouble, is_news);
    for found in found {
        // What is seen for the first time is due later than now.
        let due = moment::after(found.status.since.0, GRACE_SECONDS);
        if due > case.now {
            case.plan.wake_at(due);
        } else if !kept_back(&found) {
            case.step(found.step);
        }
    }
    Some(trouble)
}

/// Everything of ours without an owner, in order, and since when.
fn found(case: &Case<'_>, inventory: &Inventory) -> Vec<Found> {
    let sections = abandoned(inventory).map(|orphan| {
        let drop = Step::DropSection {
            key: orphan.key.clone(),
            expect: orphan.version,
        };
        (GarbageKind::Section, orphan.key.to_string(), drop)
    });
    let (kept, _) = bridges::ours(inventory);
    let networks = kept
        .into_iter()
        .filter(|(namespace, _)| !bridges::is_needed(case, inventory, namespace))
        .map(|(_, network)| {
            let name = network.name.clone();
            (GarbageKind::Network, name, bridges::remove(network))
        });
    let images = inventory.strays.iter().map(|tag| {
        let untag = Step::UntagImage { tag: tag.clone() };
        (GarbageKind::Image, tag.clone(), untag)
    });
    sections
        .chain(networks)
        .chain(images)
        .take(MOST)
        .map(|(kind, name, step)| Found {
            status: remembered(case, kind, name),
            step,
        })
        .collect()
}

/// The sections that route to nothing any more. Containers of a pipeline that was deleted with `Orphan` go on, and so do
/// their routes.
fn abandoned(inventory: &Inventory) -> impl Iterator<Item = &super::Orphan> {
    let orphans = inventory.orphans.iter();
    orphans.filter(|orphan| orphan.containers.is_empty())
}

/// The record of one thing: as it was, or since now.
fn remembered(case: &Case<'_>, kind: GarbageKind, name: String) -> GarbageStatus {
    let old = &case.plan.record.garbage;
    let known = old
        .iter()
        .find(|status| status.kind == kind && status.name == name);
    known.cloned().unwrap_or_else(|| GarbageStatus {
        kind,
        name,
        since: moment::recorded(case.now),
    })
}

/// What keeps an API that lost its data from emptying a host.
struct Brake {
    /// Instances whose pipeline does not exist, those included of which only the entry in the route table is left.
    nobodys: usize,
    /// All of them.
    of: usize,
}

impl Brake {
    fn of(inventory: &Inventory) -> Brake {
        let gone: usize = abandoned(inventory).map(|orphan| orphan.entries).sum();
        let counted = |ours: &dyn Fn(&(String, String)) -> bool| -> usize {
            let counts = inventory.instances.iter().filter(|(owner, _)| ours(owner));
            counts.map(|(_, count)| *count as usize).sum()
        };
        Brake {
            nobodys: gone + counted(&|owner| inventory.ownerless.contains(owner)),
            of: gone + counted(&|_| true),
        }
    }

    fn is_on(&self) -> bool {
        self.nobodys * PART > self.of
    }
}

/// Until when a person has seen what is nobody's. A time to come grants nothing yet, or there would be no brake until
/// then.
fn granted(case: &mut Case<'_>) -> Option<Timestamp> {
    let at = case.object.spec.clean_up_at.as_ref()?.0;
    if at > case.now {
        case.plan.wake_at(at);
        return None;
    }
    Some(at)
}

fn announced(names: &str, at: Timestamp) -> Trouble {
    let message = format!(
        "nobody owns these any more, so they are removed by {at}: {names}. To keep them, apply their pipelines again before"
    );
    Trouble::new(Reason::CleaningUp, message)
}

fn held(case: &Case<'_>, brake: &Brake, names: &str, last: Timestamp) -> Trouble {
    let (Brake { nobodys, of }, host) = (brake, case.name());
    let message = format!(
        "the pipelines of {nobodys} of {of} instances do not exist: more than a fifth, so a person decides on what nobody owns any more: {names}. If the pipelines are missing by mistake, apply them again; if not: kubectl patch dockerhost {host} --type=merge -p '{{\"spec\":{{\"cleanUpAt\":\"{last}\"}}}}'"
    );
    Trouble::new(Reason::CleanUpHeld, message)
}

fn listed<'f>(found: impl Iterator<Item = &'f Found>) -> String {
    let mut names: Vec<String> = found
        .map(|found| match found.status.kind {
            GarbageKind::Section => format!("section {}", found.status.name),
            GarbageKind::Network => format!("network {}", found.status.name),
            GarbageKind::Image => format!("tag {}", found.status.name),
        })
        .collect();
    let more = names.len().saturating_sub(MAX_NAMED);
    names.truncate(MAX_NAMED);
    if more > 0 {
        names.push(format!("{more} more in status.garbage"));
    }
    names.join(", ")
}

/// An Event when there is more to remove than before, and when a person must decide.
fn tell(case: &mut Case<'_>, trouble: &Trouble, is_news: bool) {
    let status = case.object.status.iter();
    let mut old = status.flat_map(|status| &status.conditions);
    let is_held = trouble.reason == Reason::CleanUpHeld;
    let was_held = old.any(|old| old.reason == Reason::CleanUpHeld);
    if !is_news && (was_held || !is_held) {
        return;
    }
    let (kind, reason) = if is_held {
        (EventKind::Warning, "CleanUpHeld")
    } else {
        (EventKind::Normal, "CleaningUp")
    };
    case.plan.events.push(Event {
        kind,
        reason,
        message: condition::bounded(trouble.message.clone()),
    });
}
