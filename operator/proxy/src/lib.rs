//! The data plane of one host: routes HTTP by the table that operators push, checks instances, drains them, and goes
//! on with the last table when nobody pushes.
//!
//! Owns everything between a client's connection and an instance's. Must not know Kubernetes, the Engine or any kind:
//! it links nothing of ours but `routes`. Invariant: no container that the operator may stop has a request in flight:
//! an acknowledgement means that no request enters what the table does not route, and a count of zero stays zero.
//!
//! | file | owns |
//! |---|---|
//! | `listen`, `client` | connections of clients |
//! | `request`, `forward`, `upload`, `answer`, `upgrade` | one request |
//! | `route`, `balance` | which instance |
//! | `gate`, `instance`, `pool`, `link`, `dial` | one instance and the way to it |
//! | `state`, `fleet`, `storage` | the table in force |
//! | `probe`, `readiness` | checks |
//! | `session`, `frame`, `control`, `connector` | operators |
//! | `traffic`, `metrics`, `holder` | what is shown |

mod answer;
mod balance;
mod client;
pub mod connector;
mod control;
mod dial;
mod fleet;
mod forward;
pub mod frame;
mod gate;
mod holder;
mod instance;
mod link;
mod listen;
mod metrics;
mod pool;
mod probe;
mod readiness;
mod request;
mod route;
mod session;
mod shared;
mod state;
mod storage;
mod traffic;
mod upgrade;
mod upload;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use routes::{Listener, Reply, Request, Status};
use tokio::io::{AsyncRead, AsyncWrite};

pub use dial::{Dial, Dialling, Io, Tcp};
pub use session::SessionEnd;
pub use storage::{Storage, StorageError};

/// What a proxy is made of.
pub struct Config {
    /// Where the table is kept.
    pub storage: Storage,
    /// How instances are reached.
    pub dial: Arc<dyn Dial>,
    /// Worker threads for [`Proxy::listen`]; 0 serves connections in the runtime that listens, as tests do.
    pub workers: usize,
}

/// One proxy. Clones are handles to the same.
#[derive(Clone)]
pub struct Proxy {
    state: Arc<state::State>,
    sessions: control::Sessions,
    threads: usize,
}

impl Proxy {
    /// Reads the last table and serves it at once. Must be called inside a runtime with time, which then runs the
    /// checks; all waiting goes through `tokio::time`.
    pub fn open(config: Config) -> Proxy {
        let Config {
            storage,
            dial,
            workers,
        } = config;
        let makings = fleet::Makings {
            shared: Arc::new(shared::Shared::new(Arc::clone(&dial), workers)),
            prober: probe::Prober::new(dial),
            reports: session::reports(),
        };
        Proxy {
            state: state::State::open(storage, makings),
            sessions: control::Sessions::default(),
            threads: workers,
        }
    }

    /// Serves one operator session over a byte stream to its end.
    pub async fn session<S: AsyncRead + AsyncWrite + Send + Unpin>(&self, stream: S) -> SessionEnd {
        self.sessions.serve(&self.state, stream).await
    }

    /// Serves one client connection to its end, in the runtime that polls it.
    pub async fn connection<S>(&self, stream: S, peer: IpAddr)
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        client::serve(
            Arc::clone(&self.state.makings().shared),
            0,
            stream,
            peer,
            Arc::new(None),
        )
        .await;
    }

    /// Answers one request of an operator without a session.
    pub async fn request(&self, request: Request) -> Reply {
        session::reply(&self.state, request).await
    }

    /// Everything known, of all sections.
    pub fn status(&self) -> Status {
        self.state.status(&[])
    }

    /// Whether requests come in.
    pub fn listener(&self) -> Listener {
        self.state.listener()
    }

    /// Listens on an HTTP port (0: any) until [`Proxy::stop`], then waits for connections to end, `grace` at most.
    /// A port that cannot be bound is tried again every 5 s.
    ///
    /// # Errors
    /// The system's, when a worker thread cannot be made.
    pub async fn listen(&self, port: u16, grace: Duration) -> io::Result<()> {
        let workers = match self.threads {
            0 => listen::Workers::Here,
            _ => listen::Workers::start(&self.state.makings().shared)?,
        };
        listen::run(Arc::clone(&self.state), port, workers, grace).await;
        Ok(())
    }

    /// Serves sessions on the private socket of a state directory, for ever.
    ///
    /// # Errors
    /// The socket cannot be made.
    pub async fn control(&self, directory: &Path) -> io::Result<()> {
        let listener = control::bind(directory)?;
        control::serve(Arc::clone(&self.state), self.sessions.clone(), listener).await;
        Ok(())
    }

    /// Serves `GET /metrics` on an address, for ever.
    ///
    /// # Errors
    /// The address cannot be bound.
    pub async fn metrics(&self, address: SocketAddr) -> io::Result<()> {
        control::serve_metrics(Arc::clone(&self.state), address).await
    }

    /// Accepts no more connections, and ends those there are after their request.
    pub fn stop(&self) {
        self.state.makings().shared.stop();
    }
}
