//! Owns get, list and watch: which objects, as of when, in which shape.
//!
//! It must not know how objects are written. Invariant: the pages of one list are of one moment, or the next page is
//! refused with 410.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use futures::stream;
use http::header::CACHE_CONTROL;
use http::{HeaderValue, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{Asked, Body, BoxError, respond};
use crate::codec::{Encoding, Shape};
use crate::error::ApiError;
use crate::hub::Hub;
use crate::object;
use crate::query::{ListOptions, VersionMatch};
use crate::selector::{FieldSelector, LabelSelector};
use crate::served::Served;
use crate::store::{Key, Listing, Stored};
use crate::table::{self, IncludeObject};
use crate::watch::{self, Filter, Start, Watch};

/// The key of the object that a request names.
pub(super) fn key(asked: &Asked) -> Key {
    Key::new(
        &asked.served.storage,
        asked.target.namespace.as_deref().unwrap_or_default(),
        asked.target.name.as_deref().unwrap_or_default(),
    )
}

/// The object that a request names.
pub(super) fn stored(hub: &Hub, asked: &Asked) -> Result<Arc<Stored>, ApiError> {
    let key = key(asked);
    hub.store
        .get(&key)
        .ok_or_else(|| ApiError::not_found(asked.served.named(), &key.name))
}

/// One object.
pub(super) fn get(hub: &Hub, asked: &Asked) -> Result<Response<Body>, ApiError> {
    let options = ListOptions::read(&asked.query)?;
    check_not_ahead(hub, options.version)?;
    let stored = stored(hub, asked)?;
    let output = &asked.output;
    if output.shape == Shape::Object && output.encoding == Encoding::Json && !output.pretty {
        let bytes = asked.served.bytes(&stored);
        return Ok(respond(StatusCode::OK, output.content_type(), bytes));
    }
    let value = asked.served.value(&stored);
    let shaped = shaped(hub, asked, &value)?;
    let bytes = output.encode(shaped.as_ref().unwrap_or(&value))?;
    Ok(respond(StatusCode::OK, output.content_type(), bytes))
}

/// An object as Table or metadata, when that is wanted.
pub(super) fn shaped(hub: &Hub, asked: &Asked, value: &Value) -> Result<Option<Value>, ApiError> {
    match asked.output.shape {
        Shape::Object | Shape::Discovery(_) => Ok(None),
        Shape::Metadata(version) => Ok(Some(table::partial_metadata(value, version))),
        Shape::Table(version) => {
            let meta = json!({"resourceVersion": object::version(value)});
            Ok(Some(as_table(hub, asked, &[value], meta, version)?))
        }
    }
}

fn as_table(
    hub: &Hub,
    asked: &Asked,
    items: &[&Value],
    meta: Value,
    version: &str,
) -> Result<Value, ApiError> {
    let include = include(asked)?;
    let now = hub.exactly_now();
    let mut table = table::table(&asked.served.resource, items, meta, include, now);
    table["apiVersion"] = json!(format!("meta.k8s.io/{version}"));
    Ok(table)
}

fn include(asked: &Asked) -> Result<IncludeObject, ApiError> {
    match asked.query.get("includeObject") {
        None | Some("Metadata") => Ok(IncludeObject::Metadata),
        Some("None") => Ok(IncludeObject::None),
        Some("Object") => Ok(IncludeObject::Object),
        Some(other) => Err(ApiError::bad_request(format!(
            "includeObject: Unsupported value: \"{other}\": supported values: \"None\", \"Metadata\", \"Object\""
        ))),
    }
}

/// What a list, watch or deletion of a collection is about.
pub(super) fn filter(asked: &Asked, options: &ListOptions) -> Result<Filter, ApiError> {
    let labels = Some(options.label_selector.as_str())
        .filter(|text| !text.trim().is_empty())
        .map(LabelSelector::parse)
        .transpose()
        .map_err(|error| ApiError::bad_request(error.to_string()))?;
    let mut text = options.field_selector.clone();
    if let Some(name) = &asked.target.name {
        // A watch on one object by its path is one on the collection with its name selected.
        let separator = if text.is_empty() { "" } else { "," };
        text = format!("{text}{separator}metadata.name={name}");
    }
    let fields = Some(text.as_str())
        .filter(|text| !text.trim().is_empty())
        .map(FieldSelector::parse)
        .transpose()
        .map_err(|error| ApiError::bad_request(error.to_string()))?;
    if let Some(fields) = &fields {
        fields
            .check(&asked.served.resource)
            .map_err(|error| ApiError::bad_request(error.to_string()))?;
    }
    Ok(Filter {
        namespace: asked.target.namespace.clone(),
        labels,
        fields,
    })
}

/// Where the next page begins.
#[derive(Serialize, Deserialize)]
struct Continue {
    v: String,
    rv: u64,
    /// The last object of the page before: `namespace/name`.
    start: String,
}

/// The version that continue tokens have.
const CONTINUE_VERSION: &str = "meta.k8s.io/v1";

impl Continue {
    fn parse(token: &str) -> Result<Self, ApiError> {
        let invalid = || ApiError::bad_request("continue key is not valid");
        let bytes = URL_SAFE_NO_PAD.decode(token).map_err(|_| invalid())?;
        let token: Self = serde_json::from_slice(&bytes).map_err(|_| invalid())?;
        if token.v != CONTINUE_VERSION || !token.start.contains('/') {
            return Err(invalid());
        }
        Ok(token)
    }

    fn text(version: u64, last: &Key) -> String {
        let token = Self {
            v: CONTINUE_VERSION.to_owned(),
            rv: version,
            start: format!("{}/{}", last.namespace, last.name),
        };
        URL_SAFE_NO_PAD.encode(json!(token).to_string())
    }
}

/// One page of a list.
struct Page {
    version: u64,
    items: Vec<Arc<Stored>>,
    next: Option<String>,
    remaining: Option<usize>,
}

/// A collection.
pub(super) fn list(
    hub: &Hub,
    asked: &Asked,
    options: &ListOptions,
) -> Result<Response<Body>, ApiError> {
    let filter = filter(asked, options)?;
    let page = page(hub, asked, options, &filter)?;
    let mut meta = Map::new();
    meta.insert(
        "resourceVersion".to_owned(),
        json!(page.version.to_string()),
    );
    if let Some(next) = &page.next {
        meta.insert("continue".to_owned(), json!(next));
    }
    if let Some(remaining) = page.remaining {
        meta.insert("remainingItemCount".to_owned(), json!(remaining));
    }
    let meta = Value::Object(meta);
    let output = &asked.output;
    if output.shape == Shape::Object && output.encoding == Encoding::Json && !output.pretty {
        let bytes = join(&asked.served, &page.items, &meta);
        return Ok(respond(StatusCode::OK, output.content_type(), bytes));
    }
    let values: Vec<Value> = page
        .items
        .iter()
        .map(|stored| asked.served.value(stored))
        .collect();
    let value = match output.shape {
        Shape::Object | Shape::Discovery(_) => list_of(&asked.served, &values, meta),
        Shape::Metadata(version) => json!({
            "kind": "PartialObjectMetadataList",
            "apiVersion": format!("meta.k8s.io/{version}"),
            "metadata": meta,
            "items": values.iter().map(|value| table::partial_metadata(value, version)).collect::<Vec<_>>(),
        }),
        Shape::Table(version) => {
            let items: Vec<&Value> = values.iter().collect();
            as_table(hub, asked, &items, meta, version)?
        }
    };
    Ok(respond(
        StatusCode::OK,
        output.content_type(),
        output.encode(&value)?,
    ))
}

/// A list as a value.
pub(super) fn list_of(served: &Served, items: &[Value], meta: Value) -> Value {
    json!({
        "kind": served.resource.list_kind,
        "apiVersion": served.api_version(),
        "metadata": meta,
        "items": items,
    })
}

/// A list out of bytes that need not be read: most of the cost of a large one.
fn join(served: &Served, items: &[Arc<Stored>], meta: &Value) -> Vec<u8> {
    let size: usize = items.iter().map(|item| item.bytes.len() + 1).sum();
    let mut out = Vec::with_capacity(size + 256);
    let head = format!(
        "{{\"kind\":{},\"apiVersion\":{},\"metadata\":{meta},\"items\":[",
        json!(served.resource.list_kind),
        json!(served.api_version()),
    );
    out.extend_from_slice(head.as_bytes());
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        out.extend_from_slice(&served.bytes(item));
    }
    out.extend_from_slice(b"]}");
    out
}

