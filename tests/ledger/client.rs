//! The wire side of the load: one HTTP/1.1 request at a time, never sent twice.
//!
//! Owns the connections. It knows nothing of rates, versions or what counts as lost: it says what came back, or
//! how the request ended without an answer. Invariant: a request is written to exactly one connection, and what
//! becomes of it there is its end.

use std::net::SocketAddr;
use std::sync::Mutex;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST, HeaderValue};
use http::{HeaderName, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// The largest answer that is read. The demo application answers a few bytes; more is no answer of its.
const ANSWER_LIMIT: usize = 64 * 1024;
/// Idle connections that are kept. More would only be open files: the load takes the one used last.
const IDLE_LIMIT: usize = 256;

/// Names a request, so that the application can report which ones it executed.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The UDP port on the application's default gateway to which it reports the id of each POST that it executes.
pub const RECEIPT_PORT: HeaderName = HeaderName::from_static("x-receipt-port");
/// The answering revision.
pub const VERSION: HeaderName = HeaderName::from_static("x-version");

/// One request to make.
#[derive(Debug, Clone)]
pub struct Call {
    /// GET or POST.
    pub method: Method,
    /// Its id, unique in this run.
    pub id: String,
    /// Whether it opens a connection of its own, which is closed after the answer.
    pub fresh: bool,
}

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The status of the answer.
    pub status: StatusCode,
    /// The revision that answered: the header `X-Version`, else the first word of the body.
    pub version: String,
}

/// How a request ended without an answer.
#[derive(Debug)]
pub enum CallError {
    /// No connection could be made.
    Refused(std::io::Error),
    /// The connection ended before the whole answer was there.
    Reset(String),
}

type Sender = SendRequest<Full<Bytes>>;

/// Connections to one address.
#[derive(Debug)]
pub struct Client {
    address: SocketAddr,
    host: HeaderValue,
    path: String,
    receipt_port: Option<u16>,
    idle: Mutex<Vec<Sender>>,
}

impl Client {
    /// A client that connects to `address` and asks for `path` at `host`. With `receipt_port` every POST asks the
    /// application for a receipt.
    #[must_use]
    pub fn new(
        address: SocketAddr,
        host: HeaderValue,
        path: String,
        receipt_port: Option<u16>,
    ) -> Self {
        Self {
            address,
            host,
            path,
            receipt_port,
            idle: Mutex::new(Vec::new()),
        }
    }

    /// Makes one request and reads the whole answer.
    ///
    /// # Errors
    /// No connection, or a connection that ended too early. The request is not tried again.
    pub async fn call(&self, call: &Call) -> Result<Reply, CallError> {
        let mut sender = if call.fresh {
            self.connect().await?
        } else {
            self.connection().await?
        };
        let request = self.request(call);
        let response = sender.send_request(request).await.map_err(reset)?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, ANSWER_LIMIT)
            .collect()
            .await
            .map_err(|error| CallError::Reset(error.to_string()))?
            .to_bytes();
        if !call.fresh {
            self.keep(sender);
        }
        let version = match head.headers.get(VERSION) {
            Some(value) => String::from_utf8_lossy(value.as_bytes()).into_owned(),
            None => first_word(&body),
        };
        Ok(Reply {
            status: head.status,
            version,
        })
    }

    /// The connection that was used last and is still open, else a new one. A connection that is known to be
    /// closed is no attempt: nothing was written to it.
    async fn connection(&self) -> Result<Sender, CallError> {
        loop {
            let kept = self.idle.lock().expect("no panic while held").pop();
            match kept {
                Some(mut sender) => {
                    if sender.ready().await.is_ok() {
                        return Ok(sender);
                    }
                }
                None => return self.connect().await,
            }
        }
    }

    async fn connect(&self) -> Result<Sender, CallError> {
        let stream = TcpStream::connect(self.address)
            .await
            .map_err(CallError::Refused)?;
        stream.set_nodelay(true).map_err(CallError::Refused)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await.map_err(reset)?;
        // Ends by itself when the sender is dropped or the other side closes.
        tokio::spawn(connection);
        Ok(sender)
    }

    fn keep(&self, sender: Sender) {
        let mut idle = self.idle.lock().expect("no panic while held");
        if idle.len() < IDLE_LIMIT && !sender.is_closed() {
            idle.push(sender);
        }
    }

    fn request(&self, call: &Call) -> Request<Full<Bytes>> {
        let mut request = Request::builder()
            .method(call.method.clone())
            .uri(&self.path)
            .header(HOST, &self.host)
            .header(REQUEST_ID, &call.id);
        if call.fresh {
            request = request.header(http::header::CONNECTION, "close");
        }
        let body = if call.method == Method::POST {
            request = request.header(CONTENT_TYPE, "text/plain");
            if let Some(port) = self.receipt_port {
                request = request.header(RECEIPT_PORT, port);
            }
            Bytes::copy_from_slice(call.id.as_bytes())
        } else {
            Bytes::new()
        };
        request
            .body(Full::new(body))
            .expect("the path was checked when the arguments were read")
    }
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "the shape that map_err wants"
)]
fn reset(error: hyper::Error) -> CallError {
    CallError::Reset(error.to_string())
}

fn first_word(body: &Bytes) -> String {
    String::from_utf8_lossy(body)
        .split_whitespace()
        .next()
        .unwrap_or_default()
        .to_owned()
}
