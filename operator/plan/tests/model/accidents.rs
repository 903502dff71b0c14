//! What happens by hand or by accident, and how it is put right.

use std::collections::BTreeSet;

use crds::condition::{ConditionStatus, ConditionType};
use crds::release::Outcome;
use plan::fact::{ContainerState, RestartPolicy};

use crate::app::App;
use crate::engine::Container;
use crate::stories::{condition, installed};
use crate::world::World;

fn first(world: &World) -> String {
    world.hosts["a"].containers.keys().next().cloned().unwrap()
}

fn healed(world: &mut World, answering: usize) {
    assert!(world.rest(900), "{}", world.trace());
    world.assert_at_rest();
    assert_eq!(world.answering(), answering, "{}", world.trace());
    assert_eq!(world.releases.len(), 1, "healed by the same release");
}

#[test]
fn a_container_removed_by_hand_is_back_in_the_first_pass_under_the_next_attempt() {
    let mut world = installed(&["a"], 2);
    let id = first(&world);
    world.host("a").containers.remove(&id);
    let plan = world.pass().unwrap();
    assert!(plan.to_string().contains("0-2 at"), "{plan}");
    healed(&mut world, 2);
}

#[test]
fn a_container_stopped_by_hand_is_started_in_the_first_pass() {
    let mut world = installed(&["a"], 2);
    let id = first(&world);
    let now = world.now;
    world.host("a").containers.get_mut(&id).unwrap().halt(now);
    let plan = world.pass().unwrap();
    assert!(plan.to_string().contains("start default.shop"), "{plan}");
    healed(&mut world, 2);
    assert_eq!(first(&world), id);
}

#[test]
fn a_renamed_and_a_frozen_container_are_put_right() {
    let mut world = installed(&["a"], 2);
    let id = first(&world);
    world.host("a").containers.get_mut(&id).unwrap().name = "mine".to_owned();
    healed(&mut world, 2);
    world.host("a").containers.get_mut(&id).unwrap().state = ContainerState::Paused;
    healed(&mut world, 2);
    assert_eq!(first(&world), id);
}

#[test]
fn a_lost_network_is_followed_by_new_attempts() {
    let mut world = installed(&["a"], 2);
    let now = world.now;
    for container in world.host("a").containers.values_mut() {
        container.halt(now);
    }
    world.host("a").network = None;
    assert!(world.rest(60), "{}", world.trace());
    world.host("a").network = Some("net-2".to_owned());
    healed(&mut world, 2);
    assert!(
        world.hosts["a"]
            .containers
            .values()
            .all(|c| c.instance.attempt == 2),
        "{}",
        world.trace()
    );
}

/// One of two is broken by hand: another takes its place, and the other one never stops answering.
fn replaced(break_it: fn(&mut Container)) {
    let mut world = installed(&["a"], 2);
    let id = first(&world);
    break_it(world.host("a").containers.get_mut(&id).unwrap());
    healed(&mut world, 2);
    assert!(!world.hosts["a"].containers.contains_key(&id));
}

#[test]
fn an_instance_disconnected_from_its_network_is_followed_by_a_new_attempt() {
    replaced(|container| container.attached = false);
}

#[test]
fn an_instance_with_other_resources_than_declared_is_followed_by_a_new_attempt() {
    replaced(|container| container.resources.memory = 16 << 20);
    replaced(|container| container.resources.cpu_quota = 50_000);
}

#[test]
fn a_restart_policy_changed_by_hand_is_set_back_in_the_first_pass() {
    for policy in [RestartPolicy::No, RestartPolicy::Other] {
        let mut world = installed(&["a"], 2);
        let id = first(&world);
        world.host("a").containers.get_mut(&id).unwrap().policy = policy;
        world.pass().unwrap();
        let after = &world.hosts["a"].containers[&id];
        assert_eq!(after.policy, RestartPolicy::Always, "{}", world.trace());
        healed(&mut world, 2);
    }
}

/// What `docker system prune -af` removes: containers that do not run, and images that none is made of.
fn prune(world: &mut World) {
    let runs = |state| matches!(state, ContainerState::Running | ContainerState::Paused);
    let host = world.host("a");
    host.containers.retain(|_, container| runs(container.state));
    let used: BTreeSet<String> = host
        .containers
        .values()
        .map(|container| container.instance.revision.as_str().to_owned())
        .collect();
    host.images
        .retain(|tag, _| used.iter().any(|revision| tag.ends_with(revision.as_str())));
}

