//! `mooring-proxy connect`: carries bytes between its own stdin and stdout and the private socket of the proxy.
//!
//! Owns the end of an exec session: an exec can outlive its client (F20), so silence of either side ends it. Must not
//! know frames. Invariant: nothing is written to stdout but what the proxy said.

use std::io;
use std::path::Path;
use std::time::Duration;

use routes::limit::{SILENCE, SOCKET_FILE};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::{Instant, sleep, timeout};

/// How long a proxy that just starts is waited for.
const START_WAIT: Duration = Duration::from_secs(5);
/// Between two looks for it.
const START_POLL: Duration = Duration::from_millis(50);
/// Bytes carried at once.
const CHUNK_BYTES: usize = 64 * 1024;

/// Carries bytes until either side ends or is silent for [`SILENCE`].
///
/// # Errors
/// No proxy behind the socket, a broken stream, or silence as `TimedOut`.
pub async fn run<R, W>(directory: &Path, input: R, output: W) -> io::Result<()>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let socket = connect(&directory.join(SOCKET_FILE)).await?;
    let (from_proxy, to_proxy) = socket.into_split();
    tokio::select! {
        end = carry(input, to_proxy) => end,
        end = carry(from_proxy, output) => end,
    }
}

async fn connect(path: &Path) -> io::Result<UnixStream> {
    let until = Instant::now() + START_WAIT;
    loop {
        match UnixStream::connect(path).await {
            Ok(stream) => return Ok(stream),
            Err(error) if Instant::now() >= until => return Err(error),
            Err(_) => sleep(START_POLL).await,
        }
    }
}

async fn carry<R, W>(mut from: R, mut to: W) -> io::Result<()>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let silent = || io::Error::from(io::ErrorKind::TimedOut);
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let count = timeout(SILENCE, from.read(&mut chunk))
            .await
            .map_err(|_| silent())??;
        if count == 0 {
            return Ok(());
        }
        let write = async {
            to.write_all(&chunk[..count]).await?;
            to.flush().await
        };
        timeout(SILENCE, write).await.map_err(|_| silent())??;
    }
}
