//! Containers in motion: how processes end, and what Docker does then.

use std::time::Duration;

use operator::docker::{containers, logs};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::subject::Subject;

fn always(env: &[&str]) -> Value {
    json!({ "Env": env, "HostConfig": { "RestartPolicy": { "Name": "always" } } })
}

async fn start(subject: &mut Subject, short: &str) {
    let line = format!("POST /containers/{}/start", subject.name(short));
    subject.call(&line, Value::Null).await;
}

/// Without a restart policy the end is a clean signal.
pub async fn a_process_that_ends_by_itself(subject: &mut Subject) {
    subject
        .create("a", json!({ "Env": ["EXIT_AFTER_MS=200", "EXIT_CODE=3"] }))
        .await;
    start(subject, "a").await;
    subject.until_status("a", "running").await;
    subject.until_status("a", "exited").await;
    subject.inspect("a").await;
    start(subject, "a").await;
    subject.until_status("a", "exited").await;
    subject.inspect("a").await;
}

/// A process that ignores SIGTERM is killed after the grace.
pub async fn a_stop_that_runs_out_of_patience(subject: &mut Subject) {
    subject
        .create("a", json!({ "Env": ["IGNORE_TERM=1"] }))
        .await;
    start(subject, "a").await;
    let line = format!("POST /containers/{}/stop?t=1", subject.name("a"));
    let began = Instant::now();
    subject.call(&line, Value::Null).await;
    let took = began.elapsed();
    subject.note(format!(
        "{}",
        took >= Duration::from_secs(1) && took < Duration::from_secs(10)
    ));
    subject.inspect("a").await;
}

