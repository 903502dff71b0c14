//! One request: from its head to an instance and back.
//!
//! Owns the order of claims, attempts, limits and answers. Must not know how the table changes. Invariants: a request
//! is sent only under a claim; it is sent again only when no byte of it went, or when it is GET, HEAD or OPTIONS
//! without a body on a reused connection that closed before the first byte of an answer.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use http::header::CONTENT_TYPE;
use http::{Method, Request, Response, Version};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use tokio::time::{Instant, sleep_until, timeout};

use crate::answer::{Answer, Exchange, Refusal};
use crate::balance::{Tried, pick};
use crate::client::Client;
use crate::instance::Lease;
use crate::link::{Link, SendError};
use crate::pool::{FRESH_LIMIT, IDLE_LIMIT};
use crate::request::{Admitted, admit, drop_hop_by_hop, host_name, rewrite};
use crate::route::{Found, Target};
use crate::traffic::Counters;
use crate::upgrade;
use crate::upload::{Progress, Upload, UploadState};

/// Attempts for one request: the first and three repeats, so that a dying set of instances ends in an answer.
const MAX_ATTEMPTS: usize = 4;
/// Picks that may meet a gate that closed just now before the request is told that nobody is there.
const MAX_PICKS: usize = 32;
/// For a connect while another instance could take the request: no byte was sent, so moving on is cheap.
const CONNECT_SOON: Duration = Duration::from_millis(500);
/// For a connect to the last instance: survives one lost SYN, which is sent again after a second.
const CONNECT_LIMIT: Duration = Duration::from_secs(3);

/// Answers one request of a client.
pub async fn answer(client: &Client, request: Request<Incoming>) -> Response<Answer> {
    client.activity.begin();
    let (mut response, close) = match enter(client, request).await {
        Ok((response, close)) => (response, close),
        Err(refusal) => (refusal.response(), refusal == Refusal::BadRequest),
    };
    if close && response.status() != http::StatusCode::SWITCHING_PROTOCOLS {
        response.headers_mut().insert(
            http::header::CONNECTION,
            http::HeaderValue::from_static("close"),
        );
    }
    if matches!(response.body(), Answer::Whole(_)) {
        client.activity.rest();
    }
    response
}

/// Takes a request in, finds its target and forwards it. Also says whether the connection must end after it.
async fn enter(
    client: &Client,
    request: Request<Incoming>,
) -> Result<(Response<Answer>, bool), Refusal> {
    let (mut parts, incoming) = request.into_parts();
    let admitted = admit(&parts)?;
    let (target, path) = find(client, &admitted, parts.uri.path())?;
    let on_upgrade = if admitted.websocket {
        parts.extensions.remove::<OnUpgrade>()
    } else {
        None
    };
    rewrite(&mut parts, &admitted, path.as_deref(), &client.address);
    let (upload, progress) = Upload::new(incoming);
    let repeatable =
        progress.is_none() && matches!(parts.method, Method::GET | Method::HEAD | Method::OPTIONS);
    let forward = Forward {
        client,
        target,
        progress,
        repeatable: repeatable && !admitted.websocket,
        on_upgrade,
        started: Instant::now(),
    };
    let response = forward.run(Request::from_parts(parts, upload)).await?;
    Ok((response, admitted.chunked))
}

/// The target of a request, and the path that goes on when it changes.
fn find(
    client: &Client,
    admitted: &Admitted,
    path: &str,
) -> Result<(Arc<Target>, Option<String>), Refusal> {
    let path = if path == "*" { "/" } else { path };
    let router = client.shared.router.load();
    match router.find(&host_name(&admitted.host), path) {
        Found::Served(served) => {
            let forward = served
                .rule
                .strip
                .then(|| served.rule.forward(path).to_owned());
            Ok((Arc::clone(&served.target), forward))
        }
        Found::NoPath => Err(Refusal::RouteNotFound),
        Found::NoHost => Err(Refusal::HostNotDeclared),
    }
}

/// One request under way.
struct Forward<'c> {
    client: &'c Client,
    target: Arc<Target>,
    progress: Option<Arc<Progress>>,
    repeatable: bool,
    on_upgrade: Option<OnUpgrade>,
    started: Instant,
}

