//! The edge as tables.

use http::Request;

use super::*;

fn parts(method: &str, target: &str, headers: &[(&'static str, &str)]) -> Parts {
    let mut request = Request::builder().method(method).uri(target);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(()).expect("a request").into_parts().0
}

fn refused(method: &str, target: &str, headers: &[(&'static str, &str)]) -> Option<Refusal> {
    admit(&parts(method, target, headers)).err()
}

#[test]
fn exactly_one_plain_host_is_taken() {
    for (target, headers, expect) in [
        ("/", &[("host", "a.io")][..], None),
        ("/", &[("host", "a.io:8080")], None),
        ("/", &[("host", "[::1]:80")], None),
        ("/", &[], Some(Refusal::BadRequest)),
        (
            "/",
            &[("host", "a.io"), ("host", "a.io")],
            Some(Refusal::BadRequest),
        ),
        ("/", &[("host", "a.io, b.io")], Some(Refusal::BadRequest)),
        ("/", &[("host", "a.io/x")], Some(Refusal::BadRequest)),
        ("/", &[("host", "user@a.io")], Some(Refusal::BadRequest)),
        ("http://b.io/x", &[("host", "a.io")], None),
        ("http://b.io/x", &[], Some(Refusal::BadRequest)),
        (
            "http://u:p@b.io/x",
            &[("host", "b.io")],
            Some(Refusal::BadRequest),
        ),
        (
            "https://b.io/x",
            &[("host", "b.io")],
            Some(Refusal::BadRequest),
        ),
    ] {
        assert_eq!(
            refused("GET", target, headers),
            expect,
            "{target} {headers:?}"
        );
    }
    assert_eq!(
        refused("TRACE", "/", &[("host", "a")]),
        Some(Refusal::MethodNotAllowed)
    );
}

#[test]
fn two_framings_and_other_codings_are_refused() {
    let host = ("host", "a.io");
    for headers in [
        &[
            host,
            ("transfer-encoding", "chunked"),
            ("content-length", "3"),
        ][..],
        &[host, ("transfer-encoding", "gzip, chunked")],
        &[
            host,
            ("transfer-encoding", "chunked"),
            ("transfer-encoding", "chunked"),
        ],
        &[host, ("transfer-encoding", "xchunked")],
    ] {
        assert_eq!(
            refused("POST", "/", headers),
            Some(Refusal::BadRequest),
            "{headers:?}"
        );
    }
    assert_eq!(
        refused("POST", "/", &[host, ("transfer-encoding", "Chunked")]),
        None
    );
}

#[test]
fn names_are_looked_up_without_port_case_and_last_dot() {
    for (host, expect) in [
        ("a.io", "a.io"),
        ("A.Io:80", "a.io"),
        ("a.io.", "a.io"),
        ("a.io.:80", "a.io"),
        ("[::1]", "[::1]"),
        ("[::1]:80", "[::1]"),
        ("", ""),
    ] {
        let value = HeaderValue::from_static(host);
        assert_eq!(host_name(&value), expect);
    }
}

#[test]
fn nothing_of_one_hop_and_nothing_spoofed_goes_on() {
    let mut parts = parts(
        "GET",
        "/x?q=1",
        &[
            ("host", "a.io"),
            ("connection", "keep-alive, X-Secret, Host, Content-Length"),
            ("content-length", "0"),
            ("x-secret", "1"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "x"),
            ("te", "trailers"),
            ("upgrade", "h2c"),
            ("expect", "100-continue"),
            ("x-forwarded-for", "6.6.6.6"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "evil"),
            ("x-forwarded-port", "1"),
            ("x-real-ip", "6.6.6.6"),
            ("forwarded", "for=6.6.6.6"),
            ("cookie", "a=b"),
        ],
    );
    let admitted = admit(&parts).expect("taken");
    assert!(!admitted.websocket);
    rewrite(
        &mut parts,
        &admitted,
        None,
        &HeaderValue::from_static("192.0.2.1"),
    );
    let mut headers: Vec<_> = parts
        .headers
        .iter()
        .map(|(name, value)| format!("{name}: {}", value.to_str().expect("text")))
        .collect();
    headers.sort();
    assert_eq!(
        headers,
        [
            "content-length: 0",
            "cookie: a=b",
            "host: a.io",
            "x-forwarded-for: 192.0.2.1",
            "x-forwarded-host: a.io",
            "x-forwarded-proto: http",
        ]
    );
    assert_eq!(parts.uri.to_string(), "/x?q=1");
}

#[test]
fn only_a_websocket_is_upgraded() {
    let base = [
        ("host", "a.io"),
        ("connection", "keep-alive, Upgrade"),
        ("upgrade", "WebSocket"),
    ];
    let mut request = parts("GET", "/", &base);
    let admitted = admit(&request).expect("taken");
    assert!(admitted.websocket);
    rewrite(
        &mut request,
        &admitted,
        None,
        &HeaderValue::from_static("::1"),
    );
    assert_eq!(request.headers["upgrade"], "websocket");
    assert_eq!(request.headers["connection"], "Upgrade");
    let websocket = |method, headers: &[(&'static str, &str)]| {
        admit(&parts(method, "/", headers))
            .ok()
            .is_some_and(|a| a.websocket)
    };
    assert!(!websocket("POST", &base));
    assert!(!websocket(
        "GET",
        &[("host", "a"), ("upgrade", "websocket")]
    ));
    assert!(!websocket(
        "GET",
        &[("host", "a"), ("upgrade", "h2c"), ("connection", "upgrade")]
    ));
}

#[test]
fn targets_become_paths() {
    for (target, path, expect) in [
        ("http://b.io/x?q", None, "/x?q"),
        ("http://b.io", None, "/"),
        ("/api/x?q=1", Some("/x"), "/x?q=1"),
        ("/api", Some("/"), "/"),
        ("*", None, "*"),
    ] {
        let mut request = parts("OPTIONS", target, &[("host", "b.io")]);
        let admitted = admit(&request).expect("taken");
        rewrite(
            &mut request,
            &admitted,
            path,
            &HeaderValue::from_static("::1"),
        );
        assert_eq!(request.uri.to_string(), expect, "{target}");
        assert_eq!(request.headers["host"], "b.io");
    }
}
