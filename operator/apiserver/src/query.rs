//! Owns the options of a request: the query string, and the DeleteOptions of a body.
//!
//! It must not know resources or objects. Invariant: an option that is understood is checked here; one that is not
//! known is ignored, as kube-apiserver does.

use serde_json::Value;

use crate::error::ApiError;
use crate::path::percent_decode;

/// Options after `?`: how many are read.
const OPTIONS_MAX: usize = 64;

/// A decoded query string.
#[derive(Clone, Debug, Default)]
pub struct Query {
    pairs: Vec<(String, String)>,
}

impl Query {
    /// Decodes a query string.
    pub fn parse(text: &str) -> Result<Self, ApiError> {
        let mut pairs = Vec::new();
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            if pairs.len() == OPTIONS_MAX {
                return Err(ApiError::bad_request(format!(
                    "more than {OPTIONS_MAX} query parameters"
                )));
            }
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let decoded = percent_decode(name, true).zip(percent_decode(value, true));
            pairs.push(decoded.ok_or_else(|| {
                ApiError::bad_request("the query string is not valid percent-encoded UTF-8")
            })?);
        }
        Ok(Self { pairs })
    }

    /// The first value of that name; empty values count as absent, as in Kubernetes.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.pairs
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
            .filter(|value| !value.is_empty())
    }

    fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.pairs
            .iter()
            .filter(move |(key, value)| key == name && !value.is_empty())
            .map(|(_, value)| value.as_str())
    }

    fn flag(&self, name: &str) -> bool {
        matches!(
            self.get(name),
            Some("true" | "1" | "t" | "T" | "TRUE" | "True")
        )
    }

    fn number<T: std::str::FromStr>(&self, name: &str) -> Result<Option<T>, ApiError> {
        self.get(name)
            .map(|text| {
                text.parse().map_err(|_| {
                    ApiError::bad_request(format!(
                        "{name}: Invalid value: \"{text}\": must be a number"
                    ))
                })
            })
            .transpose()
    }
}

/// How exact the resourceVersion of a list is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VersionMatch {
    /// Data at least this new.
    NotOlderThan,
    /// Data of exactly this version.
    Exact,
}

/// Options of list and watch.
#[derive(Clone, Debug, Default)]
pub struct ListOptions {
    /// Label selector, unparsed.
    pub label_selector: String,
    /// Field selector, unparsed.
    pub field_selector: String,
    /// Whether to watch.
    pub watch: bool,
    /// Whether a watch may carry bookmarks.
    pub bookmarks: bool,
    /// Whether a watch begins with the present state and a bookmark that ends it.
    pub initial_events: Option<bool>,
    /// The resourceVersion asked for; `None` for none, `Some(0)` for any.
    pub version: Option<u64>,
    /// How `version` is meant.
    pub version_match: Option<VersionMatch>,
    /// Largest number of items in a page.
    pub limit: Option<usize>,
    /// Token of the next page.
    pub continue_token: Option<String>,
    /// When a watch ends.
    pub timeout_seconds: Option<u64>,
}

impl ListOptions {
    /// Reads and checks the options.
    pub fn read(query: &Query) -> Result<Self, ApiError> {
        let version_match = match query.get("resourceVersionMatch") {
            None => None,
            Some("NotOlderThan") => Some(VersionMatch::NotOlderThan),
            Some("Exact") => Some(VersionMatch::Exact),
            Some(other) => {
                return Err(ApiError::bad_request(format!(
                    "resourceVersionMatch: Unsupported value: \"{other}\": supported values: \"Exact\", \"NotOlderThan\""
                )));
            }
        };
        let options = Self {
            label_selector: query.get("labelSelector").unwrap_or_default().to_owned(),
            field_selector: query.get("fieldSelector").unwrap_or_default().to_owned(),
            watch: query.flag("watch"),
            bookmarks: query.flag("allowWatchBookmarks"),
            initial_events: query
                .get("sendInitialEvents")
                .map(|_| query.flag("sendInitialEvents")),
            version: query.number("resourceVersion")?,
            version_match,
            limit: query
                .number::<i64>("limit")?
                .and_then(|limit| usize::try_from(limit).ok())
                .filter(|limit| *limit > 0),
            continue_token: query.get("continue").map(str::to_owned),
            timeout_seconds: query.number("timeoutSeconds")?,
        };
        options.check()?;
        Ok(options)
    }

