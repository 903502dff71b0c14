//! What holds for all objects and managers.

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::super::fields::{FieldSet, PathElement};
use super::super::typed::{field_set, present_set, validate};
use super::super::value;
use super::super::{TypeSchema, track_update};
use super::{apply_at, time, with_spec, workload};

fn word() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["a", "b", "c"]).prop_map(str::to_owned)
}

fn optional(fields: Vec<(&'static str, BoxedStrategy<Value>)>) -> BoxedStrategy<Value> {
    let fields: Vec<_> = fields
        .into_iter()
        .map(|(name, s)| (Just(name), prop::option::of(s)))
        .collect();
    fields
        .prop_map(|fields| {
            fields
                .into_iter()
                .filter_map(|(name, value)| Some((name.to_owned(), value?)))
                .collect::<Map<_, _>>()
        })
        .prop_map(Value::Object)
        .boxed()
}

fn by_key(items: Vec<Value>, key: impl Fn(&Value) -> String) -> Value {
    let mut seen = std::collections::BTreeSet::new();
    items
        .into_iter()
        .filter(|item| seen.insert(key(item)))
        .collect()
}

fn ports(least: usize) -> BoxedStrategy<Value> {
    let port = (
        0..3,
        prop::option::of(prop::sample::select(vec!["TCP", "UDP"])),
        prop::option::of(word()),
    )
        .prop_map(|(port, protocol, note)| {
            let mut out = json!({"port": port});
            if let Some(protocol) = protocol {
                out["protocol"] = json!(protocol);
            }
            if let Some(note) = note {
                out["note"] = json!(note);
            }
            out
        });
    let key = |port: &Value| {
        format!(
            "{}/{}",
            port["port"],
            port["protocol"].as_str().unwrap_or("TCP")
        )
    };
    prop::collection::vec(port, least..3)
        .prop_map(move |ports| by_key(ports, key))
        .boxed()
}

fn containers(least: usize) -> BoxedStrategy<Value> {
    let args = prop::collection::vec(word(), 0..3)
        .prop_map(|args| json!(args))
        .boxed();
    let rest = optional(vec![
        ("image", word().prop_map(Value::from).boxed()),
        ("args", args),
        ("ports", ports(least)),
    ]);
    let container = (word(), rest).prop_map(|(name, mut container)| {
        container["name"] = json!(name);
        container
    });
    prop::collection::vec(container, least..3)
        .prop_map(|c| by_key(c, |c| c["name"].to_string()))
        .boxed()
}

fn free() -> BoxedStrategy<Value> {
    let leaf = prop_oneof![word().prop_map(Value::from), (0..3).prop_map(Value::from)];
    leaf.prop_recursive(3, 8, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::Array),
            prop::collection::btree_map(word(), inner, 0..3).prop_map(|map| json!(map)),
        ]
    })
    .boxed()
}

/// Any spec.
fn spec() -> BoxedStrategy<Value> {
    spec_with(0)
}

/// A spec whose associative lists have at least one item. Nobody owns an empty one, as in Kubernetes, so that applying one
/// takes a second apply to settle.
fn settled_spec() -> BoxedStrategy<Value> {
    spec_with(1)
}

fn spec_with(least: usize) -> BoxedStrategy<Value> {
    let words = || {
        prop::collection::btree_map(word(), word(), 0..3)
            .prop_map(|map| json!(map))
            .boxed()
    };
    let hosts = prop::collection::btree_set(word(), least..3)
        .prop_map(|hosts| json!(hosts))
        .boxed();
    optional(vec![
        ("replicas", (0..3).prop_map(Value::from).boxed()),
        ("hosts", hosts),
        ("selector", words()),
        ("containers", containers(least)),
        (
            "values",
            prop::collection::btree_map(word(), free(), 0..3)
                .prop_map(|map| json!(map))
                .boxed(),
        ),
    ])
}

#[derive(Clone, Debug)]
enum Write {
    Apply {
        manager: String,
        spec: Value,
        force: bool,
    },
    Update {
        manager: String,
        spec: Value,
    },
}

