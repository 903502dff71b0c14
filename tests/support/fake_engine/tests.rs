//! What the contract suite cannot ask a shared real Engine: a daemon that dies, faults, the ledger, and the ways in for
//! tests. The facts were measured; here they are only held.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use bollard::models::{ContainerCreateBody, RestartPolicyNameEnum};
use futures::StreamExt as _;
use operator::docker::{ApiVersion, Cause, Engine, Outcome, containers, events, exec, images};
use operator::gate::Open;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::{self, Instant};

use super::*;

async fn connect(fake: &FakeEngine) -> Engine {
    Engine::connect_with(fake.dialer(), Arc::new(Open))
        .await
        .expect("it answers")
}

fn body(image: &str, policy: &str, env: &[&str]) -> ContainerCreateBody {
    let body = json!({ "Image": image, "Env": env, "HostConfig": { "RestartPolicy": { "Name": policy } } });
    serde_json::from_value(body).expect("a body")
}

/// An Engine with the image `shop:1` and one running container of it per restart policy, named after it.
async fn three_policies(options: EngineOptions) -> (FakeEngine, Engine) {
    let fake = FakeEngine::new(options);
    fake.add_image("shop:1", Behaviour::version("v1"), &[]);
    let engine = connect(&fake).await;
    for policy in ["no", "always", "unless-stopped", "on-failure"] {
        containers::create(&engine, policy, &body("shop:1", policy, &[]))
            .await
            .expect("it is made");
        containers::start(&engine, policy).await.expect("it starts");
    }
    (fake, engine)
}

fn phases(fake: &FakeEngine) -> Vec<(String, Phase)> {
    fake.containers()
        .into_iter()
        .map(|(name, container)| (name, container.phase))
        .collect()
}

#[tokio::test(start_paused = true)]
async fn f14_after_a_crash_of_the_daemon_unless_stopped_stays_down() {
    let (fake, engine) = three_policies(EngineOptions::default()).await;
    fake.go_down(Down::Killed);
    let away = containers::start(&engine, "no")
        .await
        .expect_err("nobody answers");
    assert!(away.is_blind(), "{away}");
    assert!(
        fake.containers()
            .values()
            .all(|container| (container.phase, container.exit_code) == (Phase::Exited, 137))
    );
    fake.come_up(Down::Killed);
    let expected = [
        ("always", Phase::Running),
        ("no", Phase::Exited),
        ("on-failure", Phase::Running),
        ("unless-stopped", Phase::Exited),
    ];
    assert_eq!(
        phases(&fake),
        expected.map(|(name, phase)| (name.to_owned(), phase))
    );
}

#[tokio::test(start_paused = true)]
async fn f15_dynamic_addresses_are_shuffled_by_a_restart_and_always_comes_back_even_when_stopped() {
    let fake = FakeEngine::default();
    fake.add_image("shop:1", Behaviour::version("v1"), &[]);
    let engine = connect(&fake).await;
    for number in 0..7 {
        let name = format!("c{number}");
        containers::create(&engine, &name, &body("shop:1", "always", &[]))
            .await
            .expect("it is made");
        containers::start(&engine, &name).await.expect("it starts");
    }
    let addresses = |fake: &FakeEngine| -> Vec<_> {
        fake.containers()
            .into_values()
            .map(|container| container.addresses)
            .collect()
    };
    let before = addresses(&fake);
    containers::stop(&engine, "c0", Duration::from_secs(1))
        .await
        .expect("it stops");
    fake.go_down(Down::Terminated);
    fake.come_up(Down::Terminated);
    assert!(
        phases(&fake)
            .iter()
            .all(|(_, phase)| *phase == Phase::Running),
        "a stop by hand is forgotten"
    );
    let moved = before
        .iter()
        .zip(addresses(&fake))
        .filter(|(before, after)| *before != after)
        .count();
    assert!(moved > 3, "{moved} of 7");
}

#[tokio::test(start_paused = true)]
async fn f20_with_live_restore_a_command_outlives_the_daemon_and_is_not_listed() {
    let (fake, engine) = three_policies(EngineOptions {
        live_restore: true,
        ..EngineOptions::default()
    })
    .await;
    assert!(engine.facts().live_restore);
    let command = ["/testapp".to_owned(), "echo".to_owned()];
    let id = exec::create(&engine, "no", &command, None)
        .await
        .expect("an id");
    let mut stream = exec::start(&engine, &id).await.expect("a stream");
    stream.write_all(b"x").await.expect("it reads");
    stream.read_u8().await.expect("it echoes");
    let listed = containers::inspect(&engine, "no")
        .await
        .expect("it is there");
    assert_eq!(listed.exec_ids, Some(vec![id.clone()]));
    let mut told = events::subscribe(&engine, &["container"], &[])
        .await
        .expect("a stream");
    fake.go_down(Down::Killed);
    assert_eq!(
        stream.read(&mut [0; 8]).await.unwrap_or(0),
        0,
        "the client is cut off"
    );
    assert!(told.next().await.is_none_or(|event| event.is_err()));
    fake.come_up(Down::Killed);
    assert!(
        phases(&fake)
            .iter()
            .all(|(_, phase)| *phase == Phase::Running)
    );
    let found = exec::inspect(&engine, &id).await.expect("it is known");
    assert_eq!(found.running, Some(true));
    assert_eq!(
        containers::inspect(&engine, "no")
            .await
            .expect("it is there")
            .exec_ids,
        None
    );
}