#[test]
fn a_prune_in_the_middle_of_a_rollout_stops_nothing() {
    let mut world = installed(&["a"], 3);
    world.release("shop:2", App::good());
    let old: BTreeSet<String> = world.hosts["a"].containers.keys().cloned().collect();
    world.until("a new one answers and an old one is stopped", |world| {
        let containers = &world.hosts["a"].containers;
        let new = containers.iter().filter(|(id, _)| !old.contains(*id));
        new.filter(|(_, c)| c.state == ContainerState::Running)
            .count()
            > 1
            && containers
                .values()
                .any(|c| c.state == ContainerState::Exited)
    });
    prune(&mut world);
    assert!(world.rest(900), "{}", world.trace());
    world.assert_at_rest();
    assert_eq!(world.answering(), 3, "{}", world.trace());
    let stage = &world.releases["shop-2"].status.as_ref().unwrap().stages[0];
    assert_eq!(stage.outcome, Some(Outcome::Succeeded), "{}", world.trace());
}

#[test]
fn a_retained_tag_that_was_taken_away_is_put_back_in_the_first_pass() {
    let mut world = installed(&["a"], 1);
    let tags = world.hosts["a"].images.clone();
    world
        .host("a")
        .images
        .retain(|tag, _| !tag.starts_with("mooring/"));
    world.pass().unwrap();
    assert_eq!(world.hosts["a"].images, tags, "{}", world.trace());
    healed(&mut world, 1);
}

#[test]
fn an_address_that_is_not_the_recorded_one_is_followed_by_a_new_attempt() {
    let mut world = installed(&["a"], 2);
    let id = first(&world);
    world.host("a").containers.get_mut(&id).unwrap().address = "10.210.0.77".parse().unwrap();
    healed(&mut world, 2);
    assert!(!world.hosts["a"].containers.contains_key(&id));
}

#[test]
fn a_lost_section_is_pushed_again() {
    let mut world = installed(&["a"], 2);
    world.host("a").section = None;
    world.host("a").entered.clear();
    healed(&mut world, 2);
}

#[test]
fn a_foreign_container_in_the_way_is_not_touched() {
    let mut world = installed(&["a"], 1);
    world.release("shop:2", App::good());
    let name = {
        let mut ahead = world.clone();
        ahead.until("the new one exists", |w| w.hosts["a"].containers.len() == 2);
        let old = first(&ahead);
        let new = ahead.hosts["a"]
            .containers
            .iter()
            .find(|(id, _)| **id != old);
        new.map(|(_, c)| c.name.clone()).unwrap()
    };
    world.host("a").foreign.insert(name, "f".repeat(64));
    assert!(!world.rest(20), "{}", world.trace());
    world.assert_sound();
    let status = world
        .pipeline
        .as_ref()
        .and_then(|p| p.status.clone())
        .unwrap();
    assert!(
        status
            .conditions
            .iter()
            .any(|c| c.reason == crds::Reason::ForeignObject),
        "{}",
        world.trace()
    );
    world.host("a").foreign.clear();
    assert!(world.rest(200), "{}", world.trace());
    assert_eq!(world.summary(), "Serving shop-2");
}

#[test]
fn an_unreachable_host_freezes_a_rollout_and_counts_for_no_deadline() {
    let mut world = installed(&["a", "b"], 4);
    world.release("shop:2", App::good());
    world.until("it has begun", |w| {
        w.hosts.values().map(|h| h.containers.len()).sum::<usize>() > 5
    });
    world.host("b").reachable = false;
    let done = world.done.len();
    world.rest(500);
    world.assert_sound();
    assert!(
        !world.done[done..].iter().any(|s| s.ends_with("on b")),
        "{}",
        world.trace()
    );
    assert_eq!(
        condition(&world, ConditionType::Reconciling),
        ConditionStatus::True
    );
    world.host("b").reachable = true;
    assert!(world.rest(300), "{}", world.trace());
    world.assert_at_rest();
    assert_eq!(world.summary(), "Serving shop-2", "{}", world.trace());
    assert_eq!(world.answering(), 4);
}

#[test]
fn a_silent_proxy_freezes_its_host() {
    let mut world = installed(&["a"], 2);
    world.host("a").proxy_reachable = false;
    world.release("shop:2", App::good());
    world.rest(200);
    world.assert_sound();
    assert!(!world.done.iter().any(|s| s.starts_with("create default")
        && s.contains("0-1 at")
        && s.contains("10.210.0.4")));
    assert_eq!(
        condition(&world, ConditionType::Available),
        ConditionStatus::Unknown,
        "{}",
        world.trace()
    );
    world.host("a").proxy_reachable = true;
    assert!(world.rest(300), "{}", world.trace());
    assert_eq!(world.summary(), "Serving shop-2");
}

#[test]
fn a_crash_loop_is_backed_off_and_shown() {
    let mut world = installed(&["a"], 2);
    let id = first(&world);
    world.host("a").containers.get_mut(&id).unwrap().app = App::exits(2_000);
    let before = world.done.len();
    world.rest(1200);
    world.assert_sound();
    let starts = world.done[before..]
        .iter()
        .filter(|s| s.starts_with("start"))
        .count();
    assert!((2..=8).contains(&starts), "{starts}\n{}", world.trace());
    world.host("a").containers.get_mut(&id).unwrap().app = App::good();
    healed(&mut world, 2);
}

