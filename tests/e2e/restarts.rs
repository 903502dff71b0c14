//! What stops, dies, freezes and comes back beside the applications: Engine, host, proxy, operator.
//!
//! Two pipelines run, so that an answer by the wrong application would show. Where nothing can answer for a while, the
//! gap is measured and bounded; everywhere else not one request is lost. What is kept but does not serve stays down.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tests::deployed::BAD;
use tests::docker_cli::{self, docker};
use tests::installation::{self, Installation};
use tests::kubectl::Kubectl;
use tests::load::{Booked, Load};
use tests::private_engine::{LiveRestore, PrivateEngine};
use tests::{program, report};

use crate::shop::{self, HOST, NAME, OBJECT, OTHER, OTHER_HOST, OTHER_OBJECT, PATIENCE};

/// Requests a second to each of the two applications.
const RATE: u32 = 50;
/// From the Engine's first answer to both applications': containers and proxy are started by it, not by Mooring.
const BACK: Duration = Duration::from_secs(20);
/// From the end of the proxy to the next answer: it is started again by the Engine or by its event.
const PROXY_GAP: Duration = Duration::from_secs(10);
/// Longer than the operator's Lease, after which another one would act.
const FROZEN: Duration = Duration::from_secs(60);

/// An install with two pipelines on an Engine that can be taken away from it. Fields are dropped in this order.
struct Town {
    installation: Installation,
    engine: PrivateEngine,
}

/// The loads on both applications.
struct Loads {
    shop: Load,
    other: Load,
}

impl Loads {
    /// Each may be answered by its own application only.
    fn begin(port: u16) -> Loads {
        let dist = installation::dist();
        Loads {
            shop: Load::begin(&dist, port, HOST, RATE, &["1.0"]),
            other: Load::begin(&dist, port, OTHER_HOST, RATE, &["other-1", "other-2"]),
        }
    }

    fn end(self, what: &str) -> [Booked; 2] {
        let booked = [self.shop.end(), self.other.end()];
        for (name, booked) in [NAME, OTHER].iter().zip(&booked) {
            report::show(format_args!("restarts: {what}: {name}: {}", booked.line()));
        }
        booked
    }
}

impl Town {
    /// The shop serves 1.0 with a failed release kept beside it, the other one is in the middle of its bake, so that
    /// its stable set is cold.
    fn settled(name: &str, live_restore: LiveRestore) -> Town {
        let engine = PrivateEngine::start(None, live_restore);
        let installation = Installation::fresh(name);
        let kubectl = installation.kubectl();
        kubectl.apply(&shop::manifest("1.0", 2));
        kubectl.apply(&shop::other("other-1", 1, 1));
        kubectl.wait(OBJECT, "condition=Ready", PATIENCE);
        kubectl.wait(OTHER_OBJECT, "condition=Ready", PATIENCE);
        kubectl.apply(&shop::manifest(BAD, 2));
        kubectl.apply(&shop::other("other-2", 1, 3000));
        kubectl.wait(OBJECT, "condition=Stalled", PATIENCE);
        kubectl.wait(
            "release/other-2",
            "jsonpath={.status.state}=Baking",
            PATIENCE,
        );
        let town = Town {
            installation,
            engine,
        };
        town.serves(BACK);
        town
    }

    fn port(&self) -> u16 {
        self.installation.http_port()
    }

    /// Both applications answer, each for its own name.
    fn serves(&self, patience: Duration) {
        program::until("both applications answer", patience, || {
            let shop = shop::version(self.port())?;
            let other = shop::version_at(self.port(), OTHER_HOST)?;
            assert_eq!(shop, "1.0", "the shop's name is the shop's");
            assert!(other.starts_with("other-"), "{other} answers for the other");
            Ok(())
        });
    }

    /// Takes the Engine away by `end` and starts it again; gives how long nothing could answer at most.
    fn without_engine(
        &mut self,
        live_restore: LiveRestore,
        end: fn(&mut PrivateEngine),
    ) -> Duration {
        let begun = Instant::now();
        end(&mut self.engine);
        self.engine.again(live_restore);
        self.serves(BACK);
        begun.elapsed()
    }
}

