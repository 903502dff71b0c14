//! What goes by itself: dependents, the content of namespaces, old Events.

use super::*;

async fn owner(world: &World, name: &str) -> Value {
    world.post(CONFIG_MAPS, &config_map(name)).await.expect(201)
}

fn reference(owner: &Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "ConfigMap", "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"], "blockOwnerDeletion": true
    })
}

async fn dependent(world: &World, name: &str, owners: &[&Value]) -> Value {
    let mut object = config_map(name);
    let references: Vec<Value> = owners.iter().map(|owner| reference(owner)).collect();
    object["metadata"]["ownerReferences"] = json!(references);
    world.post(CONFIG_MAPS, &object).await.expect(201)
}

fn path(name: &str) -> String {
    format!("{CONFIG_MAPS}/{name}")
}

#[tokio::test(start_paused = true)]
async fn dependents_follow_their_owner() {
    let world = World::new().await;
    let top = owner(&world, "top").await;
    let middle = dependent(&world, "middle", &[&top]).await;
    dependent(&world, "leaf", &[&middle]).await;
    world.delete(&path("top")).await.expect(200);
    world.until_gone(&path("middle")).await;
    world.until_gone(&path("leaf")).await;
}

#[tokio::test(start_paused = true)]
async fn a_dependent_of_two_stays_with_the_other_and_forgets_the_first() {
    let world = World::new().await;
    let (one, two) = (owner(&world, "one").await, owner(&world, "two").await);
    dependent(&world, "both", &[&one, &two]).await;
    world.delete(&path("one")).await.expect(200);
    let left = world
        .until(&path("both"), |answer| {
            answer.body["metadata"]["ownerReferences"]
                .as_array()
                .is_some_and(|list| list.len() == 1)
        })
        .await;
    assert_eq!(left.body["metadata"]["ownerReferences"][0]["name"], "two");
    world.delete(&path("two")).await.expect(200);
    world.until_gone(&path("both")).await;
}

#[tokio::test(start_paused = true)]
async fn an_owner_deleted_in_the_foreground_goes_last() {
    let world = World::new().await;
    let top = owner(&world, "top").await;
    let mut held = config_map("held");
    held["metadata"]["ownerReferences"] = json!([reference(&top)]);
    held["metadata"]["finalizers"] = json!(["example.com/hold"]);
    world.post(CONFIG_MAPS, &held).await.expect(201);
    let going = world
        .delete(&format!("{}?propagationPolicy=Foreground", path("top")))
        .await
        .expect(200);
    assert_eq!(
        going["metadata"]["finalizers"],
        json!(["foregroundDeletion"])
    );
    world
        .until(&path("held"), |answer| {
            answer.body["metadata"]["deletionTimestamp"].is_string()
        })
        .await;
    world.get(&path("top")).await.expect(200);
    let freed = json!({"metadata": {"finalizers": null}});
    world.merge(&path("held"), &freed).await.expect(200);
    world.until_gone(&path("top")).await;
}

#[tokio::test(start_paused = true)]
async fn orphans_stay_and_forget() {
    let world = World::new().await;
    let top = owner(&world, "top").await;
    dependent(&world, "child", &[&top]).await;
    world
        .delete(&format!("{}?propagationPolicy=Orphan", path("top")))
        .await
        .expect(200);
    world.until_gone(&path("top")).await;
    let child = world.get(&path("child")).await.expect(200);
    assert!(child["metadata"]["ownerReferences"].is_null());
}

#[tokio::test(start_paused = true)]
async fn an_owner_of_the_same_name_is_not_the_owner() {
    let world = World::new().await;
    let first = owner(&world, "top").await;
    world.delete(&path("top")).await.expect(200);
    owner(&world, "top").await;
    dependent(&world, "late", &[&first]).await;
    world.until_gone(&path("late")).await;
}

#[tokio::test(start_paused = true)]
async fn an_owner_of_an_unknown_kind_is_not_known_to_be_absent() {
    let world = World::new().await;
    let mut object = config_map("kept");
    object["metadata"]["ownerReferences"] =
        json!([{"apiVersion": "apps/v1", "kind": "Deployment", "name": "x", "uid": "u"}]);
    world.post(CONFIG_MAPS, &object).await.expect(201);
    let gone = owner(&world, "gone").await;
    dependent(&world, "marker", &[&gone]).await;
    world.delete(&path("gone")).await.expect(200);
    world.until_gone(&path("marker")).await;
    world.get(&path("kept")).await.expect(200);
}

