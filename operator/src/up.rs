//! `mooring up`: the control plane and an operator in one process.
//!
//! Owns the order of start and end. It must not know what the server or the controllers do. Invariants: one data
//! directory, one process; a host that carries another install's key is taken over only when that was asked for;
//! ending it touches neither containers nor proxies.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use apiserver::{Config, Server, StartError, Storage};
use kube::client::Body;
use tracing::{info, warn};

use crate::api;
use crate::args::Up;
use crate::bootstrap::{self, BootstrapError, FIRST_HOST, FirstHost, Hosted};
use crate::context::SYSTEM_NAMESPACE;
use crate::controllers::docker_host::claim::{self, ClaimError, Found};
use crate::docker::{Endpoint, EndpointError, Engine};
use crate::gate::{Gate, Open};
use crate::install::{Install, InstallError};
use crate::lease::LeaseError;
use crate::metrics::{MetricsError, Scraped};
use crate::operator::{Operator, OperatorError, Parts};
use crate::proxy_binary::ProxyBinaries;
use crate::service::{self, ServiceError};
use crate::signals::Signals;

/// Who the operator is to the control plane of its own process.
const IDENTITY: &str = "system:mooring";
/// The longest time for an end in order, of the operator and of the control plane each.
const END: Duration = Duration::from_secs(4);
/// The name of the kubeconfig in the data directory.
const KUBECONFIG: &str = "kubeconfig";

