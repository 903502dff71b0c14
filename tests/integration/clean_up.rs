//! What nobody owns any more is told, waited for and removed; what has an owner, or is not Mooring's, never is.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bollard::models::ContainerCreateBody;
use crds::docker_host::GarbageStatus;
use crds::{ConditionType, DeploymentPipeline, DockerHost, Reason};
use http::Request;
use k8s_openapi::api::core::v1::Event;
use kube::Api;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use kube::client::Body;
use operator::docker::networks::{self, Bridge};
use operator::docker::{Engine, containers, images};
use serde_json::{Value, json};
use tests::world::{World, shop};
use tokio::time::{Duration, Instant};

/// How long something is nobody's until it goes.
const GRACE: Duration = Duration::from_secs(300);
/// Long after anything that is to go has gone.
const LONG: Duration = Duration::from_secs(1200);

/// A world with a shop and a cart of so many instances.
async fn with_cart(shops: u32, carts: u32) -> World {
    let mut world = World::new().await;
    world.start().await;
    world.apply(shop("shop:1.0", shops)).await;
    world.apply(cart(carts)).await;
    for name in ["shop", "cart"] {
        ready(&world, name).await;
    }
    world.settle().await;
    world
}

fn cart(replicas: u32) -> Value {
    let mut cart = shop("shop:2.0", replicas);
    cart["metadata"]["name"] = json!("cart");
    cart["spec"]["traffic"]["hosts"] = json!(["cart.example.com"]);
    cart
}

async fn ready(world: &World, name: &str) {
    world
        .until(&format!("{name} is Ready"), async |world| {
            let ready = world.condition(name, ConditionType::Ready).await;
            ready.is_some_and(|(_, reason)| reason == Reason::Succeeded)
        })
        .await;
}

/// Somebody takes the finalizer off and deletes the pipeline while no operator runs.
async fn forced_away(world: &mut World, name: &str) {
    world.kill();
    let pipelines = world.pipelines();
    let stripped = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    let stripped = pipelines
        .patch(name, &PatchParams::default(), &stripped)
        .await;
    stripped.expect("a finalizer can be stripped");
    let deleted = pipelines.delete(name, &DeleteParams::default()).await;
    deleted.expect("it is deleted");
    assert!(pipelines.get_opt(name).await.expect("an answer").is_none());
}

/// Somebody removes a pipeline's containers by hand.
async fn emptied(world: &World, name: &str) {
    let person = person(world).await;
    for container in instances(world, name) {
        let removed = containers::remove(&person, &container).await;
        removed.expect("it is removed");
    }
}

/// A person's own connection to the Engine.
async fn person(world: &World) -> Engine {
    let gate = std::sync::Arc::new(operator::gate::Open);
    Engine::connect_with(world.engine.person(), gate)
        .await
        .expect("the Engine answers")
}

fn instances(world: &World, name: &str) -> BTreeSet<String> {
    let prefix = format!("default.{name}.");
    let all = world.engine.containers().into_values();
    all.filter(|container| container.name.starts_with(&prefix))
        .map(|container| container.id)
        .collect()
}

fn sections(world: &World) -> BTreeSet<String> {
    let status = world.proxies.status().expect("the proxy answers");
    status.sections.keys().map(ToString::to_string).collect()
}

fn tags(world: &World, prefix: &str) -> usize {
    let tags = world.engine.tags();
    tags.keys().filter(|tag| tag.starts_with(prefix)).count()
}

async fn host(world: &World) -> DockerHost {
    let hosts = Api::<DockerHost>::all(world.person());
    hosts.get("local").await.expect("the host")
}

async fn garbage(world: &World) -> Vec<GarbageStatus> {
    host(world).await.status.unwrap_or_default().garbage
}

/// What the host is doing, and in which words.
async fn doing(world: &World) -> Option<(Reason, String)> {
    let status = host(world).await.status.unwrap_or_default();
    let mut conditions = status.conditions.into_iter();
    conditions
        .find(|condition| condition.type_ == ConditionType::Reconciling)
        .map(|condition| (condition.reason, condition.message))
}

