//! One container's inspect, in the words of `plan`: what it does and whether it is fit for traffic.
//!
//! Who judges readiness is decided once, here: the template's probe, else the image's HEALTHCHECK,
//! else a TCP connect to the traffic port, else running.

use std::net::Ipv4Addr;
use std::sync::Arc;

use bollard::models::{
    ContainerInspectResponse, ContainerStateStatusEnum, Health, HealthStatusEnum,
};
use crds::Release;
use crds::labels::Role;
use crds::names::InstanceName;
use crds::release::InstanceState;
use crds::template::Template;
use jiff::{SignedDuration, Timestamp};
use plan::fact::{ContainerFacts, ContainerState, NetworkFacts, Readiness};
use plan::resources::Resources;

use super::observe::Look;
use super::redact;
use crate::controllers::words::restart_policy;
use crate::docker::{Engine, Outcome, containers, logs};
use crate::hosts::Host;

/// How many of the last log lines of a failed instance are kept.
const LOG_LINES: usize = 20;

/// The facts of one container; `None` when it went away since it was listed.
pub(super) async fn container(
    look: &Look<'_>,
    host: &Arc<Host>,
    engine: &Engine,
    id: &str,
    instance: InstanceName,
    bridge: Option<&NetworkFacts>,
    status: Option<&routes::Status>,
) -> Result<Option<ContainerFacts>, Outcome> {
    let seen = match containers::inspect(engine, id).await {
        Ok(seen) => seen,
        Err(outcome) if outcome.is_not_found() => return Ok(None),
        Err(outcome) => return Err(outcome),
    };
    let release = look.release_of(&instance);
    let state = seen.state.clone().unwrap_or_default();
    let started_at_text = state.started_at.clone().unwrap_or_default();
    let (network_gone, address) = endpoint(&seen, bridge);
    let mut facts = ContainerFacts {
        id: id.to_owned(),
        name: seen
            .name
            .clone()
            .unwrap_or_default()
            .trim_start_matches('/')
            .to_owned(),
        role: Role::Instance,
        state: container_state(state.status),
        stopping: look.pipelines.stops.is_under_way(id),
        exit_code: state.exit_code,
        oom_killed: state.oom_killed.unwrap_or_default(),
        started_at: time(Some(&started_at_text)),
        started_at_text,
        finished_at: time(state.finished_at.as_ref()),
        created_at: time(seen.created.as_ref()),
        restart_count: seen
            .restart_count
            .and_then(|count| u32::try_from(count).ok())
            .unwrap_or(0),
        restart_policy: restart_policy(&seen),
        address,
        resources: resources(&seen),
        network_gone,
        readiness: Readiness::NotReady {
            since: None,
            why: String::new(),
        },
        log_tail: Vec::new(),
        instance,
    };
    let template = release.map_or(&look.pipeline.spec.template, |release| {
        &release.spec.template
    });
    facts.readiness = readiness(look, host, &facts, template, state.health.as_ref(), status);
    if wants_logs(look, &facts, release) {
        facts.log_tail = tail(look, engine, &facts, release).await;
    }
    Ok(Some(facts))
}

impl Look<'_> {
    /// The newest Release that runs an instance's revision.
    pub(super) fn release_of(&self, instance: &InstanceName) -> Option<&Release> {
        let revision = instance.revision.as_str();
        let running = self
            .releases
            .iter()
            .filter(|release| release.spec.revision == revision);
        running.max_by_key(|release| release.spec.number)
    }
}

fn container_state(status: Option<ContainerStateStatusEnum>) -> ContainerState {
    use ContainerStateStatusEnum as Status;
    match status {
        Some(Status::RUNNING | Status::STOPPING) => ContainerState::Running,
        Some(Status::PAUSED) => ContainerState::Paused,
        Some(Status::RESTARTING) => ContainerState::Restarting,
        Some(Status::REMOVING) => ContainerState::Removing,
        Some(Status::EXITED) => ContainerState::Exited,
        Some(Status::DEAD) => ContainerState::Dead,
        Some(Status::CREATED | Status::EMPTY) | None => ContainerState::Created,
    }
}

/// What a container may use of the host; what the Engine leaves out is none.
fn resources(seen: &ContainerInspectResponse) -> Resources {
    let Some(host) = &seen.host_config else {
        return Resources::default();
    };
    Resources {
        nano_cpus: host.nano_cpus.unwrap_or_default(),
        cpu_quota: host.cpu_quota.unwrap_or_default(),
        cpu_shares: host.cpu_shares.unwrap_or_default(),
        memory: host.memory.unwrap_or_default(),
        memory_reservation: host.memory_reservation.unwrap_or_default(),
    }
}

/// The Engine's time; its zero time, for what has not happened, is none.
fn time(text: Option<&String>) -> Option<Timestamp> {
    let time: Timestamp = text?.parse().ok()?;
    (time > Timestamp::UNIX_EPOCH).then_some(time)
}

/// Whether the network that a container was created in is gone, and its fixed address there.
fn endpoint(
    seen: &ContainerInspectResponse,
    bridge: Option<&NetworkFacts>,
) -> (bool, Option<Ipv4Addr>) {
    let mode = seen
        .host_config
        .as_ref()
        .and_then(|config| config.network_mode.clone());
    let gone = bridge.is_none_or(|bridge| mode.as_deref() != Some(bridge.id.as_str()));
    let networks = seen
        .network_settings
        .as_ref()
        .and_then(|settings| settings.networks.as_ref());
    let endpoint = networks
        .into_iter()
        .flat_map(|networks| networks.values())
        .find(|endpoint| {
            let network = endpoint.network_id.as_deref().unwrap_or_default();
            // A container that never ran has no network ID yet; it is in one network only.
            network.is_empty() || bridge.is_some_and(|bridge| bridge.id == network)
        });
    let address = endpoint.and_then(|endpoint| {
        let fixed = endpoint
            .ipam_config
            .as_ref()
            .and_then(|config| config.ipv4_address.as_ref());
        fixed.or(endpoint.ip_address.as_ref())?.parse().ok()
    });
    (gone, address)
}

