//! The book of a load: what was sent, what was answered by whom, what was lost and how.
//!
//! Owns the counts and what they mean; it never touches a socket and takes every time from its caller.
//! Invariant: each request that was due is booked exactly once, as answered or as one kind of loss.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use http::StatusCode;
use serde::Serialize;

use crate::histogram::Histogram;

/// The different statuses and versions that are told apart; the rest is counted under `other`, so that an answer
/// that is different each time cannot fill the memory.
const NAMES_LIMIT: usize = 64;
/// Losses that are kept with their words; the rest is only counted.
const EXAMPLES_LIMIT: usize = 20;

/// Why a request counts as lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Loss {
    /// No connection could be made.
    Refused(String),
    /// The connection ended before the whole answer was there.
    Reset(String),
    /// No whole answer within the limit.
    Late,
    /// An answer that was not a 2xx.
    Status(StatusCode),
    /// A 2xx by a revision outside the allowed set.
    WrongVersion(String),
    /// Too many requests were waiting for an answer already, so this one was not sent. The proof is void.
    NotSent,
}

impl Loss {
    /// The key under which it is counted.
    fn key(&self) -> &'static str {
        match self {
            Self::Refused(_) => "refused",
            Self::Reset(_) => "reset",
            Self::Late => "late",
            Self::Status(_) => "status",
            Self::WrongVersion(_) => "wrongVersion",
            Self::NotSent => "notSent",
        }
    }
}

impl std::fmt::Display for Loss {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Refused(cause) => write!(f, "connection refused: {cause}"),
            Self::Reset(cause) => write!(f, "connection ended: {cause}"),
            Self::Late => f.write_str("no answer in time"),
            Self::Status(status) => write!(f, "status {status}"),
            Self::WrongVersion(version) => write!(f, "answered by {version:?}"),
            Self::NotSent => f.write_str("not sent, too many requests were waiting"),
        }
    }
}

/// The counts of one load.
#[derive(Debug)]
pub struct Book {
    started: Instant,
    last_answer: Instant,
    answered: u64,
    lost: BTreeMap<&'static str, u64>,
    examples: Vec<String>,
    versions: BTreeMap<String, u64>,
    longest_gap: Duration,
    longest_gap_at: Duration,
    latency: Histogram,
    posts_answered: u64,
    streams: Streams,
}

/// What became of the long-lived WebSocket connections.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Streams {
    /// Connections that were made.
    pub opened: u64,
    /// Connections that the other side ended. An update ends streams at their drain limit: that is no loss.
    pub cut: u64,
    /// Attempts to connect that failed. They count as lost.
    pub failed: u64,
    /// Messages that came back.
    pub echoed: u64,
    /// Messages that did not come back in time on a connection that stayed open. They count as lost.
    pub silent: u64,
}

/// The book, closed.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// Seconds from the first request to the end.
    pub seconds: f64,
    /// Requests that were due.
    pub sent: u64,
    /// Requests with a 2xx by an allowed revision within the limit.
    pub answered: u64,
    /// Everything else, with the streams' losses.
    pub lost: u64,
    /// The lost requests by cause.
    pub lost_by: BTreeMap<&'static str, u64>,
    /// The first losses in words.
    pub examples: Vec<String>,
    /// Good answers by revision.
    pub by_version: BTreeMap<String, u64>,
    /// The longest time without a good answer.
    pub longest_gap_millis: f64,
    /// Seconds from the start to the beginning of that gap.
    pub longest_gap_at_seconds: f64,
    /// From the time a request was due to its whole answer.
    pub latency_millis: Latency,
    /// POSTs with a good answer.
    pub posts_answered: u64,
    /// POSTs that more than one execution was reported of.
    pub posts_executed_twice: u64,
    /// POSTs with a good answer of which no execution was reported: the proof against double execution has a hole.
    /// Absent when no receipts were asked for, or when not one came through (a firewall): then nothing was watched.
    pub posts_without_receipt: Option<u64>,
    /// The WebSocket connections.
    pub streams: Streams,
}

