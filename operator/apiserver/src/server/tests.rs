//! The server as clients see it, in process: what is asked and what is answered.

mod apply;
mod clients;
mod collect;
mod define;
mod discover;
mod edit;
mod limit;
mod listen;
mod observe;
mod read;

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};
use tower::ServiceExt;

use super::*;
use crate::audit::Entry;

/// A server in memory with a client of it.
pub(super) struct World {
    pub server: Server,
    pub disk: MemoryDisk,
    pub audit: Arc<Mutex<Vec<Entry>>>,
}

/// An answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub code: u16,
    pub body: Value,
    pub warnings: Vec<String>,
    pub content_type: String,
}

impl Answer {
    /// The body of an answer that must have this code.
    #[track_caller]
    pub fn expect(self, code: u16) -> Value {
        assert_eq!(self.code, code, "{}", self.body);
        self.body
    }

    /// The message of a refusal that must have this code.
    #[track_caller]
    pub fn refused(self, code: u16) -> String {
        let body = self.expect(code);
        assert_eq!(body["kind"], "Status");
        body["message"].as_str().expect("a message").to_owned()
    }
}

impl World {
    pub async fn new() -> Self {
        Self::on(MemoryDisk::new()).await
    }

    pub async fn on(disk: MemoryDisk) -> Self {
        let audit = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&audit);
        let server = Server::start(Config {
            audit: Some(Arc::new(move |entry: &Entry| {
                sink.lock().expect("no panic").push(entry.clone());
            })),
            ..Config::new(Storage::Memory(disk.clone()))
        })
        .await
        .expect("starts");
        Self {
            server,
            disk,
            audit,
        }
    }

    /// A server with the kind Widget.
    pub async fn with_widgets() -> Self {
        let world = Self::new().await;
        world.post(DEFINITIONS, &widgets()).await.expect(201);
        world
    }

    pub async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: String,
    ) -> Response<Body> {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request
            .body(Full::new(Bytes::from(body)))
            .expect("a request");
        let service = self.server.service("tester");
        service.oneshot(request).await.expect("infallible")
    }

    pub async fn call(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: String,
    ) -> Answer {
        let response = self.send(method, path, headers, body).await;
        let text = |value: &http::HeaderValue| value.to_str().unwrap_or_default().to_owned();
        let headers = response.headers();
        let warnings = headers.get_all("warning").iter().map(text).collect();
        let content_type = headers.get("content-type").map(text).unwrap_or_default();
        let code = response.status().as_u16();
        let bytes = response
            .into_body()
            .collect()
            .await
            .expect("a body")
            .to_bytes();
        let body = serde_json::from_slice(&bytes)
            .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&bytes).into_owned()));
        Answer {
            code,
            body,
            warnings,
            content_type,
        }
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.call(Method::GET, path, &[], String::new()).await
    }

    pub async fn get_as(&self, path: &str, accept: &str) -> Answer {
        self.call(Method::GET, path, &[("accept", accept)], String::new())
            .await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.call(Method::POST, path, JSON, body.to_string()).await
    }

    pub async fn put(&self, path: &str, body: &Value) -> Answer {
        self.call(Method::PUT, path, JSON, body.to_string()).await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        self.call(Method::DELETE, path, &[], String::new()).await
    }

    pub async fn merge(&self, path: &str, body: &Value) -> Answer {
        self.patch(path, "application/merge-patch+json", body).await
    }

    pub async fn apply(&self, path: &str, manager: &str, body: &Value) -> Answer {
        let path = format!("{path}?fieldManager={manager}");
        self.patch(&path, "application/apply-patch+yaml", body)
            .await
    }

    pub async fn patch(&self, path: &str, media: &str, body: &Value) -> Answer {
        self.call(
            Method::PATCH,
            path,
            &[("content-type", media)],
            body.to_string(),
        )
        .await
    }

    /// Waits until the answer to a GET is as wanted; the loops of the server get there by themselves.
    pub async fn until(&self, path: &str, wanted: impl Fn(&Answer) -> bool) -> Answer {
        for _ in 0..10_000 {
            let answer = self.get(path).await;
            if wanted(&answer) {
                return answer;
            }
            tokio::task::yield_now().await;
        }
        panic!("{path} did not get there: {:?}", self.get(path).await);
    }

    /// Waits until nothing is at a path.
    pub async fn until_gone(&self, path: &str) {
        self.until(path, |answer| answer.code == 404).await;
    }

    /// A watch, as whole events.
    pub async fn watch(&self, path: &str) -> Events {
        let response = self.send(Method::GET, path, &[], String::new()).await;
        assert_eq!(response.status(), 200);
        Events {
            body: response.into_body(),
            rest: Vec::new(),
        }
    }

    pub async fn restart(self) -> Self {
        let disk = self.disk.clone();
        self.server.shutdown().await;
        Self::on(disk).await
    }
}

