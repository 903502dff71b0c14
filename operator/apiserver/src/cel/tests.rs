//! What rules accept and refuse, in tables: a schema with rules, an object, the old one, and what Kubernetes says.

// Tables of cases are longer than functions may be.
#![allow(clippy::too_many_lines)]

use serde_json::{Value, json};

use crate::schema::Structural;

fn compiled(document: &Value) -> Structural {
    Structural::compile(document).unwrap_or_else(|errors| {
        let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
        panic!("{document}: {}", texts.join("; "))
    })
}

fn texts(errors: &[crate::schema::FieldError]) -> Vec<String> {
    errors.iter().map(ToString::to_string).collect()
}

/// Everything that rules are tried on.
fn spec_schema(rule: &Value) -> Value {
    json!({
        "type": "object",
        "properties": {"spec": {
            "type": "object",
            "properties": {
                "n": {"type": "integer"},
                "m": {"type": "integer"},
                "f": {"type": "number"},
                "s": {"type": "string", "maxLength": 100},
                "t": {"type": "string", "maxLength": 100},
                "flag": {"type": "boolean"},
                "when": {"type": "string", "format": "date-time"},
                "long": {"type": "string", "format": "duration"},
                "raw": {"type": "string", "format": "byte", "maxLength": 100},
                "either": {"x-kubernetes-int-or-string": true, "maxLength": 20},
                "names": {"type": "array", "maxItems": 20, "items": {"type": "string", "maxLength": 20}},
                "set": {"type": "array", "maxItems": 20, "x-kubernetes-list-type": "set", "items": {"type": "string", "maxLength": 20}},
                "map": {"type": "object", "maxProperties": 20, "additionalProperties": {"type": "string", "maxLength": 20}},
                "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
                "foo-bar": {"type": "integer"},
                "namespace": {"type": "string", "maxLength": 20},
                "my_field": {"type": "integer"},
                "maybe": {"type": "string", "nullable": true, "maxLength": 20},
                "ports": {
                    "type": "array",
                    "maxItems": 20,
                    "x-kubernetes-list-type": "map",
                    "x-kubernetes-list-map-keys": ["name"],
                    "items": {
                        "type": "object",
                        "required": ["name"],
                        "properties": {"name": {"type": "string", "maxLength": 20}, "port": {"type": "integer"}}
                    }
                }
            },
            "x-kubernetes-validations": [rule]
        }}
    })
}

/// What a rule on `spec` says of an object.
fn judged(rule: &str, spec: Value) -> Vec<String> {
    let structural = compiled(&spec_schema(&json!({"rule": rule, "message": "broken"})));
    texts(&super::validate(&structural, &json!({"spec": spec}), None))
}

