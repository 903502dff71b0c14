//! What goes back to a client: an instance's answer as it arrives, or a short one of ours.
//!
//! Owns bodies of answers and the status codes the proxy itself gives. Must not know routing. Invariant: an answer is
//! never held back: what came is passed on at once, and the claim on the instance lives until its last byte came.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};
use http::{Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::Instant;

use crate::client::Activity;
use crate::instance::Lease;
use crate::link::Link;
use crate::traffic::Counters;

/// Why the proxy answered in place of an instance.
pub const REASON: HeaderName = HeaderName::from_static("mooring-reason");
/// Seconds after which a client may try again: about a start of an instance.
const RETRY_AFTER_SECONDS: HeaderValue = HeaderValue::from_static("5");

/// A body that goes to the client.
pub enum Answer {
    /// Known as a whole; taken when sent.
    Whole(Option<Bytes>),
    /// Arriving from an instance.
    Flowing(Pin<Box<Flow>>),
}

/// The proxy's own answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The request is not one HTTP/1.1 request with one meaning.
    BadRequest,
    /// CONNECT and TRACE have no place here.
    MethodNotAllowed,
    /// The host is declared, the path is not.
    RouteNotFound,
    /// Nobody declared the host.
    HostNotDeclared,
    /// The client's body stalled.
    RequestStalled,
    /// No instance is routed.
    NoInstance,
    /// No instance accepted a connection.
    InstanceUnreachable,
    /// The drain limit passed before an answer came.
    Drained,
    /// The instance closed the connection or answered what is no HTTP.
    InstanceBroke,
    /// No answer in time.
    InstanceTimeout,
}

impl Refusal {
    fn status(self) -> StatusCode {
        match self {
            Refusal::BadRequest => StatusCode::BAD_REQUEST,
            Refusal::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Refusal::RouteNotFound => StatusCode::NOT_FOUND,
            Refusal::HostNotDeclared => StatusCode::MISDIRECTED_REQUEST,
            Refusal::RequestStalled => StatusCode::REQUEST_TIMEOUT,
            Refusal::NoInstance | Refusal::InstanceUnreachable | Refusal::Drained => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Refusal::InstanceBroke => StatusCode::BAD_GATEWAY,
            Refusal::InstanceTimeout => StatusCode::GATEWAY_TIMEOUT,
        }
    }

    fn words(self) -> (&'static str, &'static str) {
        match self {
            Refusal::BadRequest => ("BadRequest", "This request is malformed.\n"),
            Refusal::MethodNotAllowed => ("MethodNotAllowed", "This method is not allowed here.\n"),
            Refusal::RouteNotFound => ("RouteNotFound", "Nothing is served at this path.\n"),
            Refusal::HostNotDeclared => ("HostNotDeclared", "This host name is not served here.\n"),
            Refusal::RequestStalled => ("RequestStalled", "The request did not arrive in time.\n"),
            Refusal::NoInstance => (
                "NoInstance",
                "Nothing is ready to answer. Please try again soon.\n",
            ),
            Refusal::InstanceUnreachable => (
                "InstanceUnreachable",
                "Nothing accepted the request. Please try again soon.\n",
            ),
            Refusal::Drained => (
                "Drained",
                "This request took longer than an update waits. Please try again.\n",
            ),
            Refusal::InstanceBroke => ("InstanceBroke", "The application broke off its answer.\n"),
            Refusal::InstanceTimeout => (
                "InstanceTimeout",
                "The application did not answer in time.\n",
            ),
        }
    }

    /// The answer to send.
    pub fn response(self) -> Response<Answer> {
        let (reason, text) = self.words();
        let mut response = Response::new(Answer::Whole(Some(Bytes::from_static(text.as_bytes()))));
        *response.status_mut() = self.status();
        let headers = response.headers_mut();
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("text/plain; charset=utf-8"),
        );
        headers.insert(REASON, HeaderValue::from_static(reason));
        if self.status() == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(RETRY_AFTER, RETRY_AFTER_SECONDS);
        }
        response
    }
}

/// A body on its way from an instance, with everything that must live as long as it does.
pub struct Flow {
    first: Option<Result<Frame<Bytes>, FlowError>>,
    incoming: Incoming,
    link: Option<Link>,
    lease: Option<Lease>,
    worker: usize,
    counters: Arc<Counters>,
    activity: Arc<Activity>,
}

