//! Images from a registry: pulled by the digest that was confirmed, with credentials, and everything that goes wrong
//! there: each with its own reason and pace, and the running release untouched.

use std::time::Duration;

use crds::{ConditionStatus, ConditionType, Reason, Release};
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use tests::fake_engine::{Behaviour, Phase, RegistryFault};
use tests::world::{OPERATOR, World, shop};

const OLD: &str = "registry.test/team/shop:1.0";
const NEW: &str = "registry.test/team/shop:2.0";

/// A world with both images in the registry and none on the host.
async fn world() -> World {
    let mut world = World::new().await;
    for (reference, version) in [(OLD, "v1"), (NEW, "v2")] {
        let label = format!("LABEL version={version}");
        world
            .engine
            .publish(reference, Behaviour::version(version), &[&label]);
    }
    world.start().await;
    world
}

/// One where the old image is out.
async fn installed() -> World {
    let world = world().await;
    world.apply(shop(OLD, 2)).await;
    ready(&world).await;
    world
}

async fn ready(world: &World) {
    comes(world, ConditionStatus::True, Reason::Succeeded).await;
}

/// Waits for the condition Ready with this status and reason.
async fn comes(world: &World, status: ConditionStatus, reason: Reason) {
    world
        .until(&format!("Ready={status:?}/{reason:?}"), async |world| {
            world.condition("shop", ConditionType::Ready).await == Some((status, reason))
        })
        .await;
}

async fn release(world: &World, name: &str) -> Option<Release> {
    let api: Api<Release> = Api::namespaced(world.person(), "default");
    api.get_opt(name).await.expect("the API answers")
}

/// What a Release says of itself.
async fn said(world: &World, name: &str) -> String {
    let release = release(world, name).await;
    let status = release
        .and_then(|release| release.status)
        .unwrap_or_default();
    let message = |condition: &crds::Condition| condition.message.clone();
    status.conditions.first().map(message).unwrap_or_default()
}

/// IDs of the running instances of version v1.
fn old_ones(world: &World) -> Vec<String> {
    let containers = world.engine.containers();
    let ours = containers.values().filter(|container| {
        container.name.starts_with("default.shop.") && container.phase == Phase::Running
    });
    ours.map(|container| container.id.clone()).collect()
}

fn pulls(world: &World) -> usize {
    let ledger = world.engine.ledger();
    ledger
        .iter()
        .filter(|done| done.verb == "POST /images/create" && done.target.contains("team/shop@"))
        .count()
}

async fn secret(world: &World, password: &str) {
    let config = json!({"auths": {"registry.test": {"username": "me", "password": password}}});
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "regcred"},
        "type": "kubernetes.io/dockerconfigjson", "stringData": {".dockerconfigjson": config.to_string()},
    });
    let api: Api<Secret> = Api::namespaced(world.person(), "default");
    let params = PatchParams::apply("alice").force();
    api.patch("regcred", &params, &Patch::Apply(secret))
        .await
        .expect("it is taken");
}

fn private(image: &str) -> Value {
    let mut manifest = shop(image, 2);
    manifest["spec"]["template"]["imagePullSecrets"] = json!([{"name": "regcred"}]);
    manifest
}

#[tokio::test(start_paused = true)]
async fn an_image_is_pulled_by_its_digest_and_kept_by_our_tag_alone() {
    let world = installed().await;
    let image = release(&world, "shop-1")
        .await
        .expect("the release")
        .spec
        .image;
    assert_eq!(image.repository, "registry.test/team/shop");
    assert!(image.digest.starts_with("sha256:") && image.content.is_empty());
    let tags: Vec<String> = world.engine.tags().into_keys().collect();
    let ours: Vec<&String> = tags
        .iter()
        .filter(|tag| !tag.starts_with("shop:"))
        .collect();
    assert!(
        matches!(ours[..], [kept, proxy] | [kept, proxy, _] if kept.starts_with("mooring/default/shop:") || proxy.starts_with("mooring")),
        "{tags:?}"
    );
    // A tag that moves changes nothing, and a converged world asks no registry.
    let asked = world.engine.registry_asked();
    world
        .engine
        .publish(OLD, Behaviour::version("v9"), &["LABEL version=v9"]);
    world.settle().await;
    assert_eq!((pulls(&world), world.engine.registry_asked()), (1, asked));
    world.apply(shop(NEW, 2)).await;
    ready(&world).await;
    assert_eq!(world.names::<Release>().await, ["shop-1", "shop-2"]);
    assert_eq!(pulls(&world), 2);
}

