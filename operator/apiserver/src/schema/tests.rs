//! What schemas accept, refuse, prune and default, in tables: a schema, an object, and what Kubernetes says.

// Tables of cases are longer than functions may be.
#![allow(clippy::too_many_lines)]

use serde_json::{Value, json};

use super::{Structural, Subresource};

/// A schema whose `spec` is `spec`.
fn schema(spec: Value) -> Structural {
    let document = json!({"type": "object", "properties": {"spec": spec}});
    Structural::compile(&document)
        .unwrap_or_else(|errors| panic!("{document}: {}", texts(&errors).join("; ")))
}

fn texts(errors: &[super::FieldError]) -> Vec<String> {
    errors.iter().map(ToString::to_string).collect()
}

fn refused(document: Value) -> Vec<String> {
    texts(&Structural::compile(&document).expect_err("the schema is refused"))
}

/// What is wrong with `{"spec": value}`.
fn faults(spec: Value, value: Value) -> Vec<String> {
    texts(&schema(spec).validate(&json!({"spec": value}), None))
}

#[test]
fn each_keyword_accepts_and_refuses_in_kubernetes_words() {
    let cases: Vec<(Value, Value, &[&str])> = vec![
        (json!({"type": "string"}), json!("x"), &[]),
        (
            json!({"type": "string"}),
            json!(3),
            &["spec: Invalid value: \"integer\": spec in body must be of type string: \"integer\""],
        ),
        (
            json!({"type": "integer"}),
            json!("3"),
            &["spec: Invalid value: \"string\": spec in body must be of type integer: \"string\""],
        ),
        (json!({"type": "integer"}), json!(3.0), &[]),
        (
            json!({"type": "integer"}),
            json!(3.5),
            &[
                "spec: Invalid value: \"number\": spec in body must be of type integer: \"number\"",
                "<nil>: Invalid value: \"\": Checked value must be of type integer (default format) in spec",
            ],
        ),
        (
            json!({"type": "integer", "format": "int32"}),
            json!(true),
            &["spec: Invalid value: \"\": spec in body must be of type int32: \"\""],
        ),
        (json!({"type": "number"}), json!(3), &[]),
        (
            json!({"type": "boolean"}),
            json!("true"),
            &["spec: Invalid value: \"string\": spec in body must be of type boolean: \"string\""],
        ),
        (
            json!({"type": "array", "items": {"type": "string"}}),
            json!({}),
            &["spec: Invalid value: \"object\": spec in body must be of type array: \"object\""],
        ),
        (
            json!({"type": "string"}),
            json!(null),
            &["spec: Invalid value: \"null\": spec in body must be of type string: \"null\""],
        ),
        (
            json!({"type": "string", "nullable": true}),
            json!(null),
            &[],
        ),
        (
            json!({"type": "integer", "format": "int32"}),
            json!(3_000_000_000i64),
            &[
                "<nil>: Invalid value: \"\": Checked value must be of type integer with format int32 in spec",
            ],
        ),
        (
            json!({"type": "integer", "minimum": 1, "maximum": 10}),
            json!(0),
            &["spec: Invalid value: 0: spec in body should be greater than or equal to 1"],
        ),
        (
            json!({"type": "integer", "minimum": 1, "maximum": 10}),
            json!(11),
            &["spec: Invalid value: 11: spec in body should be less than or equal to 10"],
        ),
        (
            json!({"type": "number", "minimum": 1, "exclusiveMinimum": true}),
            json!(1),
            &["spec: Invalid value: 1: spec in body should be greater than 1"],
        ),
        (
            json!({"type": "number", "maximum": 1.5, "exclusiveMaximum": true}),
            json!(1.5),
            &["spec: Invalid value: 1.5: spec in body should be less than 1.5"],
        ),
        (
            json!({"type": "integer", "multipleOf": 5}),
            json!(7),
            &["spec: Invalid value: 7: spec in body should be a multiple of 5"],
        ),
        (
            json!({"type": "string", "maxLength": 2}),
            json!("äöü"),
            &["spec: Too long: may not be more than 2 bytes"],
        ),
        (json!({"type": "string", "maxLength": 3}), json!("äöü"), &[]),
        (
            json!({"type": "string", "minLength": 1}),
            json!(""),
            &["spec: Invalid value: \"\": spec in body should be at least 1 chars long"],
        ),
        (
            json!({"type": "string", "pattern": "^[a-z]+$"}),
            json!("A"),
            &["spec: Invalid value: \"A\": spec in body should match '^[a-z]+$'"],
        ),
        (
            json!({"type": "string", "format": "date-time"}),
            json!("now"),
            &["spec: Invalid value: \"now\": spec in body must be of type date-time: \"now\""],
        ),
        (
            json!({"type": "string", "format": "from-the-future"}),
            json!("now"),
            &[],
        ),
        (
            json!({"type": "string", "enum": ["A", "B"]}),
            json!("x"),
            &["spec: Unsupported value: \"x\": supported values: \"A\", \"B\""],
        ),
        (
            json!({"type": "integer", "enum": [1, 2]}),
            json!(3),
            &["spec: Unsupported value: 3: supported values: \"1\", \"2\""],
        ),
        (
            json!({"type": "array", "maxItems": 3, "items": {"type": "integer"}}),
            json!([1, 2, 3, 4, 5]),
            &["spec: Too many: 5: must have at most 3 items"],
        ),
        (
            json!({"type": "array", "minItems": 2, "items": {"type": "integer"}}),
            json!([1]),
            &["spec: Invalid value: 1: spec in body should have at least 2 items"],
        ),
        (
            json!({"type": "array", "items": {"type": "integer"}}),
            json!([1, "b"]),
            &[
                "spec[1]: Invalid value: \"string\": spec[1] in body must be of type integer: \"string\"",
            ],
        ),
        (
            json!({"type": "object", "maxProperties": 1, "additionalProperties": {"type": "string"}}),
            json!({"a": "1", "b": "2"}),
            &["spec: Too many: 2: must have at most 1 item"],
        ),
        (
            json!({"type": "object", "minProperties": 1, "additionalProperties": {"type": "string"}}),
            json!({}),
            &["spec: Invalid value: 0: spec in body should have at least 1 properties"],
        ),
        (
            json!({"type": "object", "required": ["a"], "properties": {"a": {"type": "string"}}}),
            json!({}),
            &["spec.a: Required value"],
        ),
        (
            json!({"type": "object", "additionalProperties": {"type": "string"}}),
            json!({"a": 1}),
            &[
                "spec.a: Invalid value: \"integer\": spec.a in body must be of type string: \"integer\"",
            ],
        ),
        (
            json!({"x-kubernetes-int-or-string": true}),
            json!("10%"),
            &[],
        ),
        (json!({"x-kubernetes-int-or-string": true}), json!(10), &[]),
        (
            json!({"x-kubernetes-int-or-string": true}),
            json!(true),
            &[
                "spec: Invalid value: \"boolean\": spec in body must be of type integer,string: \"boolean\"",
            ],
        ),
        (
            json!({
                "x-kubernetes-int-or-string": true,
                "anyOf": [{"type": "integer"}, {"type": "string"}],
                "pattern": "^[0-9]+%$"
            }),
            json!("x"),
            &["spec: Invalid value: \"x\": spec in body should match '^[0-9]+%$'"],
        ),
    ];
    for (schema, value, expected) in cases {
        assert_eq!(
            faults(schema.clone(), value.clone()),
            expected,
            "{value} by {schema}"
        );
    }
}

