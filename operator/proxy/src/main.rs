//! `mooring-proxy`: the data plane's process.
//!
//! Owns arguments, signals, the runtime and the exit code. Must not know anything else. Invariant: `serve` ends only by
//! a signal or because its state directory cannot be used.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use proxy::{Config, Proxy, Storage, Tcp, connector, frame};
use routes::{FromProxy, Hello, Reply, Request, ToProxy};
use tokio::net::UnixStream;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::timeout;

const USAGE: &str = "\
mooring-proxy, the data plane of a Mooring host

  mooring-proxy serve --state-dir DIR --http-port PORT [--metrics ADDRESS:PORT] [--workers N]
  mooring-proxy connect --state-dir DIR     carries the control protocol between stdin, stdout and the proxy
  mooring-proxy metrics --state-dir DIR     prints the metrics of the running proxy
  mooring-proxy --version
";

/// After SIGTERM requests get this long; the listening socket is gone, so a restart should be quick.
const STOP_GRACE: Duration = Duration::from_secs(3);
/// For `metrics` to be answered.
const METRICS_LIMIT: Duration = Duration::from_secs(5);

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let command = match Command::parse(&arguments) {
        Ok(command) => command,
        Err(reason) => {
            eprintln!("{reason}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("mooring-proxy: {error}");
            return ExitCode::FAILURE;
        }
    };
    let outcome = runtime.block_on(command.run());
    // A read of stdin may still block a thread; the process ends without it.
    runtime.shutdown_background();
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("mooring-proxy: {error}");
            ExitCode::FAILURE
        }
    }
}

/// What the process is asked to do.
#[derive(Debug, PartialEq, Eq)]
enum Command {
    Serve {
        directory: PathBuf,
        port: u16,
        metrics: Option<SocketAddr>,
        workers: usize,
    },
    Connect {
        directory: PathBuf,
    },
    Metrics {
        directory: PathBuf,
    },
    Version,
}

impl Command {
    fn parse(arguments: &[String]) -> Result<Command, String> {
        let (name, rest) = arguments.split_first().ok_or("a command is missing")?;
        let allowed: &[&str] = match name.as_str() {
            "serve" => &["--state-dir", "--http-port", "--metrics", "--workers"],
            "connect" | "metrics" => &["--state-dir"],
            "--version" | "version" => &[],
            other => return Err(format!("{other} is no command")),
        };
        let flags = flags(rest, allowed)?;
        let flag = |name: &str| {
            flags
                .iter()
                .rev()
                .find(|(flag, _)| *flag == name)
                .map(|(_, value)| value.as_str())
        };
        let directory = || {
            flag("--state-dir")
                .map(PathBuf::from)
                .ok_or("--state-dir is missing".to_owned())
        };
        Ok(match name.as_str() {
            "serve" => Command::Serve {
                directory: directory()?,
                port: number(
                    flag("--http-port").ok_or("--http-port is missing")?,
                    "--http-port",
                )?,
                metrics: match flag("--metrics") {
                    Some(address) => Some(
                        address
                            .parse()
                            .map_err(|_| "--metrics must be ADDRESS:PORT")?,
                    ),
                    None => None,
                },
                workers: match flag("--workers") {
                    Some(count) => number(count, "--workers")?,
                    None => thread::available_parallelism().map_or(1, usize::from),
                },
            },
            "connect" => Command::Connect {
                directory: directory()?,
            },
            "metrics" => Command::Metrics {
                directory: directory()?,
            },
            _ => Command::Version,
        })
    }

    async fn run(self) -> io::Result<()> {
        match self {
            Command::Serve {
                directory,
                port,
                metrics,
                workers,
            } => serve(directory, port, metrics, workers).await,
            Command::Connect { directory } => {
                connector::run(&directory, tokio::io::stdin(), tokio::io::stdout()).await
            }
            Command::Metrics { directory } => {
                match timeout(METRICS_LIMIT, print_metrics(directory)).await {
                    Ok(outcome) => outcome,
                    Err(_) => Err(io::ErrorKind::TimedOut.into()),
                }
            }
            Command::Version => {
                writeln!(io::stdout(), "mooring-proxy {}", env!("CARGO_PKG_VERSION"))
            }
        }
    }
}

