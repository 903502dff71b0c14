//! Owns what the server says about itself: health, version, discovery and OpenAPI.
//!
//! It must not know objects. Invariant: what it describes is the catalog of one moment.

use http::header::{ACCEPT, ETAG, HOST, IF_NONE_MATCH};
use http::request::Parts;
use http::{HeaderValue, Response, StatusCode};
use serde_json::json;
use sha2::{Digest, Sha256};

use super::{Body, document as respond_with, respond};
use crate::codec::{self, Offer, Shape};
use crate::discovery::{self, CoreGroup};
use crate::error::ApiError;
use crate::hub::Hub;
use crate::openapi;
use crate::path::Route;

/// The Kubernetes version whose behaviour this is, as clients compare it.
const GIT_VERSION: &str = "v1.33.0+mooring";

/// The media type in which client-go asks for OpenAPI v2, and nothing else.
const V2_PROTOBUF: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";

/// `/livez`, `/readyz` and `/healthz`.
pub(super) fn health(hub: &Hub, parts: &Parts) -> Response<Body> {
    let text = HeaderValue::from_static("text/plain; charset=utf-8");
    let is_live = parts.uri.path().starts_with("/livez");
    if is_live || hub.is_ready() {
        return respond(StatusCode::OK, text, "ok");
    }
    let reason = hub
        .store
        .failure()
        .unwrap_or_else(|| "starting or stopping".to_owned());
    respond(
        StatusCode::INTERNAL_SERVER_ERROR,
        text,
        format!("not ready: {reason}"),
    )
}

/// `/version`.
pub(super) fn version(parts: &Parts) -> Result<Response<Body>, ApiError> {
    let output = codec::negotiate(parts.headers.get(ACCEPT), Offer::Document)?;
    let version = json!({
        "major": "1",
        "minor": "33",
        "gitVersion": GIT_VERSION,
        "gitCommit": "",
        "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "none",
        "compiler": "rustc",
        "platform": format!("{}/{}", std::env::consts::OS, std::env::consts::ARCH),
        "mooringVersion": env!("CARGO_PKG_VERSION"),
    });
    respond_with(&output, StatusCode::OK, &version)
}

/// Discovery and OpenAPI.
pub(super) fn document(
    hub: &Hub,
    route: &Route,
    parts: &Parts,
) -> Result<Response<Body>, ApiError> {
    let catalog = hub.registry.catalog();
    let resources = catalog.resources();
    let accept = parts.headers.get(ACCEPT);
    match route {
        Route::CoreVersions | Route::Groups => {
            let output = codec::negotiate(accept, Offer::Discovery)?;
            let core = matches!(route, Route::CoreVersions);
            let value = match output.shape {
                Shape::Discovery(version) => {
                    let which = if core {
                        CoreGroup::Only
                    } else {
                        CoreGroup::Without
                    };
                    discovery::aggregated(resources, which, version)
                }
                Shape::Object | Shape::Table(_) | Shape::Metadata(_) if core => {
                    let address = parts.headers.get(HOST).and_then(|host| host.to_str().ok());
                    discovery::api_versions(address.unwrap_or_default())
                }
                Shape::Object | Shape::Table(_) | Shape::Metadata(_) => {
                    discovery::groups(resources)
                }
            };
            let mut content_type = output.content_type();
            if let Shape::Discovery(version) = output.shape {
                let text = format!(
                    "application/json;g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList"
                );
                content_type = HeaderValue::from_str(&text).unwrap_or(content_type);
            }
            let bytes = output.encode(&value)?;
            Ok(cached(parts, content_type, bytes))
        }
        Route::Group(name) => {
            let output = codec::negotiate(accept, Offer::Document)?;
            let value = discovery::group(resources, name).ok_or_else(ApiError::no_such_resource)?;
            respond_with(&output, StatusCode::OK, &value)
        }
        Route::Resources { group, version } => {
            let output = codec::negotiate(accept, Offer::Document)?;
            let value = discovery::resource_list(resources, group, version)
                .ok_or_else(ApiError::no_such_resource)?;
            respond_with(&output, StatusCode::OK, &value)
        }
        Route::OpenApiV2 => Ok(openapi_v2(resources, parts)),
        Route::OpenApiV3Index => {
            let bytes = openapi::v3_index(resources).to_string().into_bytes();
            Ok(cached(parts, json_type(), bytes))
        }
        Route::OpenApiV3(path) => {
            let value = openapi::v3(resources, path).ok_or_else(ApiError::no_such_resource)?;
            Ok(cached(parts, json_type(), value.to_string().into_bytes()))
        }
        Route::Health | Route::Version | Route::Object(_) => Err(ApiError::no_such_resource()),
    }
}

fn json_type() -> HeaderValue {
    HeaderValue::from_static("application/json")
}

/// client-go reads only the protobuf form, other clients only the JSON form.
fn openapi_v2(
    resources: &[std::sync::Arc<crate::resource::Resource>],
    parts: &Parts,
) -> Response<Body> {
    let accept = parts
        .headers
        .get(ACCEPT)
        .and_then(|value| value.to_str().ok());
    if accept.is_some_and(|accept| accept.contains("protobuf")) {
        let content_type = HeaderValue::from_static(V2_PROTOBUF);
        return cached(parts, content_type, openapi::v2_proto(resources));
    }
    let bytes = openapi::v2(resources).to_string().into_bytes();
    cached(parts, json_type(), bytes)
}

/// Documents are large and seldom change: a client that has this one is told so.
fn cached(parts: &Parts, content_type: HeaderValue, bytes: Vec<u8>) -> Response<Body> {
    let hash = Sha256::digest(&bytes);
    let tag: String = hash
        .iter()
        .take(16)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let tag = format!("\"{tag}\"");
    let known = parts
        .headers
        .get(IF_NONE_MATCH)
        .and_then(|value| value.to_str().ok());
    let mut response = if known == Some(tag.as_str()) {
        respond(StatusCode::NOT_MODIFIED, content_type, Vec::new())
    } else {
        respond(StatusCode::OK, content_type, bytes)
    };
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        response.headers_mut().insert(ETAG, tag);
    }
    response
}
