//! The Lease `mooring`: one operator acts at a time, and its fence epoch.
//!
//! A Lease is no fence by itself, since a frozen holder does not know that it lost it. So each holder raises the
//! epoch that is kept in the same object, by compare-and-set, and proxies refuse a lower one than they have seen.
//! Owns the Lease. It must not know what the holder does. Invariants: the epoch never falls; whoever has not renewed
//! for `STOP` acts no more. Renewals are no effects and do not pass the gate.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{Api, ObjectMeta, PostParams};
use tokio::time::Instant;
use tracing::{info, warn};

use crate::api;
use crate::clock::Clock;

/// The Lease's name in the system namespace.
pub const NAME: &str = "mooring";
/// Keeps the epoch, a decimal number.
pub const EPOCH: &str = "mooring.dev/epoch";
/// Others take over after this long without a renewal.
const DURATION: Duration = Duration::from_secs(30);
/// The holder renews this often.
const RENEW: Duration = Duration::from_secs(10);
/// The holder stops acting after this long without a renewal: well before others take over.
const STOP: Duration = Duration::from_secs(20);
/// How often the Lease of another is looked at.
const WATCH: Duration = Duration::from_secs(2);
/// How often a renewal that failed is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// Tries of a compare-and-set against other writers of the Lease.
const MAX_CONFLICTS: usize = 10;

/// The fence epoch of this operator. Cloning shares it.
#[derive(Clone)]
pub struct Epoch {
    current: Arc<AtomicU64>,
}

impl Epoch {
    /// An epoch that is known: for tests and sessions that only read.
    pub fn fixed(epoch: u64) -> Epoch {
        Epoch {
            current: Arc::new(AtomicU64::new(epoch)),
        }
    }

    /// The epoch at this moment.
    pub fn current(&self) -> u64 {
        self.current.load(Ordering::Acquire)
    }
}

/// Why the Lease is not ours.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    /// The API did not answer as it should.
    #[error("the Lease {NAME}: {0}")]
    Api(String),
    /// Another operator holds it.
    #[error(
        "the Lease {NAME} was taken over by {holder}; this operator stops so that only one acts"
    )]
    Lost {
        /// The other's identity.
        holder: String,
    },
    /// It could not be renewed in time.
    #[error(
        "the Lease {NAME} could not be renewed for {} s ({last}); this operator stops so that only one acts",
        STOP.as_secs()
    )]
    Expired {
        /// What the last try met.
        last: String,
    },
    /// Too many others write it.
    #[error("the Lease {NAME} is written by others all the time")]
    Contended,
}

impl From<kube::Error> for LeaseError {
    fn from(error: kube::Error) -> Self {
        LeaseError::Api(api::words(&error))
    }
}

/// Our hold on the Lease. Cloning shares it.
#[derive(Clone)]
pub struct Holder {
    leases: Api<Lease>,
    clock: Arc<dyn Clock>,
    identity: Arc<str>,
    epoch: Epoch,
    /// When we took it, as the Lease says: tells us from a later process of the same identity.
    acquired: Arc<Mutex<Option<MicroTime>>>,
}

impl Holder {
    /// A hold in the name of `identity`, not taken yet. The same identity means the same process or one that cannot
    /// live beside it, so it takes over at once.
    pub fn new(
        client: kube::Client,
        namespace: &str,
        clock: Arc<dyn Clock>,
        identity: &str,
    ) -> Holder {
        Holder {
            leases: Api::namespaced(client, namespace),
            clock,
            identity: Arc::from(identity),
            epoch: Epoch::fixed(0),
            acquired: Arc::default(),
        }
    }

    /// The epoch; 0 until the Lease is taken.
    pub fn epoch(&self) -> Epoch {
        self.epoch.clone()
    }

    /// Waits until the Lease can be taken, takes it and raises the epoch. Errors of the API are waited out.
    pub async fn acquire(&self) {
        let mut seen: Option<(Option<MicroTime>, Instant)> = None;
        let mut told = String::new();
        loop {
            let tried = self.try_acquire(&mut seen).await;
            let (why, wait) = match tried {
                Ok(None) => return,
                Ok(Some(holder)) => (format!("{holder} holds it"), WATCH),
                Err(error) => (error.to_string(), RETRY),
            };
            if why != told {
                info!(why, "waiting for the Lease");
                told = why;
            }
            self.clock.sleep(wait).await;
        }
    }

    /// Takes the Lease if it is free; otherwise says who holds it.
    async fn try_acquire(
        &self,
        seen: &mut Option<(Option<MicroTime>, Instant)>,
    ) -> Result<Option<String>, LeaseError> {
        let Some(lease) = self.leases.get_opt(NAME).await? else {
            let fresh = self.taken(Lease::default());
            return match self.leases.create(&PostParams::default(), &fresh).await {
                Ok(made) => {
                    self.adopt(&made);
                    Ok(None)
                }
                Err(error) if api::is_conflict(&error) => Ok(Some("another operator".to_owned())),
                Err(error) => Err(error.into()),
            };
        };
        let spec = lease.spec.clone().unwrap_or_default();
        let holder = spec.holder_identity.unwrap_or_default();
        if !holder.is_empty() && *holder != *self.identity {
            // Clocks of two machines are not compared: what counts is how long we have seen it unchanged.
            let now = Instant::now();
            let since = match seen {
                Some((renewed, since)) if *renewed == spec.renew_time => *since,
                Some(_) | None => {
                    *seen = Some((spec.renew_time, now));
                    now
                }
            };
            let duration = spec
                .lease_duration_seconds
                .and_then(|seconds| u64::try_from(seconds).ok())
                .map_or(DURATION, Duration::from_secs);
            if now.duration_since(since) <= duration {
                return Ok(Some(holder));
            }
        }
        let name = NAME;
        let taken = self.taken(lease);
        match self
            .leases
            .replace(name, &PostParams::default(), &taken)
            .await
        {
            Ok(made) => {
                self.adopt(&made);
                Ok(None)
            }
            Err(error) if api::is_conflict(&error) => Ok(Some("another operator".to_owned())),
            Err(error) => Err(error.into()),
        }
    }