/// The events of a watch.
pub(super) struct Events {
    body: Body,
    rest: Vec<u8>,
}

impl Events {
    /// The next event; `None` when the watch has ended.
    pub async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.rest.drain(..=end).collect();
                return Some(serde_json::from_slice(&line).expect("an event"));
            }
            let frame = self.body.frame().await?.expect("a frame");
            self.rest
                .extend_from_slice(&frame.into_data().expect("data"));
        }
    }

    /// The next event as `TYPE name`.
    pub async fn brief(&mut self) -> String {
        let event = self.next().await.expect("goes on");
        let name = event["object"]["metadata"]["name"].as_str();
        format!(
            "{} {}",
            event["type"].as_str().expect("a type"),
            name.unwrap_or_default()
        )
    }
}

pub(super) const JSON: &[(&str, &str)] = &[("content-type", "application/json")];
pub(super) const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
pub(super) const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";
pub(super) const WIDGETS: &str = "/apis/example.com/v1/namespaces/default/widgets";

pub(super) fn config_map(name: &str) -> Value {
    json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": name}, "data": {"a": "1"}})
}

pub(super) fn widget(name: &str) -> Value {
    json!({"kind": "Widget", "apiVersion": "example.com/v1", "metadata": {"name": name}, "spec": {"color": "green"}})
}

/// The definition of a kind with everything that a definition may have.
pub(super) fn widgets() -> Value {
    let schema = json!({
        "type": "object",
        "required": ["spec"],
        "properties": {
            "spec": {
                "type": "object",
                "required": ["color"],
                "x-kubernetes-validations": [
                    {"rule": "self.replicas <= 10 || self.color == 'red'", "message": "only red widgets may be many"}
                ],
                "properties": {
                    "color": {"type": "string", "enum": ["red", "green", "blue"]},
                    "replicas": {"type": "integer", "default": 1, "minimum": 0, "maximum": 100},
                    "frozen": {"type": "string", "maxLength": 20, "x-kubernetes-validations": [
                        {"rule": "self == oldSelf", "message": "frozen is immutable"}
                    ]},
                    "parts": {
                        "type": "array", "maxItems": 10,
                        "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
                        "items": {"type": "object", "required": ["name"], "properties": {
                            "name": {"type": "string"}, "size": {"type": "integer", "default": 3}
                        }}
                    }
                }
            },
            "status": {"type": "object", "properties": {
                "state": {"type": "string"}, "replicas": {"type": "integer"}, "selector": {"type": "string"}
            }}
        }
    });
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.example.com"},
        "spec": {
            "group": "example.com",
            "scope": "Namespaced",
            "names": {"plural": "widgets", "kind": "Widget", "shortNames": ["wd"]},
            "versions": [{
                "name": "v1", "served": true, "storage": true,
                "subresources": {
                    "status": {},
                    "scale": {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas", "labelSelectorPath": ".status.selector"}
                },
                "additionalPrinterColumns": [{"name": "Color", "type": "string", "jsonPath": ".spec.color"}],
                "selectableFields": [{"jsonPath": ".spec.color"}],
                "schema": {"openAPIV3Schema": schema}
            }]
        }
    })
}
