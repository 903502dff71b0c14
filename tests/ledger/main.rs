//! The ledger: an open loop of requests at a fixed rate that books what becomes of each.
//!
//! A request is sent when it is due, whether or not earlier ones have been answered, and never sent again. What
//! counts as lost: refused, reset, no answer within the limit (from the time it was due), a status that is not
//! 2xx, an answer by a revision outside the allowed set, and a POST executed twice. One thread, so that the load
//! takes as little as it can of the machine that it measures.
//!
//! Prints a summary for people on standard error and one JSON object on standard output. Ends with 0 when
//! nothing was lost, with 1 when something was.

mod book;
mod client;
mod control;
mod histogram;
mod receipts;
mod websocket;

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Parser;
use http::{HeaderValue, Method, Uri};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::book::{Book, Loss};
use crate::client::{Call, CallError, Client};
use crate::control::Allowed;
use crate::receipts::Desk;

/// Requests a second above which one thread on a small machine would measure itself.
const RATE_LIMIT: u32 = 20_000;
/// How often the standing is printed with `--progress`.
const PROGRESS: Duration = Duration::from_secs(5);

/// Sends requests at a fixed rate, without any retry, and books what becomes of each.
#[derive(Debug, Clone, Parser)]
#[command(name = "ledger", version)]
struct Args {
    /// Address that the connections are made to.
    #[arg(long, default_value = "127.0.0.1:80")]
    connect_to: SocketAddr,
    /// Host name that is asked for.
    #[arg(long)]
    host: String,
    /// Path that is asked for.
    #[arg(long, default_value = "/")]
    path: String,
    /// Requests a second.
    #[arg(long, default_value_t = 400, value_parser = clap::value_parser!(u32).range(1..=i64::from(RATE_LIMIT)))]
    rate: u32,
    /// Seconds until it ends. Without it: until SIGTERM or SIGINT.
    #[arg(long)]
    duration: Option<f64>,
    /// Read lines `allow VERSION...` on standard input, which change the revisions that may answer; its end ends
    /// the load.
    #[arg(long)]
    stdin: bool,
    /// Revisions that may answer, separated by commas. Without it: any.
    #[arg(long, value_delimiter = ',')]
    allow: Vec<String>,
    /// Percent of the requests that are POSTs.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=100))]
    posts: u32,
    /// Ask the application for a receipt of each POST it executes, to notice one executed twice.
    #[arg(long)]
    receipts: bool,
    /// Percent of the requests that open a connection of their own; the others reuse one.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(0..=100))]
    fresh: u32,
    /// WebSocket clients beside the requests.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=1000))]
    websockets: u32,
    /// Path of the WebSocket endpoint.
    #[arg(long, default_value = "/ws")]
    websocket_path: String,
    /// Seconds after which a request without a whole answer is lost.
    #[arg(long, default_value_t = 5.0)]
    timeout: f64,
    /// Print how it stands every five seconds.
    #[arg(long)]
    progress: bool,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run(Args::parse()).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("ledger: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// Everything that a request needs.
struct Load {
    client: Client,
    book: Arc<Mutex<Book>>,
    desk: Option<Desk>,
    allowed: watch::Receiver<Allowed>,
    timeout: Duration,
}

async fn run(args: Args) -> anyhow::Result<bool> {
    let host = HeaderValue::from_str(&args.host).context("--host is no host name")?;
    for path in [&args.path, &args.websocket_path] {
        path.parse::<Uri>()
            .with_context(|| format!("{path:?} is no path"))?;
    }
    let timeout = Duration::try_from_secs_f64(args.timeout).context("--timeout")?;
    let duration = args
        .duration
        .map(Duration::try_from_secs_f64)
        .transpose()
        .context("--duration")?;
    let desk = match args.receipts {
        true => Some(Desk::open().await.context("a port for receipts")?),
        false => None,
    };
    let stop = CancellationToken::new();
    let (allow, allowed) = watch::channel(control::allowed(&args.allow));
    control::end_on_time_or_signal(duration, stop.clone()).context("signals")?;
    if args.stdin {
        control::follow_stdin(allow, stop.clone());
    }
    let book = Arc::new(Mutex::new(Book::open(Instant::now())));
    let tasks = TaskTracker::new();
    for _ in 0..args.websockets {
        let target = websocket::Target {
            address: args.connect_to,
            host: host.clone(),
            path: args.websocket_path.clone(),
            timeout,
        };
        tasks.spawn(websocket::run(target, Arc::clone(&book), stop.clone()));
    }
    if args.progress {
        tasks.spawn(progress(Arc::clone(&book), stop.clone()));
    }
    let receipt_port = desk.as_ref().map(Desk::port);
    let client = Client::new(args.connect_to, host, args.path.clone(), receipt_port);
    let load = Arc::new(Load {
        client,
        book,
        desk,
        allowed,
        timeout,
    });
    open_loop(&args, &load, &tasks, &stop).await;
    tasks.close();
    tasks.wait().await;
    let load = Arc::into_inner(load).context("a request outlived its task")?;
    finish(load).await
}

/// Sends each request when it is due, until the load is stopped.
async fn open_loop(args: &Args, load: &Arc<Load>, tasks: &TaskTracker, stop: &CancellationToken) {
    let start = Instant::now();
    let period = Duration::from_secs(1) / args.rate;
    // Every request ends within its timeout, so more than this cannot wait unless the machine itself is too slow.
    let waiting_limit = f64::from(args.rate).mul_add(load.timeout.as_secs_f64() + 1.0, 64.0);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "positive, small"
    )]
    let waiting_limit = waiting_limit as usize + args.websockets as usize;
    let mut number: u32 = 0;
    loop {
        let due = start + period * number;
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = tokio::time::sleep_until(due.into()) => {}
        }
        let call = Call {
            method: if share(number, args.posts, 0) {
                Method::POST
            } else {
                Method::GET
            },
            id: format!("{:08x}-{number}", std::process::id()),
            fresh: share(number, args.fresh, 50),
        };
        if tasks.len() < waiting_limit {
            tasks.spawn(one(Arc::clone(load), call, due));
        } else {
            let mut book = load.book.lock().expect("no panic while held");
            book.lost(&call.id, &Loss::NotSent, Instant::now());
        }
        let Some(next) = number.checked_add(1) else {
            return;
        };
        number = next;
    }
}

