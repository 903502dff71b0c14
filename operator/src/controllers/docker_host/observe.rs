//! Reads every fact that one pass over a DockerHost needs, live.
//!
//! Owns the translation from the Engine's, the proxy's and the API's words into those of `plan`. Must not judge.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bollard::models::ContainerSummary;
use crds::labels::{self, Role};
use crds::{DeploymentPipeline, DockerHost, names};
use kube::ResourceExt as _;
use kube::api::{Api, ListParams};
use plan::docker_host::{
    EngineFacts, EngineForm, EngineTrouble, Inventory, Network, Observed, OtherHost,
    ProxyContainer, ProxyReport, StateVolume, host_id,
};
use plan::fact::ContainerState;
use plan::{Fact, StepFailure};
use routes::{Listener, Status};

use super::claim;
use super::garbage::{self, Owners};
use crate::context::Context;
use crate::controllers::words::{container_names, publisher, restart_policy, state};
use crate::docker::{self, Engine, Outcome, containers, images, logs, networks, system, volumes};
use crate::driver::ObserveError;
use crate::hosts::Host;
use crate::install::random_16;
use crate::signature::{self, ObjectKind, Signed};
use crate::{hex, proxy_binary};

/// Lines of the log of a proxy that does not run.
const LOG_LINES: usize = 3;
/// The prefix of the proxies' image tags.
const IMAGE_PREFIX: &str = "mooring-proxy:";

/// Reads everything.
///
/// # Errors
/// The API could not be read.
pub(super) async fn observe(
    context: &Context,
    object: &DockerHost,
    failures: Vec<StepFailure>,
) -> Result<Observed, ObserveError> {
    let name = object.name_any();
    let host = context.hosts.ensure(&name, &object.spec.endpoint);
    let client = context.client.clone();
    let hosts = Api::<DockerHost>::all(client.clone())
        .list(&ListParams::default())
        .await?;
    let pipelines = Api::<DeploymentPipeline>::all(client)
        .list_metadata(&ListParams::default())
        .await?;
    let pipelines: BTreeSet<(String, String)> = pipelines
        .iter()
        .map(|pipeline| {
            (
                pipeline.namespace().unwrap_or_default(),
                pipeline.name_any(),
            )
        })
        .collect();
    let others = hosts
        .iter()
        .filter(|other| other.name_any() != name)
        .filter_map(other_host)
        .collect();
    let mut observed = Observed {
        engine: Err(EngineTrouble::Unreachable(String::new())),
        inventory: Fact::Unknown("the Engine was not asked".to_owned()),
        proxy: Fact::Unknown("no running proxy is known".to_owned()),
        others,
        namespaces: allowed(object, &pipelines),
        routes: routes(context),
        binary: Err(String::new()),
        install: context.install.id.clone(),
        epoch: context.epoch.current(),
        fresh_host_id: hex::encode(&random_16()),
        failures,
    };
    let engine = match connected(&host).await {
        Ok((engine, facts)) => {
            observed.engine = Ok(facts);
            engine
        }
        Err(outcome) => {
            observed.engine = Err(trouble(&outcome));
            return Ok(observed);
        }
    };
    observed.binary = context
        .proxy_binaries
        .find(&engine.facts().architecture)
        .map(|binary| binary.sha12.clone());
    let look = Look {
        context,
        object,
        host: &host,
        engine: &engine,
        pipelines: &pipelines,
    };
    look.host(&mut observed).await?;
    Ok(observed)
}

/// The Engine and what it says of itself right now.
async fn connected(host: &Host) -> Result<(Engine, EngineFacts), Outcome> {
    let engine = host.engine().await?;
    let info = system::info(&engine).await?;
    let facts = engine.facts();
    let facts = EngineFacts {
        version: facts.engine_version.clone(),
        api_version: facts.api_version.to_string(),
        os: facts.os.clone(),
        architecture: facts.architecture.clone(),
        form: match facts.form {
            docker::EngineForm::Native => EngineForm::Native,
            docker::EngineForm::Rootless => EngineForm::Rootless,
            docker::EngineForm::Desktop => EngineForm::Desktop,
        },
        live_restore: info.live_restore_enabled.unwrap_or_default(),
    };
    Ok((engine, facts))
}

