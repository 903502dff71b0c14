//! The one reconcile loop: observe, decide, hold back, record, act.
//!
//! Owns the order of a pass, the memory of failed steps, the concurrency and when an object is looked at again. It
//! must not know any kind: [`Controller`] is all it sees of one, and no kind goes round it. Invariants: one pass per
//! object at a time; no step before its record is written; after an unknown outcome nothing more is done on that host
//! until it was observed again.

use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kube::{Resource, ResourceExt as _};
use plan::{ApiStep, Plan, Step, StepFailure};
use serde::de::DeserializeOwned;
use tokio::task::{Id, JoinSet};
use tracing::{error, info, warn};

use crate::api::words;
use crate::backoff;
use crate::clock;
use crate::context::Context;
use crate::wakes::{ObjectKey, Queue};

mod error;
mod memory;
mod step_name;

pub use error::{ObserveError, RecordError, StepError};
use memory::Memory;

/// Passes that run at once for one kind: beyond this they only wait for each other's calls.
const MAX_PASSES: usize = 64;
/// Every object is looked at this often, up to a fifth sooner or later, even if nothing wakes it: hints get lost.
const RESYNC: Duration = Duration::from_secs(300);
/// Passes in a row without a rest. More than any rollout has steps between two waits for one object: what goes on
/// beyond is a plan that never converges, and is slowed down to [`REST`].
const MAX_STREAK: u32 = 200;
/// The rest of an object that used up [`MAX_STREAK`].
const REST: Duration = Duration::from_secs(1);

/// One kind, as the loop needs it.
pub trait Controller: Send + Sync + 'static {
    /// The kind.
    type Object: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync;
    /// What one pass reads.
    type Observed: Send + Sync;
    /// What one pass writes down before it acts.
    type Record: Send + Sync;

    /// Reads every fact live. An error means that the API itself could not be read: nothing is decided.
    fn observe(
        &self,
        object: &Self::Object,
        failures: Vec<StepFailure>,
    ) -> impl Future<Output = Result<Self::Observed, ObserveError>> + Send;

    /// Forwards to `plan::<kind>::decide`.
    fn decide(
        object: &Self::Object,
        observed: &Self::Observed,
        now: Timestamp,
    ) -> Plan<Self::Record>;

    /// Writes the record with the resourceVersions observed; what is equal is not written.
    fn record(
        &self,
        object: &Self::Object,
        observed: &Self::Observed,
        record: &Self::Record,
    ) -> impl Future<Output = Result<(), RecordError>> + Send;

    /// Carries out one step.
    fn act(
        &self,
        object: &Self::Object,
        observed: &Self::Observed,
        effect: Effect<'_>,
    ) -> impl Future<Output = Result<(), StepError>> + Send;

    /// The state that the record says, for the log.
    fn state(_: &Self::Record) -> String {
        String::new()
    }
}

/// One step, and where.
#[derive(Debug, Clone, Copy)]
pub enum Effect<'a> {
    /// On the API.
    Api(&'a ApiStep),
    /// On the host of this name.
    Host(&'a str, &'a Step),
}

