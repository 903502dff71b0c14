//! The edge: which requests are taken, and what of them goes on to an instance.
//!
//! Owns Host, target, hop-by-hop and forwarded headers, and which upgrades are allowed. Must not know sections.
//! Invariant: what goes on has exactly one Host, one framing, no header that was meant for one hop, and only
//! forwarded headers that the proxy wrote itself.

use std::borrow::Cow;

use http::header::{
    CONNECTION, CONTENT_LENGTH, EXPECT, HOST, HeaderMap, HeaderName, HeaderValue,
    TRANSFER_ENCODING, UPGRADE,
};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{Method, Uri, Version};

use crate::answer::Refusal;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
/// Headers of one hop, whether `Connection` names them or not.
fn is_hop_by_hop(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "connection"
            | "keep-alive"
            | "proxy-authenticate"
            | "proxy-authorization"
            | "proxy-connection"
            | "te"
            | "transfer-encoding"
            | "upgrade"
    )
}

/// Claims about the way a request came that only a proxy may make; those that it makes itself are overwritten.
fn is_spoofable(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "forwarded"
            | "x-forwarded-port"
            | "x-forwarded-prefix"
            | "x-forwarded-server"
            | "x-forwarded-ssl"
            | "x-real-ip"
    )
}

/// What the edge learnt about a request it took.
#[derive(Debug)]
pub struct Admitted {
    /// The Host that goes on.
    pub host: HeaderValue,
    /// Whether it asks for a WebSocket.
    pub websocket: bool,
    /// Whether it came in pieces; then its connection is closed after it, because only that makes a second framing
    /// that the parser dropped harmless (RFC 9112, 6.3).
    pub chunked: bool,
}

/// Takes or refuses a request. Headers are left as they came.
///
/// # Errors
/// The answer to give instead.
pub fn admit(parts: &Parts) -> Result<Admitted, Refusal> {
    if matches!(parts.method, Method::CONNECT | Method::TRACE) {
        return Err(Refusal::MethodNotAllowed);
    }
    let host = host(parts)?;
    let chunked = match only(&parts.headers, &TRANSFER_ENCODING)? {
        None => false,
        Some(coding) if coding.as_bytes().eq_ignore_ascii_case(b"chunked") => true,
        Some(_) => return Err(Refusal::BadRequest),
    };
    if chunked && parts.headers.contains_key(CONTENT_LENGTH) {
        return Err(Refusal::BadRequest);
    }
    let websocket = parts.method == Method::GET
        && parts.version == Version::HTTP_11
        && has_token(&parts.headers, &UPGRADE, "websocket")
        && has_token(&parts.headers, &CONNECTION, "upgrade");
    Ok(Admitted {
        host,
        websocket,
        chunked,
    })
}

/// The name to look a host up by: lower-case, without port and last dot.
pub fn host_name(host: &HeaderValue) -> Cow<'_, str> {
    let text = host.to_str().unwrap_or("");
    let name = match text.rfind(':') {
        Some(colon) if !text.ends_with(']') => &text[..colon],
        Some(_) | None => text,
    };
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(name.to_ascii_lowercase())
    } else {
        Cow::Borrowed(name)
    }
}

/// Makes of a request what an instance gets.
pub fn rewrite(parts: &mut Parts, admitted: &Admitted, path: Option<&str>, client: &HeaderValue) {
    if let Some(path) = path {
        retarget(&mut parts.uri, path);
    } else if parts.uri.scheme().is_some() {
        let path = parts.uri.path().to_owned();
        retarget(&mut parts.uri, &path);
    }
    parts.version = Version::HTTP_11;
    let headers = &mut parts.headers;
    drop_named_by_connection(headers);
    drop_headers(headers, |name| {
        is_hop_by_hop(name) || is_spoofable(name) || *name == EXPECT
    });
    if admitted.websocket {
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    }
    headers.insert(HOST, admitted.host.clone());
    headers.insert(X_FORWARDED_FOR, client.clone());
    headers.insert(X_FORWARDED_HOST, admitted.host.clone());
    headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static("http"));
}

/// Takes the headers of one hop off a message, those that `Connection` names included.
pub fn drop_hop_by_hop(headers: &mut HeaderMap) {
    drop_named_by_connection(headers);
    drop_headers(headers, is_hop_by_hop);
}

fn drop_named_by_connection(headers: &mut HeaderMap) {
    let Some(connection) = headers.get(CONNECTION) else {
        return;
    };
    if connection.as_bytes().eq_ignore_ascii_case(b"keep-alive")
        && headers.get_all(CONNECTION).iter().count() == 1
    {
        return;
    }
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| HeaderName::from_bytes(name.trim().as_bytes()).ok())
        // Content-Length frames the message: whoever names it here wants it lost between two hops.
        .filter(|name| *name != HOST && *name != CONTENT_LENGTH)
        .collect();
    for name in named {
        headers.remove(name);
    }
}

/// One pass over the names that are there, since a look-up for each that could be costs more.
fn drop_headers(headers: &mut HeaderMap, dropped: impl Fn(&HeaderName) -> bool) {
    while let Some(name) = headers.keys().find(|name| dropped(name)).cloned() {
        headers.remove(name);
    }
}

/// Whether a comma-separated header has a token.
pub fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|item| item.trim().eq_ignore_ascii_case(token))
}

/// The one Host of a request. An absolute target's authority replaces the header (RFC 9112, 3.2.2), which must be
/// there and be one all the same. HTTP/1.0 may have none.
fn host(parts: &Parts) -> Result<HeaderValue, Refusal> {
    let header = only(&parts.headers, &HOST)?;
    let host = match (parts.uri.authority(), header) {
        (Some(_), None) if parts.version == Version::HTTP_11 => return Err(Refusal::BadRequest),
        (Some(authority), _) => {
            if parts.uri.scheme_str() != Some("http") {
                return Err(Refusal::BadRequest);
            }
            HeaderValue::from_str(authority.as_str()).map_err(|_| Refusal::BadRequest)?
        }
        (None, Some(host)) => host.clone(),
        (None, None) if parts.version == Version::HTTP_10 => HeaderValue::from_static(""),
        (None, None) => return Err(Refusal::BadRequest),
    };
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._:[]".contains(byte);
    if host.as_bytes().iter().all(plain) {
        Ok(host)
    } else {
        Err(Refusal::BadRequest)
    }
}

/// The only value of a header.
fn only<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Result<Option<&'h HeaderValue>, Refusal> {
    let mut values = headers.get_all(name).iter();
    let first = values.next();
    if values.next().is_some() {
        Err(Refusal::BadRequest)
    } else {
        Ok(first)
    }
}

/// Replaces the path, keeps the query.
fn retarget(uri: &mut Uri, path: &str) {
    let path = if path.is_empty() { "/" } else { path };
    let target = match uri.query() {
        Some(query) => PathAndQuery::try_from(format!("{path}?{query}")),
        None => PathAndQuery::try_from(path),
    };
    // A part of a valid path that begins with a slash is a valid path.
    if let Ok(target) = target {
        *uri = Uri::from(target);
    }
}

#[cfg(test)]
mod tests;
