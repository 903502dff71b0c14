//! Pulls of images, which end with the tag of ours by which the image is kept: begun by a step, seen in the facts, ended
//! by another step or by themselves.
//!
//! Owns how often the facts change (whatever changes there is written down) and how many pulls run on a host at once.
//! Must not decide when to try again: a failure stays in the facts until it is tried again or gets a new chance.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crds::Reason;
use jiff::Timestamp;
use plan::fact::{PullFacts, PullProgress};
use tokio::sync::Semaphore;
use tokio::task::AbortHandle;

use super::PATIENCE;
use crate::clock::Clock;
use crate::docker::pull::Pulled;
use crate::docker::{Outcome, images, pull};
use crate::hosts::Host;
use crate::registry::credentials::{self, Credentials, PullSecrets};
use crate::registry::failure;
use crate::wakes::{ObjectKey, Wakes};

/// The shortest time between two reports of one pull.
const REPORT: Duration = Duration::from_secs(5);
/// Pulls at once on one host: more only share its line and its disk.
const PER_HOST: usize = 2;
/// A failure that nothing has tried again for this long is of an image that nobody wants any more.
const FORGOTTEN: Duration = Duration::from_secs(3600);

/// The pulls of this operator. Those of a dropped set are given up by the Engine.
pub struct Pulls {
    clock: Arc<dyn Clock>,
    wakes: Wakes,
    jobs: Jobs,
    seats: Mutex<BTreeMap<String, Arc<Semaphore>>>,
}

/// Pipeline, host and `repository@digest`.
type JobKey = (ObjectKey, String, String);
type Jobs = Arc<Mutex<BTreeMap<JobKey, Job>>>;

struct Job {
    facts: PullFacts,
    attempts: u32,
    chance: u64,
    task: Option<AbortHandle>,
}

/// One pull that is to begin.
pub struct Pull {
    key: JobKey,
    host: Arc<Host>,
    repository: String,
    digest: String,
    /// The repository and the tag by which it is kept.
    kept: (String, String),
    chance: u64,
}

impl Pull {
    /// A pull of `repository@digest` for `owner`, which keeps it as `kept`, a repository and a tag. Failures of another
    /// `chance` do not count.
    pub fn new(
        owner: ObjectKey,
        host: &Arc<Host>,
        image: &str,
        kept: (&str, &str),
        chance: u64,
    ) -> Pull {
        let (repository, digest) = image.split_once('@').unwrap_or((image, ""));
        Pull {
            key: (owner, host.name.clone(), image.to_owned()),
            host: Arc::clone(host),
            repository: repository.to_owned(),
            digest: digest.to_owned(),
            kept: (kept.0.to_owned(), kept.1.to_owned()),
            chance,
        }
    }
}

/// Why there is no image.
struct Failure {
    reason: Reason,
    message: String,
}

