//! How long to wait before something that failed is tried again.
//!
//! Pure: attempts and a random number in, a duration out. Owns the bounds and the source of jitter. It must not know
//! what is tried again. Invariant: a wait is never shorter than a tenth of its bound and never longer than it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The bounds of a row of waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// The longest wait after the first failure.
    pub first: Duration,
    /// The longest wait after any failure.
    pub most: Duration,
}

/// Steps and passes that failed: quick at first, since most causes are short; five minutes at most, so that a cause
/// that went away is found soon.
pub const STEP: Backoff = Backoff {
    first: Duration::from_secs(1),
    most: Duration::from_secs(300),
};

/// Connections to Engines and proxies: a restart of either takes seconds.
pub const CONNECT: Backoff = Backoff {
    first: Duration::from_millis(250),
    most: Duration::from_secs(15),
};

/// The part of a bound that is always waited, so that a cause of some milliseconds is not hit by every try.
const LEAST: u32 = 10;

impl Backoff {
    /// The wait after `attempts` failures in a row, by full jitter: anything up to the bound, which doubles each time.
    ///
    /// `random` is any 64 random bits.
    pub fn delay(&self, attempts: u32, random: u64) -> Duration {
        let doublings = attempts.saturating_sub(1).min(31);
        let bound = self.first.saturating_mul(1 << doublings).min(self.most);
        let least = bound / LEAST;
        let span = u64::try_from((bound - least).as_micros()).unwrap_or(u64::MAX);
        let part = (u128::from(random) * u128::from(span)) >> 64;
        least + Duration::from_micros(u64::try_from(part).unwrap_or(span))
    }
}

/// `period`, up to a fifth shorter or longer, so that many objects do not move in step.
pub fn spread(period: Duration, random: u64) -> Duration {
    let fifth = period / 5;
    let span = u64::try_from((fifth * 2).as_micros()).unwrap_or(u64::MAX);
    let part = (u128::from(random) * u128::from(span)) >> 64;
    period - fifth + Duration::from_micros(u64::try_from(part).unwrap_or(span))
}

/// A row of random numbers from a seed (SplitMix64). Not for secrets.
#[derive(Debug)]
pub struct Jitter(AtomicU64);

impl Jitter {
    /// The same seed gives the same row.
    pub fn new(seed: u64) -> Jitter {
        Jitter(AtomicU64::new(seed))
    }

    /// The next 64 bits.
    pub fn next(&self) -> u64 {
        const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
        let mut bits = self.0.fetch_add(STEP, Ordering::Relaxed).wrapping_add(STEP);
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_doubles_up_to_the_limit_and_jitter_stays_inside() {
        for (attempts, seconds) in [
            (0, 1),
            (1, 1),
            (2, 2),
            (3, 4),
            (9, 256),
            (10, 300),
            (u32::MAX, 300),
        ] {
            let bound = Duration::from_secs(seconds);
            assert_eq!(STEP.delay(attempts, 0), bound / 10, "{attempts}");
            let most = STEP.delay(attempts, u64::MAX);
            assert!(
                most <= bound && most > bound * 99 / 100,
                "{attempts}: {most:?}"
            );
        }
    }

    #[test]
    fn spread_is_a_fifth_to_either_side() {
        let period = Duration::from_secs(300);
        assert_eq!(spread(period, 0), Duration::from_secs(240));
        let most = spread(period, u64::MAX);
        assert!(most <= Duration::from_secs(360) && most > Duration::from_secs(359));
    }

    #[test]
    fn a_seed_gives_one_row() {
        let row = |seed| {
            let jitter = Jitter::new(seed);
            [jitter.next(), jitter.next(), jitter.next()]
        };
        assert_eq!(row(7), row(7));
        assert_ne!(row(7), row(8));
    }
}
