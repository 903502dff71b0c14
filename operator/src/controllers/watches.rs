//! The watches of the API: each event puts objects into the line that `driver::run` works off.
//!
//! Configuration is watched only in namespaces that have a pipeline, so that the operator needs no right to read the
//! Secrets of others, and by metadata only, so that no secret byte is in its memory without need.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use crds::labels::OBJECT_PIPELINE;
use crds::{Condition, ConditionType, DeploymentPipeline, DockerHost, DockerHostSpec, Release};
use futures::{Stream, TryStreamExt as _};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::Api;
use kube::core::PartialObjectMeta;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, Event};
use kube::{Resource, ResourceExt as _};
use serde::de::DeserializeOwned;
use tokio::task::JoinSet;
use tracing::warn;

use crate::backoff;
use crate::context::Context;
use crate::wakes::Wakes;

/// A watch of what is looked at begins anew this often, up to a fifth sooner or later, with a list: if the one event that
/// tells of an object gets lost, nobody would ever look at it.
const RELIST: Duration = Duration::from_secs(300);

/// Listens to a watch that `begin` makes, and to another one every [`RELIST`].
async fn listen_anew<K, E>(
    context: &Context,
    begin: impl Fn() -> E,
    what: &str,
    mut hear: impl FnMut(Event<K>),
) where
    E: Stream<Item = Result<Event<K>, watcher::Error>> + Send,
{
    loop {
        let rest = backoff::spread(RELIST, context.jitter.next());
        tokio::select! {
            () = listen(begin(), what, &mut hear) => {}
            () = context.clock.sleep(rest) => {}
        }
    }
}

/// Hands every event of a watch to `hear`, for ever; errors are logged and waited out.
async fn listen<K, E>(stream: E, what: &str, mut hear: impl FnMut(Event<K>))
where
    E: Stream<Item = Result<Event<K>, watcher::Error>> + Send,
{
    let mut stream = pin!(stream);
    loop {
        match stream.try_next().await {
            Ok(Some(event)) => hear(event),
            Ok(None) => {
                // Only a stream without its own retries ends; there is none.
                warn!(what, "a watch ended");
                std::future::pending::<()>().await;
            }
            Err(error) => warn!(what, %error, "a watch failed; it begins anew"),
        }
    }
}

/// An API that gives out metadata only.
type Metadata<K> = Api<PartialObjectMeta<K>>;

/// What of a DockerHost concerns pipelines: not the number of its instances, which each of them changes.
#[derive(PartialEq)]
struct Facet {
    spec: DockerHostSpec,
    is_deleted: bool,
    ready: Option<Condition>,
    host_id: Option<String>,
    networks: Vec<crds::docker_host::NetworkStatus>,
}

impl Facet {
    fn of(host: &DockerHost) -> Facet {
        let status = host.status.clone().unwrap_or_default();
        Facet {
            spec: host.spec.clone(),
            is_deleted: host.metadata.deletion_timestamp.is_some(),
            ready: status
                .conditions
                .into_iter()
                .find(|condition| condition.type_ == ConditionType::Ready),
            host_id: status.host_id,
            networks: status.networks,
        }
    }
}

/// DockerHosts: each gets its connections, and pipelines hear of what concerns them.
pub(super) async fn docker_hosts(context: &Context) {
    let api: Api<DockerHost> = Api::all(context.client.clone());
    let watch = || watcher::watcher(api.clone(), watcher::Config::default()).default_backoff();
    let mut facets: BTreeMap<String, Facet> = BTreeMap::new();
    let mut listed: BTreeSet<String> = BTreeSet::new();
    let forget = |name: &str| {
        context.hosts.remove(name);
        context.wakes.all_hosts();
        context.wakes.host(name);
        context.wakes.all_pipelines();
    };
    listen_anew(context, watch, "DockerHosts", |event| match event {
        Event::Init => listed.clear(),
        Event::InitApply(host) | Event::Apply(host) => {
            let name = host.name_any();
            listed.insert(name.clone());
            context.hosts.ensure(&name, &host.spec.endpoint);
            context.wakes.host(&name);
            let facet = Facet::of(&host);
            if facets.get(&name) != Some(&facet) {
                facets.insert(name, facet);
                context.wakes.all_pipelines();
            }
        }
        Event::Delete(host) => {
            let name = host.name_any();
            facets.remove(&name);
            forget(&name);
        }
        Event::InitDone => {
            for name in context.hosts.names() {
                if !listed.contains(&name) {
                    facets.remove(&name);
                    forget(&name);
                }
            }
        }
    })
    .await;
}

