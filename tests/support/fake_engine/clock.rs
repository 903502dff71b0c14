//! The fake Engine's time: tokio's clock, so that a test that drives tokio's time drives the Engine too.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

/// Maps tokio's instants to points in time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock {
    epoch: Timestamp,
    origin: Instant,
}

impl Clock {
    /// A clock that shows `epoch` now.
    pub(super) fn starting_at(epoch: Timestamp) -> Clock {
        Clock {
            epoch,
            origin: Instant::now(),
        }
    }

    /// The time as tokio has it.
    pub(super) fn now(&self) -> Timestamp {
        let elapsed = i64::try_from(self.origin.elapsed().as_nanos())
            .expect("tests are shorter than 292 years");
        self.epoch + Duration::from_nanos(u64::try_from(elapsed).expect("time does not go back"))
    }
}

/// What the Engine prints for a time that never came.
const NEVER: &str = "0001-01-01T00:00:00Z";

/// RFC 3339 with the Engine's word for never.
pub(super) fn print(time: Option<Timestamp>) -> String {
    time.map_or_else(|| NEVER.to_owned(), |time| time.to_string())
}

/// Ids like the Engine's: 64 hex digits, the same sequence for the same seed, in no order.
#[derive(Debug)]
pub(super) struct Ids {
    state: u64,
    count: u64,
}

impl Ids {
    /// The sequence of `seed`.
    pub(super) fn new(seed: u64) -> Ids {
        Ids {
            state: seed,
            count: 0,
        }
    }

    /// The next id.
    pub(super) fn next(&mut self) -> String {
        self.count += 1;
        (0..4).map(|_| format!("{:016x}", self.word())).collect()
    }

    /// How many there have been.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// One step of splitmix64.
    fn word(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.state ^ (self.state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}
