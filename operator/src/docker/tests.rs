//! The parts of the Docker client that need no Engine.

use std::collections::BTreeSet;

use bollard::models::{SystemInfo, SystemVersion};
use bytes::{BufMut as _, Bytes, BytesMut};
use http::{Method, StatusCode};

use super::frames::{Channel, NotFramed, Splitter};
use super::outcome::{Cause, Outcome};
use super::{
    ApiVersion, Endpoint, EngineFacts, EngineForm, NEWEST_API, OLDEST_API, calls, negotiate,
};

fn version(api: Option<&str>, oldest: Option<&str>) -> SystemVersion {
    SystemVersion {
        version: Some("29.0.0".to_owned()),
        api_version: api.map(str::to_owned),
        min_api_version: oldest.map(str::to_owned),
        ..SystemVersion::default()
    }
}

#[test]
fn the_version_is_the_lower_of_both_and_refused_in_words_outside_the_range() {
    assert_eq!(
        negotiate(&version(Some("1.41"), Some("1.12"))),
        Ok(OLDEST_API)
    );
    assert_eq!(
        negotiate(&version(Some("1.56"), Some("1.40"))),
        Ok(NEWEST_API)
    );
    assert_eq!(
        negotiate(&version(Some("1.48"), None)),
        Ok(ApiVersion {
            major: 1,
            minor: 48
        })
    );
    for (api, oldest, word) in [
        (Some("1.40"), Some("1.12"), "upgrade it to Docker 20.10"),
        (Some("1.9"), None, "upgrade it to Docker 20.10"),
        (Some("1.99"), Some("1.60"), "upgrade Mooring"),
        (None, None, "is this a Docker Engine?"),
        (Some("five"), None, "is this a Docker Engine?"),
    ] {
        let refused = negotiate(&version(api, oldest)).expect_err("out of range");
        assert!(refused.to_string().contains(word), "{api:?}: {refused}");
        assert!(refused.is_blind());
    }
}

#[test]
fn the_facts_tell_rootless_desktop_and_security() {
    let facts = |system: &str, security: &[&str]| {
        let info = SystemInfo {
            operating_system: Some(system.to_owned()),
            security_options: Some(security.iter().map(|&option| option.to_owned()).collect()),
            ..SystemInfo::default()
        };
        EngineFacts::read(OLDEST_API, &version(Some("1.41"), None), &info)
    };
    let native = facts(
        "Debian GNU/Linux 12 (bookworm)",
        &["name=seccomp,profile=default"],
    );
    assert_eq!(
        (native.form, native.userns_remap, native.selinux),
        (EngineForm::Native, false, false)
    );
    assert_eq!(
        facts("Docker Desktop", &["name=seccomp,profile=unconfined"]).form,
        EngineForm::Desktop
    );
    assert_eq!(
        facts(
            "Ubuntu 24.04",
            &["name=seccomp,profile=builtin", "name=rootless"]
        )
        .form,
        EngineForm::Rootless
    );
    assert!(facts("Fedora", &["name=selinux"]).selinux);
    assert!(facts("Fedora", &["name=userns"]).userns_remap);
}

#[test]
fn endpoints_are_unix_sockets_with_an_absolute_path() {
    let endpoint: Endpoint = "unix:///var/run/docker.sock".parse().expect("valid");
    assert_eq!(endpoint.to_string(), "unix:///var/run/docker.sock");
    for text in [
        "unix://docker.sock",
        "tcp://host:2376",
        "/var/run/docker.sock",
        "",
    ] {
        let refused = text
            .parse::<Endpoint>()
            .expect_err("not supported")
            .to_string();
        assert!(
            refused.contains("unix:///var/run/docker.sock"),
            "the fix is named: {refused}"
        );
    }
}

