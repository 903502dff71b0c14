//! A WebSocket (RFC 6455) that sends back every message it gets, until either side closes.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderValue, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use sha1::{Digest as _, Sha1};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::routes::{Body, text};

/// What a server appends to the client's key (RFC 6455, section 1.3).
const MAGIC: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// The longest frame that is sent back; a longer one ends the connection.
const MAX_FRAME: u64 = 64 << 10;

const OPCODE: u8 = 0x0f;
const CLOSE: u8 = 0x8;
const PING: u8 = 0x9;
const PONG: u8 = 0xa;
const FIN: u8 = 0x80;
const MASKED: u8 = 0x80;

/// Switches the connection over, or says why not.
pub fn open(request: Request<Incoming>) -> Response<Body> {
    let asks = |name, wanted: &str| {
        request
            .headers()
            .get(name)
            .and_then(|value: &HeaderValue| value.to_str().ok())
            .is_some_and(|value| {
                value
                    .split(',')
                    .any(|part| part.trim().eq_ignore_ascii_case(wanted))
            })
    };
    let key = request.headers().get(header::SEC_WEBSOCKET_KEY).cloned();
    let Some(key) =
        key.filter(|_| asks(header::UPGRADE, "websocket") && asks(header::CONNECTION, "upgrade"))
    else {
        return text(StatusCode::UPGRADE_REQUIRED, "this is a WebSocket\n");
    };
    let accept = STANDARD.encode(
        Sha1::new()
            .chain_update(key.as_bytes())
            .chain_update(MAGIC)
            .finalize(),
    );
    tokio::spawn(async move {
        if let Ok(upgraded) = hyper::upgrade::on(request).await {
            // However it ends, there is nobody to tell.
            let _ = echo(TokioIo::new(upgraded)).await;
        }
    });
    let mut response = text(StatusCode::SWITCHING_PROTOCOLS, "");
    let headers = response.headers_mut();
    headers.remove(header::CONTENT_TYPE);
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    let accept = HeaderValue::from_str(&accept).expect("base64 is a header value");
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    response
}

async fn echo(mut stream: TokioIo<Upgraded>) -> std::io::Result<()> {
    loop {
        let mut head = [0; 2];
        stream.read_exact(&mut head).await?;
        let length = match head[1] & !MASKED {
            126 => u64::from(stream.read_u16().await?),
            127 => stream.read_u64().await?,
            short => u64::from(short),
        };
        if length > MAX_FRAME {
            return Err(std::io::Error::other("the frame is too long"));
        }
        let mut mask = [0; 4];
        if head[1] & MASKED != 0 {
            stream.read_exact(&mut mask).await?;
        }
        let mut payload = vec![0; usize::try_from(length).expect("bounded by MAX_FRAME")];
        stream.read_exact(&mut payload).await?;
        for (byte, mask) in payload.iter_mut().zip(mask.iter().cycle()) {
            *byte ^= mask;
        }
        match head[0] & OPCODE {
            PONG => {}
            PING => send(&mut stream, FIN | PONG, &payload).await?,
            CLOSE => {
                send(&mut stream, FIN | CLOSE, &payload).await?;
                return stream.shutdown().await;
            }
            // Fragments go back as the fragments they are.
            _ => send(&mut stream, head[0], &payload).await?,
        }
    }
}

async fn send(stream: &mut TokioIo<Upgraded>, first: u8, payload: &[u8]) -> std::io::Result<()> {
    let mut frame = vec![first];
    match payload.len() {
        length @ 0..=125 => frame.push(u8::try_from(length).expect("at most 125")),
        length @ 126..=0xffff => {
            frame.push(126);
            frame.extend_from_slice(&u16::try_from(length).expect("at most 65535").to_be_bytes());
        }
        length => {
            frame.push(127);
            frame.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(payload);
    stream.write_all(&frame).await?;
    stream.flush().await
}
