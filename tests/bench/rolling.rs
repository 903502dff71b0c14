//! How long a rolling update takes, against the same update by bare Engine calls; and how fast Mooring reacts.
//!
//! The bake is excluded: the clock stops when the last old instance has been stopped. Both sides take turns.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1::handshake;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::bare::{self, Update};
use crate::engine::{Engine, Event};
use crate::pipeline::{Pipeline, Shape};
use crate::table::{Row, median};

/// The images of the two versions.
const IMAGES: [&str; 2] = ["shop:1.0", "shop:2.0"];
/// Seconds from SIGTERM to SIGKILL, on both sides.
const GRACE: u32 = 5;
/// How long one reaction may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often the proxy is asked who answers.
const POLL: Duration = Duration::from_millis(5);

/// A rolling update of `replicas` replicas.
///
/// # Errors
/// Either side failed.
pub async fn update(
    pipeline: &Pipeline,
    engine: &mut Engine,
    replicas: u8,
    rounds: u32,
) -> anyhow::Result<Row> {
    let update = Update {
        replicas,
        min_ready: Duration::from_secs(1),
        grace: GRACE,
    };
    let shape = |image| Shape {
        image,
        replicas,
        surge: 1,
        bake: 0,
        exit_after: None,
        grace: GRACE,
    };
    bare::prepare(engine).await?;
    pipeline.apply(&shape(IMAGES[0])).await?;
    pipeline.ready().await?;
    let mut old = bare::install(engine, IMAGES[0], update).await?;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        let image = IMAGES[usize::from(round % 2 == 0)];
        let number = pipeline.last_number().await? + 1;
        let begun = pipeline.apply(&shape(image)).await?;
        pipeline.fully_out(number).await?;
        ours.push(begun.elapsed().as_secs_f64());
        pipeline.ready().await?;
        let first = if round % 2 == 0 { replicas } else { 0 };
        let (took, new) = bare::roll(engine, image, &old, update, first).await?;
        theirs.push(took.as_secs_f64());
        old = new;
        eprintln!(
            "bench: update of {replicas}: {:.1} s, bare calls {:.1} s",
            ours[ours.len() - 1],
            took.as_secs_f64()
        );
    }
    bare::clean(engine).await?;
    Ok(Row::ratio(
        format!("rolling update of {replicas} replicas"),
        "bare Engine calls",
        (median(&ours), median(&theirs)),
        "s",
        ("at most 1.15 times", 1.15),
    ))
}

/// From the end of a container to the start of what replaces it, by the Engine's own clock: Mooring, and a loop that
/// does nothing but start what died.
///
/// # Errors
/// Either side failed.
pub async fn event_to_effect(
    pipeline: &Pipeline,
    engine: &mut Engine,
    rounds: u32,
) -> anyhow::Result<Row> {
    pipeline
        .apply(&Shape {
            image: IMAGES[0],
            replicas: 3,
            surge: 1,
            bake: 0,
            exit_after: None,
            grace: GRACE,
        })
        .await?;
    pipeline.ready().await?;
    bare::prepare(engine).await?;
    let own = bare::start(engine, IMAGES[0], 0, GRACE).await?;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        ours.push(killed_to_started(engine, None).await?);
        pipeline.ready().await?;
        theirs.push(killed_to_started(engine, Some(&own)).await?);
    }
    bare::clean(engine).await?;
    Ok(Row::ratio(
        "container killed to its successor started",
        "a loop that starts what died",
        (median(&ours), median(&theirs)),
        "ms",
        (
            "under 100 ms more",
            (median(&theirs) + 100.0) / median(&theirs),
        ),
    ))
}

/// Kills `own` and starts it again when its end is seen, or kills one of Mooring's and waits. Milliseconds.
async fn killed_to_started(engine: &mut Engine, own: Option<&str>) -> anyhow::Result<f64> {
    let victim = match own {
        Some(id) => id.to_owned(),
        None => instance(engine).await?,
    };
    let mut events = engine.events().await?;
    engine
        .call(Method::POST, &format!("/containers/{victim}/kill"), None)
        .await?;
    let watching = async {
        let mut died = None;
        loop {
            let event = events.next().await?;
            match (event.action.as_str(), died) {
                ("die", None) if event.id == victim => {
                    died = Some(event.nanos);
                    if own.is_some() {
                        engine
                            .call(Method::POST, &format!("/containers/{victim}/start"), None)
                            .await?;
                    }
                }
                ("start", Some(nanos))
                    if own.is_none() && is_instance(&event) || event.id == victim =>
                {
                    return anyhow::Ok(millis(event.nanos - nanos));
                }
                _ => {}
            }
        }
    };
    tokio::time::timeout(PATIENCE, watching)
        .await
        .context("nothing was started")?
}

