//! The table in force: who may change it, what a change does, and what is reported about it.
//!
//! Owns compare-and-set, install and epoch, the order of a change, and persistence. Must not know frames or sockets.
//! Invariants: a change is validated, swapped in, persisted and only then acknowledged; gates of instances that get
//! no more requests are closed after the swap and before the acknowledgement, so nobody enters them afterwards; an
//! instance that left keeps being counted until nothing is in flight on it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use routes::{Listener, Refusal, Reply, Report, ReportKind, Section, SectionKey, Status, Table};
use tokio::sync::broadcast;
use tokio::time::{Instant, sleep};

use crate::fleet::{Fleet, Makings};
use crate::storage::Storage;

/// How often what could not be persisted is tried again, and idle connections are looked through.
const MAINTENANCE: Duration = Duration::from_secs(5);
/// Added to the version at every start. Versions that were acknowledged but not persisted are thereby never given to
/// another content, unless one process life had a million of them.
const RESTART_STEP: u64 = 1 << 20;

/// The table and everything that runs because of it.
pub struct State {
    makings: Makings,
    storage: Storage,
    core: Mutex<Core>,
    saving: tokio::sync::Mutex<()>,
    listener: Mutex<Listener>,
    started: Instant,
}

struct Core {
    table: Table,
    fleet: Fleet,
    /// Rises with every change, also of install and epoch, which have no version.
    change: u64,
    saved: u64,
    storage_error: Option<String>,
}

/// Who asks for a change.
pub struct Caller {
    /// The operator's install.
    pub install: String,
    /// Its fence epoch.
    pub epoch: u64,
}

impl State {
    /// Reads the last table and serves it at once. Must run inside a runtime, which the checks then use.
    pub fn open(storage: Storage, makings: Makings) -> Arc<State> {
        let (mut table, error) = storage.load();
        if let Some(error) = &error {
            tracing::error!(%error, "the table could not be read");
        }
        table.version += RESTART_STEP;
        let mut fleet = Fleet::default();
        for section in table.sections.values() {
            fleet.place(&makings, section);
        }
        fleet.settle(&makings, &mut table);
        tracing::info!(
            sections = table.sections.len(),
            version = table.version,
            epoch = table.epoch,
            "serving the last table"
        );
        let state = Arc::new(State {
            makings,
            storage,
            core: Mutex::new(Core {
                table,
                fleet,
                change: 0,
                saved: 0,
                storage_error: error.map(|error| error.to_string()),
            }),
            saving: tokio::sync::Mutex::default(),
            listener: Mutex::new(Listener::Closed),
            started: Instant::now(),
        });
        tokio::spawn(maintain(Arc::downgrade(&state)));
        state
    }

    /// Replaces one section.
    pub async fn push(&self, caller: Caller, expect: Option<u64>, mut section: Section) -> Reply {
        let key = section.key();
        let accepted = {
            let mut core = self.core();
            match core.push(&self.makings, &caller, expect, &mut section) {
                Ok(version) => version,
                Err(reason) => return Reply::Refused { reason },
            }
        };
        let persisted = self.persist().await;
        let conflicts = self.core().fleet.conflicts_of(&key);
        tracing::info!(section = %key, version = accepted, persisted, conflicts = conflicts.len(), "section in force");
        self.report(Some(key), ReportKind::Table);
        Reply::Acked {
            version: accepted,
            persisted,
            conflicts,
        }
    }

    /// Removes one section.
    pub async fn drop_section(&self, caller: Caller, key: SectionKey, expect: u64) -> Reply {
        let version = {
            let mut core = self.core();
            match core.remove(&self.makings, &caller, &key, expect) {
                Ok(version) => version,
                Err(reason) => return Reply::Refused { reason },
            }
        };
        let persisted = self.persist().await;
        tracing::info!(section = %key, version, persisted, "section dropped");
        self.report(Some(key), ReportKind::Table);
        Reply::Acked {
            version,
            persisted,
            conflicts: Vec::new(),
        }
    }

    /// Makes the proxy an install's, or raises its epoch.
    pub async fn claim(&self, caller: Caller) -> Reply {
        let version = {
            let mut core = self.core();
            match core.admit(&caller) {
                Ok(()) => core.table.version,
                Err(reason) => return Reply::Refused { reason },
            }
        };
        let persisted = self.persist().await;
        Reply::Acked {
            version,
            persisted,
            conflicts: Vec::new(),
        }
    }

    /// Everything known about the sections named, or about all.
    pub fn status(&self, keys: &[SectionKey]) -> Status {
        let mut core = self.core();
        let now = Instant::now();
        core.fleet.forget_drained();
        let wanted = |key: &SectionKey| keys.is_empty() || keys.contains(key);
        let sections = core.table.sections.iter().filter(|(key, _)| wanted(key));
        Status {
            version: core.table.version,
            install: core.table.install.clone(),
            epoch: core.table.epoch,
            persisted: core.saved == core.change,
            storage_error: core.storage_error.clone(),
            proxy_version: env!("CARGO_PKG_VERSION").to_owned(),
            uptime_millis: u64::try_from(now.duration_since(self.started).as_millis())
                .unwrap_or(u64::MAX),
            listener: self.listener(),
            sections: sections
                .map(|(key, section)| (key.clone(), core.fleet.status(section, now)))
                .collect(),
            leaving: core.fleet.leaving(),
            conflicts: core.fleet.conflicts(),
        }
    }