    /// The Lease as it is when we begin to hold it, with the next epoch.
    fn taken(&self, mut lease: Lease) -> Lease {
        let next = epoch_of(&lease).max(self.epoch.current()) + 1;
        lease.metadata = ObjectMeta {
            name: Some(NAME.to_owned()),
            ..lease.metadata
        };
        set_epoch(&mut lease, next);
        let now = MicroTime(self.clock.now());
        let spec = lease.spec.get_or_insert_with(LeaseSpec::default);
        spec.holder_identity = Some(self.identity.to_string());
        spec.lease_duration_seconds = i32::try_from(DURATION.as_secs()).ok();
        spec.acquire_time = Some(now.clone());
        spec.renew_time = Some(now);
        spec.lease_transitions = Some(spec.lease_transitions.unwrap_or(0).saturating_add(1));
        lease
    }

    fn adopt(&self, lease: &Lease) {
        let taken = lease
            .spec
            .as_ref()
            .and_then(|spec| spec.acquire_time.clone());
        *self.acquired.lock().unwrap_or_else(PoisonError::into_inner) = taken;
        let epoch = epoch_of(lease);
        self.epoch.current.store(epoch, Ordering::Release);
        info!(epoch, identity = &*self.identity, "holding the Lease");
    }

    /// Renews the Lease for as long as it is polled; ends when it is lost.
    pub async fn keep(&self) -> LeaseError {
        let mut renewed = Instant::now();
        loop {
            self.clock.sleep(RENEW).await;
            loop {
                let left = STOP.saturating_sub(renewed.elapsed());
                let tried = tokio::time::timeout(left, self.change(|_| {})).await;
                let last = match tried {
                    Ok(Ok(())) if renewed.elapsed() < STOP => {
                        renewed = Instant::now();
                        break;
                    }
                    // The process stood still in the middle of it. The Lease is ours, but what was begun before is old.
                    Ok(Ok(())) => "it stood still".to_owned(),
                    Ok(Err(error @ LeaseError::Lost { .. })) => return error,
                    Ok(Err(error)) => error.to_string(),
                    Err(_) => "no answer".to_owned(),
                };
                if renewed.elapsed() + RETRY >= STOP {
                    return LeaseError::Expired { last };
                }
                warn!(error = last, "cannot renew the Lease; trying again");
                self.clock.sleep(RETRY).await;
            }
        }
    }

    /// Raises the epoch above `floor`, which a proxy has seen. Only the holder can.
    pub async fn raise_above(&self, floor: u64) -> Result<u64, LeaseError> {
        self.change(|lease| {
            let raised = epoch_of(lease).max(floor) + 1;
            set_epoch(lease, raised);
        })
        .await?;
        Ok(self.epoch.current())
    }

    /// Gives the Lease back, so that the next operator need not wait.
    pub async fn release(&self) {
        let given_back = self.change(|lease| {
            if let Some(spec) = &mut lease.spec {
                spec.holder_identity = Some(String::new());
            }
        });
        if let Err(error) = given_back.await {
            warn!(%error, "cannot give the Lease back; the next operator waits for its end");
        }
    }

    /// Writes the Lease, renewed and changed, as long as it is ours.
    async fn change(&self, change: impl Fn(&mut Lease)) -> Result<(), LeaseError> {
        for _ in 0..MAX_CONFLICTS {
            let mut lease = self.leases.get(NAME).await?;
            let spec = lease.spec.clone().unwrap_or_default();
            let holder = spec.holder_identity.unwrap_or_default();
            let acquired = self
                .acquired
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone();
            if *holder != *self.identity || spec.acquire_time != acquired {
                return Err(LeaseError::Lost { holder });
            }
            if let Some(spec) = &mut lease.spec {
                spec.renew_time = Some(MicroTime(self.clock.now()));
            }
            change(&mut lease);
            match self
                .leases
                .replace(NAME, &PostParams::default(), &lease)
                .await
            {
                Ok(written) => {
                    self.epoch
                        .current
                        .store(epoch_of(&written), Ordering::Release);
                    return Ok(());
                }
                Err(error) if api::is_conflict(&error) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(LeaseError::Contended)
    }
}

fn epoch_of(lease: &Lease) -> u64 {
    let annotations = lease.metadata.annotations.as_ref();
    annotations
        .and_then(|annotations| annotations.get(EPOCH))
        .and_then(|text| text.parse().ok())
        .unwrap_or(0)
}

fn set_epoch(lease: &mut Lease, epoch: u64) {
    lease
        .metadata
        .annotations
        .get_or_insert_with(BTreeMap::new)
        .insert(EPOCH.to_owned(), epoch.to_string());
}

#[cfg(test)]
mod tests;
