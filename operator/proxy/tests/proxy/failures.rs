//! Instances that refuse, hang, break and answer late; what is tried again and what never is.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use routes::InstanceState::Routed;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::time::{Instant, sleep};

use crate::world::{World, echo, read_request, section, split};

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

#[tokio::test(start_paused = true)]
async fn a_refused_connect_goes_to_another_instance_also_with_a_body() {
    let world = World::new();
    world.net.listen(2, echo("two"));
    world
        .push(&section(&[(1, "a", Routed), (2, "a", Routed)]))
        .await;
    for _ in 0..20 {
        assert_eq!(world.get("shop.io", "/").await.0, 200);
        let (status, body) = world.post("shop.io", "/", "x=1").await;
        assert!(status == 200 && body.ends_with("x=1"), "{body}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_hanging_connect_moves_on_soon_and_is_avoided_for_a_while() {
    let world = World::new();
    world.net.hang(1);
    world.net.listen(2, echo("two"));
    world
        .push(&section(&[(1, "a", Routed), (2, "a", Routed)]))
        .await;
    let begun = Instant::now();
    for _ in 0..50 {
        assert_eq!(world.get("shop.io", "/").await.0, 200);
    }
    assert!(
        begun.elapsed() <= Duration::from_millis(600),
        "{:?}",
        begun.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn when_nobody_accepts_the_answer_is_503_with_reason() {
    let world = World::new();
    world
        .push(&section(&[(1, "a", Routed), (2, "a", Routed)]))
        .await;
    let answer = world
        .raw("GET / HTTP/1.1\r\nHost: shop.io\r\nConnection: close\r\n\r\n")
        .await;
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert!(
        answer.contains("mooring-reason: InstanceUnreachable") && answer.contains("retry-after"),
        "{answer}"
    );
    assert_eq!(world.traffic(&section(&[(1, "a", Routed)]), "a").failed, 1);
}

/// Answers the first request of each connection and closes at the second, once it was read.
fn closes_at_the_second(
    seen: &Arc<AtomicUsize>,
) -> impl Fn(DuplexStream) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync + 'static
{
    let seen = Arc::clone(seen);
    move |mut stream| {
        let seen = Arc::clone(&seen);
        Box::pin(async move {
            for turn in 0..2 {
                if read_request(&mut stream).await.is_none() {
                    return;
                }
                seen.fetch_add(1, Ordering::Relaxed);
                if turn == 0 {
                    let _ = stream.write_all(OK).await;
                }
            }
        })
    }
}

#[tokio::test(start_paused = true)]
async fn a_get_on_a_reused_connection_that_closes_is_sent_again_also_to_the_only_instance() {
    let world = World::new();
    let seen = Arc::new(AtomicUsize::new(0));
    world.net.listen(1, closes_at_the_second(&seen));
    world.push(&section(&[(1, "a", Routed)])).await;
    for _ in 0..10 {
        assert_eq!(world.get("shop.io", "/").await, (200, "ok".to_owned()));
    }
    assert!(world.traffic(&section(&[(1, "a", Routed)]), "a").retried > 0);
}

#[tokio::test(start_paused = true)]
async fn a_post_that_was_sent_is_never_sent_again() {
    let world = World::new();
    let seen = Arc::new(AtomicUsize::new(0));
    world.net.listen(1, closes_at_the_second(&seen));
    world.net.listen(2, closes_at_the_second(&seen));
    world
        .push(&section(&[(1, "a", Routed), (2, "a", Routed)]))
        .await;
    let mut answered = 0;
    for _ in 0..40 {
        let (status, _) = world.post("shop.io", "/", "x=1").await;
        assert!(matches!(status, 200 | 502), "{status}");
        answered += 1;
        assert_eq!(
            seen.load(Ordering::Relaxed),
            answered,
            "each POST arrived exactly once"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_post_takes_no_connection_that_was_idle_for_a_second() {
    let world = World::new();
    let dialled = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&dialled);
    world.net.listen(1, move |stream| {
        count.fetch_add(1, Ordering::Relaxed);
        echo("one")(stream)
    });
    world.push(&section(&[(1, "a", Routed)])).await;
    let ask = async |wait: u64, method: &str| {
        sleep(Duration::from_millis(wait)).await;
        let (status, _) = match method {
            "GET" => world.get("shop.io", "/").await,
            _ => world.post("shop.io", "/", "x").await,
        };
        assert_eq!(status, 200);
        dialled.load(Ordering::Relaxed)
    };
    assert_eq!(ask(0, "POST").await, 1);
    assert_eq!(ask(900, "POST").await, 1, "fresh enough");
    assert_eq!(ask(1_000, "POST").await, 2, "too old for a POST");
    assert_eq!(ask(5_000, "GET").await, 2, "a GET may be sent again");
    assert_eq!(ask(10_000, "GET").await, 3, "too old for anybody");
}

#[tokio::test(start_paused = true)]
async fn a_get_that_was_answered_in_part_is_not_sent_again() {
    let world = World::new();
    let seen = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&seen);
    world.net.listen(1, move |mut stream| {
        let count = Arc::clone(&count);
        async move {
            read_request(&mut stream).await;
            let _ = stream.write_all(OK).await;
            read_request(&mut stream).await;
            count.fetch_add(1, Ordering::Relaxed);
            let _ = stream.write_all(b"HTTP/1.1 20").await;
        }
    });
    world.push(&section(&[(1, "a", Routed)])).await;
    assert_eq!(world.get("shop.io", "/").await.0, 200);
    assert_eq!(world.get("shop.io", "/").await.0, 502);
    assert_eq!(seen.load(Ordering::Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn no_answer_in_time_is_504_and_an_upload_has_its_time_from_its_last_piece() {
    let world = World::new();
    world.net.listen(1, |mut stream| async move {
        let mut sink = Vec::new();
        let _ = stream.read_to_end(&mut sink).await;
    });
    let mut section = section(&[(1, "a", Routed)]);
    section.response_timeout_seconds = 7;
    world.push(&section).await;
    let begun = Instant::now();
    assert_eq!(world.get("shop.io", "/").await.0, 504);
    assert_eq!(begun.elapsed().as_secs(), 7);
    let mut client = world.connect();
    let begun = Instant::now();
    client
        .write_all(b"POST / HTTP/1.1\r\nHost: shop.io\r\nContent-Length: 9\r\n\r\n")
        .await
        .expect("written");
    for _ in 0..9 {
        sleep(Duration::from_secs(5)).await;
        client.write_all(b"x").await.expect("written");
    }
    let head = crate::world::read_until(&mut client, "\r\n\r\n")
        .await
        .expect("a head");
    assert!(head.starts_with("HTTP/1.1 504 "), "{head}");
    assert_eq!(begun.elapsed().as_secs(), 52);
    assert_eq!(world.traffic(&section, "a").timed_out, 2);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_breaks_off_breaks_off_for_the_client_too() {
    let world = World::new();
    world.net.listen(1, |mut stream| async move {
        let (head, _) = read_request(&mut stream).await.expect("a request");
        let answer: &[u8] = if head.contains("/chunked") {
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"
        } else {
            b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc"
        };
        let _ = stream.write_all(answer).await;
    });
    world.push(&section(&[(1, "a", Routed)])).await;
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: shop.io\r\n\r\n");
    let chunked = world.raw(&get("/chunked")).await;
    assert!(
        !chunked.ends_with("0\r\n\r\n"),
        "a truncated answer must not look whole: {chunked}"
    );
    let (_, body) = split(&world.raw(&get("/")).await);
    assert!(body.len() < 10, "{body}");
    assert_eq!(world.traffic(&section(&[(1, "a", Routed)]), "a").failed, 2);
}

#[tokio::test(start_paused = true)]
async fn an_instance_that_speaks_no_http_is_502() {
    let world = World::new();
    world.net.listen(1, |mut stream| async move {
        let _ = stream.write_all(b"SSH-2.0-OpenSSH_9.2\r\n").await;
        let mut sink = [0; 1024];
        while stream.read(&mut sink).await.is_ok_and(|count| count > 0) {}
    });
    world.push(&section(&[(1, "a", Routed)])).await;
    assert_eq!(world.get("shop.io", "/").await.0, 502);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_frees_the_instance() {
    let world = World::new();
    world.net.listen(1, |mut stream| async move {
        let mut sink = Vec::new();
        let _ = stream.read_to_end(&mut sink).await;
    });
    let section = section(&[(1, "a", Routed)]);
    world.push(&section).await;
    let mut client = world.connect();
    client
        .write_all(b"GET / HTTP/1.1\r\nHost: shop.io\r\n\r\n")
        .await
        .expect("written");
    crate::world::settle().await;
    assert_eq!(world.instance(&section, "c1").requests, 1);
    drop(client);
    crate::world::settle().await;
    assert_eq!(world.instance(&section, "c1").in_flight(), 0);
}