/// Latencies in milliseconds.
#[derive(Debug, Clone, Serialize)]
pub struct Latency {
    /// The median.
    pub p50: f64,
    /// 99 of 100 were not longer.
    pub p99: f64,
    /// The longest.
    pub max: f64,
}

impl Book {
    /// Opens the book.
    #[must_use]
    pub fn open(now: Instant) -> Self {
        Self {
            started: now,
            last_answer: now,
            answered: 0,
            lost: BTreeMap::new(),
            examples: Vec::new(),
            versions: BTreeMap::new(),
            longest_gap: Duration::ZERO,
            longest_gap_at: Duration::ZERO,
            latency: Histogram::default(),
            posts_answered: 0,
            streams: Streams::default(),
        }
    }

    /// A good answer by `version` to a request that was due at `due`.
    pub fn answered(&mut self, version: &str, post: bool, due: Instant, now: Instant) {
        self.gap(now);
        self.last_answer = now;
        self.answered += 1;
        self.posts_answered += u64::from(post);
        self.latency
            .record(micros(now.saturating_duration_since(due)));
        let known = self.versions.contains_key(version) || self.versions.len() < NAMES_LIMIT;
        *self
            .versions
            .entry(if known { version } else { "other" }.to_owned())
            .or_default() += 1;
    }

    /// A request that was lost.
    pub fn lost(&mut self, id: &str, loss: &Loss, now: Instant) {
        *self.lost.entry(loss.key()).or_default() += 1;
        if self.examples.len() < EXAMPLES_LIMIT {
            let at = now.saturating_duration_since(self.started).as_secs_f64();
            self.examples
                .push(format!("{at:.3} s, request {id}: {loss}"));
        }
    }

    /// The streams' own counts.
    pub fn streams(&mut self) -> &mut Streams {
        &mut self.streams
    }

    /// One line on how it stands.
    #[must_use]
    pub fn standing(&self, now: Instant) -> String {
        let seconds = now.saturating_duration_since(self.started).as_secs();
        let lost: u64 = self.lost.values().sum();
        format!(
            "{seconds} s: {} answered, {lost} lost; {}",
            self.answered,
            list(&self.versions)
        )
    }

    /// Closes the book. `executed` is how often each POST was reported as executed, if receipts were asked for:
    /// the number of ids reported, and the number of ids reported more than once.
    #[must_use]
    pub fn close(mut self, receipts: Option<Receipts>, now: Instant) -> Summary {
        self.gap(now);
        let lost: u64 = self.lost.values().sum::<u64>() + self.streams.failed + self.streams.silent;
        let requests_lost: u64 = self.lost.values().sum();
        Summary {
            seconds: now.saturating_duration_since(self.started).as_secs_f64(),
            sent: self.answered + requests_lost,
            answered: self.answered,
            lost,
            lost_by: self.lost,
            examples: self.examples,
            by_version: self.versions,
            longest_gap_millis: self.longest_gap.as_secs_f64() * 1e3,
            longest_gap_at_seconds: self.longest_gap_at.as_secs_f64(),
            latency_millis: Latency {
                p50: millis(self.latency.quantile(0.5)),
                p99: millis(self.latency.quantile(0.99)),
                max: millis(self.latency.max()),
            },
            posts_answered: self.posts_answered,
            posts_executed_twice: receipts.map_or(0, |receipts| receipts.twice),
            posts_without_receipt: receipts
                .filter(|receipts| receipts.answered > 0 || self.posts_answered == 0)
                .map(|receipts| self.posts_answered.saturating_sub(receipts.answered)),
            streams: self.streams,
        }
    }

    fn gap(&mut self, now: Instant) {
        let gap = now.saturating_duration_since(self.last_answer);
        if gap > self.longest_gap {
            self.longest_gap = gap;
            self.longest_gap_at = self.last_answer.saturating_duration_since(self.started);
        }
    }
}

/// What the receipts say.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Receipts {
    /// POSTs with a good answer that were reported at least once.
    pub answered: u64,
    /// POSTs that were reported more than once.
    pub twice: u64,
}