#[tokio::test(start_paused = true)]
async fn what_every_host_has_is_used_with_the_registry_away_unless_the_policy_says_otherwise() {
    let world = installed().await;
    world.engine.set_registry(RegistryFault::Refuses);
    let mut manifest = shop(OLD, 2);
    manifest["spec"]["template"]["terminationGracePeriodSeconds"] = json!(6);
    world.apply(manifest.clone()).await;
    ready(&world).await;
    assert_eq!(world.names::<Release>().await, ["shop-1", "shop-2"]);
    assert_eq!(pulls(&world), 1, "the release before has pulled it");
    manifest["spec"]["source"]["imagePullPolicy"] = json!("Always");
    manifest["spec"]["template"]["terminationGracePeriodSeconds"] = json!(7);
    world.apply(manifest.clone()).await;
    comes(&world, ConditionStatus::False, Reason::RegistryUnreachable).await;
    manifest["spec"]["source"] =
        json!({"image": "registry.test/none:1", "imagePullPolicy": "Never"});
    world.apply(manifest).await;
    comes(&world, ConditionStatus::False, Reason::ImageMissing).await;
    assert_eq!(old_ones(&world).len(), 2);
}

#[tokio::test(start_paused = true)]
async fn each_failure_of_the_registry_has_its_reason_before_anything_is_made() {
    for (fault, reason) in [
        (RegistryFault::Denies, Reason::ImageAccessDenied),
        (RegistryFault::Empty, Reason::ImageNotFound),
        (RegistryFault::Limits, Reason::RegistryRateLimited),
        (RegistryFault::Fails, Reason::RegistryFailing),
        (RegistryFault::Refuses, Reason::RegistryUnreachable),
        (RegistryFault::Hangs, Reason::RegistryUnreachable),
    ] {
        let world = installed().await;
        let before = old_ones(&world);
        let began = world.engine.now();
        world.engine.set_registry(fault);
        world.apply(shop(NEW, 2)).await;
        comes(&world, ConditionStatus::False, reason).await;
        let asked = world.engine.registry_asked();
        tokio::time::sleep(Duration::from_secs(240)).await;
        let tries = world.engine.registry_asked() - asked;
        assert!(
            (1..=8).contains(&tries),
            "{fault:?}: {tries} tries in four minutes"
        );
        // Whatever the registry does, what runs is healed.
        world.engine.crash(&before[0], 1);
        world
            .until("the crashed one is back", async |world| {
                old_ones(world).len() == 2
            })
            .await;
        assert_eq!(world.names::<Release>().await, ["shop-1"], "{fault:?}");
        assert_eq!(old_ones(&world), before, "{fault:?}");
        world.engine.set_registry(RegistryFault::None);
        ready(&world).await;
        let took = world.engine.now().duration_since(began);
        assert!(took.as_secs() < 700, "{fault:?}: {took:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn each_failure_of_a_pull_has_its_reason_and_only_a_refusal_ends_the_release() {
    for (fault, reason, is_final) in [
        (RegistryFault::Denies, Reason::ImageAccessDenied, true),
        (RegistryFault::Empty, Reason::ImageNotFound, true),
        (RegistryFault::Limits, Reason::RegistryRateLimited, false),
        (RegistryFault::Fails, Reason::RegistryFailing, false),
        (RegistryFault::LacksLayer, Reason::ImageLayerMissing, false),
        (RegistryFault::Refuses, Reason::RegistryUnreachable, false),
        (RegistryFault::Hangs, Reason::RegistryUnreachable, false),
        (RegistryFault::Stalls, Reason::RegistryTooSlow, false),
    ] {
        let world = installed().await;
        let before = old_ones(&world);
        let mut manifest = shop(NEW, 2);
        manifest["spec"]["strategy"]["progressDeadlineSeconds"] = json!(600);
        // The registry breaks as soon as it has told the digest.
        let engine = world.engine.clone();
        world.engine.set_faults(move |seen| {
            if seen.verb == "POST /images/create" {
                engine.set_registry(fault);
            }
            tests::fake_engine::Fault::None
        });
        world.apply(manifest).await;
        world
            .until(&format!("{reason:?} in the record"), async |world| {
                let status = release(world, "shop-2")
                    .await
                    .and_then(|release| release.status);
                let stage = status.and_then(|status| status.stages.into_iter().next());
                stage.is_some_and(|stage| stage.reason == Some(reason))
            })
            .await;
        let message = said(&world, "shop-2").await;
        assert!(
            message.contains("registry.test/team/shop@sha256:"),
            "{fault:?}: {message}"
        );
        world.engine.clear_faults();
        if is_final {
            let failed = Some((ConditionStatus::True, Reason::Failed));
            let stalled = world.condition("shop", ConditionType::Stalled).await;
            assert_eq!(stalled, failed, "{fault:?}: {message}");
            world.settle().await;
            assert_eq!(old_ones(&world), before, "{fault:?}");
            continue;
        }
        assert_eq!(old_ones(&world), before, "{fault:?}");
        world.engine.set_registry(RegistryFault::None);
        ready(&world).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_registry_that_stays_away_costs_the_release_its_deadline_and_nothing_else() {
    let world = installed().await;
    let before = old_ones(&world);
    let engine = world.engine.clone();
    world.engine.set_faults(move |seen| {
        if seen.verb == "POST /images/create" {
            engine.set_registry(RegistryFault::Fails);
        }
        tests::fake_engine::Fault::None
    });
    world.apply(shop(NEW, 2)).await;
    world
        .until("RolledBack", async |world| {
            let stalled = world.condition("shop", ConditionType::Stalled).await;
            stalled == Some((ConditionStatus::True, Reason::RolledBack))
        })
        .await;
    assert_eq!(old_ones(&world), before);
    let message = said(&world, "shop-2").await;
    assert!(message.contains("500 Internal Server Error"), "{message}");
    assert_eq!(
        pulls(&world),
        1 + 4,
        "one that worked, and at 0, 5, 15 and 35 s"
    );
}

#[tokio::test(start_paused = true)]
async fn a_slow_pull_is_told_of_now_and_then_and_is_progress() {
    let world = world().await;
    world
        .engine
        .set_registry(RegistryFault::Slow(Duration::from_secs(30)));
    let mut manifest = shop(OLD, 2);
    manifest["spec"]["strategy"]["healthyDeadlineSeconds"] = json!(30);
    manifest["spec"]["strategy"]["progressDeadlineSeconds"] = json!(40);
    world.apply(manifest).await;
    world
        .until("half of it is told of", async |world| {
            said(world, "shop-1")
                .await
                .contains("0 of 1 layers, 20.0 of 40.0 MB")
        })
        .await;
    let stalled = world.condition("shop", ConditionType::Stalled).await;
    assert_eq!(
        stalled.map(|(status, _)| status),
        Some(ConditionStatus::False)
    );
    let wrote = world.writes().len();
    ready(&world).await;
    let wrote = world.writes()[..].len() - wrote;
    assert!(wrote < 40, "{OPERATOR} wrote {wrote} times in two minutes");
}

#[tokio::test(start_paused = true)]
async fn a_pull_that_nobody_waits_for_is_given_up() {
    let world = installed().await;
    world
        .engine
        .set_registry(RegistryFault::Slow(Duration::from_secs(20)));
    world.apply(shop(NEW, 2)).await;
    world
        .until("the pull is under way", async |world| {
            said(world, "shop-2").await.contains("layers")
        })
        .await;
    world.apply(shop("shop:2.0", 2)).await;
    ready(&world).await;
    world.settle().await;
    let image = release(&world, "shop-2")
        .await
        .expect("it is kept")
        .spec
        .image;
    let retained = world
        .engine
        .tags()
        .into_keys()
        .filter(|tag| tag.starts_with("mooring/default/"));
    assert_eq!(retained.count(), 2, "{} never arrived", image.digest);
}

#[tokio::test(start_paused = true)]
async fn a_retained_image_that_somebody_removed_is_pulled_again() {
    let world = installed().await;
    world.settle().await;
    let tag = world
        .engine
        .tags()
        .into_keys()
        .find(|tag| tag.starts_with("mooring/default/shop:"))
        .expect("the retained tag");
    let gate = std::sync::Arc::new(operator::gate::Open);
    let person = operator::docker::Engine::connect_with(world.engine.person(), gate)
        .await
        .expect("the Engine answers");
    operator::docker::images::tag(&person, &tag, "hidden", "1")
        .await
        .expect("it is there");
    let (repository, name) = tag.split_once(':').expect("a tag");
    operator::docker::images::untag(&person, repository, name)
        .await
        .expect("it is untagged");
    world
        .until("the image is back", async |world| {
            world.engine.tags().contains_key(&tag)
        })
        .await;
    assert_eq!(pulls(&world), 2);
    ready(&world).await;
}

#[tokio::test(start_paused = true)]
async fn a_private_image_comes_with_its_pull_secret_and_the_password_is_nowhere() {
    const CANARY: &str = "canary-of-the-registry";
    let world = world().await;
    world.engine.require_password(CANARY);
    world.apply(private(OLD)).await;
    comes(&world, ConditionStatus::False, Reason::RefNotFound).await;
    secret(&world, "wrong").await;
    comes(&world, ConditionStatus::False, Reason::ImageAccessDenied).await;
    let before = world.engine.now();
    secret(&world, CANARY).await;
    ready(&world).await;
    let waited = world.engine.now().duration_since(before);
    assert!(
        waited.as_secs() < 20,
        "another password is another chance: {waited:?}"
    );

    // Other credentials are no other release, and the password is in none of ours.
    secret(&world, &format!("{CANARY}-2")).await;
    world.engine.require_password(&format!("{CANARY}-2"));
    world.apply(shop(OLD, 2)).await;
    world.settle().await;
    world.apply(private(OLD)).await;
    world.settle().await;
    assert_eq!(world.names::<Release>().await, ["shop-1"]);
    let pipeline = world.pipelines().get("shop").await.expect("the pipeline");
    let release = release(&world, "shop-1").await.expect("the release");
    let containers = format!("{:?}", world.engine.containers());
    let texts = [
        serde_json::to_string(&pipeline).expect("JSON"),
        serde_json::to_string(&release).expect("JSON"),
        containers,
    ];
    assert!(texts.iter().all(|text| !text.contains(CANARY)));
    assert!(release.spec.template.image_pull_secrets.is_empty());
}

#[tokio::test(start_paused = true)]
async fn without_a_release_to_go_on_with_nothing_ends() {
    let world = world().await;
    let engine = world.engine.clone();
    world.engine.set_faults(move |seen| {
        if seen.verb == "POST /images/create" && seen.target.contains("team/shop@") {
            engine.set_registry(RegistryFault::Denies);
        }
        tests::fake_engine::Fault::None
    });
    world.apply(shop(OLD, 1)).await;
    comes(
        &world,
        ConditionStatus::False,
        Reason::ProgressDeadlineExceeded,
    )
    .await;
    world.engine.clear_faults();
    world.engine.set_registry(RegistryFault::None);
    ready(&world).await;
    assert_eq!(world.names::<Release>().await, ["shop-1"]);
}
