//! From intents and facts to steps, host by host.
//!
//! Owns the order on a host: what gives something back first, then the policy, the section, what
//! creates and starts, and only then what stops and removes. Must not choose who runs. Invariants: no
//! step on a host that is not known; nothing stops before it is drained, and nothing is created
//! that the record does not hold.

use std::collections::BTreeMap;

use crds::Reason;
use crds::release::InstanceState;
use routes::InstanceState as RouteState;

use crate::fact::{ContainerFacts, ContainerState, RestartPolicy};
use crate::{Step, StepFailure};

use super::instance::{After, Instance, Intent, Policy, Seen, Served};
use super::pass::{Pass, Trouble};
use super::steady::{self, Restarts};
use super::{container, deletion, drain, image, pull, routes as sections, upkeep};

/// The steps of one host, in the order of their doing.
#[derive(Default)]
struct Ordered {
    restore: Vec<Step>,
    disarm: Vec<Step>,
    push: Vec<Step>,
    arm: Vec<Step>,
    start: Vec<Step>,
    create: Vec<Step>,
    stop: Vec<Step>,
    remove: Vec<Step>,
    upkeep: Vec<Step>,
}

impl Ordered {
    /// The order. A failure ends the steps of its host, so those that failed before come last, the
    /// first that may be tried again first: only policy, section and policy depend on one another.
    fn into_steps(self, failures: &[StepFailure], host: &str) -> Vec<Step> {
        let Self {
            restore,
            disarm,
            push,
            arm,
            start,
            create,
            stop,
            remove,
            upkeep,
        } = self;
        let mut steps = Vec::new();
        let mut failing = Vec::new();
        for (step, depends) in [
            restore, disarm, push, arm, start, create, stop, remove, upkeep,
        ]
        .into_iter()
        .enumerate()
        .flat_map(|(place, steps)| {
            steps
                .into_iter()
                .map(move |step| (step, (1..=3).contains(&place)))
        }) {
            let text = step.to_string();
            let failed = failures.iter().find(|f| f.place == host && f.step == text);
            match failed {
                Some(failure) if !depends => failing.push((failure.retry_at, step)),
                Some(_) | None => steps.push(step),
            }
        }
        failing.sort_by_key(|(retry_at, _)| *retry_at);
        steps.extend(failing.into_iter().map(|(_, step)| step));
        steps
    }
}

/// Makes the steps of every host that is known, and the states that the record will hold.
pub(crate) fn act(pass: &mut Pass<'_>) -> BTreeMap<String, Vec<Step>> {
    let mut hosts: BTreeMap<String, Ordered> = BTreeMap::new();
    for index in 0..pass.instances.len() {
        let host = pass.instances[index].host.clone();
        if pass.host(&host).is_none() {
            continue;
        }
        let steps = hosts.entry(host).or_default();
        restore(pass, index, steps);
        match pass.instances[index].intent {
            Intent::Leave => forget_lost(pass, index),
            Intent::Reserve => create(pass, index, steps),
            Intent::Run { policy, .. } => run(pass, index, policy, steps),
            Intent::Retire { permitted, after } => retire(pass, index, permitted, after, steps),
        }
    }
    for host in pass.hosts() {
        if pass.host(&host).is_none() {
            continue;
        }
        let push = sections::push(pass, &host);
        let tags = upkeep::keep_images(pass, &host);
        let rubbish = upkeep::leftovers(pass, &host);
        let steps = hosts.entry(host).or_default();
        steps.push.extend(push);
        for step in tags.into_iter().chain(rubbish) {
            if !steps.upkeep.contains(&step) {
                steps.upkeep.push(step);
            }
        }
    }
    sections::wake_when_fit(pass);
    hosts
        .into_iter()
        .map(|(host, ordered)| {
            let steps = ordered.into_steps(&pass.observed.failures, &host);
            (host, steps)
        })
        .filter(|(_, steps)| !steps.is_empty())
        .collect()
}

