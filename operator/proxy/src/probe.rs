//! Checks of one instance: when they run and what they ask.
//!
//! Owns cadence, concurrency and the two kinds of question. Must not know the table or what a verdict leads to.
//! Invariant: one check at a time per instance, each within its time-out, and never two closer than the fast cadence.

use std::io;
use std::net::SocketAddrV4;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONNECTION, HOST, USER_AGENT};
use http::{HeaderName, HeaderValue, Request};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1::Builder;
use hyper_util::rt::TokioIo;
use routes::limit::FAST_CHECK;
use routes::{Check, CheckHeader, Probe};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::dial::Dial;
use crate::instance::Instance;

/// Checks under way at once on a host: bounds sockets when many instances start together.
pub const MAX_CHECKS_AT_ONCE: usize = 256;
/// Bytes of an answer that are read before the connection is closed, so that the application does not see a reset.
const MAX_BODY_BYTES: usize = 64 * 1024;
/// Headers of an answer to a check.
const MAX_ANSWER_HEADERS: usize = 200;

/// What checks need.
#[derive(Clone)]
pub struct Prober {
    dial: Arc<dyn Dial>,
    slots: Arc<Semaphore>,
}

impl Prober {
    /// A prober that reaches instances through `dial`.
    pub fn new(dial: Arc<dyn Dial>) -> Self {
        Prober {
            dial,
            slots: Arc::new(Semaphore::new(MAX_CHECKS_AT_ONCE)),
        }
    }

    /// Checks one start of an instance for as long as it is polled.
    pub async fn watch(self, instance: Arc<Instance>, started_at: String, check: Check) {
        sleep(check.initial_delay()).await;
        let first = Instant::now();
        loop {
            let Ok(slot) = self.slots.acquire().await else {
                return;
            };
            let begun = Instant::now();
            let outcome = match timeout(check.timeout(), self.ask(&instance, &check.probe)).await {
                Ok(outcome) => outcome,
                Err(_) => Err(format!("no answer within {} s", check.timeout().as_secs())),
            };
            drop(slot);
            instance.record(&started_at, outcome, &check, Instant::now());
            let next = begun + check.interval(instance.proven(), begun.duration_since(first));
            tokio::select! {
                () = sleep_until(next) => {}
                () = instance.nudge.notified() => sleep_until(next.min(begun + FAST_CHECK)).await,
            }
        }
    }

    async fn ask(&self, instance: &Instance, probe: &Probe) -> Result<(), String> {
        let address = |port: u16| SocketAddrV4::new(*instance.address.ip(), port);
        match probe {
            Probe::Tcp { port } => self
                .dial
                .dial(address(*port))
                .await
                .map(drop)
                .map_err(|error| connect_error(*port, &error)),
            Probe::Http {
                path,
                port,
                headers,
            } => self.get(address(*port), path, headers).await,
        }
    }

    async fn get(
        &self,
        address: SocketAddrV4,
        path: &str,
        headers: &[CheckHeader],
    ) -> Result<(), String> {
        let request = request(address, path, headers)
            .map_err(|error| format!("no valid request: {error}"))?;
        let stream = self
            .dial
            .dial(address)
            .await
            .map_err(|error| connect_error(address.port(), &error))?;
        let (mut sender, connection) = Builder::new()
            .max_headers(MAX_ANSWER_HEADERS)
            .handshake::<_, Empty<Bytes>>(TokioIo::new(stream))
            .await
            .map_err(|error| format!("no HTTP: {error}"))?;
        let exchange = async {
            let response = sender
                .send_request(request)
                .await
                .map_err(|error| format!("no HTTP answer: {error}"))?;
            let status = response.status();
            let mut body = response.into_body();
            let mut left = MAX_BODY_BYTES;
            while let Some(Ok(frame)) = body.frame().await {
                let length = frame.data_ref().map_or(0, Bytes::len);
                match left.checked_sub(length) {
                    Some(rest) => left = rest,
                    None => break,
                }
            }
            if (200..400).contains(&status.as_u16()) {
                Ok(())
            } else {
                Err(format!("answered {status}"))
            }
        };
        let drive = async {
            // The exchange sees the same end and says why; a connection that ended first leaves it to finish.
            let _ = connection.await;
            std::future::pending::<()>().await;
        };
        tokio::select! {
            outcome = exchange => outcome,
            () = drive => Err("the connection ended".to_owned()),
        }
    }
}

fn request(
    address: SocketAddrV4,
    path: &str,
    headers: &[CheckHeader],
) -> http::Result<Request<Empty<Bytes>>> {
    let mut request = Request::get(path).body(Empty::new())?;
    let map = request.headers_mut();
    for CheckHeader { name, value } in headers {
        map.append(
            HeaderName::from_bytes(name.as_bytes())?,
            HeaderValue::from_str(value)?,
        );
    }
    if !map.contains_key(HOST) {
        map.insert(HOST, HeaderValue::from_str(&address.to_string())?);
    }
    if !map.contains_key(USER_AGENT) {
        map.insert(
            USER_AGENT,
            HeaderValue::from_static(concat!("mooring-proxy/", env!("CARGO_PKG_VERSION"))),
        );
    }
    map.insert(CONNECTION, HeaderValue::from_static("close"));
    Ok(request)
}

fn connect_error(port: u16, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => format!("port {port} refuses connections"),
        _ => format!("cannot connect to port {port}: {error}"),
    }
}
