//! One open stream to a proxy: frames, replies by id, heartbeats.
//!
//! Owns the framing and the table of requests that wait. It must not open streams. Invariants: a frame is written
//! whole or the connection is broken for good; a request ends with its reply or with the knowledge whether it was sent.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use routes::limit::{HEARTBEAT, MAX_FRAME_BYTES, SILENCE};
use routes::{FromProxy, Hello, Reply, Report, Request, ToProxy};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, ReadHalf, WriteHalf};
use tokio::sync::oneshot;
use tokio::time;

use crate::docker::endpoint::ByteStream;

/// An open stream. Cloning shares it; requests work as long as somebody polls [`Connection::serve`].
#[derive(Clone)]
pub struct Connection {
    shared: Arc<Shared>,
}

/// The reading half of a connection, for [`Connection::serve`].
pub type Incoming = ReadHalf<Box<dyn ByteStream>>;

struct Shared {
    writer: tokio::sync::Mutex<Writer>,
    waiting: Mutex<Waiting>,
}

struct Writer {
    io: WriteHalf<Box<dyn ByteStream>>,
    /// True while a frame is being written: found true, somebody stopped in the middle of one.
    torn: bool,
}

#[derive(Default)]
struct Waiting {
    last_id: u64,
    replies: BTreeMap<u64, oneshot::Sender<Reply>>,
    /// Why no reply can come any more.
    closed: Option<String>,
}

/// Why a request got no reply.
#[derive(Debug)]
pub enum Broken {
    /// The proxy has not seen it.
    BeforeSending(String),
    /// It may have.
    AfterSending(String),
}

/// Takes a request out of the table, however its future ends.
struct Place<'a> {
    shared: &'a Shared,
    id: u64,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.shared.waiting().replies.remove(&self.id);
    }
}

impl Connection {
    /// Exchanges greetings over a fresh stream. An error is for people.
    pub async fn greet(
        stream: Box<dyn ByteStream>,
        install: &str,
    ) -> Result<(Connection, Incoming), String> {
        let (mut incoming, io) = tokio::io::split(stream);
        let connection = Connection {
            shared: Arc::new(Shared {
                writer: tokio::sync::Mutex::new(Writer { io, torn: false }),
                waiting: Mutex::default(),
            }),
        };
        let hello = Hello::new(env!("CARGO_PKG_VERSION"), Some(install.to_owned()));
        let greeting = async {
            let sent = connection.send(&ToProxy::Hello(hello)).await;
            sent.map_err(|broken| match broken {
                Broken::BeforeSending(why) | Broken::AfterSending(why) => why,
            })?;
            loop {
                match read(&mut incoming).await? {
                    FromProxy::Hello(hello) => break understood(&hello),
                    FromProxy::Goodbye { reason } => break Err(reason),
                    FromProxy::Heartbeat | FromProxy::Report(_) | FromProxy::Unknown => {}
                    FromProxy::Reply { .. } => break Err("it replied before it greeted".to_owned()),
                }
            }
        };
        match time::timeout(SILENCE, greeting).await {
            Ok(Ok(())) => Ok((connection, incoming)),
            Ok(Err(why)) => Err(why),
            Err(_) => Err(format!("no greeting in {} s", SILENCE.as_secs())),
        }
    }

