//! CustomResourceDefinitions: from a document to a served kind, and its end.

use super::*;

fn condition<'a>(object: &'a Value, kind: &str) -> &'a Value {
    let conditions = object["status"]["conditions"].as_array().expect("some");
    conditions
        .iter()
        .find(|condition| condition["type"] == kind)
        .expect("the condition")
}

#[tokio::test(start_paused = true)]
async fn a_definition_is_served_at_once_and_gone_at_once() {
    let world = World::new().await;
    world.get(WIDGETS).await.refused(404);
    let created = world.post(DEFINITIONS, &widgets()).await.expect(201);
    assert_eq!(condition(&created, "Established")["status"], "True");
    assert_eq!(condition(&created, "NamesAccepted")["status"], "True");
    assert_eq!(created["status"]["storedVersions"], json!(["v1"]));
    assert_eq!(created["spec"]["names"]["listKind"], "WidgetList");
    world.post(WIDGETS, &widget("a")).await.expect(201);
    let list = world.get("/apis/example.com/v1").await.expect(200);
    assert_eq!(list["resources"][0]["name"], "widgets");
    let path = format!("{DEFINITIONS}/widgets.example.com");
    world.delete(&path).await.expect(200);
    world.until_gone(&path).await;
    world.get(WIDGETS).await.refused(404);
    world.post(DEFINITIONS, &widgets()).await.expect(201);
    let list = world.get(WIDGETS).await.expect(200);
    assert_eq!(list["items"], json!([]), "its objects went with it");
}

#[tokio::test(start_paused = true)]
async fn a_definition_waits_for_objects_that_are_held() {
    let world = World::with_widgets().await;
    let mut held = widget("a");
    held["metadata"]["finalizers"] = json!(["example.com/hold"]);
    world.post(WIDGETS, &held).await.expect(201);
    let path = format!("{DEFINITIONS}/widgets.example.com");
    let going = world.delete(&path).await.expect(200);
    assert_eq!(condition(&going, "Terminating")["status"], "True");
    let one = format!("{WIDGETS}/a");
    world
        .until(&one, |answer| {
            answer.body["metadata"]["deletionTimestamp"].is_string()
        })
        .await;
    let refused = world.post(WIDGETS, &widget("b")).await.refused(405);
    assert_eq!(
        refused,
        "create not allowed while custom resource definition is terminating"
    );
    let freed = json!({"metadata": {"finalizers": null}});
    world.merge(&one, &freed).await.expect(200);
    world.until_gone(&path).await;
}

#[tokio::test(start_paused = true)]
async fn names_that_are_in_use_are_not_accepted_until_they_are_free() {
    let world = World::with_widgets().await;
    let mut second = widgets();
    second["metadata"]["name"] = json!("gadgets.example.com");
    second["spec"]["names"] = json!({"plural": "gadgets", "kind": "Gadget", "shortNames": ["wd"]});
    let created = world.post(DEFINITIONS, &second).await.expect(201);
    assert_eq!(condition(&created, "NamesAccepted")["status"], "False");
    assert_eq!(
        condition(&created, "NamesAccepted")["reason"],
        "ShortNamesConflict"
    );
    assert_eq!(condition(&created, "Established")["status"], "False");
    let gadgets = "/apis/example.com/v1/namespaces/default/gadgets";
    world.get(gadgets).await.refused(404);
    world
        .delete(&format!("{DEFINITIONS}/widgets.example.com"))
        .await
        .expect(200);
    world.until(gadgets, |answer| answer.code == 200).await;
}

#[tokio::test(start_paused = true)]
async fn a_new_default_shows_in_old_objects_and_unknown_fields_do_not() {
    let world = World::with_widgets().await;
    world.post(WIDGETS, &widget("a")).await.expect(201);
    let path = format!("{DEFINITIONS}/widgets.example.com");
    let properties = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties";
    let patch = json!([
        {"op": "add", "path": format!("{properties}/size"), "value": {"type": "string", "default": "big"}},
        {"op": "remove", "path": format!("{properties}/replicas")},
        {"op": "remove", "path": "/spec/versions/0/schema/openAPIV3Schema/properties/spec/x-kubernetes-validations"},
        {"op": "remove", "path": "/spec/versions/0/subresources/scale"}
    ]);
    let mut watch = world
        .watch(&format!("{WIDGETS}?watch=true&resourceVersion=0"))
        .await;
    assert_eq!(watch.brief().await, "ADDED a");
    world
        .patch(&path, "application/json-patch+json", &patch)
        .await
        .expect(200);
    assert!(
        watch.next().await.is_none(),
        "watches of the old schema end"
    );
    let found = world.get(&format!("{WIDGETS}/a")).await.expect(200);
    assert_eq!(found["spec"], json!({"color": "green", "size": "big"}));
}

#[tokio::test(start_paused = true)]
async fn versions_share_one_storage() {
    let world = World::with_widgets().await;
    world.post(WIDGETS, &widget("a")).await.expect(201);
    let path = format!("{DEFINITIONS}/widgets.example.com");
    let mut definition = world.get(&path).await.expect(200);
    let mut second = definition["spec"]["versions"][0].clone();
    second["name"] = json!("v2");
    definition["spec"]["versions"][0]["storage"] = json!(false);
    definition["spec"]["versions"] = json!([definition["spec"]["versions"][0], second]);
    let updated = world.put(&path, &definition).await.expect(200);
    assert_eq!(updated["status"]["storedVersions"], json!(["v1", "v2"]));
    let v2 = WIDGETS.replace("/v1/", "/v2/");
    let found = world.get(&format!("{v2}/a")).await.expect(200);
    assert_eq!(found["apiVersion"], "example.com/v2");
    let mut other = widget("b");
    other["apiVersion"] = json!("example.com/v2");
    world.post(&v2, &other).await.expect(201);
    let found = world.get(&format!("{WIDGETS}/b")).await.expect(200);
    assert_eq!(found["apiVersion"], "example.com/v1");
    let mut wrong = widget("c");
    wrong["apiVersion"] = json!("example.com/v1");
    world.post(&v2, &wrong).await.refused(400);
    let mut watch = world
        .watch(&format!("{WIDGETS}?watch=true&resourceVersion=0"))
        .await;
    let event = watch.next().await.expect("an event");
    assert_eq!(event["object"]["apiVersion"], "example.com/v1");
}

#[tokio::test(start_paused = true)]
async fn a_wrong_definition_is_refused() {
    let world = World::new().await;
    let mut wrong = widgets();
    wrong["metadata"]["name"] = json!("other.example.com");
    let message = world.post(DEFINITIONS, &wrong).await.refused(422);
    assert!(message.contains("must be spec.names.plural"), "{message}");
    let mut bad = widgets();
    bad["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["x-kubernetes-validations"]
        [0]["rule"] = json!("self.nothing == 1");
    let message = world.post(DEFINITIONS, &bad).await.refused(422);
    assert!(message.contains("rule"), "{message}");
    world.post(DEFINITIONS, &widgets()).await.expect(201);
    let path = format!("{DEFINITIONS}/widgets.example.com");
    let message = world
        .merge(&path, &json!({"spec": {"scope": "Cluster"}}))
        .await
        .refused(422);
    assert!(message.contains("field is immutable"), "{message}");
    world.post(WIDGETS, &widget("a")).await.expect(201);
}
