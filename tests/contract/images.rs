//! Images.

use operator::docker::images;
use serde_json::{Value, json};

use crate::subject::Subject;

/// F24: an import has no digest, and its config is what was asked for.
pub async fn f24_imported_images_have_no_digest(subject: &mut Subject) {
    subject
        .import("full", |recipe| {
            let recipe = recipe
                .change("LABEL a=b")
                .change("USER 1000")
                .change("WORKDIR /data")
                .change("VOLUME /data");
            recipe.healthcheck(300).change(r#"CMD ["hold"]"#)
        })
        .await;
    let name = subject.image("full");
    let found = subject
        .call(&format!("GET /images/{name}/json"), Value::Null)
        .await
        .body;
    subject.note(format!(
        "{} {} {} {}",
        found["RepoDigests"], found["RepoTags"], found["Os"], found["Architecture"]
    ));
    let mut config = found["Config"].clone();
    if let Some(config) = config.as_object_mut() {
        config.retain(|_, value| !value.is_null() && *value != "" && *value != false);
    }
    subject.note(serde_json::to_string_pretty(&config).expect("JSON"));
    subject.note(format!(
        "{} {:?}",
        found["RootFS"]["Type"],
        found["RootFS"]["Layers"].as_array().map(Vec::len)
    ));
    let engine = subject.engine().clone();
    let typed = images::inspect(&engine, &name).await.expect("it is there");
    assert_eq!(typed.id.as_deref(), found["Id"].as_str());
    subject.outcome(
        "inspect",
        &images::inspect(&engine, &subject.image("none")).await,
    );
}

/// Tags are added and taken away one by one; one that a container needs is kept if it is the last.
pub async fn tags_come_and_go(subject: &mut Subject) {
    let engine = subject.engine().clone();
    let (name, other) = (subject.image("v1"), subject.name("kept/default/shop"));
    let repository = name.rsplit_once(':').expect("a tag").0.to_owned();
    subject.outcome("tag", &images::tag(&engine, &name, &other, "abc").await);
    let found = images::inspect(&engine, &name).await.expect("it is there");
    subject.learn(
        found
            .id
            .as_deref()
            .unwrap_or_default()
            .trim_start_matches("sha256:"),
    );
    let mut tags = found.repo_tags.unwrap_or_default();
    tags.sort();
    subject.note(format!("{tags:?}"));
    subject.outcome(
        "tag none",
        &images::tag(&engine, &subject.image("none"), &other, "x").await,
    );
    subject.outcome("untag none", &images::untag(&engine, &other, "none").await);
    subject
        .call(&format!("DELETE /images/{other}:none"), Value::Null)
        .await;
    subject.create("a", json!({})).await;
    subject.outcome("untag", &images::untag(&engine, &repository, "v1").await);
    let list = subject
        .quiet(
            &format!("GET /containers/{}/json", subject.name("a")),
            Value::Null,
        )
        .await
        .body;
    subject.note(format!("{}", list["Config"]["Image"]));
    subject.try_create("b", json!({})).await;
    subject.outcome(
        "untag the last",
        &images::untag(&engine, &other, "abc").await,
    );
    subject
        .call(
            &format!("DELETE /containers/{}", subject.name("a")),
            Value::Null,
        )
        .await;
    let gone = subject
        .call(&format!("DELETE /images/{other}:abc"), Value::Null)
        .await;
    let untagged = gone
        .body
        .as_array()
        .into_iter()
        .flatten()
        .filter(|line| line["Untagged"].is_string())
        .count();
    let deleted = gone
        .body
        .as_array()
        .into_iter()
        .flatten()
        .any(|line| line["Deleted"].is_string());
    subject.note(format!("{untagged} {deleted}"));
}

/// What is left of an image whose only tag has gone to another one, while a container is made from it and afterwards.
pub async fn a_tag_that_moves(subject: &mut Subject) {
    let engine = subject.engine().clone();
    let name = subject.image("v1");
    let first = images::inspect(&engine, &name).await.expect("it is there");
    let first = first.id.expect("it has an id");
    subject.learn(first.trim_start_matches("sha256:"));
    subject.create("a", json!({})).await;
    subject
        .import("v1", |recipe| recipe.change("LABEL another=one"))
        .await;
    let second = images::inspect(&engine, &name).await.expect("it is there");
    assert_ne!(second.id.as_ref(), Some(&first));
    let old = format!("GET /images/{first}/json");
    let found = subject.call(&old, Value::Null).await.body;
    subject.note(format!("{} {}", found["RepoTags"], found["RepoDigests"]));
    let listed = subject.listed("a").await;
    subject.note(format!("{} {}", listed["Image"], listed["ImageID"]));
    let start = format!("POST /containers/{}/start", subject.name("a"));
    subject.call(&start, Value::Null).await;
    let remove = format!("DELETE /containers/{}?force=1", subject.name("a"));
    subject.call(&remove, Value::Null).await;
    subject.call(&old, Value::Null).await;
    // The operator removes images by their tags alone, so this is no part of the comparison.
    subject
        .quiet(&format!("DELETE /images/{first}"), Value::Null)
        .await;
}
