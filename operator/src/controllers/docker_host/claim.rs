//! The claim: which install a host belongs to, and its key, in the proxy's state volume.
//!
//! Owns the two files: `claim.json`, which the proxy reads, and the key, which it never does. They are written and
//! read through a container that mounts the volume, running or not. Invariant: the key leaves this file only as a
//! [`Key`] or into the volume.

use std::collections::HashMap;
use std::io::Read as _;

use bollard::models::{ContainerCreateBody, HostConfig, Mount, MountType};
use bytes::Bytes;
use crds::labels::Role;
use crds::names;
use routes::limit::CLAIM_FILE;
use routes::table::HostClaim;

use crate::context::Context;
use crate::docker::{Engine, Outcome, archive, containers, images, volumes};
use crate::install::{Install, KEY_FILE, Key};
use crate::proxy_binary::{self, PROGRAM, ProxyBinaries, STATE_DIR};
use crate::signature::{self, ObjectKind};

/// The largest claim or key that is read, as an archive: each is a few hundred bytes and the archive adds blocks.
const MAX_FILE: usize = 64 << 10;
/// The container through which a volume without a proxy is read; never started, removed at once.
const HELPER: &str = "mooring-claim-reader";

/// The archive of both files for an install and a host.
pub(super) fn files(install: &Install, host_id: &str) -> std::io::Result<Bytes> {
    let claim = HostClaim {
        install: install.id.clone(),
        host_id: host_id.to_owned(),
    };
    let claim = serde_json::to_vec(&claim)?;
    let key = install.key.reveal().into_bytes();
    let mut archive = tar::Builder::new(Vec::new());
    for (name, mode, bytes) in [(CLAIM_FILE, 0o600, claim), (KEY_FILE, 0o400, key)] {
        let mut header = proxy_binary::header(tar::EntryType::Regular, mode, bytes.len() as u64);
        archive.append_data(&mut header, name, &*bytes)?;
    }
    Ok(archive.into_inner()?.into())
}

/// Whether the volume of a container carries this install's claim for this host; `None` when it cannot be told.
pub(super) async fn is_written(
    context: &Context,
    engine: &Engine,
    container: &str,
    host_id: &str,
) -> Option<bool> {
    match read(engine, container, STATE_DIR).await {
        Ok(Some((claim, key))) => Some(
            claim.install == context.install.id
                && claim.host_id == host_id
                && key.reveal() == context.install.key.reveal(),
        ),
        Ok(None) => Some(false),
        Err(_) => None,
    }
}

/// Claim and key in the volume that a container mounts at `directory`; `None` when one of them is not there.
async fn read(
    engine: &Engine,
    container: &str,
    directory: &str,
) -> Result<Option<(HostClaim, Key)>, Outcome> {
    let Some(claim) = file(engine, container, &format!("{directory}/{CLAIM_FILE}")).await? else {
        return Ok(None);
    };
    let Some(key) = file(engine, container, &format!("{directory}/{KEY_FILE}")).await? else {
        return Ok(None);
    };
    let claim = serde_json::from_slice::<HostClaim>(&claim).ok();
    let key = std::str::from_utf8(&key).ok().and_then(Key::parse);
    Ok(claim.zip(key))
}

/// One file of a container.
async fn file(engine: &Engine, container: &str, path: &str) -> Result<Option<Vec<u8>>, Outcome> {
    let packed = match archive::get(engine, container, path, MAX_FILE).await {
        Ok(packed) => packed,
        Err(Outcome::NotFound { .. }) => return Ok(None),
        Err(outcome) => return Err(outcome),
    };
    let mut archive = tar::Archive::new(&*packed);
    let mut bytes = Vec::new();
    let first = archive
        .entries()
        .ok()
        .and_then(|mut entries| entries.next()?.ok());
    let read = first.map(|mut entry| entry.read_to_end(&mut bytes));
    Ok(matches!(read, Some(Ok(_))).then_some(bytes))
}

/// A claim that was found on a host.
pub struct Found {
    /// The install that the host belongs to.
    pub install: Install,
    /// The host's identity.
    pub host_id: String,
    /// Its instances: how many, by namespace and pipeline.
    pub instances: Vec<(String, u32)>,
}

