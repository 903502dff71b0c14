//! The pipeline's pass: observe, decide in `plan`, record, act.
//!
//! Owns the containers and the route-table section of each pipeline. Must not judge: every choice
//! is made by [`plan::deployment_pipeline::decide`].

use std::sync::Arc;

use crds::DeploymentPipeline;
use jiff::Timestamp;
use plan::deployment_pipeline::Record;
use plan::{Plan, StepFailure};

use crate::context::Context;
use crate::driver::{Controller, Effect, ObserveError, RecordError, StepError};
use crate::exec_probe::ExecProbes;
use crate::jobs::Stops;
use crate::jobs::pulls::Pulls;
use crate::jobs::resolutions::Resolutions;

mod act;
mod container;
mod create;
mod declared;
mod endpoints;
mod files;
mod inspect;
mod observe;
mod record;
mod redact;
mod resolve;
mod start;

pub use observe::Seen;

/// The controller of [`DeploymentPipeline`].
pub struct Pipelines {
    context: Arc<Context>,
    exec: ExecProbes,
    stops: Stops,
    pulls: Pulls,
    resolutions: Resolutions,
}

impl Pipelines {
    /// The controller, with no job under way.
    pub fn new(context: Arc<Context>) -> Self {
        let exec = ExecProbes::new(Arc::clone(&context.clock), context.wakes.clone());
        let pulls = Pulls::new(Arc::clone(&context.clock), context.wakes.clone());
        let resolutions = Resolutions::new(Arc::clone(&context.clock), context.wakes.clone());
        Self {
            context,
            exec,
            stops: Stops::default(),
            pulls,
            resolutions,
        }
    }
}

impl Controller for Pipelines {
    type Object = DeploymentPipeline;
    type Observed = Seen;
    type Record = Record;

    async fn observe(
        &self,
        object: &DeploymentPipeline,
        failures: Vec<StepFailure>,
    ) -> Result<Seen, ObserveError> {
        observe::observe(self, object, failures).await
    }

    fn decide(object: &DeploymentPipeline, seen: &Seen, now: Timestamp) -> Plan<Record> {
        plan::deployment_pipeline::decide(object, &seen.observed, now)
    }

    async fn record(
        &self,
        object: &DeploymentPipeline,
        seen: &Seen,
        record: &Record,
    ) -> Result<(), RecordError> {
        record::write(&self.context, object, seen, record).await
    }

    async fn act(
        &self,
        object: &DeploymentPipeline,
        seen: &Seen,
        effect: Effect<'_>,
    ) -> Result<(), StepError> {
        match effect {
            Effect::Api(step) => act::on_api(self, object, seen, step).await,
            Effect::Host(host, step) => act::on_host(self, object, seen, host, step).await,
        }
    }

    fn state(record: &Record) -> String {
        record.summary.summary.clone()
    }
}
