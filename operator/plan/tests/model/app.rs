//! How a simulated application behaves, as a function of the time since its start.

use jiff::{SignedDuration, Timestamp};

/// What the application in an image does.
#[derive(Clone, Debug, PartialEq)]
pub struct App {
    /// Milliseconds from its start until it answers; `None`: never.
    pub ready_after: Option<i64>,
    /// Milliseconds from its start until it does not answer any more.
    pub unready_after: Option<i64>,
    /// Milliseconds from its start until it exits with 1.
    pub exits_after: Option<i64>,
    /// Milliseconds for which a request is in flight after it lost its traffic.
    pub busy_for: i64,
    /// Milliseconds between the stop signal and its end.
    pub stops_in: i64,
    /// Milliseconds of a period in the last fifth of which it does not answer; 0: steady.
    pub flaps_every: i64,
}

impl App {
    /// Answers 300 ms after its start, for ever.
    pub fn good() -> Self {
        Self {
            ready_after: Some(300),
            unready_after: None,
            exits_after: None,
            busy_for: 50,
            stops_in: 200,
            flaps_every: 0,
        }
    }

    /// Never answers.
    pub fn deaf() -> Self {
        Self {
            ready_after: None,
            ..Self::good()
        }
    }

    /// Exits so many milliseconds after its start.
    pub fn exits(after: i64) -> Self {
        Self {
            exits_after: Some(after),
            ..Self::good()
        }
    }

    /// Since when it answers without a break, at `now`, if it does.
    pub fn ready_since(&self, started: Timestamp, now: Timestamp) -> Option<Timestamp> {
        let age = millis(started, now);
        let ready = self.ready_after?;
        if age < ready || self.unready_after.is_some_and(|end| age >= end) {
            return None;
        }
        if self.flaps_every == 0 {
            return Some(later(started, ready));
        }
        let phase = (age - ready) % self.flaps_every;
        if phase >= self.flaps_every * 4 / 5 {
            None
        } else {
            Some(later(started, age - phase))
        }
    }

    /// When it stopped answering, if it has answered before.
    pub fn unready_since(&self, started: Timestamp, now: Timestamp) -> Option<Timestamp> {
        let age = millis(started, now);
        let ready = self.ready_after?;
        if let Some(end) = self.unready_after
            && age >= end
        {
            return Some(later(started, end));
        }
        if self.flaps_every > 0 && age >= ready {
            let phase = (age - ready) % self.flaps_every;
            let good = self.flaps_every * 4 / 5;
            return (phase >= good).then(|| later(started, age - phase + good));
        }
        None
    }

    /// The next moment after `now` at which its answer may change.
    pub fn next_change(&self, started: Timestamp, now: Timestamp) -> Option<Timestamp> {
        let age = millis(started, now);
        let mut moments: Vec<i64> = [self.ready_after, self.unready_after, self.exits_after]
            .into_iter()
            .flatten()
            .collect();
        if let (Some(ready), true) = (self.ready_after, self.flaps_every > 0) {
            let rounds = (age - ready).max(0) / self.flaps_every;
            for round in rounds..rounds + 2 {
                moments.push(ready + round * self.flaps_every);
                moments.push(ready + round * self.flaps_every + self.flaps_every * 4 / 5);
            }
        }
        moments
            .into_iter()
            .filter(|moment| *moment > age)
            .min()
            .map(|moment| later(started, moment))
    }
}

/// Whole milliseconds between two times.
pub fn millis(from: Timestamp, to: Timestamp) -> i64 {
    i64::try_from(to.duration_since(from).as_millis()).unwrap()
}

/// So many milliseconds later.
pub fn later(time: Timestamp, millis: i64) -> Timestamp {
    time.checked_add(SignedDuration::from_millis(millis))
        .unwrap()
}
