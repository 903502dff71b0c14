//! Replays what Kubernetes' field manager did, step by step.
//!
//! The files were written by a small program over `k8s.io/apimachinery` 0.36.3 and `structured-merge-diff` 6.3.3: cases in,
//! what the real field manager answers out. `documented.json` has the behaviours that are known by name, `random.json`
//! generated objects. Times there are the number of the step, as here.

use serde::Deserialize;
use serde_json::{Value, json};

use super::super::{Apply, ApplyError, TypeSchema, apply, track_update};
use super::time;

#[derive(Deserialize)]
struct Fixture {
    schemas: Vec<Value>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    steps: Vec<Step>,
}

#[derive(Deserialize)]
struct Step {
    op: String,
    manager: String,
    #[serde(default)]
    force: bool,
    #[serde(default)]
    subresource: String,
    #[serde(default)]
    schema: usize,
    #[serde(default, rename = "managedFields")]
    managed_fields: String,
    object: Value,
    expect: Expect,
}

#[derive(Deserialize)]
struct Expect {
    conflict: Option<String>,
    invalid: Option<String>,
    object: Option<Value>,
}

#[test]
fn does_what_kubernetes_documents() {
    assert_eq!(
        replay(include_str!("../fixtures/documented.json")),
        (37, 173)
    );
}

#[test]
fn does_what_kubernetes_does_with_random_objects() {
    assert_eq!(replay(include_str!("../fixtures/random.json")), (63, 301));
}

/// Replays every case; answers how many cases and steps there were.
fn replay(text: &str) -> (usize, usize) {
    let fixture: Fixture = serde_json::from_str(text).expect("a fixture is JSON");
    let schemas: Vec<TypeSchema> = fixture
        .schemas
        .iter()
        .map(|schema| TypeSchema::from_openapi(schema).with_status(true))
        .collect();
    let mut steps = 0;
    for case in &fixture.cases {
        let mut live: Option<Value> = None;
        for (index, step) in case.steps.iter().enumerate() {
            let outcome = take(&schemas[step.schema], live.as_ref(), step, index + 1);
            live = check(
                &format!("{}, step {}", case.name, index + 1),
                step,
                outcome,
                live,
            );
            steps += 1;
        }
    }
    (fixture.cases.len(), steps)
}

fn take(
    schema: &TypeSchema,
    live: Option<&Value>,
    step: &Step,
    number: usize,
) -> Result<Value, ApplyError> {
    let now = time(i64::try_from(number).expect("few steps"));
    let api_version = step.object["apiVersion"].as_str().unwrap_or_default();
    let (manager, subresource) = (step.manager.as_str(), step.subresource.as_str());
    let mut new = if step.op == "apply" {
        let config = &step.object;
        apply(Apply {
            schema,
            live,
            config,
            manager,
            force: step.force,
            api_version,
            subresource,
            now,
        })?
    } else {
        let mut new = step.object.clone();
        match step.managed_fields.as_str() {
            "keep" => {
                if let Some(entries) = live.and_then(|live| live.pointer("/metadata/managedFields"))
                {
                    new["metadata"]["managedFields"] = entries.clone();
                }
            }
            "reset" => new["metadata"]["managedFields"] = json!([{}]),
            "empty" => new["metadata"]["managedFields"] = json!([]),
            _ => {}
        }
        if live.is_some() {
            new["metadata"]["uid"] = json!("u");
        }
        track_update(
            schema,
            live,
            &mut new,
            manager,
            api_version,
            subresource,
            now,
        );
        new
    };
    new["metadata"]["uid"] = json!("u");
    Ok(new)
}

/// Compares one step with the record, and answers the object that the next step finds.
fn check(
    place: &str,
    step: &Step,
    outcome: Result<Value, ApplyError>,
    live: Option<Value>,
) -> Option<Value> {
    match (&step.expect, outcome) {
        (
            Expect {
                object: Some(wanted),
                ..
            },
            Ok(object),
        ) => {
            assert_eq!(in_order(&object), in_order(wanted), "{place}");
            Some(object)
        }
        (
            Expect {
                conflict: Some(wanted),
                ..
            },
            Err(error @ ApplyError::Conflicts(_)),
        ) => {
            assert_eq!(&error.to_string(), wanted, "{place}");
            live
        }
        (
            Expect {
                invalid: Some(_), ..
            },
            Err(ApplyError::Invalid(_)),
        ) => live,
        (wanted, got) => panic!(
            "{place}: wanted {:?} {:?} {:?}, got {got:?}",
            wanted.conflict, wanted.invalid, wanted.object
        ),
    }
}

/// Sets of fields have no order in JSON; entries have. Serialised, so that a difference is readable.
fn in_order(object: &Value) -> String {
    serde_json::to_string_pretty(object).expect("JSON")
}
