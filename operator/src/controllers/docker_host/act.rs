//! Carries out one step of a host's plan: an exhaustive match, and nothing else.

use std::fmt;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bollard::models::{RestartPolicyNameEnum, VolumeCreateRequest};
use crds::labels::{self, Role};
use crds::{DockerHost, names};
use kube::ResourceExt as _;
use plan::docker_host::{Observed, host_id};
use plan::fact::RestartPolicy;
use plan::{Fact, Step};

use super::make::OpenFiles;
use super::{claim, make};
use crate::context::Context;
use crate::docker::networks::Bridge;
use crate::docker::{Engine, Outcome, archive, containers, images, networks, volumes};
use crate::driver::StepError;
use crate::hosts::Host;
use crate::proxy_binary::{PROGRAM, STATE_DIR};
use crate::signature::{self, ObjectKind};

/// What runc and crun say of a limit that they may not set.
const RLIMIT: &str = "rlimit";

/// One step on the host.
pub(super) async fn on_host(
    context: &Context,
    object: &DockerHost,
    observed: &Observed,
    step: &Step,
) -> Result<(), StepError> {
    let name = object.name_any();
    let host = context
        .hosts
        .get(&name)
        .ok_or_else(|| StepError::transient(format!("host {name} is not connected")))?;
    let engine = host.engine().await?;
    let act = Act {
        context,
        host: &host,
        engine: &engine,
        host_id: host_id(object, observed),
    };
    match step {
        Step::CreateProxyVolume => act.create_volume().await,
        Step::LoadProxyImage { sha12 } => act.load_image(sha12).await,
        Step::CreateProxy { sha12, http_port } => act.create_proxy(sha12, *http_port).await,
        Step::WriteClaim { container, host_id } => act.write_claim(container, host_id).await,
        Step::StartProxy { id, .. } => act.start_proxy(id).await,
        Step::ClaimProxy => act.claim(observed).await,
        Step::CreateBridge {
            namespace,
            subnet,
            ip_range,
            gateway,
        } => {
            act.create_bridge(namespace, subnet, ip_range, gateway.to_string())
                .await
        }
        Step::RemoveBridge { id, .. } => Ok(networks::remove(&engine, id).await?),
        Step::RemoveProxyVolume => act.remove_volume().await,
        Step::UntagImage { tag } => {
            let (repository, tag) = split(tag);
            Ok(images::untag(&engine, repository, tag).await?)
        }
        Step::SetRestartPolicy { id, policy, .. } => {
            let policy = match policy {
                RestartPolicy::Always => RestartPolicyNameEnum::ALWAYS,
                RestartPolicy::No | RestartPolicy::Other => RestartPolicyNameEnum::NO,
            };
            Ok(containers::update(&engine, id, policy).await?)
        }
        Step::StopContainer {
            id, grace_seconds, ..
        } => {
            let grace = Duration::from_secs(u64::from(*grace_seconds));
            Ok(containers::stop(&engine, id, grace).await?)
        }
        Step::UnpauseContainer { id, .. } => Ok(containers::unpause(&engine, id).await?),
        Step::RenameContainer { id, to, .. } => Ok(containers::rename(&engine, id, to).await?),
        Step::RemoveContainer { id, .. } => Ok(containers::remove(&engine, id).await?),
        Step::DropSection { key, expect } => {
            host.proxy.drop_section(key.clone(), *expect).await?;
            Ok(())
        }
        Step::TagImage { .. }
        | Step::PullImage { .. }
        | Step::CancelPull { .. }
        | Step::CreateContainer(_)
        | Step::StartContainer { .. }
        | Step::RemoveLeftovers { .. }
        | Step::PushSection { .. } => Err(not_ours(step)),
    }
}

/// A step that only a pipeline's plan has.
pub(super) fn not_ours(step: &impl fmt::Display) -> StepError {
    StepError::refused(format!("a host does not {step}: that is a pipeline's"))
}

/// One act on a host.
struct Act<'a> {
    context: &'a Context,
    host: &'a Host,
    engine: &'a Engine,
    host_id: String,
}

