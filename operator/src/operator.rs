//! One operator: takes the Lease, learns who it acts for, runs the controllers.
//!
//! Owns the wiring and the end. It must not know whether it runs beside an API server of its own. Invariants: nothing
//! is done without the Lease; losing it ends everything; there are no globals, and dropping the [`Handle`] ends every
//! task at whatever it was doing.

use std::sync::Arc;

use tokio::sync::{oneshot, watch};
use tokio::task::{JoinError, JoinHandle};
use tracing::{info, warn};

use crate::addresses::Addresses;
use crate::backoff::{self, Jitter};
use crate::clock::{Clock, System};
use crate::context::{Context, SYSTEM_NAMESPACE};
use crate::controllers;
use crate::docker::Endpoint;
use crate::events::Events;
use crate::gate::{Gate, Open};
use crate::hosts::machine::{Machine, ThisMachine};
use crate::hosts::{Dial, Hosts, Links};
use crate::install::{Install, InstallError, random_16};
use crate::lease::{Holder, LeaseError};
use crate::metrics::Metrics;
use crate::proxy_binary::ProxyBinaries;
use crate::proxy_client::Fence;
use crate::wakes::Wakes;

/// Everything that an operator is made of. A clone makes another operator of the same.
#[derive(Clone)]
pub struct Parts {
    /// The API, made by [`crate::api::client`] or [`crate::api::connect`], so that every write passes the gate.
    pub client: kube::Client,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// What every effect passes; the same as the client's.
    pub gate: Arc<dyn Gate>,
    /// How an endpoint is dialled.
    pub dial: Dial,
    /// What the machine of a local Engine can tell.
    pub machine: Arc<dyn Machine>,
    /// Where the proxy's binary comes from.
    pub proxy_binaries: ProxyBinaries,
    /// Seed of all spreading of waits.
    pub seed: u64,
    /// Who holds the Lease. The same identity takes over at once: two processes must not live under one.
    pub identity: String,
    /// Where the Secret and the Lease are kept. It must exist.
    pub system_namespace: String,
    /// The install that is made when the API has none.
    pub fresh_install: Install,
    /// Counters.
    pub metrics: Metrics,
}

impl Parts {
    /// The parts of production, with an open gate.
    pub fn new(client: kube::Client, proxy_binaries: ProxyBinaries) -> Parts {
        let random = random_16();
        let seed = u64::from_be_bytes(random[..8].try_into().expect("eight of sixteen bytes"));
        Parts {
            client,
            clock: Arc::new(System),
            gate: Arc::new(Open),
            dial: Arc::new(Endpoint::dialer),
            machine: Arc::new(ThisMachine),
            proxy_binaries,
            seed,
            identity: format!("mooring-{}", crate::hex::encode(&random[8..12])),
            system_namespace: SYSTEM_NAMESPACE.to_owned(),
            fresh_install: Install::random(),
            metrics: Metrics::new(),
        }
    }
}

