//! What the proxy costs, against nginx from Debian in front of the same two instances.
//!
//! CPU per request is the processes' own time over the requests answered, which says the same whatever else the
//! machine does; requests a second would measure the load as well. The latency is taken in an open loop at 60 % of
//! what the slower of the two can do.

use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use crate::engine::Engine;
use crate::table::{Row, median};

/// Connections of the closed loop.
const CONNECTIONS: usize = 32;
/// How long each turn lasts.
const TURN: Duration = Duration::from_secs(4);
/// How long the open loop lasts.
const OPEN_LOOP: Duration = Duration::from_secs(8);
/// Clock ticks a second in /proc: fixed on Linux since 2.6 for programs.
const TICKS: f64 = 100.0;
/// The port that nginx listens on.
const NGINX_PORT: u16 = 18_090;
/// How long nginx may take to start.
const START: Duration = Duration::from_secs(10);

/// The two rows, over `rounds` turns.
///
/// # Errors
/// A load failed.
pub async fn compare(
    engine: &mut Engine,
    scratch: &Path,
    upstreams: &[String],
    http_port: u16,
    rounds: u32,
) -> anyhow::Result<Vec<Row>> {
    let nginx = Nginx::start(scratch, upstreams).await?;
    let ours = [proxy_process(engine).await?];
    let theirs = nginx.processes()?;
    let (mut our_cost, mut their_cost, mut rates) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        let (cost, rate) = cost(http_port, &ours).await?;
        our_cost.push(cost);
        rates.push(rate);
        let (cost, rate) = self::cost(NGINX_PORT, &theirs).await?;
        their_cost.push(cost);
        rates.push(rate);
        eprintln!(
            "bench: proxy {:.1} us, nginx {cost:.1} us a request",
            our_cost[our_cost.len() - 1]
        );
    }
    let rate = rates.iter().copied().fold(f64::INFINITY, f64::min) * 0.6;
    let (mut our_p99, mut their_p99) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        our_p99.push(p99(http_port, rate).await?);
        their_p99.push(p99(NGINX_PORT, rate).await?);
    }
    nginx.stop().await?;
    let limit = (median(&their_p99) + 1.0) / median(&their_p99);
    Ok(vec![
        Row::ratio(
            "proxy: CPU per request",
            "nginx",
            (median(&our_cost), median(&their_cost)),
            "us",
            ("at most 1.4 times", 1.4),
        ),
        Row::ratio(
            format!("proxy: p99 at 60 % load ({rate:.0} requests/s)"),
            "nginx",
            (median(&our_p99), median(&their_p99)),
            "ms",
            ("within 1 ms", limit),
        ),
    ])
}

/// Microseconds of CPU per request, and requests a second, in a closed loop.
async fn cost(port: u16, processes: &[u32]) -> anyhow::Result<(f64, f64)> {
    let answered = Arc::new(AtomicU64::new(0));
    let before = cpu(processes)?;
    let begun = Instant::now();
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..CONNECTIONS {
        clients.spawn(closed_loop(port, begun + TURN, Arc::clone(&answered)));
    }
    while let Some(client) = clients.join_next().await {
        client??;
    }
    let seconds = begun.elapsed().as_secs_f64();
    let cpu = cpu(processes)? - before;
    #[expect(clippy::cast_precision_loss, reason = "far fewer than 2^52 requests")]
    let answered = answered.load(Ordering::Relaxed) as f64;
    if answered == 0.0 {
        bail!("nothing was answered on port {port}");
    }
    Ok((cpu * 1e6 / answered, answered / seconds))
}

