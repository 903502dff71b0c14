//! The flows of the crash suite: what is done to a settled world, and how much of it there is to interrupt.
//!
//! To add one, add a row to [`all`].

use std::fmt;

use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};
use tests::world::{World, shop};

/// What is done to a world, and what must come of it however the operator is disturbed.
pub struct Flow {
    /// Its name in the tables.
    pub name: &'static str,
    /// What has been done and has settled when it begins.
    pub before: Vec<Act>,
    /// What is done then.
    pub acts: Vec<Act>,
    /// How many effects it must have at least. The number only rises: a flow that gets shorter has lost something,
    /// unless a change says why.
    pub effects: usize,
    /// The same for the events that are heard in it.
    pub events: usize,
}

/// One thing that a person does, or waits for. Doing it twice is doing it once.
pub enum Act {
    /// `kubectl apply --server-side`.
    Apply(Value),
    /// `kubectl patch --type merge` of one of our kinds: kind, name and patch.
    Patch(&'static str, &'static str, Value),
    /// `kubectl delete` of one of our kinds: kind and name.
    Delete(&'static str, &'static str),
    /// Puts what a Release brings out among the shop's rejected revisions.
    Reject(&'static str),
    /// Waits until a Release has an instance.
    Begun(&'static str),
    /// Waits until nothing happens any more.
    Settled,
    /// Waits until what the shop left behind is cleaned up.
    CleanedUp,
}

const API_VERSION: &str = "mooring.dev/v1alpha1";

/// Names the one flow that is wanted, while somebody works on it.
const ONLY: &str = "MOORING_FLOW";

/// Every flow.
pub fn all() -> Vec<Flow> {
    let mut all = Vec::from(rollouts());
    all.extend(changes_without_a_release());
    all.extend([configuration(), two_at_once()]);
    all.extend(verbs_in_a_rollout());
    all.extend(verbs_at_rest());
    if let Ok(only) = std::env::var(ONLY) {
        all.retain(|flow| flow.name == only);
    }
    all
}

fn rollouts() -> [Flow; 3] {
    let applied = |image| vec![Act::Apply(shop(image, 3))];
    [
        Flow {
            name: "Install",
            before: vec![],
            acts: applied("shop:1.0"),
            effects: 34,
            events: 31,
        },
        Flow {
            name: "Update",
            before: applied("shop:1.0"),
            acts: applied("shop:2.0"),
            effects: 76,
            events: 74,
        },
        Flow {
            name: "Rollback",
            before: applied("shop:2.0"),
            acts: applied("shop:3.0"),
            effects: 25,
            events: 25,
        },
    ]
}

fn changes_without_a_release() -> [Flow; 2] {
    let replicas = json!({"spec": {"replicas": 2}});
    [
        Flow {
            name: "Scale",
            before: vec![Act::Apply(shop("shop:1.0", 3))],
            acts: vec![Act::Patch("DeploymentPipeline", "shop", replicas)],
            effects: 13,
            events: 13,
        },
        Flow {
            name: "Delete",
            before: vec![Act::Apply(shop("shop:1.0", 3))],
            acts: vec![Act::Delete("DeploymentPipeline", "shop"), Act::CleanedUp],
            effects: 24,
            events: 32,
        },
    ]
}

/// What a person asks for while a release comes out: to hold it, to end it, never to see it again.
fn verbs_in_a_rollout() -> [Flow; 3] {
    let begun = |second| vec![Act::Apply(second), Act::Begun("shop-2")];
    // Whatever happens to the operator, this one has not ended by itself when a person ends it.
    let ended = |act| {
        let mut acts = begun(patient("shop:3.0", 2));
        acts.push(act);
        acts
    };
    let held = [
        pipeline(json!({"paused": true})),
        Act::Settled,
        pipeline(json!({"paused": false})),
    ];
    let mut paused = begun(shop("shop:2.0", 2));
    paused.extend(held);
    [
        Flow {
            name: "Pause",
            before: vec![Act::Apply(shop("shop:1.0", 2))],
            acts: paused,
            effects: 61,
            events: 60,
        },
        Flow {
            name: "Abort",
            before: vec![Act::Apply(patient("shop:1.0", 2))],
            acts: ended(release("shop-2", json!({"abort": ["default"]}))),
            effects: 28,
            events: 31,
        },
        Flow {
            name: "Reject",
            before: vec![Act::Apply(patient("shop:1.0", 2))],
            acts: ended(Act::Reject("shop-2")),
            effects: 28,
            events: 31,
        },
    ]
}

/// What a person asks for while nothing moves: to go back, to restart, to try a failed release again.
fn verbs_at_rest() -> [Flow; 3] {
    let both = |first, second| {
        let (first, second) = (shop(first, 1), shop(second, 1));
        vec![Act::Apply(first), Act::Settled, Act::Apply(second)]
    };
    [
        Flow {
            name: "GoBack",
            before: both("shop:1.0", "shop:2.0"),
            acts: vec![pipeline(json!({"rollbackTo": {"release": "shop-1"}}))],
            effects: 32,
            events: 31,
        },
        Flow {
            name: "Restart",
            before: vec![Act::Apply(shop("shop:1.0", 1))],
            acts: vec![pipeline(json!({"restartAt": "2026-06-01T00:00:00Z"}))],
            effects: 35,
            events: 34,
        },
        Flow {
            name: "Retry",
            before: both("shop:1.0", "shop:3.0"),
            acts: vec![release(
                "shop-2",
                json!({"retryAt": "2026-06-01T00:00:00Z"}),
            )],
            effects: 15,
            events: 16,
        },
    ]
}

/// A patch of the shop's spec.
fn pipeline(spec: Value) -> Act {
    Act::Patch("DeploymentPipeline", "shop", json!({"spec": spec}))
}

/// A patch of a Release's spec.
fn release(name: &'static str, spec: Value) -> Act {
    Act::Patch("Release", name, json!({"spec": spec}))
}

/// A Secret that is a file in every instance changes.
fn configuration() -> Flow {
    Flow {
        name: "Configure",
        before: vec![
            Act::Apply(settings()),
            Act::Apply(token("first")),
            Act::Apply(configured("shop:1.0", 1)),
        ],
        acts: vec![Act::Apply(token("second"))],
        effects: 35,
        events: 35,
    }
}

/// One pipeline is updated and another one gets a release that never becomes ready, on one host.
fn two_at_once() -> Flow {
    Flow {
        name: "Interleave",
        before: vec![
            Act::Apply(shop("shop:1.0", 2)),
            Act::Apply(cart("shop:1.0", 2)),
        ],
        acts: vec![
            Act::Apply(shop("shop:2.0", 2)),
            Act::Apply(cart("shop:3.0", 2)),
        ],
        effects: 70,
        events: 78,
    }
}

/// The shop with deadlines that are never over.
fn patient(image: &str, replicas: u32) -> Value {
    let mut shop = shop(image, replicas);
    let strategy = &mut shop["spec"]["strategy"];
    strategy["healthyDeadlineSeconds"] = json!(3600);
    strategy["progressDeadlineSeconds"] = json!(7200);
    shop
}

/// Another pipeline beside the shop.
fn cart(image: &str, replicas: u32) -> Value {
    let mut cart = shop(image, replicas);
    cart["metadata"]["name"] = json!("cart");
    cart["spec"]["traffic"]["hosts"] = json!(["cart.example.com"]);
    cart
}

/// The shop with a ConfigMap in its environment and a Secret as a file.
fn configured(image: &str, replicas: u32) -> Value {
    let mut shop = shop(image, replicas);
    let template = &mut shop["spec"]["template"];
    template["volumes"] = json!([{"name": "token", "secret": {"secretName": "token"}}]);
    let container = &mut template["containers"][0];
    container["envFrom"] = json!([{"configMapRef": {"name": "settings"}}]);
    container["volumeMounts"] = json!([{"name": "token", "mountPath": "/etc/token"}]);
    shop
}

fn settings() -> Value {
    json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings", "namespace": "default"},
        "data": {"CURRENCY": "EUR"},
    })
}

