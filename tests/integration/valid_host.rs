//! What people get wrong about a host, as valid, bad and valid again: the world ends as it began.

use crds::{ConditionStatus, ConditionType, DockerHost, Reason};
use kube::Api;
use kube::api::{
    ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams, ValidationDirective,
};
use serde_json::{Value, json};
use tests::picture::{difference, picture};
use tests::world::{World, shop};

async fn ready(world: &World) {
    let wanted = Some((ConditionStatus::True, Reason::Succeeded));
    world
        .until("Ready", async |world| {
            world.condition("shop", ConditionType::Ready).await == wanted
        })
        .await;
}

/// What is wrong with a host and can be told by the object alone.
fn hosts_refused() -> Vec<(&'static str, Value, &'static str)> {
    vec![
        (
            "endpoint",
            json!("tcp://10.0.0.1:2375"),
            "write unix:///path/to/docker.sock",
        ),
        ("endpoint", json!(""), "write unix:///path/to/docker.sock"),
        ("network", json!({"cidr": "10.210.0.0/33"}), "cidr"),
        ("network", json!({"cidr": "ten"}), "cidr"),
        ("proxy", json!({"httpPort": 0}), "httpPort"),
        ("proxy", json!({"httpPort": 65_536}), "httpPort"),
        ("allowedNamespaces", json!("*"), "allowedNamespaces"),
        ("cleanUpAt", json!("today"), "cleanUpAt"),
        ("cordon", json!(true), "cordon"),
    ]
}

#[tokio::test(start_paused = true)]
async fn a_host_that_is_declared_badly_and_well_again_is_as_it_was() {
    let mut world = World::new().await;
    world.start().await;
    world.apply(shop("shop:1.0", 2)).await;
    ready(&world).await;
    world.settle().await;
    let before = picture(&world).await;
    let done = (world.engine.ledger().len(), world.writes().len());
    let declared = |field: &str, value: Value| {
        let mut host = json!({
            "apiVersion": "mooring.dev/v1alpha1", "kind": "DockerHost", "metadata": {"name": "local"},
            "spec": {"allowedNamespaces": ["*"]},
        });
        host["spec"][field] = value;
        host
    };
    for (field, value, word) in hosts_refused() {
        let refused = apply_host(&world, declared(field, value.clone())).await;
        let words = refused.expect_err(field).to_string();
        assert!(words.contains(word), "{field} {value}: {words}");
    }
    let same = apply_host(&world, declared("cordoned", json!(false))).await;
    same.expect("it is taken");
    world.settle().await;
    assert_eq!(difference(&before, &picture(&world).await), "");
    let after = (world.engine.ledger().len(), world.writes().len());
    assert!(
        after.0 == done.0 && after.1 <= done.1 + 1,
        "nothing is done but to record the generation: {done:?}, {after:?}"
    );
    // Taken away from the namespace, the host keeps what runs there and takes no more.
    let instances = world.engine.containers();
    grant(&world, "elsewhere").await;
    world.apply(shop("shop:1.0", 3)).await;
    let wanted = Some((ConditionStatus::False, Reason::NoHost));
    world
        .until("NoHost", async |world| {
            world.condition("shop", ConditionType::Ready).await == wanted
        })
        .await;
    world.settle().await;
    assert_eq!(world.engine.containers(), instances);
    grant(&world, "*").await;
    world
        .until("the third instance", async |world| {
            world.engine.containers().len() == instances.len() + 1
        })
        .await;
    world.apply(shop("shop:1.0", 2)).await;
    ready(&world).await;
    world.settle().await;
    assert_eq!(difference(&before, &picture(&world).await), "");
}

/// Grants the host to one namespace and to no other.
async fn grant(world: &World, namespace: &str) {
    let hosts = Api::<DockerHost>::all(world.person());
    let patch = Patch::Merge(json!({"spec": {"allowedNamespaces": [namespace]}}));
    let patched = hosts.patch("local", &PatchParams::default(), &patch).await;
    patched.expect("the patch is taken");
}

/// `kubectl apply --server-side` of a DockerHost.
async fn apply_host(world: &World, manifest: Value) -> Result<(), kube::Error> {
    let kind = GroupVersionKind::gvk("mooring.dev", "v1alpha1", "DockerHost");
    let resource = ApiResource::from_gvk(&kind);
    let hosts: Api<DynamicObject> = Api::all_with(world.person(), &resource);
    let params = PatchParams {
        field_validation: Some(ValidationDirective::Strict),
        ..PatchParams::apply("kubectl").force()
    };
    let applied = hosts.patch("local", &params, &Patch::Apply(manifest)).await;
    applied.map(drop)
}
