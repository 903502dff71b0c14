//! Owns the way from a request to its answer: who asks, what for, whether that may be, and which verb does it.
//!
//! It must not know sockets or how objects are judged and stored. Invariants: every request gets one answer within its
//! time, in the words of kube-apiserver; every write is in the audit log, with whether it changed anything.

mod access;
mod admit;
mod create;
mod delete;
mod describe;
mod generated;
mod loops;
mod patch;
mod read;
mod scale;
mod update;

pub(crate) use delete::{FOREGROUND, ORPHAN, remove_for};
pub(crate) use loops::{create_for, edit_for};

use std::sync::Arc;

use bytes::Bytes;
use http::header::{
    ACCEPT, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, USER_AGENT, WARNING, WWW_AUTHENTICATE,
};
use http::request::Parts;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body::Body as HttpBody;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use serde_json::{Value, json};

use crate::audit;
use crate::auth::Identity;
use crate::codec::{self, Offer, Output};
use crate::error::ApiError;
use crate::hub::Hub;
use crate::limits::{ANSWER_WITHIN, BODY_BYTES_MAX, BODY_WITHIN, Load};
use crate::path::{self, Route, Target};
use crate::query::{ListOptions, Query};
use crate::served::Served;

/// Any error of a transport.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The body of an answer: a document, or the events of a watch as they happen.
pub type Body = http_body_util::combinators::UnsyncBoxBody<Bytes, BoxError>;

/// Warnings in one answer, and the length of each: what kube-apiserver allows is cut here too.
const WARNINGS_MAX: usize = 20;
const WARNING_CHARS_MAX: usize = 256;

/// Who makes a request.
pub enum Caller {
    /// Somebody in the same process, named by whoever wired it up.
    Known(Identity),
    /// Whoever the bearer token says.
    Bearer,
}

/// A request whose body has been read.
pub(crate) struct Asked {
    pub identity: Identity,
    pub method: Method,
    pub target: Target,
    pub query: Query,
    pub output: Output,
    pub content_type: Option<HeaderValue>,
    pub user_agent: String,
    pub body: Bytes,
    pub served: Arc<Served>,
}

/// What a write came to.
pub(crate) struct Done {
    pub code: StatusCode,
    pub value: Value,
    pub changed: bool,
    pub dry_run: bool,
    pub name: String,
    pub warnings: Vec<String>,
}

impl Done {
    pub(crate) fn new(code: StatusCode, value: Value, changed: bool) -> Self {
        Self {
            code,
            name: crate::object::name(&value).to_owned(),
            value,
            changed,
            dry_run: false,
            warnings: Vec::new(),
        }
    }
}

/// Answers one request.
pub(crate) async fn answer<B>(hub: Arc<Hub>, caller: Caller, request: Request<B>) -> Response<Body>
where
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let (parts, body) = request.into_parts();
    match answer_parts(hub, caller, parts, body).await {
        Ok(response) => response,
        Err(error) => refusal(&error),
    }
}

async fn answer_parts<B>(
    hub: Arc<Hub>,
    caller: Caller,
    parts: Parts,
    body: B,
) -> Result<Response<Body>, ApiError>
where
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let route = path::parse(parts.uri.path());
    match &route {
        Some(Route::Health) => return Ok(describe::health(&hub, &parts)),
        Some(Route::Version) => return describe::version(&parts),
        Some(_) | None => {}
    }
    let identity = match caller {
        Caller::Known(identity) => identity,
        Caller::Bearer => hub
            .authenticator
            .identify(&parts.headers)
            .ok_or_else(ApiError::unauthorized)?,
    };
    let Some(route) = route else {
        return Err(ApiError::no_such_resource());
    };
    match route {
        Route::Object(target) => answer_object(hub, identity, target, parts, body).await,
        other => {
            let _counted = hub.limits.enter(Load::Read, &identity)?;
            if parts.method != Method::GET {
                return Err(not_allowed());
            }
            describe::document(&hub, &other, &parts)
        }
    }
}

async fn answer_object<B>(
    hub: Arc<Hub>,
    identity: Identity,
    target: Target,
    parts: Parts,
    body: B,
) -> Result<Response<Body>, ApiError>
where
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let query = Query::parse(parts.uri.query().unwrap_or_default())?;
    let mut output = codec::negotiate(parts.headers.get(ACCEPT), Offer::Objects)?;
    output.pretty = query
        .get("pretty")
        .is_some_and(|wanted| wanted != "false" && wanted != "0");
    if access::is_review(&target) {
        let _counted = hub.limits.enter(Load::Read, &identity)?;
        let body = read_body(body).await?;
        let value = access::review(&identity, &target, &parts, &body)?;
        return document(&output, StatusCode::CREATED, &value);
    }
    let served = hub
        .registry
        .catalog()
        .find(&target.group, &target.version, &target.resource)
        .ok_or_else(ApiError::no_such_resource)?;
    check_scope(&served, &target)?;
    let is_read = parts.method == Method::GET || parts.method == Method::HEAD;
    let mut asked = Asked {
        identity,
        target,
        query,
        output,
        content_type: parts.headers.get(CONTENT_TYPE).cloned(),
        user_agent: text(parts.headers.get(USER_AGENT)),
        body: Bytes::new(),
        served,
        method: parts.method,
    };
    if is_read {
        return answer_read(hub, asked).await;
    }
    let _counted = hub.limits.enter(Load::Write, &asked.identity)?;
    asked.body = read_body(body).await?;
    answer_write(&hub, asked).await
}

