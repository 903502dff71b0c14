//! Server-side apply through the server: ownership, conflicts, subresources.

use super::*;

#[tokio::test(start_paused = true)]
async fn an_apply_creates_changes_and_conflicts() {
    let world = World::with_widgets().await;
    let path = format!("{WIDGETS}/a");
    let created = world.apply(&path, "one", &widget("a")).await.expect(201);
    assert_eq!(created["metadata"]["managedFields"][0]["manager"], "one");
    assert_eq!(
        created["metadata"]["managedFields"][0]["operation"],
        "Apply"
    );
    let mut blue = widget("a");
    blue["spec"]["color"] = json!("blue");
    let refused = world.apply(&path, "two", &blue).await.expect(409);
    assert_eq!(
        refused["message"],
        "Apply failed with 1 conflict: conflict with \"one\": .spec.color"
    );
    assert_eq!(
        refused["details"]["causes"][0],
        json!({"reason": "FieldManagerConflict", "message": "conflict with \"one\"", "field": ".spec.color"})
    );
    let forced = world
        .patch(
            &format!("{path}?fieldManager=two&force=true"),
            "application/apply-patch+yaml",
            &blue,
        )
        .await
        .expect(200);
    assert_eq!(forced["spec"]["color"], "blue");
}

#[tokio::test(start_paused = true)]
async fn fields_that_are_applied_no_more_go() {
    let world = World::with_widgets().await;
    let path = format!("{WIDGETS}/a");
    let mut config = widget("a");
    config["spec"]["parts"] = json!([{"name": "x"}, {"name": "y", "size": 7}]);
    world.apply(&path, "one", &config).await.expect(201);
    let mut other =
        json!({"kind": "Widget", "apiVersion": "example.com/v1", "metadata": {"name": "a"}});
    other["spec"] = json!({"parts": [{"name": "z"}]});
    let merged = world.apply(&path, "two", &other).await.expect(200);
    assert_eq!(merged["spec"]["parts"].as_array().map(Vec::len), Some(3));
    config["spec"]["parts"] = json!([{"name": "x"}]);
    let pruned = world.apply(&path, "one", &config).await.expect(200);
    assert_eq!(
        pruned["spec"]["parts"],
        json!([{"name": "x", "size": 3}, {"name": "z", "size": 3}])
    );
}

#[tokio::test(start_paused = true)]
async fn status_is_applied_by_its_own_manager() {
    let world = World::with_widgets().await;
    world.post(WIDGETS, &widget("a")).await.expect(201);
    let status = json!({"kind": "Widget", "apiVersion": "example.com/v1", "metadata": {"name": "a"}, "status": {"state": "Good"}});
    let path = format!("{WIDGETS}/a/status");
    let told = world.apply(&path, "controller", &status).await.expect(200);
    assert_eq!(told["status"]["state"], "Good");
    let fields = told["metadata"]["managedFields"].as_array().expect("some");
    let own = fields
        .iter()
        .find(|entry| entry["manager"] == "controller")
        .expect("recorded");
    assert_eq!(own["subresource"], "status");
    let again = world.apply(&path, "controller", &status).await.expect(200);
    assert_eq!(again, told);
    world
        .apply(&format!("{WIDGETS}/none/status"), "controller", &status)
        .await
        .refused(404);
}

#[tokio::test(start_paused = true)]
async fn an_apply_needs_a_manager_and_its_own_version() {
    let world = World::with_widgets().await;
    let path = format!("{WIDGETS}/a");
    let unnamed = world
        .patch(&path, "application/apply-patch+yaml", &widget("a"))
        .await;
    assert!(unnamed.refused(422).contains("is required for apply patch"));
    let mut other = widget("a");
    other["apiVersion"] = json!("example.com/v2");
    world.apply(&path, "one", &other).await.refused(400);
    let mut unknown = widget("a");
    unknown["spec"]["colour"] = json!("x");
    let message = world.apply(&path, "one", &unknown).await.refused(400);
    assert!(
        message.contains("field not declared in schema"),
        "{message}"
    );
    let forced = world.merge(&format!("{path}?force=true"), &json!({})).await;
    forced.refused(422);
}

#[tokio::test(start_paused = true)]
async fn updates_are_tracked_by_user_agent() {
    let world = World::new().await;
    let headers = [
        ("content-type", "application/json"),
        ("user-agent", "kubectl/v1.33 (linux)"),
    ];
    let body = config_map("a").to_string();
    let created = world.call(Method::POST, CONFIG_MAPS, &headers, body).await;
    let created = created.expect(201);
    let entry = &created["metadata"]["managedFields"][0];
    assert_eq!(entry["manager"], "kubectl");
    assert_eq!(entry["operation"], "Update");
}