#[tokio::test(start_paused = true)]
async fn garbage_is_found_after_a_restart() {
    let world = World::new().await;
    let top = owner(&world, "top").await;
    let mut held = config_map("held");
    held["metadata"]["ownerReferences"] = json!([reference(&top)]);
    world.post(CONFIG_MAPS, &held).await.expect(201);
    let hub = Arc::clone(&world.server.hub);
    let disk = world.disk.clone();
    // The owner goes in the very moment in which the server stops.
    drop(hub);
    world.delete(&path("top")).await.expect(200);
    world.server.shutdown().await;
    let world = World::on(disk).await;
    world.until_gone(&path("held")).await;
}

#[tokio::test(start_paused = true)]
async fn a_namespace_goes_with_its_content() {
    let world = World::with_widgets().await;
    let namespace = json!({"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": "n"}});
    let created = world
        .post("/api/v1/namespaces", &namespace)
        .await
        .expect(201);
    assert_eq!(created["status"]["phase"], "Active");
    assert_eq!(created["spec"]["finalizers"], json!(["kubernetes"]));
    assert_eq!(
        created["metadata"]["labels"]["kubernetes.io/metadata.name"],
        "n"
    );
    let widgets = "/apis/example.com/v1/namespaces/n/widgets";
    let mut held = widget("a");
    held["metadata"]["finalizers"] = json!(["example.com/hold"]);
    world.post(widgets, &held).await.expect(201);
    world
        .post("/api/v1/namespaces/n/configmaps", &config_map("c"))
        .await
        .expect(201);
    let going = world.delete("/api/v1/namespaces/n").await.expect(200);
    assert_eq!(going["status"]["phase"], "Terminating");
    let refused = world
        .post("/api/v1/namespaces/n/configmaps", &config_map("d"))
        .await
        .expect(403);
    assert_eq!(
        refused["details"]["causes"][0]["reason"],
        "NamespaceTerminating"
    );
    world
        .until("/api/v1/namespaces/n", |answer| {
            let conditions = answer.body["status"]["conditions"].as_array();
            conditions.is_some_and(|all| {
                all.iter()
                    .any(|c| c["type"] == "NamespaceFinalizersRemaining" && c["status"] == "True")
            })
        })
        .await;
    world.until_gone("/api/v1/namespaces/n/configmaps/c").await;
    let freed = json!({"metadata": {"finalizers": null}});
    world
        .merge(&format!("{widgets}/a"), &freed)
        .await
        .expect(200);
    world.until_gone("/api/v1/namespaces/n").await;
    let missing = world
        .post("/api/v1/namespaces/n/configmaps", &config_map("d"))
        .await;
    assert_eq!(missing.refused(404), "namespaces \"n\" not found");
}

#[tokio::test(start_paused = true)]
async fn the_initial_namespaces_are_there_to_stay() {
    let world = World::new().await;
    for name in ["default", "kube-system", "kube-public", "kube-node-lease"] {
        world
            .get(&format!("/api/v1/namespaces/{name}"))
            .await
            .expect(200);
        let account = format!("/api/v1/namespaces/{name}/serviceaccounts/default");
        world.until(&account, |answer| answer.code == 200).await;
    }
    let message = world
        .delete("/api/v1/namespaces/default")
        .await
        .refused(403);
    assert!(
        message.contains("this namespace may not be deleted"),
        "{message}"
    );
}

#[tokio::test(start_paused = true)]
async fn events_are_kept_an_hour() {
    let start = Timestamp::now();
    let begin = tokio::time::Instant::now();
    let server = Server::start(Config {
        // The clock of the server is the time that the test drives.
        clock: Arc::new(move || {
            start
                .checked_add(begin.elapsed())
                .expect("a time in this century")
        }),
        ..Config::new(Storage::Memory(MemoryDisk::new()))
    })
    .await
    .expect("starts");
    let world = World {
        disk: MemoryDisk::new(),
        audit: Arc::default(),
        server,
    };
    let event = json!({
        "kind": "Event", "apiVersion": "v1", "metadata": {"name": "e"}, "reason": "R", "type": "Normal",
        "involvedObject": {"kind": "ConfigMap", "namespace": "default", "name": "x"}, "message": "m",
        "firstTimestamp": start.to_string(), "lastTimestamp": start.to_string()
    });
    let path = "/api/v1/namespaces/default/events";
    world.post(path, &event).await.expect(201);
    let one = format!("{path}/e");
    tokio::time::sleep(Duration::from_secs(3_500)).await;
    world.get(&one).await.expect(200);
    tokio::time::sleep(Duration::from_secs(200)).await;
    world.get(&one).await.refused(404);
}
