//! Watches.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_watch_tells_each_change_once_and_in_order() {
    let world = World::new().await;
    world
        .post(CONFIG_MAPS, &config_map("old"))
        .await
        .expect(201);
    let list = world.get(CONFIG_MAPS).await.expect(200);
    let version = list["metadata"]["resourceVersion"].as_str().expect("one");
    let path = format!("{CONFIG_MAPS}?watch=true&resourceVersion={version}");
    let mut events = world.watch(&path).await;
    world.post(CONFIG_MAPS, &config_map("a")).await.expect(201);
    let patch = json!({"data": {"b": "2"}});
    world
        .merge(&format!("{CONFIG_MAPS}/a"), &patch)
        .await
        .expect(200);
    world.delete(&format!("{CONFIG_MAPS}/a")).await.expect(200);
    assert_eq!(events.brief().await, "ADDED a");
    assert_eq!(events.brief().await, "MODIFIED a");
    let deleted = events.next().await.expect("goes on");
    assert_eq!(deleted["type"], "DELETED");
    assert_eq!(deleted["object"]["data"]["b"], "2");
    let mut late = world.watch(&path).await;
    assert_eq!(late.brief().await, "ADDED a");
    let mut all = world
        .watch("/api/v1/configmaps?watch=true&resourceVersion=0")
        .await;
    assert_eq!(all.brief().await, "ADDED old");
}

#[tokio::test(start_paused = true)]
async fn what_enters_and_leaves_a_selection_is_added_and_deleted() {
    let world = World::new().await;
    let path = format!("{CONFIG_MAPS}?watch=true&labelSelector=on%3Dyes");
    let mut events = world.watch(&path).await;
    world.post(CONFIG_MAPS, &config_map("a")).await.expect(201);
    let one = format!("{CONFIG_MAPS}/a");
    let label = |value: &str| json!({"metadata": {"labels": {"on": value}}});
    world.merge(&one, &label("yes")).await.expect(200);
    let left = world.merge(&one, &label("no")).await.expect(200);
    assert_eq!(events.brief().await, "ADDED a");
    let event = events.next().await.expect("goes on");
    assert_eq!(event["type"], "DELETED");
    assert_eq!(event["object"]["metadata"]["labels"]["on"], "yes");
    assert_eq!(
        event["object"]["metadata"]["resourceVersion"],
        left["metadata"]["resourceVersion"]
    );
}

#[tokio::test(start_paused = true)]
async fn a_streamed_list_ends_with_a_marked_bookmark() {
    let world = World::new().await;
    world.post(CONFIG_MAPS, &config_map("a")).await.expect(201);
    let path = format!(
        "{CONFIG_MAPS}?watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
    );
    let mut events = world.watch(&path).await;
    assert_eq!(events.brief().await, "ADDED a");
    let mark = events.next().await.expect("goes on");
    assert_eq!(mark["type"], "BOOKMARK");
    assert_eq!(
        mark["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"],
        "true"
    );
    assert_eq!(mark["object"]["kind"], "ConfigMap");
    world.post(CONFIG_MAPS, &config_map("b")).await.expect(201);
    assert_eq!(events.brief().await, "ADDED b");
}

#[tokio::test(start_paused = true)]
async fn bookmarks_carry_the_version_of_other_resources_too() {
    let world = World::new().await;
    let path = format!("{CONFIG_MAPS}?watch=true&allowWatchBookmarks=true&resourceVersion=4");
    let mut events = world.watch(&path).await;
    let sa = json!({"kind": "ServiceAccount", "apiVersion": "v1", "metadata": {"name": "x"}});
    let other = world
        .post("/api/v1/namespaces/default/serviceaccounts", &sa)
        .await
        .expect(201);
    let mark = events.next().await.expect("time is driven");
    assert_eq!(mark["type"], "BOOKMARK");
    let version = |value: &Value| -> u64 {
        let text = value["metadata"]["resourceVersion"].as_str().expect("one");
        text.parse().expect("a number")
    };
    assert!(version(&mark["object"]) >= version(&other));
}

#[tokio::test(start_paused = true)]
async fn a_watch_from_a_forgotten_version_is_told_to_begin_again() {
    let world = World::new().await;
    world.post(CONFIG_MAPS, &config_map("a")).await.expect(201);
    let world = world.restart().await;
    for version in ["1", "999999"] {
        let path = format!("{CONFIG_MAPS}?watch=true&resourceVersion={version}");
        let response = world.send(Method::GET, &path, &[], String::new()).await;
        if response.status() == 410 {
            continue;
        }
        let mut events = world.watch(&path).await;
        let event = events.next().await.expect("an event");
        assert_eq!(event["type"], "ERROR");
        assert_eq!(event["object"]["code"], 410);
        assert_eq!(event["object"]["reason"], "Expired");
        assert!(events.next().await.is_none());
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_client_is_cut_with_410_and_costs_nothing_meanwhile() {
    let world = World::new().await;
    let mut events = world.watch(&format!("{CONFIG_MAPS}?watch=true")).await;
    world.post(CONFIG_MAPS, &config_map("a")).await.expect(201);
    let path = format!("{CONFIG_MAPS}/a");
    for n in 0..2_100 {
        let patch = json!({"data": {"n": n.to_string()}});
        world.merge(&path, &patch).await.expect(200);
    }
    let event = events.next().await.expect("an event");
    assert_eq!(event["object"]["code"], 410);
    assert!(events.next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_watch_ends_when_asked_and_when_the_server_stops() {
    let world = World::new().await;
    let begin = tokio::time::Instant::now();
    let mut events = world
        .watch(&format!("{CONFIG_MAPS}?watch=true&timeoutSeconds=7"))
        .await;
    assert!(events.next().await.is_none());
    assert_eq!(begin.elapsed().as_secs(), 7);
    let mut events = world.watch(&format!("{CONFIG_MAPS}?watch=true")).await;
    world.server.shutdown().await;
    assert!(events.next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn rows_of_a_watched_table_carry_columns_once() {
    let world = World::with_widgets().await;
    let path = format!("{WIDGETS}?watch=true");
    let accept = [(
        "accept",
        "application/json;as=Table;v=v1;g=meta.k8s.io,application/json",
    )];
    let response = world.send(Method::GET, &path, &accept, String::new()).await;
    let mut events = Events {
        body: response.into_body(),
        rest: Vec::new(),
    };
    world.post(WIDGETS, &widget("a")).await.expect(201);
    world.post(WIDGETS, &widget("b")).await.expect(201);
    let first = events.next().await.expect("goes on");
    assert_eq!(first["object"]["kind"], "Table");
    assert!(first["object"]["columnDefinitions"].is_array());
    let second = events.next().await.expect("goes on");
    assert!(second["object"]["columnDefinitions"].is_null());
    assert_eq!(second["object"]["rows"][0]["cells"][0], "b");
}
