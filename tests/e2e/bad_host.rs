//! Hosts that are not as they should be: said in words, with a next step, and the running release untouched.

use std::net::TcpListener;

use tests::cable::Cable;
use tests::docker_cli;
use tests::installation::{self, Installation};
use tests::kubectl::Kubectl;
use tests::load::Load;
use tests::report;

use crate::shop::{self, HOST, NAME, OBJECT, PATIENCE};

/// Requests a second.
const RATE: u32 = 200;

/// Waits until a condition of an object has a reason, and gives its message.
fn message(kubectl: &Kubectl, object: &str, kind: &str, reason: &str) -> String {
    shop::until(
        &format!("{kind} of {object} has the reason {reason}"),
        || {
            let found = kubectl.condition(object, kind, "reason");
            let message = kubectl.condition(object, kind, "message");
            if found == reason {
                Ok(message)
            } else {
                Err(format!("{found:?}: {message}"))
            }
        },
    )
}

#[test]
fn a_port_that_is_taken_is_said_with_its_holder_and_only_routes_wait() {
    let mut installation = Installation::prepared("port", None);
    let port = installation.http_port();
    let holder = TcpListener::bind(("0.0.0.0", port)).expect("the port is free");
    installation.start();
    let kubectl = installation.kubectl();
    let said = message(&kubectl, "dockerhost/local", "Ready", "PortTaken");
    assert!(
        said.contains(&format!("port {port}")) && said.contains(&std::process::id().to_string()),
        "it says which port and who holds it: {said}"
    );
    kubectl.apply(&shop::manifest("1.0", 2));
    let said = message(&kubectl, OBJECT, "Available", "PortTaken");
    assert!(said.contains(&port.to_string()), "{said}");
    shop::until("the instances run all the same", || {
        let running = docker_cli::running(NAME).len();
        if running == 2 {
            Ok(())
        } else {
            Err(format!("{running} run"))
        }
    });
    a_second_one_is_refused(&installation);

    drop(holder);
    kubectl.wait("dockerhost/local", "condition=Ready", PATIENCE);
    kubectl.wait(OBJECT, "condition=Ready", PATIENCE);
    shop::assert_answers(port, "1.0");
}

fn a_second_one_is_refused(installation: &Installation) {
    let mut arguments = installation.arguments(installation.data_dir());
    // Another port for the API, so that it is the data that is in the way.
    let listen = arguments.iter().position(|argument| argument == "--listen");
    arguments[listen.expect("it is given") + 1] =
        format!("127.0.0.1:{}", installation::free_port());
    let refusal = installation.refused(&arguments);
    assert!(refusal.failed, "it ends with a failure");
    let directory = installation.data_dir().display().to_string();
    assert!(
        refusal.words.contains(&directory),
        "it names the directory: {}",
        refusal.words
    );
}

#[test]
fn an_engine_out_of_reach_freezes_and_goes_on_when_it_is_back() {
    let scratch = std::env::temp_dir().join(format!("mooring-e2e-cable-{}", std::process::id()));
    let mut cable = Cable::new(&scratch, &docker_cli::socket());
    let endpoint = format!("unix://{}", scratch.display());
    let mut installation = Installation::prepared("cable", Some(&endpoint));
    installation.start();
    let (kubectl, port) = (installation.kubectl(), installation.http_port());
    kubectl.wait("dockerhost/local", "condition=Ready", PATIENCE);
    kubectl.apply(&shop::manifest("1.0", 2));
    kubectl.wait(OBJECT, "condition=Ready", PATIENCE);
    let before = docker_cli::running(NAME);
    let load = Load::begin(&installation::dist(), port, HOST, RATE, &["1.0"]);

    cable.pull();
    let said = message(&kubectl, "dockerhost/local", "Ready", "Unreachable");
    assert!(
        said.contains(&scratch.display().to_string()),
        "it says what is out of reach: {said}"
    );
    kubectl.run(&["scale", "dp", NAME, "--replicas=3"]);
    let said = message(&kubectl, OBJECT, "Reconciling", "Unreachable");
    assert!(said.contains("local"), "it names the host: {said}");
    assert_eq!(
        docker_cli::all(NAME),
        before,
        "nothing is made and nothing is taken away"
    );

    cable.plug();
    kubectl.wait(OBJECT, "jsonpath={.status.ready}=3/3", PATIENCE);
    kubectl.wait(OBJECT, "condition=Ready", PATIENCE);
    let after = docker_cli::running(NAME);
    assert!(
        before.iter().all(|id| after.contains(id)),
        "those that ran still do"
    );
    load.end().assert_clean();

    kubectl.apply(
        "{apiVersion: mooring.dev/v1alpha1, kind: DockerHost, metadata: {name: dead}, spec: {endpoint: unix:///nowhere/docker.sock}}",
    );
    message(&kubectl, "dockerhost/dead", "Ready", "Unreachable");
    // A host that never was one of ours has nothing on it to clear away.
    kubectl.run(&["delete", "dockerhost", "dead", "--timeout=30s"]);
}

#[test]
fn a_host_of_another_install_is_left_alone_until_it_is_adopted() {
    let mut installation = Installation::fresh("adopt");
    let port = installation.http_port();
    installation.kubectl().apply(&shop::manifest("1.0", 3));
    installation
        .kubectl()
        .wait(OBJECT, "condition=Ready", PATIENCE);
    let before = docker_cli::running(NAME);
    let owner = installation.id().to_owned();
    let load = Load::begin(&installation::dist(), port, HOST, RATE, &["1.0"]);

    installation.take().stop();
    std::fs::remove_dir_all(installation.data_dir()).expect("the control plane's data is lost");
    let empty = installation.scratch().join("empty");
    let refusal = installation.refused(&installation.arguments(&empty));
    assert!(refusal.failed, "it ends with a failure");
    for words in [owner.as_str(), "--adopt", "default/store"] {
        assert!(
            refusal.words.contains(words),
            "{words:?} in: {}",
            refusal.words
        );
    }
    assert_eq!(docker_cli::running(NAME), before, "nothing was touched");

    installation.start_on(installation.scratch().join("adopted"), &["--adopt"]);
    assert_eq!(installation.id(), owner, "the install lives on");
    let kubectl = installation.kubectl();
    kubectl.apply(&shop::manifest("1.0", 3));
    kubectl.wait(OBJECT, "condition=Ready", PATIENCE);
    assert_eq!(
        docker_cli::running(NAME),
        before,
        "what ran was adopted, not made anew"
    );
    let booked = load.end();
    report::show(format_args!("adopt: {}", booked.line()));
    booked.assert_clean();
}
