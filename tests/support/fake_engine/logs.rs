//! The logs of fake containers, in the Engine's framing.

use std::sync::Arc;

use bytes::{BufMut as _, Bytes, BytesMut};
use futures::stream;
use http::Response;

use super::Shared;
use super::reply::{Asked, Body, Refusal, stream_reply};
use super::world::LogLine;

/// The type that the Engine gives a stream of frames.
pub(super) const RAW: &str = "application/vnd.docker.raw-stream";

/// One piece of output with its header.
pub(super) fn frame(stderr: bool, content: &[u8]) -> Bytes {
    let mut framed = BytesMut::with_capacity(content.len() + 8);
    framed.put_slice(&[if stderr { 2 } else { 1 }, 0, 0, 0]);
    framed.put_u32(u32::try_from(content.len()).expect("pieces are short"));
    framed.put_slice(content);
    framed.freeze()
}

/// `GET /containers/{id}/logs`.
pub(super) fn read(shared: &Arc<Shared>, asked: &Asked) -> Result<Response<Body>, Refusal> {
    let (stdout, stderr) = (asked.flag("stdout"), asked.flag("stderr"));
    if !stdout && !stderr {
        let message = shared.options.generation.either(
            "Bad parameters: you must choose at least one stream",
            "must specify at least one of 'stdout' or 'stderr'",
        );
        return Err(Refusal::new(400, message));
    }
    let since: i64 = asked.parameter("since").parse().unwrap_or(i64::MIN);
    let timestamps = asked.flag("timestamps");
    let wanted =
        move |line: &LogLine| line.0.as_second() >= since && if line.1 { stderr } else { stdout };
    let print = move |(time, stderr, text): &LogLine| {
        let stamp = if timestamps {
            format!("{time} ")
        } else {
            String::new()
        };
        frame(*stderr, format!("{stamp}{text}\n").as_bytes())
    };
    let world = shared.world();
    let container = world.find(&asked.target)?;
    let mut chosen: Vec<&LogLine> = container.log.iter().filter(|line| wanted(line)).collect();
    if let Ok(tail) = asked.parameter("tail").parse::<usize>() {
        chosen.drain(..chosen.len().saturating_sub(tail));
    }
    let past: BytesMut = chosen.into_iter().flat_map(print).collect();
    let follow = asked.flag("follow") && container.is_running();
    let (id, written) = (container.id.clone(), container.written.subscribe());
    let seen = *written.borrow();
    drop(world);
    if !follow {
        return Ok(stream_reply(RAW, stream::iter([past.freeze()])));
    }
    let shared = Arc::clone(shared);
    let state = (Some(past.freeze()), written, seen, false);
    let chunks = stream::unfold(state, move |(first, mut written, seen, ended)| {
        let (shared, id) = (Arc::clone(&shared), id.clone());
        async move {
            if let Some(first) = first {
                return Some((first, (None, written, seen, ended)));
            }
            if ended {
                return None;
            }
            let down = shared.down_token();
            tokio::select! {
                changed = written.changed() => changed.ok()?,
                () = down.cancelled() => return None,
            }
            let world = shared.world();
            let container = world.find(&id).ok()?;
            let now = *written.borrow_and_update();
            let new = usize::try_from(now - seen)
                .unwrap_or(usize::MAX)
                .min(container.log.len());
            let fresh = container.log.iter().skip(container.log.len() - new);
            let chunk: BytesMut = fresh.filter(|line| wanted(line)).flat_map(print).collect();
            Some((
                chunk.freeze(),
                (None, written, now, !container.is_running()),
            ))
        }
    });
    Ok(stream_reply(RAW, chunks))
}
