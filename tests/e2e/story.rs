//! From `kubectl apply` to running, updated, rolled back and gone, as a person does it and as a person reads it.
//!
//! Knows neither which control plane answers nor how it was started: the embedded one and a real Kubernetes are told
//! the same.

use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use tests::deployed::{BAD, SHOP};
use tests::docker_cli;
use tests::kubectl::Kubectl;
use tests::program;
use tests::request;

use crate::shop::{self, HOST, NAME, OBJECT, PATIENCE};

/// Apply with the server's own merge.
const SERVER_SIDE: [&str; 4] = ["apply", "--server-side", "-f", "-"];
/// The longest time that reading logs may take.
const LOGS: Duration = Duration::from_secs(20);

/// Tells the story through `kubectl`, with the proxy on `port` of this machine and the binaries in `dist`.
pub fn tell(kubectl: &Kubectl, port: u16, dist: &Path) {
    refuse_what_is_misspelt(kubectl);
    let watch = install(kubectl, port);
    explain(kubectl);
    scale(kubectl);
    update(kubectl, port);
    read_logs(kubectl, dist);
    roll_back(kubectl, port);
    read_logs_of_what_failed(kubectl, dist);
    edit(kubectl, port);
    let printed = watch.lines().join("\n");
    for line in [
        "Rolling out store-1",
        "Serving store-1",
        "Rolling out store-2",
        "Baking store-2",
        "Rolled back to store-2",
    ] {
        assert!(printed.contains(line), "get -w shows {line:?}:\n{printed}");
    }
    drop(watch);
    delete(kubectl, port);
}

fn refuse_what_is_misspelt(kubectl: &Kubectl) {
    let manifest = shop::manifest("1.0", 2).replace("minReadySeconds", "minReadySecond");
    let refused = kubectl.refused(&["apply", "-f", "-"], &manifest);
    assert!(
        refused.contains("spec.strategy.minReadySecond"),
        "{refused}"
    );
    let manifest = shop::manifest("1.0", 2)
        .replace("progressDeadlineSeconds: 60", "progressDeadlineSeconds: 3");
    let refused = kubectl.refused(&["apply", "-f", "-"], &manifest);
    assert!(
        refused.contains("healthyDeadlineSeconds < progressDeadlineSeconds must hold"),
        "{refused}"
    );
}

fn install(kubectl: &Kubectl, port: u16) -> tests::kubectl::Following {
    let manifest = shop::manifest("1.0", 2);
    let dry = kubectl.try_run(&["apply", "--dry-run=server", "-f", "-"], &manifest);
    assert!(
        program::text(&dry.stdout).contains("created (server dry run)"),
        "{dry:?}"
    );
    let printed = kubectl.apply(&manifest);
    assert_eq!(printed, "deploymentpipeline.mooring.dev/store created\n");
    let watch = kubectl.follow(&["get", "dp", NAME, "-w"]);
    // kubectl sends the list of containers without its defaults again and calls that configured; the server knows.
    kubectl.apply(&manifest);
    let generation = kubectl.run(&["get", "dp", NAME, "-o", "jsonpath={.metadata.generation}"]);
    assert_eq!(generation, "1", "the same content is no change");
    let printed = kubectl.given(&SERVER_SIDE, &manifest);
    assert_eq!(
        printed,
        "deploymentpipeline.mooring.dev/store serverside-applied\n"
    );

    let printed = kubectl.wait(OBJECT, "condition=Ready", PATIENCE);
    assert_eq!(
        printed,
        "deploymentpipeline.mooring.dev/store condition met\n"
    );
    shop::assert_answers(port, "1.0");

    let printed = kubectl.run(&["get", "dp", NAME]);
    assert_eq!(
        columns(&printed, 0),
        [
            "NAME", "READY", "STATUS", "RELEASE", "IMAGE", "REPLICAS", "AGE"
        ]
    );
    let image = format!("{SHOP}:1.0");
    assert_eq!(
        columns(&printed, 1)[..7],
        [NAME, "True", "Serving", "store-1", "store-1", &image, "2/2"]
    );
    let printed = kubectl.run(&["get", "dp,rel"]);
    for words in [
        "deploymentpipeline.mooring.dev/store",
        "release.mooring.dev/store-1",
        "Succeeded",
    ] {
        assert!(printed.contains(words), "{words:?} in:\n{printed}");
    }
    let printed = kubectl.run(&["get", "rel"]);
    assert_eq!(
        columns(&printed, 0),
        [
            "NAME", "PIPELINE", "STATE", "REVISION", "IMAGE", "BY", "AGE"
        ]
    );
    let printed = kubectl.run(&["get", "mooring"]);
    assert!(
        printed.contains("dockerhost.mooring.dev/local"),
        "{printed}"
    );

    let printed = kubectl.run(&["describe", OBJECT]);
    assert_in_order(
        &printed,
        &["Conditions:", "Events:", "ReleaseCreated", "Succeeded"],
    );
    let printed = kubectl.run(&["events", "--for", OBJECT]);
    assert_in_order(&printed, &["ReleaseCreated", "Succeeded"]);
    watch
}

