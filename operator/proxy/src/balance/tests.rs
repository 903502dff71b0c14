//! Draws and choices.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use routes::{Check, Probe, SectionKey};

use super::*;
use crate::instance::Identity;
use crate::traffic::Counters;

fn instance(name: &str) -> Arc<Instance> {
    let identity = Identity {
        name: name.to_owned(),
        container_id: name.to_owned(),
        address: SocketAddrV4::new(Ipv4Addr::LOCALHOST, 1),
    };
    let (reports, _) = tokio::sync::broadcast::channel(4);
    let key = SectionKey::new("default", "shop", "default");
    let instance = Arc::new(Instance::new(
        key,
        identity,
        "t".to_owned(),
        true,
        1,
        reports,
    ));
    instance.open();
    instance
}

fn share(weight: u32, instances: &[&Arc<Instance>]) -> Share {
    Share {
        weight,
        instances: instances.iter().map(|i| Arc::clone(i)).collect(),
        counters: Arc::new(Counters::default()),
    }
}

fn target(shares: Vec<Share>) -> Target {
    Target {
        key: SectionKey::new("default", "shop", "default"),
        shares,
        response_timeout: Duration::from_secs(1),
    }
}

fn unready(instance: &Instance) {
    let check = Check {
        failure_threshold: 1,
        ..Check::new(Probe::Tcp { port: 1 })
    };
    instance.record("t", Err("refused".to_owned()), &check, Instant::now());
}

fn draws(target: &Target, count: usize) -> BTreeMap<String, usize> {
    let mut drawn = BTreeMap::new();
    for _ in 0..count {
        let (instance, _) = pick(target, &Tried::default(), Instant::now()).expect("an instance");
        *drawn.entry(instance.name.clone()).or_default() += 1;
    }
    drawn
}

#[tokio::test]
async fn weights_are_kept() {
    let (a, b) = (instance("a"), instance("b"));
    let drawn = draws(&target(vec![share(90, &[&a]), share(10, &[&b])]), 20_000);
    assert!((1_700..2_300).contains(&drawn["b"]), "{drawn:?}");
}

#[tokio::test]
async fn unready_instances_are_ejected_but_never_the_last() {
    let (a, b, c) = (instance("a"), instance("b"), instance("c"));
    let target = target(vec![share(1, &[&a, &b]), share(9, &[&c])]);
    unready(&c);
    assert_eq!(
        draws(&target, 2_000)
            .keys()
            .map(String::as_str)
            .collect::<Vec<_>>(),
        ["a", "b"]
    );
    unready(&b);
    assert_eq!(
        draws(&target, 100)
            .keys()
            .map(String::as_str)
            .collect::<Vec<_>>(),
        ["a"]
    );
    unready(&a);
    assert_eq!(draws(&target, 2_000).len(), 3);
}

#[tokio::test]
async fn the_least_loaded_is_chosen_and_tried_ones_are_left_out() {
    let (a, b) = (instance("a"), instance("b"));
    let target = target(vec![share(1, &[&a, &b])]);
    let busy = a.claim();
    assert_eq!(draws(&target, 100).keys().collect::<Vec<_>>(), ["b"]);
    drop(busy);
    let mut tried = Tried::default();
    tried.push(Arc::clone(&a));
    assert_eq!(
        pick(&target, &tried, Instant::now()).map(|(i, _)| i.name.as_str()),
        Some("b")
    );
    tried.push(Arc::clone(&b));
    assert!(pick(&target, &tried, Instant::now()).is_none());
}

#[tokio::test(start_paused = true)]
async fn an_unreachable_instance_is_avoided_for_a_while_only() {
    let (a, b) = (instance("a"), instance("b"));
    let target = target(vec![share(1, &[&a, &b])]);
    a.avoid(Instant::now());
    assert_eq!(draws(&target, 100).keys().collect::<Vec<_>>(), ["b"]);
    tokio::time::advance(Duration::from_secs(2)).await;
    assert_eq!(draws(&target, 200).len(), 2);
}