#[test]
fn alternatives_say_which_was_nearest() {
    let spec = json!({
        "type": "object",
        "properties": {"a": {"type": "string"}, "b": {"type": "string"}},
        "oneOf": [{"required": ["a"]}, {"required": ["b"]}]
    });
    assert_eq!(
        faults(spec.clone(), json!({})),
        [
            "<nil>: Invalid value: \"\": \"spec\" must validate one and only one schema (oneOf). Found none valid",
            "spec.a: Required value",
        ]
    );
    assert_eq!(
        faults(spec, json!({"a": "1", "b": "2"})),
        [
            "<nil>: Invalid value: \"\": \"spec\" must validate one and only one schema (oneOf). Found 2 valid alternatives"
        ]
    );
    let any = json!({"type": "integer", "anyOf": [{"minimum": 10}, {"maximum": 1}]});
    assert_eq!(
        faults(any, json!(5)),
        [
            "<nil>: Invalid value: \"\": \"spec\" must validate at least one schema (anyOf)",
            "spec: Invalid value: 5: spec in body should be greater than or equal to 10",
        ]
    );
    let all = json!({"type": "integer", "allOf": [{"minimum": 10}, {"maximum": 20}]});
    assert_eq!(
        faults(all, json!(5)),
        [
            "spec: Invalid value: 5: spec in body should be greater than or equal to 10",
            "<nil>: Invalid value: \"\": \"spec\" must validate all the schemas (allOf)",
        ]
    );
    let not = json!({"type": "string", "not": {"enum": ["x"]}});
    assert_eq!(
        faults(not, json!("x")),
        ["<nil>: Invalid value: \"\": \"spec\" must not validate the schema (not)"]
    );
}