fn is_instance(event: &Event) -> bool {
    event.attributes["mooring.dev/role"] == "instance"
}

/// A running instance of Mooring's.
async fn instance(engine: &mut Engine) -> anyhow::Result<String> {
    let path =
        "/containers/json?filters=%7B%22label%22%3A%5B%22mooring.dev%2Frole%3Dinstance%22%5D%7D";
    let containers = engine.call(Method::GET, path, None).await?;
    Ok(containers[0]["Id"]
        .as_str()
        .context("no instance runs")?
        .to_owned())
}

/// From the first failure of a release that is being baked to the first answer by the old one, which was stopped by
/// then. Compared with the aim itself, since nothing else here rolls back by itself.
///
/// # Errors
/// There was no rollback.
pub async fn failure_to_old(
    pipeline: &Pipeline,
    engine: &mut Engine,
    http_port: u16,
    rounds: u32,
) -> anyhow::Result<Row> {
    let aim = 5_000.0;
    let mut ours = Vec::new();
    for _ in 0..rounds {
        ours.push(failure(pipeline, engine, http_port).await?);
    }
    Ok(Row::ratio(
        "failure in the bake to the old release serving (cold)",
        "the aim",
        (median(&ours), aim),
        "ms",
        ("under 5 s cold", 1.0),
    ))
}

/// One release that fails in its bake; milliseconds.
async fn failure(pipeline: &Pipeline, engine: &mut Engine, http_port: u16) -> anyhow::Result<f64> {
    let shape = |image, bake, exit_after| Shape {
        image,
        replicas: 3,
        surge: 3,
        bake,
        exit_after,
        grace: GRACE,
    };
    pipeline.apply(&shape(IMAGES[0], 0, None)).await?;
    pipeline.ready().await?;
    let number = pipeline.last_number().await? + 1;
    let mut events = engine.events().await?;
    pipeline.apply(&shape(IMAGES[1], 30, Some(6_000))).await?;
    pipeline.fully_out(number).await?;
    let dying = async {
        loop {
            let event = events.next().await?;
            // The old ones are stopped in order and end with 0.
            if event.action == "die" && is_instance(&event) && event.attributes["exitCode"] == "1" {
                return anyhow::Ok(Instant::now());
            }
        }
    };
    let failed = tokio::time::timeout(PATIENCE, dying)
        .await
        .context("the bad release did not fail")??;
    let serving = async {
        while answering(http_port).await.as_deref() != Some("1.0") {
            tokio::time::sleep(POLL).await;
        }
        failed.elapsed()
    };
    let took = tokio::time::timeout(PATIENCE, serving)
        .await
        .context("the old release does not serve")?;
    pipeline.rolled_back().await?;
    Ok(took.as_secs_f64() * 1e3)
}

/// Which version answers through the proxy, if any does.
async fn answering(http_port: u16) -> Option<String> {
    let stream = TcpStream::connect(("127.0.0.1", http_port)).await.ok()?;
    let (mut sender, connection) = handshake(TokioIo::new(stream)).await.ok()?;
    tokio::spawn(connection);
    let request = Request::builder()
        .uri("/")
        .header(http::header::HOST, "bench.localhost")
        .body(Empty::<Bytes>::new())
        .ok()?;
    let response = sender.send_request(request).await.ok()?;
    let version = response
        .headers()
        .get("x-version")?
        .to_str()
        .ok()?
        .to_owned();
    let _ = response.into_body().collect().await;
    Some(version)
}

#[expect(clippy::cast_precision_loss, reason = "a few seconds in nanoseconds")]
fn millis(nanos: i64) -> f64 {
    nanos as f64 / 1e6
}

/// The pipeline that all of these use is gone when they are done.
///
/// # Errors
/// It does not go.
pub async fn end(pipeline: &Pipeline, engine: &mut Engine) -> anyhow::Result<()> {
    bare::clean(engine).await?;
    pipeline.delete().await?;
    if instance(engine).await.is_ok() {
        bail!("an instance is left over");
    }
    Ok(())
}