    /// Reads frames and keeps the stream alive until it ends; says why it did.
    pub async fn serve(&self, mut incoming: Incoming, hear: impl Fn(Report)) -> String {
        let reading = async {
            loop {
                let frame = match time::timeout(SILENCE, read(&mut incoming)).await {
                    Ok(Ok(frame)) => frame,
                    Ok(Err(why)) => break why,
                    Err(_) => break format!("silence for {} s", SILENCE.as_secs()),
                };
                match frame {
                    FromProxy::Reply { id, reply } => self.deliver(id, *reply),
                    FromProxy::Report(report) => hear(report),
                    FromProxy::Goodbye { reason } => break reason,
                    FromProxy::Hello(_) | FromProxy::Heartbeat | FromProxy::Unknown => {}
                }
            }
        };
        let beating = async {
            let mut ticks = time::interval(HEARTBEAT);
            ticks.set_missed_tick_behavior(time::MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                match time::timeout(SILENCE, self.send(&ToProxy::Heartbeat)).await {
                    Ok(Ok(())) => {}
                    Ok(Err(Broken::BeforeSending(why) | Broken::AfterSending(why))) => break why,
                    Err(_) => break format!("nothing was taken for {} s", SILENCE.as_secs()),
                }
            }
        };
        let why = tokio::select! {
            why = reading => why,
            why = beating => why,
        };
        let mut waiting = self.shared.waiting();
        waiting.closed = Some(why.clone());
        waiting.replies.clear();
        why
    }

    /// Sends a request and waits for its reply, however long that takes.
    pub async fn request(&self, request: Request) -> Result<Reply, Broken> {
        let (sender, receiver) = oneshot::channel();
        let id = {
            let mut waiting = self.shared.waiting();
            if let Some(why) = &waiting.closed {
                return Err(Broken::BeforeSending(why.clone()));
            }
            waiting.last_id += 1;
            let id = waiting.last_id;
            waiting.replies.insert(id, sender);
            id
        };
        let _place = Place {
            shared: &self.shared,
            id,
        };
        let frame = ToProxy::Request {
            id,
            request: Box::new(request),
        };
        self.send(&frame).await?;
        receiver
            .await
            .map_err(|_| Broken::AfterSending("the session ended".to_owned()))
    }

    fn deliver(&self, id: u64, reply: Reply) {
        // Nobody waits any more when the request ran out of time.
        if let Some(sender) = self.shared.waiting().replies.remove(&id) {
            let _ = sender.send(reply);
        }
    }

    async fn send(&self, frame: &ToProxy) -> Result<(), Broken> {
        let body = serde_json::to_vec(frame).expect("frames have string keys");
        let length = u32::try_from(body.len())
            .ok()
            .filter(|length| *length as usize <= MAX_FRAME_BYTES)
            .ok_or_else(|| Broken::BeforeSending("the request is too large".to_owned()))?;
        let mut bytes = length.to_be_bytes().to_vec();
        bytes.extend_from_slice(&body);
        let mut writer = self.shared.writer.lock().await;
        if writer.torn {
            return Err(Broken::BeforeSending("the stream is broken".to_owned()));
        }
        writer.torn = true;
        let written = async {
            writer.io.write_all(&bytes).await?;
            writer.io.flush().await
        };
        match written.await {
            Ok(()) => {
                writer.torn = false;
                Ok(())
            }
            Err(error) => Err(Broken::AfterSending(error.to_string())),
        }
    }
}

impl Shared {
    fn waiting(&self) -> std::sync::MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads one frame. An error is for people, and ends the session.
async fn read(incoming: &mut Incoming) -> Result<FromProxy, String> {
    let ended = |error: std::io::Error| format!("the stream ended: {error}");
    let length = incoming.read_u32().await.map_err(ended)? as usize;
    if length > MAX_FRAME_BYTES {
        return Err(format!("a frame of {length} bytes is above the limit"));
    }
    let mut body = vec![0; length];
    incoming.read_exact(&mut body).await.map_err(ended)?;
    serde_json::from_slice(&body).map_err(|error| format!("a frame cannot be read: {error}"))
}

/// Whether this operator knows everything that the proxy requires of it.
fn understood(hello: &Hello) -> Result<(), String> {
    let unknown = hello.unknown();
    if unknown.is_empty() {
        return Ok(());
    }
    Err(format!(
        "the proxy {} requires {}, which this operator does not know; upgrade Mooring",
        hello.version,
        unknown.join(", ")
    ))
}
