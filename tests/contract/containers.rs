//! Containers at rest: making, naming, listing, showing and removing them.

use futures::future::join_all;
use operator::docker::{Outcome, containers};
use serde_json::{Value, json};
use std::time::Duration;
use tests::fake_engine::Generation;

use crate::subject::Subject;

/// The life of a container that is never started.
pub async fn a_container_that_does_nothing_yet(subject: &mut Subject) {
    let missing = subject
        .try_create("m", json!({ "Image": format!("{}x", subject.image("v1")) }))
        .await;
    assert_eq!(missing.status, 404);
    subject
        .create("a", json!({ "Env": ["X=1", "VERSION=v9", "X=2"], "Cmd": ["hold"], "User": "1000", "ExposedPorts": { "9/tcp": {} } }))
        .await;
    subject.inspect("a").await;
    let name = subject.name("a");
    for line in [
        "stop?t=1",
        "kill?signal=SIGKILL",
        "kill?signal=NOPE",
        "kill",
        "unpause",
    ] {
        subject
            .call(&format!("POST /containers/{name}/{line}"), Value::Null)
            .await;
    }
    subject
        .call(
            &format!("POST /containers/{name}/exec"),
            json!({ "Cmd": ["/testapp", "exit", "3"] }),
        )
        .await;
    subject
        .call(&format!("GET /containers/{name}/logs"), Value::Null)
        .await;
    subject
        .call(&format!("DELETE /containers/{name}"), Value::Null)
        .await;
    subject.inspect("a").await;
}

/// F2: the name is the one exclusive create, and a refusal names the holder.
pub async fn f2_sixteen_creates_one_name(subject: &mut Subject) {
    let line = format!("POST /containers/create?name={}", subject.name("a"));
    let body = subject.body(json!({}));
    let mut answers = join_all((0..16).map(|_| subject.quiet(&line, body.clone()))).await;
    answers.sort_by_key(|answer| answer.status);
    let statuses: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
    subject.note(format!("{statuses:?}"));
    let id = answers[0].id();
    let engine = subject.engine().clone();
    let body = serde_json::from_value(body).expect("the models read what the API takes");
    let refused = containers::create(&engine, &subject.name("a"), &body).await;
    subject.outcome("create", &refused);
    assert!(matches!(refused, Err(Outcome::Conflict { holder: Some(holder), .. }) if holder == id));
}

/// F5: what is so already is no failure, to the Engine or to the client.
pub async fn f5_twice_is_no_failure(subject: &mut Subject) {
    let id = subject.create("a", json!({})).await;
    let name = subject.name("a");
    for line in ["start", "start", "stop?t=5", "stop?t=5"] {
        subject
            .call(&format!("POST /containers/{name}/{line}"), Value::Null)
            .await;
    }
    subject
        .call(&format!("DELETE /containers/{id}"), Value::Null)
        .await;
    subject
        .call(&format!("DELETE /containers/{name}"), Value::Null)
        .await;
    let engine = subject.engine().clone();
    let second = Duration::from_secs(1);
    subject.outcome("stop", &containers::stop(&engine, &name, second).await);
    subject.outcome("remove", &containers::remove(&engine, &name).await);
    subject.outcome("start", &containers::start(&engine, &name).await);
    subject.outcome("inspect", &containers::inspect(&engine, &name).await);
    subject.outcome("kill", &containers::kill(&engine, &name, "SIGKILL").await);
    subject.outcome(
        "rename",
        &containers::rename(&engine, &name, &subject.name("b")).await,
    );
}

/// F1 and F6: a request whose client has gone is done all the same. Engine 29 may give a start up, and says so: then the
/// container is as it was, and can be started again.
pub async fn f1_f6_effects_outlive_their_client(subject: &mut Subject) {
    let body = subject.body(json!({ "Env": ["STOP_TAKES_MS=500"] }));
    let name = subject.name("a");
    subject
        .send_and_leave(&format!("POST /containers/create?name={name}"), body)
        .await;
    subject.until_status("a", "created").await;
    subject
        .send_and_leave(&format!("POST /containers/{name}/start"), Value::Null)
        .await;
    let found = subject
        .until("a", |state| {
            state["Status"] == "running" || state["Error"] != ""
        })
        .await;
    if found["State"]["Status"] != "running" {
        assert_eq!(subject.generation(), Generation::Engine29, "{found}");
        assert_eq!(found["State"]["Status"], "created", "{found}");
        let line = format!("POST /containers/{name}/start");
        assert_eq!(subject.quiet(&line, Value::Null).await.status, 204);
    }
    subject.until_status("a", "running").await;
    subject
        .send_and_leave(&format!("POST /containers/{name}/stop?t=10"), Value::Null)
        .await;
    subject.until_status("a", "exited").await;
    subject.inspect("a").await;
}

