//! The Kubernetes API as the operator writes to it.
//!
//! Owns the one layer through which every request goes: it gives each a deadline and carries each write through the
//! gate. Beside it stand the few writes that all kinds share: finalizers and status. It must not know what is
//! written. Invariant: no mutating request but those on Leases and Events goes round the gate.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use http::{Method, Request, Response};
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::client::Body;
use kube::{Resource, ResourceExt as _};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use tower::{BoxError, Layer, Service, ServiceExt as _};

use crate::gate::{Effect, EffectKind, Gate};

/// The longest time to the head of an answer, watches aside: an API server that is slower is not there.
const DEADLINE: Duration = Duration::from_secs(30);

/// Puts [`Gated`] around a service that speaks to the API.
#[derive(Clone)]
pub struct GateLayer {
    gate: Arc<dyn Gate>,
}

impl GateLayer {
    /// A layer for `gate`.
    pub fn new(gate: Arc<dyn Gate>) -> GateLayer {
        GateLayer { gate }
    }
}

impl<S> Layer<S> for GateLayer {
    type Service = Gated<S>;

    fn layer(&self, inner: S) -> Gated<S> {
        Gated {
            inner: Arc::new(tokio::sync::Mutex::new(inner)),
            gate: Arc::clone(&self.gate),
        }
    }
}

/// A service whose writes pass the gate.
pub struct Gated<S> {
    inner: Arc<tokio::sync::Mutex<S>>,
    gate: Arc<dyn Gate>,
}

impl<S, B> Service<Request<Body>> for Gated<S>
where
    S: Service<Request<Body>, Response = Response<B>> + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Into<BoxError>,
    B: Send + 'static,
{
    type Response = Response<B>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Response<B>, BoxError>>;

    fn poll_ready(
        &mut self,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Result<(), BoxError>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let inner = Arc::clone(&self.inner);
        let gate = Arc::clone(&self.gate);
        let effect = effect(&request);
        let endless = request
            .uri()
            .query()
            .is_some_and(|query| query.split('&').any(|pair| pair == "watch=true"));
        let send = async move {
            let answer = async {
                // Held only until the request is on its way; the answers of many come at once.
                let answer = {
                    let mut service = inner.lock().await;
                    service.ready().await.map_err(Into::into)?.call(request)
                };
                answer.await.map_err(Into::into)
            };
            if endless {
                return answer.await;
            }
            match tokio::time::timeout(DEADLINE, answer).await {
                Ok(result) => result,
                Err(_) => Err(BoxError::from(format!(
                    "the API server gave no answer in {} s",
                    DEADLINE.as_secs()
                ))),
            }
        };
        match effect {
            Some(effect) => async move { gate.run(effect, send).await }.boxed(),
            None => send.boxed(),
        }
    }
}

/// What a request changes, or `None` for one that changes nothing that counts.
fn effect(request: &Request<Body>) -> Option<Effect> {
    let method = request.method();
    if ![Method::POST, Method::PUT, Method::PATCH, Method::DELETE].contains(method) {
        return None;
    }
    let path = request.uri().path();
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    // api/v1/... or apis/<group>/<version>/..., then perhaps namespaces/<name>, then the resource.
    let rest = match parts.as_slice() {
        ["api", _, rest @ ..] | ["apis", _, _, rest @ ..] => rest,
        other => other,
    };
    let rest = match rest {
        ["namespaces", _, rest @ ..] if !rest.is_empty() => rest,
        other => other,
    };
    let (resource, subresource) = match rest {
        [resource, _, subresource, ..] => (*resource, Some(*subresource)),
        [resource, ..] => (*resource, None),
        [] => (path, None),
    };
    if resource == "leases" || resource == "events" {
        return None;
    }
    let verb = match subresource {
        Some(subresource) => format!("{method} {resource}/{subresource}"),
        None => format!("{method} {resource}"),
    };
    Some(Effect {
        kind: EffectKind::Api,
        verb: verb.into(),
        target: path.to_owned(),
    })
}

/// A client over any service that speaks to the API, such as the embedded server's.
pub fn client<S, B>(service: S, gate: Arc<dyn Gate>) -> kube::Client
where
    S: Service<Request<Body>, Response = Response<B>> + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Into<BoxError>,
    B: http_body::Body<Data = bytes::Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    kube::Client::new(GateLayer::new(gate).layer(service), "default")
}

/// A client for the API that `config` names.
pub fn connect(config: kube::Config, gate: Arc<dyn Gate>) -> Result<kube::Client, kube::Error> {
    // A write that is sent again by a lower layer would be two effects under one name.
    let mut config = config;
    config.default_retry = false;
    let builder = kube::client::ClientBuilder::try_from(config)?;
    Ok(builder.with_layer(&GateLayer::new(gate)).build())
}

/// Whether the API refused because the object is another than the one read, or there already.
pub fn is_conflict(error: &kube::Error) -> bool {
    code(error) == Some(409)
}

/// Whether the object does not exist.
pub fn is_not_found(error: &kube::Error) -> bool {
    code(error) == Some(404)
}

