//! What a person asks for by a patch: to hold, to go back, to restart, to reject, to end, to try
//! again. Each may be repeated, and the one that goes first wins.

use crds::condition::{ConditionStatus, ConditionType};
use crds::release::{CauseReason, Outcome};

use crate::app::App;
use crate::stories::{condition, installed, outcome};
use crate::world::World;

/// At rest, with so many answering.
fn settled(world: &mut World, answering: usize, summary: &str) {
    assert!(world.rest(900), "{}", world.trace());
    world.assert_at_rest();
    assert_eq!(world.answering(), answering, "{}", world.trace());
    assert_eq!(world.summary(), summary, "{}", world.trace());
}

fn state(world: &World, release: &str) -> String {
    let status = world.releases[release].status.as_ref();
    status
        .map(|status| status.state.clone())
        .unwrap_or_default()
}

/// A rollout of `shop:2` whose first instance serves.
fn under_way() -> World {
    let mut world = installed(&["a"], 3);
    world.release("shop:2", App::good());
    world.until("the first one is stopped", |w| {
        w.done.iter().any(|step| step.starts_with("stop "))
    });
    world
}

#[test]
fn a_held_rollout_stays_where_it_is_and_goes_on() {
    let mut world = under_way();
    world.edit(|spec| spec.paused = true);
    assert!(world.rest(3_600), "{}", world.trace());
    world.assert_at_rest();
    assert_eq!(state(&world, "shop-2"), "Paused");
    assert_eq!(world.answering(), 3, "{}", world.trace());
    assert_eq!(
        condition(&world, ConditionType::Reconciling),
        ConditionStatus::True
    );
    assert_eq!(
        condition(&world, ConditionType::Stalled),
        ConditionStatus::False
    );
    world.edit(|spec| spec.paused = false);
    settled(&mut world, 3, "Serving shop-2");
}

#[test]
fn what_is_held_is_still_looked_after() {
    let mut world = under_way();
    world.edit(|spec| spec.paused = true);
    world.rest(60);
    for _ in 0..3 {
        let id = world.hosts["a"].containers.keys().next().cloned().unwrap();
        world.host("a").containers.remove(&id);
        world.rest(120);
        // One that was lost beside a new one comes back beside it.
        assert!((3..=4).contains(&world.answering()), "{}", world.trace());
    }
    world.edit(|spec| spec.replicas = 5);
    world.rest(120);
    world.assert_sound();
    world.edit(|spec| spec.paused = false);
    settled(&mut world, 5, "Serving shop-2");
}

#[test]
fn a_hold_before_the_first_instance_keeps_everything_as_it_was() {
    let mut world = installed(&["a"], 2);
    world.edit(|spec| spec.paused = true);
    world.release("shop:2", App::good());
    assert!(world.rest(600), "{}", world.trace());
    world.assert_at_rest();
    assert_eq!(world.releases.len(), 1, "a held pipeline makes no release");
    assert!(world.summary().contains("paused"), "{}", world.summary());
    world.edit(|spec| spec.paused = false);
    settled(&mut world, 2, "Serving shop-2");
}

#[test]
fn a_hold_spares_the_deadline_of_what_waits() {
    let mut world = installed(&["a"], 2);
    world.release(
        "shop:2",
        App {
            ready_after: Some(15_000),
            ..App::good()
        },
    );
    world.until("one runs", |w| {
        w.done
            .iter()
            .filter(|step| step.starts_with("start default"))
            .count()
            > 2
    });
    world.edit(|spec| spec.paused = true);
    world.wait(3_600_000);
    world.edit(|spec| spec.paused = false);
    settled(&mut world, 2, "Serving shop-2");
}

#[test]
fn an_abort_goes_back_to_the_stable_release_and_holds() {
    let mut world = under_way();
    for _ in 0..2 {
        world.abort("shop-2", true);
        assert!(world.rest(600), "{}", world.trace());
        world.assert_at_rest();
        assert_eq!(outcome(&world, "shop-2"), Some(Outcome::Aborted));
        assert_eq!(world.answering(), 3);
        assert!(
            world.summary().starts_with("Back on shop-1"),
            "{}",
            world.summary()
        );
        assert_eq!(
            condition(&world, ConditionType::Stalled),
            ConditionStatus::True
        );
    }
    // A retry waits for the abort to be taken back: it goes before.
    world.retry("shop-2");
    world.rest(600);
    assert_eq!(outcome(&world, "shop-2"), Some(Outcome::Aborted));
    world.abort("shop-2", false);
    settled(&mut world, 3, "Serving shop-2");
}

#[test]
fn an_abort_of_a_held_rollout_goes_first() {
    let mut world = under_way();
    world.edit(|spec| spec.paused = true);
    world.rest(60);
    world.abort("shop-2", true);
    world.rest(600);
    world.assert_sound();
    assert_eq!(outcome(&world, "shop-2"), Some(Outcome::Aborted));
    assert_eq!(world.answering(), 3, "{}", world.trace());
}

