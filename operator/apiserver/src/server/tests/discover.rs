//! What the server says about itself.

use super::*;

#[tokio::test(start_paused = true)]
async fn health_and_version_are_open() {
    let world = World::new().await;
    for path in ["/livez", "/readyz", "/healthz", "/readyz/ping"] {
        let answer = world.get(path).await;
        assert_eq!(answer.expect(200), "ok");
    }
    let version = world.get("/version").await.expect(200);
    assert_eq!(version["gitVersion"], "v1.33.0+mooring");
}

#[tokio::test(start_paused = true)]
async fn discovery_is_plain_and_aggregated() {
    let world = World::with_widgets().await;
    assert_eq!(
        world.get("/api").await.expect(200)["versions"],
        json!(["v1"])
    );
    let groups = world.get("/apis").await.expect(200);
    let names: Vec<&str> = groups["groups"]
        .as_array()
        .expect("groups")
        .iter()
        .filter_map(|group| group["name"].as_str())
        .collect();
    assert!(names.contains(&"example.com"), "{names:?}");
    let accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
    let answer = world.get_as("/apis", accept).await;
    assert!(answer.content_type.contains("APIGroupDiscoveryList"));
    assert_eq!(answer.expect(200)["kind"], "APIGroupDiscoveryList");
    let core = world.get_as("/api", accept).await.expect(200);
    assert_eq!(core["items"][0]["versions"][0]["version"], "v1");
    world.get("/apis/nothing.example.com").await.refused(404);
    world.get("/apis/example.com/v9").await.refused(404);
    world.get("/nowhere").await.refused(404);
}

#[tokio::test(start_paused = true)]
async fn openapi_is_served_in_both_versions() {
    let world = World::with_widgets().await;
    let index = world.get("/openapi/v3").await.expect(200);
    let url = index["paths"]["apis/example.com/v1"]["serverRelativeURL"]
        .as_str()
        .expect("an address");
    let document = world.get(url).await.expect(200);
    assert!(
        document["components"]["schemas"]
            .as_object()
            .is_some_and(|schemas| !schemas.is_empty())
    );
    let accept = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";
    let answer = world.get_as("/openapi/v2", accept).await;
    assert!(answer.content_type.contains("protobuf"));
    let json = world.get("/openapi/v2").await.expect(200);
    assert_eq!(json["swagger"], "2.0");
}

#[tokio::test(start_paused = true)]
async fn a_known_document_is_not_sent_again() {
    let world = World::new().await;
    let response = world
        .send(Method::GET, "/openapi/v3", &[], String::new())
        .await;
    let tag = response.headers()["etag"]
        .to_str()
        .expect("text")
        .to_owned();
    let again = world
        .send(
            Method::GET,
            "/openapi/v3",
            &[("if-none-match", &tag)],
            String::new(),
        )
        .await;
    assert_eq!(again.status(), 304);
}

#[tokio::test(start_paused = true)]
async fn callers_may_ask_about_themselves() {
    let world = World::new().await;
    let review = json!({"kind": "SelfSubjectAccessReview", "apiVersion": "authorization.k8s.io/v1", "spec": {}});
    let answer = world
        .post(
            "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
            &review,
        )
        .await
        .expect(201);
    assert_eq!(answer["status"]["allowed"], true);
    let review = json!({"kind": "SelfSubjectReview", "apiVersion": "authentication.k8s.io/v1"});
    let answer = world
        .post("/apis/authentication.k8s.io/v1/selfsubjectreviews", &review)
        .await
        .expect(201);
    assert_eq!(answer["status"]["userInfo"]["username"], "tester");
}
