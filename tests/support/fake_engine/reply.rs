//! What the fake Engine answers, in the Engine's form.

use std::collections::BTreeMap;
use std::io;

use bytes::Bytes;
use futures::{Stream, StreamExt as _};
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::Frame;
use serde_json::{Value, json};

use super::options::Generation;

/// A body of any kind.
pub(super) type Body = UnsyncBoxBody<Bytes, io::Error>;

/// A refusal in the Engine's words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) status: u16,
    pub(super) message: String,
}

impl Refusal {
    /// A refusal with this status and text.
    pub(super) fn new(status: u16, message: impl Into<String>) -> Refusal {
        Refusal {
            status,
            message: message.into(),
        }
    }

    /// The answer that carries it.
    pub(super) fn reply(&self) -> Response<Body> {
        json_reply(self.status, &json!({ "message": self.message }))
    }
}

/// Every handler's result.
pub(super) type Handled = Result<Response<Body>, Refusal>;

/// An answer in JSON.
pub(super) fn json_reply(status: u16, body: &Value) -> Response<Body> {
    bytes_reply(status, "application/json", body.to_string().into_bytes())
}

/// An answer of bytes.
pub(super) fn bytes_reply(status: u16, content: &'static str, body: Vec<u8>) -> Response<Body> {
    let mut response = empty_reply(status);
    *response.body_mut() = whole(body);
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(content));
    response
}

/// An answer without a body.
pub(super) fn empty_reply(status: u16) -> Response<Body> {
    let mut response = Response::new(whole(Vec::new()));
    *response.status_mut() = StatusCode::from_u16(status).expect("handlers use known statuses");
    response
}

/// An answer that goes on.
pub(super) fn stream_reply(
    content: &'static str,
    chunks: impl Stream<Item = Bytes> + Send + 'static,
) -> Response<Body> {
    let frames = chunks.map(|chunk| Ok(Frame::data(chunk)));
    let mut response = Response::new(StreamBody::new(frames).boxed_unsync());
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(content));
    response
}

fn whole(body: Vec<u8>) -> Body {
    Full::new(Bytes::from(body))
        .map_err(|never| match never {})
        .boxed_unsync()
}

/// A request as handlers see it.
#[derive(Debug, Clone, Default)]
pub(super) struct Asked {
    /// What stands in the place of the path's parameter.
    pub(super) target: String,
    query: Vec<(String, String)>,
    pub(super) body: Bytes,
    /// The header with credentials for a registry.
    pub(super) registry_auth: Option<Vec<u8>>,
}

impl Asked {
    /// Takes the query apart.
    pub(super) fn new(target: &str, query: &str, body: Bytes) -> Asked {
        let query = query
            .split('&')
            .filter(|pair| !pair.is_empty())
            .map(|pair| {
                let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
                (decode(key), decode(value))
            })
            .collect();
        Asked {
            target: decode(target),
            query,
            body,
            registry_auth: None,
        }
    }

    /// The first value of a parameter, empty when it is missing.
    pub(super) fn parameter(&self, name: &str) -> &str {
        self.query
            .iter()
            .find(|(key, _)| key == name)
            .map_or("", |(_, value)| value)
    }

    /// All values of a parameter.
    pub(super) fn parameters(&self, name: &str) -> Vec<&str> {
        self.query
            .iter()
            .filter(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
            .collect()
    }

    /// Whether a parameter is set to something that is true for the Engine.
    pub(super) fn flag(&self, name: &str) -> bool {
        !matches!(self.parameter(name), "" | "0" | "false" | "no" | "none")
    }

    /// The body as JSON.
    pub(super) fn json(&self) -> Result<Value, Refusal> {
        if self.body.is_empty() {
            return Ok(Value::Object(serde_json::Map::new()));
        }
        serde_json::from_slice(&self.body).map_err(|error| Refusal::new(400, error.to_string()))
    }

    /// The parameter `filters`, of which the keys must be among `known`, for an Engine of this generation.
    pub(super) fn filters(
        &self,
        generation: Generation,
        known: &[&str],
    ) -> Result<Filters, Refusal> {
        let text = self.parameter("filters");
        if text.is_empty() {
            return Ok(Filters::default());
        }
        let filters: BTreeMap<String, Value> =
            serde_json::from_str(text).map_err(|error| Refusal::new(400, error.to_string()))?;
        if let Some(unknown) = filters.keys().find(|key| !known.contains(&key.as_str())) {
            let invalid = generation.either("Invalid", "invalid");
            return Err(Refusal::new(400, format!("{invalid} filter '{unknown}'")));
        }
        Ok(Filters(
            filters
                .into_iter()
                .map(|(key, value)| (key, super::world::strings(&value)))
                .collect(),
        ))
    }
}

/// What a list is narrowed down to.
#[derive(Debug, Clone, Default)]
pub(super) struct Filters(BTreeMap<String, Vec<String>>);

impl Filters {
    /// Whether `labels` carry all that is asked for.
    pub(super) fn match_labels(&self, labels: &BTreeMap<String, String>) -> bool {
        self.0
            .get("label")
            .into_iter()
            .flatten()
            .all(|wanted| match wanted.split_once('=') {
                Some((key, value)) => labels.get(key).is_some_and(|label| label == value),
                None => labels.contains_key(wanted),
            })
    }

    /// Whether `value` is among those asked for under `key`, or none is.
    pub(super) fn match_one(&self, key: &str, value: &str) -> bool {
        self.0
            .get(key)
            .is_none_or(|wanted| wanted.is_empty() || wanted.iter().any(|wanted| wanted == value))
    }
}

/// Percent-decodes; a plus is a space, as in every query.
fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let hex = tail
            .get(..2)
            .and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        match (first, hex) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = &tail[2..];
                continue;
            }
            (b'+', _) => bytes.push(b' '),
            _ => bytes.push(*first),
        }
        rest = tail;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