/// Why a body ended early.
#[derive(Debug, thiserror::Error)]
pub enum FlowError {
    /// The instance broke off.
    #[error("the instance broke off its answer: {0}")]
    Instance(#[from] hyper::Error),
    /// The drain limit passed.
    #[error("cut at the drain limit")]
    Cut,
}

/// What the exchange so far left for the body.
pub struct Exchange {
    /// The connection.
    pub link: Link,
    /// The claim.
    pub lease: Lease,
    /// The worker whose pool gets the connection back.
    pub worker: usize,
    /// The revision's counters.
    pub counters: Arc<Counters>,
    /// Of the client's connection.
    pub activity: Arc<Activity>,
}

impl Answer {
    /// A body from an instance. One that is already here as a whole gives claim and connection back at once.
    pub async fn from_instance(mut incoming: Incoming, exchange: Exchange) -> Answer {
        let Exchange {
            mut link,
            lease,
            worker,
            counters,
            activity,
        } = exchange;
        if incoming.is_end_stream() {
            finish(link, lease, worker);
            return Answer::Whole(None);
        }
        // What came with the head is taken along; nothing is waited for.
        let first = match poll_fn(|cx| Poll::Ready(link.poll_frame(&mut incoming, cx))).await {
            Poll::Ready(None) => {
                finish(link, lease, worker);
                return Answer::Whole(None);
            }
            Poll::Ready(Some(Ok(frame))) if frame.is_data() && incoming.is_end_stream() => {
                finish(link, lease, worker);
                return Answer::Whole(frame.into_data().ok());
            }
            Poll::Ready(Some(frame)) => Some(frame.map_err(FlowError::from)),
            Poll::Pending => None,
        };
        activity.flow(lease.watch());
        let (link, lease) = (Some(link), Some(lease));
        Answer::Flowing(Box::pin(Flow {
            first,
            incoming,
            link,
            lease,
            worker,
            counters,
            activity,
        }))
    }
}

/// Ends an exchange: the connection back to its pool, then the claim.
fn finish(mut link: Link, lease: Lease, worker: usize) {
    if link.rest(Instant::now()) {
        lease
            .instance()
            .pool
            .put(worker, link, lease.instance().gate());
    }
    drop(lease);
}

impl Flow {
    fn end(&mut self) {
        if let (Some(link), Some(lease)) = (self.link.take(), self.lease.take()) {
            finish(link, lease, self.worker);
        }
    }

    fn fail(&mut self, error: FlowError) -> Poll<Option<Result<Frame<Bytes>, FlowError>>> {
        self.link = None;
        Poll::Ready(Some(Err(error)))
    }
}

impl Body for Flow {
    type Data = Bytes;
    type Error = FlowError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, FlowError>>> {
        let flow = self.get_mut();
        let Some(link) = &mut flow.link else {
            return Poll::Ready(None);
        };
        // A client that reads slowly is cut by its connection, which waits for it; this is for one that reads fast.
        if flow.lease.as_ref().is_some_and(Lease::is_cut) {
            return flow.fail(FlowError::Cut);
        }
        let frame = match flow.first.take() {
            Some(first) => Some(first),
            None => std::task::ready!(link.poll_frame(&mut flow.incoming, cx))
                .map(|frame| frame.map_err(FlowError::from)),
        };
        match frame {
            Some(Err(error)) => {
                flow.counters.failed();
                flow.fail(error)
            }
            Some(Ok(frame)) => {
                if flow.incoming.is_end_stream() {
                    flow.end();
                }
                Poll::Ready(Some(Ok(frame)))
            }
            None => {
                flow.end();
                Poll::Ready(None)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.link.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        let rest = self.incoming.size_hint();
        let first = match &self.first {
            Some(Ok(frame)) => frame.data_ref().map_or(0, |data| data.len() as u64),
            Some(Err(_)) | None => 0,
        };
        match rest.exact() {
            Some(rest) => SizeHint::with_exact(rest + first),
            None => SizeHint::new(),
        }
    }
}

impl Drop for Flow {
    fn drop(&mut self) {
        if self.lease.as_ref().is_some_and(Lease::is_cut) {
            self.counters.cut();
        }
        self.activity.rest();
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = FlowError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, FlowError>>> {
        match &mut *self {
            Answer::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Answer::Flowing(flow) => flow.as_mut().poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Answer::Whole(bytes) => bytes.is_none(),
            Answer::Flowing(flow) => flow.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Answer::Whole(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Answer::Flowing(flow) => flow.size_hint(),
        }
    }
}
