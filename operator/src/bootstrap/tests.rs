//! The preparation of a control plane, on a real API server in memory.

use std::sync::Arc;

use apiserver::{Config, MemoryDisk, Server, Storage};
use kube::client::Body;

use super::*;
use crate::gate::Open;
use crate::install::Install;

async fn prepared() -> (Server, Client) {
    let server = Server::start(Config::new(Storage::Memory(MemoryDisk::default())))
        .await
        .expect("a server in memory starts");
    let client = api::client(server.service::<Body>("test"), Arc::new(Open));
    definitions(&client).await.expect("the kinds are taken");
    namespace(&client, "mooring-system")
        .await
        .expect("the namespace is made");
    (server, client)
}

fn wanted(http_port: u16) -> FirstHost {
    FirstHost {
        endpoint: "unix:///var/run/docker.sock".to_owned(),
        http_port,
    }
}

#[tokio::test(start_paused = true)]
async fn a_second_start_changes_nothing() {
    let (_server, client) = prepared().await;
    let all: Api<CustomResourceDefinition> = Api::all(client.clone());
    let versions = async || {
        let list = all.list(&ListParams::default()).await.expect("a list");
        let versions: Vec<Option<String>> = list
            .iter()
            .map(kube::ResourceExt::resource_version)
            .collect();
        versions
    };
    let before = versions().await;
    assert_eq!(before.len(), crds::all().len());
    definitions(&client).await.expect("the kinds are there");
    namespace(&client, "mooring-system")
        .await
        .expect("the namespace is there");
    assert_eq!(versions().await, before);
}

#[tokio::test(start_paused = true)]
async fn the_first_host_is_made_once_and_wins_over_flags_afterwards() {
    let (_server, client) = prepared().await;
    let made = first_host(&client, &wanted(80)).await.expect("made");
    assert_eq!(made, Hosted::Made);
    let hosts: Api<DockerHost> = Api::all(client.clone());
    let host = hosts.get(FIRST_HOST).await.expect("it is there");
    assert_eq!(host.spec.allowed_namespaces, ["*"]);
    assert_eq!(host.spec.network.cidr, "10.210.0.0/16");
    let same = first_host(&client, &wanted(80)).await.expect("kept");
    assert_eq!(
        same,
        Hosted::Kept {
            http_port: Some(80),
            difference: None
        }
    );
    let Hosted::Kept {
        http_port,
        difference: Some(difference),
    } = first_host(&client, &wanted(8080)).await.expect("kept")
    else {
        panic!("the flag differs");
    };
    assert_eq!(http_port, Some(80));
    assert!(
        difference.contains("--http-port 8080 (it has 80)"),
        "{difference}"
    );
}

#[tokio::test(start_paused = true)]
async fn an_install_is_made_once() {
    let (_server, client) = prepared().await;
    let read = Install::read(&client, "mooring-system")
        .await
        .expect("read");
    assert!(read.is_none());
    let first = Install::ensure(&client, "mooring-system", Install::random())
        .await
        .expect("made");
    let second = Install::ensure(&client, "mooring-system", Install::random())
        .await
        .expect("kept");
    assert_eq!(first.id, second.id);
    assert_eq!(first.key.reveal(), second.key.reveal());
}
