//! DockerHost name to a connected Engine and a session with its proxy.
//!
//! Owns the connections and keeps them: each host has a task that connects, listens to the Engine's events and tells
//! [`Wakes`] whom they concern. It must not know what anybody does with a host. Invariants: every DockerHost object
//! that was seen has an entry, also an unreachable one; a new endpoint is a new entry.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;

use crate::backoff::Jitter;
use crate::docker::{Dialer, Endpoint, Engine, Outcome, system};
use crate::gate::Gate;
use crate::proxy_client::{Fence, ProxySession};
use crate::wakes::Wakes;

mod link;
pub mod machine;

/// Steps that run at once on one host, over all objects: an Engine works them off one by one under its own locks, and
/// more only make each slower.
pub const MAX_STEPS: usize = 4;

/// The longest wait for the first try to connect to a host.
const FIRST_CONNECT: Duration = Duration::from_secs(10);

/// How an endpoint is dialled; tests put their own Engine here.
pub type Dial = Arc<dyn Fn(&Endpoint) -> Arc<dyn Dialer> + Send + Sync>;

/// What every host needs of the operator.
#[derive(Clone)]
pub struct Links {
    /// How an endpoint is dialled.
    pub dial: Dial,
    /// What every effect passes.
    pub gate: Arc<dyn Gate>,
    /// Whom the proxies are told to obey.
    pub fence: Fence,
    /// Who is woken by what a host reports.
    pub wakes: Wakes,
    /// Spreads reconnects.
    pub jitter: Arc<Jitter>,
}

/// Every DockerHost that was seen. Cloning shares the entries.
#[derive(Clone)]
pub struct Hosts {
    links: Links,
    entries: Arc<Mutex<BTreeMap<String, Entry>>>,
}

/// A host and the tasks that look after it, which end with the entry.
struct Entry {
    host: Arc<Host>,
    _tasks: JoinSet<()>,
}

/// One host. Facts about it are read through [`Host::engine`] and [`Host::proxy`].
pub struct Host {
    /// The DockerHost's name.
    pub name: String,
    /// Where the Engine is, as the DockerHost says.
    pub endpoint: String,
    /// The session with its proxy.
    pub proxy: ProxySession,
    /// The Engine may not give a container more open files than it has itself; learned by trying.
    pub limits_open_files: AtomicBool,
    /// The Engine that is connected takes no new connections.
    closed: Notify,
    /// `None` until the first try to connect is over.
    engine: watch::Sender<Option<Result<Engine, Outcome>>>,
    host_id: RwLock<Option<String>>,
    steps: Arc<Semaphore>,
}

impl Hosts {
    /// No hosts yet.
    pub fn new(links: Links) -> Hosts {
        Hosts {
            links,
            entries: Arc::default(),
        }
    }

    /// The host of a DockerHost; `None` when no such object was seen yet, which says nothing about the host.
    pub fn get(&self, name: &str) -> Option<Arc<Host>> {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.get(name).map(|entry| Arc::clone(&entry.host))
    }

    /// The names of all, in order.
    pub fn names(&self) -> Vec<String> {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.keys().cloned().collect()
    }

    /// Makes the entry of a DockerHost, or another one when its endpoint has changed. Must be called in a runtime.
    pub fn ensure(&self, name: &str, endpoint: &str) -> Arc<Host> {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = entries.get(name)
            && entry.host.endpoint == endpoint
        {
            return Arc::clone(&entry.host);
        }
        let host = Arc::new(Host {
            name: name.to_owned(),
            endpoint: endpoint.to_owned(),
            proxy: ProxySession::new(name, self.links.fence.clone()),
            limits_open_files: AtomicBool::new(false),
            closed: Notify::new(),
            engine: watch::Sender::new(None),
            host_id: RwLock::new(None),
            steps: Arc::new(Semaphore::new(MAX_STEPS)),
        });
        let mut tasks = JoinSet::new();
        tasks.spawn(link::keep_engine(Arc::clone(&host), self.links.clone()));
        tasks.spawn(link::keep_proxy(Arc::clone(&host), self.links.clone()));
        let entry = Entry {
            host: Arc::clone(&host),
            _tasks: tasks,
        };
        entries.insert(name.to_owned(), entry);
        host
    }

    /// Forgets a host whose DockerHost is gone.
    pub fn remove(&self, name: &str) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.remove(name);
    }

    /// Ends all connections: the operator stops.
    pub fn clear(&self) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.clear();
    }
}

impl Host {
    /// The Engine, or why there is none at the moment. Waits for the end of the first try to connect, a few seconds
    /// at most; never for a later one.
    pub async fn engine(&self) -> Result<Engine, Outcome> {
        let mut engine = self.engine.subscribe();
        let first = engine.wait_for(Option::is_some);
        match tokio::time::timeout(FIRST_CONNECT, first).await {
            Ok(Ok(engine)) => engine.clone().unwrap_or_else(|| Err(not_connected())),
            Ok(Err(_)) | Err(_) => Err(not_connected()),
        }
    }

    /// Fails for an Engine that is ending, and then counts it as lost. It closes its door before it ends the first of
    /// its containers and answers open connections all the while: asked after the facts were read, this tells what
    /// ended by itself from what the Engine ends, which is no failure and must not be started under its hands.
    pub async fn is_open(&self, engine: &Engine) -> Result<(), Outcome> {
        let knocked = system::knock(engine).await;
        knocked.inspect_err(|_| self.closed.notify_waiters())
    }

    /// Whether the Engine is connected right now, and if not why, without waiting.
    fn connected(&self) -> Option<Result<Engine, Outcome>> {
        self.engine.borrow().clone()
    }

    /// The host's identity, once the DockerHost's pass has found it claimed by this install.
    pub fn host_id(&self) -> Option<String> {
        self.host_id
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Notes the host's identity, or that it is not this install's.
    pub fn identify(&self, host_id: Option<&str>) {
        let mut current = self.host_id.write().unwrap_or_else(PoisonError::into_inner);
        if current.as_deref() != host_id {
            *current = host_id.map(str::to_owned);
        }
    }

    /// Waits for one of the host's few places for a step.
    pub async fn permit(&self) -> OwnedSemaphorePermit {
        Arc::clone(&self.steps)
            .acquire_owned()
            .await
            .expect("the semaphore is never closed")
    }

    fn set_engine(&self, engine: Result<Engine, Outcome>) {
        self.engine.send_replace(Some(engine));
    }
}

fn not_connected() -> Outcome {
    Outcome::Unreachable {
        call: "connect".to_owned(),
        message: "not connected yet".to_owned(),
    }
}
