//! A whole system in one process and one runtime: API server, operator, fake Engine, real proxies.
//!
//! Time is driven: tokio's clock stands still while anybody has something to do. An operator can be
//! stopped at any effect and another one started on the same world.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use apiserver::audit::Entry;
use apiserver::{Config, MemoryDisk, Server, Storage};
use bytes::Bytes;
use crds::{DeploymentPipeline, DockerHost};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use http::Request;
use jiff::Timestamp;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams, PostParams};
use kube::client::Body;
use kube::{Api, Client, ResourceExt};
use operator::clock::Clock;
use operator::gate::Gate;
use operator::hosts::machine::{HostRoute, Machine};
use operator::install::Install;
use operator::metrics::Metrics;
use operator::operator::{Handle as Running, Operator, Parts};
use operator::proxy_binary::ProxyBinaries;
use serde_json::{Value, json};
use tokio::time::Instant;
use tower::ServiceExt as _;

use crate::fake_engine::{Behaviour, EngineOptions, FakeEngine};
use crate::hearing::Hearing;
use crate::proxies::Proxies;
use crate::stop_gate::{Handle, StopGate};

/// The API's identity of the operator, in the audit log.
pub const OPERATOR: &str = "system:mooring";
/// How long nothing may happen before the world counts as settled: longer than any wait of a
/// healthy rollout in these tests, shorter than the driver's resync.
const QUIET: Duration = Duration::from_secs(45);
/// Nothing in these tests takes longer; a world that has not settled by then never will.
const TOO_LONG: Duration = Duration::from_secs(3600);

/// The clock of a world: tokio's, which tests pause, from a fixed beginning.
pub struct WorldClock {
    epoch: Timestamp,
    began: Instant,
}

impl WorldClock {
    fn new(epoch: Timestamp) -> Self {
        Self {
            epoch,
            began: Instant::now(),
        }
    }
}

impl Clock for WorldClock {
    fn now(&self) -> Timestamp {
        self.epoch
            .checked_add(self.began.elapsed())
            .unwrap_or(Timestamp::MAX)
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        tokio::time::sleep(duration).boxed()
    }
}

/// Everything but the operator, which comes and goes.
pub struct World {
    /// The Engine.
    pub engine: FakeEngine,
    /// The proxies in it.
    pub proxies: Arc<Proxies>,
    /// The API server.
    pub server: Server,
    /// The gate of the operator that runs.
    pub gate: Arc<StopGate>,
    /// What the operator that runs hears of.
    pub hearing: Arc<Hearing>,
    clock: Arc<WorldClock>,
    audit: Arc<Mutex<Vec<Entry>>>,
    operator: Option<Running>,
    install: Install,
    directory: PathBuf,
    between: Arc<Mutex<Between>>,
}

/// What happens to a request of the operator on its way to the API.
type Between = Box<dyn FnMut(&mut Request<Body>) + Send>;

/// A machine without routes or listeners.
struct Desert;

impl Machine for Desert {
    fn routes(&self) -> Result<Vec<HostRoute>, String> {
        Ok(Vec::new())
    }

    fn listener(&self, _port: u16) -> Option<String> {
        None
    }
}

static WORLDS: AtomicU64 = AtomicU64::new(0);

impl World {
    /// A world with one DockerHost that grants all namespaces, the images shop:1.0 (good), shop:2.0
    /// (good) and shop:3.0 (never ready), and no operator yet.
    pub async fn new() -> Self {
        Self::on(EngineOptions::default()).await
    }

    /// As [`World::new`], on an Engine of this kind.
    pub async fn on(options: EngineOptions) -> Self {
        let engine = FakeEngine::new(options);
        for (tag, behaviour) in [
            ("shop:1.0", Behaviour::version("v1")),
            ("shop:2.0", Behaviour::version("v2")),
            ("shop:3.0", Behaviour::never_ready("v3")),
        ] {
            let version = format!("LABEL version={}", behaviour.version);
            engine.add_image(tag, behaviour, &[&version]);
        }
        let nth = WORLDS.fetch_add(1, Ordering::Relaxed);
        let directory =
            std::env::temp_dir().join(format!("mooring-world-{}-{nth}", std::process::id()));
        std::fs::create_dir_all(&directory).expect("a temporary directory can be made");
        let proxies = Proxies::install(&engine, directory.clone());
        let clock = Arc::new(WorldClock::new(engine.now()));
        let audit = Arc::new(Mutex::new(Vec::new()));
        let server = server(&clock, &audit).await;
        let world = Self {
            engine,
            proxies,
            server,
            gate: StopGate::open(),
            hearing: Arc::default(),
            clock,
            audit,
            operator: None,
            install: Install::random(),
            directory,
            between: Arc::new(Mutex::new(Box::new(|_| {}))),
        };
        world.declare().await;
        world
    }