fn writes() -> impl Strategy<Value = Vec<Write>> {
    let write = (word(), spec(), any::<bool>(), any::<bool>()).prop_map(
        |(manager, spec, force, update)| {
            if update {
                Write::Update { manager, spec }
            } else {
                Write::Apply {
                    manager,
                    spec,
                    force,
                }
            }
        },
    );
    prop::collection::vec(write, 1..6)
}

/// The object after all writes; refused ones change nothing.
fn after(schema: &TypeSchema, writes: &[Write]) -> Option<Value> {
    let mut live: Option<Value> = None;
    for (step, write) in (1..).zip(writes) {
        match write {
            Write::Apply {
                manager,
                spec,
                force,
            } => {
                if let Ok(new) = apply_at(
                    schema,
                    live.as_ref(),
                    &with_spec(spec.clone()),
                    manager,
                    *force,
                    step,
                ) {
                    live = Some(new);
                }
            }
            Write::Update { manager, spec } => {
                let mut new = with_spec(spec.clone());
                track_update(
                    schema,
                    live.as_ref(),
                    &mut new,
                    manager,
                    "apps/v1",
                    "",
                    time(step),
                );
                live = Some(new);
            }
        }
    }
    live
}

fn sets(object: &Value) -> Vec<FieldSet> {
    let entries = object
        .pointer("/metadata/managedFields")
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default();
    entries
        .iter()
        .map(|entry| FieldSet::from_fields_v1(&entry["fieldsV1"]).expect("readable"))
        .collect()
}

trait Below {
    /// The set below a path.
    fn below(&self, path: &[PathElement]) -> FieldSet;
}

impl Below for FieldSet {
    fn below(&self, path: &[PathElement]) -> FieldSet {
        path.iter()
            .try_fold(self, |set, element| set.children.get(element))
            .cloned()
            .unwrap_or_default()
    }
}

