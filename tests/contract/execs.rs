//! Commands in containers.

use std::time::Duration;

use operator::docker::{containers, exec};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::{self, Instant};

use crate::subject::Subject;

fn command(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}

async fn running(subject: &mut Subject) -> String {
    let id = subject.create("a", json!({})).await;
    subject
        .call(
            &format!("POST /containers/{}/start", subject.name("a")),
            Value::Null,
        )
        .await;
    id
}

/// Waits until a command has ended, and gives its code.
async fn ended(subject: &Subject, id: &str) -> Option<i64> {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let found = exec::inspect(subject.engine(), id)
            .await
            .expect("the Engine knows it");
        if found.running == Some(false) || Instant::now() > deadline {
            return found.exit_code;
        }
        time::sleep(Duration::from_millis(20)).await;
    }
}

/// F7: the stream of a command whose container was killed ends like any other; only its exit code tells.
pub async fn f7_a_killed_command_ends_cleanly(subject: &mut Subject) {
    let container = running(subject).await;
    let engine = subject.engine().clone();
    let id = exec::create(&engine, &container, &command(&["/testapp", "hold"]), None)
        .await
        .expect("an id");
    let mut stream = exec::start(&engine, &id).await.expect("a stream");
    let mut read = [0; 8];
    stream.read_exact(&mut read).await.expect("output");
    subject.note(String::from_utf8_lossy(&read));
    subject.outcome(
        "kill",
        &containers::kill(&engine, &container, "SIGKILL").await,
    );
    let rest = stream.read_to_end(&mut Vec::new()).await;
    subject.note(format!("{rest:?}"));
    let code = ended(subject, &id).await;
    subject.note(format!("{code:?}"));
}

/// F8 and F19: with stdin attached a command sees the end of its client; without, it lives on.
pub async fn f8_f19_a_command_and_its_client(subject: &mut Subject) {
    let container = running(subject).await;
    let engine = subject.engine().clone();
    let id = exec::create(&engine, &container, &command(&["/testapp", "echo"]), None)
        .await
        .expect("an id");
    let mut stream = exec::start(&engine, &id).await.expect("a stream");
    stream.write_all(b"hello").await.expect("it reads");
    let mut read = [0; 5];
    stream.read_exact(&mut read).await.expect("an echo");
    subject.note(String::from_utf8_lossy(&read));
    let before = exec::inspect(&engine, &id)
        .await
        .expect("the Engine knows it");
    subject.note(format!("{:?} {:?}", before.running, before.exit_code));
    drop(stream);
    let code = ended(subject, &id).await;
    subject.note(format!("it ended with {code:?}"));

    let id = exec::create(&engine, &container, &command(&["/testapp", "echo"]), None)
        .await
        .expect("an id");
    let mut stream = exec::start(&engine, &id).await.expect("a stream");
    stream.write_all(b"bye").await.expect("it reads");
    stream.shutdown().await.expect("its stdin is closed");
    let mut read = String::new();
    stream
        .read_to_string(&mut read)
        .await
        .expect("the rest of its output");
    let code = ended(subject, &id).await;
    subject.note(format!("{read} {code:?}"));

    let body = json!({ "Cmd": ["/testapp", "echo"], "AttachStdin": false, "AttachStdout": true });
    let id = subject
        .call(&format!("POST /containers/{container}/exec"), body)
        .await
        .id();
    let stream = exec::start(&engine, &id).await.expect("a stream");
    drop(stream);
    let found = exec::inspect(&engine, &id)
        .await
        .expect("the Engine knows it");
    subject.note(format!("without stdin: {:?}", found.open_stdin));
}

/// What comes out of a command, and how it ends.
pub async fn commands_and_their_ends(subject: &mut Subject) {
    let container = running(subject).await;
    let engine = subject.engine().clone();
    let wait = Duration::from_secs(20);
    for words in [
        &["/testapp", "print", "x"][..],
        &["/testapp", "exit", "3"],
        &["/testapp", "healthcheck"],
    ] {
        let output = exec::output(&engine, &container, &command(words), 1024, wait)
            .await
            .expect("an end");
        subject.note(format!("{words:?} {output:?}"));
    }
    let missing = exec::output(&engine, &container, &command(&["/nothere"]), 1024, wait)
        .await
        .expect("an end");
    let words = String::from_utf8_lossy(&missing.stdout).into_owned();
    subject.note(format!(
        "{} {}",
        missing.code,
        words.contains("/nothere") && words.contains("no such file")
    ));
    let short = exec::output(
        &engine,
        &container,
        &command(&["/testapp", "print", "abcdef"]),
        3,
        wait,
    )
    .await;
    subject.note(format!("{:?}", short.expect("an end").stdout));
    let late = exec::output(
        &engine,
        &container,
        &command(&["/testapp", "hold"]),
        9,
        Duration::from_millis(700),
    )
    .await;
    subject.note(late.expect_err("it holds").label());
    subject
        .call(&format!("GET /exec/{container}/json"), Value::Null)
        .await;
    let none = exec::create(
        &engine,
        &subject.name("none"),
        &command(&["/testapp"]),
        None,
    )
    .await;
    subject.outcome("exec", &none);
}