fn trouble(outcome: &Outcome) -> EngineTrouble {
    match outcome {
        Outcome::Incompatible { message } => EngineTrouble::Incompatible(message.clone()),
        Outcome::Failed { .. }
        | Outcome::NotFound { .. }
        | Outcome::Conflict { .. }
        | Outcome::Unknown { .. }
        | Outcome::Unreachable { .. } => EngineTrouble::Unreachable(outcome.to_string()),
    }
}

fn other_host(host: &DockerHost) -> Option<OtherHost> {
    Some(OtherHost {
        name: host.name_any(),
        host_id: host.status.as_ref()?.host_id.clone()?,
        created: host.metadata.creation_timestamp.as_ref().map(|time| time.0),
        uid: host.uid().unwrap_or_default(),
    })
}

/// The namespaces that have a pipeline and may use the host.
fn allowed(host: &DockerHost, pipelines: &BTreeSet<(String, String)>) -> BTreeSet<String> {
    pipelines
        .iter()
        .map(|(namespace, _)| namespace)
        .filter(|namespace| is_allowed(host, namespace))
        .cloned()
        .collect()
}

fn is_allowed(host: &DockerHost, namespace: &str) -> bool {
    let allowed = &host.spec.allowed_namespaces;
    allowed.iter().any(|name| name == "*" || name == namespace)
}

fn routes(context: &Context) -> Fact<BTreeMap<String, String>> {
    match context.machine.routes() {
        Ok(routes) => Fact::Known(
            routes
                .into_iter()
                .map(|route| (route.subnet, route.interface))
                .collect(),
        ),
        Err(why) => Fact::Unknown(why),
    }
}

/// One look at a host whose Engine answers.
struct Look<'a> {
    context: &'a Context,
    object: &'a DockerHost,
    host: &'a Host,
    engine: &'a Engine,
    pipelines: &'a BTreeSet<(String, String)>,
}