/// How one attempt ended without an answer.
enum Failed {
    /// May be tried again with this request.
    Again(Box<Request<Upload>>),
    /// May be tried again with this request, also on the same instance: only the connection was old.
    Stale(Box<Request<Upload>>),
    /// Must not.
    Final(Refusal),
}

impl Forward<'_> {
    async fn run(mut self, mut request: Request<Upload>) -> Result<Response<Answer>, Refusal> {
        let mut tried = Tried::default();
        let mut fresh = false;
        let mut counted: Option<Arc<Counters>> = None;
        let mut last = Refusal::NoInstance;
        for _ in 0..MAX_ATTEMPTS {
            let Some((lease, counters)) = self.claim(&mut tried) else {
                break;
            };
            match counted.replace(Arc::clone(&counters)) {
                None => counters.request(),
                Some(_) => counters.retried(),
            }
            let instance = Arc::clone(lease.instance());
            let link = match self.link(&lease, fresh, &tried).await {
                Ok(link) => link,
                Err(refusal) => {
                    last = refusal;
                    instance.avoid(Instant::now());
                    drop(lease);
                    tried.push(instance);
                    continue;
                }
            };
            match self.attempt(link, request, lease, &counters).await {
                Ok(response) => return Ok(response),
                Err(Failed::Final(refusal)) => {
                    count(refusal, &counters);
                    return Err(refusal);
                }
                Err(Failed::Again(again)) => {
                    request = *again;
                    tried.push(instance);
                }
                Err(Failed::Stale(again)) => {
                    request = *again;
                    fresh = true;
                    tried.push(instance);
                    if self.claimable(&tried).is_none() {
                        tried.clear();
                    }
                }
            }
            last = Refusal::InstanceBroke;
        }
        if let Some(counters) = counted {
            count(last, &counters);
        }
        Err(last)
    }

    /// Claims an instance. One whose gate closed since the snapshot was taken sends us back to the routes in force.
    fn claim(&mut self, tried: &mut Tried) -> Option<(Lease, Arc<Counters>)> {
        for _ in 0..MAX_PICKS {
            let (instance, share) = pick(&self.target, tried, self.started)?;
            if let Some(lease) = instance.claim() {
                return Some((lease, Arc::clone(&share.counters)));
            }
            let router = self.client.shared.router.load();
            let latest = Arc::clone(router.target(&self.target.key)?);
            if Arc::ptr_eq(&latest, &self.target) {
                // The newest routes still name it: they are being replaced right now.
                tried.push(Arc::clone(instance));
            }
            self.target = latest;
        }
        None
    }

    fn claimable(&self, tried: &Tried) -> Option<()> {
        pick(&self.target, tried, self.started).map(|_| ())
    }

    /// A connection to the claimed instance: an idle one as the request allows, else a new one.
    async fn link(&self, lease: &Lease, fresh: bool, tried: &Tried) -> Result<Link, Refusal> {
        let instance = lease.instance();
        let limit = if self.repeatable {
            IDLE_LIMIT
        } else {
            FRESH_LIMIT
        };
        if !fresh
            && self.on_upgrade.is_none()
            && let Some(link) = instance.pool.take(self.client.worker, limit, self.started)
        {
            return Ok(link);
        }
        let others = self
            .target
            .shares
            .iter()
            .map(|share| share.instances.len())
            .sum::<usize>()
            > tried.len() + 1;
        let limit = if others { CONNECT_SOON } else { CONNECT_LIMIT };
        let connect = Link::connect(&*self.client.shared.dial, instance.address);
        tokio::select! {
            biased;
            connected = timeout(limit, connect) => match connected {
                Ok(Ok(link)) => Ok(link),
                Ok(Err(_)) | Err(_) => Err(Refusal::InstanceUnreachable),
            },
            () = lease.until_cut() => Err(Refusal::Drained),
        }
    }

    async fn attempt(
        &mut self,
        mut link: Link,
        request: Request<Upload>,
        lease: Lease,
        counters: &Arc<Counters>,
    ) -> Result<Response<Answer>, Failed> {
        let copy = (self.repeatable && link.is_reused()).then(|| copy_head(&request));
        let response = match self.exchange(&mut link, request, &lease).await {
            Ok(Ok(response)) => response,
            Err(refusal) => return Err(Failed::Final(refusal)),
            Ok(Err(SendError::Unsent(request))) if link.is_reused() => {
                return Err(Failed::Stale(request));
            }
            Ok(Err(SendError::Unsent(request))) => return Err(Failed::Again(request)),
            Ok(Err(SendError::Lost { answered, error })) => {
                return Err(match copy {
                    Some(copy) if !answered => Failed::Stale(Box::new(copy)),
                    Some(_) | None => {
                        tracing::debug!(section = %self.target.key, instance = %lease.instance().name, %error, "no answer");
                        Failed::Final(self.upload_fault().unwrap_or(Refusal::InstanceBroke))
                    }
                });
            }
        };
        counters.answer(response.status(), self.started.elapsed());
        if let Some(upgrade) = self.on_upgrade.take()
            && response.status() == http::StatusCode::SWITCHING_PROTOCOLS
        {
            return Ok(upgrade::bridge(
                response,
                upgrade,
                lease,
                Arc::clone(counters),
                self.client,
            ));
        }
        Ok(self.pass_on(response, link, lease, counters).await)
    }

    /// Sends the request and waits for the head of the answer, within the limits.
    async fn exchange(
        &self,
        link: &mut Link,
        request: Request<Upload>,
        lease: &Lease,
    ) -> Result<Result<Response<Incoming>, SendError>, Refusal> {
        if self.on_upgrade.is_some() {
            link.detach();
        }
        let limit = self.target.response_timeout;
        let mut answer = pin!(link.send(request));
        let mut cut = pin!(lease.until_cut());
        let mut late = pin!(sleep_until(self.started + limit));
        poll_fn(|cx| {
            if let Poll::Ready(outcome) = answer.as_mut().poll(cx) {
                return Poll::Ready(Ok(outcome));
            }
            if cut.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Err(Refusal::Drained));
            }
            while late.as_mut().poll(cx).is_ready() {
                // A body that is still arriving gives the instance its time from the last piece on.
                match self
                    .progress
                    .as_ref()
                    .map(|progress| progress.moved() + limit)
                {
                    Some(until) if until > Instant::now() => late.as_mut().reset(until),
                    Some(_) | None => {
                        return Poll::Ready(Err(self
                            .upload_fault()
                            .unwrap_or(Refusal::InstanceTimeout)));
                    }
                }
            }
            Poll::Pending
        })
        .await
    }

    /// The answer as the client gets it.
    async fn pass_on(
        &self,
        response: Response<Incoming>,
        link: Link,
        mut lease: Lease,
        counters: &Arc<Counters>,
    ) -> Response<Answer> {
        let (mut parts, incoming) = response.into_parts();
        drop_hop_by_hop(&mut parts.headers);
        let kind = parts
            .headers
            .get(CONTENT_TYPE)
            .map(http::HeaderValue::as_bytes)
            .unwrap_or_default();
        if kind
            .get(..17)
            .is_some_and(|kind| kind.eq_ignore_ascii_case(b"text/event-stream"))
        {
            lease.become_stream();
        }
        let exchange = Exchange {
            link,
            lease,
            worker: self.client.worker,
            counters: Arc::clone(counters),
            activity: Arc::clone(&self.client.activity),
        };
        let body = Answer::from_instance(incoming, exchange).await;
        parts.version = Version::HTTP_11;
        parts.extensions.remove::<OnUpgrade>();
        Response::from_parts(parts, body)
    }

    /// What the client did wrong, when its body is why there is no answer.
    fn upload_fault(&self) -> Option<Refusal> {
        match self.progress.as_ref()?.state() {
            UploadState::Broken => Some(Refusal::BadRequest),
            UploadState::Stalled => Some(Refusal::RequestStalled),
            UploadState::Sending | UploadState::Sent => None,
        }
    }
}

fn count(refusal: Refusal, counters: &Counters) {
    match refusal {
        Refusal::InstanceTimeout => counters.timed_out(),
        Refusal::Drained => counters.cut(),
        Refusal::NoInstance | Refusal::InstanceUnreachable | Refusal::InstanceBroke => {
            counters.failed()
        }
        Refusal::BadRequest
        | Refusal::MethodNotAllowed
        | Refusal::RouteNotFound
        | Refusal::HostNotDeclared
        | Refusal::RequestStalled => {}
    }
}

/// The head of a request without a body, to send it again.
fn copy_head(request: &Request<Upload>) -> Request<Upload> {
    let mut copy = Request::new(Upload::none());
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.headers_mut() = request.headers().clone();
    copy
}
