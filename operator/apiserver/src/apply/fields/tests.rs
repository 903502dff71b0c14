//! The wire form of path elements and sets, and the text of paths.

use serde_json::json;

use super::{FieldSet, FieldsError, PathElement, path_text};

#[test]
fn elements_have_the_wire_form_of_kubernetes() {
    let cases = [
        (PathElement::field("spec"), "f:spec", ".spec"),
        (PathElement::field("a.b/c:d"), "f:a.b/c:d", ".a.b/c:d"),
        (
            PathElement::key(vec![
                ("protocol".into(), json!("TCP")),
                ("port".into(), json!(80)),
            ]),
            r#"k:{"port":80,"protocol":"TCP"}"#,
            r#"[port=80,protocol="TCP"]"#,
        ),
        (
            PathElement::Value(json!("x\"y")),
            r#"v:"x\"y""#,
            r#"[="x\"y"]"#,
        ),
        (PathElement::Value(json!(2.0)), "v:2", "[=2]"),
        (PathElement::Value(json!(true)), "v:true", "[=true]"),
        (PathElement::Index(3), "i:3", "[3]"),
    ];
    for (element, wire, text) in cases {
        assert_eq!(element.wire(), wire);
        assert_eq!(PathElement::parse(wire), Ok(Some(element.clone())));
        assert_eq!(path_text(&[element]), text);
    }
}

#[test]
fn an_unknown_kind_of_element_is_dropped_and_nonsense_refused() {
    assert_eq!(PathElement::parse("z:later"), Ok(None));
    for nonsense in ["", "f", "spec", "v:{", "i:x", "k:[]", "kk:x"] {
        assert_eq!(
            PathElement::parse(nonsense),
            Err(FieldsError::BadElement(nonsense.to_owned())),
            "{nonsense}"
        );
    }
    let set = FieldSet::from_fields_v1(&json!({"z:later": {}, "f:a": {"z:later": {}}}))
        .expect("readable");
    assert_eq!(set.to_fields_v1(), json!({"f:a": {}}));
    assert_eq!(
        FieldSet::from_fields_v1(&json!([])),
        Err(FieldsError::NotAnObject)
    );
    assert_eq!(
        FieldSet::from_fields_v1(&json!({"f:a": 1})),
        Err(FieldsError::NotAnObject)
    );
}

#[test]
fn a_member_with_children_is_written_with_a_dot() {
    let wire =
        json!({"f:spec": {"f:list": {".": {}, "k:{\"name\":\"a\"}": {".": {}, "f:image": {}}}}});
    let set = FieldSet::from_fields_v1(&wire).expect("readable");
    assert!(set.has(&[PathElement::field("spec"), PathElement::field("list")]));
    assert!(!set.has(&[PathElement::field("spec")]));
    assert_eq!(set.to_fields_v1(), wire);
    assert_eq!(set.to_fields_v1().to_string(), wire.to_string());
}

#[test]
fn difference_keeps_what_is_below_and_the_recursive_one_does_not() {
    let set = FieldSet::of_fields(&[&["a"], &["a", "b"], &["c"]]);
    let a = FieldSet::of_fields(&[&["a"]]);
    assert_eq!(
        set.difference(&a),
        FieldSet::of_fields(&[&["a", "b"], &["c"]])
    );
    assert_eq!(set.recursive_difference(&a), FieldSet::of_fields(&[&["c"]]));
}