    /// The install that claimed the proxy.
    pub fn install(&self) -> Option<String> {
        self.core().table.install.clone()
    }

    /// The listener for HTTP.
    pub fn listener(&self) -> Listener {
        self.listener
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// The listener changed.
    pub fn set_listener(&self, listener: Listener) {
        *self.listener.lock().unwrap_or_else(PoisonError::into_inner) = listener;
        self.report(None, ReportKind::Listener);
    }

    /// Reports from now on.
    pub fn reports(&self) -> broadcast::Receiver<Report> {
        self.makings.reports.subscribe()
    }

    /// What is shared with requests.
    pub fn makings(&self) -> &Makings {
        &self.makings
    }

    fn report(&self, key: Option<SectionKey>, kind: ReportKind) {
        // An error means that no session listens, and then nobody needs waking.
        let _ = self.makings.reports.send(Report { key, kind });
    }

    /// Puts the table in force on disk. `false` when it is not there; it is tried again by maintenance.
    async fn persist(&self) -> bool {
        let _saving = self.saving.lock().await;
        let (table, change) = {
            let core = self.core();
            if core.saved == core.change {
                return true;
            }
            (core.table.clone(), core.change)
        };
        let storage = self.storage.clone();
        let outcome = match storage {
            Storage::Memory => Ok(()),
            Storage::Directory(_) => {
                match tokio::task::spawn_blocking(move || storage.save(&table)).await {
                    Ok(saved) => saved.map_err(|error| error.to_string()),
                    Err(error) => Err(error.to_string()),
                }
            }
        };
        let mut core = self.core();
        match outcome {
            Ok(()) => {
                core.saved = change;
                core.storage_error = None;
                true
            }
            Err(error) => {
                tracing::error!(%error, "the table is served but not on disk");
                core.storage_error = Some(error);
                false
            }
        }
    }

    fn core(&self) -> MutexGuard<'_, Core> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Core {
    /// Checks who asks, and learns install and epoch.
    fn admit(&mut self, caller: &Caller) -> Result<(), Refusal> {
        match &self.table.install {
            Some(install) if *install != caller.install => {
                return Err(Refusal::OtherInstall {
                    install: install.clone(),
                });
            }
            Some(_) => {}
            None => {
                tracing::info!(install = %caller.install, "claimed");
                self.table.install = Some(caller.install.clone());
                self.change += 1;
            }
        }
        if caller.epoch < self.table.epoch {
            return Err(Refusal::StaleEpoch {
                highest: self.table.epoch,
            });
        }
        if caller.epoch > self.table.epoch {
            self.table.epoch = caller.epoch;
            self.change += 1;
        }
        Ok(())
    }

    fn expect(&self, key: &SectionKey, expect: Option<u64>) -> Result<(), Refusal> {
        let current = self.table.sections.get(key).map(|section| section.version);
        if current == expect {
            Ok(())
        } else {
            Err(Refusal::VersionMismatch { current })
        }
    }

    fn push(
        &mut self,
        makings: &Makings,
        caller: &Caller,
        expect: Option<u64>,
        section: &mut Section,
    ) -> Result<u64, Refusal> {
        let mut faults = section.faults();
        faults.extend(self.fleet.faults(&self.table, section));
        if !faults.is_empty() {
            return Err(Refusal::Invalid { faults });
        }
        self.admit(caller)?;
        let key = section.key();
        self.expect(&key, expect)?;
        if let Some(current) = self.table.sections.get(&key)
            && current.same_content(section)
        {
            return Ok(current.version);
        }
        self.change += 1;
        self.table.version += 1;
        section.version = self.table.version;
        self.fleet.place(makings, section);
        self.table.sections.insert(key, section.clone());
        self.fleet.settle(makings, &mut self.table);
        Ok(section.version)
    }

    fn remove(
        &mut self,
        makings: &Makings,
        caller: &Caller,
        key: &SectionKey,
        expect: u64,
    ) -> Result<u64, Refusal> {
        self.admit(caller)?;
        self.expect(key, Some(expect))?;
        self.change += 1;
        self.table.version += 1;
        if let Some(section) = self.table.sections.remove(key) {
            self.fleet.remove(&section);
        }
        self.fleet.settle(makings, &mut self.table);
        Ok(self.table.version)
    }
}

async fn maintain(state: Weak<State>) {
    loop {
        sleep(MAINTENANCE).await;
        let Some(state) = state.upgrade() else { return };
        let behind = {
            let mut core = state.core();
            core.fleet.sweep(Instant::now());
            core.saved != core.change
        };
        if behind && state.persist().await {
            state.report(None, ReportKind::Persisted);
        }
    }
}