#[test]
fn rules_that_hold() {
    let spec = json!({
        "n": 3, "m": 7, "f": 1.5, "s": "hello", "t": "10.0.0.0/8", "flag": true,
        "when": "2026-01-02T03:04:05Z", "long": "1h30m", "raw": "aGVsbG8=", "either": "25%",
        "names": ["a", "b", "c"], "set": ["x", "y"], "map": {"k": "v", "a.b/c": "d"},
        "free": {"anything": 1}, "foo-bar": 1, "namespace": "ns", "my_field": 4, "maybe": null,
        "ports": [{"name": "http", "port": 80}, {"name": "https", "port": 443}]
    });
    for rule in [
        "self.n < self.m",
        "self.n + self.m == 10 && self.m - self.n == 4 && self.n * 2 == 6 && self.m / 2 == 3 && self.m % 2 == 1",
        "self.f > 1.0 && self.f < double(self.n)",
        "self.n < 3.5 && self.f < 2",
        "!(self.n == 4) && -self.n == -3",
        "self.s.startsWith('he') && self.s.endsWith('lo') && self.s.contains('ell') && self.s.matches('^[a-z]+$')",
        "size(self.s) == 5 && self.s.size() == 5 && self.names.size() == 3 && size(self.map) == 2",
        "self.s.upperAscii() == 'HELLO' && 'A'.lowerAscii() == 'a' && ' x '.trim() == 'x'",
        "self.s.substring(1, 3) == 'el' && self.s.charAt(0) == 'h' && self.s.indexOf('l') == 2 && self.s.lastIndexOf('l') == 3",
        "self.s.replace('l', 'L') == 'heLLo' && 'a,b'.split(',') == ['a', 'b'] && self.names.join('-') == 'a-b-c'",
        "'%s has %d'.format([self.s, self.n]) == 'hello has 3'",
        "self.s.find('l+') == 'll' && self.s.findAll('l') == ['l', 'l']",
        "has(self.s) && !has(self.t) || self.t == '10.0.0.0/8'",
        "has(self.flag) ? self.flag : false",
        "self.names.all(x, size(x) == 1) && self.names.exists(x, x == 'b') && self.names.exists_one(x, x == 'c')",
        "self.names.map(x, x + '!') == ['a!', 'b!', 'c!'] && self.names.filter(x, x > 'a') == ['b', 'c']",
        "self.names.map(x, x != 'b', x + '?') == ['a?', 'c?']",
        "self.names.all(i, v, i < 3 && v != '') && self.map.exists(k, v, k == 'k' && v == 'v')",
        "self.names.transformList(i, v, i) == [0, 1, 2] && self.map.transformMap(k, v, v + 'x')['k'] == 'vx'",
        "'b' in self.names && !('z' in self.names) && 'k' in self.map && 'a.b/c' in self.map",
        "self.map['k'] == 'v' && self.map.k == 'v' && self.map.all(k, self.map[k] != '')",
        "self.names[0] == 'a' && self.names == ['a', 'b', 'c']",
        "self.set == ['y', 'x'] && self.set + ['x', 'z'] == ['x', 'y', 'z']",
        "self.ports.exists(p, p.name == 'http' && p.port == 80)",
        "self.ports.map(p, p.port).sum() == 523 && self.ports.map(p, p.port).max() == 443 && [1, 2].isSorted()",
        "self.foo__dash__bar == 1 && self.__namespace__ == 'ns' && self.my_field == 4",
        "!has(self.maybe)",
        "format.named('uuid').hasValue() && format.named('uuid').value().validate('x').hasValue()",
        "!format.named('none').hasValue()",
        "type(self.either) == string ? self.either.endsWith('%') : self.either > 0",
        "self.when > timestamp('2025-01-01T00:00:00Z') && self.when.getFullYear() == 2026 && self.when.getMonth() == 0",
        "self.when + duration('1h') - self.when == duration('3600s')",
        "self.long == duration('90m') && self.long.getMinutes() == 90",
        "size(self.raw) == 5 && string(self.raw) == 'hello'",
        "quantity('1Gi').isGreaterThan(quantity('500Mi')) && isQuantity('10m') && quantity('1k').asInteger() == 1000",
        "isCIDR(self.t) && cidr(self.t).containsIP('10.1.2.3') && cidr(self.t).prefixLength() == 8",
        "isIP('::1') && ip('127.0.0.1').isLoopback() && ip('10.0.0.1').family() == 4",
        "isURL('https://a.example:80/b') && url('https://a.example:80/b').getHostname() == 'a.example'",
        "semver('1.2.3').isLessThan(semver('1.3.0')) && semver('1.2.3').major() == 1",
        "!format.dns1123Label().validate('my-name').hasValue() && format.dns1123Label().validate('A_').hasValue()",
        "sets.contains(self.names, ['a', 'c']) && sets.intersects(self.set, ['x']) && sets.equivalent([1, 2], [2, 1, 1])",
        "self.?s.orValue('none') == 'hello' && self.?s.hasValue() && optional.none().orValue(1) == 1",
        "self.?s.optMap(x, x == 'hello').orValue(false)",
        "int('3') == self.n && string(self.n) == '3' && double('1.5') == self.f && bool('true')",
        "{'a': 1, 'b': 2}['b'] == 2 && 'a' in {'a': 1}",
        "true || self.names[9] == 'x'",
        "self.names[9] == 'x' || true",
        "!(self.names[9] == 'x' && false)",
        "has(self.free)",
    ] {
        assert_eq!(judged(rule, spec.clone()), [] as [&str; 0], "{rule}");
    }
}

