//! One story per behaviour, from the first apply on.

use crds::condition::{ConditionStatus, ConditionType};
use crds::release::Outcome;

use crate::app::App;
use crate::world::World;

pub fn condition(world: &World, type_: ConditionType) -> ConditionStatus {
    let status = world
        .pipeline
        .as_ref()
        .and_then(|p| p.status.clone())
        .unwrap();
    status
        .conditions
        .iter()
        .find(|c| c.type_ == type_)
        .map(|c| c.status)
        .unwrap()
}

pub fn outcome(world: &World, release: &str) -> Option<Outcome> {
    world
        .releases
        .get(release)?
        .status
        .as_ref()?
        .stages
        .first()?
        .outcome
}

/// A pipeline that is out, with so many replicas.
pub fn installed(hosts: &[&str], replicas: u32) -> World {
    let mut world = World::new(hosts, replicas);
    assert!(world.rest(120), "{}", world.trace());
    world.assert_at_rest();
    assert_eq!(world.answering(), replicas as usize, "{}", world.trace());
    world
}

#[test]
fn an_install_comes_to_rest_and_serves() {
    let world = installed(&["a"], 3);
    assert_eq!(world.summary(), "Serving shop-1");
    assert_eq!(
        condition(&world, ConditionType::Ready),
        ConditionStatus::True
    );
    assert_eq!(
        condition(&world, ConditionType::Available),
        ConditionStatus::True
    );
}

#[test]
fn an_update_replaces_everything() {
    let mut world = installed(&["a"], 3);
    world.release("shop:2", App::good());
    assert!(world.rest(120), "{}", world.trace());
    world.assert_at_rest();
    assert_eq!(world.summary(), "Serving shop-2");
    assert_eq!(world.answering(), 3);
    assert_eq!(world.hosts["a"].containers.len(), 3, "{}", world.trace());
}

#[test]
fn a_release_that_never_becomes_ready_is_undone() {
    let mut world = installed(&["a"], 3);
    world.release("shop:2", App::deaf());
    assert!(world.rest(300), "{}", world.trace());
    world.assert_at_rest();
    assert_eq!(outcome(&world, "shop-2"), Some(Outcome::RolledBack));
    assert_eq!(world.answering(), 3);
    assert_eq!(
        condition(&world, ConditionType::Ready),
        ConditionStatus::False
    );
    assert_eq!(
        condition(&world, ConditionType::Stalled),
        ConditionStatus::True
    );
    assert_eq!(
        condition(&world, ConditionType::Reconciling),
        ConditionStatus::False
    );
    assert_eq!(
        condition(&world, ConditionType::Available),
        ConditionStatus::True
    );
}

#[test]
fn a_release_that_fails_in_its_bake_is_undone_by_starting_the_stopped_ones() {
    let mut world = installed(&["a"], 3);
    let before: Vec<String> = world.hosts["a"].containers.keys().cloned().collect();
    world.release("shop:2", App::exits(9_000));
    assert!(world.rest(300), "{}", world.trace());
    world.assert_at_rest();
    assert_eq!(
        outcome(&world, "shop-2"),
        Some(Outcome::RolledBack),
        "{}",
        world.trace()
    );
    assert_eq!(world.answering(), 3);
    for id in before {
        assert!(
            world.hosts["a"].containers.contains_key(&id),
            "{}",
            world.trace()
        );
    }
    assert!(
        world.events.iter().any(|e| e.contains("last words")),
        "{:?}",
        world.events
    );
}

#[test]
fn the_scale_follows_without_a_release() {
    let mut world = installed(&["a"], 2);
    for replicas in [5, 1, 0, 2] {
        world.edit(|spec| spec.replicas = replicas);
        assert!(world.rest(120), "{}", world.trace());
        world.assert_at_rest();
        assert_eq!(world.answering(), replicas as usize, "{}", world.trace());
        assert_eq!(world.releases.len(), 1);
    }
}

#[test]
fn a_deletion_leaves_nothing() {
    let mut world = installed(&["a", "b"], 3);
    let now = world.now;
    if let Some(pipeline) = &mut world.pipeline {
        pipeline.metadata.deletion_timestamp =
            Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(now));
    }
    assert!(world.rest(120), "{}", world.trace());
    world.assert_sound();
    assert!(world.pipeline.is_none(), "{}", world.trace());
    for host in world.hosts.values() {
        assert!(host.containers.is_empty() && host.section.is_none() && host.images.is_empty());
    }
    for release in world.releases.values() {
        assert!(release.metadata.finalizers.is_none());
    }
}