async fn is_doing(world: &World, reason: Reason) -> String {
    world
        .until(&format!("{reason:?}"), async |world| {
            doing(world).await.is_some_and(|(found, _)| found == reason)
        })
        .await;
    doing(world).await.unwrap_or((reason, String::new())).1
}

/// Lets driven time go by.
async fn passes(world: &World, time: Duration) {
    let began = Instant::now();
    world
        .until("the time is over", async |_| began.elapsed() >= time)
        .await;
}

/// The messages of the host's Events with this reason.
async fn events(world: &World, reason: &str) -> Vec<String> {
    let all = Api::<Event>::all(world.person());
    let all = all.list(&ListParams::default()).await.expect("an answer");
    let of_host = all.items.into_iter().filter(|event| {
        event.involved_object.kind.as_deref() == Some("DockerHost")
            && event.reason.as_deref() == Some(reason)
    });
    of_host.filter_map(|event| event.message).collect()
}

/// What is not Mooring's but looks like it.
async fn foreign(world: &World) -> Vec<String> {
    let person = person(world).await;
    for (repository, tag) in [
        ("mooring/default/cart", "latest"),
        ("mooring/default/team/cart", "0123456789"),
        ("registry.example.com/mooring/default/cart", "0123456789"),
        ("mooring/cart", "0123456789"),
    ] {
        let tagged = images::tag(&person, "shop:2.0", repository, tag).await;
        tagged.expect("it is tagged");
    }
    let network = Bridge {
        name: "mooring.elsewhere".to_owned(),
        subnet: "10.99.0.0/22".to_owned(),
        ip_range: "10.99.3.0/24".to_owned(),
        gateway: "10.99.0.1".to_owned(),
        labels: [("mooring.dev/role".to_owned(), "bridge".to_owned())].into(),
    };
    let made = networks::create(&person, &network).await;
    made.expect("the network is made");
    let container = ContainerCreateBody {
        image: Some("shop:2.0".to_owned()),
        ..ContainerCreateBody::default()
    };
    let name = "default.cart.default.main.0123456789.7-1";
    let made = containers::create(&person, name, &container).await;
    made.expect("the container is made");
    foreign_things(world)
}

/// All of them that are there.
fn foreign_things(world: &World) -> Vec<String> {
    let tags = world.engine.tags().into_keys();
    let tags = tags.filter(|tag| !tag.starts_with("mooring/default/shop:"));
    let looks = ["latest", "team", "registry", "mooring/cart", "shop:"];
    let tags = tags.filter(|tag| looks.iter().any(|word| tag.contains(word)));
    let networks = world.engine.networks().into_iter().map(|(name, _)| name);
    let networks = networks.filter(|name| name != "mooring.default");
    let containers = world.engine.containers().into_keys();
    let containers = containers.filter(|name| name.contains("0123456789"));
    tags.chain(networks).chain(containers).collect()
}

#[tokio::test(start_paused = true)]
async fn what_nobody_owns_goes_when_it_was_told_for_five_minutes() {
    let mut world = with_cart(4, 1).await;
    let shops = instances(&world, "shop");
    forced_away(&mut world, "cart").await;
    emptied(&world, "cart").await;
    let foreign = foreign(&world).await;
    world.start().await;
    let told = is_doing(&world, Reason::CleaningUp).await;
    let began = Instant::now();
    for words in [
        "section default/cart/default",
        "tag mooring/default/cart:",
        "apply their pipelines again",
    ] {
        assert!(told.contains(words), "{words} in {told}");
    }
    assert!(
        !told.contains("shop:") && !told.contains("network"),
        "{told}"
    );
    assert_eq!(events(&world, "CleaningUp").await, [told]);
    assert_eq!(garbage(&world).await.len(), 2);
    world
        .until("section and tag are gone", async |world| {
            let section = sections(world).contains("default/cart/default");
            let gone = !section && tags(world, "mooring/default/cart:") == 1;
            assert!(!gone || began.elapsed() >= GRACE - Duration::from_secs(2));
            gone
        })
        .await;
    world.settle().await;
    assert!(began.elapsed() < GRACE * 2, "it took {:?}", began.elapsed());
    assert_eq!((garbage(&world).await, doing(&world).await), (vec![], None));
    assert_eq!(instances(&world, "shop"), shops, "nothing else was touched");
    assert_eq!(sections(&world), ["default/shop/default".to_owned()].into());
    assert_eq!(tags(&world, "mooring/default/shop:"), 1);
    assert_eq!(foreign_things(&world), foreign);
}