#[tokio::test(start_paused = true)]
async fn faults_are_told_apart_and_the_ledger_shows_what_was_done() {
    let fake = FakeEngine::default();
    fake.add_image("shop:1", Behaviour::version("v1"), &[]);
    let engine = connect(&fake).await;
    let shop = body("shop:1", "no", &[]);
    let mut names = Vec::new();
    for (name, fault) in [
        ("dropped", Fault::DropBefore),
        ("unheard", Fault::DropReply),
        ("late", Fault::Delay(Duration::from_secs(40))),
        ("failed", Fault::ErrorAfter),
        ("refused", Fault::Refuse(429, "slow down".to_owned())),
        ("hung", Fault::Hang),
    ] {
        let first = fault.clone();
        fake.set_faults(move |seen| {
            if seen.effect {
                first.clone()
            } else {
                Fault::None
            }
        });
        let outcome = containers::create(&engine, name, &shop)
            .await
            .expect_err("a fault");
        names.push((name, outcome.is_unknown(), fake.container(name).is_some()));
    }
    fake.clear_faults();
    let expected = [
        ("dropped", true, false),
        ("unheard", true, true),
        ("late", true, false),
        ("failed", true, true),
        ("refused", false, false),
        ("hung", true, false),
    ];
    assert_eq!(names, expected);
    time::sleep(Duration::from_secs(60)).await;
    assert!(
        fake.container("late").is_some(),
        "it lands after its caller has given up"
    );
    let done: Vec<(String, u16)> = fake
        .ledger()
        .into_iter()
        .map(|done| (done.target, done.status))
        .collect();
    let done: Vec<(&str, u16)> = done
        .iter()
        .map(|(target, status)| (target.as_str(), *status))
        .collect();
    assert_eq!(done, [("unheard", 201), ("failed", 201), ("late", 201)]);
    assert_eq!(fake.unlisted(), [""; 0]);
    let person = Engine::connect_with(fake.person(), Arc::new(Open))
        .await
        .expect("it answers");
    containers::remove(&person, "late").await.expect("it goes");
    assert_eq!(fake.ledger().len(), 3, "what people do is not booked");
    let refused = containers::create(&engine, "unheard", &shop).await;
    assert!(matches!(
        refused,
        Err(Outcome::Conflict {
            holder: Some(_),
            ..
        })
    ));
}

#[tokio::test(start_paused = true)]
async fn a_stop_that_hangs_is_unknown_after_its_grace_and_margin() {
    let fake = FakeEngine::default();
    fake.add_image("shop:1", Behaviour::version("v1"), &[]);
    let engine = connect(&fake).await;
    containers::create(
        &engine,
        "app",
        &body("shop:1", "no", &["STOP_TAKES_MS=20000"]),
    )
    .await
    .expect("it is made");
    containers::start(&engine, "app").await.expect("it starts");
    fake.set_faults(|seen| {
        if seen.verb.ends_with("stop") {
            Fault::Hang
        } else {
            Fault::None
        }
    });
    let began = Instant::now();
    let outcome = containers::stop(&engine, "app", Duration::from_secs(30))
        .await
        .expect_err("it hangs");
    assert!(
        matches!(
            outcome,
            Outcome::Unknown {
                cause: Cause::TimedOut,
                ..
            }
        ),
        "{outcome}"
    );
    assert_eq!(began.elapsed().as_secs(), 45);
    fake.clear_faults();
    let began = Instant::now();
    containers::stop(&engine, "app", Duration::from_secs(30))
        .await
        .expect("it stops");
    assert_eq!(began.elapsed().as_secs(), 20);
}

