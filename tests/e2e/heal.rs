//! What hands and signals break is made whole, without losing a request where none has to be lost.

use std::time::{Duration, Instant};

use serde_json::Value;
use tests::deployed::SHOP;
use tests::docker_cli::{self, docker, try_docker};
use tests::installation::{self, Installation};
use tests::kubectl::Kubectl;
use tests::load::Load;
use tests::program;
use tests::report;

use crate::shop::{self, HOST, NAME, OBJECT, PATIENCE};

/// Longer than any event takes to its effect, much shorter than the next look without one.
const BY_EVENT: Duration = Duration::from_secs(10);
/// Requests a second.
const RATE: u32 = 200;

#[test]
fn instances_that_hands_take_away_come_back_by_the_event() {
    let installation = Installation::fresh("hands");
    let kubectl = installation.kubectl();
    kubectl.apply(&shop::manifest("1.0", 3));
    kubectl.wait(OBJECT, "condition=Ready", PATIENCE);
    // Each takes another instance: one that ends twice in a row is a crash loop, and waits.
    let victims = docker_cli::running(NAME);
    for (victim, call) in
        victims
            .iter()
            .zip([&["rm", "--force"][..], &["stop", "--time", "1"], &["kill"]])
    {
        let arguments: Vec<&str> = call.iter().copied().chain([victim.as_str()]).collect();
        docker(&arguments);
        let begun = Instant::now();
        program::until(
            &format!("three run after docker {}", call[0]),
            BY_EVENT,
            || {
                let running = docker_cli::running(NAME);
                if running.len() == 3 {
                    Ok(())
                } else {
                    Err(format!("{} run", running.len()))
                }
            },
        );
        report::show(format_args!(
            "heal: docker {} was answered after {} ms",
            call[0],
            begun.elapsed().as_millis()
        ));
        whole(&kubectl, 3);
    }
    shop::assert_answers(installation.http_port(), "1.0");
    a_copy_of_our_labels_is_not_ours(&kubectl);
    a_foreign_container_in_the_way_is_named(&kubectl);
}

/// All instances of the pipeline serve and nothing is under way.
fn whole(kubectl: &Kubectl, replicas: usize) {
    shop::until("the pipeline is whole", || {
        let ready = kubectl.condition(OBJECT, "Ready", "status");
        let running = docker_cli::running(NAME).len();
        let shown = kubectl.run(&[
            "get",
            OBJECT,
            "-o",
            "jsonpath={.status.ready} {.status.summary}",
        ]);
        if ready == "True"
            && running == replicas
            && shown.starts_with(&format!("{replicas}/{replicas} "))
        {
            Ok(())
        } else {
            Err(format!("Ready={ready}, {running} run, {shown}"))
        }
    });
}

/// A container of somebody else's; dropping it removes it.
struct Foreign(String);

impl Foreign {
    fn run(arguments: &[&str]) -> Foreign {
        let fixed = ["run", "--detach"];
        let image = format!("{SHOP}:1.0");
        let arguments: Vec<&str> = fixed
            .iter()
            .chain(arguments)
            .copied()
            .chain([image.as_str()])
            .collect();
        Foreign(docker(&arguments).trim().to_owned())
    }

    /// Everything by which somebody would notice that it was touched.
    fn state(&self) -> String {
        docker(&[
            "inspect",
            "--format",
            "{{.Name}} {{.State.Running}} {{.State.StartedAt}} {{.HostConfig.RestartPolicy.Name}} {{json .NetworkSettings.Networks}}",
            &self.0,
        ])
    }
}

impl Drop for Foreign {
    fn drop(&mut self) {
        try_docker(&["rm", "--force", &self.0]);
    }
}