/// The status of a definite refusal.
fn code(error: &kube::Error) -> Option<u16> {
    match error {
        kube::Error::Api(status) => Some(status.code),
        _ => None,
    }
}

/// What the API said, without the status document that kube's own rendering repeats it in.
pub fn words(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        other => other.to_string(),
    }
}

/// How a write failed, as far as it matters for what comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// Refused: the object changed, or is there already.
    Conflict,
    /// Refused for good.
    Refused,
    /// Refused for now: too many requests, or not allowed at this moment.
    Transient,
    /// Nobody knows whether it was done.
    Unknown,
}

/// Sorts an error of the API.
pub fn failure(error: &kube::Error) -> Failure {
    match code(error) {
        Some(409) => Failure::Conflict,
        // A role that is being granted and an object that is being made are worth another try.
        Some(401 | 403 | 404 | 408 | 429) => Failure::Transient,
        Some(400..=499) => Failure::Refused,
        Some(_) | None => Failure::Unknown,
    }
}

/// Puts Mooring's finalizer on the object that was read; another object of its name is left alone. Present: nothing is
/// sent.
pub async fn add_finalizer<K>(api: &Api<K>, object: &K) -> Result<(), kube::Error>
where
    K: Resource + Clone + Debug + DeserializeOwned,
{
    change_finalizers(api, object, |finalizers| {
        if !finalizers.iter().any(|name| name == crds::FINALIZER) {
            finalizers.push(crds::FINALIZER.to_owned());
        }
    })
    .await
}

/// Takes Mooring's finalizer off the object that was read. Absent, or the object gone: nothing to do.
pub async fn drop_finalizer<K>(api: &Api<K>, object: &K) -> Result<(), kube::Error>
where
    K: Resource + Clone + Debug + DeserializeOwned,
{
    change_finalizers(api, object, |finalizers| {
        finalizers.retain(|name| name != crds::FINALIZER);
    })
    .await
}

/// Changes the list as it is at this moment: the record that came before the step has made another version of the
/// object, and the list may be shared with others.
async fn change_finalizers<K>(
    api: &Api<K>,
    object: &K,
    change: impl Fn(&mut Vec<String>),
) -> Result<(), kube::Error>
where
    K: Resource + Clone + Debug + DeserializeOwned,
{
    let name = object.name_any();
    let Some(there) = api.get_metadata_opt(&name).await? else {
        return Ok(());
    };
    let mut finalizers = there.finalizers().to_vec();
    change(&mut finalizers);
    if there.uid() != object.uid() || finalizers == there.finalizers() {
        return Ok(());
    }
    let patch = json!({ "metadata": {
        "finalizers": finalizers,
        "resourceVersion": there.resource_version(),
    }});
    let params = PatchParams {
        field_manager: Some(crds::FIELD_MANAGER.to_owned()),
        ..PatchParams::default()
    };
    match api
        .patch_metadata(&name, &params, &Patch::Merge(&patch))
        .await
    {
        Err(error) if is_not_found(&error) => Ok(()),
        other => other.map(drop),
    }
}

/// How Mooring creates and replaces: under its own name as field manager.
pub fn posted() -> PostParams {
    PostParams {
        field_manager: Some(crds::FIELD_MANAGER.to_owned()),
        ..PostParams::default()
    }
}

/// Writes the status that `object` carries, with the resourceVersion that it was read with. Gives what is stored.
pub async fn replace_status<K>(api: &Api<K>, object: &K) -> Result<K, kube::Error>
where
    K: Resource + Clone + Debug + DeserializeOwned + Serialize,
{
    api.replace_status(&object.name_any(), &posted(), object)
        .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_are_effects_but_not_leases_and_events() {
        let of = |method: Method, path: &str| {
            let request = Request::builder()
                .method(method)
                .uri(path)
                .body(Body::empty())
                .expect("a request");
            effect(&request).map(|effect| effect.verb.into_owned())
        };
        let pipelines = "/apis/mooring.dev/v1alpha1/namespaces/a/deploymentpipelines/shop";
        let cases = [
            (Method::GET, pipelines.to_owned(), None),
            (
                Method::PATCH,
                pipelines.to_owned(),
                Some("PATCH deploymentpipelines"),
            ),
            (
                Method::PUT,
                format!("{pipelines}/status"),
                Some("PUT deploymentpipelines/status"),
            ),
            (
                Method::POST,
                "/api/v1/namespaces/a/secrets".to_owned(),
                Some("POST secrets"),
            ),
            (
                Method::POST,
                "/api/v1/namespaces".to_owned(),
                Some("POST namespaces"),
            ),
            (
                Method::DELETE,
                "/api/v1/namespaces/a".to_owned(),
                Some("DELETE namespaces"),
            ),
            (
                Method::PUT,
                "/apis/coordination.k8s.io/v1/namespaces/mooring-system/leases/mooring".to_owned(),
                None,
            ),
            (
                Method::POST,
                "/apis/events.k8s.io/v1/namespaces/a/events".to_owned(),
                None,
            ),
        ];
        for (method, path, verb) in cases {
            assert_eq!(
                of(method.clone(), &path).as_deref(),
                verb,
                "{method} {path}"
            );
        }
    }
}
