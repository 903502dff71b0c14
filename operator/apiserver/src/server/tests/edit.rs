//! Create, replace, patch and delete.

use super::*;

#[tokio::test(start_paused = true)]
async fn an_object_is_created_read_replaced_and_deleted() {
    let world = World::new().await;
    let created = world.post(CONFIG_MAPS, &config_map("a")).await.expect(201);
    assert_eq!(created["metadata"]["namespace"], "default");
    assert!(created["metadata"]["uid"].is_string());
    assert!(created["metadata"]["generation"].is_null());
    let path = format!("{CONFIG_MAPS}/a");
    assert_eq!(world.get(&path).await.expect(200), created);
    let again = world.post(CONFIG_MAPS, &config_map("a")).await;
    assert_eq!(again.refused(409), "configmaps \"a\" already exists");

    let mut changed = created.clone();
    changed["data"]["a"] = json!("2");
    let replaced = world.put(&path, &changed).await.expect(200);
    assert_ne!(
        replaced["metadata"]["resourceVersion"],
        created["metadata"]["resourceVersion"]
    );
    let stale = world.put(&path, &changed).await.refused(409);
    assert_eq!(
        stale,
        "Operation cannot be fulfilled on configmaps \"a\": the object has been modified; please apply your changes to the latest version and try again"
    );
    let gone = world.delete(&path).await.expect(200);
    assert_eq!(gone["status"], "Success");
    assert_eq!(gone["details"]["uid"], created["metadata"]["uid"]);
    assert_eq!(
        world.get(&path).await.refused(404),
        "configmaps \"a\" not found"
    );
}