#[test]
fn an_erased_status_leads_to_the_same_containers() {
    for when in [0, 400, 900, 1600, 2500, 4000, 6000, 9000, 60_000] {
        let mut world = installed(&["a"], 3);
        world.release("shop:2", App::good());
        world.wait(when);
        let mut other = world.clone();
        for release in other.releases.values_mut() {
            release.status = None;
        }
        assert!(
            world.rest(300) && other.rest(300),
            "{when}: {}",
            other.trace()
        );
        world.assert_at_rest();
        other.assert_at_rest();
        let names = |world: &World| -> Vec<(String, u32)> {
            world.hosts["a"]
                .containers
                .values()
                .map(|c| (c.instance.revision.to_string(), c.instance.slot))
                .collect::<std::collections::BTreeSet<_>>()
                .into_iter()
                .collect()
        };
        assert_eq!(names(&world), names(&other), "{when}: {}", other.trace());
    }
}

#[test]
fn lost_releases_are_made_again_and_adopt_what_runs() {
    let mut world = installed(&["a"], 2);
    let before: Vec<String> = world.hosts["a"].containers.keys().cloned().collect();
    world.releases.clear();
    assert!(world.rest(100), "{}", world.trace());
    world.assert_at_rest();
    assert_eq!(world.summary(), "Serving shop-2");
    let after: Vec<String> = world.hosts["a"].containers.keys().cloned().collect();
    assert_eq!(before, after, "{}", world.trace());
}

#[test]
fn a_foreign_endpoint_is_named_and_an_address_that_it_took_is_given_up() {
    let mut world = installed(&["a"], 2);
    let id = first(&world);
    let now = world.now;
    let host = world.host("a");
    let taken = host.containers[&id].address;
    host.containers.get_mut(&id).unwrap().halt(now);
    host.intruders.insert("debug".to_owned(), taken);
    assert!(world.rest(120), "{}", world.trace());
    world.assert_at_rest();
    assert_eq!(world.answering(), 2, "{}", world.trace());
    assert!(!world.hosts["a"].containers.contains_key(&id));
    let status = world
        .pipeline
        .as_ref()
        .and_then(|p| p.status.clone())
        .unwrap();
    let ready = status
        .conditions
        .iter()
        .find(|c| c.type_ == ConditionType::Ready)
        .unwrap();
    assert_eq!(ready.status, ConditionStatus::True);
    assert!(
        ready.message.contains("debug on host a"),
        "{}",
        ready.message
    );
}

#[test]
fn an_unreachable_host_is_named_while_nothing_else_happens() {
    let mut world = installed(&["a", "b"], 2);
    world.host("b").reachable = false;
    assert!(world.rest(120), "{}", world.trace());
    world.assert_sound();
    let status = world
        .pipeline
        .as_ref()
        .and_then(|p| p.status.clone())
        .unwrap();
    let ready = status
        .conditions
        .iter()
        .find(|c| c.type_ == ConditionType::Ready)
        .unwrap();
    assert_eq!(ready.reason, crds::Reason::Unreachable, "{}", world.trace());
    assert!(ready.message.contains("host b"), "{}", ready.message);
    world.host("b").reachable = true;
    healed(&mut world, 2);
}

#[test]
fn a_step_that_fails_for_ever_keeps_no_other_from_being_done() {
    let mut world = installed(&["a"], 2);
    // The tag is gone and cannot be given again, and a name that was taken cannot be had back.
    world.host("a").images.clear();
    let id = first(&world);
    world.host("a").containers.get_mut(&id).unwrap().name = "mine".to_owned();
    world.refused = vec!["tag image".to_owned(), "rename".to_owned()];
    world.rest(60);
    let now = world.now;
    let other = world.hosts["a"].containers.keys().nth(1).cloned().unwrap();
    world
        .host("a")
        .containers
        .get_mut(&other)
        .unwrap()
        .halt(now);
    world.rest(60);
    world.assert_sound();
    assert_eq!(world.answering(), 2, "{}", world.trace());
}

#[test]
fn an_image_that_was_taken_away_is_told_before_it_is_needed() {
    let mut world = installed(&["a"], 2);
    world.host("a").images.clear();
    world.refused = vec!["tag image".to_owned()];
    world.wait(600_000);
    world.assert_sound();
    let status = world.pipeline.as_ref().and_then(|p| p.status.clone());
    let conditions = status.unwrap().conditions;
    assert!(
        conditions
            .iter()
            .any(|c| c.message.contains("load the image there again")),
        "{}",
        world.trace()
    );
    // What runs goes on, and with the image back everything is as before.
    assert_eq!(world.answering(), 2);
    world.refused.clear();
    healed(&mut world, 2);
}