impl Look<'_> {
    async fn host(&self, observed: &mut Observed) -> Result<(), ObserveError> {
        let all = match containers::list(self.engine, &[]).await {
            Ok(all) => all,
            Err(outcome) => {
                observed.inventory = Fact::Unknown(outcome.to_string());
                return Ok(());
            }
        };
        let wanted = observed.binary.clone().unwrap_or_default();
        let inventory = self.inventory(&all, &wanted).await;
        let open = self.host.is_open(self.engine).await;
        let mut inventory = match open.and(inventory) {
            Ok(inventory) => inventory,
            Err(outcome) => {
                observed.inventory = Fact::Unknown(outcome.to_string());
                return Ok(());
            }
        };
        let owners = Owners {
            context: self.context,
            listed: self.pipelines,
        };
        let tags = match garbage::retained(self.engine).await {
            Ok(tags) => tags,
            Err(outcome) => {
                observed.inventory = Fact::Unknown(outcome.to_string());
                return Ok(());
            }
        };
        inventory.strays = owners.strays(tags, &inventory.instances).await?;
        inventory.ownerless = owners.absent(&inventory.instances).await?;
        self.look_again(&owners, &inventory, &mut observed.namespaces)
            .await?;
        let ours = matches!(inventory.volume, StateVolume::Ours { .. });
        let running = inventory
            .proxies
            .iter()
            .find(|proxy| proxy.state == ContainerState::Running)
            .map(|proxy| proxy.id.clone());
        self.host.proxy.attach(running.as_deref().filter(|_| ours));
        if ours && running.is_some() {
            match self.host.proxy.status(&[]).await {
                Ok(status) => {
                    inventory.orphans = owners.orphans(&status, &all).await?;
                    observed.proxy = Fact::Known(self.report(&status, &all));
                }
                Err(error) => observed.proxy = Fact::Unknown(error.to_string()),
            }
        }
        observed.inventory = Fact::Known(inventory);
        // The claim is compared with the identity that the plan will take, which the volume decides.
        let host_id = host_id(self.object, observed);
        if let Fact::Known(inventory) = &mut observed.inventory {
            for proxy in &mut inventory.proxies {
                if matches!(
                    proxy.state,
                    ContainerState::Created | ContainerState::Exited
                ) {
                    proxy.claimed =
                        claim::is_written(self.context, self.engine, &proxy.id, &host_id).await;
                }
            }
        }
        Ok(())
    }

    /// Adds the namespaces of bridges that have a pipeline after all: the list may be older than they are.
    async fn look_again(
        &self,
        owners: &Owners<'_>,
        inventory: &Inventory,
        namespaces: &mut BTreeSet<String>,
    ) -> Result<(), ObserveError> {
        let bridged = inventory
            .networks
            .iter()
            .filter_map(|n| n.bridge_of.as_ref());
        let deserted = bridged.filter(|namespace| {
            is_allowed(self.object, namespace) && !namespaces.contains(*namespace)
        });
        let inhabited = owners.inhabited(deserted).await?;
        namespaces.extend(inhabited);
        Ok(())
    }

    async fn inventory(
        &self,
        all: &[ContainerSummary],
        wanted: &str,
    ) -> Result<Inventory, Outcome> {
        let mut inventory = Inventory {
            volume: self.volume().await?,
            proxies: Vec::new(),
            foreign: BTreeSet::new(),
            images: self.images(wanted).await?,
            networks: self.networks().await?,
            instances: BTreeMap::new(),
            ownerless: BTreeSet::new(),
            orphans: Vec::new(),
            strays: BTreeSet::new(),
        };
        for summary in all {
            let signed = self.signed(ObjectKind::Container, summary.labels.as_ref());
            match signed.map(|signed| (signed.role, signed)) {
                Some((Role::Proxy, signed)) if is_itself(summary, &signed) => {
                    inventory
                        .proxies
                        .extend(self.proxy(summary, &signed).await?);
                }
                Some((
                    Role::Instance,
                    Signed {
                        instance: Some(name),
                        ..
                    },
                )) => {
                    *inventory
                        .instances
                        .entry((name.namespace, name.pipeline))
                        .or_default() += 1;
                }
                Some((
                    Role::Instance
                    | Role::Proxy
                    | Role::ProxyState
                    | Role::Bridge
                    | Role::Volume
                    | Role::Helper
                    | Role::Scratch,
                    _,
                ))
                | None => {
                    let prefix = names::proxy_container("");
                    inventory
                        .foreign
                        .extend(container_names(summary).filter(|name| name.starts_with(&prefix)));
                }
            }
        }
        Ok(inventory)
    }

    fn signed(&self, kind: ObjectKind, labels: Option<&HashMap<String, String>>) -> Option<Signed> {
        signature::verify(&self.context.install.key, kind, labels?)
    }

    async fn volume(&self) -> Result<StateVolume, Outcome> {
        let volume = match volumes::inspect(self.engine, names::PROXY_VOLUME).await {
            Ok(volume) => volume,
            Err(Outcome::NotFound { .. }) => return Ok(StateVolume::Absent),
            Err(outcome) => return Err(outcome),
        };
        let signed = self
            .signed(ObjectKind::Volume, Some(&volume.labels))
            .filter(|signed| signed.role == Role::ProxyState && signed.name == names::PROXY_VOLUME);
        Ok(match signed {
            Some(signed) => StateVolume::Ours {
                host_id: signed.host,
            },
            None => StateVolume::Foreign {
                install: volume.labels.get(labels::INSTALL).cloned(),
            },
        })
    }

    /// The tags of the proxies' images: all of them for a host that is let go, else the one that is wanted.
    async fn images(&self, wanted: &str) -> Result<BTreeSet<String>, Outcome> {
        if self.object.metadata.deletion_timestamp.is_some() {
            let all = images::list(self.engine, &[]).await?;
            let tags = all.into_iter().flat_map(|image| image.repo_tags);
            return Ok(tags
                .filter_map(|tag| tag.strip_prefix(IMAGE_PREFIX).map(str::to_owned))
                .collect());
        }
        if wanted.is_empty() {
            return Ok(BTreeSet::new());
        }
        match images::inspect(self.engine, &names::proxy_image(wanted)).await {
            Ok(_) => Ok(BTreeSet::from([wanted.to_owned()])),
            Err(Outcome::NotFound { .. }) => Ok(BTreeSet::new()),
            Err(outcome) => Err(outcome),
        }
    }

    async fn networks(&self) -> Result<Vec<Network>, Outcome> {
        let all = networks::list(self.engine, &[]).await?;
        let networks = all.into_iter().map(|network| {
            let signed = self.signed(ObjectKind::Network, network.labels.as_ref());
            let configs = network
                .ipam
                .and_then(|ipam| ipam.config)
                .unwrap_or_default();
            let name = network.name.unwrap_or_default();
            Network {
                bridge_of: signed
                    .filter(|signed| signed.role == Role::Bridge && signed.name == name)
                    .map(|signed| signed.namespace),
                id: network.id.unwrap_or_default(),
                name,
                subnets: configs
                    .into_iter()
                    .filter_map(|config| config.subnet)
                    .filter(|subnet| !subnet.contains(':'))
                    .collect(),
                created: network
                    .created
                    .map(|time| time.to_string())
                    .unwrap_or_default(),
            }
        });
        Ok(networks.collect())
    }

    /// A container that runs a proxy; `None` when it went away meanwhile.
    async fn proxy(
        &self,
        summary: &ContainerSummary,
        signed: &Signed,
    ) -> Result<Option<ProxyContainer>, Outcome> {
        let id = summary.id.clone().unwrap_or_default();
        let found = match containers::inspect(self.engine, &id).await {
            Ok(found) => found,
            Err(Outcome::NotFound { .. }) => return Ok(None),
            Err(outcome) => return Err(outcome),
        };
        let Some(state) = state(&found) else {
            return Ok(None);
        };
        let log_tail = if state == ContainerState::Running || state == ContainerState::Created {
            Vec::new()
        } else {
            // What it wrote is for people: without it the host is judged all the same.
            let lines = logs::tail(self.engine, &id, LOG_LINES)
                .await
                .unwrap_or_default();
            lines.into_iter().map(|line| line.text).collect()
        };
        let arguments = found
            .config
            .as_ref()
            .and_then(|config| config.cmd.clone())
            .unwrap_or_default();
        Ok(Some(ProxyContainer {
            name: found
                .name
                .as_deref()
                .unwrap_or_default()
                .trim_start_matches('/')
                .to_owned(),
            made_as: signed.name.clone(),
            state,
            restart_policy: restart_policy(&found),
            http_port: proxy_binary::http_port(&arguments),
            claimed: None,
            log_tail,
            id,
        }))
    }

    fn report(&self, status: &Status, all: &[ContainerSummary]) -> ProxyReport {
        let listener = match &status.listener {
            Listener::PortTaken { port, holder } => Listener::PortTaken {
                port: *port,
                // The proxy sees no processes but its own; the Engine and this machine may know better.
                holder: publisher(all, *port)
                    .or_else(|| self.context.machine.listener(*port))
                    .or_else(|| holder.clone()),
            },
            other => other.clone(),
        };
        ProxyReport {
            version: status.proxy_version.clone(),
            install: status.install.clone(),
            epoch: status.epoch,
            listener,
        }
    }
}

/// Whether a container with the proxy's signed labels is the proxy: it has the name, or it was renamed and holds the
/// state volume. Anything else carries a copy of the labels.
fn is_itself(summary: &ContainerSummary, signed: &Signed) -> bool {
    let mut mounts = summary.mounts.iter().flatten();
    container_names(summary).any(|name| name == signed.name)
        || mounts.any(|mount| mount.name.as_deref() == Some(names::PROXY_VOLUME))
}