#[test]
fn statuses_become_outcomes_by_what_they_say_of_the_effect() {
    let of = |status: u16, body: &'static str| {
        let status = StatusCode::from_u16(status).expect("a status");
        Outcome::of_answer(
            "call".to_owned(),
            status,
            &Bytes::from_static(body.as_bytes()),
        )
    };
    assert!(of(404, r#"{"message":"No such container: x"}"#).is_not_found());
    assert_eq!(of(400, r#"{"message":" bad \n"}"#).message(), "bad");
    assert_eq!(of(403, "").message(), "403 Forbidden");
    assert_eq!(of(400, "").label(), "Failed");
    assert!(of(500, "plain words").is_unknown());
    assert!(of(503, "{}").is_unknown());
    assert!(matches!(
        of(302, ""),
        Outcome::Unknown {
            cause: Cause::Unreadable,
            ..
        }
    ));
    let id = "0f".repeat(32);
    let taken = format!(
        r#"{{"message":"Conflict. The container name \"/a\" is already in use by container \"{id}\". You have to remove"}}"#
    );
    let taken = Outcome::of_answer("call".to_owned(), StatusCode::CONFLICT, &Bytes::from(taken));
    assert!(matches!(&taken, Outcome::Conflict { holder: Some(holder), .. } if *holder == id));
    assert!(matches!(
        of(409, r#"{"message":"busy"}"#),
        Outcome::Conflict { holder: None, .. }
    ));
    let long = "ä".repeat(5000);
    let cut = Outcome::of_answer(
        "call".to_owned(),
        StatusCode::BAD_REQUEST,
        &Bytes::from(long),
    );
    assert_eq!(cut.message().len(), 2048);
}

#[test]
fn the_list_of_calls_is_complete_and_has_no_prune() {
    let names: BTreeSet<&str> = calls::ALL.iter().map(|call| call.name).collect();
    assert_eq!(names.len(), calls::ALL.len(), "no call twice");
    for call in calls::ALL {
        assert!(
            call.template.starts_with(&format!("{} /", call.method())),
            "{}",
            call.template
        );
        assert!(!call.template.contains("prune"), "{}", call.template);
        assert!(
            !call.effect || call.method() != Method::GET,
            "{}",
            call.template
        );
        assert!(
            call.effect || call.method() == Method::GET || call.template.contains("exec"),
            "{}",
            call.template
        );
    }
    // A call is a constant of this one file, and the client takes nothing but constants: what is not in the list
    // cannot be sent.
    let source = include_str!("calls.rs");
    let constants = source
        .lines()
        .filter(|line| line.starts_with("pub const ") && line.contains(": Call ="))
        .count();
    assert_eq!(constants, calls::ALL.len(), "every constant is in the list");
}

#[test]
fn paths_and_queries_are_encoded_and_cannot_lead_elsewhere() {
    assert_eq!(
        calls::IMAGE_INSPECT.path("mooring/default/shop:3fa9"),
        Some("/images/mooring/default/shop:3fa9/json".to_owned())
    );
    assert_eq!(
        calls::CONTAINER_START.path("a b?c#d%"),
        Some("/containers/a%20b%3Fc%23d%25/start".to_owned())
    );
    assert_eq!(
        calls::CONTAINER_CREATE.path("ignored"),
        Some("/containers/create".to_owned())
    );
    for target in ["", ".", "..", "../networks/x", "a//b", "a/./b", "a/.."] {
        assert_eq!(calls::IMAGE_INSPECT.path(target), None, "{target:?}");
    }
    assert_eq!(calls::query(&[]), "");
    let pairs = [
        ("filters", r#"{"label":["a=b"]}"#.to_owned()),
        ("all", "1".to_owned()),
    ];
    assert_eq!(
        calls::query(&pairs),
        "?filters=%7B%22label%22%3A%5B%22a%3Db%22%5D%7D&all=1"
    );
}

#[test]
fn framed_streams_are_taken_apart_however_they_arrive() {
    let mut wire = BytesMut::new();
    for (channel, text) in [(1, "hello "), (2, "oops"), (1, ""), (1, "world")] {
        wire.put_slice(&[channel, 0, 0, 0]);
        wire.put_u32(u32::try_from(text.len()).expect("short"));
        wire.put_slice(text.as_bytes());
    }
    for step in 1..=wire.len() {
        let (mut splitter, mut buffer) = (Splitter::default(), BytesMut::new());
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        for part in wire.chunks(step) {
            buffer.extend_from_slice(part);
            while let Some((channel, piece)) = splitter.next(&mut buffer).expect("framed") {
                match channel {
                    Channel::Stdout => stdout.extend_from_slice(&piece),
                    Channel::Stderr => stderr.extend_from_slice(&piece),
                }
            }
        }
        assert_eq!(
            (stdout.as_slice(), stderr.as_slice()),
            (&b"hello world"[..], &b"oops"[..]),
            "step {step}"
        );
        assert!(splitter.is_between(&buffer));
    }
    let cut = Splitter::default().next(&mut BytesMut::from(&wire[..9]));
    assert_eq!(cut, Ok(Some((Channel::Stdout, Bytes::from_static(b"h")))));
    assert_eq!(
        Splitter::default().next(&mut BytesMut::from("raw text of a terminal")),
        Err(NotFramed)
    );
}
