//! kube-rs, unmodified, in process and under driven time.

use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, ObjectReference};
use kube::api::{
    Api, ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams,
};
use kube::core::GroupVersionKind;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::runtime::finalizer::{self, Event as Finalizing};
use kube::runtime::{WatchStreamExt, reflector, watcher};
use kube::{Client, Resource, ResourceExt};

use super::*;

fn client(world: &World) -> Client {
    Client::new(world.server.service("controller"), "default")
}

fn dynamic(client: &Client) -> Api<DynamicObject> {
    let kind = GroupVersionKind::gvk("example.com", "v1", "Widget");
    Api::default_namespaced_with(
        client.clone(),
        &ApiResource::from_gvk_with_plural(&kind, "widgets"),
    )
}

fn typed(name: &str) -> ConfigMap {
    serde_json::from_value(config_map(name)).expect("a ConfigMap")
}

#[tokio::test(start_paused = true)]
async fn typed_and_dynamic_objects() {
    let world = World::with_widgets().await;
    let client = client(&world);
    let maps: Api<ConfigMap> = Api::default_namespaced(client.clone());
    let created = maps
        .create(&PostParams::default(), &typed("a"))
        .await
        .expect("created");
    let mut changed = created.clone();
    changed.data = Some([("x".to_owned(), "y".to_owned())].into());
    let replaced = maps
        .replace("a", &PostParams::default(), &changed)
        .await
        .expect("replaced");
    assert_ne!(replaced.resource_version(), created.resource_version());
    let stale = maps.replace("a", &PostParams::default(), &changed).await;
    assert!(matches!(stale, Err(kube::Error::Api(status)) if status.code == 409));
    let widgets = dynamic(&client);
    let params = PatchParams::apply("controller").force();
    let applied = widgets
        .patch("w", &params, &Patch::Apply(widget("w")))
        .await
        .expect("applied");
    assert_eq!(applied.data["spec"]["replicas"], 1);
    let status =
        json!({"apiVersion": "example.com/v1", "kind": "Widget", "status": {"state": "Good"}});
    let told = widgets
        .patch_status("w", &params, &Patch::Apply(status))
        .await
        .expect("status applied");
    assert_eq!(told.data["status"]["state"], "Good");
    let scale = widgets.get_scale("w").await.expect("a scale");
    assert_eq!(scale.spec.and_then(|spec| spec.replicas), Some(1));
    let list = widgets.list(&ListParams::default()).await.expect("listed");
    assert_eq!(list.items.len(), 1);
    let metadata = maps.get_metadata("a").await.expect("metadata");
    assert_eq!(metadata.name_any(), "a");
    let deleted = maps.delete("a", &DeleteParams::default()).await;
    assert!(deleted.expect("deleted").is_right());
    assert!(maps.get_opt("a").await.expect("answered").is_none());
}

#[tokio::test(start_paused = true)]
async fn watcher_and_reflector_follow() {
    for config in [
        watcher::Config::default(),
        watcher::Config::default().streaming_lists(),
        watcher::Config::default().page_size(1),
    ] {
        let world = World::new().await;
        let maps: Api<ConfigMap> = Api::default_namespaced(client(&world));
        for name in ["a", "b"] {
            maps.create(&PostParams::default(), &typed(name))
                .await
                .expect("created");
        }
        let (reader, writer) = reflector::store();
        let stream = reflector(writer, watcher(maps.clone(), config)).applied_objects();
        let mut stream = Box::pin(stream);
        let mut seen = Vec::new();
        for _ in 0..2 {
            let object = stream.try_next().await.expect("no error").expect("goes on");
            seen.push(object.name_any());
        }
        seen.sort();
        assert_eq!(seen, ["a", "b"]);
        maps.create(&PostParams::default(), &typed("c"))
            .await
            .expect("created");
        let object = stream.try_next().await.expect("no error").expect("goes on");
        assert_eq!(object.name_any(), "c");
        assert_eq!(reader.state().len(), 3);
    }
}

#[tokio::test(start_paused = true)]
async fn a_watcher_survives_a_lost_history() {
    let world = World::new().await;
    let maps: Api<ConfigMap> = Api::default_namespaced(client(&world));
    let created = maps
        .create(&PostParams::default(), &typed("a"))
        .await
        .expect("created");
    let mut stream = Box::pin(watcher(maps.clone(), watcher::Config::default()).applied_objects());
    let first = stream.next().await.expect("goes on").expect("no error");
    assert_eq!(first.name_any(), "a");
    drop(created);
    for n in 0..2_200 {
        let patch = json!({"data": {"n": n.to_string()}});
        maps.patch("a", &PatchParams::default(), &Patch::Merge(patch))
            .await
            .expect("patched");
    }
    let newest = loop {
        match stream.next().await.expect("goes on") {
            Ok(object) => {
                let n = object.data.and_then(|mut data| data.remove("n"));
                if n.as_deref() == Some("2199") {
                    break n;
                }
            }
            Err(watcher::Error::WatchError(status)) => assert_eq!(status.code, 410),
            Err(error) => panic!("{error}"),
        }
    };
    assert!(newest.is_some());
}

#[tokio::test(start_paused = true)]
async fn events_leases_and_finalizers() {
    let world = World::new().await;
    let client = client(&world);
    let maps: Api<ConfigMap> = Api::default_namespaced(client.clone());
    let object = maps
        .create(&PostParams::default(), &typed("a"))
        .await
        .expect("created");
    let recorder = Recorder::new(
        client.clone(),
        Reporter {
            controller: "example.com/controller".to_owned(),
            instance: Some("one".to_owned()),
        },
    );
    let event = Event {
        type_: EventType::Normal,
        reason: "Tested".to_owned(),
        note: Some("it works".to_owned()),
        action: "Testing".to_owned(),
        secondary: None,
    };
    let reference: ObjectReference = object.object_ref(&());
    recorder
        .publish(&event, &reference)
        .await
        .expect("published");
    recorder
        .publish(&event, &reference)
        .await
        .expect("published again, as a series");
    let events: Api<k8s_openapi::api::core::v1::Event> = Api::default_namespaced(client.clone());
    let found = events.list(&ListParams::default()).await.expect("listed");
    assert_eq!(found.items.len(), 1);
    assert_eq!(found.items[0].message.as_deref(), Some("it works"));

    let leases: Api<Lease> = Api::default_namespaced(client.clone());
    let lease = json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "leader"},
        "spec": {"holderIdentity": "me", "renewTime": "2026-01-01T00:00:00.000000Z"}});
    leases
        .patch("leader", &PatchParams::apply("me"), &Patch::Apply(lease))
        .await
        .expect("held");

    let step = |object: ConfigMap| {
        let maps = maps.clone();
        async move {
            finalizer::finalizer(
                &maps,
                "example.com/hold",
                Arc::new(object),
                |event| async move {
                    match event {
                        Finalizing::Apply(_) | Finalizing::Cleanup(_) => Ok::<_, std::io::Error>(
                            kube::runtime::controller::Action::await_change(),
                        ),
                    }
                },
            )
            .await
            .expect("finalizes");
        }
    };
    step(maps.get("a").await.expect("there")).await;
    assert_eq!(maps.get("a").await.expect("there").finalizers().len(), 1);
    maps.delete("a", &DeleteParams::default())
        .await
        .expect("marked");
    step(maps.get("a").await.expect("held")).await;
    assert!(maps.get_opt("a").await.expect("answered").is_none());
}
