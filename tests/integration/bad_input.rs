//! What people get wrong: a clear refusal or a condition with reason, cause and next step, and the
//! running release untouched.

use bollard::models::ContainerCreateBody;
use crds::{ConditionStatus, ConditionType, Reason};
use kube::api::PostParams;
use operator::docker::{Engine, containers};
use serde_json::json;
use tests::fake_engine::{Behaviour, Phase};
use tests::world::{World, shop};

async fn started() -> World {
    let mut world = World::new().await;
    world.start().await;
    world
}

/// Waits for a condition with this status and reason.
async fn comes(world: &World, type_: ConditionType, status: ConditionStatus, reason: Reason) {
    world
        .until(&format!("{type_:?}={status:?}/{reason:?}"), async |world| {
            world.condition("shop", type_).await == Some((status, reason))
        })
        .await;
}

async fn message(world: &World, type_: ConditionType) -> String {
    let pipeline = world.pipelines().get("shop").await.expect("the pipeline");
    let conditions = pipeline
        .status
        .map(|status| status.conditions)
        .unwrap_or_default();
    conditions
        .into_iter()
        .find(|condition| condition.type_ == type_)
        .map(|condition| condition.message)
        .unwrap_or_default()
}

fn running(world: &World) -> usize {
    let containers = world.engine.containers();
    containers
        .iter()
        .filter(|(name, container)| {
            name.starts_with("default.shop.") && container.phase == Phase::Running
        })
        .count()
}

#[tokio::test(start_paused = true)]
async fn a_missing_image_is_named_and_the_running_release_stays() {
    let world = started().await;
    world.apply(shop("shop:1.0", 2)).await;
    comes(
        &world,
        ConditionType::Ready,
        ConditionStatus::True,
        Reason::Succeeded,
    )
    .await;
    world.apply(shop("shop:9.9", 2)).await;
    comes(
        &world,
        ConditionType::Ready,
        ConditionStatus::False,
        Reason::ImageNotFound,
    )
    .await;
    let message = message(&world, ConditionType::Ready).await;
    assert!(
        message.contains("shop:9.9") && message.contains("local") && message.contains("load"),
        "{message}"
    );
    assert_eq!(running(&world), 2);
    let available = world.condition("shop", ConditionType::Available).await;
    assert_eq!(
        available.map(|(status, _)| status),
        Some(ConditionStatus::True)
    );
    // And back: the first state again, without another container.
    let before = world.engine.containers();
    world.apply(shop("shop:1.0", 2)).await;
    comes(
        &world,
        ConditionType::Ready,
        ConditionStatus::True,
        Reason::Succeeded,
    )
    .await;
    assert_eq!(before, world.engine.containers());
}