    /// What `mooring up` puts there before it begins.
    async fn declare(&self) {
        let client = self.person();
        let definitions = Api::all(client.clone());
        for crd in crds::all() {
            definitions
                .create(&PostParams::default(), &crd)
                .await
                .expect("the definition is taken");
        }
        let namespaces: Api<k8s_openapi::api::core::v1::Namespace> = Api::all(client.clone());
        let system = serde_json::from_value(json!({"metadata": {"name": "mooring-system"}}));
        namespaces
            .create(&PostParams::default(), &system.expect("a namespace"))
            .await
            .expect("it is made");
        let host = json!({
            "apiVersion": "mooring.dev/v1alpha1", "kind": "DockerHost", "metadata": {"name": "local"},
            "spec": {"allowedNamespaces": ["*"]},
        });
        let hosts: Api<DockerHost> = Api::all(client);
        let host = serde_json::from_value(host).expect("a host");
        hosts
            .create(&PostParams::default(), &host)
            .await
            .expect("the host is taken");
    }

    /// A person's client: not gated, not counted.
    pub fn person(&self) -> Client {
        Client::new(self.server.service("alice"), "default")
    }

    /// Starts an operator on this world, and waits until its controllers run.
    pub async fn start(&mut self) {
        self.gate = StopGate::open();
        let gate: Arc<dyn Gate> = Arc::new(Handle(Arc::clone(&self.gate)));
        let engine = self.engine.clone();
        self.hearing = Arc::default();
        self.hearing.over(&engine);
        let hearing = Arc::clone(&self.hearing);
        let api = self.server.service(OPERATOR);
        let api = api.map_response(move |answer| hearing.answer(answer));
        let between = Arc::clone(&self.between);
        let api = api.map_request(move |mut request| {
            between.lock().unwrap_or_else(PoisonError::into_inner)(&mut request);
            request
        });
        let running = Operator::start(Parts {
            client: operator::api::client(api, Arc::clone(&gate)),
            clock: Arc::clone(&self.clock) as Arc<dyn Clock>,
            gate,
            dial: Arc::new(move |_| engine.dialer()),
            machine: Arc::new(Desert),
            proxy_binaries: ProxyBinaries::fixed(Bytes::from_static(
                b"the proxy runs in this process",
            )),
            seed: 7,
            identity: "mooring-under-test".to_owned(),
            system_namespace: "mooring-system".to_owned(),
            fresh_install: self.install.clone(),
            metrics: Metrics::new(),
        });
        running.started().await.expect("the operator starts");
        self.operator = Some(running);
    }

    /// From now on, what this makes of a request of the operator is what the API gets.
    pub fn between(&self, change: impl FnMut(&mut Request<Body>) + Send + 'static) {
        *self.between.lock().unwrap_or_else(PoisonError::into_inner) = Box::new(change);
    }

    /// Ends the operator in the middle of whatever it does.
    pub fn kill(&mut self) {
        self.operator = None;
    }

    /// Applies an object as `kubectl apply --server-side` does.
    pub async fn apply(&self, manifest: Value) {
        self.try_apply(manifest).await.expect("it is taken");
    }

    /// The same, where it may be refused.
    ///
    /// # Errors
    /// It is.
    pub async fn try_apply(&self, manifest: Value) -> Result<(), kube::Error> {
        let word = |pointer: &str| manifest.pointer(pointer).and_then(Value::as_str);
        let (Some(version), Some(kind), Some(name)) =
            (word("/apiVersion"), word("/kind"), word("/metadata/name"))
        else {
            panic!("no object: {manifest}")
        };
        let name = name.to_owned();
        let objects = self.objects(version, kind);
        let params = PatchParams::apply("kubectl").force();
        let params = PatchParams {
            field_validation: Some(kube::api::ValidationDirective::Strict),
            ..params
        };
        objects
            .patch(&name, &params, &Patch::Apply(manifest))
            .await
            .map(drop)
    }

    /// The objects of a kind in namespace `default`.
    pub fn objects(&self, api_version: &str, kind: &str) -> Api<DynamicObject> {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let kind = GroupVersionKind::gvk(group, version, kind);
        let resource = ApiResource::from_gvk(&kind);
        Api::namespaced_with(self.person(), "default", &resource)
    }

    /// The pipelines of namespace `default`.
    pub fn pipelines(&self) -> Api<DeploymentPipeline> {
        Api::namespaced(self.person(), "default")
    }

