//! No request enters what left the table, and what is inside is counted to its end.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use proptest::prelude::*;
use routes::InstanceState::{Checked, Draining, Routed};
use routes::{Reply, Request, Section};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::time::{Instant, sleep};

use crate::world::{World, instance, key, read_request, read_until, section, settle};

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

async fn slow(stream: DuplexStream, wait: Duration) {
    let mut stream = stream;
    while read_request(&mut stream).await.is_some() {
        sleep(wait).await;
        if stream.write_all(OK).await.is_err() {
            return;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_inside_is_counted_until_it_ends_and_idle_connections_go_at_once() {
    let world = World::new();
    let open = Arc::new(AtomicUsize::new(0));
    let connections = Arc::clone(&open);
    world.net.listen(1, move |stream| {
        let open = Arc::clone(&connections);
        async move {
            open.fetch_add(1, Ordering::Relaxed);
            slow(stream, Duration::from_secs(10)).await;
            open.fetch_sub(1, Ordering::Relaxed);
        }
    });
    world.net.listen(2, |stream| slow(stream, Duration::ZERO));
    let mut section = section(&[(1, "a", Routed)]);
    world.push(&section).await;
    let (first, second) = tokio::join!(world.get("shop.io", "/"), world.get("shop.io", "/"));
    assert_eq!(
        (first.0, second.0, open.load(Ordering::Relaxed)),
        (200, 200, 2),
        "two idle connections"
    );
    let mut reports = Vec::new();
    let inside = world.get("shop.io", "/");
    let drain = async {
        sleep(Duration::from_secs(1)).await;
        section.instances[0].state = Draining;
        section.instances.push(instance(2, "a", Routed));
        world.push(&section).await;
        settle().await;
        assert_eq!(
            open.load(Ordering::Relaxed),
            1,
            "the idle connection is retired"
        );
        assert_eq!(world.instance(&section, "c1").requests, 1);
        assert_eq!(world.get("shop.io", "/").await.0, 200);
        assert_eq!(
            world.instance(&section, "c1").requests,
            1,
            "nobody else entered"
        );
        reports.push(Instant::now());
    };
    let (answer, ()) = tokio::join!(inside, drain);
    assert_eq!(answer.0, 200);
    settle().await;
    assert_eq!(world.instance(&section, "c1").in_flight(), 0);
    assert_eq!(
        open.load(Ordering::Relaxed),
        0,
        "nor is its connection kept"
    );
}

#[tokio::test(start_paused = true)]
async fn requests_over_the_limit_are_cut_and_a_slow_reader_cannot_hold_on() {
    let world = World::new();
    world.net.listen(1, |mut stream| async move {
        let (head, _) = read_request(&mut stream).await.expect("a request");
        if head.contains("/endless") {
            let _ = stream
                .write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
                .await;
            while stream.write_all(b"4\r\nabcd\r\n").await.is_ok() {}
        } else {
            std::future::pending::<()>().await;
        }
    });
    let mut section = section(&[(1, "a", Routed)]);
    world.push(&section).await;
    let mut slow_reader = world.connect();
    slow_reader
        .write_all(b"GET /endless HTTP/1.1\r\nHost: shop.io\r\n\r\n")
        .await
        .expect("written");
    read_until(&mut slow_reader, "\r\n\r\n")
        .await
        .expect("a head");
    let waiting = world.get("shop.io", "/");
    let begun = Instant::now();
    let drain = async {
        settle().await;
        section.instances[0].state = Draining;
        world.push(&section).await;
        assert_eq!(world.instance(&section, "c1").requests, 2);
    };
    let (answer, ()) = tokio::join!(waiting, drain);
    assert_eq!((answer.0, begun.elapsed().as_secs()), (503, 30));
    settle().await;
    assert_eq!(world.instance(&section, "c1").in_flight(), 0);
    assert_eq!(world.traffic(&section, "a").cut, 2);
    drop(slow_reader);
}

#[tokio::test(start_paused = true)]
async fn what_left_the_table_is_reported_while_inside_and_keeps_its_count_when_it_comes_back() {
    let world = World::new();
    world
        .net
        .listen(1, |stream| slow(stream, Duration::from_secs(20)));
    world.net.listen(2, |stream| slow(stream, Duration::ZERO));
    let both = section(&[(1, "a", Routed), (2, "a", Checked)]);
    let without = section(&[(2, "a", Routed)]);
    world.push(&both).await;
    let inside = world.get("shop.io", "/");
    let change = async {
        settle().await;
        world.push(&without).await;
        let leaving = world.proxy.status().leaving;
        assert_eq!(
            (leaving.len(), leaving[0].name.as_str(), leaving[0].requests),
            (1, "c1", 1)
        );
        world.push(&both).await;
        assert_eq!(world.instance(&both, "c1").requests, 1);
        world.push(&without).await;
        let version = world.proxy.status().sections[&key()].section.version;
        let drop = Request::Drop {
            install: "i1".to_owned(),
            epoch: 1,
            key: key(),
            expect_version: version,
        };
        assert!(matches!(
            world.proxy.request(drop).await,
            Reply::Acked { .. }
        ));
        assert_eq!(world.get("shop.io", "/").await.0, 421);
        assert_eq!(world.proxy.status().leaving.len(), 1);
    };
    let (answer, ()) = tokio::join!(inside, change);
    assert_eq!(answer.0, 200);
    settle().await;
    assert!(world.proxy.status().leaving.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_drain_that_is_taken_back_cuts_nobody() {
    let world = World::new();
    world
        .net
        .listen(1, |stream| slow(stream, Duration::from_secs(50)));
    let mut section = section(&[(1, "a", Routed)]);
    world.push(&section).await;
    let inside = world.get("shop.io", "/");
    let change = async {
        settle().await;
        section.instances[0].state = Draining;
        world.push(&section).await;
        sleep(Duration::from_secs(29)).await;
        section.instances[0].state = Routed;
        world.push(&section).await;
    };
    assert_eq!(tokio::join!(inside, change).0.0, 200);
}

/// One step of a random life: push a set of routed instances, let clients run, or wait.
#[derive(Clone, Debug)]
enum Step {
    Route(BTreeSet<u8>),
    Clients(u8),
    Wait(u16),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        prop::collection::btree_set(1..=4_u8, 0..=4).prop_map(Step::Route),
        (1..=8_u8).prop_map(Step::Clients),
        (0..=40_u16).prop_map(Step::Wait),
    ];
    prop::collection::vec(step, 1..40)
}

/// Five requests over one connection. Every one of them is answered, and never with a broken answer.
async fn client(mut stream: DuplexStream) {
    for _ in 0..5 {
        let request = b"GET / HTTP/1.1\r\nHost: shop.io\r\n\r\n";
        stream.write_all(request).await.expect("written");
        let head = read_until(&mut stream, "\r\n\r\n").await.expect("a head");
        let length = head
            .split("content-length: ")
            .nth(1)
            .and_then(|rest| rest.split('\r').next());
        let mut body = vec![
            0;
            length
                .and_then(|length| length.parse().ok())
                .expect("a length")
        ];
        stream.read_exact(&mut body).await.expect("a body");
        assert!(!head.starts_with("HTTP/1.1 502"), "{head}");
    }
}

/// An instance that is "stopped" once its removal was acknowledged with nothing in flight must not hear of a request
/// again until it is routed again.
async fn live(steps: Vec<Step>) {
    let world = World::new();
    let stopped: Arc<[AtomicBool; 5]> = Arc::default();
    let heard: Arc<Mutex<Vec<u8>>> = Arc::default();
    for last in 1..=4 {
        let (stopped, heard) = (Arc::clone(&stopped), Arc::clone(&heard));
        world.net.listen(last, move |mut stream| {
            let (stopped, heard) = (Arc::clone(&stopped), Arc::clone(&heard));
            async move {
                while read_request(&mut stream).await.is_some() {
                    if stopped[usize::from(last)].load(Ordering::Relaxed) {
                        heard.lock().expect("heard").push(last);
                    }
                    sleep(Duration::from_millis(u64::from(last) * 7)).await;
                    let _ = stream.write_all(OK).await;
                }
            }
        });
    }
    let mut clients = tokio::task::JoinSet::new();
    for step in steps {
        match step {
            Step::Route(routed) => {
                for last in &routed {
                    stopped[usize::from(*last)].store(false, Ordering::Relaxed);
                }
                let instances: Vec<_> = routed.iter().map(|last| (*last, "a", Routed)).collect();
                world.push(&section(&instances)).await;
                let leaving = world.proxy.status().leaving;
                for last in (1..=4).filter(|last| !routed.contains(last)) {
                    if leaving
                        .iter()
                        .all(|leaving| leaving.name != format!("c{last}"))
                    {
                        stopped[usize::from(last)].store(true, Ordering::Relaxed);
                    }
                }
            }
            Step::Clients(count) => {
                for _ in 0..count {
                    clients.spawn(client(world.connect()));
                }
                tokio::task::yield_now().await;
            }
            Step::Wait(millis) => sleep(Duration::from_millis(u64::from(millis))).await,
        }
    }
    while let Some(client) = clients.join_next().await {
        client.expect("a client");
    }
    assert_eq!(
        *heard.lock().expect("heard"),
        [0; 0],
        "stopped instances heard of requests"
    );
    assert!(world.proxy.status().leaving.is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_request_lands_on_an_instance_after_its_removal_was_acknowledged(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().expect("a runtime");
        runtime.block_on(live(steps));
    }
}

/// The same with real threads: workers claim while the table switches as fast as it can.
#[test]
fn no_claim_after_the_acknowledgement_with_threads() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(3)
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let world = Arc::new(World::new());
        let stopped: Arc<[AtomicBool; 3]> = Arc::default();
        let heard = Arc::new(AtomicUsize::new(0));
        for last in 1..=2 {
            let (stopped, heard) = (Arc::clone(&stopped), Arc::clone(&heard));
            world.net.listen(last, move |mut stream| {
                let (stopped, heard) = (Arc::clone(&stopped), Arc::clone(&heard));
                async move {
                    while read_request(&mut stream).await.is_some() {
                        heard.fetch_add(
                            usize::from(stopped[usize::from(last)].load(Ordering::SeqCst)),
                            Ordering::SeqCst,
                        );
                        let _ = stream.write_all(OK).await;
                    }
                }
            });
        }
        let switch = |on: u8| -> Section { section(&[(on, "a", Routed)]) };
        world.push(&switch(1)).await;
        stopped[2].store(true, Ordering::SeqCst);
        let done = Arc::new(AtomicBool::new(false));
        let clients: Vec<_> = (0..8)
            .map(|_| {
                let (world, done) = (Arc::clone(&world), Arc::clone(&done));
                tokio::spawn(async move {
                    let mut count = 0_usize;
                    while !done.load(Ordering::Relaxed) {
                        assert_eq!(world.get("shop.io", "/").await.0, 200);
                        count += 1;
                    }
                    count
                })
            })
            .collect();
        for turn in 0..500 {
            let (on, off): (u8, u8) = if turn % 2 == 0 { (2, 1) } else { (1, 2) };
            stopped[usize::from(on)].store(false, Ordering::SeqCst);
            world.push(&switch(on)).await;
            while !world.proxy.status().leaving.is_empty() {
                tokio::task::yield_now().await;
            }
            stopped[usize::from(off)].store(true, Ordering::SeqCst);
            tokio::task::yield_now().await;
        }
        done.store(true, Ordering::Relaxed);
        let mut answered = 0;
        for client in clients {
            answered += client.await.expect("a client");
        }
        assert!(answered > 100, "{answered}");
        assert_eq!(heard.load(Ordering::SeqCst), 0);
    });
}