/// F36: the policy `no` comes too late for a restart that Docker waits with; a stop does not.
pub async fn f36_policy_no_does_not_stop_a_restart_under_way(subject: &mut Subject) {
    subject
        .create("a", always(&["EXIT_AFTER_MS=0", "EXIT_CODE=3"]))
        .await;
    start(subject, "a").await;
    // After some restarts the wait is long enough to fall into.
    let line = format!("GET /containers/{}/json", subject.name("a"));
    let deadline = Instant::now() + Duration::from_secs(30);
    let before = loop {
        let found = subject.quiet(&line, Value::Null).await.body;
        let waits =
            found["State"]["Status"] == "restarting" && found["RestartCount"].as_u64() >= Some(4);
        if waits {
            break found;
        }
        assert!(Instant::now() < deadline, "Docker does not wait: {found}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    let engine = subject.engine().clone();
    let name = subject.name("a");
    let no = bollard::models::RestartPolicyNameEnum::NO;
    subject.outcome("update", &containers::update(&engine, &name, no).await);
    let started = before["State"]["StartedAt"].clone();
    subject
        .until("a", |state| {
            state["StartedAt"] != started && state["Status"] == "exited"
        })
        .await;
    subject.note("it was started once more");
    let after = subject.quiet(&line, Value::Null).await.body;
    subject.note(format!(
        "{} {}",
        after["State"]["ExitCode"], after["HostConfig"]["RestartPolicy"]
    ));
}

/// F39: after a kill by hand an `always` container stays down; after an end of its own it comes back with its address.
pub async fn f39_a_kill_is_a_stop_by_hand(subject: &mut Subject) {
    let net = subject.name("n");
    let (subnet, gateway, fixed) = (
        subject.subnet(),
        subject.address(0, 1),
        subject.address(0, 10),
    );
    subject
        .network("n", json!({ "Subnet": subnet, "Gateway": gateway }))
        .await;
    let mut body = always(&["EXIT_AFTER_MS=300", "EXIT_CODE=7"]);
    body["HostConfig"]["NetworkMode"] = json!(net);
    body["NetworkingConfig"] =
        json!({ "EndpointsConfig": { &net: { "IPAMConfig": { "IPv4Address": fixed } } } });
    subject.create("a", body).await;
    start(subject, "a").await;
    let line = format!("GET /containers/{}/json", subject.name("a"));
    let first = subject.quiet(&line, Value::Null).await.body["State"]["StartedAt"].clone();
    let back = subject
        .until("a", |state| {
            state["StartedAt"] != first && state["Status"] == "running"
        })
        .await;
    subject.note(format!(
        "back with {}",
        back["NetworkSettings"]["Networks"][&net]["IPAddress"]
    ));
    subject.create("k", always(&[])).await;
    start(subject, "k").await;
    let kill = format!("POST /containers/{}/kill?signal=SIGKILL", subject.name("k"));
    subject.call(&kill, Value::Null).await;
    subject.until_status("k", "exited").await;
    subject.inspect("k").await;
}

/// A crash loop is Docker's until someone stops it.
pub async fn restarts_go_on_until_a_stop(subject: &mut Subject) {
    subject
        .create("a", always(&["EXIT_AFTER_MS=0", "EXIT_CODE=3"]))
        .await;
    start(subject, "a").await;
    subject
        .until("a", |state| state["Restarting"] == true)
        .await;
    let found = subject.until_status("a", "restarting").await;
    subject.note(format!(
        "{} {}",
        found["State"]["Running"], found["State"]["ExitCode"]
    ));
    let name = subject.name("a");
    for line in ["start", "stop?t=1", "stop?t=1"] {
        subject
            .until("a", |state| {
                line == "stop?t=1" || state["Status"] == "restarting"
            })
            .await;
        subject
            .call(&format!("POST /containers/{name}/{line}"), Value::Null)
            .await;
    }
    let found = subject.until_status("a", "exited").await;
    subject.note(format!("{}", found["State"]["ExitCode"]));
}

/// The Engine says what is wrong with the program, in the answer and in the state.
pub async fn a_program_that_is_not_there(subject: &mut Subject) {
    subject
        .create("a", json!({ "Entrypoint": ["/nothere"] }))
        .await;
    let line = format!("POST /containers/{}/start", subject.name("a"));
    let answer = subject.quiet(&line, Value::Null).await;
    let words = answer.body["message"].as_str().unwrap_or_default();
    subject.note(format!(
        "{} {}",
        answer.status,
        words.contains("/nothere") && words.contains("no such file")
    ));
    let found = subject
        .quiet(
            &format!("GET /containers/{}/json", subject.name("a")),
            Value::Null,
        )
        .await
        .body;
    let state = &found["State"];
    subject.note(format!(
        "{} {} {}",
        state["Status"],
        state["ExitCode"],
        state["Error"] == words
    ));
}

/// A HEALTHCHECK goes from starting to healthy or unhealthy.
pub async fn health_is_told(subject: &mut Subject) {
    subject
        .import("checked", |recipe| recipe.healthcheck(200))
        .await;
    let image = subject.image("checked");
    for (short, env, end) in [
        ("a", "READY_AFTER_MS=0", "healthy"),
        ("b", "NEVER_READY=1", "unhealthy"),
    ] {
        subject
            .create(short, json!({ "Image": image, "Env": [env] }))
            .await;
        start(subject, short).await;
        subject
            .until(short, |state| state["Health"]["Status"] == "starting")
            .await;
        subject
            .until(short, |state| state["Health"]["Status"] == end)
            .await;
        subject.inspect(short).await;
        let stop = format!("POST /containers/{}/stop?t=5", subject.name(short));
        subject.call(&stop, Value::Null).await;
        subject.inspect(short).await;
    }
}

/// What the process writes can be read, also after its end.
pub async fn logs_by_line(subject: &mut Subject) {
    subject.create("a", json!({ "Env": ["VERSION=v7"] })).await;
    start(subject, "a").await;
    let engine = subject.engine().clone();
    let name = subject.name("a");
    let deadline = Instant::now() + Duration::from_secs(30);
    let lines = loop {
        let lines = logs::tail(&engine, &name, 5).await.expect("a log");
        if !lines.is_empty() || Instant::now() > deadline {
            break lines;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    subject.note(format!("{lines:?}"));
    let none = logs::tail(&engine, &subject.name("none"), 5).await;
    subject.outcome("logs", &none);
    let none = logs::tail(&engine, &name, 0).await.expect("a log");
    subject.note(format!("{none:?}"));
}
