//! One HTTP/1.1 connection to an instance, driven by the request that uses it.
//!
//! Owns sending one request after the other over a connection, with no task of its own: whoever waits for the answer
//! polls the connection, so a request costs no wake-up across tasks. Must not know pools, routes or retries.
//! Invariant: after an error the caller can tell whether a byte of the request went and whether a byte of an answer
//! came.

use std::future::poll_fn;
use std::net::SocketAddrV4;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame};
use hyper::body::Incoming;
use hyper::client::conn::http1::{Builder, Connection, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::time::Instant;

use crate::dial::{Dial, Meter, Wire};
use crate::upload::Upload;

/// Bytes of an answer's head, and of what is read ahead of a slow client. The number of its headers is limited to
/// hyper's default of 100, because any other limit costs an allocation per answer.
const MAX_BUFFER_BYTES: usize = 256 * 1024;

/// A connection to one instance. Boxed, so that moving it between request and pool moves a pointer.
pub struct Link(Box<Parts>);

struct Parts {
    sender: SendRequest<Upload>,
    connection: Option<Connection<TokioIo<Wire>, Upload>>,
    meter: Arc<Meter>,
    idle_since: Instant,
    reused: bool,
}

/// Why there is no answer.
pub enum SendError {
    /// No byte of the request went; here it is again.
    Unsent(Box<Request<Upload>>),
    /// The connection closed. `answered`: some byte of an answer had come.
    Lost {
        /// Whether a byte of an answer came.
        answered: bool,
        /// What hyper said.
        error: hyper::Error,
    },
}

impl Link {
    /// Connects and makes ready to send.
    pub async fn connect(dial: &dyn Dial, address: SocketAddrV4) -> std::io::Result<Link> {
        let (wire, meter) = Wire::new(dial.dial(address).await?);
        let (sender, connection) = Builder::new()
            .max_buf_size(MAX_BUFFER_BYTES)
            .handshake(TokioIo::new(wire))
            .await
            .map_err(std::io::Error::other)?;
        Ok(Link(Box::new(Parts {
            sender,
            connection: Some(connection),
            meter,
            idle_since: Instant::now(),
            reused: false,
        })))
    }

    /// Whether a request was answered over it before.
    pub fn is_reused(&self) -> bool {
        self.0.reused
    }

    /// Since when it is unused.
    pub fn idle_since(&self) -> Instant {
        self.0.idle_since
    }

    /// Marks a finished exchange. `false` when the connection cannot take another.
    pub fn rest(&mut self, now: Instant) -> bool {
        self.0.reused = true;
        self.0.idle_since = now;
        self.is_usable()
    }

    /// Whether it can take a request: reads what came while nobody looked, so an end by the instance is noticed.
    pub fn is_usable(&mut self) -> bool {
        self.drive(&mut Context::from_waker(Waker::noop()));
        self.0.connection.is_some() && self.0.sender.is_ready()
    }

    /// Gives the connection to a task of its own that follows it through an upgrade.
    pub fn detach(&mut self) {
        if let Some(connection) = self.0.connection.take() {
            tokio::spawn(connection.with_upgrades());
        }
    }

    /// Sends a request and waits for the head of its answer.
    ///
    /// # Errors
    /// [`SendError`] says what of the exchange happened.
    pub async fn send(
        &mut self,
        request: Request<Upload>,
    ) -> Result<Response<Incoming>, SendError> {
        let Parts {
            sender,
            connection,
            meter,
            ..
        } = &mut *self.0;
        meter.reset();
        let mut answer = pin!(sender.try_send_request(request));
        let outcome = poll_fn(|cx| {
            poll_connection(connection, cx);
            answer.as_mut().poll(cx)
        })
        .await;
        outcome.map_err(|mut error| match error.take_message() {
            Some(request) => SendError::Unsent(Box::new(request)),
            None => SendError::Lost {
                answered: meter.has_read(),
                error: error.into_error(),
            },
        })
    }

    /// The next frame of an answer's body. Also moves what is left of the request's.
    pub fn poll_frame(
        &mut self,
        incoming: &mut Incoming,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        if let Poll::Ready(frame) = Pin::new(&mut *incoming).poll_frame(cx) {
            return Poll::Ready(frame);
        }
        self.drive(cx);
        Pin::new(incoming).poll_frame(cx)
    }

    fn drive(&mut self, cx: &mut Context<'_>) {
        poll_connection(&mut self.0.connection, cx);
    }
}

/// Polls a connection unless it ended; its error also reaches whoever waits for the answer.
fn poll_connection(
    connection: &mut Option<Connection<TokioIo<Wire>, Upload>>,
    cx: &mut Context<'_>,
) {
    if let Some(active) = connection
        && Pin::new(active).poll(cx).is_ready()
    {
        *connection = None;
    }
}