#[tokio::test(start_paused = true)]
async fn a_missing_secret_is_named_and_its_arrival_is_noticed() {
    let world = started().await;
    let mut manifest = shop("shop:1.0", 1);
    manifest["spec"]["template"]["containers"][0]["env"] = json!([{"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "shop-token", "key": "token"}}}]);
    world.apply(manifest).await;
    comes(
        &world,
        ConditionType::Ready,
        ConditionStatus::False,
        Reason::RefNotFound,
    )
    .await;
    let message = message(&world, ConditionType::Ready).await;
    assert!(message.contains("shop-token"), "{message}");
    let secrets: kube::Api<k8s_openapi::api::core::v1::Secret> =
        kube::Api::namespaced(world.person(), "default");
    let secret = json!({"metadata": {"name": "shop-token"}, "stringData": {"token": "hunter2"}});
    let secret = serde_json::from_value(secret).expect("a secret");
    secrets
        .create(&PostParams::default(), &secret)
        .await
        .expect("it is made");
    comes(
        &world,
        ConditionType::Ready,
        ConditionStatus::True,
        Reason::Succeeded,
    )
    .await;
    let containers = world.engine.containers();
    let instance = containers
        .iter()
        .find(|(name, _)| name.starts_with("default.shop."))
        .map(|(_, c)| c.clone());
    assert!(instance.is_some_and(|instance| instance.env.contains(&"TOKEN=hunter2".to_owned())));
}

#[tokio::test(start_paused = true)]
async fn a_container_that_exits_at_once_is_told_with_its_last_words() {
    let world = started().await;
    let last_words = Behaviour {
        log: vec!["cannot open /data".to_owned()],
        ..Behaviour::exits("v4", std::time::Duration::ZERO, 3)
    };
    world
        .engine
        .add_image("shop:4.0", last_words, &["LABEL version=v4"]);
    world.apply(shop("shop:1.0", 1)).await;
    comes(
        &world,
        ConditionType::Ready,
        ConditionStatus::True,
        Reason::Succeeded,
    )
    .await;
    world.apply(shop("shop:4.0", 1)).await;
    comes(
        &world,
        ConditionType::Stalled,
        ConditionStatus::True,
        Reason::RolledBack,
    )
    .await;
    let message = message(&world, ConditionType::Stalled).await;
    assert!(
        message.contains("shop-2") && message.contains("cannot open /data"),
        "{message}"
    );
    assert_eq!(running(&world), 1);
}

#[tokio::test(start_paused = true)]
async fn a_foreign_container_with_our_name_is_left_alone() {
    let world = started().await;
    world.apply(shop("shop:1.0", 1)).await;
    comes(
        &world,
        ConditionType::Ready,
        ConditionStatus::True,
        Reason::Succeeded,
    )
    .await;
    let ours = world
        .engine
        .containers()
        .into_values()
        .find(|container| container.name.starts_with("default.shop."));
    let ours = ours.expect("the instance");
    let gate = std::sync::Arc::new(operator::gate::Open);
    let person = Engine::connect_with(world.engine.person(), gate)
        .await
        .expect("the Engine answers");
    // Somebody takes the instance away and puts a copy with its name and labels there.
    let labels = ours
        .labels
        .clone()
        .into_iter()
        .filter(|(key, _)| key != "mooring.dev/signature")
        .collect();
    containers::remove(&person, &ours.id)
        .await
        .expect("it is removed");
    let copy = ContainerCreateBody {
        image: Some("shop:1.0".to_owned()),
        labels: Some(labels),
        ..ContainerCreateBody::default()
    };
    let created = containers::create(&person, &ours.name, &copy).await;
    world.settle().await;
    if let Ok(id) = created {
        let copy = world
            .engine
            .container(&id)
            .expect("the foreign container is still there");
        assert_eq!(copy.phase, Phase::Created, "it was not started");
    }
}

#[tokio::test(start_paused = true)]
async fn an_unknown_field_is_refused_by_name() {
    let world = started().await;
    let mut manifest = shop("shop:1.0", 1);
    manifest["spec"]["replica"] = json!(3);
    let params = kube::api::PatchParams {
        field_validation: Some(kube::api::ValidationDirective::Strict),
        ..kube::api::PatchParams::apply("kubectl")
    };
    let refused = world
        .pipelines()
        .patch("shop", &params, &kube::api::Patch::Apply(manifest))
        .await;
    let error = refused.expect_err("it is refused").to_string();
    assert!(error.contains("spec.replica"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn fields_of_a_deployment_are_refused_with_their_replacement() {
    let world = started().await;
    for (path, value, word) in [
        (
            "/spec/template/initContainers",
            json!([{"name": "x"}]),
            "entrypoint",
        ),
        ("/spec/template/serviceAccountName", json!("x"), "Secret"),
        (
            "/spec/template/containers/0/image",
            json!("x"),
            "spec.source.image",
        ),
        (
            "/spec/strategy/minReadySeconds",
            json!(20),
            "minReadySeconds < healthyDeadlineSeconds",
        ),
        ("/spec/replicas", json!(-1), "spec.replicas"),
        ("/spec/source/image", json!("-bad image"), "repository:tag"),
    ] {
        let mut manifest = shop("shop:1.0", 1);
        let (parent, key) = path.rsplit_once('/').expect("a path");
        manifest.pointer_mut(parent).expect("the parent")[key] = value;
        let object = serde_json::from_value(manifest.clone());
        let refused = match object {
            Ok(object) => world
                .pipelines()
                .create(&PostParams::default(), &object)
                .await
                .map(drop),
            // The typed client cannot even say it; the server is asked with the document itself.
            Err(_) => {
                let params = kube::api::PatchParams::apply("kubectl");
                world
                    .pipelines()
                    .patch("shop", &params, &kube::api::Patch::Apply(manifest))
                    .await
                    .map(drop)
            }
        };
        let error = refused.expect_err(path).to_string();
        assert!(error.contains(word), "{path}: {error}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_unknown_user_is_told() {
    let world = started().await;
    world
        .engine
        .add_image("shop:5.0", Behaviour::version("v5"), &["USER nobody-here"]);
    let secrets: kube::Api<k8s_openapi::api::core::v1::Secret> =
        kube::Api::namespaced(world.person(), "default");
    let secret = json!({"metadata": {"name": "keys"}, "stringData": {"key": "hunter2"}});
    let secret = serde_json::from_value(secret).expect("a secret");
    let made = secrets.create(&PostParams::default(), &secret).await;
    made.expect("it is taken");
    let mut manifest = shop("shop:5.0", 1);
    let template = &mut manifest["spec"]["template"];
    template["volumes"] = json!([{"name": "keys", "secret": {"secretName": "keys"}}]);
    template["containers"][0]["volumeMounts"] = json!([{"name": "keys", "mountPath": "/keys"}]);
    world.apply(manifest).await;
    world
        .until("the user is named", async |world| {
            let said = message(world, ConditionType::Ready).await;
            said.contains("nobody-here") && said.contains("set securityContext.runAsUser")
        })
        .await;
    assert_eq!(running(&world), 0);
}