#[test]
fn a_newer_release_in_the_middle_takes_over() {
    for when in [40, 400, 900, 1500, 2500, 4000, 6000, 9000, 12_000] {
        let mut world = installed(&["a"], 3);
        world.release("shop:2", App::good());
        world.wait(when);
        world.release("shop:3", App::good());
        assert!(world.rest(300), "{when}: {}", world.trace());
        world.assert_at_rest();
        assert_eq!(
            world.summary(),
            "Serving shop-3",
            "{when}: {}",
            world.trace()
        );
        assert_eq!(world.answering(), 3, "{when}");
        let second = outcome(&world, "shop-2");
        assert!(
            matches!(second, Some(Outcome::Superseded | Outcome::Succeeded)),
            "{when}: {second:?}"
        );
    }
}

#[test]
fn going_back_in_the_middle_adopts_what_runs() {
    let mut world = installed(&["a"], 3);
    let before: Vec<String> = world.hosts["a"].containers.keys().cloned().collect();
    world.release("shop:2", App::good());
    world.until("half of it is out", |w| w.hosts["a"].containers.len() == 5);
    world.release("shop:1", App::good());
    assert!(world.rest(300), "{}", world.trace());
    world.assert_at_rest();
    assert_eq!(world.summary(), "Serving shop-3", "{}", world.trace());
    let after: Vec<String> = world.hosts["a"].containers.keys().cloned().collect();
    assert_eq!(before, after, "{}", world.trace());
}

#[test]
fn what_was_rolled_back_does_not_come_again_until_the_content_changes() {
    let mut world = installed(&["a"], 2);
    world.release("shop:2", App::exits(100));
    assert!(world.rest(300), "{}", world.trace());
    assert_eq!(outcome(&world, "shop-2"), Some(Outcome::RolledBack));
    world.edit(|spec| spec.replicas = 3);
    assert!(world.rest(300), "{}", world.trace());
    world.assert_at_rest();
    assert_eq!(world.releases.len(), 2);
    assert_eq!(world.answering(), 3);
    world.release("shop:1", App::good());
    assert!(world.rest(300), "{}", world.trace());
    world.assert_at_rest();
    assert_eq!(world.summary(), "Serving shop-3");
    assert_eq!(world.hosts["a"].containers.len(), 3, "{}", world.trace());
    world.release("shop:2", App::good());
    assert!(world.rest(300), "{}", world.trace());
    world.assert_at_rest();
    assert_eq!(world.summary(), "Serving shop-4", "{}", world.trace());
}

#[test]
fn an_install_that_fails_goes_on_and_a_better_release_replaces_it() {
    let mut world = World::new(&["a"], 2);
    world.apps.insert("shop:1".to_owned(), App::exits(100));
    assert!(!world.rest(400), "{}", world.trace());
    world.assert_sound();
    assert_eq!(
        condition(&world, ConditionType::Stalled),
        ConditionStatus::True,
        "{}",
        world.trace()
    );
    let starts = world.done.iter().filter(|s| s.starts_with("start")).count();
    assert!((8..=20).contains(&starts), "{starts}\n{}", world.trace());
    world.release("shop:2", App::good());
    assert!(world.rest(300), "{}", world.trace());
    world.assert_at_rest();
    assert_eq!(world.summary(), "Serving shop-2");
    assert_eq!(world.hosts["a"].containers.len(), 2);
}

#[test]
fn an_install_that_takes_longer_than_its_deadline_serves_when_it_is_ready() {
    let mut world = World::new(&["a"], 2);
    let slow = App {
        ready_after: Some(200_000),
        ..App::good()
    };
    world.apps.insert("shop:1".to_owned(), slow);
    assert!(!world.rest(100), "{}", world.trace());
    assert_eq!(
        condition(&world, ConditionType::Stalled),
        ConditionStatus::True
    );
    assert!(world.rest(300), "{}", world.trace());
    world.assert_at_rest();
    assert_eq!(world.summary(), "Serving shop-1");
}

#[test]
fn an_image_that_is_missing_leaves_what_runs() {
    let mut world = installed(&["a"], 2);
    world.release("missing:2", App::good());
    assert!(world.rest(300), "{}", world.trace());
    world.assert_at_rest();
    assert_eq!(world.releases.len(), 1);
    assert_eq!(world.answering(), 2);
    assert_eq!(
        condition(&world, ConditionType::Stalled),
        ConditionStatus::True
    );
    assert_eq!(
        condition(&world, ConditionType::Available),
        ConditionStatus::True
    );
    let id = world.hosts["a"].containers.keys().next().cloned().unwrap();
    let now = world.now;
    world.host("a").containers.get_mut(&id).unwrap().halt(now);
    assert!(world.rest(60), "{}", world.trace());
    assert_eq!(
        world.answering(),
        2,
        "it is healed all the same\n{}",
        world.trace()
    );
}

