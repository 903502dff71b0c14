//! The applications inside fake containers, as the proxy reaches them: by the address of a container and a port.

use std::convert::Infallible;
use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::DuplexStream;
use tokio::sync::watch;
use tokio::time;

use super::Shared;
use super::world::Life;

/// What a socket holds.
const BUFFER: usize = 64 << 10;
/// How long Linux asks for an address that nobody has before it says that there is no route.
const NOBODY: Duration = Duration::from_secs(3);

/// One process that is being talked to.
#[derive(Clone)]
struct Process {
    shared: Arc<Shared>,
    id: String,
    run: u64,
}

/// Connects to `port` at `address`, as from the host.
pub(super) async fn dial(
    shared: &Arc<Shared>,
    address: Ipv4Addr,
    port: u16,
) -> io::Result<DuplexStream> {
    let found = {
        let world = shared.world();
        let at = |endpoint: &super::world::Endpoint| endpoint.address == Some(address);
        let container = world
            .containers
            .values()
            .find(|container| container.is_running() && container.endpoints.values().any(at));
        container.map(|container| {
            let life = container.life.subscribe();
            let up = container
                .started_at
                .map(|start| start.elapsed())
                .unwrap_or_default();
            let listens = *life.borrow() == Life::Alive
                && container.behaviour.port == port
                && up >= container.behaviour.listens_after;
            (
                Process {
                    shared: Arc::clone(shared),
                    id: container.id.clone(),
                    run: container.run,
                },
                life,
                listens,
            )
        })
    };
    let Some((process, life, listens)) = found else {
        time::sleep(NOBODY).await;
        return Err(io::Error::new(
            io::ErrorKind::HostUnreachable,
            "No route to host",
        ));
    };
    if !listens {
        return Err(io::ErrorKind::ConnectionRefused.into());
    }
    let (ours, theirs) = tokio::io::duplex(BUFFER);
    tokio::spawn(serve(process, life, theirs));
    Ok(ours)
}

/// Serves one connection until either side ends it or the process is gone.
async fn serve(process: Process, mut life: watch::Receiver<Life>, stream: DuplexStream) {
    let mut gone = life.clone();
    let service = service_fn(move |request| answer(process.clone(), request));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let polite = async {
        tokio::select! {
            // The other side may end it at any time.
            _ = connection.as_mut() => return,
            _ = life.wait_for(|life| *life != Life::Alive) => connection.as_mut().graceful_shutdown(),
        }
        let _ = connection.as_mut().await;
    };
    tokio::select! {
        () = polite => {}
        _ = gone.wait_for(|life| *life == Life::Gone) => {}
    }
}

async fn answer(
    process: Process,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (parts, body) = request.into_parts();
    // Read whole, whatever it is, so that the connection can be used again.
    let _ = body.collect().await;
    let paused = process
        .shared
        .world()
        .find(&process.id)
        .ok()
        .map(|container| container.paused.subscribe());
    if let Some(mut paused) = paused {
        // A frozen process answers when it goes on; the sender is gone when it never will.
        let _ = paused.wait_for(|paused| !*paused).await;
    }
    let (behaviour, ready) = {
        let mut world = process.shared.world();
        if parts.method == Method::POST
            && let Some(id) = parts
                .headers
                .get("x-request-id")
                .and_then(|id| id.to_str().ok())
        {
            *world.posts.entry(id.to_owned()).or_default() += 1;
        }
        let same = world
            .find(&process.id)
            .ok()
            .filter(|container| container.run == process.run);
        same.map(|container| (container.behaviour.clone(), container.is_ready()))
            .unwrap_or_default()
    };
    let (status, text) = match (parts.uri.path(), ready) {
        ("/ready", true) => (StatusCode::OK, "ready\n".to_owned()),
        ("/ready", false) => (StatusCode::SERVICE_UNAVAILABLE, "not ready\n".to_owned()),
        _ => {
            time::sleep(behaviour.answer_after).await;
            (StatusCode::OK, format!("{}\n", behaviour.version))
        }
    };
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    let value =
        |text: &str| HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static("unknown"));
    response
        .headers_mut()
        .insert("x-version", value(&behaviour.version));
    response
        .headers_mut()
        .insert("x-instance", value(&process.id[..12]));
    if let Some(id) = parts.headers.get("x-request-id") {
        response.headers_mut().insert("x-request-id", id.clone());
    }
    Ok(response)
}