fn token(token: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "token", "namespace": "default"},
        "stringData": {"token": token},
    })
}

impl Act {
    /// Does it.
    pub async fn perform(&self, world: &World) {
        match self {
            Act::Apply(manifest) => world.apply(manifest.clone()).await,
            Act::Patch(kind, name, spec) => patch(world, kind, name, spec).await,
            Act::Delete(kind, name) => {
                let objects = world.objects(API_VERSION, kind);
                match objects.delete(name, &DeleteParams::default()).await {
                    Ok(_) => {}
                    Err(kube::Error::Api(status)) if status.code == 404 => {}
                    Err(error) => panic!("{name} is not deleted: {error}"),
                }
            }
            Act::Reject(name) => {
                let found = world.objects(API_VERSION, "Release").get(name).await;
                let revision = &found.expect("the Release").data["spec"]["revision"];
                let spec = json!({"spec": {"rejectedRevisions": [revision]}});
                patch(world, "DeploymentPipeline", "shop", &spec).await;
            }
            Act::Begun(name) => {
                let has_instance = async |world: &World| {
                    let found = world.objects(API_VERSION, "Release").get_opt(name).await;
                    let release = found.expect("the API answers");
                    let first = "/status/stages/0/instances/0";
                    release.is_some_and(|release| release.data.pointer(first).is_some())
                };
                world.until("the rollout begins", has_instance).await;
            }
            Act::Settled => world.settle().await,
            Act::CleanedUp => {
                let is_bare = async |world: &World| {
                    let networks = world.engine.networks();
                    !networks.iter().any(|(name, _)| name == "mooring.default")
                };
                world.until("the bridge goes", is_bare).await;
            }
        }
    }
}

async fn patch(world: &World, kind: &str, name: &str, patch: &Value) {
    let objects = world.objects(API_VERSION, kind);
    let patched = objects
        .patch(name, &PatchParams::default(), &Patch::Merge(patch))
        .await;
    patched.expect("the patch is taken");
}

impl fmt::Display for Flow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name)
    }
}
