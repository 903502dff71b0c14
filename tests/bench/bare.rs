//! The same work by bare Engine calls: what a careful person would script.
//!
//! Per replica: create, start, poll readiness every 100 ms on one kept connection, wait minReady, stop the old one
//! with the same grace, remove it. Its containers are on a bridge of its own and carry a label of its own; nothing
//! else is touched, and all of it goes at the end.

use std::time::{Duration, Instant};

use anyhow::Context;
use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1::handshake;
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::net::TcpStream;

use crate::engine::Engine;

/// The label of everything that it makes.
const LABEL: &str = "bench.mooring.dev/bare";
/// The bridge, and the first two thirds of every address on it.
const NETWORK: &str = "mooring-bench-bare";
const SUBNET: &str = "10.209.77";
/// How often readiness is asked for.
const POLL: Duration = Duration::from_millis(100);
/// How long one instance may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// What one update looks like.
#[derive(Debug, Clone, Copy)]
pub struct Update {
    /// How many replicas.
    pub replicas: u8,
    /// How long an instance must have been ready.
    pub min_ready: Duration,
    /// Seconds from SIGTERM to SIGKILL.
    pub grace: u32,
}

/// Makes the bridge, removing what an earlier run left.
///
/// # Errors
/// The Engine refused.
pub async fn prepare(engine: &mut Engine) -> anyhow::Result<()> {
    clean(engine).await?;
    let network = json!({
        "Name": NETWORK, "CheckDuplicate": true, "Labels": {LABEL: "yes"},
        "IPAM": {"Config": [{"Subnet": format!("{SUBNET}.0/24"), "Gateway": format!("{SUBNET}.1")}]},
    });
    engine
        .call(Method::POST, "/networks/create", Some(&network))
        .await
        .map(drop)
}

/// Removes everything that this file makes.
///
/// # Errors
/// The Engine refused.
pub async fn clean(engine: &mut Engine) -> anyhow::Result<()> {
    let filter = format!("%7B%22label%22%3A%5B%22{LABEL}%22%5D%7D").replace('/', "%2F");
    let containers = engine
        .call(
            Method::GET,
            &format!("/containers/json?all=true&filters={filter}"),
            None,
        )
        .await?;
    for container in containers.as_array().into_iter().flatten() {
        let id = container["Id"].as_str().context("a container has an id")?;
        engine
            .call(
                Method::DELETE,
                &format!("/containers/{id}?force=true&v=true"),
                None,
            )
            .await?;
    }
    let networks = engine
        .call(Method::GET, &format!("/networks?filters={filter}"), None)
        .await?;
    for network in networks.as_array().into_iter().flatten() {
        let id = network["Id"].as_str().context("a network has an id")?;
        engine
            .call(Method::DELETE, &format!("/networks/{id}"), None)
            .await?;
    }
    Ok(())
}

/// Starts `replicas` of `image` at once, as the set that the update replaces, and returns their ids.
///
/// # Errors
/// The Engine refused, or an instance did not become ready.
pub async fn install(
    engine: &mut Engine,
    image: &str,
    update: Update,
) -> anyhow::Result<Vec<String>> {
    let mut ids = Vec::new();
    for number in 0..update.replicas {
        ids.push(start(engine, image, number, update.grace).await?);
    }
    for number in 0..update.replicas {
        ready(&address(number)).await?;
    }
    Ok(ids)
}

/// Replaces the `old` instances one by one and returns how long it took and the new ids. Numbers of the new ones
/// follow those of the old, so that both have addresses.
///
/// # Errors
/// The Engine refused, or an instance did not become ready.
pub async fn roll(
    engine: &mut Engine,
    image: &str,
    old: &[String],
    update: Update,
    first: u8,
) -> anyhow::Result<(Duration, Vec<String>)> {
    let begun = Instant::now();
    let mut ids = Vec::new();
    for (number, old) in (first..).zip(old) {
        ids.push(start(engine, image, number, update.grace).await?);
        ready(&address(number)).await?;
        tokio::time::sleep(update.min_ready).await;
        engine
            .call(
                Method::POST,
                &format!("/containers/{old}/stop?t={}", update.grace),
                None,
            )
            .await?;
        engine
            .call(Method::DELETE, &format!("/containers/{old}?v=true"), None)
            .await?;
    }
    Ok((begun.elapsed(), ids))
}

/// Creates and starts one container.
///
/// # Errors
/// The Engine refused.
pub async fn start(
    engine: &mut Engine,
    image: &str,
    number: u8,
    grace: u32,
) -> anyhow::Result<String> {
    let body = json!({
        "Image": image, "Labels": {LABEL: "yes"}, "StopTimeout": grace,
        "HostConfig": {"NetworkMode": NETWORK, "RestartPolicy": {"Name": "no"},
                       "LogConfig": {"Type": "json-file", "Config": {"max-size": "20m", "max-file": "3"}}},
        "NetworkingConfig": {"EndpointsConfig": {NETWORK: {"IPAMConfig": {"IPv4Address": address(number)}}}},
    });
    let path = format!("/containers/create?name={NETWORK}-{number}");
    let created = engine.call(Method::POST, &path, Some(&body)).await?;
    let id = created["Id"]
        .as_str()
        .context("a created container has an id")?
        .to_owned();
    engine
        .call(Method::POST, &format!("/containers/{id}/start"), None)
        .await?;
    Ok(id)
}

fn address(number: u8) -> String {
    // .0 is the network and .1 the gateway.
    format!("{SUBNET}.{}", u16::from(number) + 2)
}

/// Asks for `/ready` every 100 ms on one connection, until it is.
async fn ready(address: &str) -> anyhow::Result<()> {
    let polling = async {
        let mut poll = tokio::time::interval(POLL);
        loop {
            poll.tick().await;
            let Ok(stream) = TcpStream::connect((address, 8080)).await else {
                continue;
            };
            let (mut sender, connection) = handshake(TokioIo::new(stream)).await?;
            tokio::spawn(connection);
            loop {
                let request = Request::builder()
                    .uri("/ready")
                    .header(http::header::HOST, "bench")
                    .body(Empty::<Bytes>::new())?;
                let Ok(response) = sender.send_request(request).await else {
                    break;
                };
                let status = response.status();
                let _ = response.into_body().collect().await;
                if status.is_success() {
                    return anyhow::Ok(());
                }
                poll.tick().await;
            }
        }
    };
    tokio::time::timeout(PATIENCE, polling)
        .await
        .with_context(|| format!("{address} did not become ready"))?
}
