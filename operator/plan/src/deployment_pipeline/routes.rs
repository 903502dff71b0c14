//! The pipeline's section of each host's route table.
//!
//! Owns who is checked, routed and draining, the weights and the checks. Must not know rollouts:
//! it reads intents. Invariants: only a running instance is in a section; a weight counts the
//! routed instances of a revision on that host, and the weights of a section are never all 0.

use std::collections::BTreeMap;

use crds::deployment_pipeline::Traffic as TrafficSpec;
use crds::template::{Container, Probe as ProbeSpec};
use crds::{DEFAULT_STAGE, Reason};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use routes::{
    Check, CheckHeader, Drain, InstanceState as RouteState, PathRule, Probe, RevisionRoute, Route,
    Section, SectionKey,
};

use crate::Step;
use crate::fact::{ContainerState, RestartPolicy};

use super::instance::{Instance, Intent, Served, Traffic};
use super::pass::{Pass, name_of, namespace_of};

/// True when instances are entries of a section: there is traffic, or the proxy makes a check.
pub(crate) fn are_needed(pass: &Pass<'_>) -> bool {
    pass.pipeline.spec.traffic.is_some()
        || pass
            .releases
            .values()
            .any(|release| judged_by_proxy(&release.spec.template.main()))
}

/// The section's key.
pub(crate) fn key(pass: &Pass<'_>) -> SectionKey {
    SectionKey::new(
        &namespace_of(pass.pipeline),
        &name_of(pass.pipeline),
        DEFAULT_STAGE,
    )
}

/// True when an instance is fit for traffic: ready for as long as promised, or ready again after
/// it was proven.
pub(crate) fn is_fit(pass: &Pass<'_>, instance: &Instance) -> bool {
    let verified = pass.verified_at(instance.revision());
    let min_ready = pass.pipeline.spec.strategy.min_ready_seconds;
    match instance.proven_at(min_ready) {
        None => false,
        Some(at) => at <= pass.now || instance.proven_before(verified),
    }
}

/// Brings the section of a host up to date: a step, or nothing when it is as it should be.
pub(crate) fn push(pass: &mut Pass<'_>, host: &str) -> Option<Step> {
    let proxy = pass.proxy(host)?;
    if !pass.sectioned {
        return proxy.section.as_ref().map(|section| Step::DropSection {
            key: key(pass),
            expect: section.version,
        });
    }
    let here = |i: &&Instance| i.host == host;
    let entries: Vec<routes::Instance> = pass
        .instances
        .iter()
        .filter(here)
        .filter_map(|instance| entry(pass, instance))
        .collect();
    let wanted_here = pass
        .observed
        .hosts
        .get(host)
        .is_some_and(|facts| facts.schedulable)
        || pass.instances.iter().any(|i| i.host == host);
    if proxy.section.is_none() && entries.is_empty() && !wanted_here {
        return None;
    }
    let wanted = section(pass, entries);
    if let Some(served) = &proxy.section
        && (wanted.same_content(served)
            || (may_wait(pass) && wanted.same_content(&without_ended(pass, served))))
    {
        return None;
    }
    let faults = wanted.faults();
    if let Some(fault) = faults.first() {
        pass.trouble(
            Reason::StepRefused,
            format!("the route cannot be served: {fault}; change the pipeline"),
        );
        return None;
    }
    Some(Step::PushSection {
        expect: proxy.section.as_ref().map(|section| section.version),
        section: Box::new(wanted),
    })
}

/// True while a rollout moves instance by instance: the entry of one that has drained and stopped
/// goes with the next push, which is never far.
fn may_wait(pass: &Pass<'_>) -> bool {
    use crds::release::RolloutState as S;
    let state = pass
        .moving()
        .and_then(|number| pass.stages.get(&number))
        .map(|stage| stage.state);
    match state {
        Some(S::Starting | S::Warming | S::Shifting | S::Draining) => true,
        Some(
            S::Resolving | S::Preparing | S::Baking | S::Finalizing | S::RollingBack | S::Paused,
        )
        | None => false,
    }
}

/// The served section as it would be without draining entries of containers that have stopped.
fn without_ended(pass: &Pass<'_>, served: &Section) -> Section {
    let mut kept = served.clone();
    kept.instances.retain(|entry| {
        entry.state != RouteState::Draining
            || pass
                .instances
                .iter()
                .any(|i| i.name.to_string() == entry.name && i.is_live())
    });
    reweigh(pass, &mut kept);
    kept
}

