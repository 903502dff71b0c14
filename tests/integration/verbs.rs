//! What people ask for by one patch: hold, go back, restart, reject, end, try again. Each is asked
//! for twice, since a repeated verb is harmless, and says who asked.

use crds::release::{CauseReason, Outcome, StageStatus};
use crds::{ConditionStatus, ConditionType, Reason, Release};
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use tests::world::{World, shop};

/// How `kubectl patch` names itself.
const MANAGER: &str = "kubectl-patch";

async fn installed() -> World {
    let mut world = World::new().await;
    world.start().await;
    world.apply(shop("shop:1.0", 3)).await;
    is(&world, ConditionType::Ready, Reason::Succeeded).await;
    world
}

/// A world in which the second release, of this image, has begun.
async fn rolling_out(image: &str) -> World {
    let world = installed().await;
    world.apply(shop(image, 3)).await;
    world
        .until("it has begun", async |world| {
            !stage(world, "shop-2").await.instances.is_empty()
        })
        .await;
    world
}

async fn is(world: &World, type_: ConditionType, reason: Reason) {
    let wanted = Some((ConditionStatus::True, reason));
    world
        .until(&format!("{type_:?} {reason:?}"), async |world| {
            world.condition("shop", type_).await == wanted
        })
        .await;
}

fn releases(world: &World) -> Api<Release> {
    Api::namespaced(world.person(), "default")
}

async fn release(world: &World, name: &str) -> Release {
    releases(world).get(name).await.expect("it is there")
}

async fn stage(world: &World, name: &str) -> StageStatus {
    let status = release(world, name).await.status.unwrap_or_default();
    status.stages.into_iter().next().unwrap_or_default()
}

async fn steer(world: &World, spec: Value) {
    let params = PatchParams {
        field_manager: Some(MANAGER.to_owned()),
        ..PatchParams::default()
    };
    let patch = Patch::Merge(json!({"spec": spec}));
    let patched = world.pipelines().patch("shop", &params, &patch).await;
    patched.expect("the pipeline's patch is taken");
}

async fn ask(world: &World, name: &str, spec: Value) {
    let params = PatchParams {
        field_manager: Some(MANAGER.to_owned()),
        ..PatchParams::default()
    };
    let patch = Patch::Merge(json!({"spec": spec}));
    let patched = releases(world).patch(name, &params, &patch).await;
    patched.expect("the release's patch is taken");
}

/// Nothing is done by anybody until the world has been quiet for a while.
async fn changes_nothing(world: &World) {
    world.settle().await;
    let before = world.engine.ledger().len();
    world.settle().await;
    assert_eq!(before, world.engine.ledger().len());
}

#[tokio::test(start_paused = true)]
async fn a_rollout_is_held_and_goes_on() {
    let world = rolling_out("shop:2.0").await;
    for _ in 0..2 {
        steer(&world, json!({"paused": true})).await;
        is(&world, ConditionType::Reconciling, Reason::Paused).await;
        changes_nothing(&world).await;
        let held = stage(&world, "shop-2").await;
        assert_eq!(held.message, format!("shop-2 paused by {MANAGER}"));
    }
    steer(&world, json!({"paused": false})).await;
    is(&world, ConditionType::Ready, Reason::Succeeded).await;
    assert_eq!(
        stage(&world, "shop-2").await.outcome,
        Some(Outcome::Succeeded)
    );
}

#[tokio::test(start_paused = true)]
async fn an_aborted_release_is_undone_and_tried_again_when_asked() {
    let world = rolling_out("shop:3.0").await;
    for _ in 0..2 {
        ask(&world, "shop-2", json!({"abort": ["default"]})).await;
        is(&world, ConditionType::Stalled, Reason::Aborted).await;
        changes_nothing(&world).await;
    }
    let ended = stage(&world, "shop-2").await;
    assert_eq!(ended.outcome, Some(Outcome::Aborted));
    assert_eq!(ended.message, format!("shop-2 aborted by {MANAGER}"));
    is(&world, ConditionType::Available, Reason::AsDeclared).await;
    let again = json!({"abort": [], "retryAt": "2026-06-01T00:00:00.5Z"});
    for _ in 0..2 {
        ask(&world, "shop-2", again.clone()).await;
        is(&world, ConditionType::Stalled, Reason::RolledBack).await;
        changes_nothing(&world).await;
    }
    assert_eq!(
        stage(&world, "shop-2").await.outcome,
        Some(Outcome::RolledBack)
    );
    assert_eq!(world.names::<Release>().await, ["shop-1", "shop-2"]);
}

