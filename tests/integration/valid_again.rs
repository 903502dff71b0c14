//! What people get wrong, each as valid, bad and valid again: the world ends as it began.
//!
//! What the object alone can tell is refused, and nothing at all is done. What only the world can tell is a condition
//! with its reason; whatever it was, the first manifest brings the first state back.

use std::collections::BTreeMap;

use crds::{ConditionStatus, ConditionType, Reason};
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};
use tests::picture::{difference, picture, standing};
use tests::world::{World, shop};

/// The valid manifest with a value at a JSON pointer; `/main/` is its container.
fn with(pointer: &str, value: Value) -> Value {
    let mut manifest = valid();
    let pointer = pointer.replace("/main/", "/spec/template/containers/0/");
    let (parent, key) = pointer.rsplit_once('/').expect("a pointer");
    let parent = manifest.pointer_mut(parent).expect("the parent is there");
    match parent {
        Value::Array(items) => items[key.parse::<usize>().expect("an index")] = value,
        parent => parent[key] = value,
    }
    manifest
}

fn valid() -> Value {
    shop("shop:1.0", 2)
}

/// The valid manifest with a variable in its environment.
fn env(name: &str, value: &str) -> Value {
    with("/main/env", json!([{"name": name, "value": value}]))
}

/// A world in which the valid manifest is out.
async fn begun() -> World {
    let mut world = World::new().await;
    world.start().await;
    world.apply(valid()).await;
    ready(&world).await;
    world.settle().await;
    world
}

async fn ready(world: &World) {
    let wanted = Some((ConditionStatus::True, Reason::Succeeded));
    world
        .until("Ready", async |world| {
            world.condition("shop", ConditionType::Ready).await == wanted
        })
        .await;
}

/// What is wrong with a manifest: where, what, and a word of the refusal.
type Row = (&'static str, Value, &'static str);

/// Missing, extra, misspelt, of the wrong type, null, empty, doubled, contradictory.
fn misshapen() -> Vec<Row> {
    let twice = json!({"name": "A", "value": "x", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}});
    vec![
        ("/spec/source", json!({}), "image"),
        ("/spec/source", Value::Null, "source"),
        ("/spec/replica", json!(3), "replica"),
        ("/spec/replicas", json!("three"), "replicas"),
        ("/spec/template", json!([]), "template"),
        ("/spec/source/image", json!(""), "image"),
        ("/spec/traffic/hosts", json!([]), "hosts"),
        (
            "/main/ports",
            json!([{"containerPort": 8080}, {"containerPort": 8080}]),
            "ports",
        ),
        (
            "/main/readinessProbe/tcpSocket",
            json!({"port": 8080}),
            "readinessProbe",
        ),
        ("/main/env", json!([twice]), "valueFrom"),
        (
            "/main/volumeMounts",
            json!([{"name": "nowhere", "mountPath": "/x"}]),
            "volumeMounts",
        ),
    ]
}

/// Too long, too many and too deep, and characters that mean something elsewhere.
fn beyond() -> Vec<Row> {
    let variable = |number: u32| json!({"name": format!("V{number}"), "value": "x"});
    let variables: Vec<Value> = (0..10_000).map(variable).collect();
    let deep = (0..1000).fold(json!({}), |deep, _| json!({"a": deep}));
    let annotations: BTreeMap<String, &str> = (0..20_000).map(|n| (format!("a{n}"), "x")).collect();
    vec![
        ("/spec/source/image", json!("a".repeat(600)), "image"),
        ("/spec/source/image", json!("shop:1.0\0"), "image"),
        ("/spec/source/image", json!("shop:1.0\r\nX: y"), "image"),
        ("/spec/source/image", json!("--privileged"), "image"),
        (
            "/spec/traffic/hosts/0",
            json!("sh\u{43e}p.example.com"),
            "hosts",
        ),
        (
            "/spec/traffic/hosts/0",
            json!("shop.example.com\u{202e}"),
            "hosts",
        ),
        ("/spec/traffic/paths", json!([{"prefix": "/\n"}]), "prefix"),
        (
            "/main/volumeMounts",
            json!([{"name": "x", "mountPath": "/a/../etc"}]),
            "mountPath",
        ),
        ("/main/env", json!(variables), "env"),
        (
            "/main/env",
            json!([{"name": "A", "value": "x".repeat(2 << 20)}]),
            "",
        ),
        ("/spec/template/deep", deep, ""),
        (
            "/spec/template/metadata",
            json!({"annotations": annotations}),
            "annotations",
        ),
    ]
}

