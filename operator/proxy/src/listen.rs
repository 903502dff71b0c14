//! The HTTP port: bound, tried again, accepted from, and shared out to the workers.
//!
//! Owns the listener and the number of connections. Must not know HTTP. Invariant: without the port everything else
//! goes on, and the port is tried again for as long as the proxy runs.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use routes::Listener;
use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{sleep, timeout};

use crate::client::{self, Slot};
use crate::holder;
use crate::shared::Shared;
use crate::state::State;

/// Between two tries to bind the port.
pub const BIND_RETRY: Duration = Duration::from_secs(5);
/// Connections of clients at once; each needs up to two descriptors of the 1,048,576 that the container may open.
pub const MAX_CONNECTIONS: usize = 262_144;
/// Connections that wait to be accepted; the kernel lowers it to its own limit.
const BACKLOG: i32 = 4_096;
/// After a failed accept, for example for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Data that a client does not acknowledge for so long ends its connection.
const CLIENT_SILENCE: Duration = Duration::from_secs(60);
/// Probes of a silent client begin after this long.
const KEEPALIVE: Duration = Duration::from_secs(60);

/// Where accepted connections are served.
pub enum Workers {
    /// In the runtime that accepts them.
    Here,
    /// On threads, each with a runtime of its own.
    Threads(Vec<mpsc::UnboundedSender<Accepted>>),
}

/// A connection on its way to a worker. Their number is bounded by [`MAX_CONNECTIONS`].
pub struct Accepted {
    stream: std::net::TcpStream,
    peer: IpAddr,
    slot: Slot,
}

impl Workers {
    /// Starts as many threads as there are pools.
    ///
    /// # Errors
    /// The system's, when a thread or its poll cannot be made.
    pub fn start(shared: &Arc<Shared>) -> io::Result<Workers> {
        let workers = (0..shared.workers).map(|index| {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            let (sender, receiver) = mpsc::unbounded_channel();
            let shared = Arc::clone(shared);
            thread::Builder::new()
                .name(format!("worker-{index}"))
                .spawn(move || runtime.block_on(work(shared, index, receiver)))?;
            Ok(sender)
        });
        Ok(Workers::Threads(workers.collect::<io::Result<_>>()?))
    }
}

async fn work(shared: Arc<Shared>, index: usize, mut accepted: mpsc::UnboundedReceiver<Accepted>) {
    while let Some(Accepted { stream, peer, slot }) = accepted.recv().await {
        let shared = Arc::clone(&shared);
        match TcpStream::from_std(stream) {
            Ok(stream) => {
                tokio::spawn(client::serve(shared, index, stream, peer, slot));
            }
            Err(error) => tracing::warn!(%error, "a connection was lost"),
        }
    }
}

/// Listens until the proxy stops, then waits for connections to end, for `grace` at most.
pub async fn run(state: Arc<State>, port: u16, workers: Workers, grace: Duration) {
    let mut stopping = state.makings().shared.stopping();
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    tokio::select! {
        () = accept(&state, port, &workers, &slots) => {}
        _ = stopping.wait_for(|stopping| *stopping) => {}
    }
    let all = u32::try_from(MAX_CONNECTIONS).unwrap_or(u32::MAX);
    // Clients that are still there after the grace find their connection reset and the next proxy listening.
    let _ = timeout(grace, slots.acquire_many(all)).await;
}

async fn accept(state: &Arc<State>, port: u16, workers: &Workers, slots: &Arc<Semaphore>) {
    let listener = bound(state, port).await;
    let mut turn = 0;
    loop {
        let Ok(slot) = Arc::clone(slots).acquire_owned().await else {
            return;
        };
        let (stream, peer) = match listener.accept().await {
            Ok((stream, peer)) => (stream, peer.ip()),
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        turn += 1;
        let slot = Arc::new(Some(slot));
        match workers {
            Workers::Here => {
                let shared = Arc::clone(&state.makings().shared);
                tokio::spawn(client::serve(shared, 0, stream, peer, slot));
            }
            Workers::Threads(threads) => {
                let Ok(stream) = stream.into_std() else {
                    continue;
                };
                // A worker ends only with the process.
                let _ = threads[turn % threads.len()].send(Accepted { stream, peer, slot });
            }
        }
    }
}

/// Binds the port, however long it takes.
async fn bound(state: &State, port: u16) -> TcpListener {
    loop {
        let failed = match bind(port) {
            Ok((listener, ipv6)) => {
                let port = listener.local_addr().map_or(port, |address| address.port());
                tracing::info!(port, ipv6, "listening");
                state.set_listener(Listener::Bound { port, ipv6 });
                return listener;
            }
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => Listener::PortTaken {
                port,
                holder: holder::of(port),
            },
            Err(error) => Listener::Refused {
                port,
                message: error.to_string(),
            },
        };
        if state.listener() != failed {
            tracing::error!(
                ?failed,
                "the port cannot be bound; trying again every {} s",
                BIND_RETRY.as_secs()
            );
            state.set_listener(failed);
        }
        sleep(BIND_RETRY).await;
    }
}

/// Listens on IPv6 and IPv4, or on IPv4 alone where the host has no IPv6.
fn bind(port: u16) -> io::Result<(TcpListener, bool)> {
    match listening(Domain::IPV6, (Ipv6Addr::UNSPECIFIED, port).into()) {
        Ok(listener) => Ok((listener, true)),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => Err(error),
        Err(_) => Ok((
            listening(Domain::IPV4, (Ipv4Addr::UNSPECIFIED, port).into())?,
            false,
        )),
    }
}

/// A listening socket. Its options are inherited by every accepted connection, which saves a call for each.
fn listening(domain: Domain, address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(domain, Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    if domain == Domain::IPV6 {
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE))?;
    socket.set_tcp_user_timeout(Some(CLIENT_SILENCE))?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}
