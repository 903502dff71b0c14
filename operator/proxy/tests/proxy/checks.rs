//! Readiness checks under driven time.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use routes::InstanceState::{Checked, Routed};
use routes::{Check, CheckHeader, Probe};
use tokio::io::{AsyncWriteExt, DuplexStream};
use tokio::time::{Instant, sleep};

use crate::world::{World, checked, echo, read_request, section, settle};

fn http(path: &str) -> Check {
    Check::new(Probe::Http {
        path: path.to_owned(),
        port: 8080,
        headers: Vec::new(),
    })
}

/// Notes when it was asked and answers with a status that a test may change.
#[derive(Clone)]
struct App {
    begun: Instant,
    asked: Arc<Mutex<Vec<u64>>>,
    status: Arc<Mutex<u16>>,
}

impl App {
    fn new(status: u16) -> Self {
        App {
            begun: Instant::now(),
            asked: Arc::default(),
            status: Arc::new(Mutex::new(status)),
        }
    }

    fn program(
        &self,
    ) -> impl Fn(DuplexStream) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send>>
    + Send
    + Sync
    + 'static {
        let app = self.clone();
        move |mut stream| {
            let app = app.clone();
            Box::pin(async move {
                while read_request(&mut stream).await.is_some() {
                    let millis = u64::try_from(app.begun.elapsed().as_millis()).expect("millis");
                    app.asked.lock().expect("asked").push(millis);
                    let status = *app.status.lock().expect("status");
                    let answer = format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n");
                    let _ = stream.write_all(answer.as_bytes()).await;
                }
            })
        }
    }

    fn set(&self, status: u16) {
        *self.status.lock().expect("status") = status;
    }

    fn asked(&self) -> Vec<u64> {
        std::mem::take(&mut *self.asked.lock().expect("asked"))
    }
}

#[tokio::test(start_paused = true)]
async fn checks_are_fast_before_the_first_success_then_at_the_period() {
    let world = World::new();
    let app = App::new(503);
    world.net.listen(1, app.program());
    let section = checked(section(&[(1, "a", Checked)]), &http("/up"));
    world.push(&section).await;
    sleep(Duration::from_millis(34_950)).await;
    let asked = app.asked();
    assert_eq!(
        asked.iter().take(4).copied().collect::<Vec<_>>(),
        [0, 100, 200, 300]
    );
    assert_eq!(asked.iter().filter(|at| **at < 30_000).count(), 300);
    assert_eq!(
        asked
            .iter()
            .filter(|at| **at >= 30_000)
            .copied()
            .collect::<Vec<_>>(),
        [30_000, 31_000, 32_000, 33_000, 34_000]
    );
    let status = world.instance(&section, "c1");
    assert_eq!(
        (status.ready, status.checks, status.failures),
        (Some(false), 305, 305)
    );
    assert_eq!(
        status.last_error.as_deref(),
        Some("answered 503 Service Unavailable")
    );
    app.set(204);
    sleep(Duration::from_millis(30_100)).await;
    assert_eq!(app.asked(), [35_000, 45_000, 55_000, 65_000]);
    let status = world.instance(&section, "c1");
    assert_eq!(
        (status.ready, status.failures, status.ready_for_millis),
        (Some(true), 0, Some(30_050))
    );
}

#[tokio::test(start_paused = true)]
async fn a_ready_instance_is_ejected_at_the_failure_threshold_and_taken_back() {
    let world = World::new();
    let (app, other) = (App::new(200), App::new(200));
    world.net.listen(1, app.program());
    world.net.listen(2, other.program());
    let section = checked(section(&[(1, "a", Routed), (2, "a", Routed)]), &http("/up"));
    world.push(&section).await;
    sleep(Duration::from_secs(1)).await;
    app.set(500);
    sleep(Duration::from_secs(28)).await;
    assert_eq!(
        world.instance(&section, "c1").ready,
        Some(true),
        "two failures are not three"
    );
    sleep(Duration::from_secs(2)).await;
    assert_eq!(world.instance(&section, "c1").ready, Some(false));
    app.asked();
    for _ in 0..20 {
        assert_eq!(world.get("shop.io", "/").await.0, 200);
    }
    assert_eq!(app.asked(), [0; 0], "only the ready one is asked");
    other.set(500);
    sleep(Duration::from_secs(31)).await;
    assert_eq!(world.instance(&section, "c2").ready, Some(false));
    assert_eq!(
        world.get("shop.io", "/").await.0,
        500,
        "the last one is never ejected"
    );
    app.set(200);
    sleep(Duration::from_secs(10)).await;
    assert_eq!(world.get("shop.io", "/").await.0, 200);
}