#[test]
fn rules_that_do_not_hold_or_fail() {
    let spec = json!({"n": 3, "names": ["a"], "either": "x", "map": {}});
    for (rule, error) in [
        ("self.n > 3", "spec: Invalid value: broken"),
        (
            "self.names[1] == 'x'",
            "spec: Invalid value: \"object\": index out of bounds: 1 evaluating rule: broken",
        ),
        (
            "self.m == 1",
            "spec: Invalid value: \"object\": no such key: m evaluating rule: broken",
        ),
        (
            "self.map['k'] == ''",
            "spec: Invalid value: \"object\": no such key: k evaluating rule: broken",
        ),
        (
            "1 / (self.n - 3) == 1",
            "spec: Invalid value: \"object\": division by zero evaluating rule: broken",
        ),
        (
            "self.n + 9223372036854775807 > 0",
            "spec: Invalid value: \"object\": integer overflow evaluating rule: broken",
        ),
        (
            "self.either > 3",
            "spec: Invalid value: \"object\": 'no such overload': call arguments did not match a supported operator, function or macro signature for rule: broken",
        ),
    ] {
        assert_eq!(judged(rule, spec.clone()), [error], "{rule}");
    }
}

/// What a rule on `spec` is refused for.
fn refused(rule: Value) -> Vec<String> {
    texts(&Structural::compile(&spec_schema(&rule)).expect_err("the rule is refused"))
}

#[test]
fn rules_that_cannot_be_right_are_refused_when_they_are_written() {
    for (rule, error) in [
        (
            json!({"rule": "self.nothing == 1"}),
            "undefined field 'nothing'",
        ),
        (
            json!({"rule": "other == 1"}),
            "undeclared reference to 'other' (in container '')",
        ),
        (
            json!({"rule": "frob(self.s)"}),
            "undeclared reference to 'frob' (in container '')",
        ),
        (
            json!({"rule": "self.s.frob()"}),
            "undeclared reference to 'frob' (in container '')",
        ),
        (
            json!({"rule": "self.n == 'x'"}),
            "found no matching overload for '_==_' applied to '(int, string)'",
        ),
        (
            json!({"rule": "self.n + 1.5 > 2.0"}),
            "found no matching overload for '_+_' applied to '(int, double)'",
        ),
        (
            json!({"rule": "self.n.startsWith('x')"}),
            "found no matching overload for 'startsWith' applied to 'int.(string)'",
        ),
        (
            json!({"rule": "self.n"}),
            "cel expression must evaluate to a bool",
        ),
        (json!({"rule": "self.n >"}), "compilation failed: "),
        (
            json!({"rule": "self.free.anything == 1"}),
            "undefined field 'anything'",
        ),
        (
            json!({"rule": "self.s.matches('(')"}),
            "invalid matches argument",
        ),
        (
            json!({"rule": "duration('x') > duration('1s')"}),
            "invalid duration argument",
        ),
        (
            json!({"rule": "[1, 'a'].size() == 2"}),
            "expected type 'int' but found 'string'",
        ),
        (
            json!({"rule": "self.n.all(x, true)"}),
            "cannot be range of a comprehension",
        ),
        (json!({"rule": ""}), "rule is not specified"),
        (
            json!({"rule": "self.n == 1", "message": "a\nb"}),
            "must not contain line breaks",
        ),
        (
            json!({"rule": "self.n == 1 &&\n self.m == 1"}),
            "message must be specified if rule contains line breaks",
        ),
        (
            json!({"rule": "self.n == 1", "reason": "Because"}),
            "Unsupported value: \"Because\"",
        ),
        (
            json!({"rule": "self.n == 1", "fieldPath": ".nothing"}),
            "must be a valid path",
        ),
        (
            json!({"rule": "self.n == 1", "messageExpression": "self.n"}),
            "messageExpression must evaluate to a string",
        ),
        (
            json!({"rule": "self.n == 1", "messageExpression": "self.x"}),
            "messageExpression compilation failed",
        ),
        (
            json!({"rule": "self.n == 1", "optionalOldSelf": true}),
            "may not be set if oldSelf is not used in rule",
        ),
    ] {
        let errors = refused(rule.clone());
        assert!(
            errors.iter().any(|text| text.contains(error)),
            "{rule}: wanted {error:?}, found {errors:#?}"
        );
    }
    let error = refused(json!({"rule": "self.nothing == 1"})).remove(0);
    assert!(
        error.contains(
            "ERROR: <input>:1:5: undefined field 'nothing'\n | self.nothing == 1\n | ....^"
        ),
        "{error}"
    );
}

