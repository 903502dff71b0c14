//! The state machine of a stage's rollout: one enum, [`RolloutState`], and one [`next`].
//!
//! Owns which state follows which. Must not know containers, proxies or times: those have become a
//! [`Facts`] before. Invariant: every state but `Paused` has a way to an end, and nothing moves on
//! what is unknown.
//!
//! | State | Unknown, Waiting | Lost | Failed | Refused | Superseded | Aborted | Abandoned | Held | Resumed: begun | Resumed: not begun | Met: old may leave | Met: new missing | Met: all out |
//! |---|---|---|---|---|---|---|---|---|---|---|---|---|---|
//! | Resolving | stay | stay | RollingBack | end Failed | end Superseded | RollingBack | end Aborted | Paused | stay | stay | Preparing | Preparing | Preparing |
//! | Preparing | stay | stay | RollingBack | end Failed | end Superseded | RollingBack | end Aborted | Paused | stay | stay | Draining | Starting | Starting |
//! | Starting | stay | stay | RollingBack | stay | end Superseded | RollingBack | end Aborted | Paused | stay | stay | Warming | Warming | Warming |
//! | Warming | stay | stay | RollingBack | stay | end Superseded | RollingBack | end Aborted | Paused | stay | stay | Shifting | Shifting | Shifting |
//! | Shifting | stay | Warming | RollingBack | stay | end Superseded | RollingBack | end Aborted | Paused | stay | stay | Draining | Draining | Draining |
//! | Draining | stay | Warming | RollingBack | stay | end Superseded | RollingBack | end Aborted | Paused | stay | stay | stay | Starting | Baking |
//! | Baking | stay | Warming | RollingBack | stay | end Superseded | RollingBack | end Aborted | Paused | stay | stay | Draining | Warming | Finalizing |
//! | Finalizing | stay | stay | stay | stay | end Superseded | stay | stay | stay | stay | stay | end Succeeded | end Succeeded | end Succeeded |
//! | RollingBack | stay | stay | Paused | stay | end Superseded | end Aborted | end Aborted | stay | stay | stay | end RolledBack | end RolledBack | end RolledBack |
//! | Paused | stay | stay | stay | stay | end Superseded | RollingBack | end Aborted | stay | Warming | Resolving | RollingBack | RollingBack | RollingBack |
//!
//! A rollout that has ended is begun anew by a later `retryAt`, see [`reopens`]:
//!
//! | Outcome | retryAt |
//! |---|---|
//! | Succeeded | stays |
//! | RolledBack | Resolving |
//! | Aborted | Resolving |
//! | Superseded | stays |
//! | Failed | Resolving |
//!
//! `Failed` and `Aborted` are only ever said of a rollout that has a verified release to return to,
//! `Abandoned` of one that has none. Of a rollback `Failed` means that the release to return to
//! failed itself, and `Aborted` that the way back from what a person ended is done.
//! `Refused` is said of a rollout that has touched nothing, where another release goes on without
//! it.

use crds::release::{Outcome, RolloutState};

/// What the facts say about the state's wait: exactly one of these holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Facts {
    /// A fact that the state needs is unknown.
    Unknown,
    /// What the state waits for has not happened.
    Waiting,
    /// Something that an earlier state had reached is gone.
    Lost,
    /// An instance failed or the deadline passed.
    Failed,
    /// It can never happen, and nothing was touched yet.
    Refused,
    /// A newer release exists.
    Superseded,
    /// A person ended it, and there is a release to return to.
    Aborted,
    /// A person ended it, and there is nothing to return to.
    Abandoned,
    /// A person holds it.
    Held,
    /// A person held it and does not any more.
    Resumed {
        /// True: instances of it were made.
        begun: bool,
    },
    /// What the state waits for has happened.
    Met(Rest),
}

/// What is left to do after the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rest {
    /// Old instances may leave right away.
    Leave,
    /// New instances are missing.
    Add,
    /// Nothing: every new instance is there and no old one.
    Nothing,
}

/// What follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// The state goes on.
    Stay,
    /// Another state begins.
    Go(RolloutState),
    /// The rollout ends.
    End(Outcome),
}

/// What follows a state, given the facts.
pub(crate) fn next(state: RolloutState, facts: Facts) -> Next {
    use RolloutState as S;
    match (state, facts) {
        (_, Facts::Superseded) => Next::End(Outcome::Superseded),
        (S::Resolving | S::Preparing, Facts::Refused) => Next::End(Outcome::Failed),
        (_, Facts::Unknown | Facts::Waiting | Facts::Refused)
        | (S::Resolving | S::Preparing | S::Starting | S::Warming, Facts::Lost)
        | (S::Finalizing | S::RollingBack | S::Paused, Facts::Lost | Facts::Held)
        | (S::Finalizing | S::Paused, Facts::Failed)
        | (S::Finalizing, Facts::Aborted | Facts::Abandoned)
        | (
            S::Resolving
            | S::Preparing
            | S::Starting
            | S::Warming
            | S::Shifting
            | S::Draining
            | S::Baking
            | S::Finalizing
            | S::RollingBack,
            Facts::Resumed { .. },
        )
        | (S::Draining, Facts::Met(Rest::Leave)) => Next::Stay,
        (S::RollingBack, Facts::Aborted) | (_, Facts::Abandoned) => Next::End(Outcome::Aborted),
        (_, Facts::Held) => Next::Go(S::Paused),
        (S::Paused, Facts::Resumed { begun: false }) => Next::Go(S::Resolving),
        (S::Shifting | S::Draining | S::Baking, Facts::Lost)
        | (S::Paused, Facts::Resumed { begun: true })
        | (S::Baking, Facts::Met(Rest::Add))
        | (S::Starting, Facts::Met(_)) => Next::Go(S::Warming),
        (
            S::Resolving
            | S::Preparing
            | S::Starting
            | S::Warming
            | S::Shifting
            | S::Draining
            | S::Baking,
            Facts::Failed | Facts::Aborted,
        )
        | (S::Paused, Facts::Met(_) | Facts::Aborted) => Next::Go(S::RollingBack),
        (S::RollingBack, Facts::Failed) => Next::Go(S::Paused),
        (S::Resolving, Facts::Met(_)) => Next::Go(S::Preparing),
        (S::Preparing, Facts::Met(Rest::Add | Rest::Nothing))
        | (S::Draining, Facts::Met(Rest::Add)) => Next::Go(S::Starting),
        (S::Warming, Facts::Met(_)) => Next::Go(S::Shifting),
        (S::Preparing | S::Baking, Facts::Met(Rest::Leave)) | (S::Shifting, Facts::Met(_)) => {
            Next::Go(S::Draining)
        }
        (S::Draining, Facts::Met(Rest::Nothing)) => Next::Go(S::Baking),
        (S::Baking, Facts::Met(Rest::Nothing)) => Next::Go(S::Finalizing),
        (S::Finalizing, Facts::Met(_)) => Next::End(Outcome::Succeeded),
        (S::RollingBack, Facts::Met(_)) => Next::End(Outcome::RolledBack),
    }
}

/// True when a later `retryAt` begins a rollout anew that ended so.
pub(crate) fn reopens(outcome: Outcome) -> bool {
    match outcome {
        Outcome::RolledBack | Outcome::Aborted | Outcome::Failed => true,
        Outcome::Succeeded | Outcome::Superseded => false,
    }
}

#[cfg(test)]
mod tests;
