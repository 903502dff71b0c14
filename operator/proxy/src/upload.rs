//! The body of a request on its way to an instance.
//!
//! Owns when a client's body counts as broken or stalled. Must not know instances. Invariant: whoever holds the
//! [`Progress`] can tell a fault of the client from one of the instance.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep, sleep};

/// Longest silence between two pieces of a request body, as nginx has it; then 408.
pub const BODY_SILENCE: Duration = Duration::from_secs(60);

/// How the upload is doing, shared with whoever waits for the answer.
#[derive(Debug)]
pub struct Progress {
    state: AtomicU8,
    moved: std::sync::Mutex<Instant>,
}

/// What became of an upload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UploadState {
    /// The client still sends, or may.
    Sending,
    /// The whole body went.
    Sent,
    /// The client's framing was wrong or its connection broke.
    Broken,
    /// The client was silent for [`BODY_SILENCE`].
    Stalled,
}

impl Progress {
    /// Its state.
    pub fn state(&self) -> UploadState {
        match self.state.load(Ordering::Acquire) {
            0 => UploadState::Sending,
            1 => UploadState::Sent,
            2 => UploadState::Broken,
            3.. => UploadState::Stalled,
        }
    }

    /// When a piece of it last moved.
    pub fn moved(&self) -> Instant {
        *self
            .moved
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn set(&self, state: UploadState) {
        let code = match state {
            UploadState::Sending => 0,
            UploadState::Sent => 1,
            UploadState::Broken => 2,
            UploadState::Stalled => 3,
        };
        self.state.store(code, Ordering::Release);
        *self
            .moved
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner) = Instant::now();
    }
}

/// A request body, or none.
pub struct Upload(Option<Box<Moving>>);

struct Moving {
    incoming: Incoming,
    progress: Arc<Progress>,
    silence: Pin<Box<Sleep>>,
}

impl Upload {
    /// No body.
    pub fn none() -> Self {
        Upload(None)
    }

    /// The body of a request; `None` as progress when it has none.
    pub fn new(incoming: Incoming) -> (Self, Option<Arc<Progress>>) {
        if incoming.is_end_stream() {
            return (Upload::none(), None);
        }
        let progress = Arc::new(Progress {
            state: AtomicU8::new(0),
            moved: std::sync::Mutex::new(Instant::now()),
        });
        let silence = Box::pin(sleep(BODY_SILENCE));
        (
            Upload(Some(Box::new(Moving {
                incoming,
                progress: Arc::clone(&progress),
                silence,
            }))),
            Some(progress),
        )
    }
}

/// Why a body did not arrive whole.
#[derive(Debug)]
pub struct UploadError;

impl fmt::Display for UploadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the request body did not arrive whole")
    }
}

impl std::error::Error for UploadError {}

impl Body for Upload {
    type Data = Bytes;
    type Error = UploadError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, UploadError>>> {
        let Some(moving) = self.0.as_deref_mut() else {
            return Poll::Ready(None);
        };
        let frame = match Pin::new(&mut moving.incoming).poll_frame(cx) {
            Poll::Ready(frame) => frame,
            Poll::Pending => {
                ready!(moving.silence.as_mut().poll(cx));
                moving.progress.set(UploadState::Stalled);
                return Poll::Ready(Some(Err(UploadError)));
            }
        };
        match frame {
            Some(Ok(frame)) => {
                let ended = moving.incoming.is_end_stream();
                moving.progress.set(if ended {
                    UploadState::Sent
                } else {
                    UploadState::Sending
                });
                moving.silence.as_mut().reset(Instant::now() + BODY_SILENCE);
                Poll::Ready(Some(Ok(frame)))
            }
            Some(Err(_)) => {
                moving.progress.set(UploadState::Broken);
                Poll::Ready(Some(Err(UploadError)))
            }
            None => {
                moving.progress.set(UploadState::Sent);
                Poll::Ready(None)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.0
            .as_ref()
            .is_none_or(|moving| moving.incoming.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        self.0.as_ref().map_or_else(
            || SizeHint::with_exact(0),
            |moving| moving.incoming.size_hint(),
        )
    }
}
