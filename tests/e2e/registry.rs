//! A private registry, good and bad, in front of a running release: Debian's docker-registry with a password, and a
//! server before it that fails in its place.

use tests::deployed::SHOP;
use tests::docker_cli::{self, docker};
use tests::installation::Installation;
use tests::kubectl::Kubectl;
use tests::registry::{Fault, PASSWORD, Registry, USER};
use tests::report;

use crate::shop::{self, NAME, OBJECT, PATIENCE};

/// What can be wrong before an image is pulled or while it is, and the word for it.
const FAULTS: [(Fault, &str); 6] = [
    (Fault::Status(401), "ImageAccessDenied"),
    (Fault::Status(404), "ImageNotFound"),
    (Fault::Status(429), "RegistryRateLimited"),
    (Fault::Status(500), "RegistryFailing"),
    (Fault::Silent, "RegistryUnreachable"),
    (Fault::NoLayers, "ImageLayerMissing"),
];

#[test]
fn a_private_registry_fails_in_every_way_and_the_running_release_serves_on() {
    let installation = Installation::fresh("registry");
    let (kubectl, port) = (installation.kubectl(), installation.http_port());
    let registry = Registry::start(installation.scratch());
    let old = registry.push(&format!("{SHOP}:1.0"), "team/shop:1.0");
    let new = registry.push(&format!("{SHOP}:2.0"), "team/shop:2.0");

    kubectl.apply(&manifest(&old, 0));
    reason(&kubectl, "RefNotFound");
    let secret = kubectl.run(&[
        "create",
        "secret",
        "docker-registry",
        "regcred",
        "--dry-run=client",
        "--output=yaml",
        &format!("--docker-server={}", registry.host()),
        &format!("--docker-username={USER}"),
        &format!("--docker-password={PASSWORD}"),
    ]);
    kubectl.apply(&secret);
    kubectl.wait(OBJECT, "condition=Ready", PATIENCE);
    shop::assert_answers(port, "1.0");
    let before = docker_cli::running(NAME);

    for (try_number, (fault, word)) in (1..).zip(FAULTS) {
        registry.set(fault);
        kubectl.apply(&manifest(&new, try_number));
        let said = reason(&kubectl, word);
        report::show(format_args!("registry: {fault:?}: {word}: {said}"));
        shop::assert_answers(port, "1.0");
    }
    // Nobody listens on the discard port.
    kubectl.apply(&manifest("127.0.0.1:9/team/shop:2.0", 0));
    reason(&kubectl, "RegistryUnreachable");
    registry.set(Fault::Slow);
    kubectl.apply(&manifest(&new, FAULTS.len() + 1));
    shop::until("the Release tells how far the pull is", || {
        let path = "jsonpath={.items[*].status.stages[0].message}";
        let messages = kubectl.run(&["get", "releases", "-o", path]);
        if messages.contains(" layers, ") {
            Ok(())
        } else {
            Err(messages)
        }
    });
    assert_eq!(docker_cli::running(NAME), before, "nothing was touched");
    shop::assert_answers(port, "1.0");
    registry.set(Fault::None);
    kubectl.wait(OBJECT, "condition=Ready", PATIENCE);
    shop::assert_answers(port, "2.0");
    stays_secret(&installation, &kubectl);
}

/// The story's pipeline with an image of the registry; another number is another try.
fn manifest(image: &str, number: usize) -> String {
    let template = format!(
        "  template:\n    metadata: {{annotations: {{try: '{number}'}}}}\n    imagePullSecrets: [{{name: regcred}}]\n"
    );
    shop::manifest("1.0", 2)
        .replace(&format!("{SHOP}:1.0"), image)
        .replace("  template:\n", &template)
        .replace(
            "progressDeadlineSeconds: 60",
            "progressDeadlineSeconds: 600",
        )
}

/// Waits until the pipeline is not ready for this reason, and gives the message.
fn reason(kubectl: &Kubectl, word: &str) -> String {
    shop::until(&format!("the pipeline is not ready for {word}"), || {
        let found = kubectl.condition(OBJECT, "Ready", "reason");
        let message = kubectl.condition(OBJECT, "Ready", "message");
        if found == word {
            Ok(message)
        } else {
            Err(format!("{found}: {message}"))
        }
    })
}

/// The password is in the Secret that a person made, and nowhere else.
fn stays_secret(installation: &Installation, kubectl: &Kubectl) {
    let kinds = "dockerhosts,deploymentpipelines,releases,configmaps,leases,events";
    let mut texts = vec![
        kubectl.run(&["get", kinds, "--all-namespaces", "-o", "yaml"]),
        kubectl.run(&["describe", "dp,rel"]),
        std::fs::read_to_string(installation.log()).expect("the log is there"),
    ];
    let label = format!("label=mooring.dev/install={}", installation.id());
    for id in docker_cli::words(&["ps", "--all", "--quiet", "--filter", &label]) {
        texts.push(docker(&["inspect", &id]));
    }
    assert!(texts.len() > 4, "containers were inspected");
    for text in &texts {
        assert!(!text.is_empty() && !text.contains(PASSWORD));
    }
}
