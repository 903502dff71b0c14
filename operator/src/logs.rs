//! `mooring logs`: what the instances of a pipeline write.
//!
//! The embedded control plane has no Pods, so `kubectl logs` has nothing to ask. This asks the API
//! which instances a Release has and reads their logs from the Engines that the DockerHosts name,
//! from where it runs. Must not change anything.

use std::io::Write;
use std::sync::Arc;

use crds::release::InstanceStatus;
use crds::{DeploymentPipeline, DockerHost, Release};
use futures::stream::select_all;
use futures::{StreamExt as _, TryStreamExt as _};
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt as _};

use crate::docker::endpoint::EndpointError;
use crate::docker::logs::{self, LogLine, Window};
use crate::docker::{Endpoint, Engine, Outcome};
use crate::gate::Open;

/// How many lines of each instance are shown unless it is followed from there.
const TAIL: usize = 1_000;
/// How many logs are read at once.
const AT_ONCE: usize = 64;

/// Which logs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    /// The pipeline's namespace.
    pub namespace: String,
    /// The pipeline.
    pub name: String,
    /// Go on with what is written from now on.
    pub follow: bool,
    /// The Release before the current one.
    pub previous: bool,
    /// The Release with this number.
    pub release: Option<u64>,
}

/// Why logs cannot be shown; each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum LogsError {
    /// The API refused or is away.
    #[error("the API: {0}")]
    Api(#[from] kube::Error),
    /// There is no such Release.
    #[error("{0}")]
    Nothing(String),
    /// The Engine cannot be reached from here.
    #[error(
        "host {host} has its Engine at {endpoint}, which cannot be reached from here ({outcome}); run `mooring logs` on that host"
    )]
    Elsewhere {
        /// The DockerHost.
        host: String,
        /// Its endpoint.
        endpoint: String,
        /// What happened.
        outcome: Outcome,
    },
    /// The Engine answered, but not with a log.
    #[error("instance {instance}: {outcome}")]
    Unreadable {
        /// The instance.
        instance: String,
        /// What happened.
        outcome: Outcome,
    },
    /// The endpoint is none that this version knows.
    #[error("host {host}: {message}")]
    Endpoint {
        /// The DockerHost.
        host: String,
        /// Why not.
        message: String,
    },
    /// Nobody reads what is shown.
    #[error("cannot write: {0}")]
    Output(#[from] std::io::Error),
}

/// Shows the logs on `out`, each line after the instance's revision, slot and attempt.
///
/// # Errors
/// See [`LogsError`].
pub async fn show(client: Client, ask: &Ask, out: &mut impl Write) -> Result<(), LogsError> {
    let release = release(&client, ask).await?;
    let instances = instances(&release);
    if instances.is_empty() {
        return Err(LogsError::Nothing(format!(
            "release {} has no instances any more; kubectl describe release {} shows how it ended",
            release.name_any(),
            release.name_any()
        )));
    }
    let window = Window {
        last: Some(TAIL),
        since: None,
        timestamps: true,
    };
    let mut streams = Vec::new();
    for instance in instances.iter().take(AT_ONCE) {
        let engine = engine(&client, &instance.host).await?;
        let unreadable = |outcome| LogsError::Unreadable {
            instance: instance.name.clone(),
            outcome,
        };
        let id = if instance.id.is_empty() {
            &instance.name
        } else {
            &instance.id
        };
        // The end of the log as it is, then what comes after it.
        let stream = if ask.follow {
            logs::follow(&engine, id, window)
                .await
                .map_err(unreadable)?
        } else {
            logs::read(&engine, id, window).await.map_err(unreadable)?
        };
        let label = label(&instance.name).to_owned();
        streams.push(stream.map(move |line| (label.clone(), line)));
    }
    if ask.follow {
        let mut all = select_all(streams);
        while let Some((label, line)) = all.next().await {
            write(out, &label, line)?;
        }
        return Ok(());
    }
    let mut lines: Vec<(String, LogLine)> = select_all(streams)
        .map(|(label, line)| line.map(|line| (label, line)))
        .try_collect()
        .await
        .map_err(|outcome| LogsError::Unreadable {
            instance: ask.name.clone(),
            outcome,
        })?;
    // Each line begins with its time, in a form whose text order is time order.
    lines.sort_by(|(_, a), (_, b)| a.text.cmp(&b.text));
    for (label, line) in lines {
        write(out, &label, Ok(line))?;
    }
    Ok(())
}

