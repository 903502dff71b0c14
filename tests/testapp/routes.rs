//! What the server answers.
//!
//! | Request | Answer |
//! |---|---|
//! | any other | `<version>` and a line break; `X-Version`, `X-Instance` (host name) and the `X-Request-Id` sent |
//! | `POST` anywhere | the same, after a receipt of its id: one UDP datagram to `X-Receipt-Port` on the default gateway |
//! | `GET /ready` | 200 or 503 |
//! | `PUT /ready/on`, `PUT /ready/off` | readiness by hand from now on |
//! | `GET /count` | how many POSTs were executed, and how many distinct ids they had |
//! | `GET /slow?ms=N` | as any, after N milliseconds |
//! | `GET /events?n=N&ms=M` | N server-sent events, M milliseconds apart |
//! | `GET /ws` | a WebSocket that sends back what it gets |
//! | `GET /file?path=P` | the content of a file, its mode and owner in `X-Mode` and `X-Owner` |
//! | `GET /env?name=N` | a variable of the environment |

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::unix::fs::MetadataExt as _;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::stream;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use tokio::net::UdpSocket;
use tokio::time::{self, Instant};

use crate::settings::Settings;
use crate::websocket;

/// POST ids that are remembered to tell distinct ones apart; later ones count as new.
const MAX_IDS: usize = 1_000_000;
/// The largest file that is shown.
const MAX_FILE: u64 = 1 << 20;

/// The body of every answer.
pub type Body = BoxBody<Bytes, Infallible>;

/// Readiness as it was set by hand.
const BY_CLOCK: u8 = 0;
const ON: u8 = 1;
const OFF: u8 = 2;

/// Everything the answers depend on.
#[derive(Debug)]
pub struct App {
    settings: Settings,
    started: Instant,
    instance: HeaderValue,
    version: HeaderValue,
    readiness: AtomicU8,
    posts: AtomicU64,
    ids: Mutex<BTreeSet<String>>,
    /// Requests that have begun and are not answered.
    pub in_hand: AtomicU64,
}

impl App {
    /// An application that has just started.
    pub fn new(settings: Settings) -> App {
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let value =
            |text: &str| HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static("unknown"));
        App {
            started: Instant::now(),
            instance: value(host.trim()),
            version: value(&settings.version),
            settings,
            readiness: AtomicU8::new(BY_CLOCK),
            posts: AtomicU64::new(0),
            ids: Mutex::new(BTreeSet::new()),
            in_hand: AtomicU64::new(0),
        }
    }

    fn is_ready(&self) -> bool {
        let up = self.started.elapsed();
        match self.readiness.load(Ordering::Relaxed) {
            ON => true,
            OFF => false,
            _ => {
                self.settings.ready_after.is_some_and(|after| up >= after)
                    && self.settings.unready_after.is_none_or(|after| up < after)
            }
        }
    }
}

/// Counts a request as in hand for as long as it lives.
struct InHand<'a>(&'a AtomicU64);

impl<'a> InHand<'a> {
    fn new(count: &'a AtomicU64) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        InHand(count)
    }
}

impl Drop for InHand<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Answers one request.
pub async fn answer(
    app: Arc<App>,
    request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    let _in_hand = InHand::new(&app.in_hand);
    let id = request.headers().get("x-request-id").cloned();
    let mut response = route(&app, request).await;
    let headers = response.headers_mut();
    headers.insert("x-version", app.version.clone());
    headers.insert("x-instance", app.instance.clone());
    if let Some(id) = id {
        headers.insert("x-request-id", id);
    }
    Ok(response)
}

async fn route(app: &App, request: Request<Incoming>) -> Response<Body> {
    let path = request.uri().path().to_owned();
    let query = request.uri().query().unwrap_or_default().to_owned();
    let reading = matches!(*request.method(), Method::GET | Method::HEAD);
    match (request.method(), path.as_str()) {
        (_, "/ready") if reading => ready(app),
        (&Method::PUT, "/ready/on") => by_hand(app, ON),
        (&Method::PUT, "/ready/off") => by_hand(app, OFF),
        (_, "/count") if reading => count(app),
        (_, "/events") if reading => events(number(&query, "n", 10), number(&query, "ms", 100)),
        (_, "/ws") if reading => websocket::open(request),
        (_, "/file") if reading => file(parameter(&query, "path").unwrap_or_default()).await,
        (_, "/env") if reading => variable(parameter(&query, "name").unwrap_or_default()),
        (_, "/slow") => {
            time::sleep(Duration::from_millis(number(&query, "ms", 1000))).await;
            work(app, request).await
        }
        _ => work(app, request).await,
    }
}

/// The answer of the application proper.
async fn work(app: &App, request: Request<Incoming>) -> Response<Body> {
    let (parts, body) = request.into_parts();
    // Read whole, whatever it is, so that the connection can be used again.
    let mut body = body;
    while let Some(Ok(_)) = body.frame().await {}
    if parts.method == Method::POST {
        execute(app, &parts.headers).await;
    }
    time::sleep(app.settings.answer_after).await;
    text(StatusCode::OK, format!("{}\n", app.settings.version))
}

