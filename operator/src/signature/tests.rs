//! The signature's golden vector, and what must not verify.

use super::*;

fn key() -> Key {
    Key::from_bytes([7; 32])
}

fn labelled() -> BTreeMap<String, String> {
    let name = InstanceName::parse("default.shop.default.main.3fa9c2b041.0-1").expect("a name");
    let mut labels: BTreeMap<String, String> = instance_labels(&name)
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value))
        .collect();
    for (key, value) in [
        (labels::INSTALL, "0123456789abcdef0123456789abcdef"),
        (labels::HOST, "fedcba9876543210fedcba9876543210"),
        (labels::ROLE, "instance"),
        (labels::NAME, "default.shop.default.main.3fa9c2b041.0-1"),
        (labels::SPEC_HASH, "00ff"),
    ] {
        labels.insert(key.to_owned(), value.to_owned());
    }
    labels
}

fn verified(kind: ObjectKind, labels: &BTreeMap<String, String>) -> Option<Signed> {
    let labels = labels.clone().into_iter().collect();
    verify(&key(), kind, &labels)
}

/// Containers that run carry this signature: a build that makes another one disowns them.
#[test]
fn version_one_is_golden() {
    let mut labels = labelled();
    sign(&key(), ObjectKind::Container, &mut labels);
    assert_eq!(
        labels[labels::SIGNATURE],
        "v1.fec1705d76389cae9847a12011bb9d145c56ec902487dfc7e09abdad4ca16d21"
    );
}

#[test]
fn what_is_signed_reads_back() {
    let mut labels = labelled();
    labels.insert("com.example/other".to_owned(), "x".to_owned());
    sign(&key(), ObjectKind::Container, &mut labels);
    labels.insert("com.example/other".to_owned(), "y".to_owned());
    let signed = verified(ObjectKind::Container, &labels).expect("ours");
    assert_eq!(signed.role, Role::Instance);
    assert_eq!(
        signed.instance.expect("an instance").to_string(),
        signed.name
    );
    assert_eq!(signed.host, "fedcba9876543210fedcba9876543210");
}

#[test]
fn every_signed_label_and_the_kind_are_covered() {
    let mut labels = labelled();
    sign(&key(), ObjectKind::Container, &mut labels);
    assert_eq!(verified(ObjectKind::Volume, &labels), None);
    for name in labels::SIGNED_V1 {
        let mut other = labels.clone();
        other.insert(name.to_owned(), "7".to_owned());
        assert_eq!(verified(ObjectKind::Container, &other), None, "{name}");
        other.remove(name);
        assert_eq!(verified(ObjectKind::Container, &other), None, "{name}");
    }
    let all = labels.clone().into_iter().collect();
    assert_eq!(
        verify(&Key::from_bytes([8; 32]), ObjectKind::Container, &all),
        None
    );
    for forged in ["", "v1.", "v1.00", "v2.00", "v1.zz"] {
        labels.insert(labels::SIGNATURE.to_owned(), forged.to_owned());
        assert_eq!(verified(ObjectKind::Container, &labels), None, "{forged}");
    }
}

/// Moving a character from one label into the next must not give the same bytes.
#[test]
fn labels_are_hashed_apart() {
    let of = |namespace: &str, pipeline: &str| {
        let mut labels = labelled();
        labels.insert(labels::NAMESPACE.to_owned(), namespace.to_owned());
        labels.insert(labels::PIPELINE.to_owned(), pipeline.to_owned());
        sign(&key(), ObjectKind::Container, &mut labels);
        labels[labels::SIGNATURE].clone()
    };
    assert_ne!(of("ab", "c"), of("a", "bc"));
}

/// What the first build put on a host is ours for ever.
#[test]
fn the_labels_of_the_first_build_are_ours() {
    let key = Key::parse(include_str!("../../../tests/golden/first/install.key")).expect("a key");
    let rows: Vec<serde_json::Value> =
        serde_json::from_str(include_str!("../../../tests/golden/first/labels.json"))
            .expect("rows");
    assert!(rows.len() > 8, "containers, a network and volumes");
    for row in rows {
        let kind = match row["kind"].as_str() {
            Some("container") => ObjectKind::Container,
            Some("network") => ObjectKind::Network,
            Some("volume") => ObjectKind::Volume,
            other => panic!("{other:?} is no kind of object"),
        };
        let labels = serde_json::from_value(row["labels"].clone()).expect("labels");
        let signed =
            verify(&key, kind, &labels).unwrap_or_else(|| panic!("{} is not ours", row["name"]));
        assert_eq!(Some(signed.name.as_str()), row["name"].as_str());
    }
}