impl Summary {
    /// Whether nothing was lost, answered by the wrong revision or executed twice, and the proof has no hole.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.lost == 0
            && self.answered > 0
            && self.posts_executed_twice == 0
            && self.posts_without_receipt.unwrap_or(0) == 0
    }

    /// The summary for a person.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        let mut row = |name: &str, value: String| {
            text.push_str(&format!("  {name:<26}{value}\n"));
        };
        row(
            "requests answered",
            format!("{} in {:.1} s", self.answered, self.seconds),
        );
        row("requests lost", lost_text(self));
        row(
            "longest gap",
            format!(
                "{:.0} ms, {:.1} s in",
                self.longest_gap_millis, self.longest_gap_at_seconds
            ),
        );
        row("answered by version", list(&self.by_version));
        row(
            "latency p50, p99, max",
            format!(
                "{:.1}, {:.1}, {:.1} ms",
                self.latency_millis.p50, self.latency_millis.p99, self.latency_millis.max
            ),
        );
        if self.posts_answered > 0 {
            row("POSTs answered", format!("{}", self.posts_answered));
            let hole = match self.posts_without_receipt {
                None => " (not watched: no receipts)".to_owned(),
                Some(0) => String::new(),
                Some(missing) => format!(", {missing} without a receipt"),
            };
            row(
                "POSTs executed twice",
                format!("{}{hole}", self.posts_executed_twice),
            );
        }
        if self.streams.opened + self.streams.failed > 0 {
            let Streams {
                opened,
                cut,
                failed,
                echoed,
                silent,
            } = &self.streams;
            row(
                "WebSockets",
                format!(
                    "{opened} opened, {cut} ended by the other side, {failed} refused, {echoed} echoes, {silent} missing"
                ),
            );
        }
        for example in &self.examples {
            row("lost at", example.clone());
        }
        text
    }
}

fn lost_text(summary: &Summary) -> String {
    if summary.lost_by.is_empty() {
        return summary.lost.to_string();
    }
    let causes: Vec<_> = summary
        .lost_by
        .iter()
        .map(|(cause, count)| format!("{cause} {count}"))
        .collect();
    format!("{} ({})", summary.lost, causes.join(", "))
}

fn list(versions: &BTreeMap<String, u64>) -> String {
    let parts: Vec<_> = versions
        .iter()
        .map(|(version, count)| format!("{version}: {count}"))
        .collect();
    if parts.is_empty() {
        "none".to_owned()
    } else {
        parts.join(", ")
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a latency in microseconds is far below 2^52"
)]
fn millis(micros: u64) -> f64 {
    micros as f64 / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_request_is_booked_once_and_the_longest_gap_reaches_to_the_end() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut book = Book::open(start);
        book.answered("1.0", true, at(10), at(12));
        book.lost("b", &Loss::Late, at(20));
        book.answered("2.0", false, at(100), at(101));
        let receipts = Receipts {
            answered: 1,
            twice: 0,
        };
        let summary = book.close(Some(receipts), at(401));
        assert_eq!((summary.sent, summary.answered, summary.lost), (3, 2, 1));
        assert!((summary.longest_gap_millis - 300.0).abs() < 1.0);
        assert!((summary.longest_gap_at_seconds - 0.101).abs() < 0.001);
        assert_eq!(summary.by_version.len(), 2);
        assert!(!summary.is_clean());
    }

    #[test]
    fn a_post_without_a_receipt_or_with_two_spoils_the_book() {
        let start = Instant::now();
        let book = |receipts| {
            let mut book = Book::open(start);
            book.answered("1.0", true, start, start);
            book.answered("1.0", true, start, start);
            book.close(receipts, start).is_clean()
        };
        assert!(book(None));
        assert!(book(Some(Receipts {
            answered: 2,
            twice: 0
        })));
        assert!(!book(Some(Receipts {
            answered: 1,
            twice: 0
        })));
        assert!(!book(Some(Receipts {
            answered: 2,
            twice: 1
        })));
    }

    #[test]
    fn a_load_that_nothing_answered_is_not_clean() {
        let start = Instant::now();
        assert!(!Book::open(start).close(None, start).is_clean());
    }
}
