//! How an instance that ended is brought back, and when Docker is no longer left to do it.
//!
//! Owns back-off and crash loops. Must not know rollouts. Invariant: two tries after a crash are
//! never closer than the back-off says, and the back-off never exceeds its limit.

use crds::release::InstanceState;
use jiff::Timestamp;

use crate::fact::{ContainerFacts, RestartPolicy};

use super::instance::Instance;
use super::moment;

/// The first pause after a crash, in seconds.
const FIRST_PAUSE: u32 = 10;
/// The longest pause, in seconds: a cause that goes away is noticed within five minutes.
const LONGEST_PAUSE: u32 = 300;
/// Restarts by Docker within [`WINDOW_SECONDS`] after which the instance is ours to bring back:
/// Docker's own pause never exceeds a minute and starts anew after ten seconds of running.
const MOST_RESTARTS: u32 = 3;
/// The span in which restarts are counted, in seconds.
const WINDOW_SECONDS: u32 = 300;

/// What the record counts after [`Restarts::Loop`]: as if it had been brought back twice.
pub(crate) const LOOPED: u32 = 2;

/// When Docker may be left to start an instance again: at once when it is proven, and for one that
/// came back more than once only after it ran for the whole window.
pub(crate) fn armed_at(instance: &Instance, proven: Option<Timestamp>) -> Option<Timestamp> {
    if instance.restarts < LOOPED {
        return proven;
    }
    let started = instance.container()?.started_at?;
    proven.map(|proven| proven.max(moment::after(started, WINDOW_SECONDS)))
}

/// Seconds between the end of a run and the next start. One that did its work when it ended is
/// started at once the first time: it was stopped by hand, or crashed for the first time.
pub(crate) fn pause(instance: &Instance, container: &ContainerFacts) -> u32 {
    let worked = match instance.past.as_ref().map(|past| past.state) {
        Some(
            InstanceState::Serving
            | InstanceState::Draining
            | InstanceState::Stopped
            | InstanceState::Failed,
        )
        | None => true,
        Some(
            InstanceState::Starting
            | InstanceState::Warming
            | InstanceState::BackOff
            | InstanceState::Removing,
        ) => false,
    };
    // Docker leaves one with the policy `always` down only after a stop by hand.
    if container.restart_policy == RestartPolicy::Always || instance.start_is_due() {
        return 0;
    }
    match (worked, instance.restarts) {
        (true, 0) => 0,
        (true, restarts) => doubled(restarts - 1),
        (false, restarts) => doubled(restarts),
    }
}

fn doubled(times: u32) -> u32 {
    FIRST_PAUSE
        .saturating_mul(2_u32.saturating_pow(times.min(16)))
        .min(LONGEST_PAUSE)
}

/// When an instance that ended may be started again.
pub(crate) fn due(instance: &Instance, container: &ContainerFacts, now: Timestamp) -> Timestamp {
    let since = container
        .finished_at
        .or_else(|| instance.past.as_ref()?.since.as_ref().map(|t| t.0))
        .unwrap_or(now);
    moment::after(since, pause(instance, container))
}

/// What Docker's restarts of an instance say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Restarts {
    /// No more than before.
    Same,
    /// Some, and the span in which they count begins anew.
    Anew,
    /// Some, within the span.
    More,
    /// Too many within the span.
    Loop,
}

/// Judges Docker's restarts of an instance that serves. Its record holds their number and the time
/// at which the span began.
pub(crate) fn restarts(
    instance: &Instance,
    container: &ContainerFacts,
    now: Timestamp,
) -> Restarts {
    let Some(past) = instance
        .past
        .as_ref()
        .filter(|past| past.state == InstanceState::Serving)
    else {
        return Restarts::Same;
    };
    if container.restart_policy != RestartPolicy::Always || container.restart_count == past.restarts
    {
        return Restarts::Same;
    }
    let began = past.since.as_ref().map_or(now, |since| since.0);
    let over = moment::after(began, WINDOW_SECONDS) <= now;
    if over || container.restart_count < past.restarts {
        Restarts::Anew
    } else if container.restart_count - past.restarts > MOST_RESTARTS {
        Restarts::Loop
    } else {
        Restarts::More
    }
}
