//! WebSocket clients: long-lived connections through the proxy that say something every second and expect it back.
//!
//! Owns the little of RFC 6455 that an echo needs: the upgrade, one short text frame each way, and the close
//! frame. It decides nothing: what it saw goes into the book.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::header::{
    CONNECTION, HOST, HeaderValue, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::{Request, StatusCode};
use http_body_util::Empty;
use hyper::client::conn::http1::handshake;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::book::Book;

/// How often each client says something.
const PERIOD: Duration = Duration::from_secs(1);
/// How long it waits before it connects again, so that a refusing server is not hammered.
const RECONNECT: Duration = Duration::from_millis(200);
/// A key of 16 bytes in base64. Its secrecy means nothing; the RFC wants one.
const KEY: &str = "bW9vcmluZyBsZWRnZXIgIQ==";
/// The longest payload of a frame with a one-byte length.
const SHORT_PAYLOAD: usize = 125;

/// Frames that were read and not yet looked at. One is the rule.
const FRAMES_LIMIT: usize = 16;

/// Opcode and payload.
type Frame = (u8, Vec<u8>);
type Writer = WriteHalf<TokioIo<Upgraded>>;

const TEXT: u8 = 0x81;
const OPCODE: u8 = 0x0f;
const OPCODE_TEXT: u8 = 0x1;
const OPCODE_CLOSE: u8 = 0x8;
const OPCODE_PING: u8 = 0x9;
const MASKED: u8 = 0x80;
const PONG: u8 = 0x8a;

/// Where the clients connect to and how long they wait.
#[derive(Debug, Clone)]
pub struct Target {
    /// The proxy.
    pub address: SocketAddr,
    /// The name that is asked for.
    pub host: HeaderValue,
    /// The path of the WebSocket endpoint.
    pub path: String,
    /// How long a connect or an echo may take.
    pub timeout: Duration,
}

/// How a stream ended.
enum End {
    /// The other side ended it.
    Cut,
    /// It was open and said nothing back in time.
    Silent,
    /// The load is over.
    Stopped,
}

/// One client: connects, echoes, and connects again whenever the other side ends the stream.
pub async fn run(target: Target, book: Arc<Mutex<Book>>, stop: CancellationToken) {
    while !stop.is_cancelled() {
        let opened = tokio::select! {
            () = stop.cancelled() => return,
            opened = tokio::time::timeout(target.timeout, open(&target)) => opened,
        };
        let Ok(Ok(stream)) = opened else {
            book.lock().expect("no panic while held").streams().failed += 1;
            tokio::select! { () = stop.cancelled() => return, () = tokio::time::sleep(RECONNECT) => continue }
        };
        book.lock().expect("no panic while held").streams().opened += 1;
        let end = talk(stream, &target, &book, &stop).await;
        let mut book = book.lock().expect("no panic while held");
        match end {
            End::Cut => book.streams().cut += 1,
            End::Silent => book.streams().silent += 1,
            End::Stopped => {}
        }
    }
}

async fn talk(
    stream: TokioIo<Upgraded>,
    target: &Target,
    book: &Mutex<Book>,
    stop: &CancellationToken,
) -> End {
    let (reader, mut writer) = tokio::io::split(stream);
    // Frames are read whole in a task of their own: a half-read frame must not be dropped by a select.
    let (sender, mut frames) = mpsc::channel(FRAMES_LIMIT);
    let reading = tokio::spawn(read_all(reader, sender));
    let end = converse(&mut writer, &mut frames, target, book, stop).await;
    reading.abort();
    end
}

async fn converse(
    writer: &mut Writer,
    frames: &mut mpsc::Receiver<Frame>,
    target: &Target,
    book: &Mutex<Book>,
    stop: &CancellationToken,
) -> End {
    let mut period = tokio::time::interval(PERIOD);
    let mut number = 0_u64;
    loop {
        tokio::select! {
            () = stop.cancelled() => return End::Stopped,
            _ = period.tick() => {}
            // Between two messages nothing comes but a ping or the end.
            frame = frames.recv() => match frame {
                Some((OPCODE_PING, payload)) if write(writer, PONG, &payload).await.is_ok() => continue,
                _ => return End::Cut,
            },
        }
        number += 1;
        let message = number.to_string();
        if write(writer, TEXT, message.as_bytes()).await.is_err() {
            return End::Cut;
        }
        match tokio::time::timeout(target.timeout, echo(writer, frames, message.as_bytes())).await {
            Ok(true) => book.lock().expect("no panic while held").streams().echoed += 1,
            Ok(false) => return End::Cut,
            Err(_) => return End::Silent,
        }
    }
}

/// Reads until the message comes back; false when the stream ends first.
async fn echo(writer: &mut Writer, frames: &mut mpsc::Receiver<Frame>, message: &[u8]) -> bool {
    while let Some((opcode, payload)) = frames.recv().await {
        match opcode {
            OPCODE_TEXT if payload == message => return true,
            OPCODE_CLOSE => return false,
            OPCODE_PING if write(writer, PONG, &payload).await.is_err() => return false,
            _ => {}
        }
    }
    false
}

async fn open(
    target: &Target,
) -> Result<TokioIo<Upgraded>, Box<dyn std::error::Error + Send + Sync>> {
    let stream = TcpStream::connect(target.address).await?;
    let (mut sender, connection) = handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection.with_upgrades());
    let request = Request::builder()
        .uri(&target.path)
        .header(HOST, &target.host)
        .header(CONNECTION, "Upgrade")
        .header(UPGRADE, "websocket")
        .header(SEC_WEBSOCKET_VERSION, "13")
        .header(SEC_WEBSOCKET_KEY, KEY)
        .body(Empty::<Bytes>::new())?;
    let response = sender.send_request(request).await?;
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Err(format!("the upgrade was answered with {}", response.status()).into());
    }
    Ok(TokioIo::new(hyper::upgrade::on(response).await?))
}

/// Writes one frame. A client masks its frames; the mask is zero, which leaves the payload as it is.
async fn write(writer: &mut Writer, first: u8, payload: &[u8]) -> std::io::Result<()> {
    let payload = &payload[..payload.len().min(SHORT_PAYLOAD)];
    let length = u8::try_from(payload.len()).expect("bounded by SHORT_PAYLOAD");
    let mut frame = vec![first, MASKED | length, 0, 0, 0, 0];
    frame.extend_from_slice(payload);
    writer.write_all(&frame).await?;
    writer.flush().await
}

/// Passes frames on until the stream ends, sends what is no echo of ours, or nobody listens.
async fn read_all(mut reader: ReadHalf<TokioIo<Upgraded>>, frames: mpsc::Sender<Frame>) {
    while let Ok(frame) = read(&mut reader).await {
        if frames.send(frame).await.is_err() {
            return;
        }
    }
}

async fn read(reader: &mut ReadHalf<TokioIo<Upgraded>>) -> std::io::Result<Frame> {
    let mut head = [0; 2];
    reader.read_exact(&mut head).await?;
    let length = usize::from(head[1]);
    if length > SHORT_PAYLOAD {
        return Err(std::io::Error::other("a frame that is masked or too long"));
    }
    let mut payload = vec![0; length];
    reader.read_exact(&mut payload).await?;
    Ok((head[0] & OPCODE, payload))
}
