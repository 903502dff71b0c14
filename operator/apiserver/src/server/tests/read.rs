//! Get and list: selectors, pages, versions and shapes.

use super::*;

async fn names(world: &World, path: &str) -> Vec<String> {
    let list = world.get(path).await.expect(200);
    let items = list["items"].as_array().expect("items");
    items
        .iter()
        .map(|item| {
            item["metadata"]["name"]
                .as_str()
                .expect("a name")
                .to_owned()
        })
        .collect()
}

async fn world_with(names: &[&str]) -> World {
    let world = World::new().await;
    for name in names {
        let mut object = config_map(name);
        object["metadata"]["labels"] = json!({"name": name});
        world.post(CONFIG_MAPS, &object).await.expect(201);
    }
    world
}

#[tokio::test(start_paused = true)]
async fn selectors_select() {
    let world = world_with(&["a", "b", "c"]).await;
    let path = |query: &str| format!("{CONFIG_MAPS}?{query}");
    assert_eq!(names(&world, CONFIG_MAPS).await, ["a", "b", "c"]);
    assert_eq!(
        names(&world, &path("labelSelector=name+in+(a,c)")).await,
        ["a", "c"]
    );
    assert_eq!(
        names(&world, &path("fieldSelector=metadata.name%3Db")).await,
        ["b"]
    );
    assert_eq!(names(&world, "/api/v1/configmaps").await.len(), 3);
    world
        .get(&path("fieldSelector=data.a%3Db"))
        .await
        .refused(400);
    world.get(&path("labelSelector=((")).await.refused(400);
}

#[tokio::test(start_paused = true)]
async fn pages_are_of_one_moment() {
    let world = world_with(&["a", "b", "c", "d", "e"]).await;
    let first = world
        .get(&format!("{CONFIG_MAPS}?limit=2"))
        .await
        .expect(200);
    assert_eq!(first["metadata"]["remainingItemCount"], 3);
    world.delete(&format!("{CONFIG_MAPS}/d")).await.expect(200);
    world.post(CONFIG_MAPS, &config_map("cc")).await.expect(201);
    let token = first["metadata"]["continue"].as_str().expect("more");
    let rest = format!("{CONFIG_MAPS}?limit=10&continue={token}");
    assert_eq!(names(&world, &rest).await, ["c", "d", "e"]);
    let second = world.get(&rest).await.expect(200);
    assert_eq!(
        second["metadata"]["resourceVersion"],
        first["metadata"]["resourceVersion"]
    );
    assert!(second["metadata"]["continue"].is_null());
    world
        .get(&format!("{CONFIG_MAPS}?continue=nonsense"))
        .await
        .refused(400);
    let world = world.restart().await;
    let message = world.get(&rest).await.refused(410);
    assert!(
        message.contains("continue parameter is too old"),
        "{message}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_list_can_be_of_the_past_and_never_of_the_future() {
    let world = world_with(&["a", "b"]).await;
    let list = world.get(CONFIG_MAPS).await.expect(200);
    let version = list["metadata"]["resourceVersion"].as_str().expect("one");
    world.delete(&format!("{CONFIG_MAPS}/a")).await.expect(200);
    let at =
        |mode: &str| format!("{CONFIG_MAPS}?resourceVersion={version}&resourceVersionMatch={mode}");
    assert_eq!(names(&world, &at("Exact")).await, ["a", "b"]);
    assert_eq!(names(&world, &at("NotOlderThan")).await, ["b"]);
    let ahead = world
        .get(&format!("{CONFIG_MAPS}?resourceVersion=999999"))
        .await
        .expect(504);
    assert_eq!(
        ahead["details"]["causes"][0]["reason"],
        "ResourceVersionTooLarge"
    );
}

#[tokio::test(start_paused = true)]
async fn objects_come_as_tables_and_as_metadata() {
    let world = World::with_widgets().await;
    world.post(WIDGETS, &widget("a")).await.expect(201);
    let accept = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
    let table = world.get_as(WIDGETS, accept).await.expect(200);
    assert_eq!(table["kind"], "Table");
    let columns = table["columnDefinitions"].as_array().expect("columns");
    let columns: Vec<&str> = columns.iter().filter_map(|c| c["name"].as_str()).collect();
    assert_eq!(columns, ["Name", "Color"]);
    assert_eq!(table["rows"][0]["cells"], json!(["a", "green"]));
    let accept = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io";
    let list = world.get_as(WIDGETS, accept).await.expect(200);
    assert_eq!(list["kind"], "PartialObjectMetadataList");
    assert_eq!(list["items"][0]["kind"], "PartialObjectMetadata");
    assert!(list["items"][0]["spec"].is_null());
    let accept = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io";
    let one = world
        .get_as(&format!("{WIDGETS}/a"), accept)
        .await
        .expect(200);
    assert_eq!(one["metadata"]["name"], "a");
    assert!(one["spec"].is_null());
    let refused = world
        .get_as(WIDGETS, "application/vnd.kubernetes.protobuf")
        .await;
    assert!(refused.refused(406).contains("application/json"));
}

#[tokio::test(start_paused = true)]
async fn events_read_the_same_in_both_groups() {
    let world = World::new().await;
    let event = json!({
        "kind": "Event", "apiVersion": "events.k8s.io/v1", "metadata": {"name": "e"},
        "eventTime": "2026-01-01T00:00:00.000000Z", "reportingController": "example.com/c",
        "reportingInstance": "c-1", "action": "Acted", "reason": "Because", "type": "Normal",
        "regarding": {"kind": "Widget", "apiVersion": "example.com/v1", "name": "a", "namespace": "default"},
        "note": "hello"
    });
    let new = "/apis/events.k8s.io/v1/namespaces/default/events";
    let created = world.post(new, &event).await.expect(201);
    assert_eq!(created["note"], "hello");
    let old = world
        .get("/api/v1/namespaces/default/events/e")
        .await
        .expect(200);
    assert_eq!(old["apiVersion"], "v1");
    assert_eq!(old["message"], "hello");
    assert_eq!(old["involvedObject"]["name"], "a");
    let selected = world
        .get("/api/v1/namespaces/default/events?fieldSelector=involvedObject.name%3Da,involvedObject.kind%3DWidget")
        .await
        .expect(200);
    assert_eq!(selected["items"].as_array().map(Vec::len), Some(1));
    let again = world.get(&format!("{new}/e")).await.expect(200);
    assert_eq!(again, created);
}

#[tokio::test(start_paused = true)]
async fn everything_is_there_after_a_restart() {
    let world = World::with_widgets().await;
    let created = world.post(WIDGETS, &widget("a")).await.expect(201);
    let world = world.restart().await;
    assert_eq!(
        world.get(&format!("{WIDGETS}/a")).await.expect(200),
        created
    );
    let taken = Server::start(Config::new(Storage::Memory(world.disk.clone()))).await;
    let error = taken.err().expect("the disk is in use").to_string();
    assert!(error.contains("in use by another process"), "{error}");
}