    fn check(&self) -> Result<(), ApiError> {
        let refuse = |text: &str| Err(ApiError::bad_request(text));
        if self.watch {
            return match (self.initial_events, self.version_match) {
                (None, Some(_)) => refuse(
                    "resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
                ),
                (Some(_), None | Some(VersionMatch::Exact)) => refuse(
                    "resourceVersionMatch: Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
                ),
                (Some(_), Some(VersionMatch::NotOlderThan)) | (None, None) => Ok(()),
            };
        }
        if self.initial_events.is_some() {
            return refuse("sendInitialEvents: Forbidden: sendInitialEvents is forbidden for list");
        }
        let versioned = self.version.is_some();
        match self.version_match {
            Some(_) if !versioned => refuse(
                "resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided",
            ),
            Some(VersionMatch::Exact) if self.version == Some(0) => refuse(
                "resourceVersionMatch: Forbidden: resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"",
            ),
            Some(_) if self.continue_token.is_some() => refuse(
                "resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden when continue is provided",
            ),
            Some(_) | None => Ok(()),
        }
    }
}

/// What to do about fields that the schema does not know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FieldValidation {
    /// Drop them silently.
    Ignore,
    /// Drop them and warn.
    #[default]
    Warn,
    /// Refuse the request.
    Strict,
}

/// Options of create, update and patch.
#[derive(Clone, Debug, Default)]
pub struct WriteOptions {
    /// Whether everything but the commit happens.
    pub dry_run: bool,
    /// Who makes the change, for managedFields.
    pub field_manager: Option<String>,
    /// What to do about unknown fields.
    pub field_validation: FieldValidation,
    /// Whether a server-side apply takes fields from other managers.
    pub force: bool,
}

/// Length of a field manager's name, as in Kubernetes.
const FIELD_MANAGER_MAX: usize = 128;

impl WriteOptions {
    /// Reads and checks the options.
    pub fn read(query: &Query) -> Result<Self, ApiError> {
        let field_validation = match query.get("fieldValidation") {
            None | Some("Warn") => FieldValidation::Warn,
            Some("Ignore") => FieldValidation::Ignore,
            Some("Strict") => FieldValidation::Strict,
            Some(other) => {
                return Err(ApiError::bad_request(format!(
                    "fieldValidation: Unsupported value: \"{other}\": supported values: \"Ignore\", \"Strict\", \"Warn\""
                )));
            }
        };
        let field_manager = query.get("fieldManager").map(str::to_owned);
        if let Some(manager) = &field_manager {
            if manager.chars().count() > FIELD_MANAGER_MAX {
                return Err(ApiError::bad_request(format!(
                    "fieldManager: Too long: may not be more than {FIELD_MANAGER_MAX} characters"
                )));
            }
            if manager.chars().any(char::is_control) {
                return Err(ApiError::bad_request(
                    "fieldManager: Invalid value: should only contain printable characters",
                ));
            }
        }
        Ok(Self {
            dry_run: dry_run(query)?,
            field_manager,
            field_validation,
            force: query.flag("force"),
        })
    }
}

fn dry_run(query: &Query) -> Result<bool, ApiError> {
    let mut dry = false;
    for value in query.all("dryRun") {
        if value != "All" {
            return Err(ApiError::bad_request(format!(
                "dryRun: Unsupported value: \"{value}\": supported values: \"All\""
            )));
        }
        dry = true;
    }
    Ok(dry)
}

/// What happens to the dependents of a deleted object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Propagation {
    /// They are deleted after it.
    #[default]
    Background,
    /// They are deleted before it.
    Foreground,
    /// They are kept and forget it.
    Orphan,
}