fn page(
    hub: &Hub,
    asked: &Asked,
    options: &ListOptions,
    filter: &Filter,
) -> Result<Page, ApiError> {
    let token = options
        .continue_token
        .as_deref()
        .map(Continue::parse)
        .transpose()?;
    let listing = snapshot(hub, asked, options, token.as_ref())?;
    let after = token.as_ref().and_then(|token| token.start.split_once('/'));
    let served = &asked.served;
    let mut selected = listing
        .items
        .into_iter()
        .filter(|(key, _)| {
            after.is_none_or(|after| (key.namespace.as_str(), key.name.as_str()) > after)
        })
        .filter(|(_, stored)| {
            filter.selects_all() || filter.selects(served, &served.value(stored))
        });
    let Some(limit) = options.limit else {
        return Ok(Page {
            version: listing.version,
            items: selected.map(|(_, stored)| stored).collect(),
            next: None,
            remaining: None,
        });
    };
    let taken: Vec<(Key, Arc<Stored>)> = selected.by_ref().take(limit).collect();
    let more = selected.next().is_some();
    let remaining = (more && filter.selects_all()).then(|| 1 + selected.count());
    let next = taken
        .last()
        .filter(|_| more)
        .map(|(key, _)| Continue::text(listing.version, key));
    Ok(Page {
        version: listing.version,
        items: taken.into_iter().map(|(_, stored)| stored).collect(),
        next,
        remaining,
    })
}

