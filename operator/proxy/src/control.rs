//! The private socket in the state volume, and the optional listener for Prometheus.
//!
//! Owns who may open a session. Must not know what is said in one. Invariant: the socket is only for the user that
//! runs the proxy, and at most [`MAX_SESSIONS`] sessions are open.

use std::convert::Infallible;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1::Builder;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use routes::limit::{MAX_SESSIONS, SOCKET_FILE};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

use crate::metrics;
use crate::session::{self, SessionEnd};
use crate::state::State;

/// After a failed accept.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Scrapes at once.
const MAX_SCRAPES: usize = 16;
/// For one scrape's connection.
const SCRAPE_LIMIT: Duration = Duration::from_secs(30);

/// The sessions that may be open.
#[derive(Clone)]
pub struct Sessions(Arc<Semaphore>);

impl Default for Sessions {
    fn default() -> Self {
        Sessions(Arc::new(Semaphore::new(MAX_SESSIONS)))
    }
}

impl Sessions {
    /// Serves a session if there is room for it.
    pub async fn serve<S>(&self, state: &Arc<State>, stream: S) -> SessionEnd
    where
        S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin,
    {
        match self.0.try_acquire() {
            Ok(_slot) => session::serve(state, stream).await,
            Err(_) => {
                session::refuse(stream, &SessionEnd::TooMany).await;
                SessionEnd::TooMany
            }
        }
    }
}

/// Makes the private socket. One that an earlier process left is replaced.
///
/// # Errors
/// The file system's.
pub fn bind(directory: &Path) -> io::Result<UnixListener> {
    let path = directory.join(SOCKET_FILE);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(&path)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Opens a session for whoever connects to the private socket.
pub async fn serve(state: Arc<State>, sessions: Sessions, listener: UnixListener) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let (state, sessions) = (Arc::clone(&state), sessions.clone());
                tokio::spawn(async move {
                    let end = sessions.serve(&state, stream).await;
                    tracing::info!(%end, "session ended");
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a session could not be accepted");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Answers `GET /metrics` on an address of its own.
///
/// # Errors
/// The address cannot be bound.
pub async fn serve_metrics(state: Arc<State>, address: SocketAddr) -> io::Result<()> {
    let listener = TcpListener::bind(address).await?;
    let slots = Arc::new(Semaphore::new(MAX_SCRAPES));
    loop {
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else {
            return Ok(());
        };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "a scrape could not be accepted");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let state = Arc::clone(&state);
        tokio::spawn(async move {
            let service = service_fn(|request| {
                std::future::ready(Ok::<_, Infallible>(scrape(&state, &request)))
            });
            let connection = Builder::new()
                .timer(TokioTimer::new())
                .serve_connection(TokioIo::new(stream), service);
            // Whatever goes wrong with a scrape is shown by the scraper.
            let _ = timeout(SCRAPE_LIMIT, connection).await;
            drop(slot);
        });
    }
}

fn scrape(state: &State, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    if request.uri().path() == "/metrics" {
        let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
        response
            .headers_mut()
            .insert(http::header::CONTENT_TYPE, kind);
        *response.body_mut() = Full::from(metrics::render(&state.status(&[])));
    } else {
        *response.status_mut() = StatusCode::NOT_FOUND;
    }
    response
}
