//! Sends one listed call over HTTP/1.1 and says how it ended.
//!
//! Owns the connections, the version prefix, the deadlines, the limit on answers and the passage through the gate. It
//! must not know what a call means. Invariant: a call that changes something runs, with its deadline, inside the gate.

use std::sync::Arc;
use std::time::Duration;

use bollard::models::{SystemInfo, SystemVersion};
use bytes::{Bytes, BytesMut};
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::upgrade::Upgraded;
use hyper_util::client::legacy;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time;

use super::ApiVersion;
use super::calls::{self, Call};
use super::connector::Connector;
use super::endpoint::Dialer;
use super::outcome::{Cause, Outcome};
use crate::gate::{Effect, EffectKind, Gate};

/// The largest answer that is read whole: a list of 2,000 containers is about 10 MB.
const MAX_ANSWER: usize = 64 << 20;
/// The largest refusal that is read; more is another program's page.
const MAX_REFUSAL: usize = 64 << 10;
/// Idle connections kept per Engine: as many as calls run at once on a host.
const MAX_IDLE: usize = 4;
/// How long an idle connection is kept, well below what a TLS front or a NAT on the way forgets.
const IDLE: Duration = Duration::from_secs(30);

/// The content type of most bodies.
const JSON: HeaderValue = HeaderValue::from_static("application/json");
/// The header by which an Engine is told credentials for a registry.
const REGISTRY_AUTH: header::HeaderName = header::HeaderName::from_static("x-registry-auth");
/// The content type of archives.
const TAR: HeaderValue = HeaderValue::from_static("application/x-tar");

/// A call with its object, parameters and body, ready to be sent.
pub(super) struct Ask {
    call: &'static Call,
    target: String,
    query: Vec<(&'static str, String)>,
    body: Bytes,
    content: HeaderValue,
    /// Credentials for a registry.
    auth: Option<HeaderValue>,
    deadline: Duration,
}

impl Ask {
    /// `call` on the object `target`, which its path names unless the call's template has no parameter.
    pub(super) fn new(call: &'static Call, target: impl Into<String>) -> Ask {
        Ask {
            call,
            target: target.into(),
            query: Vec::new(),
            body: Bytes::new(),
            content: JSON,
            auth: None,
            deadline: call.deadline,
        }
    }

    /// One query parameter more.
    pub(super) fn query(mut self, key: &'static str, value: impl Into<String>) -> Ask {
        self.query.push((key, value.into()));
        self
    }

    /// The query parameter `filters` for objects that carry all of `labels`, each `key` or `key=value`.
    pub(super) fn labels(self, labels: &[String]) -> Ask {
        if labels.is_empty() {
            return self;
        }
        self.query(
            "filters",
            serde_json::json!({ "label": labels }).to_string(),
        )
    }

    /// A JSON body.
    pub(super) fn json(mut self, body: &impl Serialize) -> Ask {
        self.body = serde_json::to_vec(body)
            .expect("the models of the API have string keys")
            .into();
        self
    }

    /// An archive as body.
    pub(super) fn tar(mut self, body: Bytes) -> Ask {
        self.body = body;
        self.content = TAR;
        self
    }

    /// Credentials for a registry, as [`REGISTRY_AUTH`] takes them.
    pub(super) fn auth(mut self, auth: Option<HeaderValue>) -> Ask {
        self.auth = auth;
        self
    }

    /// More time than the call's own deadline.
    pub(super) fn allow(mut self, extra: Duration) -> Ask {
        self.deadline += extra;
        self
    }

    /// The call in words, for outcomes.
    fn words(&self) -> String {
        if self.target.is_empty() {
            self.call.name.to_owned()
        } else {
            format!("{} {}", self.call.name, self.target)
        }
    }
}

/// Sends calls to one Engine. Cloning shares the connections.
#[derive(Clone)]
pub(super) struct Client {
    link: Arc<Link>,
    /// `/v1.41`, or empty until the version is agreed on.
    prefix: Arc<str>,
}

/// What all clones share.
struct Link {
    http: legacy::Client<Connector, Full<Bytes>>,
    dialer: Arc<dyn Dialer>,
    gate: Arc<dyn Gate>,
}

impl Client {
    /// A client that names no version yet.
    pub(super) fn new(dialer: Arc<dyn Dialer>, gate: Arc<dyn Gate>) -> Client {
        let connector = Connector {
            dialer: Arc::clone(&dialer),
        };
        let http = legacy::Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(MAX_IDLE)
            .build(connector);
        Client {
            link: Arc::new(Link { http, dialer, gate }),
            prefix: Arc::from(""),
        }
    }

