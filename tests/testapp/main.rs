//! The application that tests, demo and benchmarks deploy.
//!
//! A small HTTP/1.1 server for an image of one static file, as good or as bad as its environment tells it to be (see
//! [`settings`]). As PID 1 it ends on SIGTERM: it answers what it has begun and refuses the rest. It knows nothing of
//! Mooring. A package of its own, so that it can be built static and optimised without the rest of the tree.
//!
//! Its first argument chooses another program, since such an image has no shell and no tools:
//! `healthcheck [PATH]` asks the server beside it, `echo` copies stdin to stdout, `print TEXT` writes to both outputs,
//! `exit CODE` ends at once and `hold` lives until a signal.

mod commands;
mod routes;
mod settings;
mod websocket;

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time;

use routes::App;
use settings::Settings;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match Settings::read(|name| std::env::var(name).ok()) {
        Ok(settings) if arguments.is_empty() => serve(settings).await,
        Ok(settings) => commands::run(&arguments, &settings).await,
        Err(problem) => {
            eprintln!("testapp: {problem}");
            ExitCode::from(2)
        }
    }
}

/// Serves until SIGTERM, SIGINT or the end that the settings name.
async fn serve(settings: Settings) -> ExitCode {
    if let Some(end) = settings.exit.filter(|end| end.after.is_zero()) {
        println!(
            "version {} exits at once with {}",
            settings.version, end.code
        );
        return ExitCode::from(end.code);
    }
    let (Ok(mut terminate), Ok(mut interrupt)) = (
        signal(SignalKind::terminate()),
        signal(SignalKind::interrupt()),
    ) else {
        eprintln!("testapp: cannot listen for signals");
        return ExitCode::from(2);
    };
    let address = SocketAddr::from(([0, 0, 0, 0], settings.port));
    let listener = match TcpListener::bind(address).await {
        Ok(listener) => listener,
        Err(error) => {
            eprintln!("testapp: cannot listen on {address}: {error}");
            return ExitCode::from(2);
        }
    };
    println!("version {} listens on {address}", settings.version);
    let app = Arc::new(App::new(settings.clone()));
    let (stop, stopping) = watch::channel(false);
    let mut connections = JoinSet::new();
    let end = async {
        match settings.exit {
            Some(end) => {
                time::sleep(end.after).await;
                end.code
            }
            None => std::future::pending().await,
        }
    };
    tokio::pin!(end);
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => { connections.spawn(connection(stream, Arc::clone(&app), stopping.clone())); }
                Err(error) => eprintln!("testapp: accept: {error}"),
            },
            Some(_) = connections.join_next() => {}
            code = &mut end => {
                println!("version {} exits with {code}", settings.version);
                return ExitCode::from(code);
            }
            _ = terminate.recv() => if settings.ignores_term { println!("SIGTERM ignored") } else { break },
            _ = interrupt.recv() => break,
        }
    }
    println!(
        "version {} stops with {} requests in hand",
        settings.version,
        app.in_hand.load(Ordering::Relaxed)
    );
    drop(listener);
    stop.send_replace(true);
    time::sleep(settings.stop_takes).await;
    while connections.join_next().await.is_some() {}
    println!("version {} stopped", settings.version);
    ExitCode::SUCCESS
}

/// Serves one connection; after the stop it ends with the answer that is being made.
async fn connection(stream: TcpStream, app: Arc<App>, mut stopping: watch::Receiver<bool>) {
    // Without it small answers wait for the other side's delayed acknowledgement.
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request| routes::answer(Arc::clone(&app), request));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    tokio::pin!(connection);
    tokio::select! {
        // The other side may go away at any time; that is no failure of this one.
        _ = connection.as_mut() => return,
        _ = stopping.wait_for(|stop| *stop) => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}