#[tokio::test(start_paused = true)]
async fn an_owner_that_comes_back_keeps_everything() {
    let mut world = with_cart(4, 1).await;
    forced_away(&mut world, "cart").await;
    emptied(&world, "cart").await;
    world.start().await;
    is_doing(&world, Reason::CleaningUp).await;
    passes(&world, GRACE - Duration::from_secs(60)).await;
    let untagged = |world: &World| {
        let ledger = world.engine.ledger();
        let images = ledger
            .iter()
            .filter(|done| done.verb.starts_with("DELETE /images"));
        images.count()
    };
    let before = untagged(&world);
    world.apply(cart(0)).await;
    world
        .until("nothing is nobody's", async |world| {
            garbage(world).await.is_empty()
        })
        .await;
    assert_eq!(doing(&world).await, None);
    passes(&world, LONG).await;
    assert_eq!(untagged(&world), before, "its image was never let go");
    assert!(sections(&world).contains("default/cart/default"));
    assert_eq!(events(&world, "CleaningUp").await.len(), 1);
    // Absent once more, it has the five minutes again.
    forced_away(&mut world, "cart").await;
    world.start().await;
    is_doing(&world, Reason::CleaningUp).await;
    let since = garbage(&world).await.remove(0).since;
    let age = world.engine.now().duration_since(since.0);
    assert!(age.as_secs() < 60, "{age}");
}

/// Makes the API answer the host's questions about pipelines as if it had none, and those about the cart by `then`.
fn forgets(world: &World, then: impl Fn(&mut Request<Body>) + Send + 'static) -> Arc<AtomicUsize> {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    world.between(move |request| {
        let accepted = request
            .headers()
            .get("accept")
            .and_then(|a| a.to_str().ok());
        if !accepted.is_some_and(|accepted| accepted.contains("PartialObjectMetadata")) {
            return;
        }
        let path = request.uri().path().to_owned();
        if path.ends_with("/deploymentpipelines") {
            go_to(request, &format!("{path}?labelSelector=none%3Dnone"));
        } else if path.ends_with("/deploymentpipelines/cart") {
            count.fetch_add(1, Ordering::Relaxed);
            then(request);
        }
    });
    asked
}

fn go_to(request: &mut Request<Body>, path: &str) {
    *request.uri_mut() = path.parse().expect("a path");
}

/// Has the host looked at.
async fn stir(world: &World, note: &str) {
    let hosts = Api::<DockerHost>::all(world.person());
    let noted = Patch::Merge(json!({"metadata": {"annotations": {"note": note}}}));
    let noted = hosts.patch("local", &PatchParams::default(), &noted).await;
    noted.expect("the note is taken");
}

