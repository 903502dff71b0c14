//! The log: where it goes and in which form. What is in it, `RUST_LOG` says.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use crate::args::LogFormat;

/// What is logged when `RUST_LOG` says nothing. kube logs each request that fails, which its callers do as well.
const DEFAULT: &str = "info,kube_client=error,kube_runtime=error";

/// Begins to log to stderr. Once per process.
pub fn start(format: LogFormat) {
    let filter = EnvFilter::builder()
        .with_default_directive(LevelFilter::INFO.into())
        .with_env_var(EnvFilter::DEFAULT_ENV)
        .try_from_env()
        .unwrap_or_else(|_| EnvFilter::new(DEFAULT));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    match format {
        LogFormat::Text => log
            .with_target(false)
            .with_ansi(std::io::stderr().is_terminal())
            .init(),
        LogFormat::Json => log.json().flatten_event(true).init(),
    }
}
