//! A server on a directory, to be driven by hand: `cargo run -p apiserver --example serve -- DIR [ADDRESS]`.
//!
//! It prints where the kubeconfig is and runs until it is interrupted.

use std::path::PathBuf;

use apiserver::{Config, Server, Storage};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let directory = PathBuf::from(arguments.next().ok_or("usage: serve DIR [ADDRESS]")?);
    let address = arguments.next().unwrap_or_else(|| "127.0.0.1:0".to_owned());
    let kubeconfig = directory.join("kubeconfig");
    let server = Server::start(Config {
        listen: vec![address.parse()?],
        kubeconfig: Some(kubeconfig.clone()),
        ..Config::new(Storage::Directory(directory))
    })
    .await?;
    for address in server.addresses() {
        println!(
            "listening on {address}, kubeconfig {}",
            kubeconfig.display()
        );
    }
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted?,
        _terminated = terminate.recv() => {}
    }
    server.shutdown().await;
    Ok(())
}
