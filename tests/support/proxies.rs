//! Real proxies in fake containers: the data plane of an in-process world.
//!
//! Each proxy container of the fake Engine runs a [`proxy::Proxy`] whose checks and requests go to
//! the fake Engine's containers. Its table is on a disk that survives the container's restarts, as
//! the state volume would.

use std::collections::BTreeMap;
use std::net::SocketAddrV4;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use proxy::{Config, Dial, Dialling, Io, Proxy, Storage};
use tokio::task::AbortHandle;

use crate::fake_engine::{ContainerView, ExecIo, FakeEngine, Program};

/// The repository of the proxy's images.
pub const REPOSITORY: &str = "mooring-proxy";

/// Every proxy of one fake Engine.
pub struct Proxies {
    engine: FakeEngine,
    state: PathBuf,
    running: Mutex<BTreeMap<String, (Proxy, AbortHandle)>>,
}

impl Proxies {
    /// Puts proxies into the Engine's proxy containers; `state` is where their tables are kept.
    pub fn install(engine: &FakeEngine, state: PathBuf) -> Arc<Self> {
        let proxies = Arc::new(Self {
            engine: engine.clone(),
            state,
            running: Mutex::default(),
        });
        engine.install(REPOSITORY, Arc::clone(&proxies) as Arc<dyn Program>);
        proxies
    }

    fn running(&self) -> MutexGuard<'_, BTreeMap<String, (Proxy, AbortHandle)>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the one running proxy serves and counts.
    pub fn status(&self) -> Option<routes::Status> {
        self.running()
            .values()
            .next()
            .map(|(proxy, _)| proxy.status())
    }

    /// The one running proxy.
    pub fn proxy(&self) -> Option<Proxy> {
        self.running()
            .values()
            .next()
            .map(|(proxy, _)| proxy.clone())
    }
}

impl Program for Proxies {
    fn started(&self, container: ContainerView) {
        let proxy = Proxy::open(Config {
            storage: Storage::Directory(self.state.clone()),
            dial: Arc::new(IntoContainers(self.engine.clone())),
            workers: 0,
        });
        let listening = {
            let proxy = proxy.clone();
            // Any free port: the tests' requests are handed over without it.
            async move { proxy.listen(0, Duration::ZERO).await }
        };
        let task = tokio::spawn(listening).abort_handle();
        self.running().insert(container.id, (proxy, task));
    }

    fn ended(&self, id: &str) {
        if let Some((proxy, task)) = self.running().remove(id) {
            proxy.stop();
            task.abort();
        }
    }

    fn exec(
        &self,
        container: ContainerView,
        command: Vec<String>,
        io: ExecIo,
    ) -> BoxFuture<'static, i64> {
        let proxy = self
            .running()
            .get(&container.id)
            .map(|(proxy, _)| proxy.clone());
        async move {
            match (proxy, command.get(1).map(String::as_str)) {
                (Some(proxy), Some("connect")) => {
                    proxy.session(io.stream).await;
                    0
                }
                (Some(_) | None, Some(_) | None) => 127,
            }
        }
        .boxed()
    }
}

/// Dials the fake Engine's containers by address.
struct IntoContainers(FakeEngine);

impl Dial for IntoContainers {
    fn dial(&self, address: SocketAddrV4) -> Dialling {
        let engine = self.0.clone();
        Box::pin(async move {
            let stream = engine.dial(*address.ip(), address.port()).await?;
            Ok(Box::new(stream) as Box<dyn Io>)
        })
    }
}