async fn answer_read(hub: Arc<Hub>, asked: Asked) -> Result<Response<Body>, ApiError> {
    let _counted = hub.limits.enter(Load::Read, &asked.identity)?;
    match (&asked.target.name, asked.target.subresource.as_deref()) {
        (Some(_), Some("scale")) => {
            let value = scale::get(&hub, &asked)?;
            document(&asked.output, StatusCode::OK, &value)
        }
        (Some(_), Some("status")) if asked.served.resource.status => read::get(&hub, &asked),
        (_, Some(_)) => Err(ApiError::no_such_resource()),
        (Some(_), None) => {
            let options = ListOptions::read(&asked.query)?;
            if options.watch {
                read::watch(hub, asked, options)
            } else {
                read::get(&hub, &asked)
            }
        }
        (None, None) => {
            let options = ListOptions::read(&asked.query)?;
            if options.watch {
                read::watch(hub, asked, options)
            } else {
                read::list(&hub, &asked, &options)
            }
        }
    }
}

async fn answer_write(hub: &Arc<Hub>, asked: Asked) -> Result<Response<Body>, ApiError> {
    let verb = verb(&asked)?;
    let result = match tokio::time::timeout(ANSWER_WITHIN, write(hub, &asked, verb)).await {
        Ok(result) => result,
        Err(_elapsed) => Err(ApiError::timeout(
            "request did not complete within the allotted timeout",
        )),
    };
    record(hub, &asked, verb, &result);
    let done = result?;
    let mut response = document_in(&asked.output, &asked, done.code, &done.value, hub)?;
    let deprecated = asked.served.resource.deprecation_warning.iter();
    for warning in deprecated.chain(&done.warnings).take(WARNINGS_MAX) {
        response
            .headers_mut()
            .append(WARNING, warning_header(warning));
    }
    Ok(response)
}

/// The verbs that change something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verb {
    Create,
    Update,
    Patch,
    Apply,
    Delete,
    DeleteCollection,
}

impl Verb {
    fn name(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Update => "update",
            Self::Patch => "patch",
            Self::Apply => "apply",
            Self::Delete => "delete",
            Self::DeleteCollection => "deletecollection",
        }
    }
}

fn verb(asked: &Asked) -> Result<Verb, ApiError> {
    let named = asked.target.name.is_some();
    match (asked.method.as_str(), named) {
        ("POST", false) => Ok(Verb::Create),
        ("PUT", true) => Ok(Verb::Update),
        ("PATCH", true) if patch::is_apply(asked) => Ok(Verb::Apply),
        ("PATCH", true) => Ok(Verb::Patch),
        ("DELETE", true) => Ok(Verb::Delete),
        ("DELETE", false) => Ok(Verb::DeleteCollection),
        _other => Err(not_allowed()),
    }
}

async fn write(hub: &Arc<Hub>, asked: &Asked, verb: Verb) -> Result<Done, ApiError> {
    let subresource = asked.target.subresource.as_deref().unwrap_or_default();
    let has_status = asked.served.resource.status;
    let finalizes = asked.served.resource.kind == "Namespace" && asked.served.builtin.is_some();
    match (verb, subresource) {
        (Verb::Create, "") => create::create(hub, asked).await,
        (Verb::Update, "") => update::update(hub, asked, "").await,
        (Verb::Update, "status") if has_status => update::update(hub, asked, "status").await,
        (Verb::Update, "finalize") if finalizes => update::update(hub, asked, "finalize").await,
        (Verb::Update | Verb::Patch | Verb::Apply, "scale") => scale::write(hub, asked).await,
        (Verb::Patch | Verb::Apply, "") => patch::patch(hub, asked, "").await,
        (Verb::Patch | Verb::Apply, "status") if has_status => {
            patch::patch(hub, asked, "status").await
        }
        (Verb::Delete, "") => delete::delete(hub, asked).await,
        (Verb::DeleteCollection, "") => delete::delete_collection(hub, asked).await,
        (
            Verb::Create
            | Verb::Update
            | Verb::Patch
            | Verb::Apply
            | Verb::Delete
            | Verb::DeleteCollection,
            _,
        ) => Err(ApiError::no_such_resource()),
    }
}

