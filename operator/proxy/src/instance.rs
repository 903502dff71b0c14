//! One instance at run time: its gate, readiness, idle connections and drain.
//!
//! Owns the facts about one container at one address, and the claims on it. Must not know routes. Invariant: a
//! [`Lease`] is counted for as long as it lives, and hears of a cut.

use std::future::Future;
use std::net::SocketAddrV4;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use routes::{Check, Drain, InstanceStatus, Report, ReportKind, SectionKey};
use tokio::sync::futures::OwnedNotified;
use tokio::sync::{Notify, broadcast};
use tokio::time::{Instant, sleep_until};

use crate::gate::{Gate, InFlight, Kind};
use crate::pool::Pool;
use crate::readiness::Readiness;

/// After a failed connect other instances are preferred for this long.
const AVOID: Duration = Duration::from_secs(2);

const CUT_REQUESTS: u8 = 1;
const CUT_STREAMS: u8 = 2;

/// A container at an address, for as long as the table or a request knows it.
pub struct Instance {
    /// The section it belongs to.
    pub key: SectionKey,
    /// Container name.
    pub name: String,
    /// Full container id.
    pub container_id: String,
    /// Where its requests go; port 0 for one without.
    pub address: SocketAddrV4,
    /// Idle connections to it.
    pub pool: Pool,
    /// Asks for a check at once.
    pub nudge: Notify,
    gate: Gate,
    health: Mutex<Health>,
    eligible: AtomicBool,
    avoid_until: AtomicU64,
    born: Instant,
    cut: AtomicU8,
    cutting: Arc<Notify>,
    draining: Mutex<Option<tokio::task::AbortHandle>>,
    reports: broadcast::Sender<Report>,
}

/// What identifies an instance over pushes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Container name.
    pub name: String,
    /// Full container id.
    pub container_id: String,
    /// Where its requests go.
    pub address: SocketAddrV4,
}

struct Health {
    started_at: String,
    readiness: Readiness,
    trusted: bool,
}

impl Instance {
    /// An instance nobody may claim yet. `trusted`: it was routed before this proxy checked it.
    pub fn new(
        key: SectionKey,
        identity: Identity,
        started_at: String,
        trusted: bool,
        workers: usize,
        reports: broadcast::Sender<Report>,
    ) -> Self {
        let Identity {
            name,
            container_id,
            address,
        } = identity;
        Instance {
            key,
            name,
            container_id,
            address,
            pool: Pool::new(workers),
            nudge: Notify::new(),
            gate: Gate::new(),
            health: Mutex::new(Health {
                started_at,
                readiness: Readiness::default(),
                trusted,
            }),
            eligible: AtomicBool::new(true),
            avoid_until: AtomicU64::new(0),
            born: Instant::now(),
            cut: AtomicU8::new(0),
            cutting: Arc::new(Notify::new()),
            draining: Mutex::new(None),
            reports,
        }
    }

    /// Whether a section means this instance.
    pub fn is(&self, identity: &Identity) -> bool {
        self.name == identity.name
            && self.container_id == identity.container_id
            && self.address == identity.address
    }

    /// Claims the instance for one request; `None` when it takes no new ones.
    pub fn claim(self: &Arc<Self>) -> Option<Lease> {
        self.gate.enter().then(|| Lease {
            instance: Arc::clone(self),
            kind: Kind::Request,
        })
    }

    /// Whether its check lets requests to it.
    pub fn is_eligible(&self) -> bool {
        self.eligible.load(Ordering::Relaxed)
    }

    /// Whether a connect to it failed just now.
    pub fn is_avoided(&self, now: Instant) -> bool {
        let until = self.avoid_until.load(Ordering::Relaxed);
        until != 0 && self.millis(now) < until
    }

    /// A connect to it failed: prefer others for a while and check it at once.
    pub fn avoid(&self, now: Instant) {
        let until = self.millis(now) + u64::try_from(AVOID.as_millis()).unwrap_or(u64::MAX);
        self.avoid_until.store(until, Ordering::Relaxed);
        self.nudge.notify_one();
    }

    /// Requests and streams in flight.
    pub fn in_flight(&self) -> InFlight {
        self.gate.in_flight()
    }

    /// Both together, for balancing.
    pub fn load(&self) -> u64 {
        self.gate.load()
    }

    /// Its gate, for pools.
    pub fn gate(&self) -> &Gate {
        &self.gate
    }

    /// Lets requests in and ends a drain.
    pub fn open(&self) {
        self.stop_drain();
        self.gate.open();
    }

    /// Lets no more in, without a limit for those inside. Its idle connections go.
    pub fn close(&self) {
        self.stop_drain();
        self.shut();
    }

    /// Lets no more in and cuts those inside at the limits, which begin now unless they already run.
    pub fn drain(self: &Arc<Self>, limits: Drain) {
        self.shut();
        let mut draining = self.draining();
        if draining.is_some() {
            return;
        }
        let begun = Instant::now();
        let weak = Arc::downgrade(self);
        let task = tokio::spawn(async move {
            let at = |seconds: u32| begun + Duration::from_secs(u64::from(seconds));
            let mut cuts = [
                (at(limits.request_seconds), CUT_REQUESTS),
                (at(limits.stream_seconds), CUT_STREAMS),
            ];
            cuts.sort_by_key(|(when, _)| *when);
            for (when, what) in cuts {
                sleep_until(when).await;
                let Some(instance) = weak.upgrade() else {
                    return;
                };
                instance.cut.fetch_or(what, Ordering::AcqRel);
                instance.cutting.notify_waiters();
            }
        });
        *draining = Some(task.abort_handle());
    }