#[test]
fn rules_that_cost_too_much_are_refused() {
    let unbounded = json!({
        "type": "object",
        "properties": {"spec": {
            "type": "object",
            "properties": {"list": {"type": "array", "items": {"type": "string"}}},
            "x-kubernetes-validations": [{"rule": "self.list.all(x, self.list.exists(y, x == y))", "message": "m"}]
        }}
    });
    let errors = texts(&Structural::compile(&unbounded).expect_err("too expensive"));
    assert!(errors.iter().any(|text| text.contains("estimated rule cost exceeds budget by factor of more than 100x (try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are declared)")), "{errors:#?}");
    let bounded = json!({
        "type": "object",
        "properties": {"spec": {
            "type": "object",
            "properties": {"list": {"type": "array", "maxItems": 50, "items": {"type": "string", "maxLength": 50}}},
            "x-kubernetes-validations": [{"rule": "self.list.all(x, self.list.exists(y, x == y))", "message": "m"}]
        }}
    });
    assert!(Structural::compile(&bounded).is_ok());
}

#[test]
fn transition_rules_compare_only_what_can_be_found_again() {
    let structural = compiled(&json!({
        "type": "object",
        "properties": {"spec": {
            "type": "object",
            "properties": {
                "fixed": {"type": "string", "x-kubernetes-validations": [{"rule": "self == oldSelf", "message": "is immutable"}]},
                "once": {"type": "string", "x-kubernetes-validations": [
                    {"rule": "oldSelf.hasValue() ? oldSelf.value() == self : self != 'no'", "optionalOldSelf": true, "message": "set once, not to no"}
                ]},
                "ports": {
                    "type": "array",
                    "x-kubernetes-list-type": "map",
                    "x-kubernetes-list-map-keys": ["name"],
                    "items": {
                        "type": "object",
                        "required": ["name"],
                        "properties": {"name": {"type": "string"}, "n": {"type": "integer"}},
                        "x-kubernetes-validations": [{"rule": "self.n >= oldSelf.n", "message": "only grows"}]
                    }
                }
            }
        }}
    }));
    let judged = |new: Value, old: Option<Value>| {
        let old = old.map(|old| json!({"spec": old}));
        texts(&super::validate(
            &structural,
            &json!({"spec": new}),
            old.as_ref(),
        ))
    };
    assert_eq!(judged(json!({"fixed": "a"}), None), [] as [&str; 0]);
    assert_eq!(
        judged(json!({"fixed": "a"}), Some(json!({"fixed": "a"}))),
        [] as [&str; 0]
    );
    assert_eq!(
        judged(json!({"fixed": "a"}), Some(json!({}))),
        [] as [&str; 0]
    );
    assert_eq!(
        judged(json!({}), Some(json!({"fixed": "a"}))),
        [] as [&str; 0]
    );
    assert_eq!(
        judged(json!({"fixed": "b"}), Some(json!({"fixed": "a"}))),
        ["spec.fixed: Invalid value: \"b\": is immutable"]
    );
    assert_eq!(judged(json!({"once": "yes"}), None), [] as [&str; 0]);
    assert_eq!(
        judged(json!({"once": "no"}), None),
        ["spec.once: Invalid value: \"no\": set once, not to no"]
    );
    assert_eq!(
        judged(json!({"once": "b"}), Some(json!({"once": "a"}))),
        ["spec.once: Invalid value: \"b\": set once, not to no"]
    );
    let old = json!({"ports": [{"name": "a", "n": 1}, {"name": "b", "n": 5}]});
    assert_eq!(
        judged(
            json!({"ports": [{"name": "b", "n": 4}, {"name": "c", "n": 0}, {"name": "a", "n": 2}]}),
            Some(old)
        ),
        ["spec.ports[0]: Invalid value: only grows"]
    );
    let atomic = json!({
        "type": "object",
        "properties": {"list": {"type": "array", "maxItems": 5, "items": {
            "type": "string", "maxLength": 5, "x-kubernetes-validations": [{"rule": "self == oldSelf"}]
        }}}
    });
    let errors = texts(&Structural::compile(&atomic).expect_err("uncorrelatable"));
    assert_eq!(
        errors,
        [
            "openAPIV3Schema.properties[list].items.x-kubernetes-validations[0].rule: Invalid value: \"self == oldSelf\": oldSelf cannot be used on the uncorrelatable portion of the schema within openAPIV3Schema.properties[list]"
        ]
    );
}

