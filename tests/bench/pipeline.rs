//! Mooring's side of the comparisons: one pipeline, driven and watched through the Kubernetes API like any user's.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use futures::StreamExt;
use kube::api::{
    Api, ApiResource, DeleteParams, DynamicObject, GroupVersionKind, ListParams, Patch, PatchParams,
};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(180);
/// The namespace of everything.
pub const NAMESPACE: &str = "default";
/// The field manager of the benchmark.
const MANAGER: &str = "bench";

/// A pipeline and the API that it is in.
#[derive(Clone)]
pub struct Pipeline {
    client: Client,
    name: &'static str,
}

/// What the benchmark varies.
#[derive(Debug, Clone)]
pub struct Shape {
    /// The image.
    pub image: &'static str,
    /// How many replicas.
    pub replicas: u8,
    /// How many more may run during an update.
    pub surge: u8,
    /// Seconds for which a release is watched after it is out.
    pub bake: u32,
    /// Milliseconds after which each instance ends by itself with an error.
    pub exit_after: Option<u32>,
    /// Seconds from SIGTERM to SIGKILL.
    pub grace: u32,
}

impl Pipeline {
    /// A pipeline by its name. Requests for `<name>.localhost` go to it.
    #[must_use]
    pub fn new(client: Client, name: &'static str) -> Self {
        Self { client, name }
    }

    fn api(&self, kind: &str) -> Api<DynamicObject> {
        let resource =
            ApiResource::from_gvk(&GroupVersionKind::gvk("mooring.dev", "v1alpha1", kind));
        match kind {
            "DockerHost" => Api::all_with(self.client.clone(), &resource),
            _ => Api::namespaced_with(self.client.clone(), NAMESPACE, &resource),
        }
    }

    /// Waits until the host can take instances.
    ///
    /// # Errors
    /// It cannot within the limit.
    pub async fn host_ready(&self) -> anyhow::Result<()> {
        self.wait("DockerHost", "local", |host| {
            condition(host, "Ready") == Some("True")
        })
        .await
        .map(drop)
    }

    /// Applies the pipeline and returns when that was.
    ///
    /// # Errors
    /// The API refused it.
    pub async fn apply(&self, shape: &Shape) -> anyhow::Result<Instant> {
        let mut env = Vec::new();
        if let Some(millis) = shape.exit_after {
            env.push(json!({"name": "EXIT_AFTER_MS", "value": millis.to_string()}));
        }
        let object = json!({
            "apiVersion": "mooring.dev/v1alpha1", "kind": "DeploymentPipeline",
            "metadata": {"name": self.name},
            "spec": {
                "replicas": shape.replicas,
                "source": {"image": shape.image},
                "template": {
                    "terminationGracePeriodSeconds": shape.grace,
                    "containers": [{"name": "main", "env": env, "readinessProbe": {
                        "httpGet": {"path": "/ready", "port": 8080}, "periodSeconds": 1}}],
                },
                "traffic": {"port": 8080, "hosts": [format!("{}.localhost", self.name)],
                            "drain": {"requestSeconds": 5, "streamSeconds": 5}},
                "strategy": {"minReadySeconds": 1, "healthyDeadlineSeconds": 10, "progressDeadlineSeconds": 60,
                             "bakeSeconds": shape.bake, "rollingUpdate": {"maxSurge": shape.surge, "maxUnavailable": 0}},
            },
        });
        let begun = Instant::now();
        let parameters = PatchParams::apply(MANAGER).force();
        self.api("DeploymentPipeline")
            .patch(self.name, &parameters, &Patch::Apply(object))
            .await?;
        Ok(begun)
    }

    /// Waits until the current generation is out and its bake is over.
    ///
    /// # Errors
    /// It is not within the limit.
    pub async fn ready(&self) -> anyhow::Result<()> {
        self.wait("DeploymentPipeline", self.name, |object| {
            condition(object, "Ready") == Some("True")
                && object.data["status"]["observedGeneration"].as_i64()
                    == object.metadata.generation
        })
        .await
        .map(drop)
    }

