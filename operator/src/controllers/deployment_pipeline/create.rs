//! Makes and removes instances: the container, its scratch volumes and its helper.
//!
//! Everything is made under a recorded name, so a lost answer is harmless: what is there under the
//! name is inspected, and only what our signature proves is taken for ours. Nothing else is
//! touched.

use std::collections::BTreeMap;

use bollard::models::{Volume, VolumeCreateRequest};
use crds::DeploymentPipeline;
use crds::labels::{self, Role};
use crds::names::InstanceName;
use kube::ResourceExt as _;
use plan::step::InstanceSpec;

use super::container::{self, Order, Owner};
use crate::context::Context;
use crate::docker::{Engine, Outcome, containers, images, volumes};
use crate::driver::StepError;
use crate::hosts::Host;
use crate::signature::{self, ObjectKind};
use crate::snapshot::{Bytes, Snapshots};

/// Whose containers on a host are.
///
/// # Errors
/// The host is not claimed.
pub(super) fn owner<'a>(
    context: &'a Context,
    host: &Host,
    engine: &'a Engine,
) -> Result<Owner<'a>, StepError> {
    let host_id = host
        .host_id()
        .ok_or_else(|| StepError::transient(format!("host {} is not claimed yet", host.name)))?;
    Ok(Owner {
        install: &context.install.id,
        key: &context.install.key,
        host_id,
        log_driver: &engine.facts().log_driver,
    })
}

/// Creates one instance with its scratch volumes, or takes the one that is there.
pub(super) async fn create(
    context: &Context,
    host: &Host,
    engine: &Engine,
    pipeline: &DeploymentPipeline,
    spec: &InstanceSpec,
) -> Result<(), StepError> {
    let image = images::inspect(engine, &spec.image).await?;
    let config = bytes(context, pipeline, spec).await?;
    let owner = owner(context, host, engine)?;
    let Order { body, volumes } = container::order(spec, &owner, &image, &config)
        .map_err(|refusal| StepError::refused(refusal.to_string()))?;
    for volume in &volumes {
        create_volume(context, engine, volume).await?;
    }
    let name = spec.name.to_string();
    let id = match containers::create(engine, &name, &body).await {
        Ok(id) => id,
        Err(Outcome::Conflict {
            holder: Some(holder),
            ..
        }) => holder,
        Err(outcome) => return Err(outcome.into()),
    };
    // Labels are read back: an image or a holder of the name could carry others (F12).
    let there = containers::inspect(engine, &id).await?;
    let labels = there
        .config
        .and_then(|config| config.labels)
        .unwrap_or_default();
    let signed = signature::verify(&context.install.key, ObjectKind::Container, &labels);
    if signed.is_some_and(|signed| signed.instance.as_ref() == Some(&spec.name)) {
        return Ok(());
    }
    Err(StepError::refused(format!(
        "ForeignObject: a container that is not Mooring's holds the name {name}; remove or rename it"
    )))
}

/// The configuration of an instance by snapshot Secret.
async fn bytes(
    context: &Context,
    pipeline: &DeploymentPipeline,
    spec: &InstanceSpec,
) -> Result<BTreeMap<String, Bytes>, StepError> {
    let namespace = pipeline.namespace().unwrap_or_default();
    let snapshots = Snapshots::new(context.client.clone(), &namespace);
    let mut config = BTreeMap::new();
    for entry in &spec.config {
        if !entry.secret.is_empty() {
            config.insert(entry.secret.clone(), snapshots.kept(&entry.secret).await?);
        }
    }
    Ok(config)
}

/// Creates a volume, or takes the one that is there if it is the same: a create of a name that
/// exists says 201 and keeps the old labels (F3).
pub(super) async fn create_volume(
    context: &Context,
    engine: &Engine,
    request: &VolumeCreateRequest,
) -> Result<(), StepError> {
    let made: Volume = volumes::create(engine, request).await?;
    let signature = labels::SIGNATURE;
    let wanted = request
        .labels
        .as_ref()
        .and_then(|labels| labels.get(signature));
    let ours = signature::verify(&context.install.key, ObjectKind::Volume, &made.labels).is_some();
    if ours && made.labels.get(signature) == wanted {
        return Ok(());
    }
    Err(StepError::refused(format!(
        "ForeignObject: a volume that is not Mooring's holds the name {}; remove it",
        made.name
    )))
}

/// The name of the helper through which an instance's read-only volumes are filled.
pub(super) fn helper_name(instance: &InstanceName) -> String {
    format!("{instance}.helper")
}

/// Removes a container of ours by its ID, then what was made for it.
pub(super) async fn remove(
    context: &Context,
    engine: &Engine,
    id: &str,
    name: &str,
) -> Result<(), StepError> {
    containers::remove(engine, id).await?;
    match InstanceName::parse(name) {
        Some(instance) => remove_leftovers(context, engine, &instance).await,
        None => Ok(()),
    }
}

/// Removes the helper and the scratch volumes of one instance, by signature.
pub(super) async fn remove_leftovers(
    context: &Context,
    engine: &Engine,
    instance: &InstanceName,
) -> Result<(), StepError> {
    let filter = filter(instance);
    remove_helper(context, engine, instance).await?;
    for found in volumes::list(engine, &filter).await? {
        let signed = signature::verify(&context.install.key, ObjectKind::Volume, &found.labels);
        let scratch = signed.is_some_and(|signed| {
            signed.role == Role::Scratch && signed.instance.as_ref() == Some(instance)
        });
        if scratch {
            volumes::remove(engine, &found.name).await?;
        }
    }
    Ok(())
}

/// Removes the helper of one instance, by signature.
pub(super) async fn remove_helper(
    context: &Context,
    engine: &Engine,
    instance: &InstanceName,
) -> Result<(), StepError> {
    for found in containers::list(engine, &filter(instance)).await? {
        let labels = found.labels.unwrap_or_default();
        let signed = signature::verify(&context.install.key, ObjectKind::Container, &labels);
        let helper = signed.is_some_and(|signed| {
            signed.role == Role::Helper && signed.instance.as_ref() == Some(instance)
        });
        if let (true, Some(id)) = (helper, found.id) {
            containers::remove(engine, &id).await?;
        }
    }
    Ok(())
}

/// The labels by which everything of one instance is listed.
fn filter(instance: &InstanceName) -> [String; 7] {
    signature::instance_labels(instance).map(|(key, value)| format!("{key}={value}"))
}