#[test]
fn messages_reasons_and_paths_are_what_the_rule_says() {
    let judged = |rule: Value| {
        let structural = compiled(&spec_schema(&rule));
        texts(&super::validate(
            &structural,
            &json!({"spec": {"n": 1, "s": "x", "map": {}}}),
            None,
        ))
        .remove(0)
    };
    for (rule, error) in [
        (
            json!({"rule": "self.n > 1"}),
            "spec: Invalid value: failed rule: self.n > 1",
        ),
        (
            json!({"rule": "self.n > 1", "message": " too small "}),
            "spec: Invalid value: too small",
        ),
        (
            json!({"rule": "self.n > 1", "message": "static", "messageExpression": "'s is ' + self.s"}),
            "spec: Invalid value: s is x",
        ),
        (
            json!({"rule": "self.n > 1", "message": "static", "messageExpression": "self.map['none']"}),
            "spec: Invalid value: static",
        ),
        (
            json!({"rule": "self.n > 1", "message": "m", "reason": "FieldValueForbidden"}),
            "spec: Forbidden: m",
        ),
        (
            json!({"rule": "self.n > 1", "message": "m", "reason": "FieldValueRequired", "fieldPath": ".m"}),
            "spec.m: Required value: m",
        ),
        (
            json!({"rule": "self.n > 1", "message": "m", "fieldPath": ".map['a.b']"}),
            "spec.map[a.b]: Invalid value: m",
        ),
    ] {
        assert_eq!(judged(rule.clone()), error, "{rule}");
    }
}

#[test]
fn the_root_sees_its_name_and_kind_and_nothing_else_of_metadata() {
    let document = |rule: &str| {
        json!({
            "type": "object",
            "properties": {
                "metadata": {"type": "object", "properties": {"name": {"type": "string", "maxLength": 40}}},
                "spec": {"type": "object"}
            },
            "x-kubernetes-validations": [{"rule": rule, "message": "broken", "fieldPath": ".metadata.name"}]
        })
    };
    let structural = compiled(&document(
        "self.metadata.name.size() <= 3 && self.kind == 'X'",
    ));
    let object =
        |name: &str| json!({"apiVersion": "a/v1", "kind": "X", "metadata": {"name": name}});
    assert_eq!(super::validate(&structural, &object("abc"), None), []);
    assert_eq!(
        texts(&super::validate(&structural, &object("abcd"), None)),
        ["metadata.name: Invalid value: broken"]
    );
    assert!(Structural::compile(&document("has(self.metadata.labels)")).is_err());
}