#[test]
fn configuration_is_kept_before_anything_runs_and_a_change_of_it_is_a_release() {
    let mut world = World::new(&["a"], 1);
    world.config.insert("settings".to_owned(), "a".to_owned());
    assert!(world.rest(100), "{}", world.trace());
    world.assert_at_rest();
    let kept = world
        .done
        .iter()
        .position(|s| s.starts_with("keep ConfigMap"))
        .unwrap();
    let created = world
        .done
        .iter()
        .position(|s| s.starts_with("create default"))
        .unwrap();
    assert!(kept < created);
    world.config.insert("settings".to_owned(), "b".to_owned());
    assert!(world.rest(100), "{}", world.trace());
    world.assert_at_rest();
    assert_eq!(world.summary(), "Serving shop-2");
}

#[test]
fn releases_beyond_the_history_go_with_their_images() {
    let mut world = installed(&["a"], 1);
    world.edit(|spec| spec.revision_history_limit = 1);
    for number in 2..6 {
        world.release(&format!("shop:{number}"), App::good());
        assert!(world.rest(100), "{}", world.trace());
        world.assert_at_rest();
    }
    let names: Vec<&str> = world.releases.keys().map(String::as_str).collect();
    assert_eq!(names, ["shop-4", "shop-5"]);
    assert_eq!(world.hosts["a"].images.len(), 2);
}

#[test]
fn failed_instances_beyond_two_go() {
    use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString::Int;
    let mut world = installed(&["a"], 4);
    world.edit(|spec| {
        spec.strategy.rolling_update.max_surge = Int(4);
        spec.strategy.rolling_update.max_unavailable = Int(0);
    });
    world.release("shop:2", App::exits(100));
    assert!(world.rest(200), "{}", world.trace());
    world.assert_at_rest();
    assert_eq!(outcome(&world, "shop-2"), Some(Outcome::RolledBack));
    let made = world.done.iter().filter(|step| step.starts_with("create "));
    assert!(
        made.count() > 4 + 2,
        "more than two failed: {}",
        world.trace()
    );
    assert_eq!(world.hosts["a"].containers.len(), 4 + 2);
}

#[test]
fn tags_that_no_release_accounts_for_go_once_the_history_is_settled() {
    let mut world = installed(&["a"], 1);
    let stray = "mooring/default/shop:0123456789";
    let others = [
        "mooring/default/shop:latest",
        "mooring/default/cart:0123456789",
        "shop:0123456789",
    ];
    for tag in others.into_iter().chain([stray]) {
        let images = &mut world.hosts.get_mut("a").expect("the host").images;
        images.insert(tag.to_owned(), "sha256:another".to_owned());
    }
    let before = world.hosts["a"].images.len();
    world.wait(200_000);
    world.pass();
    let kept = world.hosts["a"].images.len();
    assert_eq!(kept, before, "the history may come back");
    world.wait(120_000);
    world.pass();
    let left = &world.hosts["a"].images;
    assert_eq!(left.len(), before - 1, "{}", world.trace());
    assert!(!left.contains_key(stray) && others.iter().all(|other| left.contains_key(*other)));
}

#[test]
fn a_worker_needs_no_section() {
    let mut world = World::new(&["a"], 2);
    world.edit(|spec| spec.traffic = None);
    assert!(world.rest(100), "{}", world.trace());
    world.assert_at_rest();
    world.release("shop:2", App::good());
    assert!(world.rest(100), "{}", world.trace());
    world.assert_at_rest();
    assert_eq!(world.summary(), "Serving shop-2");
    assert!(world.hosts["a"].section.is_none());
    world.release("shop:3", App::exits(100));
    assert!(world.rest(100), "{}", world.trace());
    world.assert_at_rest();
    assert_eq!(outcome(&world, "shop-3"), Some(Outcome::RolledBack));
}

#[test]
fn batches_are_as_large_as_surge_and_unavailable_allow() {
    for (surge, unavailable) in [(0, 1), (0, 3), (1, 1), (2, 0), (4, 4), (3, 2)] {
        let mut world = installed(&["a", "b"], 4);
        world.edit(|spec| {
            use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString::Int;
            spec.strategy.rolling_update.max_surge = Int(surge);
            spec.strategy.rolling_update.max_unavailable = Int(unavailable);
        });
        world.release("shop:2", App::good());
        assert!(world.rest(200), "{}", world.trace());
        world.assert_at_rest();
        assert_eq!(world.summary(), "Serving shop-2", "{surge} {unavailable}");
    }
}

