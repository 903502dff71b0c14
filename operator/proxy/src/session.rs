//! One session with an operator over a byte stream.
//!
//! Owns greeting, heartbeats, silence, replies and reports. Must not know what a change does. Invariants: every
//! request gets one reply; a slow request or a slow reader never stops heartbeats from being sent or the session from
//! ending; nothing a peer sends ends anything but its own session.

use std::sync::Arc;

use routes::limit::{HEARTBEAT, MAX_PENDING_REPORTS, PROTOCOL_VERSION, SILENCE};
use routes::{Fault, FromProxy, Hello, Refusal, Reply, Report, ReportKind, Request, ToProxy};
use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, split};
use tokio::sync::{broadcast, mpsc};
use tokio::time::{Instant, interval_at, timeout};

use crate::frame::{self, FrameError};
use crate::metrics;
use crate::state::{Caller, State};

/// Replies waiting to be written: a reader that is slower than its own requests waits.
const MAX_PENDING_REPLIES: usize = 16;

/// Why a session ended.
#[derive(Debug, thiserror::Error)]
pub enum SessionEnd {
    /// The peer closed the stream.
    #[error("closed by the peer")]
    Closed,
    /// Nothing came, or nothing could be written, for [`SILENCE`].
    #[error("silent for {} s", SILENCE.as_secs())]
    Silent,
    /// The stream or a frame broke.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// The peer broke the protocol or requires too much.
    #[error("{0}")]
    Refused(String),
    /// As many sessions are open as there may be.
    #[error("too many sessions")]
    TooMany,
}

/// Serves a session to its end.
pub async fn serve<S: AsyncRead + AsyncWrite + Send + Unpin>(
    state: &Arc<State>,
    stream: S,
) -> SessionEnd {
    let (mut reader, mut writer) = split(stream);
    let mut reports = state.reports();
    if let Err(end) = greet(state, &mut reader, &mut writer).await {
        if let SessionEnd::Refused(reason) = &end {
            say_goodbye(&mut writer, reason.clone()).await;
        }
        return end;
    }
    let (replies, mut pending) = mpsc::channel(MAX_PENDING_REPLIES);
    let end = tokio::select! {
        end = listen(state, &mut reader, replies) => end,
        end = speak(&mut writer, &mut pending, &mut reports) => end,
    };
    if let SessionEnd::Refused(_)
    | SessionEnd::Frame(FrameError::TooLarge(_) | FrameError::Json(_)) = &end
    {
        say_goodbye(&mut writer, end.to_string()).await;
    }
    end
}

/// Tells a peer why there is no session for it.
pub async fn refuse<S: AsyncRead + AsyncWrite + Send + Unpin>(mut stream: S, end: &SessionEnd) {
    say_goodbye(&mut stream, end.to_string()).await;
}

async fn say_goodbye<W: AsyncWrite + Unpin>(writer: &mut W, reason: String) {
    // The session ends either way; a peer that does not read it sees the end of the stream.
    let _ = timeout(
        HEARTBEAT,
        frame::write(writer, &FromProxy::Goodbye { reason }),
    )
    .await;
    let _ = timeout(HEARTBEAT, writer.shutdown()).await;
}

async fn greet<R, W>(state: &State, reader: &mut R, writer: &mut W) -> Result<(), SessionEnd>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let ToProxy::Hello(hello) = next(reader).await? else {
        return Err(SessionEnd::Refused(
            "the first frame must be Hello".to_owned(),
        ));
    };
    let unknown = hello.unknown();
    if !unknown.is_empty() {
        return Err(SessionEnd::Refused(format!(
            "mooring-proxy {} with protocol {PROTOCOL_VERSION} does not know what is required: {}",
            env!("CARGO_PKG_VERSION"),
            unknown.join(", ")
        )));
    }
    tracing::info!(operator = %hello.version, protocol = hello.protocol, "session opened");
    let answer = FromProxy::Hello(Hello::new(env!("CARGO_PKG_VERSION"), state.install()));
    match timeout(SILENCE, frame::write(writer, &answer)).await {
        Ok(written) => Ok(written?),
        Err(_) => Err(SessionEnd::Silent),
    }
}

async fn next<R: AsyncRead + Unpin>(reader: &mut R) -> Result<ToProxy, SessionEnd> {
    let bytes = next_bytes(reader).await?;
    serde_json::from_slice(&bytes).map_err(|error| SessionEnd::Frame(error.into()))
}