/// Takes everything out: the section as a whole, then what it held.
pub(crate) fn dismantle(pass: &mut Pass<'_>) -> BTreeMap<String, Vec<Step>> {
    let mut hosts: BTreeMap<String, Vec<Step>> = BTreeMap::new();
    for host in pass.hosts() {
        if pass.host(&host).is_none() {
            continue;
        }
        let mut steps = Ordered::default();
        for index in 0..pass.instances.len() {
            if pass.instances[index].host != host {
                continue;
            }
            restore(pass, index, &mut steps);
            if let Intent::Retire { permitted, after } = pass.instances[index].intent {
                retire(pass, index, permitted, after, &mut steps);
            }
        }
        steps.push.extend(deletion::drop_section(pass, &host));
        steps.upkeep.extend(upkeep::leftovers(pass, &host));
        steps.upkeep.extend(pull::cancel(pass, &host, &[]));
        let steps = steps.into_steps(&pass.observed.failures, &host);
        if !steps.is_empty() {
            hosts.insert(host, steps);
        }
    }
    hosts
}

/// Gives a container back its name, and lets a frozen one go on.
fn restore(pass: &Pass<'_>, index: usize, steps: &mut Ordered) {
    let instance = &pass.instances[index];
    let Some(container) = instance.container() else {
        return;
    };
    let name = instance.name.to_string();
    if container.name != name {
        steps.restore.push(Step::RenameContainer {
            id: container.id.clone(),
            from: container.name.clone(),
            to: name.clone(),
        });
    }
    let works = matches!(instance.intent, Intent::Run { .. } | Intent::Retire { .. });
    if works && container.state == ContainerState::Paused {
        steps.restore.push(Step::UnpauseContainer {
            id: container.id.clone(),
            name,
        });
    }
}

/// A lost one that nobody waits for leaves the record.
fn forget_lost(pass: &mut Pass<'_>, index: usize) {
    let held = pass
        .holder(
            pass.instances[index].revision(),
            pass.instances[index].name.slot,
        )
        .is_some();
    let instance = &mut pass.instances[index];
    if matches!(instance.seen, Seen::Missing) && held && instance.is_lost() {
        instance.forgotten = true;
    }
}

/// Creates what does not exist yet.
fn create(pass: &mut Pass<'_>, index: usize, steps: &mut Ordered) {
    let instance = &pass.instances[index];
    if instance.container().is_some() {
        return;
    }
    let name = instance.name.to_string();
    let host = instance.host.clone();
    let holder = pass
        .observed
        .hosts
        .get(&host)
        .and_then(|facts| facts.foreign.get(&name));
    if let Some(holder) = holder {
        let short: String = holder.chars().take(12).collect();
        pass.trouble(
            Reason::ForeignObject,
            format!("container {short} on host {host} holds the name {name} and is not Mooring's; rename or remove it with docker"),
        );
        return;
    }
    let revision = instance.revision().to_owned();
    let tagged = image::has_tag(pass, &host, &revision);
    let tag = pass
        .owner(&revision)
        .and_then(|number| image::keep(pass, number, &host));
    if !tagged && tag.is_none() {
        let number = pass.owner(&revision);
        let trouble = number
            .and_then(|number| pull::trouble(pass, number, &host))
            .unwrap_or_else(|| Trouble {
                reason: Reason::ImageMissing,
                message: format!("host {host} does not have the image of revision {revision} any more; load it there"),
            });
        pass.trouble(trouble.reason, trouble.message);
        return;
    }
    // It is created from its release's own tag, as soon as that was seen.
    if let Some(tag) = tag {
        if !steps.upkeep.contains(&tag) {
            steps.upkeep.push(tag);
        }
        return;
    }
    let step = container::create(pass, &pass.instances[index]);
    steps.create.extend(step);
}

/// Brings an instance up and keeps it there.
fn run(pass: &mut Pass<'_>, index: usize, policy: Policy, steps: &mut Ordered) {
    let Some(container) = pass.instances[index].container().cloned() else {
        let instance = &mut pass.instances[index];
        instance.state = InstanceState::Starting;
        create(pass, index, steps);
        return;
    };
    match container.state {
        ContainerState::Created => {
            pass.instances[index].state = InstanceState::Starting;
            steps
                .start
                .extend(container::start(pass, &pass.instances[index]));
        }
        ContainerState::Running | ContainerState::Paused => {
            keep_running(pass, index, &container, policy, steps);
        }
        ContainerState::Restarting => between_runs(pass, index, &container, steps),
        ContainerState::Exited => revive(pass, index, &container, steps),
        // The slot has another attempt by then; the intent is never this one.
        ContainerState::Removing | ContainerState::Dead => {}
    }
}

