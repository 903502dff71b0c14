//! Questions to registries: which digest a tag has now.
//!
//! A registry may take a minute to answer or never do so, and a running release must not wait for it. So a question is
//! asked beside the passes; they see how it stands, and an answer wakes the pipeline. Owns the pace of the tries, as
//! `plan` gives it. Invariant: an answer is used for the release that asked and for no other.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crds::Reason;
use tokio::task::AbortHandle;

use crate::clock::Clock;
use crate::docker::pull;
use crate::hosts::Host;
use crate::registry::credentials::{self, Credentials};
use crate::registry::failure;
use crate::wakes::{ObjectKey, Wakes};

/// The questions that are open or answered, one for a pipeline.
pub struct Resolutions {
    clock: Arc<dyn Clock>,
    wakes: Wakes,
    asked: Mutex<BTreeMap<ObjectKey, Asked>>,
}

/// What is asked, and with which chance: another one is another question.
#[derive(Clone, PartialEq, Eq)]
pub struct Question {
    /// A name with tag or digest.
    pub reference: String,
    /// Another spec or other credentials are another chance.
    pub chance: u64,
}

/// How a question stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Nothing has been said yet.
    Open,
    /// The registry has this digest.
    Confirmed(String),
    /// The last try failed; there will be another.
    Failed {
        /// In one word.
        reason: Reason,
        /// What the Engine or the registry said.
        message: String,
        /// How often in a row.
        attempts: u32,
    },
}

struct Asked {
    question: Question,
    answer: Arc<Mutex<Answer>>,
    task: AbortHandle,
}

impl Drop for Resolutions {
    fn drop(&mut self) {
        for asked in lock(&self.asked).values() {
            asked.task.abort();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Resolutions {
    /// No question yet; `wakes` hears of every answer.
    pub fn new(clock: Arc<dyn Clock>, wakes: Wakes) -> Self {
        Self {
            clock,
            wakes,
            asked: Mutex::default(),
        }
    }

    /// How the question stands, which is asked now if it is a new one.
    pub fn ask(
        &self,
        owner: &ObjectKey,
        host: &Arc<Host>,
        question: &Question,
        credentials: Option<Credentials>,
    ) -> Answer {
        let mut asked = lock(&self.asked);
        if let Some(known) = asked.get(owner) {
            if known.question == *question {
                return lock(&known.answer).clone();
            }
            known.task.abort();
        }
        let answer = Arc::new(Mutex::new(Answer::Open));
        let task = Task {
            clock: Arc::clone(&self.clock),
            wakes: self.wakes.clone(),
            owner: owner.clone(),
            host: Arc::clone(host),
            reference: question.reference.clone(),
            credentials,
            answer: Arc::clone(&answer),
        };
        let entry = Asked {
            question: question.clone(),
            answer,
            task: tokio::spawn(task.run()).abort_handle(),
        };
        asked.insert(owner.clone(), entry);
        Answer::Open
    }

    /// Nothing is to be resolved any more: the next question is a new one.
    pub fn forget(&self, owner: &ObjectKey) {
        if let Some(asked) = lock(&self.asked).remove(owner) {
            asked.task.abort();
        }
    }
}

/// One question, until it is answered.
struct Task {
    clock: Arc<dyn Clock>,
    wakes: Wakes,
    owner: ObjectKey,
    host: Arc<Host>,
    reference: String,
    credentials: Option<Credentials>,
    answer: Arc<Mutex<Answer>>,
}

impl Task {
    async fn run(self) {
        for attempts in 1.. {
            let answer = self.once(attempts).await;
            let pause = match &answer {
                Answer::Failed { reason, .. } => plan::registry::pause_seconds(*reason, attempts),
                Answer::Open | Answer::Confirmed(_) => 0,
            };
            *lock(&self.answer) = answer;
            self.wakes.wake(&self.owner);
            if pause == 0 {
                return;
            }
            self.clock
                .sleep(Duration::from_secs(u64::from(pause)))
                .await;
        }
    }

    async fn once(&self, attempts: u32) -> Answer {
        let auth = self.credentials.as_ref().map(Credentials::header);
        let asked = async { pull::digest(&self.host.engine().await?, &self.reference, auth).await };
        match asked.await {
            Ok(digest) => Answer::Confirmed(digest),
            Err(outcome) => Answer::Failed {
                reason: failure::reason(&outcome, false),
                message: credentials::redacted(self.credentials.as_ref(), outcome.message()),
                attempts,
            },
        }
    }
}
