//! Rolling out, by hand and in order: install, update, a bad release, scale, delete, adoption.

use std::collections::BTreeSet;

use crds::{ConditionStatus, ConditionType, Reason, Release};
use kube::api::DeleteParams;
use tests::fake_engine::{EngineOptions, Fault, Generation};
use tests::picture::picture;
use tests::world::{World, shop};

/// A world with shop:1.0 out.
async fn installed() -> World {
    installed_on(World::new().await).await
}

async fn installed_on(mut world: World) -> World {
    world.start().await;
    world.apply(shop("shop:1.0", 3)).await;
    ready(&world).await;
    world
}

async fn ready(world: &World) {
    world
        .until("Ready", async |world| {
            let ready = world.condition("shop", ConditionType::Ready).await;
            ready.is_some_and(|(status, _)| status == ConditionStatus::True)
        })
        .await;
}

fn running(world: &World, image: &str) -> usize {
    let tagged = world.engine.tags();
    let id = tagged.get(image).cloned().unwrap_or_default();
    let retained: Vec<String> = tagged
        .into_iter()
        .filter(|(_, other)| *other == id)
        .map(|(tag, _)| tag)
        .collect();
    let containers = world.engine.containers();
    let ours = containers
        .values()
        .filter(|container| retained.contains(&container.image));
    ours.filter(|container| container.phase == tests::fake_engine::Phase::Running)
        .count()
}

#[tokio::test(start_paused = true)]
async fn a_pipeline_comes_up_and_stays() {
    let world = installed().await;
    assert_eq!(running(&world, "shop:1.0"), 3);
    world.settle().await;
    let before = (world.engine.ledger().len(), world.writes().len());
    world.settle().await;
    assert_eq!(
        before,
        (world.engine.ledger().len(), world.writes().len()),
        "a converged world is left alone"
    );
    assert!(
        world.engine.unlisted().is_empty(),
        "every call is in the list"
    );
}

#[tokio::test(start_paused = true)]
async fn an_update_replaces_every_instance() {
    let world = installed().await;
    world.apply(shop("shop:2.0", 3)).await;
    ready(&world).await;
    world.settle().await;
    assert_eq!(
        (running(&world, "shop:1.0"), running(&world, "shop:2.0")),
        (0, 3)
    );
}

/// Engine 29 gives a start up whose client has gone, where 20.10 finishes it: here the first start of everything.
#[tokio::test(start_paused = true)]
async fn a_start_that_the_engine_gave_up_is_made_again() {
    let world = World::on(EngineOptions::of(Generation::Engine29)).await;
    let mut started = BTreeSet::new();
    world.engine.set_faults(move |seen| {
        let start = seen.verb == "POST /containers/{id}/start";
        if start && started.insert(seen.target.clone()) {
            Fault::GiveUp
        } else {
            Fault::None
        }
    });
    let world = installed_on(world).await;
    world.apply(shop("shop:2.0", 3)).await;
    ready(&world).await;
    world.settle().await;
    assert_eq!(
        (running(&world, "shop:1.0"), running(&world, "shop:2.0")),
        (0, 3)
    );
    let containers = world.engine.containers();
    let again: Vec<&String> = containers
        .keys()
        .filter(|name| name.starts_with("default.shop.") && !name.ends_with("-1"))
        .collect();
    assert!(
        again.is_empty(),
        "no slot needed another attempt: {again:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_bad_release_undoes_itself_and_holds() {
    let world = installed().await;
    world.apply(shop("shop:3.0", 3)).await;
    world
        .until("RolledBack", async |world| {
            let stalled = world.condition("shop", ConditionType::Stalled).await;
            stalled == Some((ConditionStatus::True, Reason::RolledBack))
        })
        .await;
    world.settle().await;
    assert_eq!(
        (running(&world, "shop:1.0"), running(&world, "shop:3.0")),
        (3, 0)
    );
    let available = world.condition("shop", ConditionType::Available).await;
    assert_eq!(
        available.map(|(status, _)| status),
        Some(ConditionStatus::True)
    );
    // Going back to what runs is a release of its own, and quick.
    world.apply(shop("shop:1.0", 3)).await;
    ready(&world).await;
    assert_eq!(
        world.names::<Release>().await,
        ["shop-1", "shop-2", "shop-3"]
    );
}

#[tokio::test(start_paused = true)]
async fn a_deleted_pipeline_leaves_nothing_behind() {
    let world = installed().await;
    world
        .pipelines()
        .delete("shop", &DeleteParams::default())
        .await
        .expect("it is taken");
    world.settle().await;
    // Nobody's any more, the bridge is kept for five minutes: whoever comes back finds it.
    world
        .until("the bridge goes", async |world| {
            let networks = world.engine.networks();
            !networks.iter().any(|(name, _)| name == "mooring.default")
        })
        .await;
    let left = picture(&world).await;
    let ours = [
        "container default.",
        "volume default.",
        "route ",
        "release ",
        "pipeline ",
        "tag mooring/",
        "network ",
    ];
    let found: Vec<&String> = left
        .iter()
        .filter(|line| ours.iter().any(|ours| line.starts_with(ours)))
        .collect();
    assert!(found.is_empty(), "{found:#?}");
}

#[tokio::test(start_paused = true)]
async fn an_erased_status_leads_to_the_same_containers() {
    let world = installed().await;
    world.settle().await;
    let before: Vec<String> = world
        .engine
        .containers()
        .into_values()
        .map(|container| container.id)
        .collect();
    let releases = kube::Api::<Release>::namespaced(world.person(), "default");
    let mut release = releases.get("shop-1").await.expect("the release");
    release.status = Some(crds::ReleaseStatus::default());
    releases
        .replace_status("shop-1", &kube::api::PostParams::default(), &release)
        .await
        .expect("it is erased");
    world.settle().await;
    ready(&world).await;
    let after: Vec<String> = world
        .engine
        .containers()
        .into_values()
        .map(|container| container.id)
        .collect();
    assert_eq!(before, after, "no container was replaced");
}

#[tokio::test(start_paused = true)]
async fn a_new_spec_in_the_middle_supersedes() {
    let world = installed().await;
    world.apply(shop("shop:3.0", 3)).await;
    world
        .until("an instance of shop:3.0", async |world| {
            running(world, "shop:3.0") > 0
        })
        .await;
    world.apply(shop("shop:2.0", 3)).await;
    ready(&world).await;
    world.settle().await;
    assert_eq!(
        (
            running(&world, "shop:1.0"),
            running(&world, "shop:2.0"),
            running(&world, "shop:3.0")
        ),
        (0, 3, 0)
    );
}

#[tokio::test(start_paused = true)]
async fn replicas_follow_without_a_release() {
    let world = installed().await;
    for replicas in [5, 2, 0, 1] {
        world.apply(shop("shop:1.0", replicas)).await;
        world
            .until("the number of instances", async |world| {
                running(world, "shop:1.0") == replicas as usize
            })
            .await;
        world.settle().await;
        assert_eq!(running(&world, "shop:1.0"), replicas as usize);
    }
    assert_eq!(world.names::<Release>().await, ["shop-1"]);
}
