//! Readiness checks that run a command inside a container.
//!
//! An exec costs the host about 50 ms of CPU (F18), so these run at most every 2 s for a container
//! and at most four at once on a host. Results are kept in memory and read by the next pass; a new
//! verdict only wakes. Must not decide what follows from a verdict.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crds::template::Probe;
use jiff::Timestamp;
use plan::fact::{ContainerFacts, Readiness};
use tokio::sync::Semaphore;
use tokio::task::AbortHandle;

use crate::clock::Clock;
use crate::docker::exec;
use crate::hosts::Host;
use crate::wakes::{ObjectKey, Wakes};

/// The shortest time between two checks of one container.
const MIN_PERIOD: Duration = Duration::from_secs(2);
/// Checks at once on one host.
const PER_HOST: usize = 4;
/// What is kept of a check's output, in bytes.
const MAX_OUTPUT: usize = 256;
/// A probe that no pass has asked about for this long is of a container that is gone.
const FORGOTTEN: Duration = Duration::from_secs(900);

/// The probes that run, by container ID and start.
pub struct ExecProbes {
    clock: Arc<dyn Clock>,
    wakes: Wakes,
    running: Mutex<BTreeMap<RunKey, Running>>,
    hosts: Mutex<BTreeMap<String, Arc<Semaphore>>>,
}

/// One run of one container: another start begins anew.
type RunKey = (String, String);

struct Running {
    verdict: Arc<Mutex<Readiness>>,
    asked: Timestamp,
    task: AbortHandle,
}

impl Drop for ExecProbes {
    fn drop(&mut self) {
        for running in lock(&self.running).values() {
            running.task.abort();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl ExecProbes {
    /// No probe yet; `wakes` hears of every new verdict.
    pub fn new(clock: Arc<dyn Clock>, wakes: Wakes) -> Self {
        Self {
            clock,
            wakes,
            running: Mutex::default(),
            hosts: Mutex::default(),
        }
    }

    /// The last verdict on this run of a container, whose checks begin with the first question.
    pub fn readiness(
        &self,
        owner: &ObjectKey,
        host: &Arc<Host>,
        facts: &ContainerFacts,
        probe: &Probe,
    ) -> Readiness {
        let now = self.clock.now();
        let mut running = lock(&self.running);
        running.retain(|_, entry| {
            let kept =
                Duration::try_from(now.duration_since(entry.asked)).unwrap_or_default() < FORGOTTEN;
            if !kept {
                entry.task.abort();
            }
            kept
        });
        let key = (facts.id.clone(), facts.started_at_text.clone());
        let entry = running.entry(key).or_insert_with(|| {
            let verdict = Arc::new(Mutex::new(Readiness::NotReady {
                since: None,
                why: String::new(),
            }));
            let check = Check {
                clock: Arc::clone(&self.clock),
                wakes: self.wakes.clone(),
                owner: owner.clone(),
                host: Arc::clone(host),
                seats: Arc::clone(
                    lock(&self.hosts)
                        .entry(host.name.clone())
                        .or_insert_with(|| Arc::new(Semaphore::new(PER_HOST))),
                ),
                id: facts.id.clone(),
                probe: probe.clone(),
                verdict: Arc::clone(&verdict),
            };
            Running {
                verdict,
                asked: now,
                task: tokio::spawn(check.run()).abort_handle(),
            }
        });
        entry.asked = now;
        lock(&entry.verdict).clone()
    }
}

/// The checks of one run of one container.
struct Check {
    clock: Arc<dyn Clock>,
    wakes: Wakes,
    owner: ObjectKey,
    host: Arc<Host>,
    seats: Arc<Semaphore>,
    id: String,
    probe: Probe,
    verdict: Arc<Mutex<Readiness>>,
}

impl Check {
    async fn run(self) {
        self.clock
            .sleep(Duration::from_secs(u64::from(
                self.probe.initial_delay_seconds,
            )))
            .await;
        let period = Duration::from_secs(u64::from(self.probe.period_seconds)).max(MIN_PERIOD);
        let (mut successes, mut failures) = (0_u32, 0_u32);
        let mut first_success = None;
        loop {
            let result = self.once().await;
            let now = self.clock.now();
            match result {
                Ok(()) => {
                    (successes, failures) = (successes.saturating_add(1), 0);
                    let since = *first_success.get_or_insert(now);
                    if successes >= self.probe.success_threshold {
                        self.say(Readiness::Ready(since));
                    }
                }
                Err(Silence::Failed(why)) => {
                    (successes, failures) = (0, failures.saturating_add(1));
                    first_success = None;
                    let was_ready = matches!(*lock(&self.verdict), Readiness::Ready(_));
                    if !was_ready {
                        self.say(Readiness::NotReady { since: None, why });
                    } else if failures >= self.probe.failure_threshold {
                        self.say(Readiness::NotReady {
                            since: Some(now),
                            why,
                        });
                    }
                }
                Err(Silence::Unknown(why)) => self.say(Readiness::Unknown(why)),
            }
            // Until the first success the shortest period, so that a rollout does not wait.
            let ready = matches!(*lock(&self.verdict), Readiness::Ready(_));
            self.clock
                .sleep(if ready {
                    period
                } else {
                    MIN_PERIOD.min(period)
                })
                .await;
        }
    }

    /// One run of the command.
    async fn once(&self) -> Result<(), Silence> {
        let Ok(_seat) = self.seats.acquire().await else {
            return Err(Silence::Unknown("the operator is ending".to_owned()));
        };
        let command = self
            .probe
            .exec
            .as_ref()
            .map(|exec| exec.command.clone())
            .unwrap_or_default();
        let deadline = Duration::from_secs(u64::from(self.probe.timeout_seconds));
        let run = async {
            let engine = self.host.engine().await?;
            exec::output(&engine, &self.id, &command, MAX_OUTPUT, deadline).await
        };
        match run.await {
            Ok(output) if output.code == 0 => Ok(()),
            Ok(output) => {
                let mut said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
                said.truncate(said.floor_char_boundary(MAX_OUTPUT));
                Err(Silence::Failed(format!(
                    "the command ended with {}: {said}",
                    output.code
                )))
            }
            Err(outcome) if outcome.is_blind() => Err(match outcome {
                crate::docker::Outcome::Unknown {
                    cause: crate::docker::Cause::TimedOut,
                    ..
                } => Silence::Failed(format!(
                    "the command took longer than {} s",
                    deadline.as_secs()
                )),
                other => Silence::Unknown(other.to_string()),
            }),
            Err(outcome) => Err(Silence::Failed(outcome.to_string())),
        }
    }

    /// Sets the verdict and wakes the pipeline when it is another one.
    fn say(&self, next: Readiness) {
        let mut verdict = lock(&self.verdict);
        let same = match (&*verdict, &next) {
            (Readiness::Ready(_), Readiness::Ready(_)) => true,
            (old, new) => old == new,
        };
        if !same {
            *verdict = next;
            drop(verdict);
            self.wakes.wake(&self.owner);
        }
    }
}

/// Why there was no success.
enum Silence {
    /// The command says no.
    Failed(String),
    /// Nobody could ask.
    Unknown(String),
}