fn keep_running(
    pass: &mut Pass<'_>,
    index: usize,
    container: &ContainerFacts,
    policy: Policy,
    steps: &mut Ordered,
) {
    if container.stopping {
        return;
    }
    let instance = &pass.instances[index];
    let before = instance.state;
    let works = if pass.sectioned {
        sections::state(pass, instance) == Some(RouteState::Routed)
    } else {
        before == InstanceState::Serving
            || (sections::is_fit(pass, instance) && wants_traffic(instance))
    };
    // In the record one works when the proxy has acknowledged it, not when it was asked for.
    let acknowledged = instance.is_routed() || !pass.sectioned;
    pass.instances[index].state = if works && acknowledged {
        InstanceState::Serving
    } else {
        InstanceState::Warming
    };
    let judged = steady::restarts(&pass.instances[index], container, pass.now);
    let set = |to: RestartPolicy| Step::SetRestartPolicy {
        id: container.id.clone(),
        name: pass.instances[index].name.to_string(),
        policy: to,
    };
    let min_ready = pass.pipeline.spec.strategy.min_ready_seconds;
    let instance = &pass.instances[index];
    let armed = steady::armed_at(instance, instance.proven_at(min_ready));
    match policy {
        Policy::Never => {
            if container.restart_policy != RestartPolicy::No {
                steps.disarm.push(set(RestartPolicy::No));
            }
        }
        Policy::WhenProven if judged == Restarts::Loop => {
            steps.disarm.push(set(RestartPolicy::No));
            crash_loop(pass, index, container);
        }
        Policy::WhenProven => {
            let due = armed.is_some_and(|at| at <= pass.now);
            if container.restart_policy != RestartPolicy::Always && works && due {
                steps.arm.push(set(RestartPolicy::Always));
                pass.instances[index].restarts = container.restart_count;
            } else if let Some(at) = armed.filter(|_| works) {
                pass.wake_at(at);
            }
        }
    }
    count(&mut pass.instances[index], container, judged);
}

fn wants_traffic(instance: &Instance) -> bool {
    matches!(
        instance.intent,
        Intent::Run {
            traffic: super::instance::Traffic::Routed,
            ..
        }
    )
}

/// Keeps the number of Docker's restarts and the span in which they count.
fn count(instance: &mut Instance, container: &ContainerFacts, judged: Restarts) {
    match judged {
        Restarts::Same | Restarts::More => {}
        Restarts::Anew => {
            instance.restarts = container.restart_count;
            instance.since_anew = true;
        }
        Restarts::Loop => {
            instance.restarts = steady::LOOPED;
            instance.state = InstanceState::Warming;
        }
    }
}

fn crash_loop(pass: &mut Pass<'_>, index: usize, container: &ContainerFacts) {
    let name = pass.instances[index].name.to_string();
    let code = container
        .exit_code
        .map_or_else(String::new, |code| format!(" with {code}"));
    pass.trouble(
        Reason::CrashLoop,
        format!(
            "{name} exits again and again{code}; see `mooring logs {}`",
            super::pass::name_of(pass.pipeline)
        ),
    );
}

/// Docker is about to start the container again. Without its leave, or too often, it is stopped
/// first: taking the policy away alone does not end Docker's pause.
fn between_runs(
    pass: &mut Pass<'_>,
    index: usize,
    container: &ContainerFacts,
    steps: &mut Ordered,
) {
    let judged = steady::restarts(&pass.instances[index], container, pass.now);
    let armed = container.restart_policy == RestartPolicy::Always;
    if armed && judged != Restarts::Loop {
        count(&mut pass.instances[index], container, judged);
        return;
    }
    if container.restart_policy != RestartPolicy::No {
        steps.disarm.push(Step::SetRestartPolicy {
            id: container.id.clone(),
            name: pass.instances[index].name.to_string(),
            policy: RestartPolicy::No,
        });
    }
    stop(pass, index, container, steps);
    if judged == Restarts::Loop {
        pass.instances[index].restarts = steady::LOOPED;
    }
    pass.instances[index].state = InstanceState::BackOff;
    crash_loop(pass, index, container);
}

