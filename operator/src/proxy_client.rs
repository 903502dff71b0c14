//! The operator's side of the session with one host's proxy.
//!
//! The stream is an exec of `mooring-proxy connect` in the proxy's container: no port, no second credential. Owns the
//! session's life (open, greet, heartbeats, open again) and the matching of replies to requests. It must not know
//! what a section means. Invariants: a mutating request passes the gate, with install and epoch of the [`Fence`]; a
//! request that was sent and not answered is [`ProxyError::Unknown`], never failed.

use std::sync::Arc;
use std::time::Duration;

use routes::{Reply, Report, Request, Section, SectionKey, Status};
use tokio::sync::watch;

use crate::backoff::{self, Jitter};
use crate::docker::endpoint::ByteStream;
use crate::gate::{Effect, EffectKind, Gate};
use crate::lease::Epoch;

mod connection;

use connection::{Broken, Connection};

/// The longest time from a request to its reply: a push includes a write to the host's disk.
const REQUEST: Duration = Duration::from_secs(5);

/// Whom a mutating request is made for.
#[derive(Clone)]
pub struct Fence {
    /// The install's id.
    pub install: String,
    /// The epoch of this operator.
    pub epoch: Epoch,
    /// What every mutating request passes.
    pub gate: Arc<dyn Gate>,
}

/// The session with one proxy. Cloning shares it.
#[derive(Clone)]
pub struct ProxySession {
    host: Arc<str>,
    fence: Fence,
    state: Arc<watch::Sender<State>>,
    container: Arc<watch::Sender<Option<String>>>,
}

/// What a session has to tell to whoever looks after the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// It is open: facts may have changed meanwhile.
    Opened,
    /// It is over, and why.
    Closed(String),
    /// The proxy says that something changed.
    Report(Report),
}

/// Where the session stands.
#[derive(Clone)]
enum State {
    /// No proxy is known on the host.
    Detached,
    /// The first try to reach this proxy is under way.
    Opening,
    /// It answers.
    Open(Connection),
    /// It does not; another try follows.
    Failed(String),
}

/// The proxy took a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acked {
    /// Version of the section, or of the table after a claim or drop.
    pub version: u64,
    /// Whether the table is on disk; if not, an address that left it must not be used again yet.
    pub persisted: bool,
    /// Routes of the section that others hold.
    pub conflicts: Vec<routes::Conflict>,
}

/// Why a request to a proxy has no answer that was hoped for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProxyError {
    /// Nothing was sent.
    #[error("the proxy of host {host} cannot be reached: {message}")]
    Unreachable {
        /// The DockerHost.
        host: String,
        /// Why.
        message: String,
    },
    /// The proxy refused, and nothing was changed.
    #[error("the proxy of host {host} refused: {message}")]
    Refused {
        /// The DockerHost.
        host: String,
        /// Its reason as it gave it.
        reason: routes::Refusal,
        /// The same for people.
        message: String,
    },
    /// It was sent, and nobody knows what became of it.
    #[error("the proxy of host {host} gave no answer: {message}")]
    Unknown {
        /// The DockerHost.
        host: String,
        /// What happened instead.
        message: String,
    },
}

impl ProxySession {
    /// A session that knows no proxy yet.
    pub fn new(host: &str, fence: Fence) -> ProxySession {
        ProxySession {
            host: Arc::from(host),
            fence,
            state: Arc::new(watch::Sender::new(State::Detached)),
            container: Arc::new(watch::Sender::new(None)),
        }
    }

    /// Says which container runs the proxy: one whose signature was checked, or none.
    pub fn attach(&self, container: Option<&str>) {
        self.container.send_if_modified(|current| {
            if current.as_deref() == container {
                return false;
            }
            *current = container.map(str::to_owned);
            self.state.send_replace(match container {
                Some(_) => State::Opening,
                None => State::Detached,
            });
            true
        });
    }

