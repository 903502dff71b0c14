//! Owns the reading of a request's path: which endpoint, resource, object and subresource is meant.
//!
//! It must not know which resources exist. Invariant: total and pure; every path is one route or none.

/// What a path means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// `/livez`, `/readyz`, `/healthz`, open to everybody.
    Health,
    /// `/version`, open to everybody.
    Version,
    /// `/api`: the versions of the core group.
    CoreVersions,
    /// `/apis`: the groups.
    Groups,
    /// `/apis/GROUP`.
    Group(String),
    /// `/api/v1` or `/apis/GROUP/VERSION`: the resources of one version.
    Resources {
        /// Empty for the core group.
        group: String,
        /// The version.
        version: String,
    },
    /// `/openapi/v2`.
    OpenApiV2,
    /// `/openapi/v3`: the index.
    OpenApiV3Index,
    /// `/openapi/v3/api/v1` or `/openapi/v3/apis/GROUP/VERSION`; the text is `api/v1` or `apis/GROUP/VERSION`.
    OpenApiV3(String),
    /// An object or a collection.
    Object(Target),
}

/// One object, one collection, or a subresource.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Target {
    /// Empty for the core group.
    pub group: String,
    /// The version asked for.
    pub version: String,
    /// Plural resource name.
    pub resource: String,
    /// Namespace; `None` for cluster-scoped resources and for collections over all namespaces.
    pub namespace: Option<String>,
    /// Name of the object; `None` for a collection.
    pub name: Option<String>,
    /// `status`, `scale`, `finalize` and the like.
    pub subresource: Option<String>,
}

/// Reads a path, percent-encoding included. `None`: nothing is served there, whatever resources exist.
pub fn parse(path: &str) -> Option<Route> {
    let trimmed = path.trim_matches('/');
    let mut parts = Vec::new();
    for part in trimmed.split('/') {
        let part = percent_decode(part, false)?;
        if part.is_empty() || part.contains(['\0', '/']) || part == "." || part == ".." {
            return None;
        }
        parts.push(part);
    }
    let texts: Vec<&str> = parts.iter().map(String::as_str).collect();
    match texts.as_slice() {
        ["livez" | "readyz" | "healthz", ..] => Some(Route::Health),
        ["version"] => Some(Route::Version),
        ["api"] => Some(Route::CoreVersions),
        ["apis"] => Some(Route::Groups),
        ["apis", group] => Some(Route::Group((*group).to_owned())),
        ["api", version] => Some(Route::Resources {
            group: String::new(),
            version: (*version).to_owned(),
        }),
        ["apis", group, version] => Some(Route::Resources {
            group: (*group).to_owned(),
            version: (*version).to_owned(),
        }),
        ["openapi", "v2"] => Some(Route::OpenApiV2),
        ["openapi", "v3"] => Some(Route::OpenApiV3Index),
        ["openapi", "v3", rest @ ..] => Some(Route::OpenApiV3(rest.join("/"))),
        ["api", version, rest @ ..] => target("", version, rest).map(Route::Object),
        ["apis", group, version, rest @ ..] => target(group, version, rest).map(Route::Object),
        _elsewhere => None,
    }
}

/// Below `namespaces/NAME` only these two belong to the namespace itself; anything else is a resource in it.
fn is_namespace_subresource(part: &str) -> bool {
    matches!(part, "status" | "finalize")
}

fn target(group: &str, version: &str, rest: &[&str]) -> Option<Target> {
    let owned = |text: &&str| (*text).to_owned();
    let (namespace, rest) = match rest {
        ["namespaces", namespace, resource, ..] if !is_namespace_subresource(resource) => {
            (Some(owned(namespace)), &rest[2..])
        }
        _other => (None, rest),
    };
    let (resource, name, subresource) = match rest {
        [resource] => (resource, None, None),
        [resource, name] => (resource, Some(owned(name)), None),
        [resource, name, subresource] => (resource, Some(owned(name)), Some(owned(subresource))),
        _longer => return None,
    };
    Some(Target {
        group: group.to_owned(),
        version: version.to_owned(),
        resource: owned(resource),
        namespace,
        name,
        subresource,
    })
}

/// Decodes `%41` and, in a query, `+`. `None` when the escapes are broken or the result is not UTF-8.
pub fn percent_decode(text: &str, plus_is_space: bool) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'%' => {
                let (high, low) = (rest.next()?, rest.next()?);
                let digit = |byte: u8| char::from(byte).to_digit(16);
                let value = digit(high)? * 16 + digit(low)?;
                bytes.push(u8::try_from(value).ok()?);
            }
            b'+' if plus_is_space => bytes.push(b' '),
            plain => bytes.push(plain),
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(path: &str) -> Target {
        match parse(path) {
            Some(Route::Object(target)) => target,
            other => panic!("{path} is {other:?}"),
        }
    }

    #[test]
    fn paths_of_objects() {
        let target = object("/apis/example.com/v1/namespaces/default/widgets/a/status");
        assert_eq!(
            target,
            Target {
                group: "example.com".to_owned(),
                version: "v1".to_owned(),
                resource: "widgets".to_owned(),
                namespace: Some("default".to_owned()),
                name: Some("a".to_owned()),
                subresource: Some("status".to_owned()),
            }
        );
        assert_eq!(object("/api/v1/configmaps").namespace, None);
        let namespace = object("/api/v1/namespaces/default");
        assert_eq!(namespace.resource, "namespaces");
        assert_eq!(namespace.name.as_deref(), Some("default"));
        let finalize = object("/api/v1/namespaces/default/finalize");
        assert_eq!(finalize.subresource.as_deref(), Some("finalize"));
        let inside = object("/api/v1/namespaces/default/secrets");
        assert_eq!(inside.resource, "secrets");
        assert_eq!(inside.namespace.as_deref(), Some("default"));
        assert_eq!(inside.name, None);
    }

    #[test]
    fn other_paths() {
        assert_eq!(parse("/readyz/ping"), Some(Route::Health));
        assert_eq!(parse("/apis"), Some(Route::Groups));
        assert_eq!(
            parse("/openapi/v3/apis/example.com/v1"),
            Some(Route::OpenApiV3("apis/example.com/v1".to_owned()))
        );
        for nothing in [
            "/",
            "/nowhere",
            "/api/v1/a/b/c/d",
            "/api/v1//x",
            "/api/v1/a%2Fb",
            "/api/%zz/x",
            "/api/v1/../x",
        ] {
            assert_eq!(parse(nothing), None, "{nothing}");
        }
    }

    #[test]
    fn names_are_decoded() {
        assert_eq!(
            object("/api/v1/configmaps/a%3Ab").name.as_deref(),
            Some("a:b")
        );
        assert_eq!(percent_decode("a+b%20c", true).as_deref(), Some("a b c"));
        assert_eq!(percent_decode("%", true), None);
    }
}