/// Options of delete, from the body and the query.
#[derive(Clone, Debug, Default)]
pub struct DeleteOptions {
    /// Whether everything but the commit happens.
    pub dry_run: bool,
    /// What happens to dependents; `None` keeps what an earlier deletion decided.
    pub propagation: Option<Propagation>,
    /// Only delete the object with this uid.
    pub uid: Option<String>,
    /// Only delete the object at this resourceVersion.
    pub version: Option<String>,
}

impl DeleteOptions {
    /// Reads the query and, when there is a body, its `DeleteOptions`, which win.
    pub fn read(query: &Query, body: Option<&Value>) -> Result<Self, ApiError> {
        let text = |name: &str| {
            body.and_then(|body| body.get(name))
                .and_then(Value::as_str)
                .or_else(|| query.get(name))
                .map(str::to_owned)
        };
        let orphan = match body.and_then(|body| body.get("orphanDependents")) {
            Some(value) => value.as_bool(),
            None => query
                .get("orphanDependents")
                .map(|_| query.flag("orphanDependents")),
        };
        let propagation = match (text("propagationPolicy").as_deref(), orphan) {
            (Some(_), Some(_)) => {
                return Err(ApiError::bad_request(
                    "orphanDependents and deletionPropagation cannot be both set",
                ));
            }
            (Some("Background"), None) => Some(Propagation::Background),
            (Some("Foreground"), None) => Some(Propagation::Foreground),
            (Some("Orphan"), None) => Some(Propagation::Orphan),
            (Some(other), None) => {
                return Err(ApiError::bad_request(format!(
                    "propagationPolicy: Unsupported value: \"{other}\": supported values: \"Foreground\", \"Background\", \"Orphan\""
                )));
            }
            (None, Some(true)) => Some(Propagation::Orphan),
            (None, Some(false)) => Some(Propagation::Background),
            (None, None) => None,
        };
        let precondition = |name: &str| {
            body.and_then(|body| body.pointer(&format!("/preconditions/{name}")))
                .and_then(Value::as_str)
                .map(str::to_owned)
        };
        let dry_in_body = body
            .and_then(|body| body.get("dryRun"))
            .and_then(Value::as_array)
            .is_some_and(|values| values.iter().any(|value| value == "All"));
        Ok(Self {
            dry_run: dry_run(query)? || dry_in_body,
            propagation,
            uid: precondition("uid"),
            version: precondition("resourceVersion"),
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn list(text: &str) -> Result<ListOptions, ApiError> {
        ListOptions::read(&Query::parse(text).expect("valid"))
    }

    #[test]
    fn list_options_are_checked_together() {
        let options = list("labelSelector=a%3Db&limit=5&resourceVersion=0").expect("valid");
        assert_eq!(options.label_selector, "a=b");
        assert_eq!(options.limit, Some(5));
        assert_eq!(options.version, Some(0));
        for refused in [
            "resourceVersionMatch=Exact",
            "resourceVersionMatch=Exact&resourceVersion=0",
            "resourceVersionMatch=Newest&resourceVersion=1",
            "sendInitialEvents=true",
            "watch=1&sendInitialEvents=true",
            "watch=1&resourceVersionMatch=NotOlderThan",
            "resourceVersion=abc",
        ] {
            assert!(list(refused).is_err(), "{refused}");
        }
        assert!(
            list("watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan").is_ok()
        );
    }

    #[test]
    fn delete_options_come_from_body_and_query() {
        let query = Query::parse("propagationPolicy=Foreground&dryRun=All").expect("valid");
        let options = DeleteOptions::read(&query, None).expect("valid");
        assert_eq!(options.propagation, Some(Propagation::Foreground));
        assert!(options.dry_run);
        let body = json!({"propagationPolicy": "Orphan", "preconditions": {"uid": "u"}});
        let options = DeleteOptions::read(&query, Some(&body)).expect("valid");
        assert_eq!(options.propagation, Some(Propagation::Orphan));
        assert_eq!(options.uid.as_deref(), Some("u"));
    }
}