    /// Waits until the release with the highest number is fully out: baking, or past it.
    ///
    /// # Errors
    /// It is not within the limit, or ended in another way.
    pub async fn fully_out(&self, number: u64) -> anyhow::Result<()> {
        let name = format!("{}-{number}", self.name);
        let release = self
            .wait("Release", &name, |release| {
                let stage = &release.data["status"]["stages"][0];
                matches!(stage["state"].as_str(), Some("Baking" | "Finalizing"))
                    || stage["outcome"].is_string()
            })
            .await?;
        match release.data["status"]["stages"][0]["outcome"].as_str() {
            None | Some("Succeeded") => Ok(()),
            Some(outcome) => bail!("{name} ended as {outcome}"),
        }
    }

    /// The number of the newest release.
    ///
    /// # Errors
    /// The API cannot be read.
    pub async fn last_number(&self) -> anyhow::Result<u64> {
        let object = self.api("DeploymentPipeline").get(self.name).await?;
        Ok(object.data["status"]["lastReleaseNumber"]
            .as_u64()
            .unwrap_or(0))
    }

    /// Waits until a rollback has ended.
    ///
    /// # Errors
    /// It has not within the limit.
    pub async fn rolled_back(&self) -> anyhow::Result<()> {
        self.wait("DeploymentPipeline", self.name, |object| {
            condition(object, "Stalled") == Some("True")
        })
        .await
        .map(drop)
    }

    /// Deletes it and waits until it is gone, and its containers with it.
    ///
    /// # Errors
    /// It is not gone within the limit.
    pub async fn delete(&self) -> anyhow::Result<()> {
        let api = self.api("DeploymentPipeline");
        api.delete(self.name, &DeleteParams::default()).await?;
        let gone = async {
            while api.get_opt(self.name).await?.is_some() {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            anyhow::Ok(())
        };
        tokio::time::timeout(PATIENCE, gone)
            .await
            .context("the pipeline did not go")?
    }

    /// The addresses of its instances, as its releases record them.
    ///
    /// # Errors
    /// The API cannot be read.
    pub async fn addresses(&self) -> anyhow::Result<Vec<String>> {
        let releases = self.api("Release").list(&ListParams::default()).await?;
        let mut addresses: Vec<String> = releases
            .iter()
            .filter(|release| release.data["spec"]["pipeline"] == self.name)
            .flat_map(|release| {
                release.data["status"]["stages"][0]["instances"]
                    .as_array()
                    .cloned()
                    .unwrap_or_default()
            })
            .filter(|instance| instance["ready"] == Value::Bool(true))
            .filter_map(|instance| instance["address"].as_str().map(str::to_owned))
            .collect();
        addresses.sort();
        Ok(addresses)
    }

    /// Watches one object until it is as wanted.
    async fn wait(
        &self,
        kind: &str,
        name: &str,
        wanted: impl Fn(&DynamicObject) -> bool,
    ) -> anyhow::Result<DynamicObject> {
        let config = watcher::Config::default().fields(&format!("metadata.name={name}"));
        let mut events = watcher(self.api(kind), config).default_backoff().boxed();
        let waiting = async {
            while let Some(event) = events.next().await {
                match event {
                    Ok(Event::Apply(object) | Event::InitApply(object)) if wanted(&object) => {
                        return Ok(object);
                    }
                    // The watcher starts again by itself, also before the kind exists; the limit below ends what
                    // does not recover.
                    Ok(_) | Err(_) => {}
                }
            }
            bail!("the watch of {kind} {name} ended")
        };
        match tokio::time::timeout(PATIENCE, waiting).await {
            Ok(object) => object,
            Err(_) => {
                let last = self.api(kind).get_opt(name).await?;
                bail!(
                    "{kind} {name} did not get there; its status: {}",
                    last.map_or(Value::Null, |object| {
                        eprintln!("bench: {}", object.name_any());
                        object.data["status"].clone()
                    })
                )
            }
        }
    }
}

fn condition<'a>(object: &'a DynamicObject, wanted: &str) -> Option<&'a str> {
    object.data["status"]["conditions"]
        .as_array()?
        .iter()
        .find(|condition| condition["type"] == wanted)?["status"]
        .as_str()
}
