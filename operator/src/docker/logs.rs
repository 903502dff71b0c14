//! The logs of a container, line by line.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::BytesMut;
use futures::{Stream, StreamExt as _};
use http_body::Body as _;
use hyper::body::Incoming;

use super::client::{Ask, cut_off, within};
use super::frames::Splitter;
use super::outcome::{Cause, Outcome};
use super::{Engine, calls};

pub use super::frames::Channel;

/// The longest line that is given out whole; a longer one comes in pieces of this length.
const MAX_LINE: usize = 64 << 10;
/// The most lines that [`tail`] gives out, whatever was asked for: they end in memory.
const MAX_TAIL: usize = 10_000;

/// One line of output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// Where it was written to.
    pub channel: Channel,
    /// Its text without the line break, not necessarily valid UTF-8 in the original. With timestamps it starts with
    /// an RFC 3339 time and a space.
    pub text: String,
}

/// Which part of a log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Window {
    /// Only the last so many lines; `None` for all.
    pub last: Option<usize>,
    /// Only lines written at or after this time, in seconds since 1970.
    pub since: Option<i64>,
    /// Whether each line starts with its time.
    pub timestamps: bool,
}

impl Window {
    fn ask(self, id: &str) -> Ask {
        let Window {
            last,
            since,
            timestamps,
        } = self;
        let mut ask = Ask::new(&calls::CONTAINER_LOGS, id)
            .query("stdout", "1")
            .query("stderr", "1");
        if let Some(last) = last {
            ask = ask.query("tail", last.to_string());
        }
        if let Some(since) = since {
            ask = ask.query("since", since.to_string());
        }
        if timestamps {
            ask = ask.query("timestamps", "1");
        }
        ask
    }
}

/// The last `lines` lines (at most 10,000) of a container's log, oldest first, whether it runs or not.
pub async fn tail(engine: &Engine, id: &str, lines: usize) -> Result<Vec<LogLine>, Outcome> {
    let window = Window {
        last: Some(lines.min(MAX_TAIL)),
        ..Window::default()
    };
    let whole = async {
        let body = engine.client.open(window.ask(id)).await?;
        let mut stream = LogStream::new(body);
        let mut kept = VecDeque::new();
        while let Some(line) = stream.next().await {
            kept.push_back(line?);
            if kept.len() > MAX_TAIL {
                kept.pop_front();
            }
        }
        Ok(kept.into())
    };
    within(
        calls::CONTAINER_LOGS.deadline,
        calls::CONTAINER_LOGS.name,
        id,
        whole,
    )
    .await
}

/// The lines of `window`, oldest first, up to the end of the log as it is now.
pub async fn read(engine: &Engine, id: &str, window: Window) -> Result<LogStream, Outcome> {
    engine.client.open(window.ask(id)).await.map(LogStream::new)
}

/// As [`read`], and then every line as it is written, until the container stops. It returns with the first line:
/// the Engine sends no head before.
pub async fn follow(engine: &Engine, id: &str, window: Window) -> Result<LogStream, Outcome> {
    engine
        .client
        .open_unbounded(window.ask(id).query("follow", "1"))
        .await
        .map(LogStream::new)
}

/// Lines as they arrive. It ends with the log and after every error.
#[derive(Debug)]
pub struct LogStream {
    body: Incoming,
    buffer: BytesMut,
    splitter: Splitter,
    /// What has come of a line on stdout and on stderr.
    partial: [BytesMut; 2],
    ready: VecDeque<LogLine>,
    ended: bool,
}

impl LogStream {
    fn new(body: Incoming) -> LogStream {
        LogStream {
            body,
            buffer: BytesMut::new(),
            splitter: Splitter::default(),
            partial: [BytesMut::new(), BytesMut::new()],
            ready: VecDeque::new(),
            ended: false,
        }
    }

    /// Turns what has arrived into lines.
    fn take_lines(&mut self) -> Result<(), Outcome> {
        while let Some((channel, piece)) =
            self.splitter
                .next(&mut self.buffer)
                .map_err(|error| Outcome::Unknown {
                    call: calls::CONTAINER_LOGS.name.to_owned(),
                    cause: Cause::Unreadable,
                    message: error.to_string(),
                })?
        {
            let partial = &mut self.partial[index(channel)];
            partial.extend_from_slice(&piece);
            while let Some(end) = partial.iter().position(|byte| *byte == b'\n') {
                let line = partial.split_to(end + 1);
                self.ready.push_back(line_of(channel, &line[..end]));
            }
            while partial.len() >= MAX_LINE {
                let line = partial.split_to(MAX_LINE);
                self.ready.push_back(line_of(channel, &line));
            }
        }
        Ok(())
    }

    /// Gives out what has come of the last lines, which end without a line break.
    fn flush(&mut self) {
        for channel in [Channel::Stdout, Channel::Stderr] {
            let rest = self.partial[index(channel)].split();
            if !rest.is_empty() {
                self.ready.push_back(line_of(channel, &rest));
            }
        }
    }
}

fn index(channel: Channel) -> usize {
    match channel {
        Channel::Stdout => 0,
        Channel::Stderr => 1,
    }
}

fn line_of(channel: Channel, bytes: &[u8]) -> LogLine {
    let bytes = bytes.strip_suffix(b"\r").unwrap_or(bytes);
    LogLine {
        channel,
        text: String::from_utf8_lossy(bytes).into_owned(),
    }
}

impl Stream for LogStream {
    type Item = Result<LogLine, Outcome>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(line) = self.ready.pop_front() {
                return Poll::Ready(Some(Ok(line)));
            }
            if self.ended {
                return Poll::Ready(None);
            }
            let failure = match futures::ready!(Pin::new(&mut self.body).poll_frame(context)) {
                None => {
                    self.ended = true;
                    self.flush();
                    None
                }
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => {
                        self.buffer.extend_from_slice(&data);
                        self.take_lines().err()
                    }
                    Err(_) => None,
                },
                Some(Err(error)) => Some(cut_off(calls::CONTAINER_LOGS.name, &error)),
            };
            if let Some(failure) = failure {
                self.ended = true;
                return Poll::Ready(Some(Err(failure)));
            }
        }
    }
}