    /// One for the same Engine and version that has no connection yet.
    pub(super) fn anew(&self) -> Client {
        let (dialer, gate) = (&self.link.dialer, &self.link.gate);
        Client {
            prefix: Arc::clone(&self.prefix),
            ..Client::new(Arc::clone(dialer), Arc::clone(gate))
        }
    }

    /// The same connections, with every path under `version`.
    pub(super) fn pinned(&self, version: ApiVersion) -> Client {
        Client {
            link: Arc::clone(&self.link),
            prefix: Arc::from(format!("/v{version}")),
        }
    }

    /// `GET /version`, which every Engine answers in every version.
    pub(super) async fn version(&self) -> Result<SystemVersion, Outcome> {
        self.read(Ask::new(&calls::VERSION, "")).await
    }

    /// `GET /info`.
    pub(super) async fn info(&self) -> Result<SystemInfo, Outcome> {
        self.read(Ask::new(&calls::INFO, "")).await
    }

    /// Sends `ask` and reads its whole answer, within the deadline and through the gate if it is an effect.
    pub(super) async fn send(&self, ask: Ask) -> Result<Bytes, Outcome> {
        let words = ask.words();
        let request = self.request(&ask)?;
        let link = Arc::clone(&self.link);
        let deadline = ask.deadline;
        let run = async move {
            match time::timeout(deadline, link.exchange(&words, request)).await {
                Ok(result) => result,
                Err(_) => Err(timed_out(words, deadline)),
            }
        };
        if !ask.call.effect {
            return run.await;
        }
        let effect = Effect {
            kind: EffectKind::Engine,
            verb: ask.call.template.into(),
            target: ask.target,
        };
        self.link.gate.run(effect, run).await
    }

    /// Sends `ask` through the gate and hands each line of its answer to `hear`, up to the end or the first error. The
    /// deadline is for each silence in between.
    pub(super) async fn lines(
        &self,
        ask: Ask,
        mut hear: impl FnMut(&[u8]) -> Result<(), Outcome> + Send + 'static,
    ) -> Result<(), Outcome> {
        let words = ask.words();
        let request = self.request(&ask)?;
        let link = Arc::clone(&self.link);
        let silence = ask.deadline;
        let run = async move {
            let late = |_| timed_out(words.clone(), silence);
            let head = async { accepted(&words, link.head(&words, request).await?).await };
            let mut body = time::timeout(silence, head)
                .await
                .map_err(late)??
                .into_body();
            let mut buffer = BytesMut::new();
            while let Some(frame) = time::timeout(silence, body.frame()).await.map_err(late)? {
                let frame = frame.map_err(|error| cut_off(&words, &error))?;
                buffer.extend_from_slice(frame.data_ref().map_or(&[], |data| data));
                while let Some(end) = buffer.iter().position(|byte| *byte == b'\n') {
                    hear(buffer.split_to(end + 1).trim_ascii())?;
                }
                if buffer.len() > MAX_REFUSAL {
                    let message = format!("a line is longer than {MAX_REFUSAL} bytes");
                    return Err(Outcome::Unknown {
                        call: words.clone(),
                        cause: Cause::Unreadable,
                        message,
                    });
                }
            }
            hear(buffer.trim_ascii())
        };
        let effect = Effect {
            kind: EffectKind::Engine,
            verb: ask.call.template.into(),
            target: ask.target,
        };
        self.link.gate.run(effect, run).await
    }

    /// As [`Client::send`], reading the answer as JSON.
    pub(super) async fn read<T: DeserializeOwned>(&self, ask: Ask) -> Result<T, Outcome> {
        let words = ask.words();
        let body = self.send(ask).await?;
        serde_json::from_slice(&body).map_err(|error| Outcome::Unknown {
            call: words,
            cause: Cause::Unreadable,
            message: error.to_string(),
        })
    }

    /// Sends `ask` and gives out its answer as it comes. The deadline covers its head.
    pub(super) async fn open(&self, ask: Ask) -> Result<Incoming, Outcome> {
        let words = ask.words();
        let request = self.request(&ask)?;
        let head = async {
            let response = self.link.head(&words, request).await?;
            accepted(&words, response).await
        };
        match time::timeout(ask.deadline, head).await {
            Ok(response) => Ok(response?.into_body()),
            Err(_) => Err(timed_out(words, ask.deadline)),
        }
    }

    /// As [`Client::open`], however long the Engine waits with its first byte.
    pub(super) async fn open_unbounded(&self, ask: Ask) -> Result<Incoming, Outcome> {
        let words = ask.words();
        let request = self.request(&ask)?;
        let response = self.link.head(&words, request).await?;
        Ok(accepted(&words, response).await?.into_body())
    }

