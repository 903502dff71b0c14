//! Starts an instance: its configuration files first, then the container.
//!
//! A created container may have been left at any point before; writing the files again is
//! harmless, so they always come before the start. Into a root that can be written they go as they
//! are; a read-only one takes them through a helper that mounts the scratch volume and is never
//! started (F33).

use bollard::models::{ContainerCreateBody, HostConfig, Mount, MountType};
use crds::DeploymentPipeline;
use crds::names::InstanceName;
use kube::ResourceExt as _;
use plan::step::{ConfigFiles, InstanceSpec};

use super::container::{config_volume, helper_labels};
use super::create;
use super::files::{self, FileOwner};
use super::observe::Seen;
use crate::context::Context;
use crate::docker::{Engine, Outcome, archive, containers};
use crate::driver::StepError;
use crate::hosts::Host;
use crate::snapshot::Snapshots;

/// Where a helper mounts the volume that it fills.
const HELPER_MOUNT: &str = "/files";
/// The largest `/etc/passwd` that is read, in bytes of its archive.
const MAX_PASSWD: usize = 1 << 20;

/// One start, with what it acts on.
pub(super) struct Start<'a> {
    pub context: &'a Context,
    pub host: &'a Host,
    pub engine: &'a Engine,
    pub seen: &'a Seen,
    pub name: &'a InstanceName,
    pub id: &'a str,
}

impl Start<'_> {
    /// Writes the files and starts the container.
    pub(super) async fn run(
        &self,
        pipeline: &DeploymentPipeline,
        files: &[ConfigFiles],
        owner: Option<u32>,
        read_only_root: bool,
    ) -> Result<(), StepError> {
        if !files.is_empty() {
            let owner = self.owner(owner).await?;
            let namespace = pipeline.namespace().unwrap_or_default();
            let snapshots = Snapshots::new(self.context.client.clone(), &namespace);
            for mount in files {
                let bytes = snapshots.kept(&mount.secret).await?;
                let root = if read_only_root {
                    ""
                } else {
                    mount.mount_path.as_str()
                };
                let packed = files::archive(mount, &bytes, root, owner).map_err(|error| {
                    StepError::refused(format!("{}: {error}", mount.mount_path))
                })?;
                if read_only_root {
                    self.fill(&mount.volume, packed).await?;
                } else {
                    archive::put(self.engine, self.id, "/", packed).await?;
                }
            }
        }
        let started = containers::start(self.engine, self.id).await;
        started.map_err(StepError::of_start)
    }

    /// Who owns the files: the template's user, else the container's.
    async fn owner(&self, user: Option<u32>) -> Result<FileOwner, StepError> {
        let inspect = containers::inspect(self.engine, self.id).await?;
        let configured = inspect
            .config
            .and_then(|config| config.user)
            .unwrap_or_default();
        let text = match user {
            Some(user) => configured
                .split_once(':')
                .map_or_else(|| user.to_string(), |(_, group)| format!("{user}:{group}")),
            None => configured,
        };
        if let Some(owner) = files::owner(&text, None) {
            return Ok(owner);
        }
        let packed = match archive::get(self.engine, self.id, "/etc/passwd", MAX_PASSWD).await {
            Ok(packed) => files::first_file(&packed),
            Err(outcome) if outcome.is_not_found() => None,
            Err(outcome) => return Err(outcome.into()),
        };
        files::owner(&text, packed.as_deref()).ok_or_else(|| {
            StepError::refused(format!(
                "UserUnknown: the image has no user {text:?}; set securityContext.runAsUser to a number"
            ))
        })
    }

    /// Writes an archive into a scratch volume through a helper of this instance.
    async fn fill(&self, volume: &str, packed: bytes::Bytes) -> Result<(), StepError> {
        let spec = self.spec()?;
        let name = create::helper_name(self.name);
        let owner = create::owner(self.context, self.host, self.engine)?;
        let image = containers::inspect(self.engine, self.id).await?.image;
        let body = ContainerCreateBody {
            image,
            labels: Some(helper_labels(&spec, &owner, &name)),
            host_config: Some(HostConfig {
                network_mode: Some("none".to_owned()),
                mounts: Some(vec![Mount {
                    typ: Some(MountType::VOLUME),
                    source: Some(config_volume(&self.name.to_string(), volume)),
                    target: Some(HELPER_MOUNT.to_owned()),
                    ..Mount::default()
                }]),
                ..HostConfig::default()
            }),
            ..ContainerCreateBody::default()
        };
        // One left by an earlier attempt may mount another volume: it goes first.
        create::remove_helper(self.context, self.engine, self.name).await?;
        let id = match containers::create(self.engine, &name, &body).await {
            Ok(id) => id,
            Err(Outcome::Conflict { .. }) => {
                return Err(StepError::refused(format!(
                    "ForeignObject: a container that is not Mooring's holds the name {name}; remove or rename it"
                )));
            }
            Err(outcome) => return Err(outcome.into()),
        };
        let put = archive::put(self.engine, &id, HELPER_MOUNT, packed).await;
        containers::remove(self.engine, &id).await?;
        Ok(put?)
    }

    /// Enough of the instance's spec for the labels of its helper.
    fn spec(&self) -> Result<InstanceSpec, StepError> {
        let revision = self.name.revision.as_str();
        let release = self
            .seen
            .releases
            .values()
            .filter(|release| release.spec.revision == revision)
            .max_by_key(|release| release.spec.number)
            .ok_or_else(|| StepError::transient(format!("no release runs revision {revision}")))?;
        Ok(InstanceSpec {
            name: self.name.clone(),
            image: String::new(),
            network: String::new(),
            address: std::net::Ipv4Addr::UNSPECIFIED,
            aliases: Vec::new(),
            template: release.spec.template.clone(),
            config: release.spec.config.clone(),
            release: release.name_any(),
        })
    }
}
