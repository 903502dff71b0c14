//! What the wire looks like and what later versions may add.

use super::*;

fn read(text: &str) -> ToProxy {
    serde_json::from_str(text).expect("a frame")
}

#[test]
fn unknown_frames_requests_and_fields_are_read() {
    assert_eq!(
        read(r#"{"type":"Teleport","to":[1,{"a":2}]}"#),
        ToProxy::Unknown
    );
    assert_eq!(read(r#"{"type":"Heartbeat","load":3}"#), ToProxy::Heartbeat);
    let ToProxy::Request { id, request } =
        read(r#"{"type":"Request","id":7,"request":{"type":"Handover","x":1}}"#)
    else {
        panic!("a request");
    };
    assert_eq!((id, *request), (7, Request::Unknown));
    let ToProxy::Request { request, .. } =
        read(r#"{"type":"Request","id":7,"later":1,"request":{"type":"Status","since":4}}"#)
    else {
        panic!("a request");
    };
    assert_eq!(*request, Request::Status { keys: Vec::new() });
}

#[test]
fn a_required_capability_must_be_known() {
    let mut hello = Hello::new("0.1.0", None);
    hello.required = vec!["http1".to_owned(), "h3".to_owned()];
    assert_eq!(hello.unknown(), ["h3"]);
}

#[test]
fn replies_round_trip() {
    let reply = FromProxy::Reply {
        id: 3,
        reply: Box::new(Reply::Refused {
            reason: Refusal::VersionMismatch {
                current: Some(u64::MAX),
            },
        }),
    };
    let text = serde_json::to_string(&reply).expect("json");
    assert_eq!(
        text,
        r#"{"type":"Reply","id":3,"reply":{"type":"Refused","reason":{"type":"VersionMismatch","current":18446744073709551615}}}"#
    );
    assert_eq!(
        serde_json::from_str::<FromProxy>(&text).expect("a frame"),
        reply
    );
}

/// A push as version 1 writes it: later builds must read it.
#[test]
fn a_push_of_version_1_is_read() {
    let text = r#"{"type":"Request","id":1,"request":{"type":"Push","install":"i1","epoch":2,"expectVersion":4,"section":{
        "namespace":"default","pipeline":"shop","stage":"default","ownerUid":"u1","ownerCreated":"2026-01-31T10:00:00Z",
        "route":{"hosts":["shop.example.com"],"default":false,"paths":[{"prefix":"/","strip":false}]},
        "revisions":{"3fa9c2b041":{"weight":100,"check":{"probe":{"type":"Http","path":"/up","port":8080,"headers":[{"name":"Host","value":"shop.example.com"}]},
            "periodSeconds":10,"timeoutSeconds":1,"failureThreshold":3,"successThreshold":1,"initialDelaySeconds":0}}},
        "instances":[{"name":"default.shop.default.main.3fa9c2b041.0-1","containerId":"c1","startedAt":"2026-01-31T10:00:01Z",
            "revision":"3fa9c2b041","address":"10.210.0.2","port":8080,"state":"Routed"}],
        "drain":{"requestSeconds":30,"streamSeconds":300},"responseTimeoutSeconds":60}}}"#;
    let ToProxy::Request { request, .. } = read(text) else {
        panic!("a request")
    };
    let Request::Push {
        section,
        expect_version,
        ..
    } = *request
    else {
        panic!("a push")
    };
    assert_eq!(expect_version, Some(4));
    assert_eq!(section.faults(), Vec::new());
    assert_eq!(section.key().as_str(), "default/shop/default");
    let again: Section =
        serde_json::from_str(&serde_json::to_string(&section).expect("json")).expect("a section");
    assert_eq!(again, *section);
}
