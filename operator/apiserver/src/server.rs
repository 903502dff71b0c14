//! Owns the server as a whole: its configuration, its start and its end.
//!
//! It must not know what a request means. Invariants: when [`Server::start`] returns, requests are answered from a
//! complete state; when [`Server::shutdown`] returns, everything that was acknowledged is on disk and the data is free
//! for the next start.

use std::convert::Infallible;
use std::io;
use std::marker::PhantomData;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body as HttpBody;
use jiff::Timestamp;
use tokio::task::{JoinHandle, JoinSet};
use tower::Service;

use crate::audit::{AuditLog, Sink};
use crate::auth::{Authenticator, Identity};
use crate::error::ApiError;
use crate::handlers::{self, Body, BoxError, Caller};
use crate::hub::{Clock, Hub, Parts};
use crate::store::crypt::write_private;
use crate::store::{self, MemoryDisk, OpenError, Place, Store, Writer};
use crate::tls::{Certificates, RENEW_AFTER_DAYS, TlsError};
use crate::{definition, events, garbage, kubeconfig, namespace, serve};

/// Where the server keeps its data.
#[derive(Clone, Debug)]
pub enum Storage {
    /// A directory of the host, used by one server at a time: `objects.redb`, `keys/`, `audit/`.
    Directory(PathBuf),
    /// A disk in memory, which survives the server as a directory would. Everything then runs in the caller's runtime
    /// without threads, so that a test may drive time.
    Memory(MemoryDisk),
}

/// How a server is started.
#[derive(Clone)]
pub struct Config {
    /// Where the data is.
    pub storage: Storage,
    /// Addresses to listen on with TLS; port 0 takes a free one. Empty: reached in process only.
    pub listen: Vec<SocketAddr>,
    /// The key that Secrets are encrypted with, 64 hexadecimal digits; else one in the data directory is made.
    pub at_rest_key_file: Option<PathBuf>,
    /// Where the kubeconfig is written, mode 0600. A kubeconfig found there keeps its token; one that was removed gets
    /// a new token, and the old one is worth nothing.
    pub kubeconfig: Option<PathBuf>,
    /// Further names and addresses in the server's certificate.
    pub certificate_names: Vec<String>,
    /// Tells the time that is written into objects and judged by.
    pub clock: Clock,
    /// Receives every audit entry, beside the log in the data directory.
    pub audit: Option<Sink>,
}

impl Config {
    /// A server on this storage that listens nowhere and goes by the system's clock.
    pub fn new(storage: Storage) -> Self {
        Self {
            storage,
            listen: Vec::new(),
            at_rest_key_file: None,
            kubeconfig: None,
            certificate_names: Vec::new(),
            clock: Arc::new(Timestamp::now),
            audit: None,
        }
    }
}

/// Why a server does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// Keys or certificates cannot be had.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// A file cannot be read or written.
    #[error("{path}: {source}")]
    File {
        /// The file or directory.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// An address cannot be listened on.
    #[error(
        "cannot listen on {address}: {source}; is another process there, or is it no address of this host?"
    )]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// What must exist from the start cannot be created.
    #[error("the initial objects cannot be created: {0}")]
    Initial(#[from] ApiError),
}

/// A running server. Dropping it stops it without draining; [`Server::shutdown`] is the way to end it.
pub struct Server {
    hub: Arc<Hub>,
    loops: JoinSet<()>,
    listeners: JoinSet<()>,
    writer: Option<JoinHandle<()>>,
    addresses: Vec<SocketAddr>,
    authority_pem: String,
    token: String,
}

/// How long the writer may take for what is staged when the server stops.
const WRITTEN_WITHIN: Duration = Duration::from_secs(5);

