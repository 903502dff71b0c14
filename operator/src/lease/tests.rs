//! The Lease on a real API server in memory, with time driven.

use apiserver::{Config, MemoryDisk, Server, Storage};
use kube::client::Body;

use super::*;
use crate::clock::System;
use crate::gate::Open;

const NAMESPACE: &str = "default";

async fn server() -> Server {
    Server::start(Config::new(Storage::Memory(MemoryDisk::default())))
        .await
        .expect("a server in memory starts")
}

fn holder(server: &Server, identity: &str) -> Holder {
    let client = api::client(server.service::<Body>("test"), Arc::new(Open));
    Holder::new(client, NAMESPACE, Arc::new(System), identity)
}

#[tokio::test(start_paused = true)]
async fn each_holder_has_a_higher_epoch_and_a_lease_given_back_is_free() {
    let server = server().await;
    let first = holder(&server, "a");
    first.acquire().await;
    assert_eq!(first.epoch().current(), 1);
    assert_eq!(first.raise_above(7).await.expect("it is ours"), 8);
    first.release().await;
    let began = Instant::now();
    let second = holder(&server, "b");
    second.acquire().await;
    assert_eq!(second.epoch().current(), 9);
    assert!(began.elapsed() < Duration::from_secs(1), "nobody held it");
}

#[tokio::test(start_paused = true)]
async fn another_takes_over_only_after_the_lease_has_run_out_and_the_old_holder_hears_of_it() {
    let server = server().await;
    let first = holder(&server, "a");
    first.acquire().await;
    let began = Instant::now();
    let second = holder(&server, "b");
    second.acquire().await;
    assert!(began.elapsed() >= DURATION, "{:?}", began.elapsed());
    assert_eq!(second.epoch().current(), 2);
    let lost = first.keep().await;
    assert!(
        matches!(&lost, LeaseError::Lost { holder } if holder == "b"),
        "{lost}"
    );
    let raised = first.raise_above(100).await;
    assert!(matches!(raised, Err(LeaseError::Lost { .. })));
}

#[tokio::test(start_paused = true)]
async fn a_holder_that_renews_keeps_it() {
    let server = server().await;
    let first = holder(&server, "a");
    first.acquire().await;
    let second = holder(&server, "b");
    tokio::select! {
        lost = first.keep() => panic!("{lost}"),
        () = second.acquire() => panic!("it is held"),
        () = tokio::time::sleep(Duration::from_secs(300)) => {}
    }
}

#[tokio::test(start_paused = true)]
async fn the_same_identity_takes_over_at_once_and_the_older_process_ends() {
    let server = server().await;
    let first = holder(&server, "a");
    first.acquire().await;
    let began = Instant::now();
    let second = holder(&server, "a");
    second.acquire().await;
    assert!(began.elapsed() < Duration::from_secs(1));
    assert_eq!(second.epoch().current(), 2);
    assert!(matches!(first.keep().await, LeaseError::Lost { .. }));
}

#[tokio::test(start_paused = true)]
async fn a_holder_without_an_api_stops_before_others_take_over() {
    let server = server().await;
    let first = holder(&server, "a");
    first.acquire().await;
    server.shutdown().await;
    let began = Instant::now();
    let lost = first.keep().await;
    assert!(matches!(lost, LeaseError::Expired { .. }), "{lost}");
    assert!(began.elapsed() <= STOP, "{:?}", began.elapsed());
}

/// A process that is frozen in the middle of a renewal finds it done when it goes on: that makes old facts no newer.
#[tokio::test(start_paused = true)]
async fn a_holder_that_stood_still_begins_anew_wherever_it_was() {
    for polls in 0..40 {
        let server = server().await;
        let first = holder(&server, "a");
        first.acquire().await;
        let mut kept = Box::pin(first.keep());
        assert!(futures::poll!(&mut kept).is_pending());
        tokio::time::advance(RENEW).await;
        for _ in 0..polls {
            assert!(futures::poll!(&mut kept).is_pending());
            tokio::task::yield_now().await;
        }
        tokio::time::advance(2 * STOP).await;
        let lost = tokio::time::timeout(RETRY, kept).await;
        let lost = lost.unwrap_or_else(|_| panic!("it goes on after {polls} polls"));
        assert!(matches!(lost, LeaseError::Expired { .. }), "{lost}");
    }
}