#[tokio::test(start_paused = true)]
async fn a_write_that_changes_nothing_commits_nothing() {
    let world = World::with_widgets().await;
    let created = world.post(WIDGETS, &widget("a")).await.expect(201);
    let path = format!("{WIDGETS}/a");
    let version = &created["metadata"]["resourceVersion"];
    let same = world.put(&path, &created).await.expect(200);
    assert_eq!(same["metadata"]["resourceVersion"], *version);
    let patch = json!({"spec": {"color": "green"}});
    let same = world.merge(&path, &patch).await.expect(200);
    assert_eq!(same["metadata"]["resourceVersion"], *version);
    let config = widget("a");
    let applied = world.apply(&path, "me", &config).await.expect(200);
    tokio::time::advance(Duration::from_secs(90)).await;
    let again = world.apply(&path, "me", &config).await.expect(200);
    assert_eq!(applied, again);
    let entries = world.audit.lock().expect("no panic");
    let changes: Vec<(&str, bool)> = entries
        .iter()
        .filter(|entry| entry.resource == "widgets")
        .map(|entry| (entry.verb.as_str(), entry.changed))
        .collect();
    assert_eq!(
        changes,
        [
            ("create", true),
            ("update", false),
            ("patch", false),
            ("apply", true),
            ("apply", false)
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn names_are_generated() {
    let world = World::new().await;
    let mut object = config_map("");
    object["metadata"] = json!({"generateName": "job-"});
    let first = world.post(CONFIG_MAPS, &object).await.expect(201);
    let second = world.post(CONFIG_MAPS, &object).await.expect(201);
    let name = first["metadata"]["name"].as_str().expect("a name");
    assert!(name.starts_with("job-") && name.len() == 9, "{name}");
    assert_ne!(first["metadata"]["name"], second["metadata"]["name"]);
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_answers_and_leaves_no_trace() {
    let world = World::with_widgets().await;
    let before = world.server.hub.store.version();
    let path = format!("{WIDGETS}?dryRun=All");
    let dry = world.post(&path, &widget("a")).await.expect(201);
    assert_eq!(dry["spec"]["replicas"], 1);
    world.get(&format!("{WIDGETS}/a")).await.refused(404);
    world.post(WIDGETS, &widget("a")).await.expect(201);
    let path = format!("{WIDGETS}/a?dryRun=All");
    let patch = json!({"spec": {"replicas": 4}});
    let dry = world.merge(&path, &patch).await.expect(200);
    assert_eq!(dry["metadata"]["generation"], 2);
    world.delete(&path).await.expect(200);
    let found = world.get(&format!("{WIDGETS}/a")).await.expect(200);
    assert_eq!(found["spec"]["replicas"], 1);
    assert_eq!(world.server.hub.store.version(), before + 1);
    let bad = world
        .post(&format!("{WIDGETS}?dryRun=Some"), &widget("b"))
        .await;
    bad.refused(400);
}

#[tokio::test(start_paused = true)]
async fn unknown_and_duplicate_fields_are_dropped_told_or_refused() {
    let world = World::with_widgets().await;
    let body = r#"{"kind":"Widget","apiVersion":"example.com/v1","metadata":{"name":"a"},"spec":{"color":"red","color":"green","colour":"x"}}"#;
    let send = |mode: &str| {
        let path = format!("{WIDGETS}?fieldValidation={mode}&dryRun=All");
        world.call(
            Method::POST,
            Box::leak(path.into_boxed_str()),
            JSON,
            body.to_owned(),
        )
    };
    let message = send("Strict").await.refused(400);
    assert_eq!(
        message,
        "Widget in version \"v1\" cannot be handled as a Widget: strict decoding error: unknown field \"spec.colour\", duplicate field \"spec.color\""
    );
    let warned = send("Warn").await;
    assert_eq!(
        warned.warnings,
        [
            r#"299 - "unknown field \"spec.colour\"""#,
            r#"299 - "duplicate field \"spec.color\"""#
        ]
    );
    let object = warned.expect(201);
    assert_eq!(object["spec"], json!({"color": "green", "replicas": 1}));
    assert!(send("Ignore").await.warnings.is_empty());
    send("Sometimes").await.refused(400);
}

#[tokio::test(start_paused = true)]
async fn a_custom_resource_is_judged_by_its_schema_and_rules() {
    let world = World::with_widgets().await;
    let mut pink = widget("a");
    pink["spec"]["color"] = json!("pink");
    let message = world.post(WIDGETS, &pink).await.refused(422);
    assert_eq!(
        message,
        "Widget.example.com \"a\" is invalid: [spec.color: Unsupported value: \"pink\": supported values: \"red\", \"green\", \"blue\", <nil>: Invalid value: null: some validation rules were not checked because the object was invalid; correct the existing errors to complete validation]"
    );
    let mut many = widget("a");
    many["spec"]["replicas"] = json!(11);
    let message = world.post(WIDGETS, &many).await.refused(422);
    assert!(
        message.contains("only red widgets may be many"),
        "{message}"
    );
    let mut frozen = widget("a");
    frozen["spec"]["frozen"] = json!("x");
    world.post(WIDGETS, &frozen).await.expect(201);
    let patch = json!({"spec": {"frozen": "y"}});
    let message = world
        .merge(&format!("{WIDGETS}/a"), &patch)
        .await
        .refused(422);
    assert!(message.contains("frozen is immutable"), "{message}");
}

#[tokio::test(start_paused = true)]
async fn status_and_spec_are_written_apart_and_generation_counts_the_spec() {
    let world = World::with_widgets().await;
    let mut object = widget("a");
    object["status"] = json!({"state": "Forged"});
    let created = world.post(WIDGETS, &object).await.expect(201);
    assert!(created["status"].is_null());
    assert_eq!(created["metadata"]["generation"], 1);
    let path = format!("{WIDGETS}/a");
    let status = json!({"status": {"state": "Good"}, "spec": {"color": "red"}, "metadata": {"labels": {"x": "y"}}});
    let told = world
        .merge(&format!("{path}/status"), &status)
        .await
        .expect(200);
    assert_eq!(told["status"]["state"], "Good");
    assert_eq!(told["spec"]["color"], "green");
    assert!(told["metadata"]["labels"].is_null());
    assert_eq!(told["metadata"]["generation"], 1);
    let patch = json!({"status": {"state": "Bad"}, "metadata": {"labels": {"x": "y"}}});
    let labelled = world.merge(&path, &patch).await.expect(200);
    assert_eq!(labelled["status"]["state"], "Good");
    assert_eq!(labelled["metadata"]["generation"], 1);
    let patch = json!({"spec": {"replicas": 2}});
    let changed = world.merge(&path, &patch).await.expect(200);
    assert_eq!(changed["metadata"]["generation"], 2);
    world
        .get(&format!("{CONFIG_MAPS}/a/status"))
        .await
        .refused(404);
}

#[tokio::test(start_paused = true)]
async fn what_the_server_owns_cannot_be_forged() {
    let world = World::with_widgets().await;
    let mut object = widget("a");
    object["metadata"] = json!({
        "name": "a", "uid": "forged", "generation": 7, "creationTimestamp": "2000-01-01T00:00:00Z",
        "deletionTimestamp": "2000-01-01T00:00:00Z", "selfLink": "/x"
    });
    let created = world.post(WIDGETS, &object).await.expect(201);
    assert_ne!(created["metadata"]["uid"], "forged");
    assert_eq!(created["metadata"]["generation"], 1);
    assert!(created["metadata"]["deletionTimestamp"].is_null());
    let path = format!("{WIDGETS}/a");
    let patch = json!({"metadata": {"generation": 9, "creationTimestamp": "2000-01-01T00:00:00Z"}});
    let same = world.merge(&path, &patch).await.expect(200);
    assert_eq!(same, created);
    let patch = json!({"metadata": {"uid": "forged"}});
    world.merge(&path, &patch).await.refused(409);
    let patch = json!({"metadata": {"name": "b"}});
    world.merge(&path, &patch).await.refused(400);
    let mut versioned = widget("b");
    versioned["metadata"]["resourceVersion"] = json!("1");
    world.post(WIDGETS, &versioned).await.refused(400);
    let mut unversioned = created;
    unversioned["metadata"]
        .as_object_mut()
        .expect("metadata")
        .remove("resourceVersion");
    let message = world.put(&path, &unversioned).await.refused(422);
    assert!(
        message.contains("must be specified for an update"),
        "{message}"
    );
}

#[tokio::test(start_paused = true)]
async fn every_kind_of_patch() {
    let world = World::new().await;
    world.post(CONFIG_MAPS, &config_map("a")).await.expect(201);
    let path = format!("{CONFIG_MAPS}/a");
    let json_patch = json!([{"op": "add", "path": "/data/b", "value": "2"}]);
    let patched = world
        .patch(&path, "application/json-patch+json", &json_patch)
        .await
        .expect(200);
    assert_eq!(patched["data"], json!({"a": "1", "b": "2"}));
    let failing = json!([{"op": "test", "path": "/data/b", "value": "3"}]);
    world
        .patch(&path, "application/json-patch+json", &failing)
        .await
        .refused(422);
    let patched = world
        .merge(&path, &json!({"data": {"a": null}}))
        .await
        .expect(200);
    assert_eq!(patched["data"], json!({"b": "2"}));
    let strategic = json!({"data": {"c": "3"}});
    let patched = world
        .patch(&path, "application/strategic-merge-patch+json", &strategic)
        .await
        .expect(200);
    assert_eq!(patched["data"], json!({"b": "2", "c": "3"}));
    world
        .patch(&path, "application/apply-patch+cbor", &strategic)
        .await
        .refused(415);
    world
        .merge(&format!("{CONFIG_MAPS}/none"), &strategic)
        .await
        .refused(404);
}

#[tokio::test(start_paused = true)]
async fn custom_resources_take_no_strategic_merge() {
    let world = World::with_widgets().await;
    world.post(WIDGETS, &widget("a")).await.expect(201);
    let message = world
        .patch(
            &format!("{WIDGETS}/a"),
            "application/strategic-merge-patch+json",
            &json!({}),
        )
        .await
        .refused(415);
    assert!(
        message.contains("application/merge-patch+json"),
        "{message}"
    );
}

#[tokio::test(start_paused = true)]
async fn concurrent_patches_lose_nothing() {
    let world = World::new().await;
    world.post(CONFIG_MAPS, &config_map("a")).await.expect(201);
    let path = format!("{CONFIG_MAPS}/a");
    let patches = (0..30).map(|n| {
        let (world, path) = (&world, &path);
        async move {
            let patch = json!({"data": {format!("k{n}"): "v"}});
            world.merge(path, &patch).await.expect(200);
        }
    });
    futures::future::join_all(patches).await;
    let found = world.get(&path).await.expect(200);
    assert_eq!(found["data"].as_object().expect("data").len(), 31);
}

#[tokio::test(start_paused = true)]
async fn scale_reads_and_writes_replicas_alone() {
    let world = World::with_widgets().await;
    world.post(WIDGETS, &widget("a")).await.expect(201);
    let path = format!("{WIDGETS}/a/scale");
    let scale = world.get(&path).await.expect(200);
    assert_eq!(scale["kind"], "Scale");
    assert_eq!(scale["spec"]["replicas"], 1);
    let accept = "application/json;as=Table;v=v1;g=meta.k8s.io";
    let table = world.get_as(&path, accept).await.expect(200);
    assert_eq!(table["rows"][0]["cells"], json!(["a", 1, 0, "0s"]));
    let mut wanted = scale.clone();
    wanted["spec"]["replicas"] = json!(5);
    let scaled = world.put(&path, &wanted).await.expect(200);
    assert_eq!(scaled["spec"]["replicas"], 5);
    world.put(&path, &wanted).await.refused(409);
    let patch = json!({"spec": {"replicas": 6}});
    world.merge(&path, &patch).await.expect(200);
    let found = world.get(&format!("{WIDGETS}/a")).await.expect(200);
    assert_eq!(found["spec"], json!({"color": "green", "replicas": 6}));
    assert_eq!(found["metadata"]["generation"], 3);
    let patch = json!({"spec": {"replicas": -1}});
    world.merge(&path, &patch).await.refused(422);
    let patch = json!({"spec": {"replicas": 101}});
    world.merge(&path, &patch).await.refused(422);
}

#[tokio::test(start_paused = true)]
async fn deletion_waits_for_finalizers_and_keeps_preconditions() {
    let world = World::with_widgets().await;
    let mut held = widget("a");
    held["metadata"]["finalizers"] = json!(["example.com/hold"]);
    let created = world.post(WIDGETS, &held).await.expect(201);
    let path = format!("{WIDGETS}/a");
    let wrong = json!({"preconditions": {"uid": "other"}}).to_string();
    world
        .call(Method::DELETE, &path, JSON, wrong)
        .await
        .refused(409);
    let marked = world.delete(&path).await.expect(200);
    assert!(marked["metadata"]["deletionTimestamp"].is_string());
    assert_eq!(marked["metadata"]["generation"], 2);
    let again = world.delete(&path).await.expect(200);
    assert_eq!(again, marked, "marked once");
    let more = json!({"metadata": {"finalizers": ["example.com/hold", "example.com/more"]}});
    let message = world.merge(&path, &more).await.refused(422);
    assert!(
        message.contains("no new finalizers can be added"),
        "{message}"
    );
    let freed = json!({"metadata": {"finalizers": null}});
    world.merge(&path, &freed).await.expect(200);
    world.get(&path).await.refused(404);
    let second = world.post(WIDGETS, &widget("a")).await.expect(201);
    assert_ne!(second["metadata"]["uid"], created["metadata"]["uid"]);
}

#[tokio::test(start_paused = true)]
async fn a_collection_is_deleted_by_selector() {
    let world = World::new().await;
    for (name, tier) in [("a", "x"), ("b", "x"), ("c", "y")] {
        let mut object = config_map(name);
        object["metadata"]["labels"] = json!({"tier": tier});
        world.post(CONFIG_MAPS, &object).await.expect(201);
    }
    let path = format!("{CONFIG_MAPS}?labelSelector=tier%3Dx");
    let removed = world.delete(&path).await.expect(200);
    assert_eq!(removed["kind"], "ConfigMapList");
    assert_eq!(removed["items"].as_array().map(Vec::len), Some(2));
    let left = world.get(CONFIG_MAPS).await.expect(200);
    assert_eq!(left["items"][0]["metadata"]["name"], "c");
    assert_eq!(left["items"].as_array().map(Vec::len), Some(1));
}

#[tokio::test(start_paused = true)]
async fn leases_and_events_are_created_by_a_replace() {
    let world = World::new().await;
    let path = "/apis/coordination.k8s.io/v1/namespaces/default/leases/l";
    let lease = json!({"kind": "Lease", "apiVersion": "coordination.k8s.io/v1", "metadata": {"name": "l"},
        "spec": {"holderIdentity": "me", "leaseDurationSeconds": 15}});
    let created = world.put(path, &lease).await.expect(201);
    let renewed = world.put(path, &created).await.expect(200);
    assert_eq!(renewed, created);
    let body = config_map("none");
    world
        .put(&format!("{CONFIG_MAPS}/none"), &body)
        .await
        .refused(404);
}

#[tokio::test(start_paused = true)]
async fn yaml_is_taken_and_given() {
    let world = World::new().await;
    let yaml =
        "kind: ConfigMap\napiVersion: v1\nmetadata: {name: given}\ndata:\n  a: 'true'\n".to_owned();
    let headers = [
        ("content-type", "application/yaml"),
        ("accept", "application/yaml"),
    ];
    let answer = world.call(Method::POST, CONFIG_MAPS, &headers, yaml).await;
    assert_eq!(answer.content_type, "application/yaml");
    let text = answer.expect(201);
    let text = text.as_str().expect("YAML");
    assert!(text.contains("name: given"), "{text}");
    let read: Value = serde_saphyr::from_str(text).expect("YAML");
    assert_eq!(read["data"]["a"], "true");
}

#[tokio::test(start_paused = true)]
async fn secrets_are_sealed_on_disk() {
    let world = World::new().await;
    let secret = json!({"kind": "Secret", "apiVersion": "v1", "metadata": {"name": "s"}, "stringData": {"password": "canary-hunter2"}});
    let path = "/api/v1/namespaces/default/secrets";
    let created = world.post(path, &secret).await.expect(201);
    let encoded = created["data"]["password"].as_str().expect("folded");
    for part in ["canary-hunter2", encoded] {
        assert!(!world.disk.contains(part.as_bytes()), "{part} is on disk");
    }
    let world = world.restart().await;
    let found = world.get(&format!("{path}/s")).await.expect(200);
    assert_eq!(found, created);
}

#[tokio::test(start_paused = true)]
async fn a_refused_secret_is_not_repeated() {
    let world = World::new().await;
    let path = "/api/v1/namespaces/default/secrets";
    for data in [
        json!({"data": {"p": 48_151_623}}),
        json!({"data": {"p": "canary 48151623 is no base64"}}),
        json!({"stringData": {"p": ["48151623"]}}),
        json!({"data": "48151623"}),
    ] {
        let mut secret = json!({"kind": "Secret", "apiVersion": "v1", "metadata": {"name": "s"}});
        let map = secret.as_object_mut().expect("an object");
        map.extend(data.as_object().expect("an object").clone());
        let answer = world.post(path, &secret).await;
        assert_eq!(answer.code, 422, "{}", answer.body);
        assert!(
            !answer.body.to_string().contains("48151623"),
            "{}",
            answer.body
        );
    }
}