/// Flags as `--name value` or `--name=value`.
fn flags<'a>(arguments: &'a [String], allowed: &[&str]) -> Result<Vec<(&'a str, String)>, String> {
    let mut flags = Vec::new();
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let (name, value) = match argument.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (argument.as_str(), None),
        };
        if !allowed.contains(&name) {
            return Err(format!("{name} is no flag of this command"));
        }
        let value = value
            .or_else(|| rest.next().cloned())
            .ok_or(format!("{name} needs a value"))?;
        flags.push((name, value));
    }
    Ok(flags)
}

fn number<N: std::str::FromStr>(text: &str, flag: &str) -> Result<N, String> {
    text.parse()
        .map_err(|_| format!("{flag} must be a number, not {text}"))
}

async fn serve(
    directory: PathBuf,
    port: u16,
    metrics: Option<SocketAddr>,
    workers: usize,
) -> io::Result<()> {
    tracing_subscriber::fmt()
        .with_writer(io::stderr)
        .with_ansi(false)
        .with_target(false)
        .init();
    std::fs::create_dir_all(&directory)?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let proxy = Proxy::open(Config {
        storage: Storage::Directory(directory.clone()),
        dial: Arc::new(Tcp),
        workers,
    });
    let scraped = async {
        match metrics {
            Some(address) => proxy.metrics(address).await,
            None => std::future::pending().await,
        }
    };
    let stopped = async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("stopping");
        proxy.stop();
        std::future::pending::<()>().await;
    };
    tokio::select! {
        ended = proxy.listen(port, STOP_GRACE) => ended,
        ended = proxy.control(&directory) => ended,
        ended = scraped => ended,
        () = stopped => Ok(()),
    }
}

async fn print_metrics(directory: PathBuf) -> io::Result<()> {
    let mut socket = UnixStream::connect(directory.join(routes::limit::SOCKET_FILE)).await?;
    let hello = ToProxy::Hello(Hello::new(env!("CARGO_PKG_VERSION"), None));
    let request = ToProxy::Request {
        id: 1,
        request: Box::new(Request::Metrics),
    };
    for asked in [hello, request] {
        frame::write(&mut socket, &asked)
            .await
            .map_err(io::Error::other)?;
    }
    while let Some(bytes) = frame::read(&mut socket).await.map_err(io::Error::other)? {
        match serde_json::from_slice(&bytes)? {
            FromProxy::Reply { reply, .. } => match *reply {
                Reply::Metrics { text } => return io::stdout().write_all(text.as_bytes()),
                Reply::Status(_) | Reply::Acked { .. } | Reply::Refused { .. } | Reply::Unknown => {
                    break;
                }
            },
            FromProxy::Hello(_)
            | FromProxy::Report(_)
            | FromProxy::Heartbeat
            | FromProxy::Unknown => {}
            FromProxy::Goodbye { reason } => return Err(io::Error::other(reason)),
        }
    }
    Err(io::Error::other("the proxy gave no metrics"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Command, String> {
        Command::parse(
            &line
                .split_whitespace()
                .map(str::to_owned)
                .collect::<Vec<_>>(),
        )
    }

    #[test]
    fn arguments_are_parsed_or_refused_by_name() {
        let serve = Command::Serve {
            directory: PathBuf::from("/state"),
            port: 80,
            metrics: Some(SocketAddr::from(([127, 0, 0, 1], 9464))),
            workers: 2,
        };
        let line = "serve --state-dir /state --http-port=80 --metrics 127.0.0.1:9464 --workers 2";
        assert_eq!(parse(line), Ok(serve));
        assert_eq!(
            parse("connect --state-dir=/s"),
            Ok(Command::Connect {
                directory: PathBuf::from("/s")
            })
        );
        for (line, reason) in [
            ("", "a command is missing"),
            ("fly", "fly is no command"),
            ("connect", "--state-dir is missing"),
            (
                "connect --http-port 1",
                "--http-port is no flag of this command",
            ),
            ("serve --state-dir", "--state-dir needs a value"),
            (
                "serve --state-dir /s --http-port 99999",
                "--http-port must be a number, not 99999",
            ),
        ] {
            assert_eq!(parse(line), Err(reason.to_owned()), "{line}");
        }
    }
}