/// Pipelines: each wakes itself, and the hosts when a namespace gets its first or loses its last.
pub(super) async fn pipelines(context: &Arc<Context>) {
    let api: Metadata<DeploymentPipeline> = Api::all(context.client.clone());
    let watch = || watcher::watcher(api.clone(), watcher::Config::default()).default_backoff();
    let mut configuration = Configuration::new(context);
    listen_anew(context, watch, "DeploymentPipelines", |event| match event {
        Event::Init => configuration.begin(),
        Event::InitApply(pipeline) | Event::Apply(pipeline) => {
            let (namespace, name) = place(&pipeline);
            context.wakes.pipeline(&namespace, &name);
            if configuration.add(&namespace, &name) {
                context.wakes.all_hosts();
            }
        }
        Event::Delete(pipeline) => {
            let (namespace, name) = place(&pipeline);
            context.wakes.pipeline(&namespace, &name);
            configuration.remove(&namespace, &name);
            context.wakes.all_hosts();
        }
        Event::InitDone => {
            for (namespace, name) in configuration.finish() {
                context.wakes.pipeline(&namespace, &name);
            }
            context.wakes.all_hosts();
        }
    })
    .await;
}

/// Releases: the pipeline that each belongs to.
pub(super) async fn releases(context: &Context) {
    let api: Metadata<Release> = Api::all(context.client.clone());
    let stream = watcher::watcher(api, watcher::Config::default()).default_backoff();
    listen(stream, "Releases", |event| match event {
        Event::InitApply(release) | Event::Apply(release) | Event::Delete(release) => {
            let owner = release.labels().get(OBJECT_PIPELINE).cloned().or_else(|| {
                release
                    .owner_references()
                    .first()
                    .map(|owner| owner.name.clone())
            });
            if let Some(owner) = owner {
                let namespace = release.namespace().unwrap_or_default();
                context.wakes.pipeline(&namespace, &owner);
            }
        }
        Event::Init | Event::InitDone => {}
    })
    .await;
}

fn place<K: Resource>(object: &K) -> (String, String) {
    (object.namespace().unwrap_or_default(), object.name_any())
}

/// The pipelines that exist, by namespace, and the watches of configuration beside them.
struct Configuration {
    client: kube::Client,
    wakes: Wakes,
    namespaces: BTreeMap<String, Namespace>,
    /// What a new listing has shown so far.
    listed: BTreeSet<(String, String)>,
}

/// One namespace; its watches end with it.
struct Namespace {
    pipelines: BTreeSet<String>,
    _watches: JoinSet<()>,
}

impl Configuration {
    fn new(context: &Context) -> Configuration {
        Configuration {
            client: context.client.clone(),
            wakes: context.wakes.clone(),
            namespaces: BTreeMap::new(),
            listed: BTreeSet::new(),
        }
    }

    /// A new listing begins.
    fn begin(&mut self) {
        self.listed.clear();
    }

    /// A pipeline exists. True: it was not known.
    fn add(&mut self, namespace: &str, name: &str) -> bool {
        self.listed.insert((namespace.to_owned(), name.to_owned()));
        if !self.namespaces.contains_key(namespace) {
            let watches = self.watch(namespace);
            let entry = Namespace {
                pipelines: BTreeSet::new(),
                _watches: watches,
            };
            self.namespaces.insert(namespace.to_owned(), entry);
        }
        self.namespaces
            .get_mut(namespace)
            .is_some_and(|entry| entry.pipelines.insert(name.to_owned()))
    }

    /// A pipeline is gone.
    fn remove(&mut self, namespace: &str, name: &str) {
        if let Some(entry) = self.namespaces.get_mut(namespace) {
            entry.pipelines.remove(name);
            if entry.pipelines.is_empty() {
                self.namespaces.remove(namespace);
            }
        }
    }

    /// The listing is complete: gives what was known and is not in it.
    fn finish(&mut self) -> Vec<(String, String)> {
        let gone: Vec<(String, String)> = self
            .namespaces
            .iter()
            .flat_map(|(namespace, entry)| {
                entry
                    .pipelines
                    .iter()
                    .map(|name| (namespace.clone(), name.clone()))
            })
            .filter(|key| !self.listed.contains(key))
            .collect();
        for (namespace, name) in &gone {
            self.remove(namespace, name);
        }
        gone
    }

    fn watch(&self, namespace: &str) -> JoinSet<()> {
        let mut tasks = JoinSet::new();
        let secrets: Metadata<Secret> = Api::namespaced(self.client.clone(), namespace);
        let maps: Metadata<ConfigMap> = Api::namespaced(self.client.clone(), namespace);
        tasks.spawn(configuration(
            secrets,
            namespace.to_owned(),
            self.wakes.clone(),
        ));
        tasks.spawn(configuration(
            maps,
            namespace.to_owned(),
            self.wakes.clone(),
        ));
        tasks
    }
}

/// ConfigMaps or Secrets of one namespace: whatever changes wakes its pipelines. Snapshots are not among them.
async fn configuration<K>(api: Metadata<K>, namespace: String, wakes: Wakes)
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let config = watcher::Config::default().labels(&format!("!{OBJECT_PIPELINE}"));
    let what = format!("{}s of {namespace}", K::kind(&()));
    let stream = watcher::watcher(api, config).default_backoff();
    listen(stream, &what, |event| match event {
        Event::Apply(_) | Event::Delete(_) | Event::InitDone => wakes.pipelines_in(&namespace),
        Event::Init | Event::InitApply(_) => {}
    })
    .await;
}
