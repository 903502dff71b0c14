//! One broken rule at a time.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use super::*;
use crate::check::CheckHeader;
use crate::route::PathRule;
use crate::table::{Drain, RevisionRoute};

fn valid() -> Section {
    Section {
        namespace: "default".to_owned(),
        pipeline: "shop".to_owned(),
        stage: "default".to_owned(),
        owner_uid: "0b8f".to_owned(),
        owner_created: "2026-01-31T10:00:00Z".to_owned(),
        version: 0,
        route: Some(Route {
            hosts: vec!["shop.example.com".to_owned(), "*.x.io".to_owned()],
            default: false,
            paths: vec![PathRule::root()],
        }),
        revisions: BTreeMap::from([(
            "3fa9c2b041".to_owned(),
            RevisionRoute {
                weight: 100,
                check: Some(Check::new(Probe::Http {
                    path: "/up?x=1".to_owned(),
                    port: 8080,
                    headers: Vec::new(),
                })),
            },
        )]),
        instances: vec![Instance {
            name: "default.shop.default.main.3fa9c2b041.0-1".to_owned(),
            container_id: "c".repeat(64),
            started_at: "2026-01-31T10:00:01.123456789Z".to_owned(),
            revision: "3fa9c2b041".to_owned(),
            address: Ipv4Addr::new(10, 210, 0, 2),
            port: Some(8080),
            state: InstanceState::Routed,
        }],
        drain: Drain::default(),
        response_timeout_seconds: 60,
    }
}

fn faulty(field: &str, change: impl FnOnce(&mut Section)) {
    let mut section = valid();
    change(&mut section);
    let faults = section.faults();
    assert!(
        faults.iter().any(|f| f.field.contains(field)),
        "{field}: {faults:?}"
    );
}

fn probe(section: &mut Section, probe: Probe) {
    section
        .revisions
        .values_mut()
        .for_each(|r| r.check = Some(Check::new(probe.clone())));
}

#[test]
fn a_valid_section_has_no_fault() {
    assert_eq!(valid().faults(), []);
}

#[test]
fn each_rule_of_names_and_routes_is_found() {
    faulty("namespace", |s| s.namespace = "a/b".to_owned());
    faulty("pipeline", |s| s.pipeline = String::new());
    faulty("stage", |s| s.stage = "-".to_owned());
    faulty("ownerUid", |s| s.owner_uid = "a b".to_owned());
    faulty("ownerCreated", |s| {
        s.owner_created = "2026-01-31T10:00:00.5Z".to_owned()
    });
    faulty("route.hosts", |s| s.route = Some(Route::default()));
    for host in [
        "Shop.io",
        "shop.io:80",
        "*",
        "*.*.io",
        "a..b",
        "a.*.io",
        "-a.io",
        "shop.io.",
    ] {
        faulty("route.hosts", |s| {
            s.route = Some(Route {
                hosts: vec![host.to_owned()],
                ..Route::default()
            })
        });
    }
    faulty("route.hosts", |s| {
        s.route
            .iter_mut()
            .for_each(|r| r.hosts = vec!["a.io".to_owned(); MAX_HOSTS + 1])
    });
    for prefix in ["", "api", "/a b", "/a?b", "/a#b", "/\u{1}"] {
        faulty("route.paths", |s| {
            s.route.iter_mut().for_each(|r| {
                r.paths = vec![PathRule {
                    prefix: prefix.to_owned(),
                    strip: false,
                }]
            })
        });
    }
    faulty("route.paths", |s| {
        s.route
            .iter_mut()
            .for_each(|r| r.paths = vec![PathRule::root(); 2])
    });
}

#[test]
fn each_rule_of_instances_and_checks_is_found() {
    faulty("weight", |s| {
        s.revisions
            .values_mut()
            .for_each(|r| r.weight = MAX_WEIGHT + 1)
    });
    faulty("revision", |s| s.revisions.clear());
    faulty("name", |s| s.instances.push(s.instances[0].clone()));
    faulty("port", |s| s.instances[0].port = None);
    faulty("port", |s| s.instances[0].port = Some(0));
    faulty("address", |s| {
        s.instances[0].address = Ipv4Addr::UNSPECIFIED
    });
    faulty("containerId", |s| {
        s.instances[0].container_id = "x".repeat(256)
    });
    faulty("responseTimeoutSeconds", |s| s.response_timeout_seconds = 0);
    faulty("drain.streamSeconds", |s| {
        s.drain.stream_seconds = MAX_LIMIT_SECONDS + 1
    });
    faulty("path", |s| {
        probe(
            s,
            Probe::Http {
                path: "up".to_owned(),
                port: 1,
                headers: Vec::new(),
            },
        )
    });
    faulty("port", |s| probe(s, Probe::Tcp { port: 0 }));
    let header = CheckHeader {
        name: "X".to_owned(),
        value: "a\r\nb: c".to_owned(),
    };
    faulty("headers", |s| {
        probe(
            s,
            Probe::Http {
                path: "/".to_owned(),
                port: 1,
                headers: vec![header],
            },
        )
    });
    faulty("periodSeconds", |s| {
        s.revisions
            .values_mut()
            .flat_map(|r| &mut r.check)
            .for_each(|c| c.period_seconds = 0)
    });
}

#[test]
fn a_worker_needs_neither_route_nor_port() {
    let mut section = valid();
    section.route = None;
    section.instances[0].port = None;
    assert_eq!(section.faults(), []);
}
