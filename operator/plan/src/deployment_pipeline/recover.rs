//! Which Release is stable, also when its record is lost.
//!
//! Owns what facts say where no record speaks. Invariant: a record wins over weights, and weights
//! over ages; a release whose record stands is never made stable by its traffic.

use std::collections::BTreeMap;

use crds::Release;
use crds::release::{Outcome, ReleaseStatus, RolloutState};
use routes::InstanceState as RouteState;

use super::moment;
use super::pass::Pass;

/// The Release to return to. Where no record has one, the facts speak: of the revisions whose
/// record is lost, the one with the most weight, else the one whose oldest ready container is
/// older.
pub(crate) fn stable(pass: &mut Pass<'_>) -> Option<u64> {
    let recorded = pass
        .stages
        .iter()
        .rev()
        .find(|(_, stage)| stage.verified_at.is_some())
        .map(|(number, _)| *number);
    if recorded.is_some() {
        return recorded;
    }
    let lost = lost_revisions(pass);
    let best = lost
        .into_iter()
        .filter_map(|(revision, number)| Some((standing(pass, &revision)?, number)))
        .max()?;
    let now = moment::recorded(pass.now);
    let stage = pass.stage_mut(best.1);
    stage.verified_at = Some(now.clone());
    stage.started_at = Some(now.clone());
    stage.since = Some(now);
    stage.state = RolloutState::Finalizing;
    stage.outcome = Some(Outcome::Succeeded);
    Some(best.1)
}

/// Revisions that have containers, though no Release of theirs has a record; with their newest
/// Release. A record is always written before the first container.
fn lost_revisions(pass: &Pass<'_>) -> BTreeMap<String, u64> {
    let mut lost = BTreeMap::new();
    for instance in &pass.instances {
        let revision = instance.revision();
        let mut numbers = pass
            .releases
            .iter()
            .rev()
            .filter(|(_, release)| release.spec.revision == revision)
            .peekable();
        if let Some(newest) = numbers.peek().map(|(number, _)| **number)
            && numbers.all(|(_, release)| has_no_record(release))
        {
            lost.insert(revision.to_owned(), newest);
        }
    }
    lost
}

/// How much speaks for a revision being the stable one: weight, then age of the oldest ready
/// container. `None` when nothing of it works.
fn standing(pass: &Pass<'_>, revision: &str) -> Option<(u32, i64)> {
    let weight: u32 = pass
        .observed
        .hosts
        .values()
        .filter_map(|host| host.proxy.known()?.section.as_ref())
        .filter(|section| {
            section
                .instances
                .iter()
                .any(|i| i.revision == revision && i.state == RouteState::Routed)
        })
        .filter_map(|section| section.revisions.get(revision))
        .map(|route| route.weight)
        .fold(0, u32::saturating_add);
    let oldest = pass
        .instances
        .iter()
        .filter(|i| i.revision() == revision && i.ready_since().is_some())
        .filter_map(|i| i.container()?.created_at)
        .min();
    match (weight, oldest) {
        (0, None) => None,
        (weight, oldest) => Some((weight, oldest.map_or(i64::MIN, |t| -t.as_second()))),
    }
}

/// True for a Release of which nothing was ever recorded, or the record is lost.
fn has_no_record(release: &Release) -> bool {
    release
        .status
        .as_ref()
        .is_none_or(|status: &ReleaseStatus| status.stages.is_empty())
}