/// Numbers beyond their limits, and those that contradict each other.
fn out_of_range() -> Vec<Row> {
    let neither = json!({"maxSurge": 0, "maxUnavailable": 0});
    vec![
        ("/spec/replicas", json!(-1), "replicas"),
        ("/spec/replicas", json!(1_u64 << 31), "replicas"),
        ("/spec/strategy/rollingUpdate", neither, "maxSurge"),
        (
            "/spec/strategy/rollingUpdate",
            json!({"maxSurge": "101%"}),
            "maxSurge",
        ),
        ("/spec/traffic/port", json!(0), "port"),
        ("/spec/traffic/port", json!(65_536), "port"),
        (
            "/spec/strategy/minReadySeconds",
            json!(-1),
            "minReadySeconds",
        ),
        (
            "/spec/strategy/minReadySeconds",
            json!(10),
            "minReadySeconds",
        ),
        (
            "/spec/strategy/healthyDeadlineSeconds",
            json!(60),
            "healthyDeadlineSeconds",
        ),
        (
            "/spec/strategy/progressDeadlineSeconds",
            json!(3.6e15),
            "progressDeadlineSeconds",
        ),
        (
            "/main/readinessProbe/periodSeconds",
            json!(0),
            "periodSeconds",
        ),
    ]
}

/// What reaches the host, or for what is Mooring's own.
fn reaching() -> Vec<Row> {
    let labels = json!({"labels": {"mooring.dev/pipeline": "other"}});
    let host_path = json!([{"name": "v", "hostPath": {"path": "/"}}]);
    let driver = json!([{"name": "v", "volume": {"driver": "local"}}]);
    vec![
        (
            "/main/securityContext",
            json!({"privileged": true}),
            "privileged",
        ),
        (
            "/main/securityContext",
            json!({"capabilities": {"add": ["SYS_ADMIN"]}}),
            "add",
        ),
        (
            "/main/securityContext",
            json!({"seccompProfile": {"type": "Unconfined"}}),
            "seccompProfile",
        ),
        ("/spec/template/hostNetwork", json!(true), "hostNetwork"),
        ("/spec/template/hostPID", json!(true), "hostPID"),
        ("/spec/template/volumes", host_path, "hostPath"),
        ("/spec/template/volumes", driver, "volume"),
        ("/spec/template/metadata", labels, "mooring.dev/"),
    ]
}

