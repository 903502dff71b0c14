//! Tables: objects and the cells they make.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{IncludeObject, human_duration, partial_metadata, table};
use crate::builtin;
use crate::resource::{Resource, tests::widget};

fn now() -> Timestamp {
    "2026-01-01T12:00:00Z".parse().expect("a time")
}

fn names(table: &Value) -> Vec<&str> {
    table["columnDefinitions"]
        .as_array()
        .expect("there are columns")
        .iter()
        .map(|column| column["name"].as_str().expect("a column has a name"))
        .collect()
}

#[test]
fn custom_columns_show_values_dates_and_nothing() {
    let widget = widget();
    let ready = json!({
        "metadata": {"name": "a", "creationTimestamp": "2026-01-01T11:00:00Z"},
        "status": {"conditions": [{"type": "Ready", "status": "True"}], "since": "2026-01-01T11:55:00Z"}
    });
    let bare = json!({"metadata": {"name": "b"}, "status": {"since": "yesterday"}});
    let table = table(
        &widget,
        &[&ready, &bare],
        json!({"resourceVersion": "7"}),
        IncludeObject::Metadata,
        now(),
    );
    assert_eq!(table["kind"], "Table");
    assert_eq!(table["metadata"], json!({"resourceVersion": "7"}));
    assert_eq!(names(&table), ["Name", "Ready", "Since"]);
    assert_eq!(table["columnDefinitions"][0]["format"], "name");
    assert_eq!(table["columnDefinitions"][2]["priority"], 1);
    assert_eq!(table["rows"][0]["cells"], json!(["a", "True", "5m"]));
    assert_eq!(table["rows"][1]["cells"], json!(["b", null, "<invalid>"]));
    assert_eq!(table["rows"][0]["object"], partial_metadata(&ready, "v1"));
    assert_eq!(table["rows"][0]["object"]["kind"], "PartialObjectMetadata");
}

#[test]
fn a_resource_without_columns_shows_its_age() {
    let mut widget = widget();
    widget.columns.clear();
    let object = json!({"metadata": {"name": "a", "creationTimestamp": "2026-01-01T08:40:00Z"}});
    let table = table(&widget, &[&object], json!({}), IncludeObject::None, now());
    assert_eq!(names(&table), ["Name", "Age"]);
    assert_eq!(
        table["rows"],
        json!([{"cells": ["a", "3h20m"], "object": null}])
    );
}

fn builtin_cells(kind: &str, group: &str, object: Value) -> (Vec<String>, Value) {
    let found = builtin::all()
        .iter()
        .find(|found| found.kind == kind && found.group == group);
    let resource = Resource::from_builtin(found.expect("it is built in"));
    let table = table(
        &resource,
        &[&object],
        json!({}),
        IncludeObject::Object,
        now(),
    );
    assert_eq!(table["rows"][0]["object"], object);
    (
        names(&table).into_iter().map(str::to_owned).collect(),
        table["rows"][0]["cells"].clone(),
    )
}

#[test]
fn built_in_kinds_print_as_in_kubernetes() {
    let meta = json!({"name": "x", "creationTimestamp": "2025-12-30T12:00:00Z"});
    for (kind, group, body, columns, cells) in [
        (
            "Namespace",
            "",
            json!({"status": {"phase": "Active"}}),
            vec!["Name", "Status", "Age"],
            json!(["x", "Active", "2d"]),
        ),
        (
            "Secret",
            "",
            json!({"type": "Opaque", "data": {"a": "", "b": ""}}),
            vec!["Name", "Type", "Data", "Age"],
            json!(["x", "Opaque", 2, "2d"]),
        ),
        (
            "ConfigMap",
            "",
            json!({"data": {"a": ""}, "binaryData": {"b": ""}}),
            vec!["Name", "Data", "Age"],
            json!(["x", 2, "2d"]),
        ),
        (
            "ServiceAccount",
            "",
            json!({}),
            vec!["Name", "Secrets", "Age"],
            json!(["x", 0, "2d"]),
        ),
        (
            "Lease",
            "coordination.k8s.io",
            json!({"spec": {"holderIdentity": "me"}}),
            vec!["Name", "Holder", "Age"],
            json!(["x", "me", "2d"]),
        ),
        (
            "CustomResourceDefinition",
            "apiextensions.k8s.io",
            json!({}),
            vec!["Name", "Created At"],
            json!(["x", "2025-12-30T12:00:00Z"]),
        ),
    ] {
        let mut object = body;
        object["metadata"] = meta.clone();
        assert_eq!(
            builtin_cells(kind, group, object),
            (columns.into_iter().map(str::to_owned).collect(), cells),
            "{kind}"
        );
    }
}

#[test]
fn events_in_both_forms_are_one_row() {
    let old = json!({
        "metadata": {"name": "e"}, "type": "Warning", "reason": "Failed", "message": " it failed\n",
        "involvedObject": {"kind": "Widget", "name": "a", "fieldPath": "spec"},
        "source": {"component": "kubelet", "host": "h"}, "count": 3,
        "firstTimestamp": "2026-01-01T11:00:00Z", "lastTimestamp": "2026-01-01T11:59:30Z"
    });
    let cells = json!([
        "30s",
        "Warning",
        "Failed",
        "widget/a",
        "spec",
        "kubelet, h",
        "it failed",
        "60m",
        3,
        "e"
    ]);
    assert_eq!(builtin_cells("Event", "", old).1, cells);
    let new = json!({
        "metadata": {"name": "e"}, "type": "Warning", "reason": "Failed", "note": "it failed",
        "regarding": {"kind": "Widget", "name": "a", "fieldPath": "spec"},
        "reportingController": "kubelet", "reportingInstance": "h", "eventTime": "2026-01-01T11:00:00.000000Z",
        "series": {"count": 3, "lastObservedTime": "2026-01-01T11:59:30.000000Z"}
    });
    assert_eq!(builtin_cells("Event", "events.k8s.io", new).1, cells);
    let bare = builtin_cells("Event", "", json!({"metadata": {"name": "e"}})).1;
    assert_eq!(
        bare,
        json!(["<unknown>", "", "", "", "", "", "", "<unknown>", 1, "e"])
    );
}

#[test]
fn durations_are_said_as_kubectl_says_them() {
    for (seconds, text) in [
        (-5, "<invalid>"),
        (0, "0s"),
        (119, "119s"),
        (120, "2m"),
        (125, "2m5s"),
        (600, "10m"),
        (3 * 3600, "3h"),
        (3 * 3600 + 1200, "3h20m"),
        (8 * 3600 + 1200, "8h"),
        (47 * 3600, "47h"),
        (50 * 3600, "2d2h"),
        (8 * 86_400, "8d"),
        (3 * 365 * 86_400 + 5 * 86_400, "3y5d"),
        (9 * 365 * 86_400, "9y"),
    ] {
        assert_eq!(human_duration(seconds, seconds < 0), text, "{seconds}");
    }
    assert_eq!(human_duration(0, true), "0s");
}
