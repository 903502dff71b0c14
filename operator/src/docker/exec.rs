//! Commands inside running containers.
//!
//! The stream of a command looks the same when the command ended and when it was killed (F7): only [`inspect`] tells.
//! Stdin is always attached, because a command without it lives on after its client (F8, F19).

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bollard::models::{ExecConfig, ExecInspectResponse, ExecStartConfig, IdResponse};
use bytes::{Buf as _, Bytes, BytesMut};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};
use tokio_util::io::poll_read_buf;

use super::client::{Ask, within};
use super::frames::{Channel, Splitter};
use super::{Engine, Outcome, calls};

/// How much of the end of stderr is kept, in bytes: enough for a message, little enough for a hundred streams.
const MAX_STDERR: usize = 16 << 10;
/// How much is read from the connection at once, in bytes: the Engine's own piece size.
const CHUNK: usize = 32 << 10;

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// Its exit code; 137 when it was killed.
    pub code: i64,
    /// The start of what it wrote to stdout, at most what was asked for.
    pub stdout: Bytes,
    /// The end of what it wrote to stderr.
    pub stderr: Bytes,
}

/// Prepares `command` (no shell: the first is the program) in a running container, as the container's user unless
/// `user` says otherwise, and gives the id to start it with.
pub async fn create(
    engine: &Engine,
    container: &str,
    command: &[String],
    user: Option<&str>,
) -> Result<String, Outcome> {
    let body = ExecConfig {
        attach_stdin: Some(true),
        attach_stdout: Some(true),
        attach_stderr: Some(true),
        tty: Some(false),
        cmd: Some(command.to_vec()),
        user: user.map(str::to_owned),
        ..ExecConfig::default()
    };
    let made: IdResponse = engine
        .client
        .read(Ask::new(&calls::EXEC_CREATE, container).json(&body))
        .await?;
    Ok(made.id)
}

/// Runs a prepared command and gives its stdin and stdout as one stream.
pub async fn start(engine: &Engine, id: &str) -> Result<ExecStream, Outcome> {
    let body = ExecStartConfig {
        detach: Some(false),
        tty: Some(false),
        console_size: None,
    };
    let io = engine
        .client
        .upgrade(Ask::new(&calls::EXEC_START, id).json(&body))
        .await?;
    Ok(ExecStream {
        io,
        buffer: BytesMut::new(),
        splitter: Splitter::default(),
        stdout: Bytes::new(),
        stderr: StderrTail::default(),
    })
}

/// Whether a command still runs, and its exit code if not.
pub async fn inspect(engine: &Engine, id: &str) -> Result<ExecInspectResponse, Outcome> {
    engine.client.read(Ask::new(&calls::EXEC_INSPECT, id)).await
}

/// Runs `command` to its end, within `deadline`, keeping the first `limit` bytes of stdout.
///
/// On a time-out its stdin is closed, which ends well-behaved commands; it may live on all the same.
pub async fn output(
    engine: &Engine,
    container: &str,
    command: &[String],
    limit: usize,
    deadline: Duration,
) -> Result<Output, Outcome> {
    let whole = async {
        let id = create(engine, container, command, None).await?;
        let mut stream = start(engine, &id).await?;
        let stderr = stream.stderr();
        let mut stdout = Vec::new();
        let mut chunk = vec![0; CHUNK];
        loop {
            // The connection breaks when the container dies; inspect has the last word on what became of the command.
            let read = stream.read(&mut chunk).await.unwrap_or(0);
            if read == 0 {
                break;
            }
            let room = limit.saturating_sub(stdout.len());
            stdout.extend_from_slice(&chunk[..read.min(room)]);
        }
        let ended = inspect(engine, &id).await?;
        let code = ended
            .exit_code
            .filter(|_| ended.running != Some(true))
            .ok_or_else(|| Outcome::Unknown {
                call: format!("{} in {container}", calls::EXEC_START.name),
                cause: super::Cause::Cut,
                message: "the stream ended before the command".to_owned(),
            })?;
        Ok(Output {
            code,
            stdout: stdout.into(),
            stderr: stderr.read(),
        })
    };
    within(deadline, calls::EXEC_START.name, container, whole).await
}

/// The end of what a command has written to stderr so far.
#[derive(Debug, Clone, Default)]
pub struct StderrTail {
    bytes: Arc<Mutex<BytesMut>>,
}

impl StderrTail {
    /// The last bytes, at most 16 KiB.
    pub fn read(&self) -> Bytes {
        self.bytes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
            .freeze()
    }

    fn push(&self, piece: &[u8]) {
        let mut bytes = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        bytes.extend_from_slice(piece);
        let excess = bytes.len().saturating_sub(MAX_STDERR);
        bytes.advance(excess);
    }
}

/// A running command: writing goes to its stdin, reading comes from its stdout, shutdown closes its stdin.
#[derive(Debug)]
pub struct ExecStream {
    io: TokioIo<Upgraded>,
    buffer: BytesMut,
    splitter: Splitter,
    stdout: Bytes,
    stderr: StderrTail,
}

impl ExecStream {
    /// A handle on the end of stderr, which outlives the stream.
    pub fn stderr(&self) -> StderrTail {
        self.stderr.clone()
    }
}

impl AsyncRead for ExecStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            if !this.stdout.is_empty() {
                let piece = this.stdout.split_to(this.stdout.len().min(out.remaining()));
                out.put_slice(&piece);
                return Poll::Ready(Ok(()));
            }
            match this.splitter.next(&mut this.buffer) {
                Ok(Some((Channel::Stdout, piece))) => this.stdout = piece,
                Ok(Some((Channel::Stderr, piece))) => this.stderr.push(&piece),
                Err(error) => {
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, error)));
                }
                Ok(None) => {
                    this.buffer.reserve(CHUNK);
                    let read = futures::ready!(poll_read_buf(
                        Pin::new(&mut this.io),
                        context,
                        &mut this.buffer
                    ))?;
                    if read == 0 {
                        return Poll::Ready(if this.splitter.is_between(&this.buffer) {
                            Ok(())
                        } else {
                            Err(io::ErrorKind::UnexpectedEof.into())
                        });
                    }
                }
            }
        }
    }
}

impl AsyncWrite for ExecStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(context, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }
}