    /// Waits until nothing has happened for a while: no effect, no change in the API.
    ///
    /// # Panics
    /// When that never comes.
    pub async fn settle(&self) {
        let deadline = Instant::now() + TOO_LONG;
        let mut last = self.activity();
        loop {
            tokio::time::sleep(QUIET).await;
            let now = self.activity();
            if now == last {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "the world does not settle: {:#?}",
                self.recent()
            );
            last = now;
        }
    }

    /// Everything that counts as something having happened.
    fn activity(&self) -> (usize, usize, Option<u64>) {
        let version = self.proxies.status().map(|status| status.version);
        (self.engine.ledger().len(), self.writes().len(), version)
    }

    /// The operator's writes to the API that changed something; Lease renewals and Events are none.
    pub fn writes(&self) -> Vec<Entry> {
        let audit = self.audit.lock().unwrap_or_else(PoisonError::into_inner);
        let counted = |entry: &&Entry| {
            entry.user == OPERATOR && entry.resource != "leases" && entry.resource != "events"
        };
        audit.iter().filter(counted).cloned().collect()
    }

    fn recent(&self) -> Vec<String> {
        let ledger = self.engine.ledger();
        let engine = ledger
            .iter()
            .rev()
            .take(20)
            .map(|done| format!("{} {}", done.verb, done.target));
        let writes = self.writes();
        let api = writes
            .iter()
            .rev()
            .take(20)
            .map(|entry| format!("{} {} {}", entry.verb, entry.resource, entry.name));
        engine.chain(api).collect()
    }

    /// Waits until `holds`, looking every 20 ms of driven time.
    ///
    /// # Panics
    /// When that never comes.
    pub async fn until(&self, what: &str, mut holds: impl AsyncFnMut(&World) -> bool) {
        let deadline = Instant::now() + TOO_LONG;
        while !holds(self).await {
            assert!(
                Instant::now() < deadline,
                "{what} never came: {:#?}",
                self.recent()
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The status of one condition of a pipeline, with its reason.
    pub async fn condition(
        &self,
        pipeline: &str,
        type_: crds::ConditionType,
    ) -> Option<(crds::ConditionStatus, crds::Reason)> {
        let object = self
            .pipelines()
            .get_opt(pipeline)
            .await
            .expect("the API answers")?;
        let generation = object.metadata.generation.unwrap_or_default();
        let status = object.status?;
        let found = status
            .conditions
            .into_iter()
            .find(|condition| condition.type_ == type_)?;
        (found.observed_generation == generation).then_some((found.status, found.reason))
    }

    /// The names of all objects of a kind in namespace `default`.
    pub async fn names<K>(&self) -> Vec<String>
    where
        K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
            + Clone
            + serde::de::DeserializeOwned
            + std::fmt::Debug,
    {
        let api: Api<K> = Api::namespaced(self.person(), "default");
        let list = api
            .list(&kube::api::ListParams::default())
            .await
            .expect("the API answers");
        list.items.iter().map(ResourceExt::name_any).collect()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.operator = None;
        // Only the proxies' tables are in it; a directory that stays does no harm.
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

async fn server(clock: &Arc<WorldClock>, audit: &Arc<Mutex<Vec<Entry>>>) -> Server {
    let mut config = Config::new(Storage::Memory(MemoryDisk::default()));
    let time = Arc::clone(clock);
    config.clock = Arc::new(move || time.now());
    let entries = Arc::clone(audit);
    config.audit = Some(Arc::new(move |entry: &Entry| {
        entries
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(entry.clone());
    }));
    Server::start(config)
        .await
        .expect("the server starts on an empty disk")
}

/// A pipeline of three replicas of `image`, brisk.
pub fn shop(image: &str, replicas: u32) -> Value {
    json!({
        "apiVersion": "mooring.dev/v1alpha1", "kind": "DeploymentPipeline",
        "metadata": {"name": "shop", "namespace": "default"},
        "spec": {
            "replicas": replicas,
            "source": {"image": image},
            "template": {
                "containers": [{
                    "name": "main",
                    "readinessProbe": {"httpGet": {"path": "/ready", "port": 8080}, "periodSeconds": 1},
                }],
                "terminationGracePeriodSeconds": 5,
            },
            "traffic": {"port": 8080, "hosts": ["shop.example.com"]},
            "strategy": {
                "minReadySeconds": 1, "healthyDeadlineSeconds": 10, "progressDeadlineSeconds": 60,
                "bakeSeconds": 3,
            },
        },
    })
}
