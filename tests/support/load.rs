//! The ledger as a process: the load that runs beside a story.
//!
//! Owns one `ledger` and its standard input. What counts as lost is the ledger's to say.

use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use serde::Deserialize;

use crate::program;

/// How long the ledger may take to close its book.
const CLOSING: Duration = Duration::from_secs(15);

/// A running load. Dropping it ends it.
#[derive(Debug)]
pub struct Load {
    child: Child,
    control: Option<ChildStdin>,
    summary: Option<JoinHandle<String>>,
}

/// What the ledger booked; the fields that tests judge by.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Booked {
    /// Good answers.
    pub answered: u64,
    /// Everything that counts as lost.
    pub lost: u64,
    /// The lost requests by cause, in the ledger's words.
    #[serde(default)]
    pub lost_by: std::collections::BTreeMap<String, u64>,
    /// The first losses in words.
    pub examples: Vec<String>,
    /// Good answers by revision.
    pub by_version: std::collections::BTreeMap<String, u64>,
    /// The longest time without a good answer.
    pub longest_gap_millis: f64,
    /// POSTs with a good answer.
    pub posts_answered: u64,
    /// POSTs that were executed more than once.
    pub posts_executed_twice: u64,
    /// Answered POSTs without a receipt; absent when no receipt came through at all.
    pub posts_without_receipt: Option<u64>,
}

impl Load {
    /// Begins a load of `rate` requests a second for `host` on `port`: 10 % on connections of their own, 10 % POSTs
    /// with receipts. `versions` may answer.
    ///
    /// # Panics
    /// The ledger is not in `dist`.
    pub fn begin(dist: &Path, port: u16, host: &str, rate: u32, versions: &[&str]) -> Load {
        let mut child = Command::new(dist.join("ledger"))
            .args(["--connect-to", &format!("127.0.0.1:{port}")])
            .args(["--host", host, "--rate", &rate.to_string()])
            .args(["--posts", "10", "--fresh", "10", "--receipts", "--stdin"])
            .args(["--allow", &versions.join(",")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .expect("the ledger runs; .ci/dist builds it");
        let control = child.stdin.take();
        let mut stdout = child.stdout.take().expect("it is piped");
        let summary = thread::spawn(move || {
            let mut text = String::new();
            // An early end leaves no summary, which the caller notices.
            let _ = stdout.read_to_string(&mut text);
            text
        });
        Load {
            child,
            control,
            summary: Some(summary),
        }
    }

    /// From now on these versions may answer.
    ///
    /// # Panics
    /// The ledger has ended.
    pub fn allow(&mut self, versions: &[&str]) {
        let control = self.control.as_mut().expect("the load goes on");
        writeln!(control, "allow {}", versions.join(" ")).expect("the ledger listens");
    }

    /// Ends the load and gives its book.
    ///
    /// # Panics
    /// The ledger printed none.
    pub fn end(mut self) -> Booked {
        drop(self.control.take());
        program::until("the ledger closes its book", CLOSING, || {
            match self.child.try_wait().expect("a child of ours") {
                Some(_) => Ok(()),
                None => Err("it goes on".to_owned()),
            }
        });
        let summary = self.summary.take().expect("it is taken once");
        let text = summary.join().expect("reading does not panic");
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("no summary: {error}: {text}"))
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Booked {
    /// The one line that a run is remembered by.
    pub fn line(&self) -> String {
        format!(
            "{} answered, {} lost, longest gap {:.0} ms, by version {:?}, {} POSTs answered, {} executed twice, {} without receipt",
            self.answered,
            self.lost,
            self.longest_gap_millis,
            self.by_version,
            self.posts_answered,
            self.posts_executed_twice,
            self.posts_without_receipt
                .map_or("receipts not watched".to_owned(), |count| count.to_string()),
        )
    }

    /// No answer came from another application and nothing was done twice; answers were missing for no longer than
    /// `gap` at a time, and no more than were due in `lost_for`, at `rate` a second.
    ///
    /// # Panics
    /// Otherwise, with the first losses.
    pub fn assert_bounded(&self, rate: u32, gap: Duration, lost_for: Duration) {
        let examples = self.examples.join("\n  ");
        assert_eq!(
            self.lost_by.get("wrongVersion"),
            None,
            "another application answered:\n  {examples}"
        );
        assert_eq!(self.posts_executed_twice, 0, "POSTs were executed twice");
        assert!(
            self.longest_gap_millis <= gap.as_secs_f64() * 1e3,
            "nothing answered for {:.0} ms",
            self.longest_gap_millis
        );
        let most = f64::from(rate) * lost_for.as_secs_f64();
        assert!(
            self.lost as f64 <= most,
            "{} requests were lost, more than {most:.0}:\n  {examples}",
            self.lost
        );
    }

    /// No more than `lost` were lost, no answer came from another application and nothing was done twice.
    ///
    /// # Panics
    /// Otherwise, with the first losses.
    pub fn assert_at_most(&self, lost: u64) {
        let examples = self.examples.join("\n  ");
        assert!(
            self.lost <= lost,
            "{} requests were lost, more than {lost}:\n  {examples}",
            self.lost
        );
        assert_eq!(self.lost_by.get("wrongVersion"), None, "{examples}");
        assert!(self.answered > 0, "nothing was asked");
        assert_eq!(self.posts_executed_twice, 0, "POSTs were executed twice");
    }

    /// Nothing was lost and nothing done twice, and that was watched.
    ///
    /// # Panics
    /// Otherwise, with the first losses.
    pub fn assert_clean(&self) {
        assert_eq!(
            self.lost,
            0,
            "requests were lost:\n  {}",
            self.examples.join("\n  ")
        );
        assert!(self.answered > 0, "nothing was asked");
        assert_eq!(self.posts_executed_twice, 0, "POSTs were executed twice");
        assert_eq!(
            self.posts_without_receipt,
            Some(0),
            "the proof that no POST was executed twice has a hole"
        );
    }
}
