//! The host's pass: observe, decide in `plan`, record, act.
//!
//! Owns the proxy container with its volume and image, the bridges, the claim, and sections without an owner. It must
//! not judge: every choice is made by [`plan::docker_host::decide`].

use std::sync::Arc;

use crds::{DockerHost, DockerHostStatus};
use jiff::Timestamp;
use kube::ResourceExt as _;
use kube::api::Api;
use plan::docker_host::{Observed, StateVolume};
use plan::{ApiStep, Plan, StepFailure};

use crate::api;
use crate::context::Context;
use crate::driver::{Controller, Effect, ObserveError, RecordError, StepError};

mod act;
pub mod claim;
mod garbage;
mod make;
mod observe;

/// The controller of [`DockerHost`].
pub struct DockerHosts {
    context: Arc<Context>,
}

impl DockerHosts {
    /// The controller.
    pub fn new(context: Arc<Context>) -> DockerHosts {
        DockerHosts { context }
    }

    fn api(&self) -> Api<DockerHost> {
        Api::all(self.context.client.clone())
    }
}

impl Controller for DockerHosts {
    type Object = DockerHost;
    type Observed = Observed;
    type Record = DockerHostStatus;

    async fn observe(
        &self,
        object: &DockerHost,
        failures: Vec<StepFailure>,
    ) -> Result<Observed, ObserveError> {
        observe::observe(&self.context, object, failures).await
    }

    fn decide(object: &DockerHost, observed: &Observed, now: Timestamp) -> Plan<DockerHostStatus> {
        plan::docker_host::decide(object, observed, now)
    }

    async fn record(
        &self,
        object: &DockerHost,
        observed: &Observed,
        record: &DockerHostStatus,
    ) -> Result<(), RecordError> {
        if object.status.as_ref() != Some(record) {
            let next = DockerHost {
                status: Some(record.clone()),
                ..object.clone()
            };
            api::replace_status(&self.api(), &next).await?;
        }
        // From here on instances may carry the identity: the host carries it too, and both records agree.
        if let (Some(host), Some(inventory)) = (
            self.context.hosts.get(&object.name_any()),
            observed.inventory.known(),
        ) {
            let carried = match &inventory.volume {
                StateVolume::Ours { host_id } => Some(host_id.as_str()),
                StateVolume::Absent | StateVolume::Foreign { .. } => None,
            };
            host.identify(carried.filter(|id| record.host_id.as_deref() == Some(*id)));
        }
        Ok(())
    }

    async fn act(
        &self,
        object: &DockerHost,
        observed: &Observed,
        effect: Effect<'_>,
    ) -> Result<(), StepError> {
        match effect {
            Effect::Api(ApiStep::AddFinalizer) => {
                Ok(api::add_finalizer(&self.api(), object).await?)
            }
            Effect::Api(ApiStep::DropFinalizer) => {
                Ok(api::drop_finalizer(&self.api(), object).await?)
            }
            Effect::Api(
                step @ (ApiStep::CreateRelease { .. }
                | ApiStep::CreateSnapshot { .. }
                | ApiStep::OwnSnapshot { .. }
                | ApiStep::DeleteRelease { .. }
                | ApiStep::ReleaseFinalizer { .. }),
            ) => Err(act::not_ours(step)),
            Effect::Host(_, step) => act::on_host(&self.context, object, observed, step).await,
        }
    }

    fn state(record: &DockerHostStatus) -> String {
        let ready = record.conditions.first();
        ready.map_or_else(String::new, |ready| format!("{:?}", ready.reason))
    }
}
