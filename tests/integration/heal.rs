//! What hands do to instances, bridge, proxy and tags is put right by the Engine's event, with no timer.

use std::collections::BTreeSet;
use std::time::Duration;

use bollard::models::RestartPolicyNameEnum;
use crds::release::RolloutState;
use crds::{ConditionStatus, ConditionType, DockerHost, Reason, Release};
use kube::Api;
use kube::api::ListParams;
use operator::docker::{Engine, containers, images, networks};
use tests::fake_engine::{ContainerView, Down, Fault, Phase};
use tests::world::{World, shop};
use tokio::time::Instant;

/// Far below every timer of a converged pipeline: only an event can be that quick.
const AT_ONCE: Duration = Duration::from_secs(10);

async fn settled() -> World {
    let mut world = World::new().await;
    world.start().await;
    world.apply(shop("shop:1.0", 2)).await;
    world
        .until("Ready", async |world| {
            let ready = world.condition("shop", ConditionType::Ready).await;
            ready.is_some_and(|(status, _)| status == ConditionStatus::True)
        })
        .await;
    world.settle().await;
    world
}

fn instances(world: &World) -> Vec<ContainerView> {
    let ours = |container: &ContainerView| container.name.starts_with("default.shop.");
    world
        .engine
        .containers()
        .into_values()
        .filter(ours)
        .collect()
}

/// A person's own connection to the Engine.
async fn person(world: &World) -> Engine {
    let gate = std::sync::Arc::new(operator::gate::Open);
    Engine::connect_with(world.engine.person(), gate)
        .await
        .expect("the Engine answers")
}

