//! What people rely on when several managers write one object.

use serde_json::{Value, json};

use super::super::{
    ApplyError, Conflict, Operation, TypeSchema, conflict_message, keep_times, track_update,
};
use super::{apply_at, owned, time, with_spec, workload};

fn applied(
    schema: &TypeSchema,
    live: Option<&Value>,
    spec: Value,
    manager: &str,
    step: i64,
) -> Value {
    apply_at(schema, live, &with_spec(spec), manager, false, step).expect("no conflict")
}

#[test]
fn a_created_object_has_an_entry_of_its_applier() {
    let object = applied(&workload(), None, json!({"replicas": 1}), "me", 5);
    assert_eq!(
        object["metadata"]["managedFields"],
        json!([{
            "apiVersion": "apps/v1",
            "fieldsType": "FieldsV1",
            "fieldsV1": {"f:spec": {"f:replicas": {}}},
            "manager": "me",
            "operation": "Apply",
            "time": "2001-09-09T01:46:45Z",
        }])
    );
}

#[test]
fn the_conflict_reads_as_kubernetes_writes_it() {
    let schema = workload();
    let mut live = with_spec(json!({"replicas": 1}));
    track_update(
        &schema,
        None,
        &mut live,
        "kubectl-client-side-apply",
        "apps/v1",
        "",
        time(1),
    );
    let error = apply_at(
        &schema,
        Some(&live),
        &with_spec(json!({"replicas": 2})),
        "me",
        false,
        2,
    )
    .expect_err("conflict");
    assert_eq!(
        error.to_string(),
        "Apply failed with 1 conflict: conflict with \"kubectl-client-side-apply\" using apps/v1: .spec.replicas"
    );
    let ApplyError::Conflicts(conflicts) = error else {
        panic!("not a conflict")
    };
    assert_eq!(
        conflicts[0].to_string(),
        "conflict with \"kubectl-client-side-apply\" using apps/v1"
    );
    assert_eq!(conflicts[0].field, ".spec.replicas");
}

#[test]
fn several_conflicts_are_listed_by_owner() {
    let conflict = |manager: &str, operation, subresource: &str, field: &str| Conflict {
        manager: manager.to_owned(),
        operation,
        api_version: "v1".to_owned(),
        subresource: subresource.to_owned(),
        field: field.to_owned(),
    };
    let message = conflict_message(&[
        conflict("a", Operation::Apply, "", ".spec.x"),
        conflict("a", Operation::Apply, "", ".spec.y"),
        conflict("b", Operation::Update, "status", ".status.z"),
    ]);
    assert_eq!(
        message,
        "Apply failed with 3 conflicts: conflicts with \"a\":\n- .spec.x\n- .spec.y\n\
         conflicts with \"b\" with subresource \"status\" using v1:\n- .status.z"
    );
}

#[test]
fn a_converged_apply_changes_nothing_at_any_time() {
    let schema = workload();
    let spec = json!({"replicas": 2, "hosts": ["a"], "containers": [{"name": "c", "ports": [{"port": 80}]}]});
    let first = applied(&schema, None, spec.clone(), "me", 1);
    assert_eq!(applied(&schema, Some(&first), spec, "me", 99), first);
}