    /// Keeps the session open for as long as it is polled: `open` runs the connector in the container that was
    /// attached, `hear` is told what happens.
    pub async fn run<O, F>(self, open: O, jitter: &Jitter, hear: impl Fn(Heard) + Send + Sync)
    where
        O: Fn(String) -> F + Send + Sync,
        F: Future<Output = Result<Box<dyn ByteStream>, String>> + Send,
    {
        let mut container = self.container.subscribe();
        let mut attempts = 0;
        loop {
            let attached = container.borrow_and_update().clone();
            let Some(id) = attached else {
                // The sender lives in `self`, so a change is all that can come.
                let _ = container.changed().await;
                attempts = 0;
                continue;
            };
            let why = tokio::select! {
                why = self.hold(&open, id, &mut attempts, &hear) => why,
                _ = container.changed() => {
                    attempts = 0;
                    continue;
                }
            };
            attempts += 1;
            self.state.send_replace(State::Failed(why));
            let wait = backoff::CONNECT.delay(attempts, jitter.next());
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                _ = container.changed() => attempts = 0,
            }
        }
    }

    /// One session from open to end; says why it ended.
    async fn hold<O, F>(
        &self,
        open: &O,
        container: String,
        attempts: &mut u32,
        hear: &(impl Fn(Heard) + Send + Sync),
    ) -> String
    where
        O: Fn(String) -> F,
        F: Future<Output = Result<Box<dyn ByteStream>, String>>,
    {
        let stream = match open(container).await {
            Ok(stream) => stream,
            Err(why) => return why,
        };
        let (connection, incoming) = match Connection::greet(stream, &self.fence.install).await {
            Ok(both) => both,
            Err(why) => return why,
        };
        *attempts = 0;
        self.state.send_replace(State::Open(connection.clone()));
        hear(Heard::Opened);
        let why = connection
            .serve(incoming, |report| hear(Heard::Report(report)))
            .await;
        hear(Heard::Closed(why.clone()));
        why
    }

    /// Everything the proxy knows about the sections `keys`, or about all when none is named.
    pub async fn status(&self, keys: &[SectionKey]) -> Result<Status, ProxyError> {
        let request = Request::Status {
            keys: keys.to_vec(),
        };
        match self.request(request).await? {
            Reply::Status(status) => Ok(status),
            other => Err(self.unexpected(&other)),
        }
    }

    /// Replaces one section, if it has the version `expect`; `None`: if there is none.
    pub async fn push(&self, expect: Option<u64>, section: Section) -> Result<Acked, ProxyError> {
        let target = section.key().to_string();
        let request = Request::Push {
            install: self.fence.install.clone(),
            epoch: self.fence.epoch.current(),
            expect_version: expect,
            section: Box::new(section),
        };
        self.change("push section", target, request).await
    }

    /// Takes one section out, if it has the version `expect`.
    pub async fn drop_section(&self, key: SectionKey, expect: u64) -> Result<Acked, ProxyError> {
        let target = key.to_string();
        let request = Request::Drop {
            install: self.fence.install.clone(),
            epoch: self.fence.epoch.current(),
            key,
            expect_version: expect,
        };
        self.change("drop section", target, request).await
    }

    /// Makes the proxy this install's, or raises its epoch to this operator's.
    pub async fn claim(&self) -> Result<Acked, ProxyError> {
        let request = Request::Claim {
            install: self.fence.install.clone(),
            epoch: self.fence.epoch.current(),
        };
        self.change("claim proxy", self.host.to_string(), request)
            .await
    }

    /// The proxy's counters in Prometheus' text format.
    pub async fn metrics(&self) -> Result<String, ProxyError> {
        match self.request(Request::Metrics).await? {
            Reply::Metrics { text } => Ok(text),
            other => Err(self.unexpected(&other)),
        }
    }

    /// Carries a request that changes something through the gate.
    async fn change(
        &self,
        verb: &'static str,
        target: String,
        request: Request,
    ) -> Result<Acked, ProxyError> {
        let effect = Effect {
            kind: EffectKind::Push,
            verb: verb.into(),
            target: format!("{} {target}", self.host),
        };
        let session = self.clone();
        let run = async move { session.request(request).await };
        match self.fence.gate.run(effect, run).await? {
            Reply::Acked {
                version,
                persisted,
                conflicts,
            } => Ok(Acked {
                version,
                persisted,
                conflicts,
            }),
            other => Err(self.unexpected(&other)),
        }
    }

    /// Sends a request over the open connection and waits for its reply. A refusal is an error.
    async fn request(&self, request: Request) -> Result<Reply, ProxyError> {
        let unreachable = |message: String| ProxyError::Unreachable {
            host: self.host.to_string(),
            message,
        };
        let connection = self.connection().await.map_err(unreachable)?;
        let reply = match tokio::time::timeout(REQUEST, connection.request(request)).await {
            Ok(Ok(reply)) => reply,
            Ok(Err(Broken::BeforeSending(message))) => {
                return Err(unreachable(message));
            }
            Ok(Err(Broken::AfterSending(message))) => return Err(self.unknown(message)),
            Err(_) => {
                return Err(self.unknown(format!("no reply in {} s", REQUEST.as_secs())));
            }
        };
        match reply {
            Reply::Refused { reason } => Err(ProxyError::Refused {
                host: self.host.to_string(),
                message: words(&reason),
                reason,
            }),
            reply => Ok(reply),
        }
    }

    /// The open connection; waits while the first try is under way, and no longer than a request may take.
    async fn connection(&self) -> Result<Connection, String> {
        let mut state = self.state.subscribe();
        let settled = state.wait_for(|state| !matches!(state, State::Opening));
        match tokio::time::timeout(REQUEST, settled).await {
            Ok(Ok(state)) => match &*state {
                State::Open(connection) => Ok(connection.clone()),
                State::Failed(why) => Err(why.clone()),
                State::Detached => Err("no running proxy is known".to_owned()),
                State::Opening => Err("it is being connected to".to_owned()),
            },
            Ok(Err(_)) | Err(_) => Err("it is being connected to".to_owned()),
        }
    }

    fn unknown(&self, message: String) -> ProxyError {
        ProxyError::Unknown {
            host: self.host.to_string(),
            message,
        }
    }

    fn unexpected(&self, reply: &Reply) -> ProxyError {
        let what = match reply {
            Reply::Status(_) => "a status",
            Reply::Acked { .. } => "an acknowledgement",
            Reply::Refused { .. } => "a refusal",
            Reply::Metrics { .. } => "metrics",
            Reply::Unknown => "a reply of a later version",
        };
        self.unknown(format!("it answered with {what}"))
    }
}

/// A refusal for people.
fn words(reason: &routes::Refusal) -> String {
    match reason {
        routes::Refusal::VersionMismatch { current } => match current {
            Some(version) => format!("the section is at version {version} by now"),
            None => "there is no such section".to_owned(),
        },
        routes::Refusal::StaleEpoch { highest } => {
            format!("an operator with epoch {highest} has spoken to it since")
        }
        routes::Refusal::OtherInstall { install } => {
            format!("it belongs to install {install}")
        }
        routes::Refusal::Invalid { faults } => {
            let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
            format!("the section is invalid: {}", faults.join("; "))
        }
        routes::Refusal::TooLarge => "the answer would be too large".to_owned(),
        routes::Refusal::Unsupported => "it does not know this request; it is older".to_owned(),
        routes::Refusal::Unknown => "for a reason that only a later version knows".to_owned(),
    }
}

#[cfg(test)]
mod tests;
