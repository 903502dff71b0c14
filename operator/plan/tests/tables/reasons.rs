//! What a person reads when something is in the way: one reason each, with what to do next.

use crds::{ConditionType, Reason};

use crate::text::decided;

/// Asserts that the pipeline's `Ready` has this reason, in these words.
fn ready(world: &str, reason: Reason, words: &[&str]) {
    says(world, ConditionType::Ready, reason, words);
}

fn says(world: &str, type_: ConditionType, reason: Reason, words: &[&str]) {
    let summary = decided(world).record.summary;
    let found = summary
        .conditions
        .iter()
        .find(|c| c.type_ == type_)
        .unwrap();
    assert_eq!(found.reason, reason, "{}", found.message);
    for word in words {
        assert!(found.message.contains(word), "{}", found.message);
    }
}

/// A rollout of `b` over `a`, whose new instance is as `facts` say.
fn on_trial(state: &str, facts: &str) -> String {
    format!(
        "want b minReady=5
         release 1 a Finalizing Succeeded verified
         release 2 b {state}
         host h1
         h1 a.0-1 running always ready@50 routed =Serving
         h1 b.0-1 {facts}"
    )
}

/// Why the second release is undone.
fn cause(world: &str) -> (Option<Reason>, String) {
    let plan = decided(world);
    let stage = &plan.record.releases["shop-2"].stages[0];
    (stage.reason, stage.message.clone())
}

#[test]
fn an_ending_is_told_by_its_kind() {
    let (reason, message) = cause(&on_trial("Warming", "exited oom =Warming"));
    assert_eq!(reason, Some(Reason::OutOfMemory), "{message}");
    assert!(message.contains("ran out of memory"), "{message}");
    let (reason, message) = cause(&on_trial("Warming", "exited =Warming"));
    assert_eq!(reason, Some(Reason::Exited), "{message}");
    assert!(message.contains("exited with 1"), "{message}");
}

#[test]
fn a_release_that_turns_unready_in_its_bake_is_undone() {
    let (reason, message) = cause(&on_trial("Baking", "running unready@95 routed =Serving"));
    assert_eq!(reason, Some(Reason::BecameUnready), "{message}");
    assert!(message.contains("503"), "{message}");
}

#[test]
fn a_full_bridge_is_told() {
    ready(
        "want a \n release 1 a Preparing \n host h1 full",
        Reason::AddressesExhausted,
        &["h1", "address"],
    );
}

#[test]
fn a_namespace_without_a_host_is_told() {
    ready(
        "want a \n release 1 a Preparing",
        Reason::NoHost,
        &["allowedNamespaces"],
    );
}

#[test]
fn a_route_that_another_pipeline_holds_is_said() {
    let world = "want a
        release 1 a Finalizing Succeeded verified
        host h1 holder=other/shop
        h1 a.0-1 running always ready@50 routed =Serving";
    ready(
        world,
        Reason::RouteConflict,
        &["other/shop", "shop.test/", "choose"],
    );
    says(
        world,
        ConditionType::Available,
        Reason::RouteConflict,
        &["other/shop"],
    );
}
