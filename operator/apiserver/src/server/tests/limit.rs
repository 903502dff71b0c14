//! What a client cannot do to the server.

use super::*;
use crate::limits::{BODY_BYTES_MAX, WATCHES_PER_IDENTITY_MAX};
use crate::store::OBJECT_BYTES_MAX;

#[tokio::test(start_paused = true)]
async fn requests_and_objects_have_a_largest_size() {
    let world = World::new().await;
    let mut object = config_map("a");
    object["metadata"]["annotations"] = json!({"x": "y".repeat(200_000)});
    world.post(CONFIG_MAPS, &object).await.expect(201);
    let mut large = config_map("b");
    large["data"] = json!({"x": "y".repeat(OBJECT_BYTES_MAX - 100)});
    let refused = world.post(CONFIG_MAPS, &large).await;
    assert!(matches!(refused.code, 413 | 422), "{}", refused.code);
    let huge = "x".repeat(BODY_BYTES_MAX + 1);
    let refused = world.call(Method::POST, CONFIG_MAPS, JSON, huge).await;
    assert!(refused.refused(413).contains("too large"));
}

#[tokio::test(start_paused = true)]
async fn bodies_that_are_no_object_are_refused() {
    let world = World::new().await;
    for body in [
        "",
        "{",
        "[]",
        "null",
        "1",
        "\"x\"",
        "{\"metadata\":[]}",
        "\u{0}",
    ] {
        let answer = world
            .call(Method::POST, CONFIG_MAPS, JSON, body.to_owned())
            .await;
        assert!(matches!(answer.code, 400 | 422), "{body}: {}", answer.code);
    }
    let deep = format!("{{\"data\":{}1{}}}", "[".repeat(120), "]".repeat(120));
    world
        .call(Method::POST, CONFIG_MAPS, JSON, deep)
        .await
        .refused(400);
    let media = [("content-type", "application/vnd.kubernetes.protobuf")];
    let answer = world
        .call(Method::POST, CONFIG_MAPS, &media, "k8s".to_owned())
        .await;
    assert!(answer.refused(415).contains("application/json"));
}

#[tokio::test(start_paused = true)]
async fn a_caller_has_so_many_watches() {
    let world = World::new().await;
    let path = format!("{CONFIG_MAPS}?watch=true");
    let mut held = Vec::new();
    for _ in 0..WATCHES_PER_IDENTITY_MAX {
        held.push(world.watch(&path).await);
    }
    let refused = world.get(&path).await;
    assert!(refused.refused(429).contains("too many watches"));
    held.clear();
    world.watch(&path).await;
}

#[tokio::test(start_paused = true)]
async fn verbs_and_scopes_that_do_not_exist_are_refused() {
    let world = World::with_widgets().await;
    world
        .post("/api/v1/configmaps", &config_map("a"))
        .await
        .refused(405);
    world
        .post(&format!("{CONFIG_MAPS}/a"), &config_map("a"))
        .await
        .refused(405);
    world.get("/api/v1/configmaps/a").await.refused(404);
    world
        .get("/api/v1/namespaces/default/namespaces")
        .await
        .refused(404);
    world.get("/api/v1/pods").await.refused(404);
    world
        .put(&format!("{CONFIG_MAPS}/a/status"), &config_map("a"))
        .await
        .refused(404);
    let mut other = config_map("a");
    other["metadata"]["namespace"] = json!("kube-system");
    world.post(CONFIG_MAPS, &other).await.refused(400);
}
