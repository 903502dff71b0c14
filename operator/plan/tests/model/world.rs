//! The world and its driver: observe, decide, record, act, over and over, in driven time.

use std::collections::{BTreeMap, BTreeSet};

use crds::deployment_pipeline::RollbackTo;
use crds::{DeploymentPipeline, Reason, Release};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use plan::deployment_pipeline::{Record, decide};
use plan::{Plan, StepFailure};

use crate::app::{App, later};
use crate::engine::Host;

/// Milliseconds that one pass takes.
const PASS_MILLIS: i64 = 30;

/// Everything.
#[derive(Clone, Debug)]
pub struct World {
    pub now: Timestamp,
    pub pipeline: Option<DeploymentPipeline>,
    pub releases: BTreeMap<String, Release>,
    pub snapshots: BTreeMap<String, BTreeSet<String>>,
    /// The bytes of each ConfigMap that the template mounts, by name.
    pub config: BTreeMap<String, String>,
    pub hosts: BTreeMap<String, Host>,
    /// What the application of an image reference does.
    pub apps: BTreeMap<String, App>,
    pub failures: Vec<StepFailure>,
    /// Why the registry gives no image out; `None` while it does. Images whose reference begins with
    /// `registry/` come from there.
    pub registry: Option<Reason>,
    /// Every step that was done, as text.
    pub done: Vec<String>,
    /// Every Event.
    pub events: Vec<String>,
    /// Every promise that was broken.
    pub broken: Vec<String>,
    /// The operator dies after so many more effects.
    pub dies_after: Option<usize>,
    /// After so many steps the answer to one is lost; true: it was done all the same.
    pub hiccup: Option<(usize, bool)>,
    /// Steps whose text begins so are refused.
    pub refused: Vec<String>,
    /// True: something happened by itself during the last pass, so that another follows at once.
    pub stirred: bool,
    pub passes: usize,
    pub serial: u64,
}

impl World {
    /// A pipeline `shop` in namespace `default` on hosts with these names, with image `shop:1`.
    pub fn new(hosts: &[&str], replicas: u32) -> Self {
        let now: Timestamp = "2026-01-01T00:00:00.250Z".parse().unwrap();
        let pipeline: DeploymentPipeline = serde_json::from_value(serde_json::json!({
            "apiVersion": "mooring.dev/v1alpha1",
            "kind": "DeploymentPipeline",
            "metadata": {
                "name": "shop", "namespace": "default", "uid": "uid-1", "generation": 1,
                "creationTimestamp": "2026-01-01T00:00:00Z"
            },
            "spec": {
                "replicas": replicas,
                "source": {"image": "shop:1"},
                "traffic": {"port": 8080, "hosts": ["shop.example.com"]},
                "strategy": {"bakeSeconds": 5, "minReadySeconds": 1, "healthyDeadlineSeconds": 20, "progressDeadlineSeconds": 60}
            }
        }))
        .unwrap();
        Self {
            now,
            pipeline: Some(pipeline),
            releases: BTreeMap::new(),
            snapshots: BTreeMap::new(),
            config: BTreeMap::new(),
            hosts: hosts
                .iter()
                .map(|name| ((*name).to_owned(), Host::new()))
                .collect(),
            apps: BTreeMap::new(),
            failures: Vec::new(),
            registry: None,
            done: Vec::new(),
            events: Vec::new(),
            broken: Vec::new(),
            dies_after: None,
            hiccup: None,
            refused: Vec::new(),
            stirred: false,
            passes: 0,
            serial: 0,
        }
    }

    /// Changes the spec, as `kubectl apply` does.
    pub fn edit(&mut self, change: impl FnOnce(&mut crds::DeploymentPipelineSpec)) {
        if let Some(pipeline) = &mut self.pipeline {
            change(&mut pipeline.spec);
            let generation = pipeline.metadata.generation.unwrap_or(0);
            pipeline.metadata.generation = Some(generation + 1);
        }
    }

    /// Asks for another image, whose application is this.
    pub fn release(&mut self, image: &str, app: App) {
        self.apps.insert(image.to_owned(), app);
        self.edit(|spec| spec.source.image = image.to_owned());
    }

    /// Asks for an earlier release, or for none any more.
    pub fn go_back_to(&mut self, release: Option<&str>) {
        let to = release.map(|release| RollbackTo {
            release: release.to_owned(),
        });
        self.edit(|spec| spec.rollback_to = to);
    }

    /// Asks for a restart of everything.
    pub fn restart(&mut self) {
        let now = Time(self.now);
        self.edit(|spec| spec.restart_at = Some(now));
    }

    /// Ends a release's rollout, or takes that back.
    pub fn abort(&mut self, release: &str, on: bool) {
        if let Some(release) = self.releases.get_mut(release) {
            release.spec.abort = if on {
                vec!["default".to_owned()]
            } else {
                Vec::new()
            };
        }
    }

    /// Tries a release's rollout again.
    pub fn retry(&mut self, release: &str) {
        let now = Time(self.now);
        if let Some(release) = self.releases.get_mut(release) {
            release.spec.retry_at = Some(now);
        }
    }

