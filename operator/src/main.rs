//! `mooring`: arguments in, one command run, an exit code out.

use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use clap::Parser as _;
use operator::args::{Arguments, Command, Logs};
use operator::{alone, api, gate, logs, telemetry, up};

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    telemetry::start(arguments.log_format);
    match run(arguments.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("mooring: {}", words(&error));
            ExitCode::FAILURE
        }
    }
}

/// The error and its causes, each once: some say in their own words what their cause says.
fn words(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if text.is_empty() {
            text = cause;
        } else if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

fn run(command: Command) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    runtime.block_on(async {
        match command {
            Command::Up(arguments) => Ok(up::run(&arguments).await?),
            Command::Operator(arguments) => Ok(alone::run(&arguments).await?),
            Command::Crds => print_crds(),
            Command::Logs(arguments) => show_logs(&arguments).await,
        }
    })
}

/// The definitions as YAML documents.
fn print_crds() -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    for definition in crds::all() {
        let text =
            serde_saphyr::to_string(&definition).context("a definition cannot be written")?;
        write!(out, "---\n{text}").context("cannot write")?;
    }
    Ok(())
}

async fn show_logs(arguments: &Logs) -> anyhow::Result<()> {
    let (config, _) = alone::config(arguments.kubeconfig.as_deref()).await?;
    let ask = logs::Ask {
        namespace: arguments
            .namespace
            .clone()
            .unwrap_or_else(|| config.default_namespace.clone()),
        name: arguments.name.clone(),
        follow: arguments.follow,
        previous: arguments.previous,
        release: arguments.release,
    };
    let client = api::connect(config, Arc::new(gate::Open))?;
    Ok(logs::show(client, &ask, &mut std::io::stdout().lock()).await?)
}
