//! How a load is steered while it runs: signals, and lines on standard input.
//!
//! Owns the words `allow VERSION...`. Everything it hears becomes either a new set of allowed revisions or the
//! end of the load; it knows nothing of requests.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// The revisions that may answer. Empty: any.
pub type Allowed = Arc<BTreeSet<String>>;

/// Whether `version` may answer under `allowed`.
#[must_use]
pub fn allows(allowed: &Allowed, version: &str) -> bool {
    allowed.is_empty() || allowed.contains(version)
}

/// The set that comma-separated versions name.
#[must_use]
pub fn allowed(versions: &[String]) -> Allowed {
    Arc::new(
        versions
            .iter()
            .filter(|version| !version.is_empty())
            .cloned()
            .collect(),
    )
}

/// Ends the load after `duration`, if there is one, and on SIGTERM or SIGINT.
///
/// # Errors
/// A signal cannot be caught.
pub fn end_on_time_or_signal(
    duration: Option<Duration>,
    stop: CancellationToken,
) -> io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::spawn(async move {
        let end = async {
            match duration {
                Some(duration) => tokio::time::sleep(duration).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = end => {}
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            () = stop.cancelled() => {}
        }
        stop.cancel();
    });
    Ok(())
}

/// Follows standard input: `allow A B` replaces the allowed revisions for requests that are due from then on, and
/// its end ends the load. An unknown line is an error, since a check that is silently off proves nothing.
pub fn follow_stdin(allowed: watch::Sender<Allowed>, stop: CancellationToken) {
    tokio::spawn(async move {
        let mut lines = BufReader::new(tokio::io::stdin()).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            match parse(&line) {
                Some(set) => {
                    allowed.send_replace(set);
                }
                None => {
                    eprintln!("ledger: unknown line on standard input: {line:?}");
                    break;
                }
            }
        }
        stop.cancel();
    });
}

fn parse(line: &str) -> Option<Allowed> {
    let mut words = line.split_whitespace();
    (words.next() == Some("allow")).then(|| Arc::new(words.map(str::to_owned).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn allow_names_the_set_and_nothing_else_is_understood() {
        let set = parse("allow 1.0 2.0").expect("a known word");
        assert!(allows(&set, "2.0") && !allows(&set, "3.0"));
        assert!(allows(&parse("allow").expect("a known word"), "anything"));
        assert!(parse("forbid 1.0").is_none());
        assert!(parse("").is_none());
    }
}