/// The containers of a pipeline that are kept without running, with the time of their last start.
fn asleep(pipeline: &str) -> BTreeMap<String, String> {
    let running = docker_cli::running(pipeline);
    let all = docker_cli::all(pipeline);
    let kept = all.into_iter().filter(|id| !running.contains(id));
    kept.map(|id| {
        let started = started_at(&id);
        (id, started)
    })
    .collect()
}

fn started_at(id: &str) -> String {
    docker(&["inspect", "--format", "{{.State.StartedAt}}", id])
}

/// None of them was started since.
fn still_asleep(kept: &BTreeMap<String, String>) {
    for (id, started) in kept {
        assert_eq!(started_at(id), *started, "{id} was started");
    }
}

fn is_ready(kubectl: &Kubectl) {
    kubectl.wait("dockerhost/local", "condition=Ready", PATIENCE);
    shop::until("the shop is whole", || {
        let shown = kubectl.run(&["get", OBJECT, "-o", "jsonpath={.status.ready}"]);
        let available = kubectl.condition(OBJECT, "Available", "status");
        if shown == "2/2" && available == "True" {
            Ok(())
        } else {
            Err(format!("{shown}, Available={available}"))
        }
    });
}

#[test]
fn an_engine_that_ends_with_its_containers_brings_the_right_ones_back() {
    let mut town = Town::settled("engine-off", LiveRestore::Off);
    let kubectl = town.installation.kubectl();
    let (before, failed) = (docker_cli::running(NAME), asleep(NAME));
    assert!(!failed.is_empty(), "a failed instance is kept");
    for (how, end) in [
        ("stopped", PrivateEngine::stop as fn(&mut PrivateEngine)),
        ("killed", PrivateEngine::kill),
    ] {
        let loads = Loads::begin(town.port());
        let away = town.without_engine(LiveRestore::Off, end);
        is_ready(&kubectl);
        let what = format!(
            "Engine {how} without live-restore, away for {} ms",
            away.as_millis()
        );
        for booked in loads.end(&what) {
            booked.assert_bounded(RATE, away + PROXY_GAP, away + PROXY_GAP);
        }
        let after = docker_cli::running(NAME);
        assert_eq!(after, before, "the same containers serve");
        still_asleep(&failed);
        // What the Engine ended is no failure of the release in its bake.
        let other = shop::version_at(town.port(), OTHER_HOST);
        assert_eq!(other.as_deref(), Ok("other-2"));
    }
}

#[test]
fn an_engine_that_leaves_its_containers_running_is_not_missed() {
    let mut town = Town::settled("engine-on", LiveRestore::On);
    let kubectl = town.installation.kubectl();
    let kept = [asleep(NAME), asleep(OTHER)];
    let before = [docker_cli::running(NAME), docker_cli::running(OTHER)];
    let loads = Loads::begin(town.port());
    town.without_engine(LiveRestore::On, PrivateEngine::stop);
    is_ready(&kubectl);
    let away = town.without_engine(LiveRestore::On, PrivateEngine::kill);
    is_ready(&kubectl);
    let what = format!(
        "Engine stopped and killed with live-restore, the last away for {} ms",
        away.as_millis()
    );
    for booked in loads.end(&what) {
        booked.assert_clean();
    }
    let after = [docker_cli::running(NAME), docker_cli::running(OTHER)];
    assert_eq!(after, before, "the same containers run");
    kept.iter().for_each(still_asleep);
}