/// Runs the loop of one kind for as long as it is polled. Dropping it ends all passes.
pub async fn run<C: Controller>(controller: Arc<C>, context: Arc<Context>, queue: Queue) {
    let mut passes: JoinSet<(ObjectKey, Memory, Next)> = JoinSet::new();
    let mut running: HashMap<Id, ObjectKey> = HashMap::new();
    let mut memories: HashMap<ObjectKey, Memory> = HashMap::new();
    let kind = C::Object::kind(&()).into_owned();
    loop {
        while passes.len() < MAX_PASSES
            && let Some(key) = queue.take(context.clock.now())
        {
            let memory = memories.remove(&key).unwrap_or_default();
            let pass = Pass {
                controller: Arc::clone(&controller),
                context: Arc::clone(&context),
                key: key.clone(),
            };
            let task = passes.spawn(pass.run(memory));
            running.insert(task.id(), key);
        }
        context.metrics.queue(&kind, queue.len(), passes.len());
        let rest = queue
            .next_timer()
            .map(|at| clock::until(context.clock.now(), at));
        let alarm = async {
            match rest {
                Some(rest) => context.clock.sleep(rest).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            Some(ended) = passes.join_next_with_id() => match ended {
                Ok((id, (key, memory, next))) => {
                    running.remove(&id);
                    let now = context.clock.now();
                    if let Some(wait) = next.rest() {
                        memories.insert(key.clone(), memory);
                        queue.done(&key, clock::later(now, wait));
                    } else {
                        queue.gone(&key);
                    }
                }
                Err(ended) => {
                    let key = running.remove(&ended.id());
                    error!(kind, ?key, "a pass panicked; the object is looked at again later");
                    if let Some(key) = key {
                        let wait = backoff::STEP.most;
                        queue.done(&key, clock::later(context.clock.now(), wait));
                    }
                }
            },
            () = queue.changed(), if passes.len() < MAX_PASSES => {}
            () = alarm, if passes.len() < MAX_PASSES => {}
        }
    }
}

/// What follows a pass.
enum Next {
    /// Look again after this long.
    Rest(Duration),
    /// The object does not exist.
    Gone,
}

impl Next {
    fn rest(&self) -> Option<Duration> {
        match self {
            Next::Rest(wait) => Some(*wait),
            Next::Gone => None,
        }
    }
}

/// One pass over one object.
struct Pass<C> {
    controller: Arc<C>,
    context: Arc<Context>,
    key: ObjectKey,
}

/// How a pass went.
enum Passed {
    /// Steps were tried.
    Acted,
    /// There was nothing to do.
    Idle(Option<Timestamp>),
    /// Somebody else changed the object.
    Conflict(String),
    /// The API could not be read or written.
    Failed(String),
    /// The object does not exist.
    Gone,
}

impl<C: Controller> Pass<C> {
    async fn run(self, mut memory: Memory) -> (ObjectKey, Memory, Next) {
        let kind = C::Object::kind(&()).into_owned();
        let began = tokio::time::Instant::now();
        let passed = self.pass(&mut memory).await;
        let random = self.context.jitter.next();
        let now = self.context.clock.now();
        let (word, next) = match passed {
            Passed::Gone => ("gone", Next::Gone),
            Passed::Acted => ("acted", Next::Rest(memory.at_once())),
            Passed::Conflict(why) => {
                info!(kind, object = %self.key, why, "another writer was faster; looking again");
                ("conflict", Next::Rest(memory.after_failure(random)))
            }
            Passed::Failed(why) => {
                warn!(kind, object = %self.key, error = why, "the pass could not be made");
                ("failed", Next::Rest(memory.after_failure(random)))
            }
            Passed::Idle(wake) => {
                memory.rested();
                let resync = backoff::spread(RESYNC, random);
                let wait = wake.map_or(resync, |at| clock::until(now, at).min(resync));
                ("idle", Next::Rest(wait))
            }
        };
        self.context.metrics.pass(&kind, word, began.elapsed());
        (self.key, memory, next)
    }

    async fn pass(&self, memory: &mut Memory) -> Passed {
        let client = self.context.client.clone();
        let object = match fetch::<C::Object>(client, &self.key).await {
            Ok(Some(object)) => object,
            Ok(None) => return Passed::Gone,
            Err(error) => return Passed::Failed(words(&error)),
        };
        memory.belongs_to(object.meta().uid.as_deref(), object.meta().generation);
        let observed = match self
            .controller
            .observe(&object, memory.failures().to_vec())
            .await
        {
            Ok(observed) => observed,
            Err(error) => return Passed::Failed(error.to_string()),
        };
        let now = self.context.clock.now();
        let mut plan = C::decide(&object, &observed, now);
        memory.forget_all_but(&plan);
        plan.hold_back(memory.failures(), now);
        match self
            .controller
            .record(&object, &observed, &plan.record)
            .await
        {
            Ok(()) => {}
            Err(RecordError::Conflict(why)) => return Passed::Conflict(why),
            Err(RecordError::Failed(why)) => return Passed::Failed(why),
        }
        memory.passed();
        let results = self.act(&object, &observed, &plan).await;
        self.report(&object, &plan, &results);
        for event in &plan.events {
            self.context.events.publish(&object, event).await;
        }
        if results.is_empty() {
            return Passed::Idle(plan.wake);
        }
        let (now, random) = (self.context.clock.now(), || self.context.jitter.next());
        for Done {
            place,
            step,
            result,
        } in results
        {
            memory.remember(place, step, result, now, random);
        }
        Passed::Acted
    }

    /// The steps in their order: those on the API first, then the hosts beside each other. What failed ends its row.
    async fn act(
        &self,
        object: &C::Object,
        observed: &C::Observed,
        plan: &Plan<C::Record>,
    ) -> Vec<Done> {
        let mut results = Vec::new();
        for step in &plan.api {
            let result = self
                .controller
                .act(object, observed, Effect::Api(step))
                .await;
            self.context.metrics.step(step_name::on_api(step), &result);
            let failed = result.is_err();
            results.push(Done {
                place: plan::API.to_owned(),
                step: step.to_string(),
                result,
            });
            if failed {
                return results;
            }
        }
        let rows = plan.hosts.iter().map(|(name, steps)| async move {
            let mut results = Vec::new();
            for step in steps {
                let host = self.context.hosts.get(name);
                let _place = match &host {
                    Some(host) => Some(host.permit().await),
                    None => None,
                };
                let effect = Effect::Host(name, step);
                let result = self.controller.act(object, observed, effect).await;
                self.context.metrics.step(step_name::on_host(step), &result);
                let failed = result.is_err();
                results.push(Done {
                    place: name.clone(),
                    step: step.to_string(),
                    result,
                });
                if failed {
                    break;
                }
            }
            results
        });
        results.extend(futures::future::join_all(rows).await.into_iter().flatten());
        results
    }

    /// One line for a pass that changed something, one more for each step that was not done.
    fn report(&self, object: &C::Object, plan: &Plan<C::Record>, results: &[Done]) {
        if results.is_empty() {
            return;
        }
        let kind = C::Object::kind(&());
        let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
        let steps: Vec<String> = results
            .iter()
            .filter(|done| done.result.is_ok())
            .map(Done::words)
            .collect();
        let state = C::state(&plan.record);
        if !steps.is_empty() {
            info!(%kind, namespace, name, state, steps = steps.join("; "), "acted");
        }
        for done in results {
            if let Err(error) = &done.result {
                warn!(%kind, namespace, name, state, step = done.words(), %error, class = ?error.class(), "step not done");
            }
        }
    }
}

/// What became of one step.
struct Done {
    place: String,
    step: String,
    result: Result<(), StepError>,
}

impl Done {
    fn words(&self) -> String {
        if self.place == plan::API {
            self.step.clone()
        } else {
            format!("{} on {}", self.step, self.place)
        }
    }
}

/// Reads an object of any scope live.
async fn fetch<K>(client: kube::Client, key: &ObjectKey) -> Result<Option<K>, kube::Error>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
{
    // `Api` knows scopes at compile time only; a request by path knows none.
    let path = K::url_path(&(), key.namespace.as_deref());
    let request = http::Request::get(format!("{path}/{}", key.name))
        .body(Vec::new())
        .map_err(kube::Error::HttpError)?;
    match client.request::<K>(request).await {
        Ok(object) => Ok(Some(object)),
        Err(error) if crate::api::is_not_found(&error) => Ok(None),
        Err(error) => Err(error),
    }
}
