//! What happens to the containers of the fake Engine in time: start, end, Docker's own restarts, health. Every wait is on tokio's clock.
//!
//! Invariant: a run of a process has a number, and whatever is still on its way for an earlier run does nothing.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::time;

use super::Shared;
use super::networks::Network;
use super::options::Generation;
use super::reply::{Asked, Handled, Refusal, empty_reply};
use super::world::{Container, Health, Life, Phase, World, strings};

/// Docker's first wait before it starts a process again; it doubles each time.
const FIRST_BACKOFF: Duration = Duration::from_millis(100);
/// Docker's longest wait.
const MAX_BACKOFF: Duration = Duration::from_secs(60);
/// A process that ran so long starts over with the first wait.
const RESETS_BACKOFF: Duration = Duration::from_secs(10);
/// The exit code of a killed process.
pub(super) const KILLED: i64 = 137;
/// The interval of a health check that names none.
const HEALTH_INTERVAL: Duration = Duration::from_secs(30);
/// After how many failed checks in a row a container is unhealthy when the check does not say.
const HEALTH_RETRIES: u32 = 3;

/// `POST /containers/{id}/start`.
pub(super) async fn start(shared: &Arc<Shared>, asked: &Asked) -> Handled {
    let (id, takes) = {
        let world = shared.world();
        let container = world.find(&asked.target)?;
        if container.is_paused() {
            let message = "cannot start a paused container, try unpause instead";
            return Err(Refusal::new(409, message));
        }
        if matches!(container.phase, Phase::Running | Phase::Restarting) {
            return Ok(empty_reply(304));
        }
        (container.id.clone(), container.behaviour.start_takes)
    };
    time::sleep(takes).await;
    {
        let mut world = shared.world();
        let container = world.find_mut(&id)?;
        if container.is_running() {
            return Ok(empty_reply(304));
        }
        container.restarts = 0;
        container.backoff = Duration::ZERO;
        container.stopped_by_hand = false;
    }
    launch(shared, &id)?;
    Ok(empty_reply(204))
}

/// Starts the process of a container that does not run.
pub(super) fn launch(shared: &Arc<Shared>, id: &str) -> Result<(), Refusal> {
    let mut world = shared.world();
    let attached = world.attach(id).map_err(|refusal| {
        let prefix = "failed to set up container networking: ";
        let prefix = world.generation.either("", prefix);
        Refusal::new(refusal.status, format!("{prefix}{}", refusal.message))
    });
    let program_error = world.program_error(id);
    let container = world.find_mut(id)?;
    let problem = match (&attached, &program_error) {
        (Err(refusal), _) => Some((128, refusal.clone())),
        (Ok(_), Some(error)) => Some((127, Refusal::new(400, error.clone()))),
        (Ok(_), None) => None,
    };
    if let Some((code, refusal)) = problem {
        container.error.clone_from(&refusal.message);
        container.exit_code = code;
        container.release();
        if container.phase == Phase::Restarting {
            container.phase = Phase::Exited;
        }
        return Err(refusal);
    }
    let networks = attached?;
    world.run(id);
    for network in &networks {
        world.tell_connect("connect", network, id);
    }
    world.tell_of(id, "start", &[]);
    let container = world.find(id)?;
    let (run, exits) = (container.run, container.behaviour.exits_after);
    let (program, view) = (
        shared.program_of(container),
        super::ContainerView::of(container),
    );
    let check = container.health.is_some();
    drop(world);
    if let Some((after, code)) = exits {
        let (shared, id) = (Arc::clone(shared), id.to_owned());
        tokio::spawn(async move {
            time::sleep(after).await;
            finish(&shared, &id, run, code);
        });
    }
    if check {
        tokio::spawn(watch_health(Arc::clone(shared), id.to_owned(), run));
    }
    if let Some(program) = program {
        program.started(view);
    }
    Ok(())
}