fn section(pass: &Pass<'_>, mut instances: Vec<routes::Instance>) -> Section {
    instances.sort_by(|a, b| a.name.cmp(&b.name));
    let meta = &pass.pipeline.metadata;
    let traffic = pass.pipeline.spec.traffic.as_ref();
    let created = meta
        .creation_timestamp
        .as_ref()
        .map_or(jiff::Timestamp::UNIX_EPOCH, |t| t.0);
    let mut section = Section {
        namespace: namespace_of(pass.pipeline),
        pipeline: name_of(pass.pipeline),
        stage: DEFAULT_STAGE.to_owned(),
        owner_uid: meta.uid.clone().unwrap_or_default(),
        owner_created: crds::condition::whole_seconds(created).to_string(),
        version: 0,
        route: traffic.map(route),
        revisions: BTreeMap::new(),
        instances,
        drain: traffic.map_or_else(Drain::default, |traffic| Drain {
            request_seconds: traffic.drain.request_seconds,
            stream_seconds: traffic.drain.stream_seconds,
        }),
        response_timeout_seconds: traffic.map_or(60, |traffic| traffic.response_timeout_seconds),
    };
    reweigh(pass, &mut section);
    section
}

/// Gives each revision that an entry names its weight and its check.
fn reweigh(pass: &Pass<'_>, section: &mut Section) {
    let old = std::mem::take(&mut section.revisions);
    for entry in &section.instances {
        let route = section
            .revisions
            .entry(entry.revision.clone())
            .or_insert_with(|| RevisionRoute {
                weight: 0,
                check: check_of(pass, &entry.revision)
                    .unwrap_or_else(|| old.get(&entry.revision).and_then(|r| r.check.clone())),
            });
        if entry.state == RouteState::Routed {
            route.weight += 1;
        }
    }
    if section.revisions.values().all(|route| route.weight == 0) {
        let first = section.revisions.keys().next().cloned();
        let chosen = pass
            .stable_revision()
            .map(str::to_owned)
            .filter(|revision| section.revisions.contains_key(revision))
            .or(first);
        if let Some(route) = chosen.and_then(|revision| section.revisions.get_mut(&revision)) {
            route.weight = 1;
        }
    }
}

fn route(traffic: &TrafficSpec) -> Route {
    Route {
        hosts: traffic.hosts.clone(),
        default: traffic.default,
        paths: traffic
            .paths
            .iter()
            .map(|path| PathRule {
                prefix: path.prefix.clone(),
                strip: path.strip,
            })
            .collect(),
    }
}

/// What the section says of an instance; nothing when it is not in it.
fn entry(pass: &Pass<'_>, instance: &Instance) -> Option<routes::Instance> {
    let container = instance.container()?;
    if !instance.is_running() || container.started_at_text.is_empty() {
        return None;
    }
    Some(routes::Instance {
        name: instance.name.to_string(),
        container_id: container.id.clone(),
        started_at: container.started_at_text.clone(),
        revision: instance.revision().to_owned(),
        address: container.address.or(instance.address)?,
        port: pass.pipeline.spec.traffic.as_ref().map(|t| t.port),
        state: state(pass, instance)?,
    })
}

/// Where an instance that runs stands in its section by the end of this pass.
pub(crate) fn state(pass: &Pass<'_>, instance: &Instance) -> Option<RouteState> {
    let served = match instance.served {
        Served::As(state) => Some(state),
        Served::Absent | Served::Stale => None,
    };
    match instance.intent {
        Intent::Leave => served,
        Intent::Reserve => None,
        Intent::Run { traffic, .. } => {
            if instance.container().is_some_and(|c| c.stopping) {
                return served.map(drained);
            }
            let keeps = served == Some(RouteState::Routed) && !is_demoted(pass, instance);
            let gets = traffic == Traffic::Routed && is_fit(pass, instance);
            Some(if keeps || gets {
                RouteState::Routed
            } else {
                RouteState::Checked
            })
        }
        Intent::Retire { permitted, .. } => match served {
            Some(RouteState::Routed) if !permitted || !is_off(instance) => Some(RouteState::Routed),
            Some(RouteState::Routed | RouteState::Draining) => Some(RouteState::Draining),
            Some(RouteState::Checked) | None => None,
        },
    }
}

