//! How the proxy reaches an address: the seam where tests put instances of their own.
//!
//! Owns the trait, real TCP, and the meter on every upstream connection. Must not know HTTP. Invariant: whatever is
//! dialled is a plain byte stream, and the meter sees every byte of it.

use std::future::Future;
use std::io;
use std::net::SocketAddrV4;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// A byte stream to an instance.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// A connection under way.
pub type Dialling = Pin<Box<dyn Future<Output = io::Result<Box<dyn Io>>> + Send>>;

/// Opens byte streams to instances.
pub trait Dial: Send + Sync + 'static {
    /// Connects to an address. Limits in time are the caller's.
    fn dial(&self, address: SocketAddrV4) -> Dialling;
}

/// A dead peer is noticed after this silence plus three probes, so that a stream to it does not hang for ever.
const KEEPALIVE: Duration = Duration::from_secs(60);
/// Between probes of a silent peer.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);

/// Real TCP.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tcp;

impl Dial for Tcp {
    fn dial(&self, address: SocketAddrV4) -> Dialling {
        Box::pin(async move {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            let keepalive = socket2::TcpKeepalive::new()
                .with_time(KEEPALIVE)
                .with_interval(KEEPALIVE_INTERVAL);
            socket2::SockRef::from(&stream).set_tcp_keepalive(&keepalive)?;
            Ok(Box::new(stream) as Box<dyn Io>)
        })
    }
}

/// Whether anything was read since [`Meter::reset`]: decides whether a request may be sent again.
#[derive(Debug, Default)]
pub struct Meter {
    read: AtomicBool,
}

impl Meter {
    /// Begins a new request.
    pub fn reset(&self) {
        self.read.store(false, Ordering::Relaxed);
    }

    /// Whether a byte of an answer came.
    pub fn has_read(&self) -> bool {
        self.read.load(Ordering::Relaxed)
    }
}

/// An upstream byte stream with its meter.
pub struct Wire {
    io: Box<dyn Io>,
    meter: Arc<Meter>,
}

impl Wire {
    /// Puts a meter on a stream.
    pub fn new(io: Box<dyn Io>) -> (Self, Arc<Meter>) {
        let meter = Arc::new(Meter::default());
        (
            Wire {
                io,
                meter: Arc::clone(&meter),
            },
            meter,
        )
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let poll = Pin::new(&mut *self.io).poll_read(cx, buf);
        if buf.filled().len() > before {
            self.meter.read.store(true, Ordering::Relaxed);
        }
        poll
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.io).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.io).poll_shutdown(cx)
    }
}