async fn next_bytes<R: AsyncRead + Unpin>(reader: &mut R) -> Result<Vec<u8>, SessionEnd> {
    match timeout(SILENCE, frame::read(reader)).await {
        Ok(Ok(Some(bytes))) => Ok(bytes),
        Ok(Ok(None)) => Err(SessionEnd::Closed),
        Ok(Err(error)) => Err(error.into()),
        Err(_) => Err(SessionEnd::Silent),
    }
}

/// Reads frames and answers requests, one after the other.
async fn listen<R: AsyncRead + Unpin>(
    state: &Arc<State>,
    reader: &mut R,
    replies: mpsc::Sender<(u64, Reply)>,
) -> SessionEnd {
    loop {
        let bytes = match next_bytes(reader).await {
            Ok(bytes) => bytes,
            Err(end) => return end,
        };
        let (id, reply) = match serde_json::from_slice(&bytes) {
            Ok(ToProxy::Request { id, request }) => (id, reply(state, *request).await),
            Ok(ToProxy::Heartbeat | ToProxy::Unknown | ToProxy::Hello(_)) => continue,
            Err(error) => match request_id(&bytes) {
                Some(id) => {
                    let faults = vec![Fault::new("request", error.to_string())];
                    (
                        id,
                        Reply::Refused {
                            reason: Refusal::Invalid { faults },
                        },
                    )
                }
                None => return SessionEnd::Frame(error.into()),
            },
        };
        if replies.send((id, reply)).await.is_err() {
            return SessionEnd::Closed;
        }
    }
}

/// The id of a request whose content this build cannot read, for example for a state of a later version.
fn request_id(bytes: &[u8]) -> Option<u64> {
    #[derive(Deserialize)]
    struct Head {
        r#type: String,
        id: u64,
    }
    let head: Head = serde_json::from_slice(bytes).ok()?;
    (head.r#type == "Request").then_some(head.id)
}

/// Answers one request.
pub async fn reply(state: &Arc<State>, request: Request) -> Reply {
    match request {
        Request::Status { keys } => Reply::Status(state.status(&keys)),
        Request::Claim { install, epoch } => state.claim(Caller { install, epoch }).await,
        Request::Push {
            install,
            epoch,
            expect_version,
            section,
        } => {
            state
                .push(Caller { install, epoch }, expect_version, *section)
                .await
        }
        Request::Drop {
            install,
            epoch,
            key,
            expect_version,
        } => {
            state
                .drop_section(Caller { install, epoch }, key, expect_version)
                .await
        }
        Request::Metrics => Reply::Metrics {
            text: metrics::render(&state.status(&[])),
        },
        Request::Unknown => Reply::Refused {
            reason: Refusal::Unsupported,
        },
    }
}

/// Writes replies, reports and heartbeats.
async fn speak<W: AsyncWrite + Unpin>(
    writer: &mut W,
    pending: &mut mpsc::Receiver<(u64, Reply)>,
    reports: &mut broadcast::Receiver<Report>,
) -> SessionEnd {
    let mut heartbeat = interval_at(Instant::now() + HEARTBEAT, HEARTBEAT);
    loop {
        let frame = tokio::select! {
            biased;
            reply = pending.recv() => match reply {
                Some((id, reply)) => FromProxy::Reply { id, reply: Box::new(reply) },
                None => return SessionEnd::Closed,
            },
            _ = heartbeat.tick() => FromProxy::Heartbeat,
            report = reports.recv() => match report {
                Ok(report) => FromProxy::Report(report),
                Err(broadcast::error::RecvError::Lagged(_)) => {
                    FromProxy::Report(Report { key: None, kind: ReportKind::Several })
                }
                Err(broadcast::error::RecvError::Closed) => return SessionEnd::Closed,
            },
        };
        let bytes = match (frame::encode(&frame), frame) {
            (Ok(bytes), _) => bytes,
            (Err(FrameError::TooLarge(_)), FromProxy::Reply { id, .. }) => {
                let reply = Box::new(Reply::Refused {
                    reason: Refusal::TooLarge,
                });
                match frame::encode(&FromProxy::Reply { id, reply }) {
                    Ok(bytes) => bytes,
                    Err(error) => return error.into(),
                }
            }
            (Err(error), _) => return error.into(),
        };
        let write = async {
            writer.write_all(&bytes).await?;
            writer.flush().await
        };
        match timeout(SILENCE, write).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return FrameError::from(error).into(),
            Err(_) => return SessionEnd::Silent,
        }
    }
}

/// Where reports are told.
pub fn reports() -> broadcast::Sender<Report> {
    broadcast::channel(MAX_PENDING_REPORTS).0
}