#[test]
fn a_rollback_whose_target_fails_keeps_what_serves_and_tries_on() {
    let mut world = installed(&["a"], 2);
    world.release(
        "shop:2",
        App {
            unready_after: Some(8_000),
            ..App::good()
        },
    );
    world.until("the old ones are stopped", |w| {
        w.summary().starts_with("Baking")
    });
    for container in world.host("a").containers.values_mut() {
        if container.state == plan::fact::ContainerState::Exited {
            container.app = App::exits(10);
        }
    }
    assert!(!world.rest(200), "{}", world.trace());
    world.assert_sound();
    assert_eq!(
        world.summary(),
        "Rollback of shop-2 cannot be finished",
        "{}",
        world.trace()
    );
    for container in world.host("a").containers.values_mut() {
        container.app.exits_after = None;
    }
    assert!(world.rest(700), "{}", world.trace());
    world.assert_at_rest();
    assert_eq!(outcome(&world, "shop-2"), Some(Outcome::RolledBack));
}

#[test]
fn a_refused_start_is_a_failure_with_its_words() {
    let mut world = installed(&["a"], 1);
    world
        .refused
        .push("start default.shop.default.main.".to_owned());
    world.release("shop:2", App::good());
    assert!(world.rest(300), "{}", world.trace());
    world.assert_sound();
    assert_eq!(outcome(&world, "shop-2"), Some(Outcome::RolledBack));
    assert!(
        world.summary().contains("the Engine refuses"),
        "{}",
        world.summary()
    );
}

#[test]
fn an_orphaned_pipeline_leaves_everything_running() {
    let mut world = installed(&["a"], 2);
    world.edit(|spec| {
        spec.deletion_policy = crds::deployment_pipeline::DeletionPolicy::Orphan;
    });
    let now = world.now;
    if let Some(pipeline) = &mut world.pipeline {
        pipeline.metadata.deletion_timestamp =
            Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(now));
    }
    assert!(world.rest(10));
    assert!(world.pipeline.is_none());
    assert_eq!(world.hosts["a"].answering(world.now).len(), 2);
}

#[test]
fn an_image_comes_from_its_registry_to_every_host_before_anything_is_touched() {
    let mut world = installed(&["a", "b"], 2);
    world.release("registry/shop:2", App::good());
    assert!(world.rest(120), "{}", world.trace());
    world.assert_at_rest();
    assert_eq!(world.summary(), "Serving shop-2");
    let line = |what: &str| {
        let at = world.done.iter().rposition(|done| done.starts_with(what));
        at.unwrap_or_else(|| panic!("no {what}\n{}", world.trace()))
    };
    let first = |what: &str| world.done.iter().position(|done| done.starts_with(what));
    let created = first("create default.shop").map(|_| line("create default.shop"));
    assert!(created.is_some_and(|created| line("pull registry/shop@") < created));
}

#[test]
fn a_registry_that_is_away_for_a_while_delays_a_release_and_one_that_refuses_ends_it() {
    let mut world = installed(&["a"], 2);
    world.registry = Some(crds::Reason::RegistryFailing);
    world.release("registry/shop:2", App::good());
    world.until("three tries", |world| {
        world
            .done
            .iter()
            .filter(|done| done.starts_with("pull "))
            .count()
            == 3
    });
    assert_eq!(world.answering(), 2, "{}", world.trace());
    world.registry = None;
    assert!(world.rest(200), "{}", world.trace());
    assert_eq!(outcome(&world, "shop-2"), Some(Outcome::Succeeded));

    world.registry = Some(crds::Reason::ImageAccessDenied);
    world.release("registry/shop:3", App::good());
    assert!(world.rest(200), "{}", world.trace());
    world.assert_at_rest();
    assert_eq!(
        outcome(&world, "shop-3"),
        Some(Outcome::Failed),
        "{}",
        world.trace()
    );
    assert_eq!(world.answering(), 2);
    assert_eq!(
        condition(&world, ConditionType::Stalled),
        ConditionStatus::True
    );
}

#[test]
fn with_nothing_to_go_on_with_a_refusal_ends_nothing() {
    let mut world = World::new(&["a"], 1);
    world.registry = Some(crds::Reason::ImageAccessDenied);
    world.release("registry/shop:1", App::good());
    world.until("it is stalled", |world| {
        let status = world.pipeline.as_ref().and_then(|p| p.status.as_ref());
        status.is_some_and(|status| !status.conditions.is_empty())
            && condition(world, ConditionType::Stalled) == ConditionStatus::True
    });
    assert_eq!(outcome(&world, "shop-1"), None);
    world.registry = None;
    assert!(world.rest(600), "{}", world.trace());
    assert_eq!(world.summary(), "Serving shop-1");
}
