//! What hands do to a pipeline under load: the same release is made whole again by its event, and where another
//! instance serves no request is lost.
//!
//! The Engine is the test's own, since hands also prune. What ends a process or its network takes the requests along that
//! were in its hands at that moment; everything else takes none.

use std::time::{Duration, Instant};

use tests::docker_cli::{self, docker, try_docker};
use tests::installation::{self, Installation};
use tests::kubectl::Kubectl;
use tests::load::{Booked, Load};
use tests::private_engine::{LiveRestore, PrivateEngine};
use tests::{program, report};

use crate::shop::{self, HOST, NAME, OBJECT, PATIENCE};

/// Requests a second.
const RATE: u32 = 100;
/// Instances that serve.
const REPLICAS: usize = 3;
/// From any deed until nothing of it is left: far below every timer, so that only an event can be that quick.
const BY_EVENT: Duration = Duration::from_secs(20);
/// From the loss of the bridge, and of all instances with it, to the next answer.
const BRIDGE_GAP: Duration = Duration::from_secs(15);

/// An install with one pipeline on an Engine of its own. Fields are dropped in this order.
struct Town {
    installation: Installation,
    _engine: PrivateEngine,
}

impl Town {
    fn settled(name: &str) -> Town {
        let engine = PrivateEngine::start(None, LiveRestore::Off);
        let installation = Installation::fresh(name);
        let kubectl = installation.kubectl();
        kubectl.apply(&shop::manifest(
            "1.0",
            u32::try_from(REPLICAS).expect("few"),
        ));
        kubectl.wait(OBJECT, "condition=Ready", PATIENCE);
        let town = Town {
            installation,
            _engine: engine,
        };
        town.until_whole("the beginning");
        town
    }

    fn kubectl(&self) -> Kubectl {
        self.installation.kubectl()
    }

    fn begin_load(&self, versions: &[&str]) -> Load {
        let port = self.installation.http_port();
        let load = Load::begin(&installation::dist(), port, HOST, RATE, versions);
        shop::until("the load is answered", || shop::version(port).map(drop));
        load
    }

    /// Every instance is as its release says, and serves.
    fn until_whole(&self, after: &str) {
        program::until(&format!("whole after {after}"), BY_EVENT, || {
            let expected = vec![AS_MADE.to_owned(); REPLICAS];
            let found: Vec<String> = docker_cli::running(NAME)
                .iter()
                .map(|id| as_found(id))
                .collect();
            let shown = self.kubectl().run(&[
                "get",
                OBJECT,
                "-o",
                "jsonpath={.status.ready} {.status.conditions[?(@.type=='Ready')].status}",
            ]);
            if found == expected && shown == format!("{REPLICAS}/{REPLICAS} True") {
                Ok(())
            } else {
                Err(format!("{shown}: {found:?}"))
            }
        });
    }

    /// Under load, what hands do is made whole by the same release. Gives what became of the requests.
    fn healed(&self, words: &str, act: impl FnOnce()) -> Booked {
        let load = self.begin_load(&["1.0"]);
        let begun = Instant::now();
        act();
        self.until_whole(words);
        let took = begun.elapsed().as_millis();
        let booked = load.end();
        report::show(format_args!(
            "drift: {words}: whole after {took} ms: {}",
            booked.line()
        ));
        assert_eq!(
            self.releases(),
            ["store-1"],
            "the same release after {words}"
        );
        booked
    }

    fn releases(&self) -> Vec<String> {
        let names = "jsonpath={.items[*].metadata.name}";
        let shown = self.kubectl().run(&["get", "releases", "-o", names]);
        let mut names: Vec<String> = shown.split_whitespace().map(str::to_owned).collect();
        names.sort();
        names
    }

    /// The container that runs in a slot.
    fn in_slot(&self, slot: usize) -> String {
        let running = docker_cli::running(NAME);
        let tail = format!(".{slot}-");
        let found = running
            .into_iter()
            .find(|id| docker_cli::name(id).contains(&tail));
        found.unwrap_or_else(|| panic!("nothing runs in slot {slot}"))
    }
}

/// What drifts of a container, as it was made: named as its label says, not frozen, kept alive by Docker, with no limit
/// and one network.
const AS_MADE: &str = "true false always 0 0 1";

fn as_found(id: &str) -> String {
    let format = "{{eq .Name (printf \"/%s\" (index .Config.Labels \"mooring.dev/name\"))}} {{.State.Paused}} {{.HostConfig.RestartPolicy.Name}} {{.HostConfig.Memory}} {{.HostConfig.NanoCpus}} {{len .NetworkSettings.Networks}}";
    let found = try_docker(&["inspect", "--format", format, id]);
    String::from_utf8_lossy(&found.stdout).trim().to_owned()
}