#[tokio::test(start_paused = true)]
async fn a_container_that_started_again_is_proven_again() {
    let world = World::new();
    let (app, other) = (App::new(200), App::new(200));
    world.net.listen(1, app.program());
    world.net.listen(2, other.program());
    let mut section = checked(section(&[(1, "a", Routed), (2, "a", Routed)]), &http("/up"));
    world.push(&section).await;
    sleep(Duration::from_secs(60)).await;
    app.set(503);
    section.instances[0].started_at = "2026-01-31T11:00:00Z".to_owned();
    world.push(&section).await;
    let status = world.instance(&section, "c1");
    assert_eq!(
        (status.ready, status.checks, status.started_at.as_str()),
        (None, 0, "2026-01-31T11:00:00Z")
    );
    app.asked();
    for _ in 0..20 {
        assert_eq!(
            world.get("shop.io", "/").await.0,
            200,
            "not before it is proven"
        );
    }
    sleep(Duration::from_secs(1)).await;
    assert!(app.asked().len() >= 10, "checked fast");
    app.set(200);
    sleep(Duration::from_secs(1)).await;
    assert_eq!(world.instance(&section, "c1").ready, Some(true));
}

#[tokio::test(start_paused = true)]
async fn a_push_that_changes_something_else_does_not_disturb_checks() {
    let world = World::new();
    let app = App::new(200);
    world.net.listen(1, app.program());
    let mut section = checked(section(&[(1, "a", Checked)]), &http("/up"));
    world.push(&section).await;
    sleep(Duration::from_millis(5_050)).await;
    section.instances[0].state = Routed;
    world.push(&section).await;
    let status = world.instance(&section, "c1");
    assert_eq!(
        (status.ready, status.ready_for_millis),
        (Some(true), Some(5_050))
    );
    sleep(Duration::from_secs(10)).await;
    assert_eq!(app.asked(), [0, 10_000]);
}

#[tokio::test(start_paused = true)]
async fn headers_thresholds_delay_timeout_and_tcp_are_kept() {
    let world = World::new();
    world.net.listen(1, echo("one"));
    let mut check = http("/up");
    check.initial_delay_seconds = 5;
    check.success_threshold = 3;
    let header = CheckHeader {
        name: "Host".to_owned(),
        value: "shop.io".to_owned(),
    };
    check.probe = Probe::Http {
        path: "/up".to_owned(),
        port: 8080,
        headers: vec![header],
    };
    let slow = checked(section(&[(1, "a", Checked)]), &check);
    world.push(&slow).await;
    sleep(Duration::from_millis(4_999)).await;
    assert_eq!(world.instance(&slow, "c1").checks, 0);
    sleep(Duration::from_millis(201)).await;
    assert_eq!(
        world.instance(&slow, "c1").ready,
        None,
        "two successes are not three, and nothing failed"
    );
    sleep(Duration::from_millis(100)).await;
    assert_eq!(world.instance(&slow, "c1").ready, Some(true));
    world.net.hang(2);
    let hanging = checked(section(&[(2, "a", Checked)]), &http("/"));
    world.push(&hanging).await;
    sleep(Duration::from_millis(1_050)).await;
    assert_eq!(
        world.instance(&hanging, "c2").last_error.as_deref(),
        Some("no answer within 1 s")
    );
    let tcp = checked(
        section(&[(3, "a", Checked)]),
        &Check::new(Probe::Tcp { port: 8080 }),
    );
    world.push(&tcp).await;
    sleep(Duration::from_millis(50)).await;
    assert_eq!(
        world.instance(&tcp, "c3").last_error.as_deref(),
        Some("port 8080 refuses connections")
    );
    world.net.listen(3, echo("three"));
    sleep(Duration::from_millis(100)).await;
    assert_eq!(world.instance(&tcp, "c3").ready, Some(true));
}

#[tokio::test(start_paused = true)]
async fn a_failed_connect_of_a_request_has_the_instance_checked_at_once() {
    let world = World::new();
    world.net.listen(1, echo("one"));
    world.net.listen(2, echo("two"));
    let mut check = http("/up");
    check.failure_threshold = 1;
    let section = checked(section(&[(1, "a", Routed), (2, "a", Routed)]), &check);
    world.push(&section).await;
    sleep(Duration::from_secs(1)).await;
    world.net.refuse(1);
    sleep(Duration::from_millis(100)).await;
    for _ in 0..20 {
        // Not by the connection that is kept: the application is gone, its connections are not in this network.
        assert_eq!(world.post("shop.io", "/", "x").await.0, 200);
        sleep(Duration::from_millis(5)).await;
    }
    settle().await;
    assert_eq!(world.instance(&section, "c1").ready, Some(false));
}
