//! The two calls by which an Engine goes to a registry for us: which digest a tag has, and pulling by digest.
//!
//! Owns the lines that an Engine tells of a pull. Must not know what a refusal means. Nothing else of the operator
//! reaches a registry.

use std::collections::BTreeMap;

use http::HeaderValue;
use serde::Deserialize;

use super::client::Ask;
use super::outcome::cut;
use super::{Engine, Outcome, calls};

/// Layers of one image that are counted; no image has more.
const MAX_LAYERS: usize = 1024;

/// How far a pull is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pulled {
    /// Layers that the Engine has told of.
    pub layers: u32,
    /// Those that are complete.
    pub layers_done: u32,
    /// Bytes that have arrived.
    pub bytes: u64,
    /// Bytes of the layers of which the size is known.
    pub total_bytes: u64,
}

/// The digest that the registry has for `reference`, a name with tag or digest.
pub async fn digest(
    engine: &Engine,
    reference: &str,
    auth: Option<HeaderValue>,
) -> Result<String, Outcome> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Answer {
        descriptor: Descriptor,
    }
    #[derive(Deserialize)]
    struct Descriptor {
        digest: String,
    }
    let answer: Answer = engine
        .client
        .read(Ask::new(&calls::IMAGE_DIGEST, reference).auth(auth))
        .await?;
    Ok(answer.descriptor.digest)
}

/// Pulls `repository@digest`; `hear` is told of each time that it gets further.
///
/// Ends when the Engine has all of it. Dropping it makes the Engine give up.
pub async fn pull(
    engine: &Engine,
    repository: &str,
    digest: &str,
    auth: Option<HeaderValue>,
    mut hear: impl FnMut(Pulled) + Send + 'static,
) -> Result<(), Outcome> {
    let name = format!("{repository}@{digest}");
    let ask = Ask::new(&calls::IMAGE_PULL, name.as_str())
        .query("fromImage", repository)
        .query("tag", digest)
        .auth(auth);
    let mut layers = Layers::default();
    let hear_line = move |line: &[u8]| {
        // What is not JSON is an older Engine's progress and says nothing of failure.
        let Ok(line) = serde_json::from_slice::<Line>(line) else {
            return Ok(());
        };
        if let Some(error) = line.error {
            // F9: the answer began with 200.
            return Err(Outcome::Failed {
                call: format!("pull {name}"),
                status: 200,
                message: cut(&error),
            });
        }
        if layers.take(&line) {
            hear(layers.sum());
        }
        Ok(())
    };
    engine.client.lines(ask, hear_line).await
}

/// One line of a pull.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Line {
    #[serde(default)]
    status: String,
    #[serde(default)]
    id: String,
    error: Option<String>,
    #[serde(default)]
    progress_detail: Detail,
}

#[derive(Deserialize, Default)]
struct Detail {
    #[serde(default)]
    current: u64,
    #[serde(default)]
    total: u64,
}

/// The layers that were told of.
#[derive(Default)]
struct Layers(BTreeMap<String, Layer>);

#[derive(Default)]
struct Layer {
    bytes: u64,
    total: u64,
    done: bool,
}

impl Layers {
    /// Takes a line in. True: the pull got further.
    fn take(&mut self, line: &Line) -> bool {
        let (arrives, done) = match line.status.as_str() {
            "Pulling fs layer" | "Waiting" => (false, false),
            "Downloading" => (true, false),
            "Download complete" | "Verifying Checksum" | "Extracting" => (false, false),
            "Pull complete" | "Already exists" => (false, true),
            _ => return false,
        };
        if line.id.is_empty() || (self.0.len() >= MAX_LAYERS && !self.0.contains_key(&line.id)) {
            return false;
        }
        let is_new = !self.0.contains_key(&line.id);
        let layer = self.0.entry(line.id.clone()).or_default();
        let before = (layer.bytes, layer.done);
        if arrives {
            layer.bytes = line.progress_detail.current;
            layer.total = line.progress_detail.total;
        } else if line.status != "Pulling fs layer" && line.status != "Waiting" {
            layer.bytes = layer.total;
        }
        layer.done |= done;
        let is_extracting = line.status == "Extracting";
        is_new || is_extracting || before != (layer.bytes, layer.done)
    }

    fn sum(&self) -> Pulled {
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Pulled {
            layers: count(self.0.len()),
            layers_done: count(self.0.values().filter(|layer| layer.done).count()),
            bytes: self.0.values().map(|layer| layer.bytes).sum(),
            total_bytes: self.0.values().map(|layer| layer.total).sum(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_add_up_and_a_retry_is_no_progress() {
        let mut layers = Layers::default();
        let mut take = |text: &str| {
            let line = serde_json::from_str(text).expect("a line");
            (layers.take(&line), layers.sum())
        };
        let sum = |layers, layers_done, bytes, total_bytes| Pulled {
            layers,
            layers_done,
            bytes,
            total_bytes,
        };
        let steps = [
            (
                r#"{"status":"Pulling from team/shop","id":"registry/team/shop@sha256:1"}"#,
                false,
                sum(0, 0, 0, 0),
            ),
            (
                r#"{"status":"Pulling fs layer","progressDetail":{},"id":"a"}"#,
                true,
                sum(1, 0, 0, 0),
            ),
            (
                r#"{"status":"Already exists","progressDetail":{},"id":"b"}"#,
                true,
                sum(2, 1, 0, 0),
            ),
            (
                r#"{"status":"Retrying in 5 seconds","progressDetail":{},"id":"a"}"#,
                false,
                sum(2, 1, 0, 0),
            ),
            (
                r#"{"status":"Downloading","progressDetail":{"current":10,"total":40},"id":"a"}"#,
                true,
                sum(2, 1, 10, 40),
            ),
            (
                r#"{"status":"Downloading","progressDetail":{"current":10,"total":40},"id":"a"}"#,
                false,
                sum(2, 1, 10, 40),
            ),
            (
                r#"{"status":"Download complete","progressDetail":{},"id":"a"}"#,
                true,
                sum(2, 1, 40, 40),
            ),
            (
                r#"{"status":"Pull complete","progressDetail":{},"id":"a"}"#,
                true,
                sum(2, 2, 40, 40),
            ),
            (r#"{"status":"Digest: sha256:1"}"#, false, sum(2, 2, 40, 40)),
        ];
        for (line, moved, total) in steps {
            assert_eq!(take(line), (moved, total), "{line}");
        }
    }
}
