//! Lookup as a table.

use std::collections::BTreeMap;

use routes::{Drain, Route, settle};

use super::*;

/// `name: hosts / paths`, `*` being the default; a path ending in `!` is stripped.
fn router(sections: &[(&str, &[&str], &[&str])]) -> Router {
    let sections: BTreeMap<SectionKey, Section> = sections
        .iter()
        .map(|(name, hosts, paths)| {
            let section = Section {
                namespace: "default".to_owned(),
                pipeline: (*name).to_owned(),
                stage: "default".to_owned(),
                owner_uid: (*name).to_owned(),
                owner_created: "2026-01-01T00:00:00Z".to_owned(),
                version: 1,
                route: Some(Route {
                    hosts: hosts
                        .iter()
                        .filter(|h| **h != "*")
                        .map(|h| (*h).to_owned())
                        .collect(),
                    default: hosts.contains(&"*"),
                    paths: paths
                        .iter()
                        .map(|p| PathRule {
                            prefix: p.trim_end_matches('!').to_owned(),
                            strip: p.ends_with('!'),
                        })
                        .collect(),
                }),
                revisions: BTreeMap::new(),
                instances: Vec::new(),
                drain: Drain::default(),
                response_timeout_seconds: 60,
            };
            (section.key(), section)
        })
        .collect();
    let (holders, _) = settle(&sections, &Holders::new());
    let mut router = Router::default();
    for (key, section) in &sections {
        let target = Target {
            key: key.clone(),
            shares: Vec::new(),
            response_timeout: Duration::from_secs(60),
        };
        router.add(section, target, &holders);
    }
    router
}

fn found(router: &Router, host: &str, path: &str) -> String {
    match router.find(host, path) {
        Found::Served(served) => {
            format!(
                "{} {}",
                served.target.key.parts().1,
                served.rule.forward(path)
            )
        }
        Found::NoPath => "404".to_owned(),
        Found::NoHost => "421".to_owned(),
    }
}

#[test]
fn exact_beats_wildcard_beats_default_and_the_longest_prefix_wins() {
    let router = router(&[
        ("shop", &["shop.io"], &["/"]),
        ("api", &["shop.io"], &["/api!", "/v2/api"]),
        ("deep", &["shop.io"], &["/api/deep"]),
        ("wild", &["*.shop.io"], &[]),
        ("exact", &["a.shop.io"], &["/only"]),
    ]);
    for (host, path, expect) in [
        ("shop.io", "/", "shop /"),
        ("shop.io", "/apix", "shop /apix"),
        ("shop.io", "/api", "api /"),
        ("shop.io", "/api/x", "api /x"),
        ("shop.io", "/v2/api/x", "api /v2/api/x"),
        ("shop.io", "/api/deep/x", "deep /api/deep/x"),
        ("b.shop.io", "/", "wild /"),
        ("a.shop.io", "/only/x", "exact /only/x"),
        ("a.shop.io", "/other", "wild /other"),
        ("c.b.shop.io", "/", "421"),
        (".shop.io", "/", "421"),
        ("other.io", "/", "421"),
        ("", "/", "421"),
    ] {
        assert_eq!(found(&router, host, path), expect, "{host}{path}");
    }
}

#[test]
fn the_default_answers_what_nobody_else_does() {
    let router = router(&[
        ("shop", &["shop.io"], &["/a"]),
        ("rest", &["*"], &["/b", "/a"]),
    ]);
    assert_eq!(found(&router, "shop.io", "/a"), "shop /a");
    assert_eq!(found(&router, "shop.io", "/b"), "rest /b");
    assert_eq!(found(&router, "any.io", "/a"), "rest /a");
    assert_eq!(found(&router, "", "/b"), "rest /b");
    assert_eq!(found(&router, "any.io", "/c"), "404");
}

#[test]
fn a_route_held_by_another_is_not_served() {
    let router = router(&[("a", &["x.io"], &["/"]), ("b", &["x.io", "y.io"], &["/"])]);
    assert_eq!(found(&router, "x.io", "/"), "a /");
    assert_eq!(found(&router, "y.io", "/"), "b /");
}
