//! Requests that mean two things, or nothing, at the edge.

use routes::InstanceState::Routed;

use crate::world::{World, echo, section, split};

async fn world() -> World {
    let world = World::new();
    world.net.listen(1, echo("one"));
    world.push(&section(&[(1, "a", Routed)])).await;
    world
}

/// What must never reach an instance: its name, the request, and the status that is given instead, 0 where the connection just ends.
const TWO_MEANINGS: &[(&str, &str, &[u16])] = &[
    (
        "two hosts",
        "GET / HTTP/1.1\r\nHost: shop.io\r\nHost: shop.io\r\n\r\n",
        &[400],
    ),
    ("no host", "GET / HTTP/1.1\r\n\r\n", &[400]),
    (
        "host list",
        "GET / HTTP/1.1\r\nHost: shop.io, x.io\r\n\r\n",
        &[400],
    ),
    (
        "userinfo",
        "GET / HTTP/1.1\r\nHost: u@shop.io\r\n\r\n",
        &[400],
    ),
    (
        "space in host",
        "GET / HTTP/1.1\r\nHost: shop.io x\r\n\r\n",
        &[400],
    ),
    (
        "absolute without host",
        "GET http://shop.io/ HTTP/1.1\r\n\r\n",
        &[400],
    ),
    (
        "absolute https",
        "GET https://shop.io/ HTTP/1.1\r\nHost: shop.io\r\n\r\n",
        &[400],
    ),
    (
        "connect",
        "CONNECT shop.io:443 HTTP/1.1\r\nHost: shop.io\r\n\r\n",
        &[405],
    ),
    ("trace", "TRACE / HTTP/1.1\r\nHost: shop.io\r\n\r\n", &[405]),
    (
        "cl twice",
        "POST / HTTP/1.1\r\nHost: shop.io\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        &[400],
    ),
    (
        "cl list",
        "POST / HTTP/1.1\r\nHost: shop.io\r\nContent-Length: 1, 2\r\n\r\nab",
        &[400],
    ),
    (
        "cl signed",
        "POST / HTTP/1.1\r\nHost: shop.io\r\nContent-Length: +1\r\n\r\na",
        &[400],
    ),
    (
        "cl hex",
        "POST / HTTP/1.1\r\nHost: shop.io\r\nContent-Length: 0x1\r\n\r\na",
        &[400],
    ),
    (
        "te other",
        "POST / HTTP/1.1\r\nHost: shop.io\r\nTransfer-Encoding: xchunked\r\n\r\n",
        &[400],
    ),
    (
        "te list",
        "POST / HTTP/1.1\r\nHost: shop.io\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        &[400],
    ),
    (
        "te not last",
        "POST / HTTP/1.1\r\nHost: shop.io\r\nTransfer-Encoding: chunked, x\r\n\r\n0\r\n\r\n",
        &[400],
    ),
    (
        "te twice",
        "POST / HTTP/1.1\r\nHost: shop.io\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        &[400],
    ),
    (
        "te in 1.0",
        "POST / HTTP/1.0\r\nHost: shop.io\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        &[400],
    ),
    (
        "bad chunk size",
        "POST / HTTP/1.1\r\nHost: shop.io\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n0\r\n\r\n",
        &[400],
    ),
    (
        "bad chunk end",
        "POST / HTTP/1.1\r\nHost: shop.io\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcX0\r\n\r\n",
        &[400],
    ),
    (
        "space before colon",
        "GET / HTTP/1.1\r\nHost : shop.io\r\n\r\n",
        &[400],
    ),
    (
        "folded header",
        "GET / HTTP/1.1\r\nHost: shop.io\r\n folded: x\r\n\r\n",
        &[400],
    ),
    (
        "nul in header",
        "GET / HTTP/1.1\r\nHost: shop.io\r\nX: a\0b\r\n\r\n",
        &[400],
    ),
    (
        "bare cr in header",
        "GET / HTTP/1.1\r\nHost: shop.io\r\nX: a\rTransfer-Encoding: chunked\r\n\r\n",
        &[400],
    ),
    (
        "two spaces",
        "GET  / HTTP/1.1\r\nHost: shop.io\r\n\r\n",
        &[400],
    ),
    (
        "bad version",
        "GET / HTTP/1.2\r\nHost: shop.io\r\n\r\n",
        &[400, 505],
    ),
    (
        "http/2 preface",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        &[400, 505, 0],
    ),
    ("tls hello", "\u{16}\u{3}\u{1}\u{2}\0", &[400, 0]),
];