    /// The application in an image.
    pub fn app(&self, image: &str) -> App {
        self.apps.get(image).cloned().unwrap_or_else(App::good)
    }

    /// What would be decided now.
    pub fn plan(&self) -> Option<Plan<Record>> {
        let pipeline = self.pipeline.as_ref()?;
        let observed = self.observe(pipeline);
        let mut plan = decide(pipeline, &observed, self.now);
        plan.hold_back(&self.failures, self.now);
        Some(plan)
    }

    /// One pass; the plan that was carried out.
    pub fn pass(&mut self) -> Option<Plan<Record>> {
        self.settle();
        let plan = self.plan()?;
        self.passes += 1;
        self.carry_out(&plan);
        let then = later(self.now, PASS_MILLIS);
        self.stirred = self.next_change().is_some_and(|at| at <= then);
        self.now = then;
        self.settle();
        Some(plan)
    }

    /// The next moment at which something happens by itself.
    fn next_change(&self) -> Option<Timestamp> {
        self.hosts
            .values()
            .filter_map(|host| host.next_change(self.now))
            .min()
    }

    /// Lets everything happen that happens by itself.
    pub fn settle(&mut self) {
        let now = self.now;
        for host in self.hosts.values_mut() {
            host.settle(now);
        }
    }

    /// Runs passes until nothing is left to do and nothing will happen by itself, or the time is
    /// over. True when it came to rest.
    pub fn rest(&mut self, seconds: i64) -> bool {
        let end = later(self.now, seconds * 1000);
        self.run_until(end, |_| false)
    }

    /// Runs passes for so many milliseconds.
    pub fn wait(&mut self, millis: i64) {
        let end = later(self.now, millis);
        self.run_until(end, |_| false);
        self.now = self.now.max(end);
        self.settle();
    }

    /// Runs passes until the operator is dead. True when it died before the world came to rest.
    pub fn dies(&mut self, seconds: i64) -> bool {
        let end = later(self.now, seconds * 1000);
        self.run_until(end, |world| world.dies_after == Some(0));
        self.dies_after == Some(0)
    }

    /// Runs passes until a condition holds. Panics when it never does.
    pub fn until(&mut self, what: &str, mut condition: impl FnMut(&World) -> bool) {
        let end = later(self.now, 3_600_000);
        self.run_until(end, &mut condition);
        assert!(condition(self), "{what} never holds\n{}", self.trace());
    }

    fn run_until(&mut self, end: Timestamp, mut condition: impl FnMut(&World) -> bool) -> bool {
        let budget = self.passes + 3000;
        loop {
            if condition(self) {
                return false;
            }
            let Some(plan) = self.pass() else { return true };
            if self.passes > budget {
                self.broken.push("passes without an end".to_owned());
                return false;
            }
            let due = plan.wake.is_some_and(|wake| wake <= self.now);
            if !plan.is_converged() || due || self.stirred {
                if self.now > end {
                    return false;
                }
                continue;
            }
            let next = self.next_change().into_iter().chain(plan.wake).min();
            match next {
                None => return true,
                Some(next) if next > end => {
                    self.now = end;
                    return false;
                }
                Some(next) => self.now = self.now.max(next),
            }
        }
    }

    /// What was done and what is now, for a failed test.
    pub fn trace(&self) -> String {
        let mut text = self.done.join("\n");
        text.push_str("\n-- now --\n");
        text.push_str(&self.picture());
        for broken in &self.broken {
            text.push_str(&format!("BROKEN {broken}\n"));
        }
        if let Some(status) = self.pipeline.as_ref().and_then(|p| p.status.as_ref()) {
            text.push_str(&format!("summary: {}\n", status.summary));
            for condition in &status.conditions {
                text.push_str(&format!(
                    "{:?} {:?} {:?} {}\n",
                    condition.type_, condition.status, condition.reason, condition.message
                ));
            }
        }
        for release in self.releases.values() {
            for stage in release.status.iter().flat_map(|s| &s.stages) {
                text.push_str(&format!(
                    "{} {:?} {:?} {:?}\n",
                    release.metadata.name.as_deref().unwrap_or(""),
                    stage.state,
                    stage.outcome,
                    stage
                        .instances
                        .iter()
                        .map(|i| format!("{}:{:?}", i.name, i.state))
                        .collect::<Vec<_>>()
                ));
            }
        }
        text
    }

    /// The containers and sections, one a line.
    pub fn picture(&self) -> String {
        let mut text = String::new();
        for (name, host) in &self.hosts {
            for container in host.containers.values() {
                let served = host
                    .entered
                    .get(&container.instance.to_string())
                    .map_or("-".to_owned(), |(state, _, _)| format!("{state:?}"));
                text.push_str(&format!(
                    "{name} {} {:?} {:?} {served}\n",
                    container.name, container.state, container.policy
                ));
            }
        }
        text
    }

    /// The summary that people see.
    pub fn summary(&self) -> String {
        self.pipeline
            .as_ref()
            .and_then(|p| p.status.as_ref())
            .map(|s| s.summary.clone())
            .unwrap_or_default()
    }
}
