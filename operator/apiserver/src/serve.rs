//! Owns the sockets: listening, TLS, HTTP/1.1 and HTTP/2, and their end.
//!
//! It must not know what a request means. Invariants: connections are bounded in number, and a client that does not finish
//! its handshake or its headers is cut; when the server stops, connections are told so and the rest is cut after
//! [`DRAINED_WITHIN`].

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;

use crate::handlers::{self, Caller};
use crate::hub::Hub;
use crate::limits::{CONNECTIONS_MAX, HANDSHAKE_WITHIN, HEADERS_WITHIN};
use crate::tls::Certificates;

/// Answers that are under way when the server stops have so long; watches end at once.
pub const DRAINED_WITHIN: Duration = Duration::from_secs(3);

/// A failed accept, as when file descriptors run out, is tried again so much later.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// HTTP/2 streams of one connection; client-go multiplexes everything over one.
const STREAMS_MAX: u32 = 400;

/// A silent HTTP/2 peer is asked for a sign of life this often, and cut when none comes.
const KEEP_ALIVE_EVERY: Duration = Duration::from_secs(30);

/// Binds an address.
pub async fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    TcpListener::bind(address).await
}

/// Serves one listener until the hub stops, then drains it.
pub async fn serve(hub: Arc<Hub>, listener: TcpListener, certificates: Arc<Certificates>) {
    let acceptor = match certificates.server_config() {
        Ok(config) => TlsAcceptor::from(Arc::new(config)),
        Err(error) => {
            tracing::error!(%error, "no TLS configuration");
            return;
        }
    };
    let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let graceful = GracefulShutdown::new();
    let stopping = hub.stopping.clone();
    loop {
        let permit = tokio::select! {
            permit = Arc::clone(&connections).acquire_owned() => permit,
            () = stopping.cancelled() => break,
        };
        let Ok(permit) = permit else {
            break;
        };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stopping.cancelled() => break,
        };
        let Ok((stream, _peer)) = accepted else {
            tokio::time::sleep(ACCEPT_RETRY).await;
            continue;
        };
        let (hub, acceptor, watcher) = (Arc::clone(&hub), acceptor.clone(), graceful.watcher());
        tokio::spawn(async move {
            connection(hub, stream, acceptor, watcher).await;
            drop(permit);
        });
    }
    drop(listener);
    // What is left after that is cut with the process.
    let _cut = tokio::time::timeout(DRAINED_WITHIN, graceful.shutdown()).await;
}

async fn connection(hub: Arc<Hub>, stream: TcpStream, acceptor: TlsAcceptor, watcher: Watcher) {
    // Small answers must not wait for more; a socket that refuses this is served all the same.
    let _unset = stream.set_nodelay(true);
    let handshake = tokio::time::timeout(HANDSHAKE_WITHIN, acceptor.accept(stream)).await;
    let Ok(Ok(stream)) = handshake else {
        return;
    };
    let service = service_fn(move |request| {
        let hub = Arc::clone(&hub);
        async move {
            Ok::<_, std::convert::Infallible>(handlers::answer(hub, Caller::Bearer, request).await)
        }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS_WITHIN);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .keep_alive_interval(KEEP_ALIVE_EVERY);
    let served = builder
        .serve_connection(TokioIo::new(stream), service)
        .into_owned();
    if let Err(error) = watcher.watch(served).await {
        tracing::debug!(%error, "a connection ended");
    }
}