#[test]
fn a_host_that_reboots_serves_before_the_operator_is_there() {
    let mut town = Town::settled("reboot", LiveRestore::Off);
    let before = [docker_cli::running(NAME), docker_cli::running(OTHER)];
    let kept = [asleep(NAME), asleep(OTHER)];
    assert!(
        kept.iter().all(|kept| !kept.is_empty()),
        "failed and cold ones are kept"
    );
    town.installation.take().kill();
    // In an order of their own, the proxy first, so that addresses given by chance would be shuffled (F15).
    let mut all = docker_cli::words(&["ps", "--quiet", "--no-trunc"]);
    all.sort_by_key(|id| id.bytes().rev().collect::<Vec<u8>>());
    for id in &all {
        docker(&["stop", "--time", "1", id]);
    }
    let loads = Loads::begin(town.port());
    let away = town.without_engine(LiveRestore::Off, PrivateEngine::stop);
    let running = [docker_cli::running(NAME), docker_cli::running(OTHER)];
    assert_eq!(
        running, before,
        "without an operator those come back that served"
    );
    kept.iter().for_each(still_asleep);

    town.installation.start();
    let kubectl = town.installation.kubectl();
    is_ready(&kubectl);
    kubectl.wait(OTHER_OBJECT, "condition=Available", PATIENCE);
    let what = format!(
        "host rebooted, serving after {} ms without an operator",
        away.as_millis()
    );
    for booked in loads.end(&what) {
        booked.assert_bounded(RATE, away + PROXY_GAP, away + PROXY_GAP);
    }
    assert_eq!(
        docker_cli::running(NAME),
        before[0],
        "and none was replaced"
    );
    still_asleep(&kept[0]);
}

#[test]
fn a_proxy_that_is_killed_or_removed_is_missed_for_a_bounded_time() {
    let installation = Installation::fresh("proxy-killed");
    let (kubectl, port) = (installation.kubectl(), installation.http_port());
    kubectl.apply(&shop::manifest("1.0", 2));
    kubectl.wait(OBJECT, "condition=Ready", PATIENCE);
    let before = docker_cli::running(NAME);
    for call in [&["kill"][..], &["stop", "--time", "1"], &["rm", "--force"]] {
        let load = Load::begin(&installation::dist(), port, HOST, RATE, &["1.0"]);
        shop::until("the load is answered", || shop::version(port).map(drop));
        let proxy = docker_cli::words(&["ps", "--quiet", "--filter", "name=^/mooring-proxy-"]);
        let arguments: Vec<&str> = call.iter().copied().chain([proxy[0].as_str()]).collect();
        docker(&arguments);
        program::until("the shop answers again", PROXY_GAP, || {
            shop::version(port).map(drop)
        });
        is_ready(&kubectl);
        let booked = load.end();
        report::show(format_args!(
            "restarts: docker {} of the proxy: {}",
            call[0],
            booked.line()
        ));
        booked.assert_bounded(RATE, PROXY_GAP, PROXY_GAP);
    }
    assert_eq!(docker_cli::running(NAME), before, "no instance was touched");
}

#[test]
fn an_operator_that_freezes_longer_than_its_lease_goes_on_from_the_facts() {
    let installation = Installation::fresh("frozen");
    let (kubectl, port) = (installation.kubectl(), installation.http_port());
    kubectl.apply(&shop::manifest("1.0", 2));
    kubectl.wait(OBJECT, "condition=Ready", PATIENCE);
    let before = docker_cli::running(NAME);
    let load = Load::begin(&installation::dist(), port, HOST, RATE, &["1.0"]);
    installation.control_plane().freeze();
    let begun = Instant::now();
    // What nobody could hear of: it is found by looking.
    docker(&["rename", &before[0], "taken-away"]);
    docker(&["stop", "--time", "1", &before[1]]);
    program::until("the Lease is long over", FROZEN * 2, || {
        let since = begun.elapsed();
        if since >= FROZEN {
            Ok(())
        } else {
            Err(format!("{} s", since.as_secs()))
        }
    });
    installation.control_plane().thaw();
    let thawed = Instant::now();
    shop::until("both instances run under their names", || {
        let running = docker_cli::running(NAME);
        if running == before {
            Ok(())
        } else {
            Err(format!("{running:?}"))
        }
    });
    is_ready(&kubectl);
    report::show(format_args!(
        "restarts: whole {} ms after a freeze of {} s",
        thawed.elapsed().as_millis(),
        FROZEN.as_secs()
    ));
    let booked = load.end();
    report::show(format_args!("restarts: operator frozen: {}", booked.line()));
    booked.assert_clean();
    let log = std::fs::read_to_string(installation.log()).expect("it logs");
    assert!(
        log.contains("beginning anew in the same process"),
        "it gave up what it had begun"
    );
}