#[test]
fn sets_and_list_maps_have_each_entry_once() {
    let set =
        json!({"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}});
    assert_eq!(faults(set.clone(), json!(["a", "b"])), [] as [&str; 0]);
    assert_eq!(
        faults(set, json!(["a", "b", "a", "a"])),
        ["spec[2]: Duplicate value: \"a\""]
    );
    let map = json!({
        "type": "array",
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["name", "port"],
        "items": {
            "type": "object",
            "required": ["name"],
            "properties": {"name": {"type": "string"}, "port": {"type": "integer", "default": 80}}
        }
    });
    assert_eq!(
        faults(
            map.clone(),
            json!([{"name": "a", "port": 1}, {"name": "a", "port": 2}])
        ),
        [] as [&str; 0]
    );
    assert_eq!(
        faults(
            map,
            json!([{"name": "a", "port": 1}, {"name": "a", "port": 1}])
        ),
        ["spec[1]: Duplicate value: {\"name\":\"a\",\"port\":1}"]
    );
}

#[test]
fn an_unchanged_fault_does_not_block_another_change() {
    let schema = schema(json!({
        "type": "object",
        "properties": {
            "a": {"type": "string", "maxLength": 2},
            "b": {"type": "string"},
            "list": {
                "type": "array",
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["name"],
                "items": {
                    "type": "object",
                    "required": ["name"],
                    "properties": {"name": {"type": "string"}, "n": {"type": "integer", "maximum": 5}}
                }
            }
        }
    }));
    let old = json!({"spec": {"a": "too long", "b": "1", "list": [{"name": "x", "n": 9}]}});
    let new = json!({"spec": {"a": "too long", "b": "2", "list": [{"name": "y"}, {"name": "x", "n": 9}]}});
    assert_eq!(schema.validate(&new, Some(&old)), []);
    assert_eq!(texts(&schema.validate(&new, None)).len(), 2);
    let changed = json!({"spec": {"a": "still too long", "b": "2"}});
    assert_eq!(
        texts(&schema.validate(&changed, Some(&old))),
        ["spec.a: Too long: may not be more than 2 bytes"]
    );
}

#[test]
fn pruning_keeps_what_is_known_and_names_the_rest() {
    let schema = schema(json!({
        "type": "object",
        "properties": {
            "known": {"type": "string"},
            "items": {"type": "array", "items": {"type": "object", "properties": {"a": {"type": "string"}}}},
            "map": {"type": "object", "additionalProperties": {"type": "object", "properties": {"a": {"type": "string"}}}},
            "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true, "properties": {
                "typed": {"type": "object", "properties": {"a": {"type": "string"}}}
            }},
            "embedded": {
                "type": "object",
                "x-kubernetes-embedded-resource": true,
                "x-kubernetes-preserve-unknown-fields": true
            },
            "intOrString": {"x-kubernetes-int-or-string": true}
        }
    }));
    let mut object = json!({
        "apiVersion": "x/v1",
        "kind": "X",
        "metadata": {
            "name": "n",
            "creationTimestamp": null,
            "unknown": 1,
            "ownerReferences": [{"name": "o", "foo": 1}]
        },
        "other": 1,
        "spec": {
            "known": "x",
            "foo": {"bar": 1},
            "items": [{"a": "1"}, {"b": "2"}],
            "map": {"k": {"a": "1", "b": "2"}},
            "free": {"anything": {"goes": 1}, "typed": {"a": "1", "b": "2"}},
            "embedded": {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "bad": 1}, "spec": {"x": 1}},
            "intOrString": 3
        }
    });
    let unknown = schema.prune(&mut object);
    assert_eq!(
        unknown,
        [
            "metadata.ownerReferences[0].foo",
            "metadata.unknown",
            "other",
            "spec.embedded.metadata.bad",
            "spec.foo",
            "spec.free.typed.b",
            "spec.items[1].b",
            "spec.map.k.b",
        ]
    );
    assert_eq!(
        object["metadata"],
        json!({"name": "n", "ownerReferences": [{"name": "o"}]})
    );
    assert_eq!(
        object["spec"]["free"],
        json!({"anything": {"goes": 1}, "typed": {"a": "1"}})
    );
    assert_eq!(object["spec"]["embedded"]["spec"], json!({"x": 1}));
    assert_eq!(schema.prune(&mut object), [] as [&str; 0]);
}

