//! Images that exist only on the hosts: what they contain, and what they are called.
//!
//! IDs differ between Engines and image stores (F23), and a digest in an inspect proves nothing
//! (F24), so an image is compared by what it contains: platform, layers and the part of its
//! configuration that a container inherits. Must not know releases.

use std::collections::BTreeMap;

use bollard::models::ImageInspect;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::hex;

/// The reference as the Engine lists it: without the default registry, with a tag.
pub fn normal(reference: &str) -> String {
    // The Engine's default registry, which it leaves out of the names that it lists.
    const DEFAULT: [&str; 4] = [
        "docker.io/library/",
        "index.docker.io/library/",
        "docker.io/",
        "index.docker.io/",
    ];
    let bare = DEFAULT
        .iter()
        .find_map(|prefix| reference.strip_prefix(prefix))
        .unwrap_or(reference);
    let last = bare.rsplit('/').next().unwrap_or(bare);
    if last.contains(':') || last.contains('@') {
        bare.to_owned()
    } else {
        format!("{bare}:latest")
    }
}

/// A hash of what the image contains, 64 hex digits, equal on every Engine.
pub fn content(image: &ImageInspect) -> String {
    let bytes = canonical(&document(image)).to_string();
    hex::encode(&Sha256::digest(bytes.as_bytes()))
}

/// What a container inherits, with absent and empty being equal.
fn document(image: &ImageInspect) -> Value {
    let layers = image.root_fs.as_ref().and_then(|root| root.layers.clone());
    let config = serde_json::to_value(&image.config).unwrap_or(Value::Null);
    let inherited: BTreeMap<&str, Value> = [
        "Env",
        "Entrypoint",
        "Cmd",
        "WorkingDir",
        "User",
        "ExposedPorts",
        "Volumes",
        "Labels",
        "Healthcheck",
        "StopSignal",
        "Shell",
    ]
    .into_iter()
    .filter_map(|key| Some((key, present(config.get(key)?)?)))
    .collect();
    json!({
        "Os": image.os,
        "Architecture": image.architecture,
        "Variant": image.variant.as_deref().filter(|variant| !variant.is_empty()),
        "Layers": layers.unwrap_or_default(),
        "Config": inherited,
    })
}

/// The value, unless it is null or empty.
fn present(value: &Value) -> Option<Value> {
    let empty = match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    };
    (!empty).then(|| value.clone())
}

/// The same value with the keys of every object in order, whatever order the map keeps.
pub fn canonical(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let sorted: BTreeMap<&String, Value> = fields
                .iter()
                .map(|(key, value)| (key, canonical(value)))
                .collect();
            sorted
                .into_iter()
                .map(|(key, value)| (key.clone(), value))
                .collect()
        }
        Value::Array(items) => items.iter().map(canonical).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_is_named_as_the_engine_lists_it() {
        assert_eq!(normal("shop"), "shop:latest");
        assert_eq!(normal("shop:1.0"), "shop:1.0");
        assert_eq!(normal("docker.io/library/shop:1.0"), "shop:1.0");
        assert_eq!(normal("team/shop"), "team/shop:latest");
        assert_eq!(normal("localhost:5000/shop"), "localhost:5000/shop:latest");
    }

    #[test]
    fn absent_and_empty_are_one_content_and_ids_are_none() {
        let image = |config: Value, id: &str| -> ImageInspect {
            serde_json::from_value(json!({
                "Id": id, "Os": "linux", "Architecture": "amd64",
                "RootFS": {"Type": "layers", "Layers": ["sha256:aa"]}, "Config": config,
            }))
            .expect("an inspect")
        };
        let bare = content(&image(json!({"Cmd": ["/shop"]}), "sha256:1"));
        let wordy = json!({"Cmd": ["/shop"], "Env": null, "Labels": {}, "User": "", "Image": "x"});
        assert_eq!(bare, content(&image(wordy, "sha256:2")));
        assert_ne!(
            bare,
            content(&image(json!({"Cmd": ["/shop", "-v"]}), "sha256:1"))
        );
        assert_eq!(bare.len(), 64);
    }
}