fn explain(kubectl: &Kubectl) {
    let printed = kubectl.run(&["explain", "dp.spec.strategy"]);
    for words in [
        "DeploymentPipeline",
        "minReadySeconds",
        "<integer>",
        "without a break",
    ] {
        assert!(printed.contains(words), "{words:?} in:\n{printed}");
    }
    let printed = kubectl.run(&["explain", "dp"]);
    assert!(
        printed.contains("mooring logs"),
        "it says what stands in for kubectl logs:\n{printed}"
    );
}

fn scale(kubectl: &Kubectl) {
    let printed = kubectl.run(&["scale", "dp", NAME, "--replicas=3"]);
    assert_eq!(printed, "deploymentpipeline.mooring.dev/store scaled\n");
    kubectl.wait(OBJECT, "jsonpath={.status.ready}=3/3", PATIENCE);
    kubectl.wait(OBJECT, "condition=Ready", PATIENCE);
    assert_eq!(docker_cli::running(NAME).len(), 3);
    let releases = kubectl.run(&["get", "rel", "--no-headers"]);
    assert_eq!(
        releases.lines().count(),
        1,
        "scaling makes no release:\n{releases}"
    );
}

fn update(kubectl: &Kubectl, port: u16) {
    let next = shop::manifest("2.0", 3);
    let diff = kubectl.try_run(&["diff", "-f", "-"], &next);
    let printed = program::text(&diff.stdout);
    assert_eq!(
        diff.status.code(),
        Some(1),
        "there is a difference: {printed}"
    );
    assert_in_order(
        &printed,
        &[
            &format!("-    image: {SHOP}:1.0"),
            &format!("+    image: {SHOP}:2.0"),
        ],
    );

    let patch = format!("{{\"spec\":{{\"source\":{{\"image\":\"{SHOP}:2.0\"}}}}}}");
    let printed = kubectl.run(&["patch", "dp", NAME, "--type=merge", "-p", &patch]);
    assert_eq!(printed, "deploymentpipeline.mooring.dev/store patched\n");
    kubectl.wait(OBJECT, "condition=Ready", PATIENCE);
    shop::assert_answers(port, "2.0");
    let printed = kubectl.run(&["get", "rel", "store-2", "--no-headers"]);
    assert_eq!(columns(&printed, 0)[..3], ["store-2", NAME, "Succeeded"]);
    assert_eq!(
        docker_cli::running(NAME).len(),
        3,
        "the old ones are stopped"
    );
}

/// `mooring logs` with these arguments.
fn logs(kubectl: &Kubectl, dist: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(dist.join("mooring"));
    command
        .args(["logs", NAME])
        .args(arguments)
        .env("KUBECONFIG", kubectl.kubeconfig());
    program::run(&mut command, b"", LOGS)
}

/// What `mooring logs` prints with these arguments.
fn printed_logs(kubectl: &Kubectl, dist: &Path, arguments: &[&str]) -> String {
    let output = logs(kubectl, dist, arguments);
    assert!(
        output.status.success(),
        "mooring logs {arguments:?}: {output:?}"
    );
    program::text(&output.stdout)
}

fn read_logs(kubectl: &Kubectl, dist: &Path) {
    let printed = printed_logs(kubectl, dist, &[]);
    assert_eq!(
        printed.matches("version 2.0 listens").count(),
        3,
        "three instances wrote it:\n{printed}"
    );
    let refused = logs(kubectl, dist, &["--previous"]);
    let words = program::text(&refused.stderr);
    assert!(!refused.status.success());
    assert!(
        words.contains("store-1 has no instances any more"),
        "{words}"
    );
}