/// Why `up` cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum UpError {
    /// The Engine's place cannot be read.
    #[error("--docker: {0}")]
    Docker(#[from] EndpointError),
    /// The control plane does not start.
    #[error("the control plane cannot start: {0}")]
    Server(#[from] StartError),
    /// The control plane cannot be prepared.
    #[error(transparent)]
    Bootstrap(#[from] BootstrapError),
    /// Who this install is cannot be told.
    #[error(transparent)]
    Install(#[from] InstallError),
    /// The host belongs to an install that this data directory does not know.
    #[error("{0}")]
    Claimed(String),
    /// The host's claim cannot be read.
    #[error("{0}; nothing was changed")]
    Claim(#[from] ClaimError),
    /// The host to be adopted cannot be reached.
    #[error("--adopt: {0}")]
    Adopt(String),
    /// The operator ended.
    #[error(transparent)]
    Operator(#[from] OperatorError),
    /// The unit cannot be installed.
    #[error(transparent)]
    Service(#[from] ServiceError),
    /// Metrics cannot be shown.
    #[error(transparent)]
    Metrics(#[from] MetricsError),
    /// The system refused to tell of signals.
    #[error("cannot catch signals: {0}")]
    Signals(#[from] std::io::Error),
}

/// Runs `mooring up` to its end: a signal, or a failure.
pub async fn run(up: &Up) -> Result<(), UpError> {
    let endpoint: Endpoint = up.docker.parse()?;
    if up.install_service {
        let path = service::install(up).await?;
        println!(
            "{} is written and started; journalctl -u {} shows its log",
            path.display(),
            service::UNIT
        );
        return Ok(());
    }
    let mut signals = Signals::new()?;
    let scraped = Scraped::bind(up.metrics_listen).await?;
    let kubeconfig = up
        .kubeconfig
        .clone()
        .unwrap_or_else(|| up.data_dir.join(KUBECONFIG));
    let server = Server::start(Config {
        listen: up.listen.clone(),
        at_rest_key_file: up.at_rest_key_file.clone(),
        kubeconfig: Some(kubeconfig.clone()),
        ..Config::new(Storage::Directory(up.data_dir.clone()))
    })
    .await?;
    let session = Session {
        up,
        endpoint,
        kubeconfig: &kubeconfig,
        server: &server,
    };
    let result = session.run(&mut signals, scraped).await;
    // The server ends last, so that the operator could give its Lease back.
    if tokio::time::timeout(END, server.shutdown()).await.is_err() {
        warn!("the control plane did not end in time; what it had acknowledged is on disk");
    }
    result
}

/// Where the proxy's binary is looked for: beside this program, then where the flag says.
pub fn binaries(proxy_dir: Option<&Path>) -> ProxyBinaries {
    let beside = std::env::current_exe()
        .ok()
        .and_then(|program| program.parent().map(Path::to_owned));
    let directories = beside.into_iter().chain(proxy_dir.map(Path::to_owned));
    ProxyBinaries::in_directories(directories.collect())
}

/// What runs beside the server.
struct Session<'a> {
    up: &'a Up,
    endpoint: Endpoint,
    kubeconfig: &'a PathBuf,
    server: &'a Server,
}

impl Session<'_> {
    async fn run(&self, signals: &mut Signals, scraped: Scraped) -> Result<(), UpError> {
        let gate: Arc<dyn Gate> = Arc::new(Open);
        let client = api::client(self.server.service::<Body>(IDENTITY), Arc::clone(&gate));
        let binaries = binaries(self.up.proxy_dir.as_deref());
        let prepared = tokio::select! {
            prepared = self.prepare(&client, &gate, &binaries) => prepared?,
            signal = signals.next() => {
                info!(signal, "ending");
                return Ok(());
            }
        };
        let mut parts = Parts::new(client, binaries);
        // The data directory belongs to one process, so whoever held the Lease under this name is dead.
        parts.identity = format!("mooring-up-{}", prepared.install.id);
        parts.gate = gate;
        parts.fresh_install = prepared.install;
        let scraped = scraped.serve(parts.metrics.clone());
        tokio::pin!(scraped);
        let mut operator = Operator::start(parts.clone());
        let mut ready_line = Some(self.ready_line(prepared.http_port));
        loop {
            let ended = tokio::select! {
                ended = async {
                    if operator.started().await.is_some()
                        && let Some(line) = ready_line.take()
                    {
                        println!("{line}");
                    }
                    operator.ended().await
                } => ended,
                never = &mut scraped => match never {},
                signal = signals.next() => {
                    info!(signal, "ending; containers and proxies go on");
                    break;
                }
            };
            match ended {
                // The whole process stood still, as on a machine that slept. What was under way then is given up, and
                // the next operator begins from the facts, under a higher epoch.
                Err(OperatorError::Lease(error @ LeaseError::Expired { .. })) => {
                    warn!(%error, "beginning anew in the same process");
                    operator = Operator::start(parts.clone());
                }
                ended => return Ok(ended?),
            }
        }
        match tokio::time::timeout(END, operator.stop()).await {
            Ok(ended) => Ok(ended?),
            Err(_) => {
                warn!("the operator did not end in time and was cut off");
                Ok(())
            }
        }
    }

    /// Definitions, namespace, install and first host.
    async fn prepare(
        &self,
        client: &kube::Client,
        gate: &Arc<dyn Gate>,
        binaries: &ProxyBinaries,
    ) -> Result<Prepared, UpError> {
        bootstrap::definitions(client).await?;
        bootstrap::namespace(client, SYSTEM_NAMESPACE).await?;
        let install = match Install::read(client, SYSTEM_NAMESPACE).await? {
            Some(install) => install,
            None => {
                let fresh = self.fresh_install(gate, binaries).await?;
                Install::ensure(client, SYSTEM_NAMESPACE, fresh).await?
            }
        };
        let wanted = FirstHost {
            endpoint: self.up.docker.clone(),
            http_port: self.up.http_port,
        };
        let http_port = match bootstrap::first_host(client, &wanted).await? {
            Hosted::Made => {
                info!(host = FIRST_HOST, "made the first DockerHost");
                self.up.http_port
            }
            Hosted::Kept {
                http_port,
                difference,
            } => {
                if let Some(difference) = difference {
                    warn!("{difference}");
                }
                http_port.unwrap_or(self.up.http_port)
            }
        };
        Ok(Prepared { install, http_port })
    }

    /// The install for an empty data directory: a new one, or the one that the host belongs to.
    async fn fresh_install(
        &self,
        gate: &Arc<dyn Gate>,
        binaries: &ProxyBinaries,
    ) -> Result<Install, UpError> {
        let engine = match Engine::connect(&self.endpoint, Arc::clone(gate)).await {
            Ok(engine) => engine,
            Err(outcome) if self.up.adopt => return Err(UpError::Adopt(outcome.to_string())),
            Err(outcome) => {
                // Its claim is found when it can be reached; the DockerHost says so then.
                warn!(%outcome, "cannot look whether the host belongs to another install");
                return Ok(Install::random());
            }
        };
        match claim::find(&engine, binaries).await? {
            None => {
                if self.up.adopt {
                    info!("--adopt: the host belongs to no install; this is a new one");
                }
                Ok(Install::random())
            }
            Some(found) if self.up.adopt => {
                info!(
                    install = found.install.id,
                    host = found.host_id,
                    "taking the host over"
                );
                Ok(found.install)
            }
            Some(found) => Err(UpError::Claimed(refusal(&found, &self.up.data_dir))),
        }
    }

    /// The one line that says that all is up, and what to know.
    fn ready_line(&self, http_port: u16) -> String {
        let addresses: Vec<String> = self
            .server
            .addresses()
            .iter()
            .map(SocketAddr::to_string)
            .collect();
        format!(
            "mooring is ready on {}: export KUBECONFIG={}; the proxy of this host listens on port {http_port}, in the host's own network, so a firewall must let it in, for example: nft insert rule inet filter input tcp dport {http_port} accept",
            addresses.join(" and "),
            self.kubeconfig.display(),
        )
    }
}

/// What `up` has prepared.
struct Prepared {
    install: Install,
    http_port: u16,
}

/// Why an empty data directory does not simply begin on this host.
fn refusal(found: &Found, data_dir: &Path) -> String {
    let Found {
        install,
        host_id,
        instances,
    } = found;
    let running = if instances.is_empty() {
        "none of its instances is here".to_owned()
    } else {
        let list: Vec<String> = instances
            .iter()
            .map(|(pipeline, count)| format!("{pipeline} ({count})"))
            .collect();
        format!("its instances here are of {}", list.join(", "))
    };
    format!(
        "this host (identity {host_id}) belongs to install {}, which the data directory {} knows nothing of; {running}. Start mooring up with the data directory of that install, or, if it is lost, add --adopt to take the host over: applying the same manifests then adopts what runs. Nothing was changed",
        install.id,
        data_dir.display()
    )
}