fn snapshot(
    hub: &Hub,
    asked: &Asked,
    options: &ListOptions,
    token: Option<&Continue>,
) -> Result<Listing, ApiError> {
    let exact = match (token, options.version, options.version_match) {
        (Some(token), _, _) => Some(token.rv),
        (None, Some(version), Some(VersionMatch::Exact)) => Some(version),
        // As in Kubernetes: a first page at a resourceVersion means exactly that one.
        (None, Some(version), None) if options.limit.is_some() && version > 0 => Some(version),
        (None, Some(_), Some(VersionMatch::NotOlderThan) | None) | (None, None, _) => None,
    };
    check_not_ahead(hub, exact.or(options.version))?;
    let namespace = asked.target.namespace.as_deref();
    hub.store
        .list(&asked.served.storage, namespace, exact)
        .map_err(|expired| {
            if token.is_some() {
                ApiError::expired(
                    "The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter.",
                )
            } else {
                ApiError::expired(expired.to_string())
            }
        })
}

/// A client that has seen a newer state than this server has, as after a restored backup, must not be shown an older one.
fn check_not_ahead(hub: &Hub, version: Option<u64>) -> Result<(), ApiError> {
    let current = hub.store.version();
    match version {
        Some(wanted) if wanted > current => Err(ApiError::version_ahead(wanted, current)),
        Some(_) | None => Ok(()),
    }
}

/// The changes of a collection as they happen.
pub(super) fn watch(
    hub: Arc<Hub>,
    asked: Asked,
    options: ListOptions,
) -> Result<Response<Body>, ApiError> {
    if asked.output.encoding != Encoding::Json {
        return Err(ApiError::not_acceptable(&["application/json"]));
    }
    let counted = hub.limits.watch(&asked.identity)?;
    let filter = filter(&asked, &options)?;
    let include = include(&asked)?;
    let present = match (options.initial_events, options.version) {
        (Some(wanted), _) => wanted,
        (None, version) => version.unwrap_or_default() == 0,
    };
    let start = if present {
        check_not_ahead(&hub, options.version)?;
        initial(&hub, &asked, &filter, options.initial_events == Some(true))?
    } else {
        Start {
            initial: Vec::new(),
            version: match options.version {
                Some(version) if version > 0 => version,
                Some(_) | None => hub.store.version(),
            },
            mark_initial: false,
        }
    };
    if start.version > hub.store.version() {
        return Err(ApiError::expired(format!(
            "too new resource version: {} ({})",
            start.version,
            hub.store.version()
        )));
    }
    let watch = Watch::new(
        hub,
        watch::Asked {
            served: asked.served,
            filter,
            shape: asked.output.shape,
            include,
            bookmarks: options.bookmarks,
            timeout_seconds: options.timeout_seconds,
        },
        start,
        counted,
    );
    let events = stream::unfold(watch, |mut watch| async move {
        let bytes: Bytes = watch.next().await?;
        Some((Ok::<_, BoxError>(Frame::data(bytes)), watch))
    });
    let mut response = Response::new(StreamBody::new(events).boxed_unsync());
    let headers = response.headers_mut();
    headers.insert(
        http::header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    Ok(response)
}

fn initial(hub: &Hub, asked: &Asked, filter: &Filter, mark: bool) -> Result<Start, ApiError> {
    let namespace = filter.namespace.as_deref();
    let listing = hub
        .store
        .list(&asked.served.storage, namespace, None)
        .map_err(|expired| ApiError::expired(expired.to_string()))?;
    let served = &asked.served;
    let initial = listing
        .items
        .into_iter()
        .filter(|(_, stored)| filter.selects_all() || filter.selects(served, &served.value(stored)))
        .map(|(_, stored)| stored)
        .collect();
    Ok(Start {
        initial,
        version: listing.version,
        mark_initial: mark,
    })
}
