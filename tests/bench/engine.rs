//! Bare calls to the Docker Engine over its socket, as a shell script with curl would make them.
//!
//! This is what Mooring is compared with, so there is nothing clever in it: one kept connection, no client library,
//! no retry. It knows no pipelines.

use std::path::PathBuf;

use anyhow::{Context, bail};
use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::UnixStream;

/// The oldest API version that Mooring supports; every Engine in use still speaks it.
const API: &str = "/v1.41";
/// The longest line of the event stream that is read.
const EVENT_LIMIT: usize = 1 << 20;

/// One connection to the Engine.
#[derive(Debug)]
pub struct Engine {
    socket: PathBuf,
    sender: SendRequest<Full<Bytes>>,
}

impl Engine {
    /// Connects to the socket.
    ///
    /// # Errors
    /// Nothing listens there.
    pub async fn connect(socket: PathBuf) -> anyhow::Result<Self> {
        let sender = connect(&socket).await?;
        Ok(Self { socket, sender })
    }

    /// Makes one call. 304 (already so) counts as success.
    ///
    /// # Errors
    /// The Engine refused, or the connection ended.
    pub async fn call(
        &mut self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> anyhow::Result<Value> {
        if self.sender.ready().await.is_err() {
            self.sender = connect(&self.socket).await?;
            self.sender.ready().await?;
        }
        let named = format!("{method} {path}");
        let response = self
            .sender
            .send_request(request(method, path, body)?)
            .await
            .with_context(|| named.clone())?;
        let status = response.status();
        let bytes = response
            .into_body()
            .collect()
            .await
            .with_context(|| named.clone())?
            .to_bytes();
        if !status.is_success() && status != http::StatusCode::NOT_MODIFIED {
            bail!(
                "{named}: {status}: {}",
                String::from_utf8_lossy(&bytes).trim()
            );
        }
        Ok(serde_json::from_slice(&bytes).unwrap_or(Value::Null))
    }

    /// Follows the events of containers from now on.
    ///
    /// # Errors
    /// The Engine cannot be reached.
    pub async fn events(&self) -> anyhow::Result<Events> {
        let mut sender = connect(&self.socket).await?;
        let path = "/events?filters=%7B%22type%22%3A%5B%22container%22%5D%7D";
        let response = sender
            .send_request(request(Method::GET, path, None)?)
            .await?;
        Ok(Events {
            _sender: sender,
            body: response.into_body(),
            rest: Vec::new(),
        })
    }
}

/// The events of the Engine, one after the other.
#[derive(Debug)]
pub struct Events {
    // The connection ends with its sender.
    _sender: SendRequest<Full<Bytes>>,
    body: Incoming,
    rest: Vec<u8>,
}

/// One event.
#[derive(Debug, Clone)]
pub struct Event {
    /// What happened: `die`, `start`...
    pub action: String,
    /// The container.
    pub id: String,
    /// Its labels, image and exit code.
    pub attributes: Value,
    /// When, in nanoseconds by the Engine's clock.
    pub nanos: i64,
}

impl Events {
    /// The next event.
    ///
    /// # Errors
    /// The stream ended.
    pub async fn next(&mut self) -> anyhow::Result<Event> {
        loop {
            if let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.rest.drain(..=end).collect();
                let event: Value = serde_json::from_slice(&line).context("an event")?;
                return Ok(Event {
                    action: text(&event["Action"]),
                    id: text(&event["Actor"]["ID"]),
                    attributes: event["Actor"]["Attributes"].clone(),
                    nanos: event["timeNano"].as_i64().unwrap_or_default(),
                });
            }
            if self.rest.len() > EVENT_LIMIT {
                bail!("an event without an end");
            }
            let frame = self
                .body
                .frame()
                .await
                .context("the event stream ended")??;
            if let Ok(data) = frame.into_data() {
                self.rest.extend_from_slice(&data);
            }
        }
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

async fn connect(socket: &PathBuf) -> anyhow::Result<SendRequest<Full<Bytes>>> {
    let stream = UnixStream::connect(socket)
        .await
        .with_context(|| format!("connect to {}", socket.display()))?;
    let (sender, connection) = handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    Ok(sender)
}

fn request(
    method: Method,
    path: &str,
    body: Option<&Value>,
) -> anyhow::Result<Request<Full<Bytes>>> {
    let body = body
        .map(serde_json::to_vec)
        .transpose()?
        .unwrap_or_default();
    Ok(Request::builder()
        .method(method)
        .uri(format!("{API}{path}"))
        .header(http::header::HOST, "docker")
        .header(http::header::CONTENT_TYPE, "application/json")
        .body(Full::new(body.into()))?)
}
