//! Long effects on hosts that a step starts and that show up in what is observed: stops here, [`pulls`] beside them, and
//! [`resolutions`], questions that take as long.
//!
//! A stop takes as long as the application's grace. Waiting for it inside a step would make its
//! pipeline deaf, so it goes on by itself; while it does, the container's facts say so and it is
//! not asked for a second time, since some applications take a second signal for impatience.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::AbortHandle;

use crate::docker::{Engine, Outcome, containers};

pub mod pulls;
pub mod resolutions;

/// How long a step waits for a stop: most applications end well within, and the pass goes on
/// without another look.
const PATIENCE: Duration = Duration::from_secs(1);

/// The stops that are under way, by container ID. Those of a dropped set are abandoned; the Engine
/// finishes them all the same (F6).
#[derive(Default)]
pub struct Stops {
    under_way: Arc<Mutex<BTreeMap<String, AbortHandle>>>,
}

impl Drop for Stops {
    fn drop(&mut self) {
        for handle in self.lock().values() {
            handle.abort();
        }
    }
}

impl Stops {
    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, AbortHandle>> {
        self.under_way
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a container is being stopped.
    pub fn is_under_way(&self, id: &str) -> bool {
        self.lock().contains_key(id)
    }

    /// Stops a container; ends when it has ended, or after a second with the stop still going on.
    ///
    /// # Errors
    /// What the Engine said, if it said so within that second.
    pub async fn stop(&self, engine: &Engine, id: &str, grace: Duration) -> Result<(), Outcome> {
        if self.is_under_way(id) {
            return Ok(());
        }
        let (done, ended) = tokio::sync::oneshot::channel();
        let task = {
            let (engine, id, under_way) =
                (engine.clone(), id.to_owned(), Arc::clone(&self.under_way));
            async move {
                let result = containers::stop(&engine, &id, grace).await;
                under_way
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .remove(&id);
                // Nobody waits any more when it took longer than a step may.
                let _ = done.send(result);
            }
        };
        // The entry is made under the lock, so that a stop that ends at once removes it after.
        {
            let mut under_way = self.lock();
            let handle = tokio::spawn(task).abort_handle();
            under_way.insert(id.to_owned(), handle);
        }
        match tokio::time::timeout(PATIENCE, ended).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) | Err(_) => Ok(()),
        }
    }
}
