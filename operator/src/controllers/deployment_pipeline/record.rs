//! Writes the record of a pass: the Releases' statuses, which gate the steps, then the summary.
//!
//! Each is written under the resourceVersion that the plan was made from, and not at all when it
//! says what is there.

use crds::release::Outcome;
use crds::{DeploymentPipeline, Release, ReleaseStatus};
use kube::{Api, ResourceExt as _};
use plan::deployment_pipeline::Record;

use super::observe::Seen;
use crate::api;
use crate::context::Context;
use crate::driver::RecordError;

/// Writes what differs.
///
/// # Errors
/// A conflict on a Release ends the pass. One on the summary does not: nothing is decided from it,
/// and whoever wrote in between wakes the pipeline again.
pub(super) async fn write(
    context: &Context,
    pipeline: &DeploymentPipeline,
    seen: &Seen,
    record: &Record,
) -> Result<(), RecordError> {
    let namespace = pipeline.namespace().unwrap_or_default();
    let releases = Api::<Release>::namespaced(context.client.clone(), &namespace);
    for (name, status) in &record.releases {
        let Some(known) = seen.releases.get(name) else {
            continue;
        };
        if known.status.as_ref() == Some(status) {
            continue;
        }
        let next = Release {
            status: Some(status.clone()),
            ..known.clone()
        };
        api::replace_status(&releases, &next).await?;
        for outcome in outcomes(status).filter(|ended| !before(known).contains(ended)) {
            context.metrics.rollout(&format!("{:?}", outcome.1));
        }
    }
    if pipeline.status.as_ref() != Some(&record.summary) {
        let next = DeploymentPipeline {
            status: Some(record.summary.clone()),
            ..pipeline.clone()
        };
        let pipelines = Api::<DeploymentPipeline>::namespaced(context.client.clone(), &namespace);
        match api::replace_status(&pipelines, &next).await {
            Ok(_) => {}
            Err(error) if api::is_conflict(&error) || api::is_not_found(&error) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// The stages whose rollout has ended, and how.
fn outcomes(status: &ReleaseStatus) -> impl Iterator<Item = (&str, Outcome)> {
    let stages = status.stages.iter();
    stages.filter_map(|stage| Some((stage.name.as_str(), stage.outcome?)))
}

/// Those that had ended already.
fn before(release: &Release) -> Vec<(&str, Outcome)> {
    release.status.iter().flat_map(outcomes).collect()
}
