//! Instances that are stopped or removed by hand come back by the Engine's event, with no timer.

use std::time::Duration;

use crds::{ConditionStatus, ConditionType};
use operator::docker::{Engine, containers};
use tests::fake_engine::{ContainerView, Phase};
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
