//! The benchmark: what Mooring is measured by, in turns with what it is measured against, in one run.
//!
//! Starts `mooring up` of its own on free ports, deploys with it, and prints one table. It needs the binaries of
//! `.ci/dist`, the images of `demo/images`, nginx, and a directory that `.ci/cluster` has prepared; `.ci/bench` sees
//! to all of that and cleans up after it.

mod bare;
mod control_plane;
mod engine;
mod pipeline;
mod proxy;
mod rolling;
mod table;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;

use crate::control_plane::{Places, Running};
use crate::engine::Engine;
use crate::pipeline::{Pipeline, Shape};
use crate::table::{Row, median};

/// How long both control planes idle before their memory is read.
const IDLE: Duration = Duration::from_secs(60);

/// Measures Mooring in turns with what it is compared with.
#[derive(Debug, Parser)]
#[command(name = "bench", version)]
struct Args {
    /// Directory with the binaries of `.ci/dist`.
    #[arg(long)]
    dist: PathBuf,
    /// Empty directory for the data of `mooring up`; its log lies beside it.
    #[arg(long)]
    data_dir: PathBuf,
    /// Directory in which `.ci/cluster up` and `.ci/cluster down` have run.
    #[arg(long)]
    cluster: PathBuf,
    /// Directory for files that go with the run.
    #[arg(long)]
    scratch: PathBuf,
    /// Where the embedded control plane listens.
    #[arg(long, default_value = "127.0.0.1:17443")]
    listen: String,
    /// Port of the proxy.
    #[arg(long, default_value_t = 18_080)]
    http_port: u16,
    /// Turns of each comparison.
    #[arg(long, default_value_t = 3)]
    rounds: u32,
    /// Replicas of the rolling update.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u8).range(1..=100))]
    replicas: u8,
    /// The Engine's socket.
    #[arg(long, default_value = "/var/run/docker.sock")]
    docker: PathBuf,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let places = Places {
        dist: args.dist.clone(),
        data: args.data_dir.clone(),
        listen: args.listen.clone(),
        http_port: args.http_port,
        cluster: args.cluster.clone(),
    };
    let mut engine = Engine::connect(args.docker.clone()).await?;
    // The first start makes the data directory, the keys and the proxy: it is not what is measured.
    let (mooring, first) = Running::mooring(&places).await?;
    eprintln!(
        "bench: first start of mooring up: {:.0} ms",
        first.as_secs_f64() * 1e3
    );
    let pipeline = Pipeline::new(mooring.client().await?, "bench");
    pipeline.host_ready().await?;
    keep_install(&mooring, &places).await?;
    let mut rows = vec![rolling::update(&pipeline, &mut engine, args.replicas, args.rounds).await?];
    rows.push(rolling::event_to_effect(&pipeline, &mut engine, args.rounds).await?);
    rows.push(rolling::failure_to_old(&pipeline, &mut engine, args.http_port, args.rounds).await?);
    rows.extend(proxy_rows(&args, &pipeline, &mut engine).await?);
    mooring.stop().await?;
    rows.extend(control_planes(&places, args.rounds).await?);
    let (mooring, _) = Running::mooring(&places).await?;
    let pipeline = Pipeline::new(mooring.client().await?, "bench");
    rolling::end(&pipeline, &mut engine).await?;
    mooring.stop().await?;
    print!("{}", table::render(&rows));
    Ok(())
}

/// Writes the install's id beside the data, where the clean-up of a run that failed looks for it.
async fn keep_install(mooring: &Running, places: &Places) -> anyhow::Result<()> {
    let secrets: Api<Secret> = Api::namespaced(mooring.client().await?, "mooring-system");
    let data = secrets
        .get("mooring-install")
        .await?
        .data
        .context("an empty Secret")?;
    let id = data.get("id").context("the install has an id")?;
    std::fs::write(places.data.with_extension("install"), &id.0).context("the install's id")
}

/// The proxy in front of two instances.
async fn proxy_rows(
    args: &Args,
    pipeline: &Pipeline,
    engine: &mut Engine,
) -> anyhow::Result<Vec<Row>> {
    let shape = Shape {
        image: "shop:1.0",
        replicas: 2,
        surge: 1,
        bake: 0,
        exit_after: None,
        grace: 5,
    };
    pipeline.apply(&shape).await?;
    pipeline.ready().await?;
    let upstreams = pipeline.addresses().await?;
    proxy::compare(
        engine,
        &args.scratch,
        &upstreams,
        args.http_port,
        args.rounds,
    )
    .await
}

/// Start from an existing data directory, and memory after a minute of nothing, in turns.
async fn control_planes(places: &Places, rounds: u32) -> anyhow::Result<Vec<Row>> {
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let (mooring, took) = Running::mooring(places).await?;
        ours.push(took.as_secs_f64() * 1e3);
        mooring.stop().await?;
        let (kubernetes, took) = Running::kubernetes(places).await?;
        theirs.push(took.as_secs_f64() * 1e3);
        kubernetes.stop().await?;
    }
    let (mooring, _) = Running::mooring(places).await?;
    let (kubernetes, _) = Running::kubernetes(places).await?;
    tokio::time::sleep(IDLE).await;
    let memory = (
        mooring.resident_mib()?,
        kubernetes.resident_mib().context("kube-apiserver")?,
    );
    kubernetes.stop().await?;
    mooring.stop().await?;
    let aim = ("a twentieth", 0.05);
    let against = "kube-apiserver and etcd";
    Ok(vec![
        Row::ratio(
            "control plane: start to /readyz",
            against,
            (median(&ours), median(&theirs)),
            "ms",
            aim,
        ),
        Row::ratio(
            "control plane: memory, idle, one pipeline",
            against,
            memory,
            "MiB",
            aim,
        ),
    ])
}
