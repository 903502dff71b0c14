//! Carries out one step of a pipeline's plan: an exhaustive match, and nothing else.

use std::sync::Arc;
use std::time::Duration;

use bollard::models::RestartPolicyNameEnum;
use crds::{DeploymentPipeline, FINALIZER, Release};
use kube::api::{DeleteParams, ObjectMeta};
use kube::{Api, Resource as _, ResourceExt as _};
use plan::fact::RestartPolicy;
use plan::step::{ApiStep, Step};

use super::observe::Seen;
use super::{Pipelines, create, start};
use crate::api;
use crate::docker::{Engine, containers, images};
use crate::driver::StepError;
use crate::hosts::Host;
use crate::jobs::pulls::Pull;
use crate::registry::credentials::PullSecrets;
use crate::snapshot::Snapshots;
use crate::wakes::ObjectKey;

/// One step on the API.
pub(super) async fn on_api(
    pipelines: &Pipelines,
    pipeline: &DeploymentPipeline,
    seen: &Seen,
    step: &ApiStep,
) -> Result<(), StepError> {
    let client = pipelines.context.client.clone();
    let namespace = pipeline.namespace().unwrap_or_default();
    let owner = Api::<DeploymentPipeline>::namespaced(client.clone(), &namespace);
    let releases = Api::<Release>::namespaced(client.clone(), &namespace);
    let snapshots = Snapshots::new(client, &namespace);
    match step {
        ApiStep::AddFinalizer => Ok(api::add_finalizer(&owner, pipeline).await?),
        ApiStep::DropFinalizer => Ok(api::drop_finalizer(&owner, pipeline).await?),
        ApiStep::CreateRelease { name, spec } => {
            let release = release(pipeline, name, spec);
            match releases.create(&api::posted(), &release).await {
                Ok(_) => Ok(()),
                // The answer to an earlier attempt was lost, or another operator was faster: the
                // next pass sees what is there.
                Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
                Err(error) => Err(error.into()),
            }
        }
        ApiStep::CreateSnapshot { release, config } => {
            let key = &pipelines.context.install.key;
            let release = known(seen, release)?;
            if snapshots.keep(key, release, config).await? {
                Ok(())
            } else {
                Err(StepError::transient(format!(
                    "{} changed since it was resolved",
                    config.name
                )))
            }
        }
        ApiStep::OwnSnapshot { release, secret } => {
            Ok(snapshots.share(known(seen, release)?, secret).await?)
        }
        ApiStep::DeleteRelease { name } => {
            match releases.delete(name, &DeleteParams::background()).await {
                Ok(_) => Ok(()),
                Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
                Err(error) => Err(error.into()),
            }
        }
        ApiStep::ReleaseFinalizer { name } => {
            Ok(api::drop_finalizer(&releases, known(seen, name)?).await?)
        }
    }
}

fn known<'a>(seen: &'a Seen, name: &str) -> Result<&'a Release, StepError> {
    seen.releases.get(name).ok_or_else(|| {
        StepError::transient(format!("release {name} was not there at the last look"))
    })
}

fn release(pipeline: &DeploymentPipeline, name: &str, spec: &crds::ReleaseSpec) -> Release {
    let mut release = Release::new(name, spec.clone());
    release.metadata = ObjectMeta {
        name: Some(name.to_owned()),
        namespace: pipeline.namespace(),
        labels: Some(crds::deployment_pipeline::selector(&spec.pipeline)),
        owner_references: pipeline.controller_owner_ref(&()).map(|owner| vec![owner]),
        finalizers: Some(vec![FINALIZER.to_owned()]),
        ..ObjectMeta::default()
    };
    release
}

