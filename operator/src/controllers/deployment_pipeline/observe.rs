//! Reads every fact that one pass over a pipeline needs, live.
//!
//! Owns the translation from the Engine's, the proxy's and the API's words into those of `plan`.
//! Must not judge: a part that cannot be read is handed on as unknown, with the reason. The API
//! itself being unreadable ends the pass.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::Arc;

use bollard::models::ContainerSummary;
use crds::labels::Role;
use crds::names::{self, InstanceName};
use crds::{DeploymentPipeline, DockerHost, Release};
use futures::future::join_all;
use kube::api::ListParams;
use kube::{Api, ResourceExt as _};
use plan::deployment_pipeline::Observed;
use plan::fact::{ContainerFacts, HostFacts, NetworkFacts, ProxyFacts};
use plan::{Fact, StepFailure};

use super::declared::{blocked, grants, recorded_addresses};
use super::endpoints::{address_on, addresses, display_name};
use super::{Pipelines, inspect, resolve};
use crate::addresses::{Reading, Reservation};
use crate::context::Context;
use crate::docker::{Outcome, containers, images, networks, volumes};
use crate::driver::ObserveError;
use crate::hosts::Host;
use crate::image;
use crate::registry::credentials::PullSecrets;
use crate::signature::{self, ObjectKind};
use crate::wakes::ObjectKey;

/// What one pass has seen, with the addresses that are held for it.
pub struct Seen {
    /// The facts, as `plan` takes them.
    pub observed: Observed,
    /// Every Release of the pipeline, for steps that name one.
    pub releases: BTreeMap<String, Release>,
    /// The chance that pulls of this pass belong to: see `Look::chance`.
    pub chance: u64,
    /// Keeps the addresses in `observed` from everybody else until the pass is over.
    _reservations: Vec<Reservation>,
}

/// One pipeline as its observation goes through the hosts.
pub(super) struct Look<'a> {
    pub context: &'a Context,
    pub pipelines: &'a Pipelines,
    pub pipeline: &'a DeploymentPipeline,
    pub namespace: String,
    pub name: String,
    /// Releases of this pipeline.
    pub releases: Vec<Release>,
    /// What its image's registry is shown.
    pub pull_secrets: PullSecrets,
    /// A number that another spec or other credentials change: with it a registry gets a new chance.
    pub chance: u64,
    /// Addresses of instances in any Release of the namespace, by host.
    pub recorded: BTreeMap<String, BTreeSet<Ipv4Addr>>,
    /// Tells the facts read here from what is done meanwhile.
    reading: Reading,
}

/// Reads everything.
///
/// # Errors
/// The API could not be read.
pub(super) async fn observe(
    pipelines: &Pipelines,
    pipeline: &DeploymentPipeline,
    failures: Vec<StepFailure>,
) -> Result<Seen, ObserveError> {
    let context: &Context = &pipelines.context;
    let reading = context.addresses.reading();
    let namespace = pipeline.namespace().unwrap_or_default();
    let name = pipeline.name_any();
    let all = Api::<Release>::namespaced(context.client.clone(), &namespace)
        .list(&ListParams::default())
        .await?
        .items;
    let recorded = recorded_addresses(&all);
    let releases: Vec<Release> = all
        .into_iter()
        .filter(|release| release.spec.pipeline == name)
        .collect();
    let declared = Api::<DockerHost>::all(context.client.clone())
        .list(&ListParams::default())
        .await?;
    let pull_secrets = PullSecrets::of_pipeline(&context.client, pipeline).await?;
    let look = Look {
        context,
        pipelines,
        pipeline,
        namespace,
        name,
        releases,
        chance: pull_secrets.chance(pipeline),
        pull_secrets,
        recorded,
        reading,
    };
    let concerned: Vec<&DockerHost> = declared
        .items
        .iter()
        .filter(|host| look.concerns(host))
        .collect();
    let engines: Vec<Arc<Host>> = concerned
        .iter()
        .filter(|host| grants(host, &look.namespace))
        .filter_map(|host| context.hosts.get(&host.name_any()))
        .collect();
    let target = resolve::target(&look, &engines).await?;
    let snapshots = resolve::snapshots(&look, &target).await?;
    let mut hosts = BTreeMap::new();
    let mut reservations = Vec::new();
    for (host, (facts, reservation)) in join_all(concerned.iter().map(|host| look.host(host)))
        .await
        .into_iter()
        .enumerate()
    {
        hosts.insert(concerned[host].name_any(), facts);
        reservations.extend(reservation);
    }
    let by_name = look
        .releases
        .iter()
        .map(|release| (release.name_any(), release.clone()))
        .collect();
    Ok(Seen {
        observed: Observed {
            hosts,
            releases: look.releases,
            target,
            snapshots,
            failures,
        },
        releases: by_name,
        chance: look.chance,
        _reservations: reservations,
    })
}