impl Server {
    /// Opens the data, creates what must exist, and begins to serve.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        let directory = match &config.storage {
            Storage::Directory(directory) => Some(directory.clone()),
            Storage::Memory(_) => None,
        };
        let (store, writer) = open(&config).await?;
        let keys = prepare(directory.as_deref(), "keys")?;
        let audit_log = prepare(directory.as_deref(), "audit")?;
        let known = config.kubeconfig.as_deref().and_then(kubeconfig::token);
        let (authenticator, token) = match &keys {
            Some(keys) => Authenticator::open(keys, known).map_err(file(keys))?,
            None => Authenticator::in_memory().map_err(file(Path::new("token")))?,
        };
        let audit = AuditLog::open(audit_log.as_deref(), config.audit.clone())
            .map_err(file(Path::new("audit")))?;
        let now = (config.clock)();
        let mut sockets = Vec::new();
        for address in &config.listen {
            let listener = serve::bind(*address)
                .await
                .map_err(|source| StartError::Listen {
                    address: *address,
                    source,
                })?;
            sockets.push(listener);
        }
        let certificates = Arc::new(Certificates::open(
            keys.as_deref(),
            &config.listen,
            &config.certificate_names,
            now,
        )?);
        let hub = Arc::new(Hub::new(Parts {
            store,
            audit,
            authenticator,
            clock: Arc::clone(&config.clock),
            threads: directory.is_some(),
        }));
        let mut server = Self {
            writer: Some(tokio::spawn(writer.run())),
            loops: JoinSet::new(),
            listeners: JoinSet::new(),
            addresses: sockets
                .iter()
                .filter_map(|socket| socket.local_addr().ok())
                .collect(),
            authority_pem: certificates.authority_pem().to_owned(),
            token,
            hub: Arc::clone(&hub),
        };
        namespace::create_initial(&hub).await?;
        server.loops.spawn(definition::tend(Arc::clone(&hub)));
        server.loops.spawn(namespace::tend(Arc::clone(&hub)));
        server.loops.spawn(garbage::collect(Arc::clone(&hub)));
        server.loops.spawn(events::expire(Arc::clone(&hub)));
        for socket in sockets {
            let serving = serve::serve(Arc::clone(&hub), socket, Arc::clone(&certificates));
            server.listeners.spawn(serving);
        }
        if !server.addresses.is_empty() {
            server.loops.spawn(renew(certificates, Arc::clone(&hub)));
        }
        if let (Some(path), Some(address)) = (&config.kubeconfig, server.addresses.first()) {
            let text = server.kubeconfig(&server_url(*address));
            write_private(path, text.as_bytes()).map_err(file(path))?;
        }
        hub.set_ready();
        Ok(server)
    }

    /// The server as a service in this process: requests of this identity need no token and no socket.
    pub fn service<B>(&self, identity: &str) -> InProcess<B> {
        InProcess {
            hub: Arc::clone(&self.hub),
            identity: Identity::named(identity),
            body: PhantomData,
        }
    }

    /// The addresses that are listened on, with the ports that were taken.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// A kubeconfig for the administrator that reaches the server at this URL. It holds the token: mode 0600.
    pub fn kubeconfig(&self, server_url: &str) -> String {
        kubeconfig::render(server_url, &self.authority_pem, &self.token)
    }

    /// Ends watches, lets requests finish for a few seconds, commits what is staged and closes the data.
    pub async fn shutdown(mut self) {
        self.hub.stopping.cancel();
        self.hub.registry.close();
        while self.listeners.join_next().await.is_some() {}
        self.loops.shutdown().await;
        self.hub.store.stop();
        if let Some(mut writer) = self.writer.take() {
            let ended = tokio::time::timeout(WRITTEN_WITHIN, &mut writer).await;
            if ended.is_err() {
                tracing::error!("the disk did not take the last writes in time");
                writer.abort();
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.hub.stopping.cancel();
        self.hub.registry.close();
        // The writer commits what was staged and ends; nothing that was acknowledged depends on it.
        self.hub.store.stop();
    }
}

/// Opens the store; on a disk that may block, aside.
async fn open(config: &Config) -> Result<(Store, Writer), StartError> {
    let key_file = config.at_rest_key_file.clone();
    match &config.storage {
        Storage::Memory(disk) => {
            let place = Place::Memory(disk.clone());
            Ok(Store::open(place, key_file.as_deref())?)
        }
        Storage::Directory(directory) => {
            let place = Place::Directory(directory.clone());
            let opened =
                tokio::task::spawn_blocking(move || Store::open(place, key_file.as_deref()));
            let opened = opened.await.map_err(|error| {
                OpenError::Database(format!("opening it ended without a result: {error}"))
            })?;
            Ok(opened?)
        }
    }
}

fn prepare(directory: Option<&Path>, name: &str) -> Result<Option<PathBuf>, StartError> {
    let Some(directory) = directory else {
        return Ok(None);
    };
    let path = directory.join(name);
    store::make_private_directory(&path)?;
    Ok(Some(path))
}

fn file(path: &Path) -> impl Fn(io::Error) -> StartError {
    let path = path.display().to_string();
    move |source| StartError::File {
        path: path.clone(),
        source,
    }
}

/// An address as a client on this host reaches it.
fn server_url(mut address: SocketAddr) -> String {
    if address.ip().is_unspecified() {
        let loopback: std::net::IpAddr = match address {
            SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        };
        address.set_ip(loopback);
    }
    format!("https://{address}")
}

/// Replaces the server certificate long before it ends.
async fn renew(certificates: Arc<Certificates>, hub: Arc<Hub>) {
    const DAY: Duration = Duration::from_secs(24 * 3_600);
    let mut age = 0;
    loop {
        tokio::time::sleep(DAY).await;
        age += 1;
        if age >= RENEW_AFTER_DAYS {
            match certificates.renew(hub.exactly_now()) {
                Ok(()) => age = 0,
                Err(error) => tracing::error!(%error, "the server certificate is not renewed"),
            }
        }
    }
}

/// The server as a [`tower::Service`]; made by [`Server::service`].
pub struct InProcess<B> {
    hub: Arc<Hub>,
    identity: Identity,
    body: PhantomData<fn(B)>,
}

impl<B> Clone for InProcess<B> {
    fn clone(&self) -> Self {
        Self {
            hub: Arc::clone(&self.hub),
            identity: self.identity.clone(),
            body: PhantomData,
        }
    }
}

impl<B> Service<Request<B>> for InProcess<B>
where
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (hub, caller) = (Arc::clone(&self.hub), Caller::Known(self.identity.clone()));
        Box::pin(async move { Ok(handlers::answer(hub, caller, request).await) })
    }
}

#[cfg(test)]
mod tests;