fn record(hub: &Hub, asked: &Asked, verb: Verb, result: &Result<Done, ApiError>) {
    let resource = match &asked.target.subresource {
        Some(subresource) => format!("{}/{subresource}", asked.target.resource),
        None => asked.target.resource.clone(),
    };
    let named = asked.target.name.clone();
    let (code, changed, dry_run, name) = match result {
        Ok(done) => (
            done.code,
            done.changed,
            done.dry_run,
            named.unwrap_or_else(|| done.name.clone()),
        ),
        Err(error) => (error.code(), false, false, named.unwrap_or_default()),
    };
    hub.audit.record(&audit::Entry {
        time: hub.exactly_now(),
        verb: verb.name().to_owned(),
        api_version: asked.served.api_version(),
        resource,
        namespace: asked.target.namespace.clone().unwrap_or_default(),
        name,
        user: asked.identity.user.to_string(),
        code: code.as_u16(),
        changed,
        dry_run,
    });
}

/// A namespaced object needs its namespace in the path, a cluster-scoped one must not have one.
fn check_scope(served: &Served, target: &Target) -> Result<(), ApiError> {
    match (served.resource.namespaced, &target.namespace, &target.name) {
        (false, Some(_), _) | (true, None, Some(_)) => Err(ApiError::no_such_resource()),
        (false, None, _) | (true, Some(_), _) | (true, None, None) => Ok(()),
    }
}

async fn read_body<B>(body: B) -> Result<Bytes, ApiError>
where
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let collected = tokio::time::timeout(BODY_WITHIN, Limited::new(body, BODY_BYTES_MAX).collect())
        .await
        .map_err(|_| ApiError::timeout("the body of the request did not arrive in time"))?;
    match collected {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(ApiError::too_large(format!(
            "Request entity too large: limit is {BODY_BYTES_MAX}"
        ))),
        Err(error) => Err(ApiError::bad_request(format!(
            "the body of the request cannot be read: {error}"
        ))),
    }
}

fn not_allowed() -> ApiError {
    ApiError::method_not_allowed("the server does not allow this method on the requested resource")
}

fn text(value: Option<&HeaderValue>) -> String {
    value
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
        .to_owned()
}

/// `299 - "text"`, the text without anything that would end it.
fn warning_header(text: &str) -> HeaderValue {
    let clean: String = text
        .chars()
        .take(WARNING_CHARS_MAX)
        .map(|char| {
            if char.is_control() || !char.is_ascii() {
                ' '
            } else {
                char
            }
        })
        .collect();
    let quoted = clean.replace('\\', "\\\\").replace('"', "\\\"");
    HeaderValue::from_str(&format!("299 - \"{quoted}\""))
        .unwrap_or_else(|_| HeaderValue::from_static("299 - \"warning\""))
}

/// An answer with a body that is there already.
pub(crate) fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into())
        .map_err(|never| match never {})
        .boxed_unsync()
}

/// An answer with these bytes.
pub(crate) fn respond(
    code: StatusCode,
    content_type: HeaderValue,
    bytes: impl Into<Bytes>,
) -> Response<Body> {
    let mut response = Response::new(full(bytes));
    *response.status_mut() = code;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, content_type);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    response
}

/// An answer with a document.
fn document(output: &Output, code: StatusCode, value: &Value) -> Result<Response<Body>, ApiError> {
    Ok(respond(code, output.content_type(), output.encode(value)?))
}

/// An answer with an object, in the shape that the client wants objects in.
fn document_in(
    output: &Output,
    asked: &Asked,
    code: StatusCode,
    value: &Value,
    hub: &Hub,
) -> Result<Response<Body>, ApiError> {
    let is_object = value
        .get("kind")
        .is_some_and(|kind| *kind == asked.served.resource.kind.as_str());
    if !is_object {
        return document(output, code, value);
    }
    let shaped = read::shaped(hub, asked, value)?;
    document(output, code, shaped.as_ref().unwrap_or(value))
}

fn refusal(error: &ApiError) -> Response<Body> {
    let json = HeaderValue::from_static("application/json");
    let mut response = respond(error.code(), json, error.status().to_string());
    if let Some(seconds) = error.retry_after_seconds() {
        response
            .headers_mut()
            .insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    if error.code() == StatusCode::UNAUTHORIZED {
        let scheme = HeaderValue::from_static("Bearer");
        response.headers_mut().insert(WWW_AUTHENTICATE, scheme);
    }
    response
}

/// `Status` of a success, as kube-apiserver answers a deletion.
fn success(details: Value) -> Value {
    json!({
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Success",
        "details": details,
    })
}