/// Starts an instance that ended again, when its pause is over.
fn revive(pass: &mut Pass<'_>, index: usize, container: &ContainerFacts, steps: &mut Ordered) {
    let due = steady::due(&pass.instances[index], container, pass.now);
    if due > pass.now {
        pass.instances[index].state = InstanceState::BackOff;
        pass.wake_at(due);
        if pass.instances[index].restarts > 0 || container.started_at.is_some() {
            crash_loop(pass, index, container);
        }
        return;
    }
    let again = !pass.instances[index].start_is_due();
    let step = container::start(pass, &pass.instances[index]);
    let instance = &mut pass.instances[index];
    instance.state = InstanceState::Starting;
    if again {
        instance.restarts = instance.restarts.saturating_add(1);
        instance.since_anew = true;
    }
    steps.start.extend(step);
}

/// Takes an instance out: policy, traffic, stop, and what comes after.
fn retire(pass: &mut Pass<'_>, index: usize, permitted: bool, after: After, steps: &mut Ordered) {
    let Some(container) = pass.instances[index].container().cloned() else {
        pass.instances[index].forgotten = true;
        return;
    };
    let name = pass.instances[index].name.to_string();
    if container.restart_policy != RestartPolicy::No
        && !matches!(
            container.state,
            ContainerState::Removing | ContainerState::Dead
        )
    {
        steps.disarm.push(Step::SetRestartPolicy {
            id: container.id.clone(),
            name: name.clone(),
            policy: RestartPolicy::No,
        });
        if container.state == ContainerState::Restarting {
            stop(pass, index, &container, steps);
        }
        return;
    }
    match container.state {
        ContainerState::Running | ContainerState::Paused => {
            if permitted {
                mark(&mut pass.instances[index], after, true);
                if drain::is_drained(pass, index) {
                    stop(pass, index, &container, steps);
                }
            }
        }
        ContainerState::Restarting => stop(pass, index, &container, steps),
        ContainerState::Removing => mark(&mut pass.instances[index], after, false),
        ContainerState::Created | ContainerState::Exited | ContainerState::Dead => {
            mark(&mut pass.instances[index], after, false);
            match after {
                After::Keep | After::KeepFailed => {}
                After::Remove => steps.remove.push(Step::RemoveContainer {
                    id: container.id,
                    name,
                }),
            }
        }
    }
}

/// What the record says of an instance that leaves.
fn mark(instance: &mut Instance, after: After, live: bool) {
    instance.state = match (after, live) {
        (After::KeepFailed, _) => InstanceState::Failed,
        (After::Keep, true) => InstanceState::Draining,
        (After::Keep, false) => InstanceState::Stopped,
        (After::Remove, true) if instance.state != InstanceState::Failed => InstanceState::Draining,
        (After::Remove, true | false) => InstanceState::Removing,
    };
}

fn stop(pass: &Pass<'_>, index: usize, container: &ContainerFacts, steps: &mut Ordered) {
    if container.stopping {
        return;
    }
    let instance = &pass.instances[index];
    let template = pass
        .owner(instance.revision())
        .and_then(|number| pass.releases.get(&number))
        .map(|release| &release.spec.template);
    let grace = template.map_or(
        pass.pipeline.spec.template.termination_grace_period_seconds,
        |template| template.termination_grace_period_seconds,
    );
    steps.stop.push(Step::StopContainer {
        id: container.id.clone(),
        name: instance.name.to_string(),
        grace_seconds: grace,
    });
}

/// True when an instance's entry is out of the section.
pub(crate) fn is_out(instance: &Instance) -> bool {
    instance.served == Served::Absent
}