#[tokio::test(start_paused = true)]
async fn what_has_two_meanings_is_refused() {
    let world = world().await;
    for (name, request, expect) in TWO_MEANINGS {
        let answer = world.raw(request).await;
        let (status, body) = split(&answer);
        assert!(expect.contains(&status), "{name}: {answer:?}");
        assert!(!body.starts_with("one"), "{name}: {answer:?}");
    }
    assert_eq!(
        world.traffic(&section(&[(1, "a", Routed)]), "a").answers,
        [0; 5]
    );
}

#[tokio::test(start_paused = true)]
async fn too_many_or_too_large_headers_are_431() {
    let world = world().await;
    let many: String = (0..150).map(|index| format!("X-{index}: y\r\n")).collect();
    let (status, _) = split(
        &world
            .raw(&format!("GET / HTTP/1.1\r\nHost: shop.io\r\n{many}\r\n"))
            .await,
    );
    assert_eq!(status, 431);
    let large = "y".repeat(100_000);
    let (status, _) = split(
        &world
            .raw(&format!(
                "GET / HTTP/1.1\r\nHost: shop.io\r\nX: {large}\r\n\r\n"
            ))
            .await,
    );
    assert_eq!(status, 431);
}

/// A second framing beside a chunked one is dropped by the parser: what goes on has one framing, and nothing that
/// follows on the connection is read as a request.
#[tokio::test(start_paused = true)]
async fn a_second_framing_cannot_smuggle() {
    let world = world().await;
    let smuggled = "0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: shop.io\r\n\r\n";
    for framing in [
        "Content-Length: 5\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 5",
    ] {
        let answer = world
            .raw(&format!(
                "POST / HTTP/1.1\r\nHost: shop.io\r\n{framing}\r\n\r\n{smuggled}"
            ))
            .await;
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{answer}");
        assert!(!answer.contains("smuggled"), "{answer}");
        assert!(answer.contains("connection: close\r\n"), "{answer}");
        assert!(
            !answer.to_lowercase().contains("content-length: 5\r\n"),
            "{answer}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn an_absolute_target_decides_the_host_and_other_upgrades_are_not_passed_on() {
    let world = world().await;
    let answer = world
        .raw("GET http://shop.io/x HTTP/1.1\r\nHost: other.io\r\nConnection: close, Upgrade, X-Drop\r\nUpgrade: h2c\r\nX-Drop: 1\r\n\r\n")
        .await;
    let (status, body) = split(&answer);
    assert_eq!(status, 200);
    assert!(body.starts_with("one GET /x HTTP/1.1\r\n"), "{body}");
    assert!(answer.contains("host: shop.io\r\n"), "{answer}");
    for gone in ["other.io", "upgrade", "x-drop", "h2c"] {
        assert!(!answer.contains(gone), "{gone}: {answer}");
    }
}

/// Every prefix of a request, and every request with one byte changed, ends in an answer or the end of the
/// connection; the proxy goes on.
#[tokio::test(start_paused = true)]
async fn torn_and_changed_requests_harm_nobody() {
    let world = world().await;
    let whole = "POST /a HTTP/1.1\r\nHost: shop.io\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
    for position in 0..whole.len() {
        let mut client = world.connect();
        let _ =
            tokio::io::AsyncWriteExt::write_all(&mut client, &whole.as_bytes()[..position]).await;
        drop(client);
        for change in [b'\0', b'\r', b'\n', b':', b' ', b'9'] {
            let mut bytes = whole.as_bytes().to_vec();
            bytes[position] = change;
            let text = String::from_utf8(bytes).expect("ascii");
            tokio::time::timeout(std::time::Duration::from_secs(200), world.raw(&text))
                .await
                .expect("an end");
        }
    }
    crate::world::settle().await;
    assert_eq!(world.get("shop.io", "/").await.0, 200);
    assert_eq!(
        world
            .instance(&section(&[(1, "a", Routed)]), "c1")
            .in_flight(),
        0
    );
}