#[test]
fn defaults_fill_what_is_absent_and_replace_forbidden_nulls() {
    let schema = schema(json!({
        "type": "object",
        "default": {"b": "given"},
        "properties": {
            "a": {"type": "string", "default": "x"},
            "b": {"type": "string", "default": "y"},
            "nullable": {"type": "string", "nullable": true, "default": "z"},
            "plain": {"type": "string"},
            "nested": {"type": "object", "properties": {"c": {"type": "integer", "default": 3}}},
            "list": {"type": "array", "items": {"type": "object", "properties": {"d": {"type": "boolean", "default": true}}}},
            "map": {"type": "object", "additionalProperties": {"type": "object", "properties": {"e": {"type": "integer", "default": 5}}}}
        }
    }));
    let cases = [
        (
            json!({}),
            json!({"spec": {"a": "x", "b": "given", "nullable": "z"}}),
        ),
        (
            json!({"spec": {"a": null, "b": "mine", "nullable": null, "plain": null}}),
            json!({"spec": {"a": "x", "b": "mine", "nullable": null}}),
        ),
        (
            json!({"spec": {"nested": {}, "list": [{}, {"d": false}], "map": {"k": {}}}}),
            json!({"spec": {
                "a": "x", "b": "y", "nullable": "z",
                "nested": {"c": 3}, "list": [{"d": true}, {"d": false}], "map": {"k": {"e": 5}}
            }}),
        ),
    ];
    for (mut object, expected) in cases {
        schema.default(&mut object);
        assert_eq!(object, expected);
        schema.default(&mut object);
        assert_eq!(object, expected);
    }
}

