//! How someone ends a fake container: stop, kill, remove; and how one is frozen and goes on.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::time;

use super::Shared;
use super::lifecycle::{KILLED, finish};
use super::options::Generation;
use super::reply::{Asked, Handled, Refusal, empty_reply};
use super::world::{Container, Life, Phase};

/// What a stop waits when nobody says.
const DEFAULT_GRACE: Duration = Duration::from_secs(10);

/// `POST /containers/{id}/stop`: it answers when the process has ended, and goes on when the client is gone (F6).
pub(super) async fn stop(shared: &Arc<Shared>, asked: &Asked) -> Handled {
    let (id, run, takes, grace) = {
        let mut world = shared.world();
        let container = world.find_mut(&asked.target)?;
        let id = container.id.clone();
        match container.phase {
            Phase::Created | Phase::Exited => return Ok(empty_reply(304)),
            Phase::Restarting => {
                container.phase = Phase::Exited;
                container.stopped_by_hand = true;
                world.tell_of(&id, "stop", &[]);
                return Ok(empty_reply(204));
            }
            Phase::Running => {}
        }
        let configured = container
            .config
            .get("StopTimeout")
            .and_then(Value::as_u64)
            .map(Duration::from_secs);
        let grace = asked.parameter("t").parse().ok().map(Duration::from_secs);
        let grace = grace.or(configured).unwrap_or(DEFAULT_GRACE);
        container.ends_for_good = true;
        container.stopped_by_hand = true;
        container.life.send_replace(Life::Ending);
        let found = (
            id.clone(),
            container.run,
            container.behaviour.stop_takes,
            grace,
        );
        world.tell_of(&id, "kill", &[("signal", "15")]);
        found
    };
    let in_time = takes.filter(|takes| *takes <= grace);
    end_within(shared, &id, run, in_time.unwrap_or(grace)).await;
    if in_time.is_none() {
        shared.world().tell_of(&id, "kill", &[("signal", "9")]);
    }
    finish(shared, &id, run, if in_time.is_some() { 0 } else { KILLED });
    shared.world().tell_of(&id, "stop", &[]);
    Ok(empty_reply(204))
}

/// Waits until run `run` has ended by itself, at most `limit`.
async fn end_within(shared: &Arc<Shared>, id: &str, run: u64, limit: Duration) {
    let life = match shared.world().find(id) {
        Ok(container) if container.run == run => container.life.subscribe(),
        Ok(_) | Err(_) => return,
    };
    let mut life = life;
    // Either way the time is over; the sender lives as long as the container.
    let _ = time::timeout(limit, life.wait_for(|life| *life == Life::Gone)).await;
}

/// `POST /containers/{id}/kill`. To Docker that is a stop by hand (F39).
pub(super) fn kill(shared: &Arc<Shared>, asked: &Asked) -> Handled {
    let generation = shared.options.generation;
    let name = asked.parameter("signal");
    let number = match name.strip_prefix("SIG").unwrap_or(name) {
        "" | "KILL" | "9" => 9,
        "TERM" | "15" => 15,
        "INT" | "2" => 2,
        "HUP" | "1" => 1,
        "USR1" | "10" => 10,
        "USR2" | "12" => 12,
        _ => {
            let old = format!("Invalid signal: {name}");
            let new = format!(
                "cannot kill container: {}: invalid signal: {name}",
                asked.target
            );
            return Err(Refusal::new(400, generation.either(old, new)));
        }
    };
    let (id, run, takes) = {
        let prefix = |refusal: Refusal| {
            let cannot = generation.either("Cannot", "cannot");
            let message = format!(
                "{cannot} kill container: {}: {}",
                asked.target, refusal.message
            );
            Refusal::new(refusal.status, message)
        };
        let mut world = shared.world();
        let container = world.find_mut(&asked.target).map_err(prefix)?;
        let id = container.id.clone();
        match container.phase {
            Phase::Created | Phase::Exited => {
                return Err(prefix(not_running(generation, &id)));
            }
            Phase::Restarting => {
                container.phase = Phase::Exited;
                container.stopped_by_hand = true;
                return Ok(empty_reply(204));
            }
            Phase::Running => {}
        }
        container.ends_for_good = true;
        container.stopped_by_hand = true;
        if matches!(number, 2 | 15) {
            container.life.send_replace(Life::Ending);
        }
        let found = (id.clone(), container.run, container.behaviour.stop_takes);
        world.tell_of(&id, "kill", &[("signal", &number.to_string())]);
        found
    };
    match (number, takes) {
        (9, _) => finish(shared, &id, run, KILLED),
        (2 | 15, Some(takes)) => {
            let shared = Arc::clone(shared);
            tokio::spawn(async move {
                time::sleep(takes).await;
                finish(&shared, &id, run, 0);
            });
        }
        _ => {}
    }
    Ok(empty_reply(204))
}