async fn both_serve_again(world: &World) {
    let began = Instant::now();
    world
        .until("both instances in the route table", async |world| {
            let up = instances(world)
                .iter()
                .filter(|container| container.phase == Phase::Running)
                .count();
            let routed = world.proxies.status().is_some_and(|status| {
                let sections = status
                    .sections
                    .values()
                    .flat_map(|section| &section.section.instances);
                sections
                    .filter(|instance| instance.state == routes::InstanceState::Routed)
                    .count()
                    == 2
            });
            up == 2 && routed
        })
        .await;
    assert!(began.elapsed() < AT_ONCE, "it took {:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_removed_instance_is_made_again() {
    let world = settled().await;
    let victim = instances(&world).remove(0);
    containers::remove(&person(&world).await, &victim.id)
        .await
        .expect("it is removed");
    both_serve_again(&world).await;
}

#[tokio::test(start_paused = true)]
async fn a_stopped_instance_is_started_again() {
    let world = settled().await;
    let victim = instances(&world).remove(0);
    containers::stop(&person(&world).await, &victim.id, Duration::from_secs(1))
        .await
        .expect("it is stopped");
    both_serve_again(&world).await;
    let again = world
        .engine
        .container(&victim.name)
        .expect("the same container");
    assert_eq!(again.id, victim.id);
    assert_eq!(again.restart_policy, "always");
}

#[tokio::test(start_paused = true)]
async fn a_renamed_instance_gets_its_name_back() {
    let world = settled().await;
    let victim = instances(&world).remove(0);
    containers::rename(&person(&world).await, &victim.id, "mine")
        .await
        .expect("it is renamed");
    world
        .until("the name", async |world| {
            world.engine.container(&victim.name).is_some()
        })
        .await;
    assert_eq!(
        world.engine.container(&victim.name).map(|found| found.id),
        Some(victim.id)
    );
}

/// Breaks one of two by hand; both serve again by the event alone, and by the same release.
async fn healed_by_the_event(break_it: impl AsyncFnOnce(&World, &Engine, &ContainerView)) -> World {
    let world = settled().await;
    let victim = instances(&world).remove(0);
    break_it(&world, &person(&world).await, &victim).await;
    both_serve_again(&world).await;
    world.settle().await;
    let expected = |view: &ContainerView| {
        view.phase == Phase::Running
            && !view.paused
            && view.restart_policy == "always"
            && view.memory == 0
    };
    let all = instances(&world);
    assert!(all.len() == 2 && all.iter().all(expected), "{all:#?}");
    assert_eq!(world.names::<Release>().await, ["shop-1"]);
    world
}

#[tokio::test(start_paused = true)]
async fn a_killed_instance_is_started_again() {
    healed_by_the_event(async |_, engine, victim| {
        let killed = containers::kill(engine, &victim.id, "KILL").await;
        killed.expect("it is killed");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_paused_instance_goes_on() {
    healed_by_the_event(async |world, _, victim| world.engine.pause(&victim.id)).await;
}

#[tokio::test(start_paused = true)]
async fn a_disconnected_instance_is_replaced() {
    let world = healed_by_the_event(async |world, engine, victim| {
        let network = bridge(world);
        let gone = networks::disconnect(engine, &network, &victim.id).await;
        gone.expect("it is disconnected");
    })
    .await;
    let attempts = instances(&world)
        .iter()
        .filter(|view| view.name.ends_with("-2"))
        .count();
    assert_eq!(attempts, 1, "under the next attempt");
}

#[tokio::test(start_paused = true)]
async fn an_instance_with_other_resources_is_replaced() {
    healed_by_the_event(async |world, _, victim| world.engine.limit(&victim.id, 64 << 20)).await;
}

#[tokio::test(start_paused = true)]
async fn a_restart_policy_is_set_back() {
    healed_by_the_event(async |world, engine, victim| {
        let policy = RestartPolicyNameEnum::UNLESS_STOPPED;
        let updated = containers::update(engine, &victim.id, policy).await;
        updated.expect("it is updated");
        world
            .until("the policy", async |world| {
                let view = world.engine.container(&victim.id);
                view.is_some_and(|view| view.restart_policy == "always")
            })
            .await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_retained_tag_is_put_back() {
    healed_by_the_event(async |world, engine, _| {
        let tags = world.engine.tags();
        let ours = tags.keys().find(|tag| tag.starts_with("mooring/"));
        let (repository, tag) = ours.and_then(|ours| ours.rsplit_once(':')).expect("a tag");
        let untagged = images::untag(engine, repository, tag).await;
        untagged.expect("it is untagged");
        world
            .until("the tag", async |world| world.engine.tags() == tags)
            .await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_removed_proxy_is_made_again_with_its_table() {
    healed_by_the_event(async |world, engine, _| {
        let removed = containers::remove(engine, &proxy(world).id).await;
        removed.expect("it is removed");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_removed_bridge_is_made_again_and_instances_with_it() {
    let world = healed_by_the_event(async |world, engine, _| {
        let network = bridge(world);
        for instance in instances(world) {
            let gone = networks::disconnect(engine, &network, &instance.id).await;
            gone.expect("it is disconnected");
        }
        let removed = networks::remove(engine, &network).await;
        removed.expect("nothing is on it");
    })
    .await;
    assert_eq!(bridge(&world), "mooring.default");
}

#[tokio::test(start_paused = true)]
async fn nothing_is_started_on_an_engine_that_is_ending() {
    let world = settled().await;
    let before: BTreeSet<String> = instances(&world).into_iter().map(|view| view.id).collect();
    world.engine.begin_to_end();
    world.until("it is heard of", counts_as_lost).await;
    let ran = world.engine.containers().into_values();
    let running: Vec<ContainerView> = ran.filter(|view| view.phase == Phase::Running).collect();
    assert!(running.is_empty(), "{running:#?}");
    world.engine.go_down(Down::Terminated);
    world.engine.come_up(Down::Terminated);
    both_serve_again(&world).await;
    world.settle().await;
    let after: BTreeSet<String> = instances(&world).into_iter().map(|view| view.id).collect();
    assert_eq!(after, before, "the same containers serve");
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_ends_is_no_failure_of_the_release_in_its_bake() {
    let world = settled().await;
    let mut manifest = shop("shop:2.0", 2);
    manifest["spec"]["strategy"]["bakeSeconds"] = 600.into();
    world.apply(manifest).await;
    let baking = async |world: &World| {
        let releases: Api<Release> = Api::namespaced(world.person(), "default");
        let release = releases.get_opt("shop-2").await.expect("it answers");
        let status = release.and_then(|release| release.status);
        let mut stages = status.iter().flat_map(|status| &status.stages);
        stages.any(|stage| stage.state == RolloutState::Baking && stage.outcome.is_none())
    };
    world.until("Baking", baking).await;
    world.settle().await;
    world.engine.begin_to_end();
    world.until("it is heard of", counts_as_lost).await;
    world.engine.go_down(Down::Terminated);
    world.engine.come_up(Down::Terminated);
    both_serve_again(&world).await;
    world.settle().await;
    assert!(baking(&world).await, "it goes on");
}

/// Whether the DockerHost says that its Engine is out of reach.
async fn counts_as_lost(world: &World) -> bool {
    let hosts: Api<DockerHost> = Api::all(world.person());
    let hosts = hosts.list(&ListParams::default()).await.expect("it lists");
    let mut conditions = hosts
        .iter()
        .flat_map(|host| &host.status)
        .flat_map(|status| &status.conditions);
    conditions.any(|condition| condition.reason == Reason::Unreachable)
}

/// What the Engine says of a container whose earlier run is still held by its runtime.
const LEFT_BEHIND: &str = "already exists";

/// Stops a container by hand, and no start of it succeeds until it was removed.
async fn left_behind(world: &World, engine: &Engine, container: &ContainerView) {
    let name = container.name.clone();
    let mut removed = false;
    world.engine.set_faults(move |seen| {
        let meant = seen.target == name;
        removed |= meant && seen.verb == "DELETE /containers/{id}";
        if meant && !removed && seen.verb == "POST /containers/{id}/start" {
            Fault::Refuse(500, format!("task {name}: {LEFT_BEHIND}"))
        } else {
            Fault::None
        }
    });
    let stopped = containers::stop(engine, &container.id, Duration::from_secs(1)).await;
    stopped.expect("it is stopped");
}

#[tokio::test(start_paused = true)]
async fn an_instance_that_cannot_be_started_any_more_gets_the_next_attempt() {
    let world = healed_by_the_event(async |world, engine, victim| {
        left_behind(world, engine, victim).await;
    })
    .await;
    let again = instances(&world)
        .iter()
        .filter(|view| view.name.ends_with("-2"))
        .count();
    assert_eq!(again, 1, "under the next attempt");
}

#[tokio::test(start_paused = true)]
async fn a_proxy_that_cannot_be_started_any_more_is_made_anew() {
    let world = healed_by_the_event(async |world, engine, _| {
        let before = proxy(world);
        left_behind(world, engine, &before).await;
        world
            .until("another proxy runs", async |world| {
                let up = |view: &ContainerView| view.phase == Phase::Running;
                matches!(&proxies(world)[..], [now] if up(now) && now.id != before.id)
            })
            .await;
    })
    .await;
    assert_eq!(proxy(&world).restart_policy, "always");
}

fn proxies(world: &World) -> Vec<ContainerView> {
    let all = world.engine.containers().into_values();
    all.filter(|view| view.name.starts_with("mooring-proxy-"))
        .collect()
}

fn proxy(world: &World) -> ContainerView {
    proxies(world).pop().expect("a proxy")
}

/// The name of the namespace's bridge.
fn bridge(world: &World) -> String {
    let all = world.engine.networks().into_iter();
    let mut ours = all.filter(|(name, _)| name == "mooring.default");
    ours.next().expect("the bridge").0
}
