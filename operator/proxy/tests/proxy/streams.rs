//! WebSockets and event streams.

use std::time::Duration;

use routes::InstanceState::{Draining, Routed};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::time::{Instant, sleep, timeout};

use crate::world::{World, read_request, read_until, section, settle};

const UPGRADE: &[u8] =
    b"GET /ws HTTP/1.1\r\nHost: shop.io\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\n\r\n";

/// Switches and then sends every byte back.
async fn websocket(mut stream: DuplexStream) {
    let (head, _) = read_request(&mut stream).await.expect("a request");
    assert!(
        head.contains("upgrade: websocket\r\n") && head.contains("sec-websocket-key: x\r\n"),
        "{head}"
    );
    let answer = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: y\r\n\r\n";
    stream.write_all(answer.as_bytes()).await.expect("written");
    let (mut reader, mut writer) = tokio::io::split(stream);
    let _ = tokio::io::copy(&mut reader, &mut writer).await;
}

async fn opened(world: &World) -> DuplexStream {
    let mut client = world.connect();
    client.write_all(UPGRADE).await.expect("written");
    let head = read_until(&mut client, "\r\n\r\n").await.expect("a head");
    assert!(
        head.starts_with("HTTP/1.1 101 ") && head.contains("sec-websocket-accept: y\r\n"),
        "{head}"
    );
    client
}

#[tokio::test(start_paused = true)]
async fn a_websocket_carries_bytes_both_ways_and_counts_as_a_stream() {
    let world = World::new();
    world.net.listen(1, websocket);
    let section = section(&[(1, "a", Routed)]);
    world.push(&section).await;
    let mut client = opened(&world).await;
    for _ in 0..3 {
        client.write_all(b"ping").await.expect("written");
        let mut back = [0; 4];
        client.read_exact(&mut back).await.expect("read");
        assert_eq!(&back, b"ping");
        sleep(Duration::from_secs(600)).await;
    }
    let status = world.instance(&section, "c1");
    assert_eq!((status.requests, status.streams), (0, 1));
    drop(client);
    settle().await;
    assert_eq!(world.instance(&section, "c1").in_flight(), 0);
    assert_eq!(world.traffic(&section, "a").answers[0], 1);
}

#[tokio::test(start_paused = true)]
async fn a_websocket_is_cut_at_its_own_limit() {
    let world = World::new();
    world.net.listen(1, websocket);
    let mut section = section(&[(1, "a", Routed)]);
    world.push(&section).await;
    let mut client = opened(&world).await;
    section.instances[0].state = Draining;
    world.push(&section).await;
    let begun = Instant::now();
    let mut end = Vec::new();
    client.read_to_end(&mut end).await.expect("an end");
    assert_eq!(begun.elapsed().as_secs(), 300);
    settle().await;
    assert_eq!(world.instance(&section, "c1").in_flight(), 0);
    assert_eq!(world.traffic(&section, "a").cut, 1);
}

#[tokio::test(start_paused = true)]
async fn a_refused_upgrade_is_passed_on() {
    let world = World::new();
    world.net.listen(1, |mut stream| async move {
        read_request(&mut stream).await;
        let _ = stream
            .write_all(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")
            .await;
    });
    let section = section(&[(1, "a", Routed)]);
    world.push(&section).await;
    let mut client = world.connect();
    client.write_all(UPGRADE).await.expect("written");
    let head = read_until(&mut client, "\r\n\r\n").await.expect("a head");
    assert!(head.starts_with("HTTP/1.1 403 "), "{head}");
    let mut body = [0; 2];
    client.read_exact(&mut body).await.expect("a body");
    settle().await;
    assert_eq!(world.instance(&section, "c1").in_flight(), 0);
}

/// One event a second.
async fn events(mut stream: DuplexStream) {
    read_request(&mut stream).await;
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n";
    let _ = stream.write_all(head.as_bytes()).await;
    while stream.write_all(b"9\r\ndata: x\n\n\r\n").await.is_ok() {
        sleep(Duration::from_secs(1)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn events_arrive_at_once_and_are_streams() {
    let world = World::new();
    world.net.listen(1, events);
    let mut section = section(&[(1, "a", Routed)]);
    world.push(&section).await;
    let mut client = world.connect();
    client
        .write_all(b"GET / HTTP/1.1\r\nHost: shop.io\r\n\r\n")
        .await
        .expect("written");
    read_until(&mut client, "\r\n\r\n").await.expect("a head");
    let begun = Instant::now();
    for second in 0..100 {
        read_until(&mut client, "data: x\n\n\r\n")
            .await
            .expect("an event");
        assert_eq!(begun.elapsed().as_secs(), second);
    }
    assert_eq!(world.instance(&section, "c1").streams, 1);
    section.instances[0].state = Draining;
    world.push(&section).await;
    let begun = Instant::now();
    while timeout(Duration::from_secs(5), client.read_u8())
        .await
        .expect("events or an end")
        .is_ok()
    {}
    assert_eq!(
        begun.elapsed().as_secs(),
        300,
        "not at the limit of requests"
    );
    settle().await;
    assert_eq!(world.instance(&section, "c1").in_flight(), 0);
}