/// Sends one request to an application and gives status line and body.
async fn get(fake: &FakeEngine, address: Ipv4Addr, path: &str) -> io::Result<String> {
    let mut stream = fake.dial(address, 8080).await?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

#[tokio::test(start_paused = true)]
async fn applications_are_reached_by_address_and_live_as_scripted() {
    let fake = FakeEngine::default();
    fake.add_image(
        "shop:1",
        Behaviour {
            stop_takes: None,
            ..Behaviour::version("v1")
        },
        &[],
    );
    let engine = connect(&fake).await;
    let slow = body("shop:1", "no", &["READY_AFTER_MS=2000"]);
    containers::create(&engine, "app", &slow)
        .await
        .expect("it is made");
    containers::start(&engine, "app").await.expect("it starts");
    let address = fake
        .container("app")
        .and_then(|view| view.addresses["bridge"])
        .expect("it is up");
    assert!(
        get(&fake, address, "/ready")
            .await
            .expect("an answer")
            .starts_with("HTTP/1.1 503")
    );
    time::sleep(Duration::from_secs(2)).await;
    assert!(
        get(&fake, address, "/ready")
            .await
            .expect("an answer")
            .starts_with("HTTP/1.1 200")
    );
    let answer = get(&fake, address, "/").await.expect("an answer");
    assert!(
        answer.contains("x-version: v1") && answer.ends_with("v1\n"),
        "{answer}"
    );
    fake.set_ready("app", false);
    assert!(
        get(&fake, address, "/ready")
            .await
            .expect("an answer")
            .starts_with("HTTP/1.1 503")
    );
    let wrong = fake
        .dial(address, 81)
        .await
        .expect_err("nothing listens there");
    assert_eq!(wrong.kind(), io::ErrorKind::ConnectionRefused);
    let mut open = fake.dial(address, 8080).await.expect("it listens");
    fake.crash("app", 3);
    assert_eq!(
        open.read(&mut [0; 8]).await.unwrap_or(0),
        0,
        "a crash ends its connections"
    );
    let began = Instant::now();
    let nobody = fake
        .dial(address, 8080)
        .await
        .expect_err("nobody has the address");
    assert_eq!(
        (nobody.kind(), began.elapsed().as_secs()),
        (io::ErrorKind::HostUnreachable, 3)
    );
}

/// A program that echoes on its command's stream and counts its starts and ends.
#[derive(Default)]
struct Echo(Mutex<Vec<&'static str>>);

impl Program for Echo {
    fn started(&self, _: ContainerView) {
        lock(&self.0).push("started");
    }

    fn ended(&self, _: &str) {
        lock(&self.0).push("ended");
    }

    fn exec(
        &self,
        container: ContainerView,
        command: Vec<String>,
        io: ExecIo,
    ) -> BoxFuture<'static, i64> {
        assert_eq!(
            (container.name.as_str(), command),
            ("px", vec!["mooring-proxy".to_owned(), "connect".to_owned()])
        );
        async move {
            let (mut reader, mut writer) = tokio::io::split(io.stream);
            i64::from(tokio::io::copy(&mut reader, &mut writer).await.is_err())
        }
        .boxed()
    }
}

#[tokio::test(start_paused = true)]
async fn a_program_lives_in_a_container() {
    let fake = FakeEngine::default();
    let echo = Arc::new(Echo::default());
    fake.install("mooring-proxy", Arc::clone(&echo) as Arc<dyn Program>);
    let engine = connect(&fake).await;
    let mut archive = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(1);
    archive
        .append_data(&mut header, "mooring-proxy", &b"x"[..])
        .expect("in memory");
    let archive = archive.into_inner().expect("in memory");
    let changes = [r#"ENTRYPOINT ["/mooring-proxy"]"#.to_owned()];
    images::import(&engine, "mooring-proxy", "abc", &changes, archive.into())
        .await
        .expect("it is taken");
    containers::create(&engine, "px", &body("mooring-proxy:abc", "always", &[]))
        .await
        .expect("it is made");
    containers::start(&engine, "px").await.expect("it starts");
    let command = ["mooring-proxy".to_owned(), "connect".to_owned()];
    let id = exec::create(&engine, "px", &command, None)
        .await
        .expect("an id");
    let mut stream = exec::start(&engine, &id).await.expect("a stream");
    stream.write_all(b"frame").await.expect("it reads");
    let mut read = [0; 5];
    stream.read_exact(&mut read).await.expect("it echoes");
    assert_eq!(&read, b"frame");
    fake.crash("px", 1);
    assert_eq!(stream.read(&mut read).await.expect("a clean end"), 0);
    time::sleep(Duration::from_secs(1)).await;
    assert_eq!(
        *lock(&echo.0),
        ["started", "ended", "started"],
        "its restart policy is always"
    );
    containers::update(&engine, "px", RestartPolicyNameEnum::NO)
        .await
        .expect("it is updated");
    containers::remove(&engine, "px").await.expect("it goes");
    assert_eq!(lock(&echo.0).len(), 4);
}

#[tokio::test]
async fn it_serves_on_a_socket_as_well_and_says_what_it_is_told_to() {
    let options = EngineOptions {
        operating_system: "Docker Desktop".to_owned(),
        ..EngineOptions::default()
    };
    let fake = FakeEngine::new(options);
    let path = std::env::temp_dir().join(format!("fake-engine-{}.sock", std::process::id()));
    fake.serve_unix(&path).expect("a socket");
    let endpoint = format!("unix://{}", path.display())
        .parse()
        .expect("an endpoint");
    let engine = Engine::connect(&endpoint, Arc::new(Open)).await;
    std::fs::remove_file(&path).expect("it was there");
    assert_eq!(
        engine.expect("it answers").facts().form,
        operator::docker::EngineForm::Desktop
    );
    let gone = Engine::connect(&endpoint, Arc::new(Open))
        .await
        .expect_err("nobody is there");
    assert!(matches!(gone, Outcome::Unreachable { .. }), "{gone}");
    let old = EngineOptions {
        api_version: ApiVersion {
            major: 1,
            minor: 40,
        },
        ..EngineOptions::default()
    };
    let old = Engine::connect_with(FakeEngine::new(old).dialer(), Arc::new(Open))
        .await
        .expect_err("too old");
    assert!(matches!(old, Outcome::Incompatible { .. }), "{old}");
}
