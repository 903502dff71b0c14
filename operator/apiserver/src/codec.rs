//! Owns the media types: what a client may send, what it wants back, and the bytes of both.
//!
//! It must not know resources or verbs. Every codec is one variant of [`Encoding`], so that another one for built-in
//! kinds is added here and nowhere else. Invariant: a body in a media type that is not listed is refused with the list,
//! never guessed at.

use std::fmt;

use http::HeaderValue;
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use crate::error::ApiError;

/// The media types of objects, as refusals list them.
pub const OBJECT_MEDIA: &[&str] = &["application/json", "application/yaml"];

/// `kubectl create secret` and its like write protobuf from 1.33 on, and say only what the server says.
const ADVICE: &str =
    "to kubectl create, add --dry-run=client -o yaml and pipe it into kubectl apply -f -";

/// Nested lists and maps in a body; what is deeper is refused before it costs anything.
const DEPTH_MAX: usize = 100;

/// The bytes of an object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Encoding {
    /// `application/json`
    #[default]
    Json,
    /// `application/yaml`
    Yaml,
}

/// What the client wants an object turned into.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Shape {
    /// The object as it is.
    #[default]
    Object,
    /// `meta.k8s.io` Table, in the version named.
    Table(&'static str),
    /// `meta.k8s.io` PartialObjectMetadata or its list, in the version named.
    Metadata(&'static str),
    /// Aggregated discovery, in the version named.
    Discovery(&'static str),
}

/// The outcome of content negotiation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Output {
    /// The bytes.
    pub encoding: Encoding,
    /// The shape.
    pub shape: Shape,
    /// Whether to indent.
    pub pretty: bool,
}

/// Which shapes an endpoint can give.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offer {
    /// Objects and collections: also as tables and metadata.
    Objects,
    /// `/api` and `/apis`: also aggregated.
    Discovery,
    /// Only the document itself.
    Document,
}

/// Chooses what to answer with. No Accept header means JSON.
pub fn negotiate(accept: Option<&HeaderValue>, offer: Offer) -> Result<Output, ApiError> {
    let text = match accept {
        None => return Ok(Output::default()),
        Some(value) => value.to_str().unwrap_or_default(),
    };
    let mut wanted: Vec<(f32, Output)> = Vec::new();
    for entry in text.split(',') {
        if let Some((quality, output)) = read_entry(entry, offer) {
            wanted.push((quality, output));
        }
    }
    // The sort is stable: among equals the client's order decides.
    wanted.sort_by(|a, b| b.0.total_cmp(&a.0));
    wanted
        .first()
        .map(|(_, output)| *output)
        .ok_or_else(|| ApiError::not_acceptable(OBJECT_MEDIA))
}

fn read_entry(entry: &str, offer: Offer) -> Option<(f32, Output)> {
    let mut parts = entry.split(';').map(str::trim);
    let encoding = match parts.next()? {
        "application/json" | "*/*" | "application/*" => Encoding::Json,
        "application/yaml" => Encoding::Yaml,
        _other => return None,
    };
    let (mut kind, mut version, mut group, mut quality) = ("", "", "", 1.0);
    for part in parts {
        match part.split_once('=') {
            Some(("as", value)) => kind = value,
            Some(("v", value)) => version = value,
            Some(("g", value)) => group = value,
            Some(("q", value)) => quality = value.parse().ok()?,
            Some(_) | None => {}
        }
    }
    let meta_version = match version {
        "v1" => Some("v1"),
        "v1beta1" => Some("v1beta1"),
        _other => None,
    };
    let shape = match (offer, kind, group) {
        (_, "", _) => Shape::Object,
        (Offer::Objects, "Table", "meta.k8s.io") => Shape::Table(meta_version?),
        (Offer::Objects, "PartialObjectMetadata" | "PartialObjectMetadataList", "meta.k8s.io") => {
            Shape::Metadata(meta_version?)
        }
        (Offer::Discovery, "APIGroupDiscoveryList", "apidiscovery.k8s.io") => match version {
            "v2" => Shape::Discovery("v2"),
            "v2beta1" => Shape::Discovery("v2beta1"),
            _other => return None,
        },
        _other => return None,
    };
    let output = Output {
        encoding,
        shape,
        pretty: false,
    };
    Some((quality, output))
}