/// Why a claim cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ClaimError {
    /// The Engine did not answer as it should.
    #[error("{0}")]
    Engine(#[from] Outcome),
    /// The labels name an install, but its key is not there or another one.
    #[error(
        "the volume {} names install {install}, but no key in it fits; whoever owns that install has to let the host go, or remove the volume by hand",
        names::PROXY_VOLUME
    )]
    NoKey {
        /// The install, as unproven labels name it.
        install: String,
    },
    /// The volume has to be read through a container, and there is no image to make one of.
    #[error("{0}")]
    NoImage(String),
}

/// Looks whether a host carries an install's key.
pub async fn find(engine: &Engine, binaries: &ProxyBinaries) -> Result<Option<Found>, ClaimError> {
    let volume = match volumes::inspect(engine, names::PROXY_VOLUME).await {
        Ok(volume) => volume,
        Err(Outcome::NotFound { .. }) => return Ok(None),
        Err(outcome) => return Err(outcome.into()),
    };
    let Some(install) = volume.labels.get(crds::labels::INSTALL) else {
        // Somebody else's volume of that name: the DockerHost will say so.
        return Ok(None);
    };
    let all = containers::list(engine, &[]).await?;
    let mounted = all.iter().find_map(|summary| {
        let mounts = summary.mounts.iter().flatten();
        let mount = mounts
            .into_iter()
            .find(|mount| mount.name.as_deref() == Some(names::PROXY_VOLUME))?;
        Some((summary.id.clone()?, mount.destination.clone()?))
    });
    let claim = match mounted {
        Some((container, directory)) => read(engine, &container, &directory).await?,
        None => read_through_helper(engine, binaries).await?,
    };
    let no_key = || ClaimError::NoKey {
        install: install.clone(),
    };
    let (claim, key) = claim.ok_or_else(no_key)?;
    let signed = signature::verify(&key, ObjectKind::Volume, &volume.labels)
        .filter(|signed| signed.role == Role::ProxyState && claim.install == *install)
        .ok_or_else(no_key)?;
    let mut instances: HashMap<String, u32> = HashMap::new();
    for labels in all.iter().filter_map(|summary| summary.labels.as_ref()) {
        if let Some(name) = signature::verify(&key, ObjectKind::Container, labels)
            .and_then(|signed| signed.instance.filter(|_| signed.role == Role::Instance))
        {
            *instances
                .entry(format!("{}/{}", name.namespace, name.pipeline))
                .or_default() += 1;
        }
    }
    let mut instances: Vec<(String, u32)> = instances.into_iter().collect();
    instances.sort();
    Ok(Some(Found {
        install: Install {
            id: claim.install,
            key,
        },
        host_id: signed.host,
        instances,
    }))
}

/// Reads a volume that no container mounts, through one that is made for it and removed again.
async fn read_through_helper(
    engine: &Engine,
    binaries: &ProxyBinaries,
) -> Result<Option<(HostClaim, Key)>, ClaimError> {
    let binary = binaries
        .find(&engine.facts().architecture)
        .map_err(ClaimError::NoImage)?;
    let image = names::proxy_image(&binary.sha12);
    if images::inspect(engine, &image).await.is_err() {
        let layer = binary
            .layer()
            .map_err(|error| ClaimError::NoImage(error.to_string()))?;
        let (repository, tag) = image.split_once(':').unwrap_or((&image, "latest"));
        images::import(engine, repository, tag, &[], layer).await?;
    }
    let body = ContainerCreateBody {
        image: Some(image),
        entrypoint: Some(vec![PROGRAM.to_owned()]),
        host_config: Some(HostConfig {
            network_mode: Some("none".to_owned()),
            mounts: Some(vec![Mount {
                typ: Some(MountType::VOLUME),
                source: Some(names::PROXY_VOLUME.to_owned()),
                target: Some(STATE_DIR.to_owned()),
                read_only: Some(true),
                ..Mount::default()
            }]),
            ..HostConfig::default()
        }),
        ..ContainerCreateBody::default()
    };
    let helper = containers::create(engine, HELPER, &body).await?;
    let claim = read(engine, &helper, STATE_DIR).await;
    containers::remove(engine, &helper).await?;
    Ok(claim?)
}
