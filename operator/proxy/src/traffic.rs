//! Counters of one revision.
//!
//! Owns what is counted and when. Must not know how it is shown. Invariant: every request given to an instance ends
//! as exactly one answer, failure, time-out or cut, or as nothing when its client went away.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use routes::Traffic;
use routes::limit::{LATENCY_BOUNDS_MICROS, LATENCY_BUCKETS};

/// Counters that requests add to without a lock.
#[derive(Debug, Default)]
pub struct Counters {
    requests: AtomicU64,
    answers: [AtomicU64; 5],
    failed: AtomicU64,
    timed_out: AtomicU64,
    cut: AtomicU64,
    retried: AtomicU64,
    latency: [AtomicU64; LATENCY_BUCKETS],
    latency_micros: AtomicU64,
}

impl Counters {
    /// A request was given to an instance.
    pub fn request(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    /// An instance answered with this status after this time.
    pub fn answer(&self, status: http::StatusCode, took: Duration) {
        let class = usize::from(status.as_u16() / 100).clamp(1, 5) - 1;
        self.answers[class].fetch_add(1, Ordering::Relaxed);
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = LATENCY_BOUNDS_MICROS.partition_point(|bound| *bound < micros);
        self.latency[bucket].fetch_add(1, Ordering::Relaxed);
        self.latency_micros.fetch_add(micros, Ordering::Relaxed);
    }

    /// A request ended with a 502 or 503 of ours.
    pub fn failed(&self) {
        self.failed.fetch_add(1, Ordering::Relaxed);
    }

    /// A request ended with a 504 of ours.
    pub fn timed_out(&self) {
        self.timed_out.fetch_add(1, Ordering::Relaxed);
    }

    /// A request or stream was cut at its drain limit.
    pub fn cut(&self) {
        self.cut.fetch_add(1, Ordering::Relaxed);
    }

    /// An attempt was repeated.
    pub fn retried(&self) {
        self.retried.fetch_add(1, Ordering::Relaxed);
    }

    /// The counts so far.
    pub fn read(&self) -> Traffic {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Traffic {
            requests: load(&self.requests),
            answers: self.answers.each_ref().map(load),
            failed: load(&self.failed),
            timed_out: load(&self.timed_out),
            cut: load(&self.cut),
            retried: load(&self.retried),
            latency: self.latency.each_ref().map(load),
            latency_micros: load(&self.latency_micros),
        }
    }
}
