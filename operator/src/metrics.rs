//! What the operator counts, in OpenMetrics' words, and the small server that shows it.
//!
//! Owns the names and labels of all metrics. It must not know why something happened. Invariant: labels come from
//! closed lists of our own (kinds, steps, outcomes), never from names or messages.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use plan::fact::FailureClass;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tracing::{debug, warn};

use crate::driver::StepError;

/// Scrapers that are served at once; a Prometheus and a few people.
const MAX_SCRAPERS: usize = 16;
/// The longest time for a request's head: a scraper that is slower is not one.
const HEAD: Duration = Duration::from_secs(5);
/// The longest life of a scraper's connection.
const CONNECTION: Duration = Duration::from_secs(300);
/// The rest after an accept that failed: file descriptors come back when others are closed.
const REST: Duration = Duration::from_secs(1);
/// Bounds of the duration of a pass, in seconds.
const SECONDS: [f64; 10] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0, 120.0];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabels {
    kind: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PassLabels {
    kind: String,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StepLabels {
    step: &'static str,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabels {
    outcome: String,
}

/// The counters. Cloning shares them.
#[derive(Clone)]
pub struct Metrics {
    registry: Arc<Registry>,
    passes: Family<PassLabels, Counter>,
    durations: Family<KindLabels, Histogram, fn() -> Histogram>,
    steps: Family<StepLabels, Counter>,
    queued: Family<KindLabels, Gauge>,
    running: Family<KindLabels, Gauge>,
    rollouts: Family<OutcomeLabels, Counter>,
}

impl Default for Metrics {
    fn default() -> Self {
        Metrics::new()
    }
}

impl Metrics {
    /// All counters at zero.
    pub fn new() -> Metrics {
        let mut registry = Registry::with_prefix("mooring");
        let passes = Family::default();
        registry.register("passes", "Passes over objects", passes.clone());
        let histogram: fn() -> Histogram = || Histogram::new(SECONDS);
        let durations = Family::new_with_constructor(histogram);
        registry.register("pass_seconds", "Duration of passes", durations.clone());
        let steps = Family::default();
        registry.register("steps", "Steps by what became of them", steps.clone());
        let queued = Family::default();
        registry.register("queued", "Objects that wait for a pass", queued.clone());
        let running = Family::default();
        registry.register("running", "Passes under way", running.clone());
        let rollouts = Family::default();
        registry.register("rollouts", "Rollouts that ended", rollouts.clone());
        Metrics {
            registry: Arc::new(registry),
            passes,
            durations,
            steps,
            queued,
            running,
            rollouts,
        }
    }

    /// A pass is over.
    pub fn pass(&self, kind: &str, outcome: &'static str, took: Duration) {
        let labels = PassLabels {
            kind: kind.to_owned(),
            outcome,
        };
        self.passes.get_or_create(&labels).inc();
        let labels = KindLabels {
            kind: kind.to_owned(),
        };
        self.durations
            .get_or_create(&labels)
            .observe(took.as_secs_f64());
    }

    /// A step was tried.
    pub fn step(&self, step: &'static str, result: &Result<(), StepError>) {
        let outcome = match result {
            Ok(()) => "ok",
            Err(StepError::Failed { class, .. }) => match class {
                FailureClass::Refused => "refused",
                FailureClass::Transient => "transient",
                FailureClass::Unusable => "unusable",
                FailureClass::Unknown => "unknown",
            },
            Err(StepError::Unknown { .. }) => "unknown",
        };
        self.steps
            .get_or_create(&StepLabels { step, outcome })
            .inc();
    }

    /// How many objects of a kind wait and run.
    pub fn queue(&self, kind: &str, queued: usize, running: usize) {
        let labels = KindLabels {
            kind: kind.to_owned(),
        };
        let whole = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
        self.queued.get_or_create(&labels).set(whole(queued));
        self.running.get_or_create(&labels).set(whole(running));
    }

    /// A rollout ended. `outcome` is one of the words of a Release's outcome.
    pub fn rollout(&self, outcome: &str) {
        let labels = OutcomeLabels {
            outcome: outcome.to_owned(),
        };
        self.rollouts.get_or_create(&labels).inc();
    }

    /// All counters as OpenMetrics text.
    pub fn text(&self) -> String {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry)
            .expect("writing to a String cannot fail");
        text
    }
}

/// Metrics cannot be shown.
#[derive(Debug, thiserror::Error)]
#[error("--metrics-listen {address}: {source}")]
pub struct MetricsError {
    /// The address.
    address: SocketAddr,
    /// What the system said.
    source: std::io::Error,
}

/// The place where scrapers come to, if there is one.
pub struct Scraped(Option<TcpListener>);

impl Scraped {
    /// Listens on an address, or nowhere.
    pub async fn bind(address: Option<SocketAddr>) -> Result<Scraped, MetricsError> {
        let Some(address) = address else {
            return Ok(Scraped(None));
        };
        match TcpListener::bind(address).await {
            Ok(listener) => Ok(Scraped(Some(listener))),
            Err(source) => Err(MetricsError { address, source }),
        }
    }

    /// Shows the counters under `/metrics` for as long as it is polled.
    pub async fn serve(self, metrics: Metrics) -> Infallible {
        let Some(listener) = self.0 else {
            return std::future::pending().await;
        };
        let places = Arc::new(Semaphore::new(MAX_SCRAPERS));
        let mut connections = JoinSet::new();
        loop {
            let place = Arc::clone(&places)
                .acquire_owned()
                .await
                .expect("the semaphore is never closed");
            match listener.accept().await {
                Ok((stream, _)) => {
                    let serving = connection(stream, metrics.clone());
                    connections.spawn(async move {
                        let _place = place;
                        serving.await;
                    });
                }
                Err(error) => {
                    warn!(%error, "cannot accept a scraper");
                    tokio::time::sleep(REST).await;
                }
            }
            while connections.try_join_next().is_some() {}
        }
    }
}

async fn connection(stream: TcpStream, metrics: Metrics) {
    let service = hyper::service::service_fn(move |request| {
        let answer = answer(&request, &metrics);
        async move { Ok::<_, Infallible>(answer) }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .serve_connection(TokioIo::new(stream), service);
    if let Ok(Err(error)) = tokio::time::timeout(CONNECTION, connection).await {
        debug!(%error, "a scraper's connection ended");
    }
}

fn answer(request: &Request<Incoming>, metrics: &Metrics) -> Response<Full<Bytes>> {
    let known = request.uri().path() == "/metrics";
    let (status, text) = match (known, request.method() == Method::GET) {
        (true, true) => (StatusCode::OK, metrics.text()),
        (true, false) => (StatusCode::METHOD_NOT_ALLOWED, String::new()),
        (false, _) => (StatusCode::NOT_FOUND, "see /metrics\n".to_owned()),
    };
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    if status == StatusCode::OK {
        response.headers_mut().insert(
            header::CONTENT_TYPE,
            header::HeaderValue::from_static(
                "application/openmetrics-text; version=1.0.0; charset=utf-8",
            ),
        );
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_show_up_under_their_names() {
        let metrics = Metrics::new();
        metrics.pass("DockerHost", "idle", Duration::from_millis(3));
        metrics.step("CreateBridge", &Err(StepError::refused("no")));
        metrics.rollout("Succeeded");
        let text = metrics.text();
        for line in [
            r#"mooring_passes_total{kind="DockerHost",outcome="idle"} 1"#,
            r#"mooring_steps_total{step="CreateBridge",outcome="refused"} 1"#,
            r#"mooring_rollouts_total{outcome="Succeeded"} 1"#,
        ] {
            assert!(text.contains(line), "{text}");
        }
    }
}