#[tokio::test(start_paused = true)]
async fn an_owner_that_is_missing_for_a_moment_or_cannot_be_read_keeps_everything() {
    let world = with_cart(4, 1).await;
    world.apply(cart(0)).await;
    world.settle().await;
    assert_eq!(instances(&world, "cart").len(), 0);
    let before = (world.engine.tags(), sections(&world));
    forgets(&world, |request| {
        let path = request.uri().path().replace("/cart", "/nobody");
        go_to(request, &path);
    });
    stir(&world, "not found").await;
    world
        .until("the cart's things are nobody's", async |world| {
            !garbage(world).await.is_empty()
        })
        .await;
    world.between(|_| {});
    stir(&world, "found").await;
    world
        .until("nothing is nobody's", async |world| {
            garbage(world).await.is_empty()
        })
        .await;
    passes(&world, LONG).await;
    assert_eq!((world.engine.tags(), sections(&world)), before);

    let asked = forgets(&world, |request| {
        *request.method_mut() = http::Method::TRACE
    });
    stir(&world, "no answer").await;
    passes(&world, LONG).await;
    assert!(asked.load(Ordering::Relaxed) > 1, "it was asked for");
    assert_eq!(garbage(&world).await, []);
    assert_eq!((world.engine.tags(), sections(&world)), before);
}

#[tokio::test(start_paused = true)]
async fn more_than_a_fifth_of_the_instances_waits_for_a_person() {
    let mut world = with_cart(2, 2).await;
    forced_away(&mut world, "cart").await;
    emptied(&world, "cart").await;
    world.start().await;
    let told = is_doing(&world, Reason::CleanUpHeld).await;
    assert!(told.contains("2 of 4 instances"), "{told}");
    assert_eq!(events(&world, "CleanUpHeld").await, vec![told.clone()]);
    let serves = world.condition("shop", ConditionType::Ready).await;
    passes(&world, LONG).await;
    let both = ["default/cart/default", "default/shop/default"];
    assert_eq!(sections(&world), both.map(str::to_owned).into());
    assert_eq!(tags(&world, "mooring/default/cart:"), 1);
    assert_eq!(world.condition("shop", ConditionType::Ready).await, serves);
    assert_eq!(is_doing(&world, Reason::CleanUpHeld).await, told);
    // The command that the message gives.
    let (_, patch) = told.split_once("-p '").expect("a command");
    let patch: Value = serde_json::from_str(patch.trim_end_matches('\'')).expect("a patch");
    let hosts = Api::<DockerHost>::all(world.person());
    let patched = hosts
        .patch("local", &PatchParams::default(), &Patch::Merge(patch))
        .await;
    patched.expect("the patch is taken");
    world
        .until("what was listed is gone", async |world| {
            !sections(world).contains("default/cart/default")
                && tags(world, "mooring/default/cart:") == 0
        })
        .await;
    world.settle().await;
    assert_eq!((garbage(&world).await, doing(&world).await), (vec![], None));
}

#[tokio::test(start_paused = true)]
async fn an_api_that_lost_its_pipelines_loses_nothing_on_the_host() {
    let mut world = with_cart(2, 2).await;
    let mut idle = cart(0);
    idle["metadata"]["name"] = json!("idle");
    idle["spec"]["traffic"]["hosts"] = json!(["idle.example.com"]);
    world.apply(idle.clone()).await;
    ready(&world, "idle").await;
    world.settle().await;
    let all = |world: &World| {
        let containers: BTreeSet<String> = world.engine.containers().into_keys().collect();
        let networks = world.engine.networks();
        (containers, networks, world.engine.tags(), sections(world))
    };
    let before = all(&world);
    for name in ["shop", "cart", "idle"] {
        forced_away(&mut world, name).await;
    }
    let left: Vec<String> = world.names::<DeploymentPipeline>().await;
    assert_eq!(left, [""; 0], "an empty list");
    world.start().await;
    passes(&world, LONG).await;
    assert_eq!(all(&world), before);
    for manifest in [shop("shop:1.0", 2), cart(2), idle] {
        world.apply(manifest).await;
    }
    for name in ["shop", "cart", "idle"] {
        ready(&world, name).await;
    }
    world.settle().await;
    assert_eq!(all(&world).0, before.0, "the same containers");
    assert_eq!((garbage(&world).await, doing(&world).await), (vec![], None));
}