impl Look<'_> {
    /// Whether the pipeline has anything to do with a host: it is granted, or instances are there.
    fn concerns(&self, host: &DockerHost) -> bool {
        let name = host.name_any();
        let stages = self
            .releases
            .iter()
            .filter_map(|r| r.status.as_ref())
            .flat_map(|s| &s.stages);
        grants(host, &self.namespace)
            || stages
                .flat_map(|stage| &stage.instances)
                .any(|instance| instance.host == name)
    }

    /// The pipeline, for waking it.
    pub(super) fn key(&self) -> ObjectKey {
        ObjectKey {
            namespace: Some(self.namespace.clone()),
            name: self.name.clone(),
        }
    }

    async fn host(&self, object: &DockerHost) -> (HostFacts, Option<Reservation>) {
        let name = object.name_any();
        let mut facts = HostFacts {
            schedulable: grants(object, &self.namespace)
                && !object.spec.cordoned
                && object.metadata.deletion_timestamp.is_none(),
            blocked: blocked(object),
            network: Fact::Unknown(String::new()),
            containers: Fact::Unknown(String::new()),
            leftovers: BTreeSet::new(),
            foreign: BTreeMap::new(),
            proxy: Fact::Unknown(String::new()),
            images: Fact::Unknown(String::new()),
            pulls: self.pipelines.pulls.of(&self.key(), &name, self.chance),
            addresses: Vec::new(),
        };
        let Some(host) = self.context.hosts.get(&name) else {
            let why = format!("host {name} is not connected yet");
            facts.unknown_everywhere(&why);
            return (facts, None);
        };
        match self.engine(&host, &mut facts).await {
            Ok(reservation) => (facts, reservation),
            Err(outcome) => {
                facts.unknown_everywhere(&format!("host {name}: {outcome}"));
                (facts, None)
            }
        }
    }

    /// Everything that the Engine and the proxy of one host say. An error means that the Engine
    /// could not be read completely.
    async fn engine(
        &self,
        host: &Arc<Host>,
        facts: &mut HostFacts,
    ) -> Result<Option<Reservation>, Outcome> {
        let engine = host.engine().await?;
        let all = containers::list(&engine, &[]).await?;
        let bridge = self.bridge(host, &all).await?;
        let status = host.proxy.status(&[]).await;
        let proxy = match &status {
            Ok(status) => Fact::Known(self.proxy(status)),
            Err(error) => Fact::Unknown(format!("the proxy of host {}: {error}", host.name)),
        };
        let (ours, leftovers) = self.ours(host, &all, facts).await?;
        let mut found = Vec::new();
        for (id, signed) in ours {
            let seen = inspect::container(
                self,
                host,
                &engine,
                &id,
                signed,
                bridge.as_ref(),
                status.as_ref().ok(),
            );
            found.extend(seen.await?);
        }
        facts.leftovers = leftovers
            .into_iter()
            .filter(|name| {
                !found
                    .iter()
                    .any(|container: &ContainerFacts| container.instance == *name)
            })
            .collect();
        facts.images = Fact::Known(self.images(&images::list(&engine, &[]).await?));
        host.is_open(&engine).await?;
        facts.containers = Fact::Known(found);
        facts.proxy = proxy;
        let reservation = match (&bridge, &status) {
            (Some(bridge), Ok(status)) => Some(self.reserve(host, bridge, &all, status)),
            (Some(_) | None, Ok(_) | Err(_)) => None,
        };
        facts.network = Fact::Known(bridge);
        facts.addresses = reservation
            .as_ref()
            .map(|held| held.addresses.clone())
            .unwrap_or_default();
        Ok(reservation)
    }

    /// The namespace's bridge: of several that are ours the oldest, since a retried create can
    /// leave two (F4).
    async fn bridge(
        &self,
        host: &Host,
        all: &[ContainerSummary],
    ) -> Result<Option<NetworkFacts>, Outcome> {
        let engine = host.engine().await?;
        let label = format!("{}={}", crds::labels::NAMESPACE, self.namespace);
        let mut bridges = networks::list(&engine, &[label]).await?;
        let key = &self.context.install.key;
        bridges.retain(|network| {
            let labels = network.labels.clone().unwrap_or_default();
            signature::verify(key, ObjectKind::Network, &labels)
                .is_some_and(|signed| signed.role == Role::Bridge)
        });
        bridges.sort_by(|a, b| (&a.created, &a.id).cmp(&(&b.created, &b.id)));
        let Some(network) = bridges.into_iter().next() else {
            return Ok(None);
        };
        let id = network.id.unwrap_or_default();
        let subnet = network
            .ipam
            .and_then(|ipam| ipam.config)
            .and_then(|configs| configs.into_iter().find_map(|config| config.subnet))
            .unwrap_or_default();
        let foreign = all
            .iter()
            .filter(|container| !self.is_ours(container))
            .filter_map(|container| Some((display_name(container), address_on(container, &id)?)))
            .collect();
        Ok(Some(NetworkFacts {
            id,
            subnet,
            foreign,
        }))
    }

    /// Whether a container carries our signature, of whatever pipeline.
    fn is_ours(&self, container: &ContainerSummary) -> bool {
        let labels = container.labels.clone().unwrap_or_default();
        signature::verify(&self.context.install.key, ObjectKind::Container, &labels).is_some()
    }

    /// IDs and names of this pipeline's containers, and the instances of which something else is
    /// left. Names in our form that others hold go into the facts.
    async fn ours(
        &self,
        host: &Host,
        all: &[ContainerSummary],
        facts: &mut HostFacts,
    ) -> Result<(Vec<(String, InstanceName)>, BTreeSet<InstanceName>), Outcome> {
        let prefix = format!("{}.{}.", self.namespace, self.name);
        let key = &self.context.install.key;
        let mut ours = Vec::new();
        let mut leftovers = BTreeSet::new();
        for container in all {
            let id = container.id.clone().unwrap_or_default();
            let labels = container.labels.clone().unwrap_or_default();
            match signature::verify(key, ObjectKind::Container, &labels) {
                Some(signed) => match (signed.role, signed.instance) {
                    (Role::Instance, Some(instance)) if self.owns(&instance) => {
                        if self.is_itself(container, &instance) {
                            ours.push((id, instance));
                        } else {
                            facts.foreign.extend(held(container, &prefix));
                        }
                    }
                    (Role::Helper, Some(instance)) if self.owns(&instance) => {
                        leftovers.insert(instance);
                    }
                    _ => {}
                },
                None => facts.foreign.extend(held(container, &prefix)),
            }
        }
        let engine = host.engine().await?;
        let labels = [
            format!("{}={}", crds::labels::NAMESPACE, self.namespace),
            format!("{}={}", crds::labels::PIPELINE, self.name),
        ];
        for volume in volumes::list(&engine, &labels).await? {
            let labels = volume.labels;
            match signature::verify(key, ObjectKind::Volume, &labels) {
                Some(signed) if signed.role == Role::Scratch => leftovers.extend(signed.instance),
                Some(_) | None => {}
            }
        }
        Ok((ours, leftovers))
    }

    /// Whether a container with the signed labels of an instance is that instance: it has the name, or it was renamed
    /// and is the one that the Release recorded. Anything else carries a copy of the labels.
    fn is_itself(&self, container: &ContainerSummary, instance: &InstanceName) -> bool {
        let name = instance.to_string();
        let mut names = container.names.iter().flatten();
        if names.any(|held| held.trim_start_matches('/') == name) {
            return true;
        }
        let statuses = self
            .releases
            .iter()
            .filter_map(|release| release.status.as_ref());
        let mut recorded = statuses
            .flat_map(|status| &status.stages)
            .flat_map(|stage| &stage.instances);
        recorded
            .any(|recorded| recorded.name == name && Some(&recorded.id) == container.id.as_ref())
    }

    fn owns(&self, instance: &InstanceName) -> bool {
        instance.namespace == self.namespace && instance.pipeline == self.name
    }

    /// IDs of the references that this pipeline may need on the host.
    fn images(&self, listed: &[bollard::models::ImageSummary]) -> BTreeMap<String, Option<String>> {
        let known: BTreeMap<&str, &str> = listed
            .iter()
            .flat_map(|image| {
                let names = image.repo_tags.iter().chain(&image.repo_digests);
                names.map(|name| (name.as_str(), image.id.as_str()))
            })
            .collect();
        let retained = self.releases.iter().filter_map(|release| {
            let revision = names::Revision::parse(&release.spec.revision)?;
            Some(names::retained_image(
                &self.namespace,
                &self.name,
                &revision,
            ))
        });
        let declared = self
            .releases
            .iter()
            .map(|release| release.spec.image.reference.clone());
        let pulled = self
            .releases
            .iter()
            .filter_map(|release| release.spec.image.pulled());
        let own = known.keys().filter(|tag| {
            names::retained_by(tag) == Some((self.namespace.as_str(), self.name.as_str()))
        });
        retained
            .chain(own.map(|tag| (*tag).to_owned()))
            .chain(declared)
            .chain(pulled)
            .chain([self.pipeline.spec.source.image.clone()])
            .map(|reference| {
                let id = known
                    .get(image::normal(&reference).as_str())
                    .map(|id| (*id).to_owned());
                (reference, id)
            })
            .collect()
    }

    /// What the proxy says of this pipeline.
    fn proxy(&self, status: &routes::Status) -> ProxyFacts {
        let key = routes::SectionKey::new(&self.namespace, &self.name, crds::DEFAULT_STAGE);
        let section = status.sections.get(&key);
        let counted = section
            .iter()
            .flat_map(|section| section.instances.values());
        let mut in_flight: BTreeMap<String, u64> = counted
            .map(|instance| (instance.container_id.clone(), instance.in_flight()))
            .collect();
        for leaving in status.leaving.iter().filter(|leaving| leaving.key == key) {
            *in_flight.entry(leaving.container_id.clone()).or_default() +=
                leaving.requests + leaving.streams;
        }
        ProxyFacts {
            section: section.map(|section| section.section.clone()),
            persisted: status.persisted,
            in_flight,
            conflicts: status
                .conflicts
                .iter()
                .filter(|conflict| conflict.claimant == key)
                .map(|conflict| (conflict.route.to_string(), conflict.holder.to_string()))
                .collect(),
            listener_error: listener_error(&status.listener),
        }
    }

    /// Holds addresses that nobody uses, has been promised or is still routed to.
    fn reserve(
        &self,
        host: &Host,
        bridge: &NetworkFacts,
        all: &[ContainerSummary],
        status: &routes::Status,
    ) -> Reservation {
        let mut in_use: BTreeSet<Ipv4Addr> = all.iter().flat_map(addresses).collect();
        in_use.extend(self.recorded.get(&host.name).into_iter().flatten());
        let sections = status
            .sections
            .values()
            .flat_map(|section| &section.section.instances);
        in_use.extend(sections.map(|instance| instance.address));
        // Twice the replicas is all that one pass can ask for: a full surge and as many retries.
        let count = self.pipeline.spec.replicas as usize * 2 + 4;
        self.context
            .addresses
            .reserve(&self.reading, &host.name, &bridge.subnet, &in_use, count)
    }
}