impl Output {
    /// The bytes of a value.
    pub fn encode(&self, value: &Value) -> Result<Vec<u8>, ApiError> {
        let bytes = match (self.encoding, self.pretty) {
            (Encoding::Json, false) => serde_json::to_vec(value).map_err(ApiError::internal)?,
            (Encoding::Json, true) => {
                serde_json::to_vec_pretty(value).map_err(ApiError::internal)?
            }
            (Encoding::Yaml, _) => serde_saphyr::to_string(value)
                .map_err(ApiError::internal)?
                .into_bytes(),
        };
        Ok(bytes)
    }

    /// The Content-Type of what [`Output::encode`] makes.
    pub fn content_type(&self) -> HeaderValue {
        HeaderValue::from_static(match self.encoding {
            Encoding::Json => "application/json",
            Encoding::Yaml => "application/yaml",
        })
    }
}

/// The media type of a header without its parameters; JSON when there is none.
pub fn media_type(content_type: Option<&HeaderValue>) -> &str {
    content_type
        .and_then(|value| value.to_str().ok())
        .and_then(|text| text.split(';').next())
        .map(str::trim)
        .filter(|text| !text.is_empty())
        .unwrap_or("application/json")
}

/// A body as it was read: the value, and the paths of fields that were there twice (the last one counts).
#[derive(Clone, Debug, Default)]
pub struct Decoded {
    /// The value.
    pub value: Value,
    /// Paths of duplicate fields, such as `spec.replicas`.
    pub duplicates: Vec<String>,
}

/// Reads the body of a create, update or delete.
pub fn decode(content_type: Option<&HeaderValue>, body: &[u8]) -> Result<Decoded, ApiError> {
    let encoding = match media_type(content_type) {
        "application/json" => Encoding::Json,
        "application/yaml" => Encoding::Yaml,
        _other => return Err(ApiError::unsupported_media(OBJECT_MEDIA).advising(ADVICE)),
    };
    decode_as(encoding, body)
}

/// Reads bytes of a known encoding.
pub fn decode_as(encoding: Encoding, body: &[u8]) -> Result<Decoded, ApiError> {
    let tracked: Tracked = match encoding {
        Encoding::Json => serde_json::from_slice(body).map_err(refuse)?,
        Encoding::Yaml => {
            let text = std::str::from_utf8(body).map_err(refuse)?;
            let mut options = serde_saphyr::Options::default();
            options.duplicate_keys = serde_saphyr::options::DuplicateKeyPolicy::LastWins;
            serde_saphyr::from_str_with_options(text, options).map_err(refuse)?
        }
    };
    if depth(&tracked.value) > DEPTH_MAX {
        return Err(ApiError::bad_request(format!(
            "the object is nested more than {DEPTH_MAX} deep"
        )));
    }
    Ok(Decoded {
        value: tracked.value,
        duplicates: tracked.duplicates,
    })
}

fn refuse(error: impl fmt::Display) -> ApiError {
    ApiError::bad_request(format!("the body of the request cannot be read: {error}"))
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or_default(),
        Value::Object(map) => 1 + map.values().map(depth).max().unwrap_or_default(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    }
}

/// A value that remembers which of its fields were given twice.
struct Tracked {
    value: Value,
    duplicates: Vec<String>,
}

impl Tracked {
    fn plain(value: Value) -> Self {
        Self {
            value,
            duplicates: Vec::new(),
        }
    }
}

impl<'de> Deserialize<'de> for Tracked {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TrackedVisitor)
    }
}

struct TrackedVisitor;

impl<'de> Visitor<'de> for TrackedVisitor {
    type Value = Tracked;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Tracked, E> {
        Ok(Tracked::plain(Value::Null))
    }