    /// Takes a result of a check of the start it was made for.
    pub fn record(
        &self,
        started_at: &str,
        outcome: Result<(), String>,
        check: &Check,
        now: Instant,
    ) {
        let mut health = self.health();
        if health.started_at != started_at {
            return;
        }
        let first = health.readiness.checks() == 0;
        let trusted = health.trusted;
        let changed = health.readiness.record(outcome, check, trusted, now);
        if let Some(ready) = health.readiness.ready() {
            self.eligible.store(ready, Ordering::Relaxed);
        }
        drop(health);
        if changed || first {
            self.report(ReportKind::Readiness);
        }
    }

    /// Whether it was ever ready since this start.
    pub fn proven(&self) -> bool {
        self.health().readiness.proven()
    }

    /// The start its readiness is about.
    pub fn started_at(&self) -> String {
        self.health().started_at.clone()
    }

    /// The container was started again: nothing is known of it, and it gets requests only when its check says so.
    pub fn restarted(&self, started_at: &str, checked: bool) {
        *self.health() = Health {
            started_at: started_at.to_owned(),
            readiness: Readiness::default(),
            trusted: false,
        };
        self.eligible.store(!checked, Ordering::Relaxed);
        self.pool.clear();
    }

    /// Its revision has no check any more.
    pub fn unchecked(&self) {
        let mut health = self.health();
        health.readiness = Readiness::default();
        self.eligible.store(true, Ordering::Relaxed);
    }

    /// Its facts.
    pub fn status(&self, now: Instant) -> InstanceStatus {
        let health = self.health();
        let InFlight { requests, streams } = self.in_flight();
        let Health {
            started_at,
            readiness,
            trusted: _,
        } = &*health;
        let age = readiness
            .changed()
            .map(|at| u64::try_from(now.duration_since(at).as_millis()).unwrap_or(u64::MAX));
        InstanceStatus {
            container_id: self.container_id.clone(),
            started_at: started_at.clone(),
            ready: readiness.ready(),
            ready_for_millis: age.filter(|_| readiness.ready() == Some(true)),
            changed_millis_ago: age,
            checks: readiness.checks(),
            failures: readiness.failures(),
            last_error: readiness.last_error().map(str::to_owned),
            requests,
            streams,
        }
    }

    fn report(&self, kind: ReportKind) {
        // An error means that no session listens, and then nobody needs waking.
        let _ = self.reports.send(Report {
            key: Some(self.key.clone()),
            kind,
        });
    }

    fn shut(&self) {
        self.gate.close();
        self.pool.clear();
    }

    fn stop_drain(&self) {
        if let Some(task) = self.draining().take() {
            task.abort();
        }
        self.cut.store(0, Ordering::Release);
    }

    fn is_cut(&self, kind: Kind) -> bool {
        let bit = match kind {
            Kind::Request => CUT_REQUESTS,
            Kind::Stream => CUT_STREAMS,
        };
        self.cut.load(Ordering::Acquire) & bit != 0
    }

    fn millis(&self, now: Instant) -> u64 {
        u64::try_from(now.duration_since(self.born).as_millis()).unwrap_or(u64::MAX)
    }

    fn health(&self) -> MutexGuard<'_, Health> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn draining(&self) -> MutexGuard<'_, Option<tokio::task::AbortHandle>> {
        self.draining.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        self.stop_drain();
    }
}

/// A counted claim on an instance.
pub struct Lease {
    instance: Arc<Instance>,
    kind: Kind,
}

impl Lease {
    /// The claimed instance.
    pub fn instance(&self) -> &Arc<Instance> {
        &self.instance
    }

    /// Counts as a stream from here on.
    pub fn become_stream(&mut self) {
        if self.kind == Kind::Request {
            self.instance.gate.become_stream();
            self.kind = Kind::Stream;
        }
    }

    /// Whether the drain limit of its kind has passed.
    pub fn is_cut(&self) -> bool {
        self.instance.is_cut(self.kind)
    }

    /// To hear of a cut elsewhere than where the claim is.
    pub fn watch(&self) -> CutWatch {
        CutWatch {
            instance: Arc::clone(&self.instance),
            kind: self.kind,
            notified: None,
        }
    }

    /// Waits until the drain limit of its kind has passed.
    pub async fn until_cut(&self) {
        loop {
            let notified = self.instance.cutting.notified();
            tokio::pin!(notified);
            notified.as_mut().enable();
            if self.is_cut() {
                return;
            }
            notified.await;
        }
    }
}

/// Hears of the cut of one claim.
pub struct CutWatch {
    instance: Arc<Instance>,
    kind: Kind,
    notified: Option<Pin<Box<OwnedNotified>>>,
}

impl CutWatch {
    /// Ready when the drain limit has passed; else the task is woken when it does.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let cutting = &self.instance.cutting;
            let notified = self
                .notified
                .get_or_insert_with(|| Box::pin(Arc::clone(cutting).notified_owned()));
            let polled = notified.as_mut().poll(cx);
            // Asked only after registering, so that a cut in between is seen either way.
            if self.instance.is_cut(self.kind) {
                return Poll::Ready(());
            }
            match polled {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(()) => self.notified = None,
            }
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if self.instance.gate.leave(self.kind) {
            self.instance.report(ReportKind::Drained);
        }
    }
}