fn drained(state: RouteState) -> RouteState {
    match state {
        RouteState::Checked => RouteState::Checked,
        RouteState::Routed | RouteState::Draining => RouteState::Draining,
    }
}

/// True when Docker was observed not to start the container again by itself.
fn is_off(instance: &Instance) -> bool {
    instance
        .container()
        .is_some_and(|c| c.restart_policy == RestartPolicy::No)
}

/// True for one that is not ready, where the proxy does not judge and so cannot tell, as long as
/// another one on its host is: the last one is never taken out.
fn is_demoted(pass: &Pass<'_>, instance: &Instance) -> bool {
    let judged = pass
        .owner(instance.revision())
        .and_then(|number| pass.releases.get(&number))
        .is_some_and(|release| judged_by_proxy(&release.spec.template.main()));
    let running = instance
        .container()
        .is_some_and(|c| c.state == ContainerState::Running);
    !judged
        && running
        && instance.ready_since().is_none()
        && instance.readiness_unknown().is_none()
        && pass
            .instances
            .iter()
            .any(|i| i.host == instance.host && i.is_serving(true) && !i.is_leaving())
}

fn judged_by_proxy(main: &Container) -> bool {
    main.readiness_probe
        .as_ref()
        .is_some_and(|probe| probe.http_get.is_some() || probe.tcp_socket.is_some())
}

/// The check of a revision's instances; `None` when nothing is known of the revision.
fn check_of(pass: &Pass<'_>, revision: &str) -> Option<Option<Check>> {
    let number = pass.owner(revision)?;
    let main = pass.releases.get(&number)?.spec.template.main();
    let traffic = pass.pipeline.spec.traffic.as_ref();
    Some(match &main.readiness_probe {
        Some(probe) => asked(&main, probe, traffic),
        None => traffic.map(|traffic| Check::new(Probe::Tcp { port: traffic.port })),
    })
}

fn asked(main: &Container, spec: &ProbeSpec, traffic: Option<&TrafficSpec>) -> Option<Check> {
    let probe = if let Some(http) = &spec.http_get {
        let mut headers: Vec<CheckHeader> = http
            .http_headers
            .iter()
            .map(|header| CheckHeader {
                name: header.name.clone(),
                value: header.value.clone(),
            })
            .collect();
        let host = traffic.and_then(|traffic| traffic.hosts.first());
        if let Some(host) = host
            && !headers.iter().any(|h| h.name.eq_ignore_ascii_case("host"))
        {
            headers.push(CheckHeader {
                name: "Host".to_owned(),
                // A wildcard names no host: any label will do.
                value: host.replacen('*', "mooring", 1),
            });
        }
        Probe::Http {
            path: http.path.clone(),
            port: port(main, &http.port)?,
            headers,
        }
    } else {
        let tcp = spec.tcp_socket.as_ref()?;
        Probe::Tcp {
            port: port(main, &tcp.port)?,
        }
    };
    Some(Check {
        probe,
        period_seconds: spec.period_seconds,
        timeout_seconds: spec.timeout_seconds,
        failure_threshold: spec.failure_threshold,
        success_threshold: spec.success_threshold,
        initial_delay_seconds: spec.initial_delay_seconds,
    })
}

/// A port by number, or by the name of one of the container's ports.
fn port(main: &Container, port: &IntOrString) -> Option<u16> {
    match port {
        IntOrString::Int(number) => u16::try_from(*number).ok(),
        IntOrString::String(name) => main
            .ports
            .iter()
            .find(|port| port.name.as_deref() == Some(name))
            .map(|port| port.container_port)
            .or_else(|| name.parse().ok()),
    }
}

/// Wakes when an instance that is ready will have been so for long enough.
pub(crate) fn wake_when_fit(pass: &mut Pass<'_>) {
    let min_ready = pass.pipeline.spec.strategy.min_ready_seconds;
    let times: Vec<_> = pass
        .instances
        .iter()
        .filter(|i| matches!(i.intent, Intent::Run { .. }))
        .filter_map(|i| i.proven_at(min_ready))
        .collect();
    for at in times {
        pass.wake_at(at);
    }
}
