//! The count of requests in flight on one instance, and whether new ones may enter, in one atomic word.
//!
//! Owns the rule that makes an acknowledgement mean something. Must not know routes or requests. Invariant: entering
//! and closing are operations on the same word, so once [`Gate::close`] has returned every request that entered is
//! counted and none enters after it. The table closes the gates of removed instances before it acknowledges, which
//! is why a request that still holds an older snapshot of the routes cannot claim an instance whose removal was
//! acknowledged: it finds the gate closed, loads the routes again and picks anew.

use std::sync::atomic::{AtomicU64, Ordering};

const CLOSED: u64 = 1 << 63;
const STREAM: u64 = 1 << 32;
const REQUESTS: u64 = STREAM - 1;

/// What a claim counts as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A request that ends by itself.
    Request,
    /// An upgraded connection or an event stream.
    Stream,
}

impl Kind {
    fn unit(self) -> u64 {
        match self {
            Kind::Request => 1,
            Kind::Stream => STREAM,
        }
    }
}

/// What is in flight.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InFlight {
    /// Plain requests.
    pub requests: u64,
    /// Upgraded connections and event streams.
    pub streams: u64,
}

impl InFlight {
    /// Whether nothing is.
    pub fn is_zero(self) -> bool {
        self.requests == 0 && self.streams == 0
    }

    fn of(word: u64) -> Self {
        InFlight {
            requests: word & REQUESTS,
            streams: (word & !CLOSED) >> 32,
        }
    }
}

/// Open or closed, and how many are inside.
#[derive(Debug)]
pub struct Gate(AtomicU64);

impl Gate {
    /// A closed gate with nothing inside.
    pub fn new() -> Self {
        Gate(AtomicU64::new(CLOSED))
    }

    /// Counts one request in; `false` when closed.
    pub fn enter(&self) -> bool {
        self.0
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |word| {
                (word & CLOSED == 0).then_some(word + 1)
            })
            .is_ok()
    }

    /// Counts what entered out; `true` when it was the last one inside a closed gate.
    pub fn leave(&self, kind: Kind) -> bool {
        let before = self.0.fetch_sub(kind.unit(), Ordering::AcqRel);
        before.wrapping_sub(kind.unit()) == CLOSED
    }

    /// Turns a request that entered into a stream.
    pub fn become_stream(&self) {
        self.0.fetch_add(STREAM - 1, Ordering::AcqRel);
    }

    /// Lets requests in.
    pub fn open(&self) {
        self.0.fetch_and(!CLOSED, Ordering::AcqRel);
    }

    /// Lets no more in. Afterwards [`Gate::in_flight`] only falls.
    pub fn close(&self) {
        self.0.fetch_or(CLOSED, Ordering::AcqRel);
    }

    /// Whether requests are let in.
    pub fn is_open(&self) -> bool {
        self.0.load(Ordering::Acquire) & CLOSED == 0
    }

    /// What is inside.
    pub fn in_flight(&self) -> InFlight {
        InFlight::of(self.0.load(Ordering::Acquire))
    }

    /// Requests and streams inside, for balancing.
    pub fn load(&self) -> u64 {
        let InFlight { requests, streams } = self.in_flight();
        requests + streams
    }
}

impl Default for Gate {
    fn default() -> Self {
        Gate::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_enters_a_closed_gate_and_the_last_to_leave_is_told() {
        let gate = Gate::new();
        assert!(!gate.enter());
        gate.open();
        assert!(gate.enter() && gate.enter());
        gate.become_stream();
        assert_eq!(
            gate.in_flight(),
            InFlight {
                requests: 1,
                streams: 1
            }
        );
        gate.close();
        assert!(!gate.enter());
        assert!(!gate.leave(Kind::Request));
        assert!(gate.leave(Kind::Stream));
        assert!(gate.in_flight().is_zero());
    }

    #[test]
    fn leaving_an_open_gate_is_no_drain() {
        let gate = Gate::new();
        gate.open();
        assert!(gate.enter());
        assert!(!gate.leave(Kind::Request));
        assert!(gate.is_open());
    }
}