#[test]
fn what_is_not_structural_is_refused() {
    let in_spec = |spec: Value| json!({"type": "object", "properties": {"spec": spec}});
    let cases: Vec<(Value, &str)> = vec![
        (
            json!({"properties": {}}),
            "openAPIV3Schema.type: Required value: must not be empty at the root",
        ),
        (
            json!({"type": "string"}),
            "openAPIV3Schema.type: Invalid value: \"string\": must be object at the root",
        ),
        (
            in_spec(json!({})),
            "openAPIV3Schema.properties[spec].type: Required value: must not be empty for specified object fields",
        ),
        (
            in_spec(json!({"type": "array"})),
            "openAPIV3Schema.properties[spec].items: Required value: must be specified",
        ),
        (
            in_spec(json!({"type": "array", "items": {}})),
            "openAPIV3Schema.properties[spec].items.type: Required value: must not be empty for specified array items",
        ),
        (
            in_spec(json!({"type": "object", "$ref": "#/x"})),
            "openAPIV3Schema.properties[spec].$ref: Forbidden: $ref is not supported",
        ),
        (
            in_spec(json!({"type": "frob"})),
            "openAPIV3Schema.properties[spec].type: Unsupported value: \"frob\": supported values: \"array\", \"boolean\", \"integer\", \"number\", \"object\", \"string\"",
        ),
        (
            in_spec(json!({"type": "string", "anyOf": [{"type": "string"}]})),
            "openAPIV3Schema.properties[spec].anyOf[0].type: Forbidden: must be empty to be structural",
        ),
        (
            json!({"type": "object", "oneOf": [{"properties": {"a": {"minimum": 1}}}]}),
            "openAPIV3Schema.properties[a]: Required value: because it is defined in openAPIV3Schema.oneOf[0].properties[a]",
        ),
        (
            in_spec(json!({"type": "string", "not": {"description": "x"}})),
            "openAPIV3Schema.properties[spec].not.description: Forbidden: must be empty to be structural",
        ),
        (
            in_spec(json!({"type": "string", "pattern": "("})),
            "openAPIV3Schema.properties[spec].pattern: Invalid value: \"(\": must be a valid regular expression, but isn't",
        ),
        (
            in_spec(
                json!({"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": {"type": "string"}}),
            ),
            "openAPIV3Schema.properties[spec].additionalProperties: Forbidden: additionalProperties and properties are mutual exclusive",
        ),
        (
            in_spec(json!({"type": "array", "uniqueItems": true, "items": {"type": "string"}})),
            "openAPIV3Schema.properties[spec].uniqueItems: Forbidden: uniqueItems cannot be set to true since the runtime complexity becomes quadratic",
        ),
        (
            in_spec(
                json!({"type": "array", "x-kubernetes-list-type": "map", "items": {"type": "object"}}),
            ),
            "openAPIV3Schema.properties[spec].x-kubernetes-list-map-keys: Required value: must not be empty if x-kubernetes-list-type is map",
        ),
        (
            in_spec(json!({
                "type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
                "items": {"type": "object", "properties": {"name": {"type": "string"}}}
            })),
            "openAPIV3Schema.properties[spec].items.properties[name].default: Required value: this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property",
        ),
        (
            in_spec(json!({"type": "string", "x-kubernetes-list-type": "set"})),
            "openAPIV3Schema.properties[spec].type: Invalid value: \"string\": must be array if x-kubernetes-list-type is specified",
        ),
        (
            in_spec(json!({"type": "object", "x-kubernetes-preserve-unknown-fields": false})),
            "openAPIV3Schema.properties[spec].x-kubernetes-preserve-unknown-fields: Invalid value: false: must be true or undefined",
        ),
        (
            in_spec(json!({"type": "string", "default": 3})),
            "openAPIV3Schema.properties[spec].default: Invalid value: \"integer\":  in body must be of type string: \"integer\"",
        ),
        (
            in_spec(
                json!({"type": "object", "default": {"x": 1}, "properties": {"a": {"type": "string"}}}),
            ),
            "openAPIV3Schema.properties[spec].default: Invalid value: {\"x\":1}: must not have unknown fields",
        ),
        (
            json!({"type": "object", "properties": {"metadata": {"type": "object", "properties": {"labels": {"type": "object"}}}}}),
            "openAPIV3Schema.properties[metadata]: Forbidden: must not specify anything other than name and generateName, but metadata is implicitly specified",
        ),
        (
            json!({"type": "object", "properties": {"metadata": {"type": "object", "properties": {"name": {"type": "string", "default": "x"}}}}}),
            "openAPIV3Schema.properties[metadata].properties[name].default: Forbidden: must not be set in top-level metadata",
        ),
        (
            json!({"type": "object", "nullable": true}),
            "openAPIV3Schema.nullable: Forbidden: nullable cannot be true at the root",
        ),
        (
            in_spec(json!({"type": "object", "x-kubernetes-embedded-resource": true})),
            "openAPIV3Schema.properties[spec].properties: Required value: must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields",
        ),
    ];
    for (document, expected) in cases {
        let errors = refused(document.clone());
        assert!(
            errors.iter().any(|error| error.starts_with(expected)),
            "{document}: wanted {expected:?}, found {errors:#?}"
        );
    }
}