fn never_managed(path: &[PathElement]) -> bool {
    let first = path.first().map(PathElement::to_string).unwrap_or_default();
    matches!(first.as_str(), ".apiVersion" | ".kind" | ".metadata")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn applying_twice_is_applying_once(history in writes(), config in settled_spec(), manager in word()) {
        let schema = workload();
        let live = after(&schema, &history);
        let config = with_spec(config);
        let once = apply_at(&schema, live.as_ref(), &config, &manager, true, 50).expect("forced");
        let twice = apply_at(&schema, Some(&once), &config, &manager, true, 60).expect("forced");
        prop_assert_eq!(&twice, &once);
        let unforced = apply_at(&schema, Some(&once), &config, &manager, false, 70).expect("no conflict is left");
        prop_assert_eq!(&unforced, &once);
    }

    #[test]
    fn every_configuration_settles_at_the_second_apply(history in writes(), config in spec(), manager in word()) {
        let schema = workload();
        let live = after(&schema, &history);
        let config = with_spec(config);
        let once = apply_at(&schema, live.as_ref(), &config, &manager, true, 50).expect("forced");
        let twice = apply_at(&schema, Some(&once), &config, &manager, true, 60).expect("forced");
        let thrice = apply_at(&schema, Some(&twice), &config, &manager, true, 70).expect("forced");
        prop_assert_eq!(&thrice, &twice);
    }

    #[test]
    fn what_was_applied_is_there_and_owned(history in writes(), config in spec(), manager in word()) {
        let schema = workload();
        let live = after(&schema, &history);
        let config = with_spec(config);
        let object = apply_at(&schema, live.as_ref(), &config, &manager, true, 50).expect("forced");
        let wanted = field_set(schema.root(), &config).expect("keyed");
        let there = present_set(schema.root(), &object).expect("keyed");
        let owned = sets(&object).iter().fold(FieldSet::default(), |all, set| all.union(set));
        wanted.for_each(&mut |path| {
            if !never_managed(path) {
                assert!(owned.has(path), "{path:?} is not owned");
                assert!(there.has(path) || !there.below(path).is_empty(), "{path:?} is not there");
            }
        });
    }

    #[test]
    fn nobody_owns_what_is_not_there(history in writes()) {
        let schema = workload();
        if let Some(object) = after(&schema, &history) {
            // Ownership of an empty list or map is kept where the field itself went with its last item.
            let there = field_set(schema.root(), &object).expect("keyed");
            for set in sets(&object) {
                prop_assert!(!set.is_empty());
                set.difference(&there).for_each(&mut |path| {
                    let parent_is_gone_or_empty = object.pointer(&pointer(path)).is_none_or(|value| {
                        value.is_null() || value.as_object().is_some_and(|m| !m.is_empty()) || value.as_array().is_some()
                    });
                    assert!(parent_is_gone_or_empty, "{path:?}");
                });
            }
        }
    }

    #[test]
    fn entries_are_one_per_manager_and_sorted(history in writes()) {
        if let Some(object) = after(&workload(), &history) {
            let entries = object.pointer("/metadata/managedFields").and_then(Value::as_array).cloned().unwrap_or_default();
            let keys: Vec<_> = entries.iter().map(|e| (e["operation"].to_string(), e["time"].as_str().unwrap_or_default().to_owned(), e["manager"].to_string())).collect();
            let mut sorted = keys.clone();
            sorted.sort();
            sorted.dedup();
            prop_assert_eq!(keys, sorted);
        }
    }

    #[test]
    fn field_sets_survive_the_wire(config in spec()) {
        let schema = workload();
        let config = with_spec(config);
        prop_assert!(validate(schema.root(), &config).is_ok());
        let set = field_set(schema.root(), &config).expect("keyed");
        prop_assert_eq!(FieldSet::from_fields_v1(&set.to_fields_v1()).expect("readable"), set);
    }

    #[test]
    fn nonsense_is_refused_and_never_a_panic(live in free(), config in free(), given in free()) {
        let schema = workload();
        let spec = |hosts: &Value| json!({"containers": given, "hosts": hosts, "values": hosts});
        let (mut live, config) = (with_spec(spec(&live)), with_spec(spec(&config)));
        live["metadata"]["managedFields"] = given.clone();
        let _ = apply_at(&schema, Some(&live), &config, "a", true, 1);
        let _ = apply_at(&schema, Some(&given), &config, "a", false, 1);
        let _ = apply_at(&schema, None, &given, "a", false, 1);
        for (old, mut new) in [(Some(&live), config.clone()), (None, given.clone()), (Some(&given), live.clone())] {
            track_update(&schema, old, &mut new, "a", "apps/v1", "", time(2));
        }
    }

    #[test]
    fn sets_obey_their_algebra(left in spec(), right in spec()) {
        let schema = workload();
        let set = |spec: Value| field_set(schema.root(), &with_spec(spec)).expect("keyed");
        let (l, r) = (set(left), set(right));
        let common = l.intersection(&r);
        prop_assert_eq!(&common, &r.intersection(&l));
        prop_assert_eq!(l.difference(&r).union(&common), l.clone());
        prop_assert!(l.difference(&r).intersection(&r).is_empty());
        prop_assert!(l.recursive_difference(&l).is_empty());
        prop_assert_eq!(l.union(&r), r.union(&l));
    }

    #[test]
    fn the_order_of_values_is_total(mut values in prop::collection::vec(free(), 3)) {
        values.sort_by(value::compare);
        for pair in values.windows(2) {
            prop_assert!(value::compare(&pair[0], &pair[1]).is_le());
            prop_assert_eq!(value::compare(&pair[0], &pair[1]).is_eq(), value::equal(&pair[0], &pair[1]));
        }
    }
}

/// The JSON pointer of a path of field names; a path with other elements has none and finds nothing.
fn pointer(path: &[PathElement]) -> String {
    path.iter()
        .map(|element| element.to_string().replacen('.', "/", 1))
        .collect()
}
