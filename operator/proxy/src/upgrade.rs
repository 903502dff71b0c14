//! A WebSocket: bytes both ways after a 101.
//!
//! Owns the bridge and its end. Must not know frames of the protocol inside. Invariant: it counts as a stream of its
//! instance until both directions ended, the drain
//! limit cut it or the proxy stopped.

use std::sync::Arc;

use http::Response;
use http::header::{CONNECTION, HeaderValue, UPGRADE};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::copy_bidirectional;

use crate::answer::{Answer, Refusal};
use crate::client::Client;
use crate::instance::Lease;
use crate::request::{drop_hop_by_hop, has_token};
use crate::traffic::Counters;

/// Answers the client with the instance's 101 and carries bytes until either side ends. An instance that switches to
/// something else than what was asked for is broken.
pub fn bridge(
    mut response: Response<Incoming>,
    upgrade: OnUpgrade,
    mut lease: Lease,
    counters: Arc<Counters>,
    client: &Client,
) -> Response<Answer> {
    if !has_token(response.headers(), &UPGRADE, "websocket") {
        counters.failed();
        return Refusal::InstanceBroke.response();
    }
    let instance = hyper::upgrade::on(&mut response);
    lease.become_stream();
    let slot = Arc::clone(&client.slot);
    let mut stopping = client.shared.stopping();
    tokio::spawn(async move {
        let carry = async {
            let (client, instance) = tokio::try_join!(upgrade, instance)?;
            let (mut client, mut instance) = (TokioIo::new(client), TokioIo::new(instance));
            // Either side ending, also badly, is how a WebSocket ends.
            let _ = copy_bidirectional(&mut client, &mut instance).await;
            Ok::<(), hyper::Error>(())
        };
        tokio::select! {
            _ = carry => {}
            () = lease.until_cut() => counters.cut(),
            // A proxy that stops cannot wait for a stream without an end.
            _ = stopping.wait_for(|stopping| *stopping) => {}
        }
        drop(slot);
    });
    let (mut parts, _) = response.into_parts();
    drop_hop_by_hop(&mut parts.headers);
    parts
        .headers
        .insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    parts
        .headers
        .insert(UPGRADE, HeaderValue::from_static("websocket"));
    parts.extensions.remove::<OnUpgrade>();
    Response::from_parts(parts, Answer::Whole(None))
}
