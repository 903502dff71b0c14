//! How long answers took, in a fixed amount of memory however many there are.
//!
//! Owns nothing but counts: each power of two of microseconds is cut into 32 buckets, so a reading is at most
//! about 3 % off. It knows no requests.

/// Buckets per power of two: the relative error of a reading is at most one in this many.
const BUCKETS_PER_OCTAVE: u64 = 32;
/// Powers of two covered: 2^36 microseconds are 19 hours, longer than any request is waited for.
const OCTAVES: u64 = 36;

/// Counts of durations in microseconds.
#[derive(Debug, Clone)]
pub struct Histogram {
    counts: Vec<u64>,
    total: u64,
    max: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        let buckets = usize::try_from(BUCKETS_PER_OCTAVE * OCTAVES).expect("a small constant");
        Self {
            counts: vec![0; buckets],
            total: 0,
            max: 0,
        }
    }
}

impl Histogram {
    /// Counts one duration.
    pub fn record(&mut self, micros: u64) {
        let last = self.counts.len() - 1;
        self.counts[bucket(micros).min(last)] += 1;
        self.total += 1;
        self.max = self.max.max(micros);
    }

    /// The duration in microseconds that `share` (0 to 1) of all durations do not exceed; 0 when there are none.
    #[must_use]
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a rank is rounded anyway, and a count of requests is far below 2^52"
    )]
    pub fn quantile(&self, share: f64) -> u64 {
        let rank = (share.clamp(0.0, 1.0) * self.total as f64).ceil() as u64;
        let mut seen = 0;
        for (index, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= rank && *count > 0 {
                return upper_bound(index).min(self.max);
            }
        }
        self.max
    }

    /// The longest duration in microseconds.
    #[must_use]
    pub fn max(&self) -> u64 {
        self.max
    }
}

/// The bucket of a duration. Below one octave's worth of buckets each microsecond has its own.
fn bucket(micros: u64) -> usize {
    if micros < BUCKETS_PER_OCTAVE {
        return usize::try_from(micros).unwrap_or(usize::MAX);
    }
    let octave = u64::from(micros.ilog2() - BUCKETS_PER_OCTAVE.ilog2());
    let within = (micros >> octave) - BUCKETS_PER_OCTAVE;
    usize::try_from((octave + 1) * BUCKETS_PER_OCTAVE + within).unwrap_or(usize::MAX)
}

/// The largest duration that falls into a bucket.
fn upper_bound(index: usize) -> u64 {
    let index = u64::try_from(index).unwrap_or(u64::MAX);
    if index < BUCKETS_PER_OCTAVE {
        return index;
    }
    let octave = index / BUCKETS_PER_OCTAVE - 1;
    let within = index % BUCKETS_PER_OCTAVE;
    ((BUCKETS_PER_OCTAVE + within + 1) << octave) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reading_is_at_most_one_bucket_above_the_truth() {
        let mut histogram = Histogram::default();
        for micros in 1..=100_000 {
            histogram.record(micros);
        }
        for (share, truth) in [(0.5, 50_000), (0.99, 99_000), (1.0, 100_000)] {
            let read = histogram.quantile(share);
            assert!(
                read >= truth && read <= truth + truth / BUCKETS_PER_OCTAVE,
                "{share}: {read}"
            );
        }
        assert_eq!(histogram.max(), 100_000);
        assert_eq!(Histogram::default().quantile(0.99), 0);
    }

    #[test]
    fn every_duration_lies_in_the_bucket_it_is_counted_in() {
        for micros in (0..2_000).chain([65_535, 65_536, 5_000_000]) {
            let index = bucket(micros);
            assert!(micros <= upper_bound(index), "{micros}");
            assert!(index == 0 || micros > upper_bound(index - 1), "{micros}");
        }
    }
}
