//! The states of one pipeline's next rollout as the API's watch shows them, each with the moment it was shown.
//!
//! Owns one watch, in a thread of its own, so that a test can act within the state it waits for. It must not know what
//! the states mean. It ends with the API that it watches: one watch is for one rollout.

use std::path::Path;
use std::pin::pin;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use crds::Release;
use crds::release::{Outcome, RolloutState};
use futures::TryStreamExt as _;
use kube::api::{Api, ListParams, WatchEvent, WatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

/// The longest time until the watch stands.
const STANDS: Duration = Duration::from_secs(10);

/// What the watch showed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shown {
    /// The state of the rollout.
    pub state: RolloutState,
    /// How it ended, if it has.
    pub outcome: Option<Outcome>,
    /// When it was shown.
    pub at: Instant,
}

/// A running watch.
#[derive(Debug)]
pub struct States(Receiver<Shown>);

impl States {
    /// Watches the Releases of a pipeline in the namespace default that come after the one that is the newest now.
    ///
    /// # Panics
    /// The API does not answer.
    pub fn watch(kubeconfig: &Path, pipeline: &str) -> States {
        let (show, shown) = channel();
        let (begun, begins) = channel();
        let (kubeconfig, pipeline) = (kubeconfig.to_owned(), pipeline.to_owned());
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            // It ends when the API goes or nobody listens any more; neither is an error.
            let _ = runtime.block_on(watch(&kubeconfig, &pipeline, &begun, &show));
        });
        begins
            .recv_timeout(STANDS)
            .expect("the API takes the watch");
        States(shown)
    }

    /// The next state, or `None` when none was shown until `end` or the API is gone.
    pub fn next(&self, end: Instant) -> Option<Shown> {
        let left = end.saturating_duration_since(Instant::now());
        self.0.recv_timeout(left).ok()
    }
}

async fn watch(
    kubeconfig: &Path,
    pipeline: &str,
    begun: &Sender<()>,
    show: &Sender<Shown>,
) -> Result<(), Box<dyn std::error::Error>> {
    let kubeconfig = Kubeconfig::read_from(kubeconfig)?;
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    let releases: Api<Release> = Api::namespaced(Client::try_from(config)?, "default");
    let field = format!("spec.pipeline={pipeline}");
    let there = releases.list(&ListParams::default().fields(&field)).await?;
    let newest = there.items.iter().map(|release| release.spec.number).max();
    let version = there.metadata.resource_version.unwrap_or_default();
    let params = WatchParams::default().fields(&field);
    let mut events = pin!(releases.watch(&params, &version).await?);
    begun.send(())?;
    let mut last = None;
    while let Some(event) = events.try_next().await? {
        let (WatchEvent::Added(release) | WatchEvent::Modified(release)) = event else {
            continue;
        };
        let stage = release
            .status
            .and_then(|status| status.stages.into_iter().next());
        let state = stage.map(|stage| (stage.state, stage.outcome));
        if Some(release.spec.number) <= newest || state == last {
            continue;
        }
        if let Some((state, outcome)) = state {
            let at = Instant::now();
            show.send(Shown { state, outcome, at })?;
        }
        last = state;
    }
    Ok(())
}
