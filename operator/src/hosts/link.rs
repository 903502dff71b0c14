//! The two tasks that keep a host connected: one to its Engine, one to its proxy.
//!
//! Owns connecting, again and again, and turning what a host reports into wake-ups. It must not read facts. Invariant:
//! after every gap in the reports everything on the host is woken, since reports were missed (F10).

use std::sync::Arc;
use std::time::Duration;

use bollard::models::{EventMessage, EventMessageTypeEnum};
use crds::labels;
use crds::names::InstanceName;
use futures::StreamExt as _;
use tracing::{debug, info, warn};

use super::{Host, Links};
use crate::backoff;
use crate::docker::endpoint::ByteStream;
use crate::docker::{Endpoint, Engine, Outcome, events, exec, system};
use crate::proxy_binary;
use crate::proxy_client::Heard;

/// The kinds of events that concern us.
const TYPES: [&str; 3] = ["container", "network", "image"];
/// An Engine whose event stream is silent is asked this often whether it is still there.
const PING: Duration = Duration::from_secs(10);

/// Connects to the Engine and listens to its events, for ever.
pub(super) async fn keep_engine(host: Arc<Host>, links: Links) {
    let mut attempts = 0;
    loop {
        let outcome = hold_engine(&host, &links, &mut attempts).await;
        attempts += 1;
        let before = host.connected();
        let was_connected = matches!(before, Some(Ok(_)));
        let changed = !matches!(&before, Some(Err(known)) if *known == outcome);
        host.set_engine(Err(outcome.clone()));
        if was_connected {
            warn!(host = host.name, error = %outcome, "lost the Engine");
        } else if changed {
            warn!(host = host.name, error = %outcome, "cannot connect to the Engine");
        }
        if was_connected || changed {
            wake_all(&host, &links);
        }
        let wait = backoff::CONNECT.delay(attempts, links.jitter.next());
        tokio::time::sleep(wait).await;
    }
}

/// One connection from its begin to its end; says how it ended.
async fn hold_engine(host: &Host, links: &Links, attempts: &mut u32) -> Outcome {
    let endpoint: Endpoint = match host.endpoint.parse() {
        Ok(endpoint) => endpoint,
        Err(error) => {
            let message = format!("{error}");
            return Outcome::Incompatible { message };
        }
    };
    let dialer = (links.dial)(&endpoint);
    let engine = match Engine::connect_with(dialer, Arc::clone(&links.gate)).await {
        Ok(engine) => engine,
        Err(outcome) => return outcome,
    };
    // Subscribed before anybody reads a fact: what changes after the reading is heard.
    let mut events = match events::subscribe(&engine, &TYPES, &[]).await {
        Ok(events) => events,
        Err(outcome) => return outcome,
    };
    *attempts = 0;
    info!(
        host = host.name,
        engine = engine.facts().engine_version,
        api = %engine.facts().api_version,
        "connected to the Engine"
    );
    host.set_engine(Ok(engine.clone()));
    wake_all(host, links);
    loop {
        tokio::select! {
            event = events.next() => match event {
                Some(Ok(event)) => hear(host, links, &event),
                Some(Err(outcome)) => return outcome,
                None => return Outcome::Unreachable {
                    call: "watch events".to_owned(),
                    message: "the Engine ended the stream".to_owned(),
                },
            },
            () = host.closed.notified() => return Outcome::Unreachable {
                call: "connect anew".to_owned(),
                message: "the Engine takes no new connection; it may be ending".to_owned(),
            },
            () = tokio::time::sleep(PING) => {
                if let Err(outcome) = system::knock(&engine).await {
                    return outcome;
                }
            }
        }
    }
}

/// Everything on the host may have changed.
fn wake_all(host: &Host, links: &Links) {
    links.wakes.host(&host.name);
    links.wakes.all_pipelines();
}