#[tokio::test(start_paused = true)]
async fn what_the_object_alone_can_tell_is_refused_and_nothing_is_done() {
    let world = begun().await;
    let before = picture(&world).await;
    let done = (world.engine.ledger().len(), world.writes().len());
    let mut wrong = Vec::new();
    for (pointer, value, word) in [misshapen(), beyond(), out_of_range(), reaching()].concat() {
        match world.try_apply(with(pointer, value.clone())).await {
            Ok(()) => {
                wrong.push(format!("{pointer} {value:.60} was taken"));
                world.apply(valid()).await;
            }
            Err(error) => {
                let words = error.to_string();
                if !words.contains(word) {
                    wrong.push(format!("{pointer}: {word:?} is not in {words:.300}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    world.apply(valid()).await;
    world.settle().await;
    assert_eq!(difference(&before, &picture(&world).await), "");
    let after = (world.engine.ledger().len(), world.writes().len());
    assert_eq!(done, after, "something was done");
}

/// What only the world can tell, and the reason that `Ready=False` gives for it.
fn found_out() -> Vec<(&'static str, Value, Reason)> {
    let reference = |name: &str, key: &str| {
        let variable =
            json!([{"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": name, "key": key}}}]);
        with("/main/env", variable)
    };
    vec![
        (
            "an image that is nowhere",
            shop("shop:9.9", 2),
            Reason::ImageNotFound,
        ),
        (
            "a Secret that is nowhere",
            reference("nowhere", "token"),
            Reason::RefNotFound,
        ),
        (
            "a key that is nowhere",
            reference("token", "nowhere"),
            Reason::RefNotFound,
        ),
        ("never ready", env("NEVER_READY", "1"), Reason::RolledBack),
        (
            "an end at once",
            env("EXIT_AFTER_MS", "0"),
            Reason::RolledBack,
        ),
        (
            "an end in the bake",
            env("EXIT_AFTER_MS", "3000"),
            Reason::RolledBack,
        ),
        (
            "unready in the bake",
            env("UNREADY_AFTER_MS", "3000"),
            Reason::RolledBack,
        ),
        (
            "a probe of nothing",
            with("/main/readinessProbe/httpGet/port", json!(9)),
            Reason::RolledBack,
        ),
        (
            "another pipeline's host name",
            with("/spec/traffic/hosts/0", json!("taken.example.com")),
            Reason::RouteConflict,
        ),
    ]
}

#[tokio::test(start_paused = true)]
async fn what_only_the_world_can_tell_is_a_reason_and_leaves_no_trace() {
    for (what, bad, reason) in found_out() {
        let world = begun().await;
        let mut cart = shop("shop:1.0", 1);
        cart["metadata"]["name"] = json!("cart");
        cart["spec"]["traffic"]["hosts"] = json!(["taken.example.com"]);
        world.apply(cart).await;
        let token = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "token"}, "stringData": {"token": "x"}});
        world.apply(token).await;
        world.settle().await;
        let before = standing(&picture(&world).await);
        world.apply(bad).await;
        let wanted = Some((ConditionStatus::False, reason));
        world
            .until(&format!("{what}: {reason:?}"), async |world| {
                world.condition("shop", ConditionType::Ready).await == wanted
            })
            .await;
        world.settle().await;
        world.apply(valid()).await;
        ready(&world).await;
        world.settle().await;
        let after = standing(&picture(&world).await);
        assert_eq!(difference(&before, &after), "", "{what}");
    }
}

/// What people do to objects behind Mooring's back, or too quickly, or twice.
#[tokio::test(start_paused = true)]
async fn what_people_do_in_between_leaves_no_trace() {
    let world = begun().await;
    let pipelines = world.pipelines();
    let before = standing(&picture(&world).await);
    let same = async |what: &str| {
        ready(&world).await;
        world.settle().await;
        let after = standing(&picture(&world).await);
        assert_eq!(difference(&before, &after), "", "{what}");
    };
    let done = (world.engine.ledger().len(), world.writes().len());
    let mut reordered = valid();
    reordered["metadata"]["annotations"] = json!({"note": "nothing that matters"});
    world.apply(reordered).await;
    same("an edit that changes nothing").await;
    let after = (world.engine.ledger().len(), world.writes().len());
    assert_eq!(done, after, "an edit that changes nothing does nothing");

    for number in 0..100 {
        world.apply(env("NUMBER", &number.to_string())).await;
    }
    world.apply(valid()).await;
    same("a hundred edits").await;

    for replicas in [0, 2] {
        let patch = json!({"spec": {"replicas": replicas}});
        let patched = pipelines
            .patch("shop", &PatchParams::default(), &Patch::Merge(patch))
            .await;
        patched.expect("the scale is taken");
        world.settle().await;
    }
    same("nothing and back").await;

    let forged = json!({"status": {"ready": "7/7", "currentRelease": "none", "stableRelease": "none", "conditions": []}});
    let patched = pipelines
        .patch_status("shop", &PatchParams::default(), &Patch::Merge(forged))
        .await;
    patched.expect("a status can be forged");
    same("a forged status").await;

    let stripped = json!({"metadata": {"finalizers": null}});
    let patched = pipelines
        .patch("shop", &PatchParams::default(), &Patch::Merge(stripped))
        .await;
    patched.expect("a finalizer can be stripped");
    same("a stripped finalizer").await;
    let pipeline = pipelines.get("shop").await.expect("the pipeline");
    assert!(!pipeline.metadata.finalizers.unwrap_or_default().is_empty());

    let deleted = pipelines.delete("shop", &DeleteParams::default()).await;
    deleted.expect("the deletion is taken");
    world
        .until("the pipeline is gone", async |world| {
            let found = world.pipelines().get_opt("shop").await;
            found.expect("the API answers").is_none()
        })
        .await;
    world.apply(valid()).await;
    same("deleted and made again").await;
}

/// A Release of a revision keeps the bytes that it came out with, so that its Secret may go meanwhile.
#[tokio::test(start_paused = true)]
async fn a_secret_that_goes_in_the_middle_of_a_rollout_is_named_and_holds_nothing_up() {
    let world = begun().await;
    let token = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "token"}, "stringData": {"token": "x"}});
    world.apply(token.clone()).await;
    let variable = json!([{"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "token", "key": "token"}}}]);
    let configured = with("/main/env", variable);
    world.apply(configured).await;
    let with_token = |world: &World| {
        let all = world.engine.containers().into_values();
        let with_token = all.filter(|view| view.env.contains(&"TOKEN=x".to_owned()));
        with_token.count()
    };
    world
        .until("the first new instance", async |world| {
            with_token(world) > 0
        })
        .await;
    let secrets = world.objects("v1", "Secret");
    let deleted = secrets.delete("token", &DeleteParams::default()).await;
    deleted.expect("it is deleted");
    let wanted = Some((ConditionStatus::False, Reason::RefNotFound));
    world
        .until("the Secret is named", async |world| {
            world.condition("shop", ConditionType::Ready).await == wanted
        })
        .await;
    world.settle().await;
    assert_eq!(with_token(&world), 2, "the rollout went on");
    let available = world.condition("shop", ConditionType::Available).await;
    assert_eq!(
        available.map(|(status, _)| status),
        Some(ConditionStatus::True)
    );
    let before = world.engine.containers();
    world.apply(token).await;
    ready(&world).await;
    world.settle().await;
    assert_eq!(world.engine.containers(), before, "the same bytes again");
    assert_eq!(world.names::<crds::Release>().await, ["shop-1", "shop-2"]);
}