fn read_logs_of_what_failed(kubectl: &Kubectl, dist: &Path) {
    let printed = printed_logs(kubectl, dist, &[]);
    assert!(
        printed.contains("version 3.0 listens") && !printed.contains("version 2.0"),
        "the failed instance is kept:\n{printed}"
    );
    let printed = printed_logs(kubectl, dist, &["--previous"]);
    assert_eq!(
        printed.matches("version 2.0 listens").count(),
        3,
        "{printed}"
    );
    assert_eq!(printed, printed_logs(kubectl, dist, &["--release", "2"]));
}

fn roll_back(kubectl: &Kubectl, port: u16) {
    let manifest = shop::manifest(BAD, 3);
    let refused = kubectl.refused(&SERVER_SIDE, &manifest);
    assert!(
        refused.contains("conflict with \"kubectl-patch\"")
            && refused.contains(".spec.source.image"),
        "the patch is somebody else's field: {refused}"
    );
    let printed = kubectl.given(
        &[SERVER_SIDE.as_slice(), &["--force-conflicts"]].concat(),
        &manifest,
    );
    assert_eq!(
        printed,
        "deploymentpipeline.mooring.dev/store serverside-applied\n"
    );
    kubectl.wait(OBJECT, "condition=Stalled", PATIENCE);
    let condition = |kind: &str, field: &str| kubectl.condition(OBJECT, kind, field);
    assert_eq!(condition("Stalled", "reason"), "RolledBack");
    assert_eq!(condition("Ready", "status"), "False");
    assert_eq!(condition("Available", "status"), "True");
    let message = condition("Stalled", "message");
    for words in [
        "store-3",
        "store-2",
        "was not ready within 4 s",
        "version 3.0 listens",
    ] {
        assert!(
            message.contains(words),
            "{words:?} in the message:\n{message}"
        );
    }
    shop::assert_answers(port, "2.0");
    let printed = kubectl.run(&["get", "rel", "store-3", "--no-headers"]);
    assert_eq!(columns(&printed, 0)[..3], ["store-3", NAME, "RolledBack"]);
    let printed = kubectl.run(&["describe", OBJECT]);
    assert_in_order(
        &printed,
        &[
            "Events:",
            "store-3 brings out",
            "InstanceFailed",
            "store-2 serves again",
        ],
    );
}

fn edit(kubectl: &Kubectl, port: u16) {
    let editor = format!("sed -i s/{SHOP}:{BAD}/{SHOP}:1.0/");
    let printed = kubectl.editor(&editor).run(&["edit", "dp", NAME]);
    assert_eq!(printed, "deploymentpipeline.mooring.dev/store edited\n");
    kubectl.wait(OBJECT, "condition=Ready", PATIENCE);
    shop::assert_answers(port, "1.0");
    let printed = kubectl.run(&[
        "get",
        "dp",
        NAME,
        "-o",
        "jsonpath={.status.currentRelease} {.status.stableRelease}",
    ]);
    assert_eq!(
        printed, "store-4 store-4",
        "old content is a release of its own"
    );
}

fn delete(kubectl: &Kubectl, port: u16) {
    let printed = kubectl.run(&["delete", "dp", NAME, "--timeout=60s"]);
    assert!(
        printed.contains("deploymentpipeline.mooring.dev \"store\" deleted"),
        "{printed}"
    );
    assert_eq!(
        docker_cli::all(NAME),
        Vec::<String>::new(),
        "no container is left"
    );
    shop::until("its releases go", || {
        let left = kubectl.run(&["get", "rel", "-o", "name"]);
        if left.is_empty() { Ok(()) } else { Err(left) }
    });
    let answer = request::get(port, HOST, "/").expect("the proxy answers");
    assert_eq!(answer.status, 421, "nobody declares its host name any more");
}

/// The words of one line.
fn columns(printed: &str, line: usize) -> Vec<&str> {
    let line = printed.lines().nth(line).unwrap_or_default();
    line.split_whitespace().collect()
}

/// Each of `words` comes after the one before it.
fn assert_in_order(printed: &str, words: &[&str]) {
    let mut rest = printed;
    for word in words {
        let Some(at) = rest.find(word) else {
            panic!(
                "{word:?} is missing, or not after the words before it in {words:?}:\n{printed}"
            );
        };
        rest = &rest[at + word.len()..];
    }
}