fn write(
    out: &mut impl Write,
    label: &str,
    line: Result<LogLine, Outcome>,
) -> Result<(), LogsError> {
    let line = line.map_err(|outcome| LogsError::Unreadable {
        instance: label.to_owned(),
        outcome,
    })?;
    let text = line
        .text
        .split_once(' ')
        .map_or(line.text.as_str(), |(_, text)| text);
    writeln!(out, "{label} {text}")?;
    Ok(())
}

/// Revision, slot and attempt of an instance's name.
fn label(name: &str) -> &str {
    let mut dots = name.rmatch_indices('.').map(|(index, _)| index + 1).skip(1);
    &name[dots.next().unwrap_or(0)..]
}

/// The Release that is meant.
async fn release(client: &Client, ask: &Ask) -> Result<Release, LogsError> {
    let Ask {
        namespace,
        name,
        follow: _,
        previous,
        release,
    } = ask;
    let pipelines = Api::<DeploymentPipeline>::namespaced(client.clone(), namespace);
    let Some(pipeline) = pipelines.get_opt(name).await? else {
        return Err(LogsError::Nothing(format!(
            "there is no DeploymentPipeline {name} in namespace {namespace}; kubectl get dp -A lists them all"
        )));
    };
    let selector = crds::deployment_pipeline::selector(name);
    let selector: Vec<String> = selector
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    let list = ListParams::default().labels(&selector.join(","));
    let mut releases = Api::<Release>::namespaced(client.clone(), namespace)
        .list(&list)
        .await?
        .items;
    releases.sort_by_key(|release| release.spec.number);
    let current = pipeline.status.and_then(|status| status.current_release);
    let found = match (release, previous) {
        (Some(number), _) => releases
            .into_iter()
            .find(|release| release.spec.number == *number),
        (None, true) => {
            releases.pop();
            releases.pop()
        }
        (None, false) => {
            let newest = releases.pop();
            let named = releases
                .into_iter()
                .find(|release| Some(release.name_any()) == current);
            newest
                .filter(|newest| Some(newest.name_any()) == current || named.is_none())
                .or(named)
        }
    };
    found.ok_or_else(|| {
        LogsError::Nothing(format!(
            "pipeline {name} has no such release; kubectl get rel -n {namespace} lists them"
        ))
    })
}

fn instances(release: &Release) -> Vec<InstanceStatus> {
    let stages = release.status.iter().flat_map(|status| &status.stages);
    stages.flat_map(|stage| stage.instances.clone()).collect()
}

/// The Engine of a DockerHost, reached from here.
async fn engine(client: &Client, host: &str) -> Result<Engine, LogsError> {
    let object = Api::<DockerHost>::all(client.clone()).get(host).await?;
    let endpoint: Endpoint = object
        .spec
        .endpoint
        .parse()
        .map_err(|error: EndpointError| LogsError::Endpoint {
            host: host.to_owned(),
            message: error.to_string(),
        })?;
    Engine::connect(&endpoint, Arc::new(Open))
        .await
        .map_err(|outcome| LogsError::Elsewhere {
            host: host.to_owned(),
            endpoint: object.spec.endpoint,
            outcome,
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_which_instance_wrote_it() {
        assert_eq!(
            label("default.shop.default.main.3fa9c2b041.0-1"),
            "3fa9c2b041.0-1"
        );
        assert_eq!(label("shop"), "shop");
    }
}
