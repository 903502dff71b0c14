//! Which requests a section answers: host patterns and path prefixes.
//!
//! Owns the matching rules. Must not know HTTP. Invariant: exact host before wildcard before default, then the
//! longest prefix, and prefixes match on segment boundaries only.

use serde::{Deserialize, Serialize};

/// The hosts and paths of one section.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Route {
    /// Lower-case names without port; `*.example.com` stands for exactly one label.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<String>,
    /// Also answers every host that no other section answers.
    #[serde(default)]
    pub default: bool,
    /// Prefixes; none means `/`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub paths: Vec<PathRule>,
}

/// One path prefix of a route.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PathRule {
    /// Begins with a slash; a slash at its end means nothing (`/api` and `/api/` are one prefix).
    pub prefix: String,
    /// Whether the prefix is taken off before the request goes on.
    #[serde(default)]
    pub strip: bool,
}

impl PathRule {
    /// The rule that matches everything and changes nothing.
    pub fn root() -> Self {
        PathRule {
            prefix: "/".to_owned(),
            strip: false,
        }
    }

    /// The prefix without the slash at its end; empty for `/`.
    pub fn normal(&self) -> &str {
        self.prefix.trim_end_matches('/')
    }

    /// Whether a request path (without query) is under this prefix.
    pub fn matches(&self, path: &str) -> bool {
        under(self.normal(), path)
    }

    /// The path that goes on: with `strip` without the prefix, always beginning with a slash.
    pub fn forward<'p>(&self, path: &'p str) -> &'p str {
        match self
            .strip
            .then(|| path.strip_prefix(self.normal()))
            .flatten()
        {
            Some("") => "/",
            Some(rest) if rest.starts_with('/') => rest,
            Some(_) | None => path,
        }
    }
}

/// Whether `path` is `prefix` or below it. `prefix` has no slash at its end.
pub fn under(prefix: &str, path: &str) -> bool {
    path.strip_prefix(prefix)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The wildcard pattern that a host would match: `a.example.com` gives `*.example.com`. Names of one label have none.
pub fn wildcard_of(host: &str) -> Option<String> {
    let (label, rest) = host.split_once('.')?;
    (!label.is_empty() && !rest.is_empty()).then(|| format!("*.{rest}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_match_on_segment_boundaries() {
        for (prefix, path, matched) in [
            ("/", "/", true),
            ("/", "/anything", true),
            ("/api", "/api", true),
            ("/api", "/api/x", true),
            ("/api/", "/api", true),
            ("/api", "/apix", false),
            ("/api", "/", false),
            ("/api", "*", false),
            ("/a/b", "/a/b/c", true),
            ("/a/b", "/a", false),
        ] {
            let rule = PathRule {
                prefix: prefix.to_owned(),
                strip: false,
            };
            assert_eq!(rule.matches(path), matched, "{prefix} {path}");
        }
    }

    #[test]
    fn strip_keeps_a_leading_slash() {
        let rule = PathRule {
            prefix: "/api/".to_owned(),
            strip: true,
        };
        assert_eq!(rule.forward("/api"), "/");
        assert_eq!(rule.forward("/api/"), "/");
        assert_eq!(rule.forward("/api/x/y"), "/x/y");
        assert_eq!(
            PathRule {
                prefix: "/".to_owned(),
                strip: true
            }
            .forward("/x"),
            "/x"
        );
        assert_eq!(
            PathRule {
                prefix: "/api".to_owned(),
                strip: false
            }
            .forward("/api/x"),
            "/api/x"
        );
    }

    #[test]
    fn wildcards_are_one_label_deep() {
        assert_eq!(
            wildcard_of("a.example.com").as_deref(),
            Some("*.example.com")
        );
        assert_eq!(
            wildcard_of("a.b.example.com").as_deref(),
            Some("*.b.example.com")
        );
        assert_eq!(wildcard_of("localhost"), None);
    }
}