/// Wakes whom an event concerns.
fn hear(host: &Host, links: &Links, event: &EventMessage) {
    let action = event.action.as_deref().unwrap_or_default();
    // Commands in containers come and go with every probe and session and change nothing.
    if action.starts_with("exec_")
        || matches!(
            action,
            "top" | "resize" | "attach" | "archive-path" | "extract-to-dir"
        )
    {
        return;
    }
    let attributes = event
        .actor
        .as_ref()
        .and_then(|actor| actor.attributes.as_ref());
    let label = |name: &str| {
        attributes
            .and_then(|attributes| attributes.get(name))
            .map(String::as_str)
            .filter(|value| !value.is_empty())
    };
    debug!(host = host.name, action, "the Engine reports");
    match event.typ {
        Some(EventMessageTypeEnum::CONTAINER) => {
            match (label(labels::NAMESPACE), label(labels::PIPELINE)) {
                (Some(namespace), Some(pipeline)) => {
                    links.wakes.pipeline(namespace, pipeline);
                    // The number of instances is in the DockerHost's status.
                    if matches!(action, "create" | "destroy") {
                        links.wakes.host(&host.name);
                    }
                }
                (Some(_) | None, None) | (None, Some(_)) => {
                    if label(labels::ROLE).is_some() {
                        links.wakes.host(&host.name);
                    }
                    // Somebody else's container may come under a name that an instance needs, and go again.
                    for name in ["name", "oldName"].into_iter().filter_map(label) {
                        if let Some(held) = InstanceName::parse(name.trim_start_matches('/')) {
                            links.wakes.pipeline(&held.namespace, &held.pipeline);
                        }
                    }
                }
            }
        }
        Some(EventMessageTypeEnum::NETWORK) => {
            if matches!(action, "create" | "destroy" | "remove") {
                links.wakes.host(&host.name);
                links.wakes.all_pipelines();
            }
            // Labels are in no network event, but a bridge of ours has its namespace in its name. One of ours that was
            // disconnected by hand and a foreign one that was connected are seen by those whose network it is.
            if matches!(action, "connect" | "disconnect")
                && let Some(namespace) = label("name").and_then(crds::names::bridged)
            {
                links.wakes.pipelines_in(namespace);
            }
        }
        Some(EventMessageTypeEnum::IMAGE) => {
            if matches!(
                action,
                "tag" | "untag" | "delete" | "load" | "import" | "pull"
            ) {
                links.wakes.all_pipelines();
            }
        }
        _ => {}
    }
}

/// Keeps the session with the proxy open, for ever.
pub(super) async fn keep_proxy(host: Arc<Host>, links: Links) {
    let session = host.proxy.clone();
    let opener = Arc::clone(&host);
    let open = move |container: String| {
        let host = Arc::clone(&opener);
        async move { connect(&host, &container).await }
    };
    let jitter = Arc::clone(&links.jitter);
    let hear = move |heard: Heard| match heard {
        Heard::Opened => {
            info!(host = host.name, "connected to the proxy");
            wake_all(&host, &links);
        }
        Heard::Closed(why) => {
            warn!(host = host.name, why, "lost the proxy");
            wake_all(&host, &links);
        }
        Heard::Report(report) => match report.key {
            Some(key) => {
                let (namespace, pipeline, _) = key.parts();
                links.wakes.pipeline(namespace, pipeline);
            }
            None => wake_all(&host, &links),
        },
    };
    session.run(open, &jitter, hear).await;
}

/// Runs the connector in the proxy's container.
async fn connect(host: &Host, container: &str) -> Result<Box<dyn ByteStream>, String> {
    let engine = host.engine().await.map_err(|outcome| outcome.to_string())?;
    let command = proxy_binary::connect_command();
    let id = exec::create(&engine, container, &command, None)
        .await
        .map_err(|outcome| outcome.to_string())?;
    let stream = exec::start(&engine, &id)
        .await
        .map_err(|outcome| outcome.to_string())?;
    Ok(Box::new(stream))
}
