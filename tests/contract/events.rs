//! Events: hints, and only the last of them.

use std::time::Duration;

use futures::StreamExt as _;
use operator::docker::{containers, events, images};
use serde_json::{Value, json};
use tokio::time;

use crate::subject::Subject;

/// What an operator is told of a container's life, narrowed down by label.
pub async fn what_happens_is_told(subject: &mut Subject) {
    let engine = subject.engine().clone();
    let own = format!(
        "mooring-contract={}",
        subject.labels()["mooring-contract"]
            .as_str()
            .expect("the prefix")
    );
    let mut stream = events::subscribe(&engine, &["container"], &[own])
        .await
        .expect("a stream");
    subject
        .create(
            "a",
            json!({ "HostConfig": { "RestartPolicy": { "Name": "always" } } }),
        )
        .await;
    let (name, b) = (subject.name("a"), subject.name("b"));
    containers::start(&engine, &name).await.expect("it starts");
    containers::rename(&engine, &name, &b)
        .await
        .expect("it is renamed");
    let no = bollard::models::RestartPolicyNameEnum::NO;
    containers::update(&engine, &b, no)
        .await
        .expect("it is updated");
    containers::stop(&engine, &b, Duration::from_secs(5))
        .await
        .expect("it stops");
    containers::start(&engine, &b).await.expect("it starts");
    containers::remove(&engine, &b).await.expect("it goes");
    let mut told = Vec::new();
    while !told
        .last()
        .is_some_and(|line: &String| line.contains(" destroy "))
    {
        let next = time::timeout(Duration::from_secs(30), stream.next())
            .await
            .expect("the next event in time");
        let event = next.expect("the stream goes on").expect("an event");
        let actor = event.actor.unwrap_or_default();
        let attributes = actor.attributes.unwrap_or_default();
        let more = ["exitCode", "signal", "oldName"].map(|key| attributes.get(key).cloned());
        let action = event.action.unwrap_or_default();
        let name = attributes.get("name");
        told.push(format!("{:?} {action} {name:?} {more:?}", event.typ));
    }
    // A stop is told by whoever asked for it, the end by whoever saw it: either may be first.
    let at = |word| told.iter().position(|line| line.contains(word));
    let first = at(" stop ").min(at(" die ")).expect("both are told");
    told[first..first + 2].sort();
    subject.note(told.join("\n"));
}

/// F10: the Engine remembers 256 events, whatever they are about.
pub async fn f10_the_last_256(subject: &mut Subject) {
    let engine = subject.engine().clone();
    let (name, other) = (subject.image("v1"), subject.name("many"));
    for number in 0..260 {
        let tag = format!("t{number}");
        images::tag(&engine, &name, &other, &tag)
            .await
            .expect("a tag");
        images::untag(&engine, &other, &tag).await.expect("no tag");
    }
    // Others may be at work on a real Engine: theirs push ours out, and come on top while the list is read.
    let (all, ours) = subject.events(&other).await;
    subject.note(format!("{} {}", all >= 256, ours <= 256));
    subject.call("GET /images/none/json", Value::Null).await;
}
