//! Hosts, paths, weights and what an instance sees.

use routes::InstanceState::{Checked, Routed};
use routes::{PathRule, Reply, Request, Route};
use tokio::io::AsyncWriteExt;

use crate::world::{World, echo, read_until, section};

#[tokio::test(start_paused = true)]
async fn requests_reach_the_section_of_their_host_and_path() {
    let world = World::new();
    world.net.listen(1, echo("one"));
    let mut section = section(&[(1, "a", Routed)]);
    section.route = Some(Route {
        hosts: vec!["shop.io".to_owned(), "*.shop.io".to_owned()],
        default: false,
        paths: vec![PathRule {
            prefix: "/api".to_owned(),
            strip: true,
        }],
    });
    world.push(&section).await;
    let (status, body) = world.get("Shop.IO:8080", "/api/x?q=1").await;
    assert_eq!(status, 200);
    assert!(body.starts_with("one GET /x?q=1 HTTP/1.1\r\n"), "{body}");
    assert!(body.contains("host: Shop.IO:8080\r\n"), "{body}");
    assert!(body.contains("x-forwarded-for: 192.0.2.1\r\n"), "{body}");
    assert!(body.contains("x-forwarded-proto: http\r\n"), "{body}");
    assert_eq!(world.get("a.shop.io", "/api").await.0, 200);
    assert_eq!(world.get("shop.io", "/").await.0, 404);
    assert_eq!(world.get("b.a.shop.io", "/api").await.0, 421);
    assert_eq!(world.get("other.io", "/").await.0, 421);
}

#[tokio::test(start_paused = true)]
async fn a_declared_host_with_nothing_routed_is_503_with_reason() {
    let world = World::new();
    world.net.listen(1, echo("one"));
    world.push(&section(&[(1, "a", Checked)])).await;
    let answer = world
        .raw("GET / HTTP/1.1\r\nHost: shop.io\r\nConnection: close\r\n\r\n")
        .await;
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert!(
        answer.contains("retry-after: 5\r\n") && answer.contains("mooring-reason: NoInstance\r\n"),
        "{answer}"
    );
    let answer = world
        .raw("GET / HTTP/1.1\r\nHost: x.io\r\nConnection: close\r\n\r\n")
        .await;
    assert!(
        answer.starts_with("HTTP/1.1 421 ") && answer.contains("mooring-reason: HostNotDeclared"),
        "{answer}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_weight_of_zero_gets_nothing_and_counts_are_by_revision() {
    let world = World::new();
    world.net.listen(1, echo("old"));
    world.net.listen(2, echo("new"));
    let mut section = section(&[(1, "a", Routed), (2, "b", Routed)]);
    section.revisions.get_mut("b").expect("b").weight = 0;
    world.push(&section).await;
    for _ in 0..20 {
        assert!(world.get("shop.io", "/").await.1.starts_with("old"));
    }
    section.revisions.get_mut("a").expect("a").weight = 0;
    section.revisions.get_mut("b").expect("b").weight = 1;
    world.push(&section).await;
    for _ in 0..5 {
        assert!(world.get("shop.io", "/").await.1.starts_with("new"));
    }
    assert_eq!(world.traffic(&section, "a").requests, 20);
    assert_eq!(world.traffic(&section, "b").answers, [0, 5, 0, 0, 0]);
    let Reply::Metrics { text } = world.proxy.request(Request::Metrics).await else {
        panic!("metrics")
    };
    let row = "mooring_proxy_requests_total{namespace=\"default\",pipeline=\"shop\",stage=\"default\",revision=\"a\"} 20";
    assert!(text.contains(row), "{text}");
}

#[tokio::test(start_paused = true)]
async fn many_requests_go_over_one_connection_of_each_side() {
    let world = World::new();
    let dialled = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let count = dialled.clone();
    world.net.listen(1, move |stream| {
        count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        echo("one")(stream)
    });
    world.push(&section(&[(1, "a", Routed)])).await;
    let mut client = world.connect();
    for _ in 0..50 {
        client
            .write_all(b"GET / HTTP/1.1\r\nHost: shop.io\r\n\r\n")
            .await
            .expect("written");
        let head = read_until(&mut client, "\r\n\r\n").await.expect("a head");
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        assert!(!head.contains("connection"), "{head}");
        read_until(&mut client, "\r\n\r\n").await.expect("a body");
    }
    assert_eq!(dialled.load(std::sync::atomic::Ordering::Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn head_204_304_and_http_10_are_framed_right() {
    let world = World::new();
    world.net.listen(1, |mut stream| async move {
        while let Some((head, _)) = crate::world::read_request(&mut stream).await {
            let answer = if head.starts_with("HEAD") {
                "HTTP/1.1 200 OK\r\nContent-Length: 77\r\n\r\n"
            } else if head.contains("/304") {
                "HTTP/1.1 304 Not Modified\r\nContent-Length: 77\r\nETag: x\r\n\r\n"
            } else if head.contains("/204") {
                "HTTP/1.1 204 No Content\r\n\r\n"
            } else {
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-A: b\r\nConnection: x-a\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
            };
            if stream.write_all(answer.as_bytes()).await.is_err() {
                return;
            }
        }
    });
    world.push(&section(&[(1, "a", Routed)])).await;
    let ask = |method: &str, path: &str, version: &str| {
        let request =
            format!("{method} {path} HTTP/{version}\r\nHost: shop.io\r\nConnection: close\r\n\r\n");
        let world = &world;
        async move { world.raw(&request).await }
    };
    let head = ask("HEAD", "/", "1.1").await;
    assert!(
        head.contains("content-length: 77\r\n") && head.ends_with("\r\n\r\n"),
        "{head}"
    );
    let not_modified = ask("GET", "/304", "1.1").await;
    assert!(
        not_modified.starts_with("HTTP/1.1 304 ") && not_modified.ends_with("\r\n\r\n"),
        "{not_modified}"
    );
    assert!(ask("GET", "/204", "1.1").await.starts_with("HTTP/1.1 204 "));
    let chunked = ask("GET", "/", "1.1").await;
    assert!(
        chunked.ends_with("abc") || chunked.ends_with("3\r\nabc\r\n0\r\n\r\n"),
        "{chunked}"
    );
    assert!(!chunked.contains("x-a"), "{chunked}");
    let old = ask("GET", "/", "1.0").await;
    assert!(
        old.starts_with("HTTP/1.0 200") && old.ends_with("\r\n\r\nabc"),
        "{old}"
    );
}

#[tokio::test(start_paused = true)]
async fn an_idle_client_is_closed_and_one_with_a_request_is_not() {
    let world = World::new();
    world.net.listen(1, |mut stream| async move {
        crate::world::read_request(&mut stream).await;
        tokio::time::sleep(std::time::Duration::from_secs(50)).await;
        let _ = stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            .await;
        std::future::pending::<()>().await;
    });
    world.push(&section(&[(1, "a", Routed)])).await;
    let begun = tokio::time::Instant::now();
    assert_eq!(
        world.raw("GET / HT").await,
        "",
        "a half-sent head ends without an answer"
    );
    assert!(
        (60..=66).contains(&begun.elapsed().as_secs()),
        "{:?}",
        begun.elapsed()
    );
    assert_eq!(world.get("shop.io", "/").await, (200, "ok".to_owned()));
}