impl Act<'_> {
    async fn create_volume(&self) -> Result<(), StepError> {
        let request = VolumeCreateRequest {
            name: Some(names::PROXY_VOLUME.to_owned()),
            labels: Some(make::labels(
                &self.context.install,
                &self.host_id,
                ObjectKind::Volume,
                Role::ProxyState,
                names::PROXY_VOLUME,
                &[],
            )),
            ..VolumeCreateRequest::default()
        };
        let made = volumes::create(self.engine, &request).await?;
        // A create gives what is there, with its old labels (F3).
        if Some(&made.labels) == request.labels.as_ref() {
            return Ok(());
        }
        Err(StepError::transient(format!(
            "the volume {} was there already, with other labels",
            names::PROXY_VOLUME
        )))
    }

    async fn remove_volume(&self) -> Result<(), StepError> {
        let volume = match volumes::inspect(self.engine, names::PROXY_VOLUME).await {
            Ok(volume) => volume,
            Err(Outcome::NotFound { .. }) => return Ok(()),
            Err(outcome) => return Err(outcome.into()),
        };
        let key = &self.context.install.key;
        signature::verify(key, ObjectKind::Volume, &volume.labels)
            .filter(|signed| signed.role == Role::ProxyState)
            .ok_or_else(|| {
                StepError::refused(format!("the volume {} is not ours", names::PROXY_VOLUME))
            })?;
        Ok(volumes::remove(self.engine, names::PROXY_VOLUME).await?)
    }

    async fn load_image(&self, sha12: &str) -> Result<(), StepError> {
        let architecture = &self.engine.facts().architecture;
        let binary = self
            .context
            .proxy_binaries
            .find(architecture)
            .map_err(StepError::refused)?;
        if binary.sha12 != sha12 {
            return Err(StepError::transient("the proxy's binary was replaced"));
        }
        let layer = binary
            .layer()
            .map_err(|error| StepError::transient(error.to_string()))?;
        let image = names::proxy_image(sha12);
        let (repository, tag) = split(&image);
        let entry = format!("ENTRYPOINT [\"{PROGRAM}\"]");
        Ok(images::import(self.engine, repository, tag, &[entry], layer).await?)
    }

    async fn create_proxy(&self, sha12: &str, http_port: u16) -> Result<(), StepError> {
        // The Engine would make a missing volume by itself, without labels.
        volumes::inspect(self.engine, names::PROXY_VOLUME).await?;
        let name = names::proxy_container(sha12);
        let body = make::proxy(
            &self.context.install,
            &self.host_id,
            self.engine.facts(),
            if self.host.limits_open_files.load(Ordering::Relaxed) {
                OpenFiles::Inherited
            } else {
                OpenFiles::Plenty
            },
            sha12,
            http_port,
        );
        let id = match containers::create(self.engine, &name, &body).await {
            Ok(id) => id,
            Err(Outcome::Conflict { .. }) => name.clone(),
            Err(outcome) => return Err(outcome.into()),
        };
        // Labels are read back after every create: only what carries our signature is ever started.
        let found = containers::inspect(self.engine, &id).await?;
        let labels = found.config.and_then(|config| config.labels);
        let key = &self.context.install.key;
        labels
            .and_then(|labels| signature::verify(key, ObjectKind::Container, &labels))
            .filter(|signed| signed.role == Role::Proxy && signed.name == name)
            .map(drop)
            .ok_or_else(|| {
                StepError::refused(format!("the container {name} is not Mooring's; remove it"))
            })
    }

    /// Starts the proxy. Where the Engine may not raise the limit of open files (in a container of its own, say), the
    /// proxy that never ran is removed, and the next one is made with the limit that every container there has.
    async fn start_proxy(&self, id: &str) -> Result<(), StepError> {
        let outcome = match containers::start(self.engine, id).await {
            Ok(()) => return Ok(()),
            Err(outcome) => outcome,
        };
        let refused = outcome.to_string().contains(RLIMIT);
        if !refused || self.host.limits_open_files.swap(true, Ordering::Relaxed) {
            return Err(StepError::of_start(outcome));
        }
        containers::remove(self.engine, id).await?;
        Err(StepError::transient(
            "the Engine may not raise the limit of open files; the proxy is made again with the Engine's own",
        ))
    }

    async fn write_claim(&self, container: &str, host_id: &str) -> Result<(), StepError> {
        let files = claim::files(&self.context.install, host_id)
            .map_err(|error| StepError::transient(error.to_string()))?;
        Ok(archive::put(self.engine, container, STATE_DIR, files).await?)
    }

    async fn claim(&self, observed: &Observed) -> Result<(), StepError> {
        if let Fact::Known(report) = &observed.proxy
            && report.epoch > self.context.epoch.current()
        {
            // Another Lease raised it: that of an API whose data is gone, since we hold this one.
            let raised = self.context.lease.raise_above(report.epoch).await;
            raised.map_err(|error| StepError::transient(error.to_string()))?;
        }
        self.host.proxy.claim().await?;
        Ok(())
    }

    async fn create_bridge(
        &self,
        namespace: &str,
        subnet: &str,
        ip_range: &str,
        gateway: String,
    ) -> Result<(), StepError> {
        let name = names::bridge(namespace);
        // A create that is sent twice makes two (F4), so what is there is asked right before.
        let there = networks::list(self.engine, &[format!("{}={name}", labels::NAME)]).await?;
        let key = &self.context.install.key;
        let is_ours = there
            .iter()
            .filter_map(|network| network.labels.as_ref())
            .any(|labels| {
                signature::verify(key, ObjectKind::Network, labels)
                    .is_some_and(|signed| signed.role == Role::Bridge && signed.name == name)
            });
        if is_ours {
            return Ok(());
        }
        let bridge = Bridge {
            subnet: subnet.to_owned(),
            ip_range: ip_range.to_owned(),
            gateway,
            labels: make::labels(
                &self.context.install,
                &self.host_id,
                ObjectKind::Network,
                Role::Bridge,
                &name,
                &[(labels::NAMESPACE, namespace)],
            ),
            name,
        };
        networks::create(self.engine, &bridge).await?;
        Ok(())
    }
}

/// Repository and tag of a reference of ours.
fn split(reference: &str) -> (&str, &str) {
    reference.rsplit_once(':').unwrap_or((reference, "latest"))
}