#[tokio::test(start_paused = true)]
async fn an_abort_names_a_stage_that_exists_and_nothing_else_of_a_release_changes() {
    let world = installed().await;
    let params = PatchParams::default();
    for (spec, words) in [
        (
            json!({"abort": ["canary"]}),
            "there is no such stage; write default",
        ),
        (json!({"revision": "0123456789"}), "a Release is immutable"),
        (
            json!({"restartAt": "2026-06-01T00:00:00Z"}),
            "a Release is immutable",
        ),
    ] {
        let patch = Patch::Merge(json!({"spec": spec}));
        let refused = releases(&world).patch("shop-1", &params, &patch).await;
        let said = refused.expect_err("it is refused").to_string();
        assert!(said.contains(words), "{said}");
    }
}

#[tokio::test(start_paused = true)]
async fn going_back_is_a_release_with_the_old_content() {
    let world = installed().await;
    world.apply(shop("shop:2.0", 3)).await;
    is(&world, ConditionType::Ready, Reason::Succeeded).await;
    for _ in 0..2 {
        steer(&world, json!({"rollbackTo": {"release": "shop-1"}})).await;
        is(&world, ConditionType::Ready, Reason::Succeeded).await;
        changes_nothing(&world).await;
    }
    let (old, new) = (
        release(&world, "shop-1").await,
        release(&world, "shop-3").await,
    );
    assert_eq!(new.spec.revision, old.spec.revision);
    assert_eq!(new.spec.cause.reason, CauseReason::Rollback);
    assert_eq!(new.spec.cause.by, MANAGER);
    assert_eq!(new.spec.cause.rollback_of.as_deref(), Some("shop-2"));
    steer(&world, json!({"rollbackTo": null})).await;
    world
        .until("the spec comes out", async |world| {
            world.names::<Release>().await.len() == 4
        })
        .await;
    is(&world, ConditionType::Ready, Reason::Succeeded).await;
    steer(&world, json!({"rollbackTo": {"release": "shop-9"}})).await;
    is(&world, ConditionType::Stalled, Reason::ReleaseNotFound).await;
}

#[tokio::test(start_paused = true)]
async fn a_restart_is_a_release() {
    let world = installed().await;
    let before = world.engine.containers();
    for _ in 0..2 {
        steer(&world, json!({"restartAt": "2026-06-01T00:00:00.25Z"})).await;
        world
            .until("a release", async |world| {
                world.names::<Release>().await.len() == 2
            })
            .await;
        is(&world, ConditionType::Ready, Reason::Succeeded).await;
        changes_nothing(&world).await;
    }
    let cause = release(&world, "shop-2").await.spec.cause;
    assert_eq!(
        (cause.reason, cause.by.as_str()),
        (CauseReason::Restart, MANAGER)
    );
    let after = world.engine.containers();
    let stayed = after.keys().filter(|id| before.contains_key(*id)).count();
    assert_eq!(stayed, 1, "only the proxy is the same");
}

#[tokio::test(start_paused = true)]
async fn a_rejected_revision_is_undone_and_never_comes_out_again() {
    let world = rolling_out("shop:2.0").await;
    let revision = release(&world, "shop-2").await.spec.revision;
    steer(&world, json!({"rejectedRevisions": [revision]})).await;
    is(&world, ConditionType::Stalled, Reason::RevisionRejected).await;
    assert_eq!(
        stage(&world, "shop-2").await.outcome,
        Some(Outcome::Aborted)
    );
    let params = PatchParams::default();
    let patch = Patch::Merge(json!({"spec": {"rejectedRevisions": ["latest"]}}));
    let refused = world.pipelines().patch("shop", &params, &patch).await;
    let said = refused.expect_err("it is refused").to_string();
    assert!(said.contains("ten hex digits"), "{said}");
}