    /// Sends `ask` and takes over its connection as a stream of bytes in both directions.
    pub(super) async fn upgrade(&self, ask: Ask) -> Result<TokioIo<Upgraded>, Outcome> {
        let words = ask.words();
        let mut request = self.request(&ask)?;
        request
            .headers_mut()
            .insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        request
            .headers_mut()
            .insert(header::UPGRADE, HeaderValue::from_static("tcp"));
        let switch = async {
            let response = self.link.head(&words, request).await?;
            if response.status() != StatusCode::SWITCHING_PROTOCOLS {
                accepted(&words, response).await?;
                let message = "the Engine did not hand the connection over".to_owned();
                return Err(Outcome::Unknown {
                    call: words.clone(),
                    cause: Cause::Unreadable,
                    message,
                });
            }
            hyper::upgrade::on(response)
                .await
                .map_err(|error| cut_off(&words, &error))
        };
        match time::timeout(ask.deadline, switch).await {
            Ok(upgraded) => upgraded.map(TokioIo::new),
            Err(_) => Err(timed_out(words, ask.deadline)),
        }
    }

    fn request(&self, ask: &Ask) -> Result<Request<Full<Bytes>>, Outcome> {
        let misnamed = || Outcome::Failed {
            call: ask.words(),
            status: StatusCode::BAD_REQUEST.as_u16(),
            message: "this cannot be a name on an Engine".to_owned(),
        };
        let path = ask.call.path(&ask.target).ok_or_else(misnamed)?;
        let uri = format!(
            "http://engine{}{path}{}",
            self.prefix,
            calls::query(&ask.query)
        );
        let mut request = Request::builder()
            .method(ask.call.method())
            .uri(uri)
            .header(header::CONTENT_TYPE, &ask.content);
        if let Some(auth) = &ask.auth {
            request = request.header(REGISTRY_AUTH, auth);
        }
        request
            .body(Full::new(ask.body.clone()))
            .map_err(|_| misnamed())
    }
}

impl Link {
    /// The whole answer.
    async fn exchange(&self, words: &str, request: Request<Full<Bytes>>) -> Result<Bytes, Outcome> {
        let response = accepted(words, self.head(words, request).await?).await?;
        collect(words, response.into_body(), MAX_ANSWER).await
    }

    /// The head of the answer, whatever its status.
    async fn head(
        &self,
        words: &str,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, Outcome> {
        self.http.request(request).await.map_err(|error| {
            if error.is_connect() {
                Outcome::Unreachable {
                    call: words.to_owned(),
                    message: innermost(&error),
                }
            } else {
                cut_off(words, &error)
            }
        })
    }
}

/// The response if it is 2xx or 304 (F5: it is so already), else what its status and words mean.
async fn accepted(
    words: &str,
    response: Response<Incoming>,
) -> Result<Response<Incoming>, Outcome> {
    let status = response.status();
    if status.is_success() || status == StatusCode::NOT_MODIFIED {
        return Ok(response);
    }
    // A refusal whose words are cut off is a refusal all the same: its status came whole.
    let body = collect(words, response.into_body(), MAX_REFUSAL)
        .await
        .unwrap_or_default();
    Err(Outcome::of_answer(words.to_owned(), status, &body))
}

/// Reads a body to its end, at most `limit` bytes.
pub(super) async fn collect(
    words: &str,
    mut body: Incoming,
    limit: usize,
) -> Result<Bytes, Outcome> {
    let mut whole = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| cut_off(words, &error))?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        if whole.len() + data.len() > limit {
            let message = format!("the answer is larger than {limit} bytes");
            return Err(Outcome::Unknown {
                call: words.to_owned(),
                cause: Cause::Unreadable,
                message,
            });
        }
        whole.extend_from_slice(&data);
    }
    Ok(whole.freeze())
}

/// A connection that ended too early.
pub(super) fn cut_off(words: &str, error: &(dyn std::error::Error + 'static)) -> Outcome {
    Outcome::Unknown {
        call: words.to_owned(),
        cause: Cause::Cut,
        message: innermost(error),
    }
}

/// Bounds work that takes more than one answer or reads a stream to its end.
pub(super) async fn within<T>(
    deadline: Duration,
    name: &str,
    target: &str,
    work: impl Future<Output = Result<T, Outcome>>,
) -> Result<T, Outcome> {
    match time::timeout(deadline, work).await {
        Ok(result) => result,
        Err(_) => Err(timed_out(format!("{name} {target}"), deadline)),
    }
}

fn timed_out(call: String, deadline: Duration) -> Outcome {
    Outcome::Unknown {
        call,
        cause: Cause::TimedOut,
        message: format!("no answer in {} s", deadline.as_secs()),
    }
}

/// The words of the error at the bottom of the chain: the ones above it say only that there is one.
fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}