#[test]
fn an_abort_of_what_is_out_changes_nothing() {
    let mut world = installed(&["a"], 2);
    world.abort("shop-1", true);
    world.retry("shop-1");
    settled(&mut world, 2, "Serving shop-1");
    assert_eq!(outcome(&world, "shop-1"), Some(Outcome::Succeeded));
}

#[test]
fn an_abort_with_nothing_to_return_to_keeps_what_serves() {
    let mut world = World::new(&["a"], 3);
    world.edit(|spec| spec.strategy.bake_seconds = 100);
    world.until("one serves", |w| w.answering() > 0);
    world.abort("shop-1", true);
    assert!(world.rest(600), "{}", world.trace());
    world.assert_at_rest();
    assert_eq!(outcome(&world, "shop-1"), Some(Outcome::Aborted));
    assert!(world.answering() > 0, "{}", world.trace());
    world.abort("shop-1", false);
    world.retry("shop-1");
    settled(&mut world, 3, "Serving shop-1");
}

#[test]
fn a_rolled_back_release_is_tried_once_per_retry() {
    let mut world = installed(&["a"], 2);
    world.release("shop:2", App::deaf());
    world.rest(600);
    assert_eq!(outcome(&world, "shop-2"), Some(Outcome::RolledBack));
    let starts = |world: &World| {
        world
            .done
            .iter()
            .filter(|s| s.starts_with("start default"))
            .count()
    };
    let before = starts(&world);
    world.retry("shop-2");
    assert!(world.rest(600), "{}", world.trace());
    world.assert_at_rest();
    assert_eq!(outcome(&world, "shop-2"), Some(Outcome::RolledBack));
    assert!(starts(&world) > before, "{}", world.trace());
    // The cause went away meanwhile.
    world.apps.insert("shop:2".to_owned(), App::good());
    world.retry("shop-2");
    settled(&mut world, 2, "Serving shop-2");
    assert_eq!(world.releases.len(), 2, "a retry is no release");
}

#[test]
fn a_way_back_is_a_release_of_its_own_and_holds_the_spec() {
    let mut world = installed(&["a"], 2);
    world.release("shop:2", App::good());
    settled(&mut world, 2, "Serving shop-2");
    for _ in 0..2 {
        world.go_back_to(Some("shop-1"));
        settled(&mut world, 2, "Serving shop-3, held by rollbackTo shop-1");
    }
    let back = &world.releases["shop-3"].spec;
    assert_eq!(back.revision, world.releases["shop-1"].spec.revision);
    assert_eq!(back.cause.reason, CauseReason::Rollback);
    assert_eq!(back.cause.rollback_of.as_deref(), Some("shop-2"));
    world.release("shop:4", App::good());
    settled(&mut world, 2, "Serving shop-3, held by rollbackTo shop-1");
    world.go_back_to(None);
    settled(&mut world, 2, "Serving shop-4");
}

#[test]
fn a_way_back_goes_before_a_hold() {
    let mut world = under_way();
    world.edit(|spec| spec.paused = true);
    world.rest(60);
    world.go_back_to(Some("shop-1"));
    settled(&mut world, 3, "Serving shop-3, held by rollbackTo shop-1");
    assert_eq!(outcome(&world, "shop-2"), Some(Outcome::Superseded));
}

#[test]
fn a_way_back_to_what_never_was_is_said_and_touches_nothing() {
    let mut world = installed(&["a"], 2);
    world.go_back_to(Some("shop-9"));
    assert!(world.rest(60), "{}", world.trace());
    world.assert_at_rest();
    assert_eq!(world.answering(), 2);
    assert_eq!(
        condition(&world, ConditionType::Stalled),
        ConditionStatus::True
    );
    assert_eq!(
        world.summary(),
        "Serving shop-1, but rollbackTo names shop-9, which is not there"
    );
    world.go_back_to(None);
    settled(&mut world, 2, "Serving shop-1");
}

#[test]
fn a_restart_replaces_everything_once() {
    let mut world = installed(&["a"], 2);
    let before: Vec<String> = world.hosts["a"].containers.keys().cloned().collect();
    world.restart();
    settled(&mut world, 2, "Serving shop-2");
    assert_eq!(
        world.releases["shop-2"].spec.cause.reason,
        CauseReason::Restart
    );
    assert!(
        before
            .iter()
            .all(|id| !world.hosts["a"].containers.contains_key(id))
    );
    world.edit(|spec| spec.restart_at = None);
    settled(&mut world, 2, "Serving shop-2");
}

#[test]
fn a_rejected_revision_is_undone_and_never_comes_out_again() {
    let mut world = under_way();
    let revision = world.releases["shop-2"].spec.revision.clone();
    world.edit(|spec| spec.rejected_revisions = vec![revision]);
    world.rest(600);
    assert_eq!(outcome(&world, "shop-2"), Some(Outcome::Aborted));
    world.release("shop:3", App::good());
    settled(&mut world, 3, "Serving shop-3");
    world.release("shop:2", App::good());
    world.rest(600);
    world.assert_at_rest();
    assert_eq!(world.releases.len(), 3, "{}", world.trace());
    assert_eq!(world.answering(), 3);
    assert_eq!(
        condition(&world, ConditionType::Stalled),
        ConditionStatus::True
    );
}
