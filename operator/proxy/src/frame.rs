//! Frames on a byte stream: a big-endian `u32` length, then that many bytes of JSON.
//!
//! Owns reading and writing them within the limits. Must not know what they mean. Invariant: memory grows with the
//! bytes that came, never with the length that a peer announced.

use std::io;

use routes::limit::MAX_FRAME_BYTES;
use serde::Serialize;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Why a frame could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The stream broke.
    #[error("the stream broke: {0}")]
    Io(#[from] io::Error),
    /// The frame is larger than [`MAX_FRAME_BYTES`].
    #[error("a frame of {0} bytes is larger than {MAX_FRAME_BYTES}")]
    TooLarge(usize),
    /// The stream ended inside a frame.
    #[error("the stream ended inside a frame")]
    Torn,
    /// The frame is no JSON that we write.
    #[error("no valid frame: {0}")]
    Json(#[from] serde_json::Error),
}

/// The bytes of the next frame; `None` at the end of the stream.
///
/// # Errors
/// The stream's, or a frame that is too large or torn.
pub async fn read<R: AsyncRead + Unpin>(stream: &mut R) -> Result<Option<Vec<u8>>, FrameError> {
    let mut head = [0; 4];
    let mut filled = 0;
    while filled < head.len() {
        match stream.read(&mut head[filled..]).await? {
            0 if filled == 0 => return Ok(None),
            0 => return Err(FrameError::Torn),
            count => filled += count,
        }
    }
    let length = usize::try_from(u32::from_be_bytes(head)).unwrap_or(usize::MAX);
    if length > MAX_FRAME_BYTES {
        return Err(FrameError::TooLarge(length));
    }
    let mut frame = Vec::new();
    stream.take(length as u64).read_to_end(&mut frame).await?;
    if frame.len() == length {
        Ok(Some(frame))
    } else {
        Err(FrameError::Torn)
    }
}

/// A frame ready to be written.
///
/// # Errors
/// A frame that is too large.
pub fn encode<T: Serialize>(frame: &T) -> Result<Vec<u8>, FrameError> {
    let mut bytes = vec![0; 4];
    serde_json::to_writer(&mut bytes, frame)?;
    let length = bytes.len() - 4;
    let head = u32::try_from(length)
        .ok()
        .filter(|_| length <= MAX_FRAME_BYTES);
    bytes[..4].copy_from_slice(&head.ok_or(FrameError::TooLarge(length))?.to_be_bytes());
    Ok(bytes)
}

/// Writes a frame.
///
/// # Errors
/// The stream's, or a frame that is too large.
pub async fn write<W: AsyncWrite + Unpin, T: Serialize>(
    stream: &mut W,
    frame: &T,
) -> Result<(), FrameError> {
    stream.write_all(&encode(frame)?).await?;
    Ok(stream.flush().await?)
}