    fn visit_none<E>(self) -> Result<Tracked, E> {
        Ok(Tracked::plain(Value::Null))
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Tracked, D::Error> {
        Tracked::deserialize(deserializer)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Tracked, E> {
        Ok(Tracked::plain(Value::Bool(value)))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Tracked, E> {
        Ok(Tracked::plain(Value::from(value)))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Tracked, E> {
        Ok(Tracked::plain(Value::from(value)))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Tracked, E> {
        let number = Number::from_f64(value).map_or(Value::Null, Value::Number);
        Ok(Tracked::plain(number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Tracked, E> {
        Ok(Tracked::plain(Value::String(value.to_owned())))
    }

    fn visit_string<E>(self, value: String) -> Result<Tracked, E> {
        Ok(Tracked::plain(Value::String(value)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Tracked, A::Error> {
        let mut list = Vec::new();
        let mut duplicates = Vec::new();
        while let Some(item) = items.next_element::<Tracked>()? {
            let place = format!("[{}]", list.len());
            duplicates.extend(item.duplicates.iter().map(|path| below(&place, path)));
            list.push(item.value);
        }
        Ok(Tracked {
            value: Value::Array(list),
            duplicates,
        })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Tracked, A::Error> {
        let mut map = Map::new();
        let mut duplicates = Vec::new();
        while let Some(key) = entries.next_key::<String>()? {
            let item = entries.next_value::<Tracked>()?;
            duplicates.extend(item.duplicates.iter().map(|path| below(&key, path)));
            if map.insert(key.clone(), item.value).is_some() {
                duplicates.push(key);
            }
        }
        Ok(Tracked {
            value: Value::Object(map),
            duplicates,
        })
    }
}

fn below(place: &str, path: &str) -> String {
    if path.starts_with('[') {
        format!("{place}{path}")
    } else {
        format!("{place}.{path}")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn accept(text: &str, offer: Offer) -> Result<Output, ApiError> {
        let value = HeaderValue::from_str(text).expect("a header");
        negotiate(Some(&value), offer)
    }

    #[test]
    fn what_kubectl_and_client_go_ask_for() {
        let table = accept(
            "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json",
            Offer::Objects,
        );
        assert_eq!(table.expect("acceptable").shape, Shape::Table("v1"));
        let go = accept(
            "application/vnd.kubernetes.protobuf,application/json",
            Offer::Objects,
        );
        assert_eq!(go.expect("acceptable"), Output::default());
        let only = accept("application/vnd.kubernetes.protobuf", Offer::Objects);
        assert_eq!(only.expect_err("no such codec here").code(), 406);
        let discovery = accept(
            "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json",
            Offer::Discovery,
        );
        assert_eq!(discovery.expect("acceptable").shape, Shape::Discovery("v2"));
        let weighted = accept("application/json;q=0.5,application/yaml", Offer::Objects);
        assert_eq!(weighted.expect("acceptable").encoding, Encoding::Yaml);
    }

    #[test]
    fn duplicates_are_told_by_path() {
        let json = br#"{"spec":{"a":1,"a":2,"list":[{"b":1,"b":2}]},"x":null}"#;
        let decoded = decode(None, json).expect("valid");
        assert_eq!(decoded.duplicates, ["spec.a", "spec.list[0].b"]);
        assert_eq!(
            decoded.value,
            json!({"spec": {"a": 2, "list": [{"b": 2}]}, "x": null})
        );
    }

    #[test]
    fn yaml_is_read_as_json_is() {
        let yaml = HeaderValue::from_static("application/yaml; charset=utf-8");
        let decoded =
            decode(Some(&yaml), b"a: 1\nb: [x, 'true', true]\nc: ~\nd: 1.5\n").expect("valid");
        assert_eq!(
            decoded.value,
            json!({"a": 1, "b": ["x", "true", true], "c": null, "d": 1.5})
        );
        let protobuf = HeaderValue::from_static("application/vnd.kubernetes.protobuf");
        let refused = decode(Some(&protobuf), b"").expect_err("no codec");
        assert_eq!(refused.code(), 415);
        assert!(
            refused.to_string().contains("--dry-run=client"),
            "{refused}"
        );
    }

    #[test]
    fn depth_is_bounded() {
        let deep = format!("{}1{}", "[".repeat(110), "]".repeat(110));
        assert!(decode(None, deep.as_bytes()).is_err());
    }
}
