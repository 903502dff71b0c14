//! A gate that stops the operator at one effect, in one of four ways.
//!
//! Owns the count of effects and the moment of the stop. Must not know what an effect does. Once it
//! has stopped an operator, nothing of that operator passes any more.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::FutureExt as _;
use futures::future::BoxFuture;
use operator::gate::{Effect, Gate};
use tokio::sync::Notify;

/// How an operator is stopped at an effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mode {
    /// Before it: it never happens.
    Before,
    /// It happens, and the answer is lost.
    LostReply,
    /// It happens, the answer arrives, and then nothing more.
    After,
    /// It happens only after the next operator has begun.
    Late,
}

impl Mode {
    /// All four.
    pub const ALL: [Mode; 4] = [Mode::Before, Mode::LostReply, Mode::After, Mode::Late];
}

/// The gate of one operator.
#[derive(Default)]
pub struct StopGate {
    state: Mutex<State>,
    stopped: Notify,
}

#[derive(Default)]
struct State {
    /// Effects that have reached the gate since it was armed.
    effects: Vec<Effect>,
    /// Where to stop: the index of the effect and how.
    at: Option<(usize, Mode)>,
    counting: bool,
    closed: bool,
    late: Option<BoxFuture<'static, ()>>,
}

impl StopGate {
    /// A gate that lets everything pass until it is armed.
    pub fn open() -> Arc<Self> {
        Arc::default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts from here on, and stops at the effect with this index (from 0), if any.
    pub fn arm(&self, at: Option<(usize, Mode)>) {
        let mut state = self.state();
        state.effects.clear();
        state.counting = true;
        state.at = at;
    }

    /// What has reached the gate since it was armed.
    pub fn effects(&self) -> Vec<Effect> {
        self.state().effects.clone()
    }

    /// Ends when the operator was stopped.
    pub async fn stopped(&self) {
        loop {
            let stopped = self.stopped.notified();
            if self.state().closed {
                return;
            }
            stopped.await;
        }
    }

    /// The effect that was kept back, to be run when the next operator has begun.
    pub fn take_late(&self) -> Option<BoxFuture<'static, ()>> {
        self.state().late.take()
    }

    /// Counts an effect; tells how to stop at it.
    fn enter(&self, effect: Effect) -> Entry {
        let mut state = self.state();
        if state.closed {
            return Entry::Closed;
        }
        if !state.counting {
            return Entry::Passes;
        }
        let index = state.effects.len();
        state.effects.push(effect);
        match state.at {
            Some((at, mode)) if at == index => {
                // Everything else stands still at once; what is under way goes on without being heard.
                state.closed = true;
                Entry::Stops(mode)
            }
            Some(_) | None => Entry::Passes,
        }
    }
}

enum Entry {
    Passes,
    Stops(Mode),
    Closed,
}

/// The handle that an operator gets.
pub struct Handle(pub Arc<StopGate>);

impl Gate for Handle {
    fn pass(&self, effect: Effect, run: BoxFuture<'static, ()>) -> BoxFuture<'static, ()> {
        let gate = Arc::clone(&self.0);
        match gate.enter(effect) {
            Entry::Passes => async move {
                run.await;
                // Others were stopped while this was under way: its answer is lost as well.
                if gate.state().closed {
                    std::future::pending::<()>().await;
                }
            }
            .boxed(),
            Entry::Closed => std::future::pending().boxed(),
            Entry::Stops(mode) => async move {
                match mode {
                    Mode::Before => {}
                    Mode::LostReply => run.await,
                    Mode::Late => gate.state().late = Some(run),
                    Mode::After => {
                        run.await;
                        gate.stopped.notify_one();
                        return;
                    }
                }
                gate.stopped.notify_one();
                std::future::pending().await
            }
            .boxed(),
        }
    }
}