fn readiness(
    look: &Look<'_>,
    host: &Arc<Host>,
    facts: &ContainerFacts,
    template: &Template,
    health: Option<&Health>,
    status: Option<&routes::Status>,
) -> Readiness {
    let not_ready = |why: &str| Readiness::NotReady {
        since: None,
        why: why.to_owned(),
    };
    if facts.state != ContainerState::Running {
        return not_ready("it does not run");
    }
    let started = facts.started_at.unwrap_or_default();
    let main = template.main();
    match &main.readiness_probe {
        Some(probe) => match &probe.exec {
            Some(_) => look
                .pipelines
                .exec
                .readiness(&look.key(), host, facts, probe),
            None => by_proxy(look, facts, status),
        },
        None => match health {
            Some(health) if health.status != Some(HealthStatusEnum::NONE) => {
                by_health(health, started)
            }
            _ if look.pipeline.spec.traffic.is_some() => by_proxy(look, facts, status),
            _ => Readiness::Ready(started),
        },
    }
}

/// What the proxy's check of this very run of the container says.
fn by_proxy(look: &Look<'_>, facts: &ContainerFacts, status: Option<&routes::Status>) -> Readiness {
    let Some(status) = status else {
        return Readiness::Unknown("the proxy, which checks it, cannot be asked".to_owned());
    };
    let key = routes::SectionKey::new(&look.namespace, &look.name, crds::DEFAULT_STAGE);
    let checked = status
        .sections
        .get(&key)
        .and_then(|section| section.instances.get(&facts.instance.to_string()))
        .filter(|seen| seen.container_id == facts.id && seen.started_at == facts.started_at_text);
    let Some(checked) = checked else {
        return Readiness::NotReady {
            since: None,
            why: String::new(),
        };
    };
    let now = look.context.clock.now();
    let ago = |millis: Option<u64>| {
        let millis = i64::try_from(millis.unwrap_or_default()).unwrap_or(i64::MAX);
        now.checked_sub(SignedDuration::from_millis(millis))
            .unwrap_or(now)
    };
    match checked.ready {
        Some(true) => Readiness::Ready(ago(checked.ready_for_millis)),
        Some(false) => Readiness::NotReady {
            since: Some(ago(checked.changed_millis_ago)),
            why: checked.last_error.clone().unwrap_or_default(),
        },
        None => Readiness::NotReady {
            since: None,
            why: checked.last_error.clone().unwrap_or_default(),
        },
    }
}

/// What the image's own HEALTHCHECK says. It has been healthy since the first of the successes at
/// the end of its log, which is a lower bound when the log is full.
fn by_health(health: &Health, started: Timestamp) -> Readiness {
    let log = health.log.as_deref().unwrap_or_default();
    let last = log.last();
    match health.status {
        Some(HealthStatusEnum::HEALTHY) => {
            let successes = log
                .iter()
                .rev()
                .take_while(|result| result.exit_code == Some(0));
            let first = successes
                .last()
                .and_then(|result| time(result.end.as_ref()));
            Readiness::Ready(first.unwrap_or(started))
        }
        _ => Readiness::NotReady {
            since: last.and_then(|result| time(result.end.as_ref())),
            why: last
                .and_then(|result| result.output.clone())
                .unwrap_or_default(),
        },
    }
}

/// Whether somebody will want to read what an instance wrote last: it ended and nobody meant it
/// to, or it is about to run out of time.
fn wants_logs(look: &Look<'_>, facts: &ContainerFacts, release: Option<&Release>) -> bool {
    let name = facts.instance.to_string();
    let recorded = release
        .and_then(|release| release.status.as_ref())
        .into_iter()
        .flat_map(|status| &status.stages)
        .flat_map(|stage| &stage.instances)
        .find(|instance| instance.name == name)
        .map(|instance| instance.state);
    let kept = matches!(
        recorded,
        Some(
            InstanceState::Stopped
                | InstanceState::Failed
                | InstanceState::Draining
                | InstanceState::Removing
        )
    );
    match facts.state {
        ContainerState::Exited | ContainerState::Dead | ContainerState::Restarting => !kept,
        ContainerState::Running => {
            let deadline = look.pipeline.spec.strategy.healthy_deadline_seconds;
            let soon = SignedDuration::from_secs(i64::from(deadline.saturating_sub(1)));
            let age = facts
                .started_at
                .map(|started| look.context.clock.now().duration_since(started));
            !kept
                && !matches!(facts.readiness, Readiness::Ready(_))
                && age.is_some_and(|age| age >= soon)
        }
        ContainerState::Created | ContainerState::Paused | ContainerState::Removing => false,
    }
}

/// The last lines with every secret of the Release blacked out; none when they cannot be read.
async fn tail(
    look: &Look<'_>,
    engine: &Engine,
    facts: &ContainerFacts,
    release: Option<&Release>,
) -> Vec<String> {
    let Ok(lines) = logs::tail(engine, &facts.id, LOG_LINES).await else {
        return Vec::new();
    };
    let Ok(secrets) = redact::secrets(look, release).await else {
        return Vec::new();
    };
    lines
        .into_iter()
        .map(|line| redact::line(&line.text, &secrets))
        .collect()
}