impl Drop for Pulls {
    fn drop(&mut self) {
        for job in lock(&self.jobs).values() {
            job.end();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Job {
    fn end(&self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

impl Pulls {
    /// No pull yet; `wakes` hears of every report.
    pub fn new(clock: Arc<dyn Clock>, wakes: Wakes) -> Self {
        Self {
            clock,
            wakes,
            jobs: Jobs::default(),
            seats: Mutex::default(),
        }
    }

    /// The pulls for a pipeline on a host, by `repository@digest`.
    pub fn of(&self, owner: &ObjectKey, host: &str, chance: u64) -> BTreeMap<String, PullFacts> {
        let now = self.clock.now();
        let mut jobs = lock(&self.jobs);
        jobs.retain(|(of, on, _), job| match &job.facts {
            PullFacts::UnderWay(_) => true,
            PullFacts::Failed { at, .. } => {
                let age = Duration::try_from(now.duration_since(*at)).unwrap_or_default();
                age < FORGOTTEN && (job.chance == chance || of != owner || on != host)
            }
        });
        jobs.iter()
            .filter(|((of, on, _), _)| of == owner && on == host)
            .map(|((_, _, image), job)| (image.clone(), job.facts.clone()))
            .collect()
    }

    /// Begins a pull, unless it is under way; ends when it has ended, or after a second with the pull going on.
    pub async fn begin(&self, pull: Pull, secrets: &PullSecrets) {
        let key = pull.key.clone();
        let now = self.clock.now();
        let (done, ended) = tokio::sync::oneshot::channel();
        {
            let mut jobs = lock(&self.jobs);
            let before = jobs.get(&key);
            if before.is_some_and(|job| matches!(job.facts, PullFacts::UnderWay(_))) {
                return;
            }
            let mut job = Job {
                facts: PullFacts::UnderWay(progress(Pulled::default(), now)),
                attempts: before.map_or(0, |job| job.attempts),
                chance: pull.chance,
                task: None,
            };
            match secrets.of(&pull.repository) {
                Err(unresolved) => job.failed(
                    Failure {
                        reason: unresolved.reason,
                        message: unresolved.message,
                    },
                    now,
                ),
                Ok(credentials) => {
                    let task = Task {
                        clock: Arc::clone(&self.clock),
                        wakes: self.wakes.clone(),
                        jobs: Arc::clone(&self.jobs),
                        seats: self.seats(&pull.host.name),
                        credentials,
                        pull,
                    };
                    // The entry is made under the lock, so that a pull that ends at once ends it after.
                    let run = async move {
                        task.run().await;
                        // Nobody waits any more when it took longer than a step may.
                        let _ = done.send(());
                    };
                    job.task = Some(tokio::spawn(run).abort_handle());
                }
            }
            jobs.insert(key, job);
        }
        // Most images are large; one that is not saves another look.
        let _ = tokio::time::timeout(PATIENCE, ended).await;
    }

    /// Gives a pull up.
    pub fn cancel(&self, owner: &ObjectKey, host: &str, image: &str) {
        let key = (owner.clone(), host.to_owned(), image.to_owned());
        if let Some(job) = lock(&self.jobs).remove(&key) {
            job.end();
        }
    }

    fn seats(&self, host: &str) -> Arc<Semaphore> {
        let mut seats = lock(&self.seats);
        let seats = seats
            .entry(host.to_owned())
            .or_insert_with(|| Arc::new(Semaphore::new(PER_HOST)));
        Arc::clone(seats)
    }
}

impl Job {
    fn failed(&mut self, failure: Failure, now: Timestamp) {
        self.attempts = self.attempts.saturating_add(1);
        self.task = None;
        self.facts = PullFacts::Failed {
            reason: failure.reason,
            message: failure.message,
            attempts: self.attempts,
            at: now,
        };
    }
}

fn progress(pulled: Pulled, now: Timestamp) -> PullProgress {
    PullProgress {
        layers: pulled.layers,
        layers_done: pulled.layers_done,
        bytes: pulled.bytes,
        total_bytes: pulled.total_bytes,
        moved_at: now,
    }
}

/// One pull under way.
struct Task {
    clock: Arc<dyn Clock>,
    wakes: Wakes,
    jobs: Jobs,
    seats: Arc<Semaphore>,
    credentials: Option<Credentials>,
    pull: Pull,
}

impl Task {
    async fn run(self) {
        let result = self.fetch().await;
        let now = self.clock.now();
        {
            let mut jobs = lock(&self.jobs);
            match result {
                Ok(()) => _ = jobs.remove(&self.pull.key),
                Err(failure) => {
                    if let Some(job) = jobs.get_mut(&self.pull.key) {
                        job.failed(failure, now);
                    }
                }
            }
        }
        self.wakes.wake(&self.pull.key.0);
    }

    async fn fetch(&self) -> Result<(), Failure> {
        let Ok(_seat) = self.seats.acquire().await else {
            return Err(Failure {
                reason: Reason::ImagePullFailed,
                message: "the operator is ending".to_owned(),
            });
        };
        let begun = Arc::new(Mutex::new(false));
        let told = |outcome: &Outcome| self.failure(outcome, *lock(&begun));
        let engine = self.pull.host.engine().await.map_err(|o| told(&o))?;
        let auth = self.credentials.as_ref().map(Credentials::header);
        let hear = self.reporter(Arc::clone(&begun));
        let Pull {
            repository,
            digest,
            kept,
            ..
        } = &self.pull;
        pull::pull(&engine, repository, digest, auth, hear)
            .await
            .map_err(|outcome| told(&outcome))?;
        // F9: what counts is not what was said but what is there.
        let name = &self.pull.key.2;
        let tagged = images::tag(&engine, name, &kept.0, &kept.1).await;
        tagged.map_err(|outcome| told(&outcome))?;
        // The pull's own name for it was not there before, and would keep the image for ever.
        images::forget_digest(&engine, name)
            .await
            .map_err(|outcome| told(&outcome))
    }

    fn failure(&self, outcome: &Outcome, begun: bool) -> Failure {
        Failure {
            reason: failure::reason(outcome, begun),
            message: credentials::redacted(self.credentials.as_ref(), outcome.message()),
        }
    }

    /// Reports how far the pull is, now and then.
    fn reporter(&self, begun: Arc<Mutex<bool>>) -> impl FnMut(Pulled) + Send + 'static {
        let (clock, wakes, jobs) = (
            Arc::clone(&self.clock),
            self.wakes.clone(),
            Arc::clone(&self.jobs),
        );
        let key = self.pull.key.clone();
        let mut reported = clock.now();
        move |pulled| {
            *lock(&begun) = true;
            let now = clock.now();
            if Duration::try_from(now.duration_since(reported)).unwrap_or_default() < REPORT {
                return;
            }
            reported = now;
            if let Some(job) = lock(&jobs).get_mut(&key) {
                job.facts = PullFacts::UnderWay(progress(pulled, now));
            }
            wakes.wake(&key.0);
        }
    }
}
