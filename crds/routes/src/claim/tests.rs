//! The conflict rule as a table.

use super::*;
use crate::table::Drain;

fn section(
    pipeline: &str,
    uid: &str,
    created: &str,
    hosts: &[&str],
    paths: &[&str],
) -> (SectionKey, Section) {
    let section = Section {
        namespace: "default".to_owned(),
        pipeline: pipeline.to_owned(),
        stage: "default".to_owned(),
        owner_uid: uid.to_owned(),
        owner_created: created.to_owned(),
        version: 0,
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
                    prefix: (*p).to_owned(),
                    strip: false,
                })
                .collect(),
        }),
        revisions: BTreeMap::new(),
        instances: Vec::new(),
        drain: Drain::default(),
        response_timeout_seconds: 60,
    };
    (section.key(), section)
}

const OLD: &str = "2026-01-01T00:00:00Z";
const YOUNG: &str = "2026-01-02T00:00:00Z";

fn names(holders: &Holders) -> String {
    holders
        .iter()
        .map(|(route, holder)| format!("{route}={}", holder.parts().1))
        .collect::<Vec<_>>()
        .join(" ")
}

#[test]
fn the_older_then_the_lower_uid_gets_a_free_route() {
    let sections = BTreeMap::from([
        section("a", "2", YOUNG, &["x.io"], &[]),
        section("b", "1", OLD, &["x.io"], &[]),
    ]);
    let (holders, conflicts) = settle(&sections, &Holders::new());
    assert_eq!(names(&holders), "x.io/=b");
    assert_eq!(conflicts.len(), 1);
    assert_eq!(conflicts[0].claimant.parts().1, "a");
    let sections = BTreeMap::from([
        section("a", "2", OLD, &["x.io"], &[]),
        section("b", "1", OLD, &["x.io"], &[]),
    ]);
    assert_eq!(names(&settle(&sections, &Holders::new()).0), "x.io/=b");
}

#[test]
fn a_holder_keeps_what_it_claims_against_an_older_pipeline_and_loses_what_it_does_not() {
    let holder = section("young", "9", YOUNG, &["x.io"], &[]);
    let (held, _) = settle(&BTreeMap::from([holder.clone()]), &Holders::new());
    let older = section("old", "1", OLD, &["x.io"], &[]);
    let both = BTreeMap::from([holder, older.clone()]);
    let (holders, conflicts) = settle(&both, &held);
    assert_eq!(names(&holders), "x.io/=young");
    assert_eq!(conflicts[0].holder.parts().1, "young");
    assert_eq!(
        settle(&both, &holders),
        (holders.clone(), conflicts),
        "settling twice changes nothing"
    );
    let moved = section("young", "9", YOUNG, &["y.io"], &[]);
    let (holders, conflicts) = settle(&BTreeMap::from([moved, older]), &holders);
    assert_eq!(names(&holders), "x.io/=old y.io/=young");
    assert!(conflicts.is_empty());
}

#[test]
fn different_paths_hosts_and_the_default_do_not_conflict() {
    let sections = BTreeMap::from([
        section("a", "1", OLD, &["x.io", "*"], &["/"]),
        section("b", "2", OLD, &["x.io"], &["/api/"]),
        section("c", "3", OLD, &["*.x.io"], &[]),
    ]);
    let (holders, conflicts) = settle(&sections, &Holders::new());
    assert_eq!(names(&holders), "*.x.io/=c */=a x.io/=a x.io/api=b");
    assert!(conflicts.is_empty());
}

#[test]
fn a_prefix_with_and_without_its_last_slash_is_one_route() {
    let sections = BTreeMap::from([
        section("a", "1", OLD, &["x.io"], &["/api"]),
        section("b", "2", OLD, &["x.io"], &["/api/"]),
    ]);
    assert_eq!(settle(&sections, &Holders::new()).1.len(), 1);
}