/// Whether request `number` belongs to a share of `percent`, spread evenly; `offset` keeps two shares apart.
fn share(number: u32, percent: u32, offset: u32) -> bool {
    // 37 has no factor in common with 100, so a hundred requests in a row visit every residue once.
    (number % 100 * 37 + offset) % 100 < percent
}

/// Makes one request and books it.
async fn one(load: Arc<Load>, call: Call, due: Instant) {
    let allowed = load.allowed.borrow().clone();
    let outcome =
        tokio::time::timeout_at((due + load.timeout).into(), load.client.call(&call)).await;
    let now = Instant::now();
    let verdict = match outcome {
        Err(_) => Err(Loss::Late),
        Ok(Err(CallError::Refused(cause))) => Err(Loss::Refused(cause.to_string())),
        Ok(Err(CallError::Reset(cause))) => Err(Loss::Reset(cause)),
        Ok(Ok(reply)) if !reply.status.is_success() => Err(Loss::Status(reply.status)),
        // The set may have changed while the request was under way: then both are right.
        Ok(Ok(reply))
            if !control::allows(&allowed, &reply.version)
                && !control::allows(&load.allowed.borrow(), &reply.version) =>
        {
            Err(Loss::WrongVersion(reply.version))
        }
        Ok(Ok(reply)) => Ok(reply.version),
    };
    let post = call.method == Method::POST;
    if let (Ok(_), true, Some(desk)) = (&verdict, post, &load.desk) {
        desk.answered(&call.id);
    }
    let mut book = load.book.lock().expect("no panic while held");
    match verdict {
        Ok(version) => book.answered(&version, post, due, now),
        Err(loss) => book.lost(&call.id, &loss, now),
    }
}

async fn progress(book: Arc<Mutex<Book>>, stop: CancellationToken) {
    let mut tick = tokio::time::interval(PROGRESS);
    tick.tick().await;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = tick.tick() => {
                let standing = book.lock().expect("no panic while held").standing(Instant::now());
                eprintln!("load: {standing}");
            }
        }
    }
}

/// Closes the book, prints it, and says whether it is clean.
async fn finish(load: Load) -> anyhow::Result<bool> {
    let Load {
        client,
        book,
        desk,
        allowed: _,
        timeout: _,
    } = load;
    drop(client);
    let end = Instant::now();
    let receipts = match desk {
        Some(desk) => Some(desk.close().await),
        None => None,
    };
    let book = Arc::into_inner(book).context("a task outlived the load")?;
    let summary = book
        .into_inner()
        .expect("no panic while held")
        .close(receipts, end);
    eprint!("{}", summary.text());
    println!(
        "{}",
        serde_json::to_string(&summary).context("the summary as JSON")?
    );
    Ok(summary.is_clean())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_met_in_every_hundred_requests() {
        for (percent, offset) in [(0, 0), (10, 0), (10, 50), (37, 50), (100, 0)] {
            for first in [0, 100, 700] {
                let hits = (first..first + 100)
                    .filter(|n| share(*n, percent, offset))
                    .count();
                assert_eq!(hits, percent as usize);
            }
        }
    }

    #[test]
    fn the_arguments_are_consistent() {
        use clap::CommandFactory;
        Args::command().debug_assert();
    }
}