async fn closed_loop(port: u16, until: Instant, answered: Arc<AtomicU64>) -> anyhow::Result<()> {
    let mut sender = open(port).await?;
    while Instant::now() < until {
        get(&mut sender).await?;
        answered.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

async fn open(port: u16) -> anyhow::Result<SendRequest<Empty<Bytes>>> {
    let stream = TcpStream::connect(("127.0.0.1", port)).await?;
    stream.set_nodelay(true)?;
    let (sender, connection) = handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    Ok(sender)
}

/// One request, which must succeed.
async fn get(sender: &mut SendRequest<Empty<Bytes>>) -> anyhow::Result<()> {
    let request = Request::builder()
        .uri("/")
        .header(http::header::HOST, "bench.localhost")
        .body(Empty::<Bytes>::new())?;
    sender.ready().await?;
    let response = sender.send_request(request).await?;
    if !response.status().is_success() {
        bail!("the answer is {}", response.status());
    }
    response.into_body().collect().await?;
    Ok(())
}

/// Seconds of CPU that the processes have used, in user and kernel mode.
fn cpu(processes: &[u32]) -> anyhow::Result<f64> {
    let mut ticks = 0.0;
    for process in processes {
        let stat = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
        // The name in parentheses may hold spaces; utime and stime are the 12th and 13th field after it.
        let (_, fields) = stat.rsplit_once(") ").context("/proc/PID/stat")?;
        for field in fields.split(' ').skip(11).take(2) {
            ticks += field.parse::<f64>().context("/proc/PID/stat")?;
        }
    }
    Ok(ticks / TICKS)
}

/// The 99th percentile in milliseconds at `rate` requests a second over all connections, each request timed from when
/// it was due: one that waits behind a slow one counts its wait.
async fn p99(port: u16, rate: f64) -> anyhow::Result<f64> {
    #[expect(clippy::cast_precision_loss, reason = "32 connections")]
    let period = Duration::from_secs_f64(CONNECTIONS as f64 / rate);
    let begun = Instant::now();
    let mut clients = tokio::task::JoinSet::new();
    for number in 0..CONNECTIONS {
        // Spread over the period, so that the connections do not send all at once.
        let first = begun + period * u32::try_from(number)? / u32::try_from(CONNECTIONS)?;
        clients.spawn(paced_loop(port, first, period));
    }
    let mut latencies = Vec::new();
    while let Some(client) = clients.join_next().await {
        latencies.extend(client??);
    }
    latencies.sort_by(f64::total_cmp);
    let rank = latencies.len() * 99 / 100;
    latencies.get(rank).copied().context("nothing was answered")
}

/// One connection that sends a request each `period`; the milliseconds of each.
async fn paced_loop(port: u16, first: Instant, period: Duration) -> anyhow::Result<Vec<f64>> {
    let mut sender = open(port).await?;
    let mut latencies = Vec::new();
    let mut due = first;
    while due < first + OPEN_LOOP {
        tokio::time::sleep_until(due.into()).await;
        get(&mut sender).await?;
        latencies.push(due.elapsed().as_secs_f64() * 1e3);
        due += period;
    }
    Ok(latencies)
}

/// The process of Mooring's proxy.
async fn proxy_process(engine: &mut Engine) -> anyhow::Result<u32> {
    let path =
        "/containers/json?filters=%7B%22label%22%3A%5B%22mooring.dev%2Frole%3Dproxy%22%5D%7D";
    let containers = engine.call(Method::GET, path, None).await?;
    let id = containers[0]["Id"].as_str().context("no proxy runs")?;
    let container = engine
        .call(Method::GET, &format!("/containers/{id}/json"), None)
        .await?;
    let process = container["State"]["Pid"]
        .as_u64()
        .context("the proxy has a process")?;
    u32::try_from(process).context("a process id")
}

/// An nginx of its own, with its files in the scratch directory.
struct Nginx {
    master: Child,
}

impl Nginx {
    async fn start(scratch: &Path, upstreams: &[String]) -> anyhow::Result<Self> {
        if upstreams.is_empty() {
            bail!("the pipeline has no ready instance");
        }
        let directory = scratch.display();
        let servers: String = upstreams
            .iter()
            .map(|address| format!("server {address}:8080; "))
            .collect();
        // As many workers as Mooring's proxy has threads; what a reverse proxy needs and nothing more.
        let configuration = format!(
            "daemon off;\nworker_processes auto;\npid {directory}/nginx.pid;\nerror_log {directory}/nginx.log;\n\
             events {{ worker_connections 4096; }}\n\
             http {{\n  access_log off;\n  keepalive_requests 1000000;\n\
             \x20 client_body_temp_path {directory};\n  proxy_temp_path {directory};\n\
             \x20 fastcgi_temp_path {directory};\n  uwsgi_temp_path {directory};\n  scgi_temp_path {directory};\n\
             \x20 upstream app {{ {servers}keepalive 64; keepalive_requests 1000000; }}\n\
             \x20 server {{\n    listen 127.0.0.1:{NGINX_PORT};\n    location / {{\n      proxy_pass http://app;\n\
             \x20     proxy_http_version 1.1;\n      proxy_set_header Connection \"\";\n      proxy_set_header Host $host;\n\
             \x20     proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;\n    }}\n  }}\n}}\n"
        );
        let file = scratch.join("nginx.conf");
        std::fs::write(&file, configuration)?;
        let master = Command::new("nginx")
            .arg("-c")
            .arg(&file)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .context("nginx is not installed: .ci/packages bench")?;
        let listening = async {
            while TcpStream::connect(("127.0.0.1", NGINX_PORT)).await.is_err() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(START, listening)
            .await
            .context("nginx does not listen")?;
        Ok(Self { master })
    }

    /// The master and its workers.
    fn processes(&self) -> anyhow::Result<Vec<u32>> {
        let master = self.master.id().context("nginx has ended")?;
        let children = std::fs::read_to_string(format!("/proc/{master}/task/{master}/children"))?;
        let workers = children
            .split_whitespace()
            .map(|id| id.parse().context("a process id"));
        std::iter::once(Ok(master)).chain(workers).collect()
    }

    async fn stop(mut self) -> anyhow::Result<()> {
        let master = self.master.id().context("nginx has ended")?;
        Command::new("kill")
            .args(["-TERM", &master.to_string()])
            .status()
            .await?;
        self.master.wait().await?;
        Ok(())
    }
}