/// Marks every part of a host as not known.
trait Blind {
    fn unknown_everywhere(&mut self, why: &str);
}

impl Blind for HostFacts {
    fn unknown_everywhere(&mut self, why: &str) {
        self.network = Fact::Unknown(why.to_owned());
        self.containers = Fact::Unknown(why.to_owned());
        self.proxy = Fact::Unknown(why.to_owned());
        self.images = Fact::Unknown(why.to_owned());
    }
}

fn listener_error(listener: &routes::Listener) -> Option<String> {
    use routes::Listener;
    match listener {
        Listener::Bound { .. } | Listener::Unknown => None,
        Listener::Closed => Some("the proxy does not listen yet".to_owned()),
        Listener::PortTaken { port, holder } => {
            let holder = holder.as_deref().unwrap_or("another process");
            Some(format!("port {port} is held by {holder}"))
        }
        Listener::Refused { port, message } => Some(format!("port {port}: {message}")),
    }
}

/// The names in our form that a foreign container holds, and its ID.
fn held(container: &ContainerSummary, prefix: &str) -> Vec<(String, String)> {
    let id = container.id.clone().unwrap_or_default();
    let names = container.names.iter().flatten();
    names
        .map(|name| name.trim_start_matches('/').to_owned())
        .filter(|name| name.starts_with(prefix))
        .map(|name| (name, id.clone()))
        .collect()
}