fn a_copy_of_our_labels_is_not_ours(kubectl: &Kubectl) {
    let original = &docker_cli::running(NAME)[0];
    let labels: Value = serde_json::from_str(&docker(&[
        "inspect",
        "--format",
        "{{json .Config.Labels}}",
        original,
    ]))
    .expect("docker prints JSON");
    let labels: Vec<String> = labels
        .as_object()
        .expect("labels are an object")
        .iter()
        .map(|(key, value)| format!("--label={key}={}", value.as_str().unwrap_or_default()))
        .collect();
    let arguments: Vec<&str> = ["--name", "not-of-mooring"]
        .into_iter()
        .chain(labels.iter().map(String::as_str))
        .collect();
    let foreign = Foreign::run(&arguments);
    let before = foreign.state();
    kubectl.run(&["scale", "dp", NAME, "--replicas=2"]);
    whole(kubectl, 2);
    kubectl.apply(&shop::manifest("2.0", 2));
    kubectl.wait(OBJECT, "condition=Ready", PATIENCE);
    kubectl.run(&["delete", "dp", NAME, "--timeout=60s"]);
    assert_eq!(
        docker_cli::all(NAME),
        Vec::<String>::new(),
        "no container of ours is left"
    );
    assert_eq!(foreign.state(), before, "the copy is somebody else's");
}

fn a_foreign_container_in_the_way_is_named(kubectl: &Kubectl) {
    kubectl.apply(&shop::manifest("1.0", 1));
    kubectl.wait(OBJECT, "condition=Ready", PATIENCE);
    let ours = docker_cli::running(NAME)[0].clone();
    let name = docker_cli::name(&ours);
    let (slot, attempt) = name.rsplit_once('-').expect("a name ends in its attempt");
    let next = attempt.parse::<u32>().expect("a number") + 1;
    let next = format!("{slot}-{next}");
    let foreign = Foreign::run(&["--name", &next]);
    let before = foreign.state();
    docker(&["rm", "--force", &ours]);
    shop::until("the one in the way is named", || {
        let reason = kubectl.condition(OBJECT, "Reconciling", "reason");
        let message = kubectl.condition(OBJECT, "Reconciling", "message");
        let named = reason == "ForeignObject" && message.contains(&next);
        if named {
            Ok(())
        } else {
            Err(format!("{reason}: {message}"))
        }
    });
    assert_eq!(foreign.state(), before, "it is not touched");
    drop(foreign);
    let begun = Instant::now();
    whole(kubectl, 1);
    report::show(format_args!(
        "heal: whole {} ms after the foreign container had gone",
        begun.elapsed().as_millis()
    ));
}

#[test]
fn the_end_of_mooring_is_not_the_end_of_anything_else() {
    let mut installation = Installation::fresh("signals");
    let kubectl = installation.kubectl();
    let port = installation.http_port();
    kubectl.apply(&shop::manifest("1.0", 3));
    kubectl.wait(OBJECT, "condition=Ready", PATIENCE);
    let before = docker_cli::running(NAME);
    let mut load = Load::begin(&installation::dist(), port, HOST, RATE, &["1.0"]);

    let took = installation.take().stop();
    report::show(format_args!(
        "heal: mooring ended {} ms after SIGTERM",
        took.as_millis()
    ));
    shop::assert_answers(port, "1.0");
    installation.start();
    kubectl.wait(OBJECT, "condition=Ready", PATIENCE);
    assert_eq!(docker_cli::running(NAME), before, "the same containers run");

    load.allow(&["1.0", "2.0"]);
    kubectl.apply(&shop::manifest("2.0", 3).replace("maxSurge: 3", "maxSurge: 1"));
    shop::until("the update is half done", || {
        let release = [
            "get",
            "release",
            "store-2",
            "--ignore-not-found",
            "-o",
            "jsonpath={.status.state}",
        ];
        let state = kubectl.run(&release);
        let new = docker_cli::running(NAME)
            .iter()
            .filter(|id| !before.contains(id))
            .count();
        if new > 0 && new < 3 {
            Ok(())
        } else {
            Err(format!("{new} new ones run, state {state:?}"))
        }
    });
    installation.take().kill();
    shop::until("the proxy answers without mooring", || {
        shop::version(port).map(drop)
    });
    installation.start();
    kubectl.wait(OBJECT, "condition=Ready", PATIENCE);
    load.allow(&["2.0"]);
    shop::assert_answers(port, "2.0");
    assert_eq!(
        docker_cli::running(NAME).len(),
        3,
        "none too many, none too few"
    );
    assert!(
        docker_cli::running(NAME)
            .iter()
            .all(|id| !before.contains(id))
    );
    let booked = load.end();
    report::show(format_args!(
        "heal: over SIGTERM, an update cut by SIGKILL and its end: {}",
        booked.line()
    ));
    booked.assert_clean();
}