/// One step on a host.
pub(super) async fn on_host(
    pipelines: &Pipelines,
    pipeline: &DeploymentPipeline,
    seen: &Seen,
    host: &str,
    step: &Step,
) -> Result<(), StepError> {
    let context = &pipelines.context;
    let host = context
        .hosts
        .get(host)
        .ok_or_else(|| StepError::transient(format!("host {host} is not connected")))?;
    let engine = host.engine().await?;
    match step {
        Step::TagImage { .. }
        | Step::PullImage { .. }
        | Step::CancelPull { .. }
        | Step::UntagImage { .. } => {
            on_images(pipelines, pipeline, seen, &host, &engine, step).await
        }
        Step::CreateContainer(spec) => {
            create::create(context, &host, &engine, pipeline, spec).await
        }
        Step::StartContainer {
            id,
            name,
            files,
            owner,
            read_only_root,
        } => {
            let job = start::Start {
                context,
                host: &host,
                engine: &engine,
                seen,
                name,
                id,
            };
            job.run(pipeline, files, *owner, *read_only_root).await
        }
        Step::SetRestartPolicy { id, policy, .. } => {
            Ok(containers::update(&engine, id, restart_policy(*policy)).await?)
        }
        Step::StopContainer {
            id, grace_seconds, ..
        } => {
            let grace = Duration::from_secs(u64::from(*grace_seconds));
            Ok(pipelines.stops.stop(&engine, id, grace).await?)
        }
        Step::UnpauseContainer { id, .. } => Ok(containers::unpause(&engine, id).await?),
        Step::RenameContainer { id, to, .. } => Ok(containers::rename(&engine, id, to).await?),
        Step::RemoveContainer { id, name } => create::remove(context, &engine, id, name).await,
        Step::RemoveLeftovers { name } => create::remove_leftovers(context, &engine, name).await,
        Step::PushSection { expect, section } => Ok(host
            .proxy
            .push(*expect, (**section).clone())
            .await
            .map(drop)?),
        Step::DropSection { key, expect } => Ok(host
            .proxy
            .drop_section(key.clone(), *expect)
            .await
            .map(drop)?),
        Step::CreateBridge { .. }
        | Step::RemoveBridge { .. }
        | Step::CreateProxyVolume
        | Step::LoadProxyImage { .. }
        | Step::CreateProxy { .. }
        | Step::WriteClaim { .. }
        | Step::StartProxy { .. }
        | Step::ClaimProxy
        | Step::RemoveProxyVolume => Err(of_the_host(step)),
    }
}

fn of_the_host(step: &Step) -> StepError {
    StepError::refused(format!("a pipeline does not {step}: that is its host's"))
}

/// One step on an image.
async fn on_images(
    pipelines: &Pipelines,
    pipeline: &DeploymentPipeline,
    seen: &Seen,
    host: &Arc<Host>,
    engine: &Engine,
    step: &Step,
) -> Result<(), StepError> {
    match step {
        Step::TagImage { image, tag } => {
            let (repository, tag) = split_tag(tag);
            Ok(images::tag(engine, image, repository, tag).await?)
        }
        Step::PullImage { image, tag } => {
            let secrets = PullSecrets::of_pipeline(&pipelines.context.client, pipeline).await?;
            let pull = Pull::new(
                object_key(pipeline),
                host,
                image,
                split_tag(tag),
                seen.chance,
            );
            pipelines.pulls.begin(pull, &secrets).await;
            Ok(())
        }
        Step::CancelPull { image } => {
            let key = object_key(pipeline);
            pipelines.pulls.cancel(&key, &host.name, image);
            Ok(())
        }
        Step::UntagImage { tag } => {
            let (repository, tag) = split_tag(tag);
            Ok(images::untag(engine, repository, tag).await?)
        }
        _ => Err(of_the_host(step)),
    }
}

fn object_key(pipeline: &DeploymentPipeline) -> ObjectKey {
    ObjectKey {
        namespace: pipeline.namespace(),
        name: pipeline.name_any(),
    }
}

/// A policy in the Engine's words.
fn restart_policy(policy: RestartPolicy) -> RestartPolicyNameEnum {
    match policy {
        RestartPolicy::Always => RestartPolicyNameEnum::ALWAYS,
        RestartPolicy::No | RestartPolicy::Other => RestartPolicyNameEnum::NO,
    }
}

/// Repository and tag of a reference of ours.
fn split_tag(reference: &str) -> (&str, &str) {
    reference.rsplit_once(':').unwrap_or((reference, "latest"))
}
