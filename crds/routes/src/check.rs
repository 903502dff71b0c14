//! How the instances of a revision are checked, in Kubernetes' terms and with its defaults.
//!
//! Owns the shape and the cadence. Must not know how a check is made. Invariant: cadence is a pure function of the
//! check, of whether there was a success, and of the time since the first attempt.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::limit::{FAST_CHECK, FAST_CHECK_SPAN, SLOW_START_CHECK};

/// A readiness check and its thresholds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Check {
    /// What is asked of the instance.
    pub probe: Probe,
    /// Seconds between checks once there was a success.
    #[serde(default = "ten")]
    pub period_seconds: u32,
    /// Seconds for one whole check, connect included.
    #[serde(default = "one")]
    pub timeout_seconds: u32,
    /// Failures in a row that make a ready instance unready.
    #[serde(default = "three")]
    pub failure_threshold: u32,
    /// Successes in a row that make an instance ready.
    #[serde(default = "one")]
    pub success_threshold: u32,
    /// Seconds from when the proxy learns of the instance's start to the first check.
    #[serde(default)]
    pub initial_delay_seconds: u32,
}

/// One question to an instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all_fields = "camelCase")]
pub enum Probe {
    /// GET over plain HTTP/1.1; 200 to 399 is a success. Redirects are not followed.
    Http {
        /// Path and query, beginning with a slash.
        path: String,
        /// Port of the instance.
        port: u16,
        /// Sent as they are; without a `Host` the address and port are sent.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        headers: Vec<CheckHeader>,
    },
    /// A connection that is accepted.
    Tcp {
        /// Port of the instance.
        port: u16,
    },
}

/// A header of an HTTP check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckHeader {
    /// Name.
    pub name: String,
    /// Value.
    pub value: String,
}

impl Check {
    /// A check with Kubernetes' defaults: every 10 s, time-out 1 s, three failures, one success, no delay.
    pub fn new(probe: Probe) -> Self {
        Check {
            probe,
            period_seconds: 10,
            timeout_seconds: 1,
            failure_threshold: 3,
            success_threshold: 1,
            initial_delay_seconds: 0,
        }
    }

    /// Time from the start of one check to the start of the next. Before readiness was first reached it is fast, then
    /// once a second, and never slower than the period; afterwards it is the period.
    pub fn interval(&self, was_ready: bool, since_first: Duration) -> Duration {
        let period = Duration::from_secs(u64::from(self.period_seconds.max(1)));
        if was_ready {
            period
        } else if since_first < FAST_CHECK_SPAN {
            FAST_CHECK.min(period)
        } else {
            SLOW_START_CHECK.min(period)
        }
    }

    /// Time allowed for one check.
    pub fn timeout(&self) -> Duration {
        Duration::from_secs(u64::from(self.timeout_seconds.max(1)))
    }

    /// Delay before the first check.
    pub fn initial_delay(&self) -> Duration {
        Duration::from_secs(u64::from(self.initial_delay_seconds))
    }
}

fn ten() -> u32 {
    10
}

fn three() -> u32 {
    3
}

fn one() -> u32 {
    1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cadence_is_fast_until_ready_and_never_slower_than_the_period() {
        let mut check = Check::new(Probe::Tcp { port: 1 });
        assert_eq!(
            check.interval(false, Duration::ZERO),
            Duration::from_millis(100)
        );
        assert_eq!(
            check.interval(false, Duration::from_secs(30)),
            Duration::from_secs(1)
        );
        assert_eq!(
            check.interval(true, Duration::ZERO),
            Duration::from_secs(10)
        );
        check.period_seconds = 1;
        assert_eq!(
            check.interval(false, Duration::from_secs(99)),
            Duration::from_secs(1)
        );
    }
}
