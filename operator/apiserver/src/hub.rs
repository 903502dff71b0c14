//! Owns what every request and every loop of the server share.
//!
//! It must not know verbs or sockets. Invariant: the time of anything that is stored comes from [`Hub::now`], so that a
//! test drives it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use jiff::{RoundMode, Timestamp, TimestampRound, Unit};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::audit::AuditLog;
use crate::auth::Authenticator;
use crate::error::ApiError;
use crate::limits::Limits;
use crate::registry::Registry;
use crate::store::Store;

/// Tells the time.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// Rules of one object must be judged by then. The cost limits keep them far below; this is the last guard.
const JUDGED_WITHIN: Duration = Duration::from_secs(2);

/// Objects judged at once where rules run on threads of their own.
const JUDGES_MAX: usize = 2;

/// What requests and loops share.
pub struct Hub {
    /// The objects.
    pub store: Store,
    /// The live set of resources.
    pub registry: Registry,
    /// How much clients may ask for.
    pub limits: Limits,
    /// The record of writes.
    pub audit: AuditLog,
    /// Who may come in.
    pub authenticator: Authenticator,
    /// Cancelled when the server begins to stop.
    pub stopping: CancellationToken,
    clock: Clock,
    ready: AtomicBool,
    judges: Option<Arc<Semaphore>>,
}

/// The parts of a [`Hub`].
pub struct Parts {
    /// The objects.
    pub store: Store,
    /// The record of writes.
    pub audit: AuditLog,
    /// Who may come in.
    pub authenticator: Authenticator,
    /// Tells the time.
    pub clock: Clock,
    /// Whether rules may run on other threads; under driven time everything runs in one.
    pub threads: bool,
}

impl Hub {
    /// A hub that is not ready yet.
    pub fn new(parts: Parts) -> Self {
        Self {
            registry: Registry::open(&parts.store),
            store: parts.store,
            limits: Limits::default(),
            audit: parts.audit,
            authenticator: parts.authenticator,
            stopping: CancellationToken::new(),
            clock: parts.clock,
            ready: AtomicBool::new(false),
            judges: parts.threads.then(|| Arc::new(Semaphore::new(JUDGES_MAX))),
        }
    }

    /// The time in whole seconds, as metadata keeps it.
    pub fn now(&self) -> Timestamp {
        let whole = TimestampRound::new()
            .smallest(Unit::Second)
            .mode(RoundMode::Trunc);
        let now = (self.clock)();
        now.round(whole).unwrap_or(now)
    }

    /// The time with all its digits.
    pub fn exactly_now(&self) -> Timestamp {
        (self.clock)()
    }

    /// Whether requests can be answered from a complete state.
    pub fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Acquire)
            && !self.stopping.is_cancelled()
            && self.store.failure().is_none()
    }

    /// Says that what must exist from the start exists.
    pub fn set_ready(&self) {
        self.ready.store(true, Ordering::Release);
    }

    /// Runs rules that a client wrote: bounded in number and time where there are threads, in place where there are not.
    pub async fn judge<T: Send + 'static>(
        &self,
        rules: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, ApiError> {
        let Some(judges) = &self.judges else {
            return Ok(rules());
        };
        let too_slow = || ApiError::timeout("the validation rules of this object took too long");
        let permit = tokio::time::timeout(JUDGED_WITHIN, Arc::clone(judges).acquire_owned())
            .await
            .map_err(|_| too_slow())?
            .map_err(ApiError::internal)?;
        let judged = tokio::task::spawn_blocking(move || {
            // The permit goes with the work, so that work which is given up on still counts.
            let _permit = permit;
            rules()
        });
        tokio::time::timeout(JUDGED_WITHIN, judged)
            .await
            .map_err(|_| too_slow())?
            .map_err(|_| ApiError::internal("the validation rules failed"))
    }
}