/// What a POST does: it counts, and tells so before it is answered.
async fn execute(app: &App, headers: &HeaderMap) {
    app.posts.fetch_add(1, Ordering::Relaxed);
    let Some(id) = headers.get("x-request-id").and_then(|id| id.to_str().ok()) else {
        return;
    };
    {
        let mut ids = app.ids.lock().unwrap_or_else(PoisonError::into_inner);
        if ids.len() < MAX_IDS {
            ids.insert(id.to_owned());
        }
    }
    let port = headers
        .get("x-receipt-port")
        .and_then(|port| port.to_str().ok()?.parse().ok());
    if let Some(port) = port
        && let Err(error) = receipt(id, port).await
    {
        eprintln!("testapp: no receipt for {id}: {error}");
    }
}

async fn receipt(id: &str, port: u16) -> std::io::Result<()> {
    let routes = std::fs::read_to_string("/proc/net/route")?;
    let gateway = default_gateway(&routes)
        .ok_or_else(|| std::io::Error::other("there is no default gateway"))?;
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).await?;
    socket
        .send_to(id.as_bytes(), SocketAddrV4::new(gateway, port))
        .await
        .map(drop)
}

/// The gateway of the route to everywhere, out of the kernel's table: columns interface, destination, gateway in hex.
fn default_gateway(routes: &str) -> Option<Ipv4Addr> {
    routes.lines().skip(1).find_map(|line| {
        let mut columns = line.split_whitespace().skip(1);
        let (destination, gateway) = (columns.next()?, columns.next()?);
        let address = u32::from_str_radix(gateway, 16).ok()?;
        (destination == "00000000" && address != 0).then(|| Ipv4Addr::from(address.to_le_bytes()))
    })
}

fn ready(app: &App) -> Response<Body> {
    if app.is_ready() {
        text(StatusCode::OK, "ready\n")
    } else {
        text(StatusCode::SERVICE_UNAVAILABLE, "not ready\n")
    }
}

fn by_hand(app: &App, readiness: u8) -> Response<Body> {
    app.readiness.store(readiness, Ordering::Relaxed);
    text(StatusCode::OK, "set\n")
}

fn count(app: &App) -> Response<Body> {
    let distinct = app.ids.lock().unwrap_or_else(PoisonError::into_inner).len();
    let total = app.posts.load(Ordering::Relaxed);
    let mut response = text(
        StatusCode::OK,
        format!("{{\"posts\":{total},\"ids\":{distinct}}}\n"),
    );
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    response
}

fn events(number: u64, apart: u64) -> Response<Body> {
    let events = stream::unfold(0, move |sent| async move {
        if sent == number {
            return None;
        }
        if sent > 0 {
            time::sleep(Duration::from_millis(apart)).await;
        }
        let event = Frame::data(Bytes::from(format!("id: {sent}\ndata: event {sent}\n\n")));
        Some((Ok::<_, Infallible>(event), sent + 1))
    });

    let mut response = Response::new(StreamBody::new(events).boxed());
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/event-stream"),
    );
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

async fn file(path: String) -> Response<Body> {
    let read = async {
        let metadata = tokio::fs::metadata(&path).await?;
        if metadata.len() > MAX_FILE {
            return Err(std::io::Error::other("larger than 1 MiB"));
        }
        Ok((tokio::fs::read(&path).await?, metadata))
    };
    match read.await {
        Ok((content, metadata)) => {
            let mut response = text(StatusCode::OK, content);
            let mode = format!("{:04o}", metadata.mode() & 0o7777);
            let owner = format!("{}:{}", metadata.uid(), metadata.gid());
            for (name, value) in [("x-mode", mode), ("x-owner", owner)] {
                let value = HeaderValue::from_str(&value).expect("digits and a colon");
                response.headers_mut().insert(name, value);
            }
            response
        }
        Err(error) => text(StatusCode::NOT_FOUND, format!("{error}\n")),
    }
}

fn variable(name: String) -> Response<Body> {
    match std::env::var(&name) {
        Ok(value) => text(StatusCode::OK, value),
        Err(_) => text(StatusCode::NOT_FOUND, "not set\n"),
    }
}

/// An answer in plain text.
pub fn text(status: StatusCode, body: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(Full::new(body.into()).boxed());
    *response.status_mut() = status;
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    response
}

/// The value of one parameter of a query, with `%2F` and the like decoded.
fn parameter(query: &str, name: &str) -> Option<String> {
    let value = query
        .split('&')
        .find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))?;
    let bytes = value.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = value
            .get(at + 1..at + 3)
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match (bytes[at], hex) {
            (b'%', Some(byte)) => {
                decoded.push(byte);
                at += 3;
            }
            (byte, _) => {
                decoded.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8(decoded).ok()
}

fn number(query: &str, name: &str, default: u64) -> u64 {
    parameter(query, name)
        .and_then(|value| value.parse().ok())
        .unwrap_or(default)
}