impl World {
    /// Why the runtime cannot start the program of a container.
    fn program_error(&self, id: &str) -> Option<String> {
        let container = self.find(id).ok()?;
        if container.behaviour.start_error.is_some() {
            return container.behaviour.start_error.clone();
        }
        let paths = self.images.get(&container.image)?.paths.as_ref()?;
        let program = container.command().into_iter().next().unwrap_or_default();
        let missing = !paths.contains(&program) && !container.files.contains_key(&program);
        missing.then(|| {
            format!(
                "failed to create shim task: OCI runtime create failed: runc create failed: unable to start container process: exec: \"{program}\": stat {program}: no such file or directory: unknown"
            )
        })
    }

    /// Gives a container its addresses.
    fn attach(&mut self, id: &str) -> Result<Vec<Network>, Refusal> {
        let generation = self.generation;
        let mut networks = Vec::new();
        let names: Vec<String> = self.find(id)?.endpoints.keys().cloned().collect();
        for name in names {
            let endpoint = &self.find(id)?.endpoints[&name];
            // F35: after the first start only the network's id counts.
            let network = self
                .network(endpoint.network.as_deref().unwrap_or(&name))?
                .clone();
            let address = self.allocate(&network, endpoint.fixed);
            let endpoint_id = self.ids.next();
            let container = self.find_mut(id)?;
            let short = container.id[..12].to_owned();
            let endpoint = container
                .endpoints
                .get_mut(&name)
                .expect("its key was just listed");
            let named = generation == Generation::Engine20 && network.name != "bridge";
            if network.has_addresses() && named {
                let aliases = endpoint.aliases.get_or_insert_default();
                if !aliases.contains(&short) {
                    aliases.push(short);
                }
            }
            endpoint.address = address?;
            endpoint.network = Some(network.id.clone());
            endpoint.endpoint = endpoint_id;
            networks.push(network);
        }
        Ok(networks)
    }

    /// Leaves of a start what Engine 29 leaves when it gives one up.
    pub(super) fn give_up(&mut self, reference: &str) {
        let Ok(container) = self.find_mut(reference) else {
            return;
        };
        container.error = "Canceled: context canceled".to_owned();
        if container.exit_code == 0 {
            container.exit_code = 128;
        }
    }

    /// Puts a container with addresses into the state of a running one.
    fn run(&mut self, id: &str) {
        let now = self.clock.now();
        let Ok(container) = self.find_mut(id) else {
            return;
        };
        container.phase = Phase::Running;
        container.run += 1;
        container.pid = 1000 + u32::try_from(container.run).unwrap_or(u32::MAX - 1000);
        container.exit_code = 0;
        container.error.clear();
        container.started = Some(now);
        container.started_at = Some(time::Instant::now());
        container.ends_for_good = false;
        container.ready = None;
        let test = strings(
            &container
                .config
                .get("Healthcheck")
                .map_or(Value::Null, |check| check["Test"].clone()),
        );
        let checked = test.first().is_some_and(|first| first != "NONE");
        container.health = checked.then_some(Health {
            status: "starting",
            streak: 0,
        });
        container.life.send_replace(Life::Alive);
        let first = format!(
            "version {} listens on 0.0.0.0:{}",
            container.behaviour.version, container.behaviour.port
        );
        for line in std::iter::once(first).chain(container.behaviour.log.clone()) {
            container.write(now, false, &line);
        }
    }
}

impl Container {
    /// Gives its addresses back.
    fn release(&mut self) {
        for endpoint in self.endpoints.values_mut() {
            endpoint.address = None;
            endpoint.endpoint.clear();
        }
    }

    /// The wait before Docker starts it again, if it does.
    fn next_backoff(&mut self, code: i64) -> Option<Duration> {
        let again = !self.ends_for_good
            && match self.restart_policy() {
                "always" | "unless-stopped" => true,
                "on-failure" => {
                    let limit = self.host["RestartPolicy"]["MaximumRetryCount"]
                        .as_u64()
                        .unwrap_or(0);
                    code != 0 && (limit == 0 || u64::from(self.restarts) < limit)
                }
                _ => false,
            };
        if !again {
            return None;
        }
        let ran = self
            .started_at
            .map(|start| start.elapsed())
            .unwrap_or_default();
        let doubled = (self.backoff * 2).clamp(FIRST_BACKOFF, MAX_BACKOFF);
        self.backoff = if ran >= RESETS_BACKOFF {
            FIRST_BACKOFF
        } else {
            doubled
        };
        Some(self.backoff)
    }
}

