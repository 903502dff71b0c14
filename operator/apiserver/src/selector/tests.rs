//! Selectors in tables: a text, labels or an object, and whether it is selected.

use proptest::prelude::*;
use serde_json::json;

use super::{FieldSelector, LabelSelector};
use crate::builtin;
use crate::resource::{Resource, tests::widget};

#[test]
fn label_selectors_select() {
    let labels = json!({"app": "web", "tier": "front", "n": "5", "example.com/x": "", "empty": ""});
    for (text, selected) in [
        ("", true),
        ("app=web", true),
        ("app==web", true),
        ("app = web , tier = front", true),
        ("app=api", false),
        ("app!=api", true),
        ("none!=x", true),
        ("app", true),
        ("none", false),
        ("!none", true),
        ("!app", false),
        ("app in (web, api)", true),
        ("app in (api)", false),
        ("app notin (api)", true),
        ("none notin (api)", true),
        ("app notin (web,api)", false),
        ("n>4", true),
        ("n<5", false),
        ("app>4", false),
        ("example.com/x", true),
        ("empty=", true),
        ("app=", false),
        ("app in (,web)", true),
        ("empty in ()", true),
        ("in in (a),notin notin (b)", false),
    ] {
        let selector = LabelSelector::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(selector.matches(&labels), selected, "{text}");
    }
    assert!(LabelSelector::parse("a!=b").unwrap().matches(&json!(null)));
}

#[test]
fn malformed_label_selectors_are_refused() {
    for (text, error) in [
        ("a=b=c", "found '=', expected: ',' or 'end of string'"),
        ("a,", "found '', expected: identifier after ','"),
        (
            "=a",
            "found '=', expected: !, identifier, or 'end of string'",
        ),
        ("a in b", "expected: '('"),
        ("a in (b", "expected: ',' or ')'"),
        ("a b", "found 'b', expected: in, notin, =, ==, !=, gt, lt"),
        ("a_/b=c", "key: Invalid value: \"a_/b\""),
        ("a=b/c", "values[0][a]: Invalid value: \"b/c\""),
        (
            "a>b",
            "for 'Gt', 'Lt' operators, the value must be an integer",
        ),
    ] {
        let found = LabelSelector::parse(text).expect_err(text);
        assert!(found.contains(error), "{text}: {found}");
    }
    let many = vec!["a"; 300].join(",");
    assert!(LabelSelector::parse(&many).is_err());
}

fn builtin(kind: &str) -> Resource {
    let found = builtin::all()
        .iter()
        .find(|found| found.kind == kind && found.group.is_empty());
    Resource::from_builtin(found.expect("it is built in"))
}

#[test]
fn field_selectors_select() {
    let widget = widget();
    let object = json!({"metadata": {"name": "a", "namespace": "b"}, "spec": {"color": "red"}});
    for (text, selected) in [
        ("", true),
        ("metadata.name=a", true),
        ("metadata.name==a,metadata.namespace=b", true),
        ("metadata.name!=a", false),
        ("spec.color=red", true),
        ("spec.color!=red", false),
        ("metadata.name=a\\,b", false),
    ] {
        let selector = FieldSelector::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        selector
            .check(&widget)
            .unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(selector.matches(&widget, &object), selected, "{text}");
    }
    let event = builtin("Event");
    let object = json!({
        "metadata": {"name": "e"}, "reason": "Started", "type": "Normal", "source": {},
        "reportingComponent": "mine", "involvedObject": {"kind": "Widget", "name": "a"}
    });
    for (text, selected) in [
        ("involvedObject.kind=Widget,involvedObject.name=a", true),
        ("involvedObject.uid=", true),
        ("reason!=Started", false),
        ("source=mine", true),
        ("type=Normal", true),
    ] {
        let selector = FieldSelector::parse(text).unwrap();
        selector
            .check(&event)
            .unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(selector.matches(&event, &object), selected, "{text}");
    }
    assert_eq!(
        FieldSelector::parse("metadata.name=x")
            .unwrap()
            .required("metadata.name"),
        Some("x")
    );
}

#[test]
fn unknown_fields_and_malformed_field_selectors_are_refused() {
    let selector = FieldSelector::parse("spec.size=1").unwrap();
    assert_eq!(
        selector.check(&widget()).unwrap_err(),
        "field label not supported: spec.size"
    );
    assert!(
        FieldSelector::parse("type=x")
            .unwrap()
            .check(&builtin("Secret"))
            .is_ok()
    );
    assert!(
        FieldSelector::parse("metadata.namespace=x")
            .unwrap()
            .check(&builtin("Namespace"))
            .is_err()
    );
    for text in ["a", "a=b=c", "a=b\\", "a=\\x"] {
        assert!(FieldSelector::parse(text).is_err(), "{text}");
    }
    assert_eq!(
        FieldSelector::parse("a").unwrap_err(),
        "invalid selector: 'a'; can't understand 'a'"
    );
}

proptest! {
    #[test]
    fn no_text_breaks_the_parsers(text in "[a-c =!,()<>\\\\./]{0,40}|.{0,20}") {
        if let Ok(selector) = LabelSelector::parse(&text) {
            selector.matches(&json!({"a": "b"}));
        }
        let _ = FieldSelector::parse(&text);
    }
}
