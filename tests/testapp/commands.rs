//! The other programs in the image: what probes and execs run, since it has no shell.

use std::net::Ipv4Addr;
use std::process::ExitCode;
use std::time::Duration;

use tokio::io::{self, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time;

use crate::settings::Settings;

/// How long `healthcheck` waits for an answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// Runs the program that `arguments` name.
pub async fn run(arguments: &[String], settings: &Settings) -> ExitCode {
    let rest: Vec<&str> = arguments.iter().skip(1).map(String::as_str).collect();
    match (arguments[0].as_str(), rest.as_slice()) {
        ("healthcheck", []) => healthcheck(settings.port, "/ready").await,
        ("healthcheck", [path]) => healthcheck(settings.port, path).await,
        ("echo", []) => match io::copy(&mut io::stdin(), &mut io::stdout()).await {
            Ok(_) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        },
        ("print", [text]) => {
            println!("{text}");
            eprintln!("{text} on stderr");
            ExitCode::SUCCESS
        }
        ("exit", [code]) => ExitCode::from(code.parse().unwrap_or(2)),
        ("hold", []) => hold().await,
        (name, _) => {
            eprintln!("testapp: there is no program {name:?} with these arguments");
            ExitCode::from(2)
        }
    }
}

async fn hold() -> ExitCode {
    println!("holding");
    match signal(SignalKind::terminate()) {
        Ok(mut terminate) => {
            terminate.recv().await;
            ExitCode::SUCCESS
        }
        Err(_) => ExitCode::from(2),
    }
}

async fn healthcheck(port: u16, path: &str) -> ExitCode {
    match time::timeout(PATIENCE, status(port, path)).await {
        Ok(Ok(line)) => {
            println!("{line}");
            if line.contains(" 200 ") {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            }
        }
        Ok(Err(error)) => {
            println!("{error}");
            ExitCode::FAILURE
        }
        Err(_) => {
            println!("no answer in {} s", PATIENCE.as_secs());
            ExitCode::FAILURE
        }
    }
}

/// The status line of the answer.
async fn status(port: u16, path: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer.lines().next().unwrap_or_default().to_owned())
}