/// What hands do to one instance, and how many requests that may take along: those that the process has in its hands
/// when it is killed, an answer takes it less than a millisecond; and those that are sent to one without a network until
/// its proxy hears of it, few because one that does not answer is chosen last.
const DEEDS: [(&[&str], u64); 9] = [
    (&["rm", "--force", "ID"], 2),
    (&["stop", "--time", "1", "ID"], 2),
    (&["kill", "ID"], 2),
    (&["pause", "ID"], 0),
    (&["rename", "ID", "taken-away"], 0),
    (&["update", "--restart=no", "ID"], 0),
    (&["network", "disconnect", "mooring.default", "ID"], 5),
    (&["update", "--memory=64m", "--memory-swap=64m", "ID"], 0),
    (&["update", "--cpus=0.5", "ID"], 0),
];

#[test]
fn what_hands_do_to_one_instance_is_undone_without_a_loss() {
    let town = Town::settled("drift");
    for (number, (words, taken)) in DEEDS.iter().enumerate() {
        // Each takes the next slot: one that ends twice in a row is a crash loop, and waits.
        let victim = town.in_slot(number % REPLICAS);
        let arguments: Vec<&str> = words
            .iter()
            .map(|word| if *word == "ID" { victim.as_str() } else { word })
            .collect();
        let said = format!("docker {}", words.join(" "));
        let booked = town.healed(&said, || drop(docker(&arguments)));
        if *taken == 0 {
            booked.assert_clean();
        } else {
            booked.assert_at_most(*taken);
        }
    }
    let tag = retained_tag();
    let booked = town.healed("docker rmi --force of the retained tag", || {
        docker(&["rmi", "--force", &tag]);
        program::until("the tag is back", BY_EVENT, || {
            let found = try_docker(&["image", "inspect", &tag]);
            let words = String::from_utf8_lossy(&found.stderr).into_owned();
            found.status.success().then_some(()).ok_or(words)
        });
    });
    booked.assert_clean();
}

/// The tag by which the image of the release is kept.
fn retained_tag() -> String {
    let tags = docker_cli::words(&["images", "--format", "{{.Repository}}:{{.Tag}}"]);
    let ours = tags.into_iter().find(|tag| tag.starts_with("mooring/"));
    ours.expect("it is kept")
}

#[test]
fn a_bridge_that_is_removed_is_missed_for_a_bounded_time() {
    let town = Town::settled("drift-bridge");
    let booked = town.healed("docker network rm of the bridge", || {
        program::until("the bridge is removed", BY_EVENT, || {
            let on_it = "{{range $id, $_ := .Containers}}{{$id}} {{end}}";
            let found = try_docker(&["network", "inspect", "--format", on_it, "mooring.default"]);
            for id in String::from_utf8_lossy(&found.stdout).split_whitespace() {
                try_docker(&["network", "disconnect", "--force", "mooring.default", id]);
            }
            let removed = try_docker(&["network", "rm", "mooring.default"]);
            let words = String::from_utf8_lossy(&removed.stderr).into_owned();
            removed.status.success().then_some(()).ok_or(words)
        });
    });
    booked.assert_bounded(RATE, BRIDGE_GAP, BRIDGE_GAP);
}

#[test]
fn a_rollout_goes_on_over_a_prune() {
    let town = Town::settled("drift-prune");
    let kubectl = town.kubectl();
    let mut load = town.begin_load(&["1.0"]);
    load.allow(&["1.0", "2.0"]);
    let replicas = u32::try_from(REPLICAS).expect("few");
    let slow = shop::manifest("2.0", replicas)
        .replace("minReadySeconds: 1", "minReadySeconds: 3")
        .replace("bakeSeconds: 1", "bakeSeconds: 6");
    kubectl.apply(&slow);
    shop::until("old and new ones run", || {
        let running = docker_cli::running(NAME).len();
        (running == 2 * REPLICAS)
            .then_some(())
            .ok_or_else(|| format!("{running} run"))
    });
    docker(&["system", "prune", "--all", "--force"]);
    kubectl.wait(
        "release/store-2",
        "jsonpath={.status.state}=Baking",
        PATIENCE,
    );
    // The old ones are kept for a rollback by now, stopped, and nothing else holds their image.
    docker(&["system", "prune", "--all", "--force"]);
    kubectl.wait(OBJECT, "condition=Ready", PATIENCE);
    load.allow(&["2.0"]);
    shop::assert_answers(town.installation.http_port(), "2.0");
    let booked = load.end();
    report::show(format_args!(
        "drift: docker system prune while a release came out and in its bake: {}",
        booked.line()
    ));
    booked.assert_clean();
    assert_eq!(town.releases(), ["store-1", "store-2"]);
    assert_eq!(docker_cli::running(NAME).len(), REPLICAS);
}
