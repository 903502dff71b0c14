//! The one seam through which every effect of the operator passes.
//!
//! An effect is a call that changes something outside the process: an Engine call, an API write or a push of a
//! route-table section. Each is handed to a [`Gate`] as a future that has not started yet. In production the gate
//! is [`Open`] and simply runs it. The crash tests put their own gate here and stop the operator before, within or
//! after any effect, or let it land late; this file knows nothing of how they do it.
//!
//! Invariant: an effect runs inside `pass` or not at all, and its result reaches the caller only when `pass` is over.

use std::borrow::Cow;
use std::fmt;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio::sync::oneshot;

/// Which part of the world an effect changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EffectKind {
    /// A call to a Docker Engine that changes something there.
    Engine,
    /// A write to the Kubernetes API; Lease renewals and Events are no effects.
    Api,
    /// A section of the route table sent to a proxy.
    Push,
}

impl fmt::Display for EffectKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            EffectKind::Engine => "engine",
            EffectKind::Api => "api",
            EffectKind::Push => "push",
        })
    }
}

/// What is about to be changed: enough to name the effect in a table, never its content.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Effect {
    /// Which part of the world.
    pub kind: EffectKind,
    /// What is done, for example `POST /containers/{id}/start`. It names the form of the call, not its object.
    pub verb: Cow<'static, str>,
    /// The object it is done to, as its caller named it. Holds no secret.
    pub target: String,
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Effect { kind, verb, target } = self;
        write!(f, "{kind} {verb} {target}")
    }
}

/// Decides when an effect runs, and whether its caller hears of it.
pub trait Gate: Send + Sync {
    /// Runs `run`, which carries out `effect` and delivers its result, and ends when the caller may go on.
    ///
    /// A gate that ends without having run `run` to its end stops the caller for good: its call never returns.
    fn pass(&self, effect: Effect, run: BoxFuture<'static, ()>) -> BoxFuture<'static, ()>;
}

impl dyn Gate {
    /// Carries `future` through the gate and returns its result.
    ///
    /// The result is given out only after the gate let the effect pass; when the gate swallows it, this never returns.
    pub async fn run<T, F>(&self, effect: Effect, future: F) -> T
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        let (sender, receiver) = oneshot::channel();
        let run = async move {
            // The receiver is gone when the caller was dropped; the effect has happened all the same.
            let _ = sender.send(future.await);
        };
        self.pass(effect, run.boxed()).await;
        match receiver.await {
            Ok(result) => result,
            Err(_) => std::future::pending().await,
        }
    }
}

/// The gate of production: every effect passes at once.
#[derive(Debug, Clone, Copy, Default)]
pub struct Open;

impl Gate for Open {
    fn pass(&self, _effect: Effect, run: BoxFuture<'static, ()>) -> BoxFuture<'static, ()> {
        run
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use futures::future;
    use tokio::task;

    use super::*;

    fn effect() -> Effect {
        Effect {
            kind: EffectKind::Engine,
            verb: "POST /containers/create".into(),
            target: "shop".to_owned(),
        }
    }

    #[tokio::test]
    async fn the_open_gate_gives_the_result_through() {
        let gate: &dyn Gate = &Open;
        assert_eq!(gate.run(effect(), async { 7 }).await, 7);
        assert_eq!(effect().to_string(), "engine POST /containers/create shop");
    }

    /// Keeps effects back instead of running them.
    #[derive(Default)]
    struct Late(Mutex<Vec<BoxFuture<'static, ()>>>);

    impl Gate for Late {
        fn pass(&self, _: Effect, run: BoxFuture<'static, ()>) -> BoxFuture<'static, ()> {
            self.0.lock().expect("one thread").push(run);
            future::ready(()).boxed()
        }
    }

    #[tokio::test]
    async fn an_effect_can_land_after_its_caller_is_gone() {
        let gate = std::sync::Arc::new(Late::default());
        let (landed, mut seen) = oneshot::channel();
        let caller = std::sync::Arc::clone(&gate);
        let call = task::spawn(async move {
            let gate: &dyn Gate = &*caller;
            gate.run(effect(), async move { landed.send(()).is_ok() })
                .await
        });
        task::yield_now().await;
        let held = std::mem::take(&mut *gate.0.lock().expect("one thread"));
        assert_eq!(held.len(), 1);
        assert!(!call.is_finished(), "the caller waits for ever");
        call.abort();
        assert!(seen.try_recv().is_err(), "nothing has run yet");
        future::join_all(held).await;
        seen.await.expect("it has landed");
    }
}