/// Ends run `run` of a container with `code`, if it still runs, and lets Docker's restart policy do its work.
pub(super) fn finish(shared: &Arc<Shared>, id: &str, run: u64, code: i64) {
    let mut world = shared.world();
    let now = world.clock.now();
    let Ok(container) = world.find_mut(id) else {
        return;
    };
    if container.run != run || !container.is_running() {
        return;
    }
    container.write(
        now,
        false,
        &format!("version {} ends with {code}", container.behaviour.version),
    );
    container.phase = Phase::Exited;
    container.paused.send_replace(false);
    container.pid = 0;
    container.exit_code = code;
    container.finished = Some(now);
    if let Some(health) = &mut container.health {
        health.status = "unhealthy";
    }
    let left: Vec<String> = container
        .endpoints
        .values()
        .filter_map(|endpoint| endpoint.network.clone())
        .collect();
    container.release();
    let backoff = container.next_backoff(code);
    if backoff.is_some() {
        container.phase = Phase::Restarting;
        container.restarts += 1;
    }
    container.life.send_replace(Life::Gone);
    container.written.send_modify(|_| ());
    let program = shared.program_of(container);
    world.tell_of(id, "die", &[("exitCode", &code.to_string())]);
    for network in left {
        if let Some(network) = world.networks.get(&network).cloned() {
            world.tell_connect("disconnect", &network, id);
        }
    }
    drop(world);
    if let Some(backoff) = backoff {
        tokio::spawn(start_again(Arc::clone(shared), id.to_owned(), run, backoff));
    }
    if let Some(program) = program {
        program.ended(id);
    }
}

/// Docker's own restart. That the policy has become `no` in the meantime does not stop it (F36).
async fn start_again(shared: Arc<Shared>, id: String, run: u64, after: Duration) {
    time::sleep(after).await;
    let waits = shared
        .world()
        .find(&id)
        .is_ok_and(|found| found.run == run && found.phase == Phase::Restarting);
    if waits {
        // It fails for the reasons that are then in the container's state.
        let _ = launch(&shared, &id);
    }
}

/// The image's HEALTHCHECK, whose answer is whether the process is ready.
async fn watch_health(shared: Arc<Shared>, id: String, run: u64) {
    let check = match shared.world().find(&id) {
        Ok(container) => container.config["Healthcheck"].clone(),
        Err(_) => return,
    };
    let nanos = |key: &str| {
        check[key]
            .as_u64()
            .filter(|nanos| *nanos > 0)
            .map(Duration::from_nanos)
    };
    let interval = nanos("Interval").unwrap_or(HEALTH_INTERVAL);
    let grace = nanos("StartPeriod").unwrap_or_default();
    let retries = check["Retries"]
        .as_u64()
        .filter(|retries| *retries > 0)
        .map_or(HEALTH_RETRIES, |retries| {
            u32::try_from(retries).unwrap_or(u32::MAX)
        });
    loop {
        time::sleep(interval).await;
        let mut world = shared.world();
        let Ok(container) = world.find_mut(&id) else {
            return;
        };
        if container.run != run || !container.is_running() {
            return;
        }
        let ready = container.is_ready();
        let young = container
            .started_at
            .is_some_and(|start| start.elapsed() <= grace);
        let Some(health) = &mut container.health else {
            return;
        };
        let before = health.status;
        if ready {
            *health = Health {
                status: "healthy",
                streak: 0,
            };
        } else if !(young && before == "starting") {
            health.streak += 1;
            if health.streak >= retries {
                health.status = "unhealthy";
            }
        }
        let after = health.status;
        if before != after {
            world.tell_of(&id, &format!("health_status: {after}"), &[]);
        }
    }
}
