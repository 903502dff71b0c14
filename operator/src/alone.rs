//! `mooring operator`: the controllers alone, against any Kubernetes API.
//!
//! Owns the finding of the API and of the system namespace. It must not know what the API is.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use kube::config::{Config, KubeConfigOptions, Kubeconfig};
use tracing::{info, warn};

use crate::api;
use crate::args;
use crate::context::SYSTEM_NAMESPACE;
use crate::gate::{Gate, Open};
use crate::metrics::{MetricsError, Scraped};
use crate::operator::{Operator, OperatorError, Parts};
use crate::signals::Signals;
use crate::up;

/// The longest time for an end in order.
const END: Duration = Duration::from_secs(8);

/// Why `operator` cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum AloneError {
    /// There is no kubeconfig, or it cannot be used.
    #[error("{0}")]
    Api(String),
    /// The operator ended.
    #[error(transparent)]
    Operator(#[from] OperatorError),
    /// Metrics cannot be shown.
    #[error(transparent)]
    Metrics(#[from] MetricsError),
    /// The system refused to tell of signals.
    #[error("cannot catch signals: {0}")]
    Signals(#[from] std::io::Error),
}

/// Runs `mooring operator` to its end: a signal, or a failure.
pub async fn run(arguments: &args::Operator) -> Result<(), AloneError> {
    let mut signals = Signals::new()?;
    let scraped = Scraped::bind(arguments.metrics_listen).await?;
    let (config, own_namespace) = config(arguments.kubeconfig.as_deref()).await?;
    let gate: Arc<dyn Gate> = Arc::new(Open);
    let url = config.cluster_url.to_string();
    let client = api::connect(config, Arc::clone(&gate))
        .map_err(|error| AloneError::Api(format!("cannot use the API at {url}: {error}")))?;
    let mut parts = Parts::new(client, up::binaries(arguments.proxy_dir.as_deref()));
    parts.gate = gate;
    parts.system_namespace = arguments
        .system_namespace
        .clone()
        .or(own_namespace)
        .unwrap_or_else(|| SYSTEM_NAMESPACE.to_owned());
    info!(api = url, namespace = parts.system_namespace, "starting");
    let metrics = parts.metrics.clone();
    let mut operator = Operator::start(parts);
    tokio::select! {
        ended = operator.ended() => return Ok(ended?),
        never = scraped.serve(metrics) => match never {},
        signal = signals.next() => info!(signal, "ending; containers and proxies go on"),
    }
    match tokio::time::timeout(END, operator.stop()).await {
        Ok(ended) => Ok(ended?),
        Err(_) => {
            warn!("the operator did not end in time and was cut off");
            Ok(())
        }
    }
}

/// The API to work on: the file, else what kubectl would use, else the cluster that this runs in. In a Pod also the
/// Pod's namespace.
pub async fn config(file: Option<&Path>) -> Result<(Config, Option<String>), AloneError> {
    let options = KubeConfigOptions::default();
    if let Some(path) = file {
        let unusable = |error: &dyn std::fmt::Display| {
            AloneError::Api(format!("the kubeconfig {}: {error}", path.display()))
        };
        let kubeconfig = Kubeconfig::read_from(path).map_err(|error| unusable(&error))?;
        let config = Config::from_custom_kubeconfig(kubeconfig, &options)
            .await
            .map_err(|error| unusable(&error))?;
        return Ok((config, None));
    }
    let from_file = match Config::from_kubeconfig(&options).await {
        Ok(config) => return Ok((config, None)),
        Err(error) => error,
    };
    match Config::incluster() {
        Ok(config) => {
            let namespace = config.default_namespace.clone();
            Ok((config, Some(namespace)))
        }
        Err(in_cluster) => Err(AloneError::Api(format!(
            "there is no Kubernetes API to work on: {from_file}; and not in a Pod: {in_cluster}. Name one with --kubeconfig"
        ))),
    }
}