#[test]
fn a_defaulted_key_names_the_same_item() {
    let schema = workload();
    let ports = |ports: Value| json!({"containers": [{"name": "c", "ports": ports}]});
    let live = applied(&schema, None, ports(json!([{"port": 80}])), "one", 1);
    let live = applied(
        &schema,
        Some(&live),
        ports(json!([{"port": 80, "protocol": "TCP", "note": "n"}])),
        "two",
        2,
    );
    assert_eq!(
        live["spec"]["containers"][0]["ports"],
        json!([{"port": 80, "protocol": "TCP", "note": "n"}])
    );
    let key = r#"k:{"port":80,"protocol":"TCP"}"#;
    assert!(owned(&live, "one").is_some_and(|set| {
        set["f:spec"]["f:containers"][r#"k:{"name":"c"}"#]["f:ports"][key].is_object()
    }));
}

#[test]
fn an_unknown_field_is_named() {
    let error = apply_at(
        &workload(),
        None,
        &with_spec(json!({"replcas": 1})),
        "me",
        false,
        1,
    )
    .expect_err("unknown");
    assert_eq!(
        error.to_string(),
        "failed to create typed patch object (default/w; apps/v1, Kind=Workload): .spec.replcas: field not declared in schema"
    );
}

#[test]
fn a_configuration_of_another_version_or_with_managed_fields_is_refused() {
    let schema = workload();
    let mut config = with_spec(json!({}));
    config["metadata"]["managedFields"] = json!([]);
    let error = apply_at(&schema, None, &config, "me", false, 1).expect_err("managed fields");
    assert_eq!(error.to_string(), "metadata.managedFields must be nil");
    let config = with_spec(json!({}));
    let a = super::Apply {
        schema: &schema,
        live: None,
        config: &config,
        manager: "me",
        force: false,
        api_version: "apps/v2",
        subresource: "",
        now: time(1),
    };
    let error = super::apply(a).expect_err("other version");
    assert!(
        error
            .to_string()
            .starts_with("Incorrect version specified in apply patch."),
        "{error}"
    );
}

#[test]
fn a_write_that_the_server_undoes_keeps_its_time() {
    let schema = workload();
    let live = applied(&schema, None, json!({"replicas": 1}), "me", 1);
    let mut config = with_spec(json!({"replicas": 1}));
    config["status"] = json!({"ready": 3});
    let mut new = apply_at(&schema, Some(&live), &config, "me", false, 9).expect("no conflict");
    // The server puts the status back, because it is not written through the object.
    new.as_object_mut().expect("an object").remove("status");
    assert_ne!(new, live);
    keep_times(&live, &mut new);
    assert_eq!(new, live);
}

#[test]
fn times_move_with_what_they_time() {
    let schema = workload();
    let live = applied(&schema, None, json!({"replicas": 1}), "me", 1);
    let mut new = applied(&schema, Some(&live), json!({"replicas": 2}), "me", 9);
    let wanted = new.clone();
    keep_times(&live, &mut new);
    assert_eq!(new, wanted);
}

#[test]
fn an_update_of_an_untracked_object_stays_untracked() {
    let schema = workload();
    let old = with_spec(json!({"replicas": 1}));
    let mut new = with_spec(json!({"replicas": 2}));
    track_update(&schema, Some(&old), &mut new, "me", "apps/v1", "", time(1));
    assert_eq!(new, with_spec(json!({"replicas": 2})));
    let applied = applied(&schema, Some(&new), json!({"replicas": 2}), "me", 2);
    let before = owned(&applied, "before-first-apply").expect("an entry for what was there");
    assert_eq!(before, json!({"f:spec": {".": {}, "f:replicas": {}}}));
}

#[test]
fn a_scale_is_owned_through_its_subresource() {
    let schema = workload();
    let live = applied(&schema, None, json!({"replicas": 1}), "me", 1);
    let mut new = live.clone();
    new["spec"]["replicas"] = json!(5);
    track_update(
        &schema,
        Some(&live),
        &mut new,
        "kubectl",
        "apps/v1",
        "scale",
        time(2),
    );
    let entries = new["metadata"]["managedFields"]
        .as_array()
        .expect("entries");
    assert_eq!(entries.len(), 1);
    assert_eq!(entries[0]["subresource"], "scale");
    assert_eq!(entries[0]["operation"], "Update");
    assert_eq!(
        entries[0]["fieldsV1"],
        json!({"f:spec": {"f:replicas": {}}})
    );
    let error = apply_at(
        &schema,
        Some(&new),
        &with_spec(json!({"replicas": 1})),
        "me",
        false,
        3,
    )
    .expect_err("conflict");
    assert!(
        error
            .to_string()
            .contains("conflict with \"kubectl\" with subresource \"scale\" using apps/v1"),
        "{error}"
    );
}

#[test]
fn entries_that_cannot_be_read_are_refused_on_apply_and_replaced_by_the_stored_on_update() {
    let schema = workload();
    let live = applied(&schema, None, json!({"replicas": 1}), "me", 1);
    let mut broken = live.clone();
    broken["metadata"]["managedFields"][0]["operation"] = json!("Bogus");
    let error = apply_at(
        &schema,
        Some(&broken),
        &with_spec(json!({})),
        "me",
        false,
        2,
    )
    .expect_err("unreadable");
    assert_eq!(
        error.to_string(),
        "failed to decode managed fields: operation must be `Apply` or `Update`"
    );
    track_update(
        &schema,
        Some(&live),
        &mut broken,
        "you",
        "apps/v1",
        "",
        time(2),
    );
    assert_eq!(broken, live);
}

#[test]
fn a_list_that_cannot_be_keyed_costs_nobody_their_fields() {
    let schema = workload();
    let live = applied(&schema, None, json!({"replicas": 1}), "me", 1);
    let mut new = with_spec(json!({"replicas": 2, "containers": [{"image": "no name"}]}));
    track_update(
        &schema,
        Some(&live),
        &mut new,
        "you",
        "apps/v1",
        "",
        time(2),
    );
    assert_eq!(
        new["metadata"]["managedFields"],
        live["metadata"]["managedFields"]
    );
}