/// F11: unknown fields and huge labels are taken.
pub async fn f11_the_engine_validates_little(subject: &mut Subject) {
    let huge = "x".repeat(1 << 20);
    subject
        .create(
            "a",
            json!({ "HostConfig": { "Nonsense": 1 }, "Labels": { "huge": huge } }),
        )
        .await;
    let found = subject
        .quiet(
            &format!("GET /containers/{}/json", subject.name("a")),
            Value::Null,
        )
        .await
        .body;
    subject.note(format!("{}", found["HostConfig"]["Nonsense"]));
    subject.note(format!(
        "{:?}",
        found["Config"]["Labels"]["huge"].as_str().map(str::len)
    ));
}

/// F12: whoever writes an image can write labels of ours into it.
pub async fn f12_labels_of_the_image_are_inherited(subject: &mut Subject) {
    subject
        .import("labelled", |recipe| {
            recipe
                .change("LABEL owner=image")
                .change("LABEL other=image")
        })
        .await;
    subject
        .create(
            "a",
            json!({ "Image": subject.image("labelled"), "Labels": { "other": "mine" } }),
        )
        .await;
    subject.inspect("a").await;
}

/// What may be a name and a restart policy, and what they become.
pub async fn names_and_policies(subject: &mut Subject) {
    let body = subject.body(json!({}));
    subject
        .call("POST /containers/create?name=bad%2Fname", body.clone())
        .await;
    subject
        .create(
            "a",
            json!({ "HostConfig": { "RestartPolicy": { "Name": "always" } } }),
        )
        .await;
    subject.create("b", json!({ "HostConfig": { "RestartPolicy": { "Name": "on-failure", "MaximumRetryCount": 3 } } })).await;
    for policy in [
        json!({ "Name": "always", "MaximumRetryCount": 3 }),
        json!({ "Name": "nonsense" }),
    ] {
        subject
            .try_create("c", json!({ "HostConfig": { "RestartPolicy": policy } }))
            .await;
    }
    let (a, b, c) = (subject.name("a"), subject.name("b"), subject.name("c"));
    for to in [&b, &a, &c] {
        subject
            .call(
                &format!("POST /containers/{a}/rename?name={to}"),
                Value::Null,
            )
            .await;
    }
    for policy in ["no", "always", "unless-stopped", "nonsense"] {
        subject
            .call(
                &format!("POST /containers/{c}/update"),
                json!({ "RestartPolicy": { "Name": policy } }),
            )
            .await;
        subject.inspect("c").await;
    }
    subject.inspect("a").await;
}

/// What a list shows.
pub async fn lists_are_narrowed_by_labels(subject: &mut Subject) {
    subject.create("a", json!({ "Labels": { "k": "1" } })).await;
    subject.create("b", json!({ "Labels": { "k": "2" } })).await;
    let b = subject.name("b");
    subject
        .call(&format!("POST /containers/{b}/start"), Value::Null)
        .await;
    let engine = subject.engine().clone();
    let own = format!(
        "mooring-contract={}",
        subject.labels()["mooring-contract"]
            .as_str()
            .expect("the prefix")
    );
    for more in ["k", "k=1", "k=2", "k=3", "j"] {
        let found = containers::list(&engine, &[own.clone(), more.to_owned()])
            .await
            .expect("a list");
        for container in found {
            let labels: std::collections::BTreeMap<_, _> =
                container.labels.unwrap_or_default().into_iter().collect();
            let state = container.state.map(|state| state.to_string());
            let mode = container.host_config.and_then(|config| config.network_mode);
            subject.note(format!(
                "{more}: {:?} {:?} {state:?} {labels:?} {mode:?}",
                container.names, container.image
            ));
        }
    }
    subject
        .call(
            "GET /containers/json?filters=%7B%22nonsense%22%3A%5B%22x%22%5D%7D",
            Value::Null,
        )
        .await;
    subject
        .call(&format!("DELETE /containers/{b}"), Value::Null)
        .await;
    subject
        .call(&format!("DELETE /containers/{b}?force=1"), Value::Null)
        .await;
}