/// `POST /containers/{id}/unpause`.
pub(super) fn unpause(shared: &Shared, asked: &Asked) -> Handled {
    let mut world = shared.world();
    let container = world.find_mut(&asked.target)?;
    let id = container.id.clone();
    if !container.paused.send_replace(false) {
        return Err(Refusal::new(500, format!("Container {id} is not paused")));
    }
    world.tell_of(&id, "unpause", &[]);
    Ok(empty_reply(204))
}

/// A person freezes a running container.
pub(super) fn pause(shared: &Shared, container: &str) {
    let mut world = shared.world();
    let Ok(container) = world.find_mut(container) else {
        return;
    };
    if container.is_running() && !container.paused.send_replace(true) {
        let id = container.id.clone();
        world.tell_of(&id, "pause", &[]);
    }
}

/// The refusal of what only a running container can do.
pub(super) fn not_running(generation: Generation, id: &str) -> Refusal {
    let container = generation.either("Container", "container");
    Refusal::new(409, format!("{container} {id} is not running"))
}

/// Why Engine 20.10 does not remove a live container.
fn live_20(container: &Container) -> String {
    let first = if container.is_paused() {
        "Unpause and then stop"
    } else {
        "Stop"
    };
    format!(
        "You cannot remove a {} container {}. {first} the container before attempting removal or force remove",
        container.word(),
        container.id
    )
}

/// Why Engine 29 does not remove a live container, asked for under this name.
fn live_29(container: &Container, name: &str) -> String {
    let why = if container.is_paused() {
        "container is paused and must be unpaused first".to_owned()
    } else {
        format!(
            "container is {}: stop the container before removing or force remove",
            container.word()
        )
    };
    format!("cannot remove container \"{name}\": {why}")
}

/// `DELETE /containers/{id}`.
pub(super) fn remove(shared: &Arc<Shared>, asked: &Asked) -> Handled {
    let running = {
        let mut world = shared.world();
        let container = world.find_mut(&asked.target)?;
        let (id, phase) = (container.id.clone(), container.phase);
        let live = matches!(phase, Phase::Running | Phase::Restarting);
        if live && !asked.flag("force") {
            let message = match shared.options.generation {
                Generation::Engine20 => live_20(container),
                Generation::Engine29 => live_29(container, &asked.target),
            };
            return Err(Refusal::new(409, message));
        }
        container.ends_for_good = true;
        if container.phase == Phase::Restarting {
            container.phase = Phase::Exited;
        }
        let run = container.is_running().then_some(container.run);
        if run.is_some() {
            world.tell_of(&id, "kill", &[("signal", "9")]);
        }
        run.map(|run| (id, run))
    };
    if let Some((id, run)) = running {
        finish(shared, &id, run, KILLED);
    }
    let mut world = shared.world();
    let id = world.find(&asked.target)?.id.clone();
    world.tell_of(&id, "destroy", &[]);
    let Some(container) = world.containers.remove(&id) else {
        return Ok(empty_reply(204));
    };
    world.execs.retain(|_, exec| exec.container != id);
    if asked.flag("v") {
        for mount in container
            .mounts
            .iter()
            .filter(|mount| mount.kind == "volume")
        {
            if world
                .volumes
                .get(&mount.source)
                .is_some_and(|volume| volume.anonymous)
            {
                world.volumes.remove(&mount.source);
            }
        }
    }
    Ok(empty_reply(204))
}
