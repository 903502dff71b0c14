//! Starts one controller per kind and everything that wakes objects.
//!
//! Owns the watches. They only wake: what changed is never asked, facts are read by the pass. It must not know what a
//! pass does. Invariant: after a gap in a watch everything that it covers is woken.

use std::sync::Arc;

use tokio::task::JoinSet;

use crate::context::Context;
use crate::driver;

pub mod deployment_pipeline;
pub mod docker_host;
mod watches;
mod words;

use deployment_pipeline::Pipelines;
use docker_host::DockerHosts;

/// Starts all; they run until the set is dropped. None of them ends by itself.
pub fn start(context: &Arc<Context>) -> JoinSet<&'static str> {
    let mut tasks = JoinSet::new();
    let hosts = Arc::new(DockerHosts::new(Arc::clone(context)));
    let queue = context.wakes.hosts.clone();
    let shared = Arc::clone(context);
    tasks.spawn(async move {
        driver::run(hosts, shared, queue).await;
        "the controller of DockerHosts"
    });
    let pipelines = Arc::new(Pipelines::new(Arc::clone(context)));
    let queue = context.wakes.pipelines.clone();
    let shared = Arc::clone(context);
    tasks.spawn(async move {
        driver::run(pipelines, shared, queue).await;
        "the controller of DeploymentPipelines"
    });
    let shared = Arc::clone(context);
    tasks.spawn(async move {
        watches::docker_hosts(&shared).await;
        "the watch of DockerHosts"
    });
    let shared = Arc::clone(context);
    tasks.spawn(async move {
        watches::pipelines(&shared).await;
        "the watch of DeploymentPipelines"
    });
    let shared = Arc::clone(context);
    tasks.spawn(async move {
        watches::releases(&shared).await;
        "the watch of Releases"
    });
    tasks
}