#[test]
fn unset_and_null_fields_are_not_judged_and_unchanged_ones_are_let_pass() {
    let structural = compiled(&json!({
        "type": "object",
        "properties": {"spec": {
            "type": "object",
            "properties": {
                "a": {"type": "integer", "nullable": true, "x-kubernetes-validations": [{"rule": "self > 5", "message": "m"}]},
                "b": {"type": "integer"}
            }
        }}
    }));
    let judged =
        |new: Value, old: Option<Value>| super::validate(&structural, &new, old.as_ref()).len();
    assert_eq!(judged(json!({"spec": {}}), None), 0);
    assert_eq!(judged(json!({"spec": {"a": null}}), None), 0);
    assert_eq!(judged(json!({"spec": {"a": 1}}), None), 1);
    assert_eq!(
        judged(
            json!({"spec": {"a": 1, "b": 2}}),
            Some(json!({"spec": {"a": 1, "b": 1}}))
        ),
        0
    );
    assert_eq!(
        judged(json!({"spec": {"a": 2}}), Some(json!({"spec": {"a": 1}}))),
        1
    );
}

#[test]
fn defaults_must_satisfy_the_rules() {
    let document = json!({
        "type": "object",
        "properties": {"spec": {
            "type": "object",
            "default": {"a": 1},
            "properties": {"a": {"type": "integer"}},
            "x-kubernetes-validations": [{"rule": "self.a > 1", "message": "m"}]
        }}
    });
    assert_eq!(
        texts(&Structural::compile(&document).expect_err("refused")),
        ["openAPIV3Schema.properties[spec].default: Invalid value: m"]
    );
}

#[test]
fn an_expensive_evaluation_ends_by_its_budget() {
    // The estimate is made from the bounds of the schema; an object over them is stopped by the count.
    let structural = compiled(&json!({
        "type": "object",
        "properties": {"spec": {
            "type": "object",
            "properties": {"list": {"type": "array", "maxItems": 90, "items": {"type": "integer"}}},
            "x-kubernetes-validations": [{"rule": "self.list.all(x, self.list.all(y, self.list.all(z, x + y + z > 0)))", "message": "m"}]
        }}
    }));
    let object = json!({"spec": {"list": vec![1; 90]}});
    let errors = texts(&super::validate(&structural, &object, None));
    assert_eq!(errors.len(), 1);
    assert!(
        errors[0]
            .contains("no further validation rules will be run due to call cost exceeds limit"),
        "{errors:?}"
    );
}

#[test]
fn malformed_and_deep_rules_are_refused_in_bounded_time_and_stack() {
    let long_sum = format!("self.n == {}", vec!["1"; 4000].join("+"));
    let nested = format!("{}self.n == 1{}", "(".repeat(4000), ")".repeat(4000));
    let lists = format!("{}{} == self.names", "[".repeat(4000), "]".repeat(4000));
    let garbage = "self.[[[[[[{{{{{(((((".repeat(300);
    let ands = vec!["self.n == 1"; 500].join(" && ");
    let huge = "x".repeat(9000);
    // As on a runtime's worker thread.
    let worker = std::thread::Builder::new()
        .stack_size(2 << 20)
        .spawn(move || {
            for rule in [&long_sum, &nested, &lists, &garbage, &huge] {
                let errors = refused(json!({"rule": rule, "message": "m"}));
                assert!(!errors.is_empty());
            }
            assert!(
                Structural::compile(&spec_schema(&json!({"rule": ands, "message": "m"}))).is_ok()
            );
        });
    worker
        .expect("a thread starts")
        .join()
        .expect("no rule breaks the parser");
}

mod properties {
    use proptest::prelude::*;
    use serde_json::json;

    use super::spec_schema;
    use crate::schema::Structural;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]
        #[test]
        fn no_text_breaks_the_compiler(parts in prop::collection::vec(prop_oneof![
            Just("self"), Just(".n"), Just(".names"), Just(".map"), Just("["), Just("]"), Just("("), Just(")"), Just("{"), Just("}"),
            Just("1"), Just("'a'"), Just("&&"), Just("||"), Just("=="), Just("+"), Just("?"), Just(":"), Just(","), Just(".all(x,"),
            Just(".map(y, y"), Just("has("), Just("!"), Just("-"), Just(" in "), Just("oldSelf"), Just("size("), Just(".?s"), Just("null"),
        ], 1..24)) {
            let _ = Structural::compile(&spec_schema(&json!({"rule": parts.concat(), "message": "m"})));
        }
    }
}
