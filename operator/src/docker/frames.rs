//! Takes stdout and stderr apart, which the Engine sends in one stream with a header of eight bytes before each piece.
//!
//! Owns that format and nothing else; logs and execs share it. Pure: bytes in, pieces out. A piece is given out as far
//! as it has arrived, so nothing here needs a limit on its length.

use bytes::{Buf as _, Bytes, BytesMut};

/// The length of a header: channel, three zero bytes, length of the piece as big endian.
const HEADER: usize = 8;

/// Which output of a process a piece belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Channel {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// The stream has no headers: the process has a terminal, or something else answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the stream has no channel headers; was the container made with a terminal?")]
pub struct NotFramed;

/// Takes a stream apart as it arrives.
#[derive(Debug, Default)]
pub(super) struct Splitter {
    current: Option<(Channel, usize)>,
}

impl Splitter {
    /// The next piece in `buffer`, which loses what is given out; `None` when more bytes are needed.
    pub(super) fn next(
        &mut self,
        buffer: &mut BytesMut,
    ) -> Result<Option<(Channel, Bytes)>, NotFramed> {
        loop {
            if let Some((channel, left)) = self.current.take()
                && left > 0
            {
                let piece = buffer.split_to(left.min(buffer.len())).freeze();
                self.current = Some((channel, left - piece.len()));
                return Ok((!piece.is_empty()).then_some((channel, piece)));
            }
            if buffer.len() < HEADER {
                return Ok(None);
            }
            let channel = match buffer[..4] {
                [0 | 1, 0, 0, 0] => Channel::Stdout,
                [2, 0, 0, 0] => Channel::Stderr,
                _ => return Err(NotFramed),
            };
            buffer.advance(HEADER - 4);
            self.current = Some((channel, buffer.get_u32() as usize));
        }
    }

    /// Whether the stream may end here without having lost anything.
    pub(super) fn is_between(&self, buffer: &BytesMut) -> bool {
        buffer.is_empty() && self.current.is_none_or(|(_, left)| left == 0)
    }
}