/// Why an operator ended.
#[derive(Debug, thiserror::Error)]
pub enum OperatorError {
    /// The Lease is not ours any more.
    #[error(transparent)]
    Lease(#[from] LeaseError),
    /// Who we act for cannot be told.
    #[error(transparent)]
    Install(#[from] InstallError),
    /// A task that never ends has ended: a fault of ours.
    #[error("{0} ended; this is a fault in Mooring")]
    Ended(String),
}

/// The entry point of an operator in this process.
pub struct Operator;

impl Operator {
    /// Starts an operator on the current runtime.
    pub fn start(parts: Parts) -> Handle {
        let (stop, stopped) = oneshot::channel();
        let (phase, phases) = watch::channel(None);
        let task = tokio::spawn(run(parts, stopped, phase));
        Handle {
            task,
            stop: Some(stop),
            phases,
        }
    }
}

/// A running operator. Dropping it ends every task of it.
pub struct Handle {
    task: JoinHandle<Result<(), OperatorError>>,
    stop: Option<oneshot::Sender<()>>,
    phases: watch::Receiver<Option<Arc<Context>>>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Handle {
    /// Waits until the controllers run and gives what they share; `None` when the operator ended before.
    pub async fn started(&self) -> Option<Arc<Context>> {
        let mut phases = self.phases.clone();
        let context = phases.wait_for(Option::is_some).await.ok()?;
        context.clone()
    }

    /// Waits for the end. Without [`Handle::stop`] this is always a failure.
    pub async fn ended(&mut self) -> Result<(), OperatorError> {
        joined((&mut self.task).await)
    }

    /// Ends the operator in order: controllers first, then the Lease is given back.
    pub async fn stop(mut self) -> Result<(), OperatorError> {
        if let Some(stop) = self.stop.take() {
            // The receiver is gone when the operator has ended by itself, which `ended` tells.
            let _ = stop.send(());
        }
        self.ended().await
    }
}

fn joined(result: Result<Result<(), OperatorError>, JoinError>) -> Result<(), OperatorError> {
    result.unwrap_or_else(|error| Err(OperatorError::Ended(error.to_string())))
}

async fn run(
    parts: Parts,
    mut stopped: oneshot::Receiver<()>,
    phase: watch::Sender<Option<Arc<Context>>>,
) -> Result<(), OperatorError> {
    let lease = Holder::new(
        parts.client.clone(),
        &parts.system_namespace,
        Arc::clone(&parts.clock),
        &parts.identity,
    );
    tokio::select! {
        () = lease.acquire() => {}
        _ = &mut stopped => return Ok(()),
    }
    let context = tokio::select! {
        context = wire(parts, lease.clone()) => context?,
        lost = lease.keep() => return Err(lost.into()),
        _ = &mut stopped => {
            lease.release().await;
            return Ok(());
        }
    };
    let _connections = Connections(context.hosts.clone());
    let mut tasks = controllers::start(&context);
    info!(
        install = context.install.id,
        epoch = context.epoch.current(),
        "the controllers run"
    );
    phase.send_replace(Some(context));
    tokio::select! {
        lost = lease.keep() => Err(lost.into()),
        ended = tasks.join_next() => Err(OperatorError::Ended(match ended {
            Some(Ok(name)) => name.to_owned(),
            Some(Err(error)) => error.to_string(),
            None => "everything".to_owned(),
        })),
        _ = &mut stopped => {
            tasks.shutdown().await;
            lease.release().await;
            Ok(())
        }
    }
}

/// Ends the connections to hosts with the operator, whoever else still holds a handle on them.
struct Connections(Hosts);

impl Drop for Connections {
    fn drop(&mut self) {
        self.0.clear();
    }
}

/// Makes the handles. Waits out an API that does not answer.
async fn wire(parts: Parts, lease: Holder) -> Result<Arc<Context>, InstallError> {
    let Parts {
        client,
        clock,
        gate,
        dial,
        machine,
        proxy_binaries,
        seed,
        identity,
        system_namespace,
        fresh_install,
        metrics,
    } = parts;
    let jitter = Arc::new(Jitter::new(seed));
    let mut attempts = 0;
    let install = loop {
        match Install::ensure(&client, &system_namespace, fresh_install.clone()).await {
            Ok(install) => break install,
            Err(error @ InstallError::Unreadable { .. }) => return Err(error),
            Err(error @ InstallError::Api { .. }) => {
                warn!(%error, "cannot tell who this install is; trying again");
                attempts += 1;
                clock
                    .sleep(backoff::CONNECT.delay(attempts, jitter.next()))
                    .await;
            }
        }
    };
    let wakes = Wakes::default();
    let links = Links {
        dial,
        gate: Arc::clone(&gate),
        fence: Fence {
            install: install.id.clone(),
            epoch: lease.epoch(),
            gate: Arc::clone(&gate),
        },
        wakes: wakes.clone(),
        jitter: Arc::clone(&jitter),
    };
    Ok(Arc::new(Context {
        events: Events::new(client.clone(), Arc::clone(&clock), &identity),
        client,
        clock,
        gate,
        hosts: Hosts::new(links),
        install,
        addresses: Addresses::default(),
        epoch: lease.epoch(),
        lease,
        metrics,
        wakes,
        jitter,
        proxy_binaries,
        machine,
        system_namespace,
    }))
}
