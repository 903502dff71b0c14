//! Arithmetic on times: total, in whole seconds where it is stored.
//!
//! Owns rounding. Invariant: a time that is stored and from which a wait counts is rounded up, so
//! that no wait is shorter than promised.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

/// `seconds` after `time`, or the end of all times.
pub(crate) fn after(time: Timestamp, seconds: u32) -> Timestamp {
    time.checked_add(SignedDuration::from_secs(i64::from(seconds)))
        .unwrap_or(Timestamp::MAX)
}

/// The next whole second, or `time` when it is one.
pub(crate) fn recorded(time: Timestamp) -> Time {
    let floor = crds::condition::whole_seconds(time);
    Time(if floor == time { time } else { after(floor, 1) })
}

/// Whole seconds from `earlier` to `later`, rounded up, never negative.
pub(crate) fn seconds_between(earlier: Timestamp, later: Timestamp) -> u32 {
    let span = later.duration_since(earlier);
    let whole = span.as_secs() + i64::from(span.subsec_nanos() > 0);
    u32::try_from(whole.max(0)).unwrap_or(u32::MAX)
}
