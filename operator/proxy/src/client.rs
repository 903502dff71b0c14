//! One connection of a client.
//!
//! Owns serving it, its idle limit and its end. Must not know routing. Invariant: a connection without a request for
//! [`CLIENT_IDLE`], a half-sent head included, ends; one with a request is left alone.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::net::IpAddr;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use http::HeaderValue;
use hyper::server::conn::http1::Builder;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, sleep};

use crate::forward;
use crate::instance::CutWatch;
use crate::shared::Shared;

/// Longest time without a whole request head, and longest idle keep-alive.
pub const CLIENT_IDLE: Duration = Duration::from_secs(60);
/// Bytes of a request's head, and of what is read ahead or not yet written. The number of headers is limited to hyper's
/// default of 100, because any other limit costs an allocation per request.
const MAX_BUFFER_BYTES: usize = 64 * 1024;

/// A client, as the requests on its connection see it.
pub struct Client {
    /// What the proxy shares.
    pub shared: Arc<Shared>,
    /// Which worker's pools it uses.
    pub worker: usize,
    /// Its address as `X-Forwarded-For` says it.
    pub address: HeaderValue,
    /// Whether it has a request.
    pub activity: Arc<Activity>,
    /// Its place among the connections that there may be; a WebSocket keeps it.
    pub slot: Slot,
}

/// A place among the connections that there may be, free again when the last clone is dropped.
pub type Slot = Arc<Option<OwnedSemaphorePermit>>;

/// Since when a connection has no request; zero while it has one. In milliseconds since it was accepted, plus one.
pub struct Activity {
    accepted: Instant,
    idle: AtomicU64,
    flowing: Mutex<Option<CutWatch>>,
}

impl Activity {
    fn new() -> Self {
        Activity {
            accepted: Instant::now(),
            idle: AtomicU64::new(1),
            flowing: Mutex::new(None),
        }
    }

    /// A request began.
    pub fn begin(&self) {
        self.idle.store(0, Ordering::Relaxed);
    }

    /// An answer flows under a claim.
    pub fn flow(&self, watch: CutWatch) {
        *self.flowing() = Some(watch);
    }

    /// A request ended.
    pub fn rest(&self) {
        *self.flowing() = None;
        self.idle.store(self.now(), Ordering::Relaxed);
    }

    /// Ready when the claim of the answer that flows was cut.
    fn poll_cut(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.flowing()
            .as_mut()
            .map_or(Poll::Pending, |watch| watch.poll(cx))
    }

    fn flowing(&self) -> MutexGuard<'_, Option<CutWatch>> {
        self.flowing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn idle_for(&self) -> Option<Duration> {
        match self.idle.load(Ordering::Relaxed) {
            0 => None,
            since => Some(Duration::from_millis(self.now() - since)),
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.accepted.elapsed().as_millis()).unwrap_or(u64::MAX - 1) + 1
    }
}

/// Serves one connection to its end.
pub async fn serve<S>(shared: Arc<Shared>, worker: usize, stream: S, peer: IpAddr, slot: Slot)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let activity = Arc::new(Activity::new());
    let mut stopping = shared.stopping();
    let address = HeaderValue::from_str(&peer.to_canonical().to_string())
        .unwrap_or(HeaderValue::from_static("unknown"));
    let client = Arc::new(Client {
        shared,
        worker,
        address,
        activity: Arc::clone(&activity),
        slot,
    });
    let service = service_fn(move |request| {
        let client = Arc::clone(&client);
        async move { Ok::<_, Infallible>(forward::answer(&client, request).await) }
    });
    let connection = Builder::new()
        .max_buf_size(MAX_BUFFER_BYTES)
        .header_read_timeout(None)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut connection = pin!(connection);
    let mut stop = pin!(async move {
        // An error means that the proxy is gone, which is a stop as well.
        let _ = stopping.wait_for(|stopping| *stopping).await;
    });
    let mut look = pin!(sleep(CLIENT_IDLE));
    let mut stopped = false;
    let mut warned = false;
    poll_fn(|cx| {
        loop {
            // Its errors are the client's own: a reset, a malformed head. They were answered where they can be.
            if connection.as_mut().poll(cx).is_ready() {
                return Poll::Ready(());
            }
            if !stopped && stop.as_mut().poll(cx).is_ready() {
                stopped = true;
                connection.as_mut().graceful_shutdown();
                continue;
            }
            // Also when the client reads so slowly that nobody asks for the rest of the body.
            if activity.poll_cut(cx).is_ready() {
                return Poll::Ready(());
            }
            if look.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            let idle = activity.idle_for();
            match idle {
                Some(idle) if idle >= CLIENT_IDLE && warned => return Poll::Ready(()),
                Some(idle) if idle >= CLIENT_IDLE => {
                    // Ends an idle connection at once and lets one that still writes its answer finish it.
                    warned = true;
                    connection.as_mut().graceful_shutdown();
                }
                Some(_) | None => warned = false,
            }
            let wait = CLIENT_IDLE
                - idle
                    .unwrap_or_default()
                    .min(CLIENT_IDLE - Duration::from_secs(1));
            look.as_mut()
                .reset(Instant::now() + if warned { Duration::from_secs(5) } else { wait });
        }
    })
    .await;
}
