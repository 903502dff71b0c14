//! Discovery documents for a server with built-in kinds and one custom one.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{CoreGroup, aggregated, group, groups, priority, resource_list};
use crate::builtin;
use crate::resource::{Resource, tests::widget};

fn resources() -> Vec<Arc<Resource>> {
    builtin::all()
        .iter()
        .map(Resource::from_builtin)
        .chain([widget()])
        .map(Arc::new)
        .collect()
}

fn find<'v>(list: &'v Value, key: &str, name: &str) -> &'v Value {
    list.as_array()
        .and_then(|list| list.iter().find(|entry| entry[key] == name))
        .unwrap_or_else(|| panic!("{name} is listed in {list}"))
}

#[test]
fn groups_and_resources_are_listed() {
    let resources = resources();
    let document = groups(&resources);
    assert_eq!(
        find(&document["groups"], "name", "example.com")["preferredVersion"],
        json!({"groupVersion": "example.com/v1", "version": "v1"})
    );
    assert!(
        document["groups"]
            .as_array()
            .unwrap()
            .iter()
            .all(|group| group["name"] != "")
    );
    assert_eq!(
        group(&resources, "example.com").unwrap()["kind"],
        "APIGroup"
    );
    assert!(group(&resources, "none").is_none() && group(&resources, "").is_none());
    assert!(resource_list(&resources, "example.com", "v2").is_none());
}

#[test]
fn a_custom_resource_has_its_names_and_subresources() {
    let document = resource_list(&resources(), "example.com", "v1").unwrap();
    assert_eq!(document["groupVersion"], "example.com/v1");
    let list = &document["resources"];
    let widget = find(list, "name", "widgets");
    assert_eq!(widget["singularName"], "widget");
    assert_eq!(widget["shortNames"], json!(["wd"]));
    assert_eq!(widget["categories"], json!(["factory"]));
    assert!(
        widget["verbs"]
            .as_array()
            .unwrap()
            .contains(&json!("watch"))
    );
    // The form is Kubernetes' own: the first eight bytes of a SHA-256 in base64.
    assert_eq!(
        widget["storageVersionHash"].as_str().map(str::len),
        Some(12)
    );
    assert_eq!(find(list, "name", "widgets/status")["kind"], "Widget");
    let scale = find(list, "name", "widgets/scale");
    assert_eq!(
        (&scale["group"], &scale["version"], &scale["kind"]),
        (&json!("autoscaling"), &json!("v1"), &json!("Scale"))
    );
}

#[test]
fn the_hash_of_a_version_is_that_of_kubernetes() {
    let document = resource_list(&resources(), "", "v1").unwrap();
    // As a real server lists it for ConfigMap in v1.
    assert_eq!(
        find(&document["resources"], "name", "configmaps")["storageVersionHash"],
        "qFsyl6wFWjQ="
    );
}

#[test]
fn aggregated_discovery_says_the_same() {
    let core = aggregated(&resources(), CoreGroup::Only, "v2");
    assert_eq!(core["apiVersion"], "apidiscovery.k8s.io/v2");
    assert_eq!(core["items"].as_array().map(Vec::len), Some(1));
    let names = &core["items"][0]["versions"][0]["resources"];
    assert_eq!(find(names, "resource", "namespaces")["scope"], "Cluster");
    let others = aggregated(&resources(), CoreGroup::Without, "v2beta1");
    assert_eq!(others["apiVersion"], "apidiscovery.k8s.io/v2beta1");
    let items = others["items"].as_array().unwrap();
    let ours = items
        .iter()
        .find(|item| item["metadata"]["name"] == "example.com")
        .unwrap();
    let widget = find(&ours["versions"][0]["resources"], "resource", "widgets");
    assert_eq!(
        widget["responseKind"],
        json!({"group": "example.com", "version": "v1", "kind": "Widget"})
    );
    assert_eq!(widget["singularResource"], "widget");
    assert_eq!(
        find(&widget["subresources"], "subresource", "scale")["responseKind"]["kind"],
        "Scale"
    );
}

#[test]
fn versions_are_preferred_by_stability() {
    let mut versions = [
        "foo10",
        "v1alpha1",
        "v2",
        "v1beta2",
        "v10",
        "v1",
        "foo1",
        "v11alpha2",
        "v3beta1",
    ];
    versions.sort_by_key(|version| std::cmp::Reverse(priority(version)));
    assert_eq!(
        versions,
        [
            "v10",
            "v2",
            "v1",
            "v3beta1",
            "v1beta2",
            "v11alpha2",
            "v1alpha1",
            "foo1",
            "foo10"
        ]
    );
}