#[test]
fn deep_and_hostile_schemas_are_refused_in_bounded_space() {
    let mut deep = json!({"type": "string"});
    for _ in 0..200 {
        deep = json!({"type": "object", "properties": {"a": deep}});
    }
    let errors = refused(deep);
    assert!(
        errors[0].contains("schemas may nest at most 64 deep"),
        "{errors:?}"
    );
    for hostile in [
        json!(null),
        json!([]),
        json!("x"),
        json!({"type": 3}),
        json!({"type": "object", "properties": []}),
    ] {
        assert!(!refused(hostile).is_empty());
    }
}

#[test]
fn the_status_subresource_restricts_the_root() {
    let document = json!({"type": "object", "properties": {}, "anyOf": [{"required": ["spec"]}]});
    let errors =
        Structural::compile_at("schema", &document, Subresource::Status).expect_err("refused");
    assert!(
        errors[0]
            .detail
            .starts_with("only [Description Type Format"),
        "{errors:?}"
    );
    assert!(Structural::compile_at("schema", &document, Subresource::None).is_ok());
}

#[test]
fn metadata_is_judged_without_a_schema() {
    let faults = |metadata: Value| {
        texts(&super::validate_metadata(
            &json!({"metadata": metadata}),
            None,
        ))
    };
    assert_eq!(
        faults(json!({"name": "x", "labels": {"a/b": "c"}, "annotations": {"A/b": "any thing"}})),
        [] as [&str; 0]
    );
    assert_eq!(
        faults(json!({})),
        ["metadata.name: Required value: name or generateName is required"]
    );
    let bad = faults(json!({"name": "x", "labels": {"a b": "c d"}}));
    assert!(
        bad[0].starts_with("metadata.labels: Invalid value: \"a b\": name part must consist of"),
        "{bad:?}"
    );
    assert!(
        bad[1].starts_with("metadata.labels: Invalid value: \"c d\": a valid label must be"),
        "{bad:?}"
    );
    let big = "x".repeat(256 * 1024);
    assert_eq!(
        faults(json!({"name": "x", "annotations": {"a": big}})),
        ["metadata.annotations: Too long: may not be more than 262144 bytes"]
    );
    assert_eq!(
        faults(
            json!({"name": "x", "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "p"}]})
        ),
        ["metadata.ownerReferences.uid: Invalid value: \"\": must not be empty"]
    );
    assert_eq!(
        faults(json!({"name": "x", "labels": {"a": 1}})),
        ["metadata.labels: Invalid value: {\"a\":1}: must be of type map[string]string"]
    );
    let old = json!({"metadata": {"name": "x", "deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": ["a.b/c"]}});
    let new = json!({"metadata": {"name": "x", "deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": ["a.b/c", "a.b/d"]}});
    assert_eq!(
        texts(&super::validate_metadata(&new, Some(&old))),
        [
            "metadata.finalizers: Forbidden: no new finalizers can be added if the object is being deleted, found new finalizers []string{\"a.b/d\"}"
        ]
    );
}

mod properties {
    use proptest::prelude::*;
    use serde_json::{Map, Value, json};

    use super::schema;

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            (-20i64..20).prop_map(Value::from),
            "[a-d]{0,3}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("[a-e]", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect::<Map<_, _>>())),
            ]
        })
    }

    proptest! {
        #[test]
        fn pruning_and_defaulting_settle_and_never_panic(object in value()) {
            let schema = schema(json!({
                "type": "object",
                "properties": {
                    "a": {"type": "string", "default": "x", "maxLength": 2},
                    "b": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "integer"}},
                    "c": {"type": "object", "additionalProperties": {"type": "object", "properties": {"a": {"type": "boolean", "default": true}}}},
                    "d": {"x-kubernetes-preserve-unknown-fields": true},
                    "e": {"x-kubernetes-int-or-string": true}
                }
            }));
            let mut object = json!({"metadata": {"name": "x"}, "spec": object});
            schema.prune(&mut object);
            schema.default(&mut object);
            let once = object.clone();
            prop_assert!(schema.prune(&mut object).is_empty());
            schema.default(&mut object);
            prop_assert_eq!(&object, &once);
            schema.validate(&object, None);
            prop_assert!(schema.validate(&object, Some(&once)).iter().all(|error| error.path.contains('[')));
        }
    }
}
