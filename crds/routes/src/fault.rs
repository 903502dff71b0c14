//! What makes a section invalid.
//!
//! Owns every rule that a section alone can break. Must not know other sections. Invariant: a section without a
//! fault can be served, checked, persisted and sent within the limits.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::check::{Check, Probe};
use crate::limit::{
    MAX_CHECK_HEADER_BYTES, MAX_CHECK_HEADERS, MAX_CHECK_SECONDS, MAX_HOST_BYTES, MAX_HOSTS,
    MAX_INSTANCES_PER_SECTION, MAX_LIMIT_SECONDS, MAX_NAME_BYTES, MAX_PATH_BYTES, MAX_PATHS,
    MAX_REVISIONS, MAX_WEIGHT,
};
use crate::route::Route;
use crate::table::{Instance, InstanceState, Section};

/// One broken rule: the field and what it must be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// Path of the field, for example `route.hosts`.
    pub field: String,
    /// What is wrong and what would be right.
    pub message: String,
}

impl Fault {
    /// A fault of a field.
    pub fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        Fault {
            field: field.into(),
            message: message.into(),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.message)
    }
}

impl Section {
    /// Every rule this section breaks; none means it can be served.
    pub fn faults(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        for (field, value) in [
            ("namespace", &self.namespace),
            ("pipeline", &self.pipeline),
            ("stage", &self.stage),
        ] {
            if !is_label(value) {
                faults.push(Fault::new(field, "must be a DNS label"));
            }
        }
        if !is_name(&self.owner_uid) {
            faults.push(Fault::new(
                "ownerUid",
                "must be 1 to 255 printable characters",
            ));
        }
        if !is_second(&self.owner_created) {
            faults.push(Fault::new(
                "ownerCreated",
                "must be a time in the form 2026-01-31T10:00:00Z",
            ));
        }
        if let Some(route) = &self.route {
            route_faults(route, &mut faults);
        }
        self.revision_faults(&mut faults);
        self.instance_faults(&mut faults);
        for (field, seconds) in [
            ("drain.requestSeconds", self.drain.request_seconds),
            ("drain.streamSeconds", self.drain.stream_seconds),
            ("responseTimeoutSeconds", self.response_timeout_seconds),
        ] {
            if seconds > MAX_LIMIT_SECONDS {
                faults.push(Fault::new(
                    field,
                    format!("must be at most {MAX_LIMIT_SECONDS}"),
                ));
            }
        }
        if self.response_timeout_seconds == 0 {
            faults.push(Fault::new("responseTimeoutSeconds", "must be at least 1"));
        }
        faults
    }

    fn revision_faults(&self, faults: &mut Vec<Fault>) {
        if self.revisions.len() > MAX_REVISIONS {
            faults.push(Fault::new(
                "revisions",
                format!("must be at most {MAX_REVISIONS}"),
            ));
        }
        for (revision, entry) in &self.revisions {
            if !is_name(revision) {
                faults.push(Fault::new(
                    "revisions",
                    "a revision must be 1 to 255 printable characters",
                ));
            }
            if entry.weight > MAX_WEIGHT {
                faults.push(Fault::new(
                    format!("revisions[{revision}].weight"),
                    format!("must be at most {MAX_WEIGHT}"),
                ));
            }
            if let Some(check) = &entry.check {
                check_faults(revision, check, faults);
            }
        }
    }

    fn instance_faults(&self, faults: &mut Vec<Fault>) {
        if self.instances.len() > MAX_INSTANCES_PER_SECTION {
            faults.push(Fault::new(
                "instances",
                format!("must be at most {MAX_INSTANCES_PER_SECTION}"),
            ));
        }
        let (mut names, mut ids, mut addresses) =
            (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        for (index, instance) in self.instances.iter().enumerate() {
            let field = |name: &str| format!("instances[{index}].{name}");
            let Instance {
                name,
                container_id,
                started_at,
                revision,
                address,
                port,
                state,
            } = instance;
            for (key, value) in [
                ("name", name),
                ("containerId", container_id),
                ("startedAt", started_at),
            ] {
                if !is_name(value) {
                    faults.push(Fault::new(
                        field(key),
                        "must be 1 to 255 printable characters",
                    ));
                }
            }
            if !names.insert(name) || !ids.insert(container_id) || !addresses.insert(address) {
                faults.push(Fault::new(
                    field("name"),
                    "name, container and address must be unique in the section",
                ));
            }
            if !self.revisions.contains_key(revision) {
                faults.push(Fault::new(
                    field("revision"),
                    "must be one of the section's revisions",
                ));
            }
            if address.is_unspecified() || address.is_multicast() || address.is_broadcast() {
                faults.push(Fault::new(
                    field("address"),
                    "must be the address of a container",
                ));
            }
            if *port == Some(0) {
                faults.push(Fault::new(field("port"), "must be 1 to 65535"));
            }
            if *state == InstanceState::Routed && self.route.is_some() && port.is_none() {
                faults.push(Fault::new(
                    field("port"),
                    "is required of a routed instance",
                ));
            }
        }
    }
}

fn route_faults(route: &Route, faults: &mut Vec<Fault>) {
    if route.hosts.is_empty() && !route.default {
        faults.push(Fault::new(
            "route.hosts",
            "must name a host, or default must be true",
        ));
    }
    if route.hosts.len() > MAX_HOSTS {
        faults.push(Fault::new(
            "route.hosts",
            format!("must be at most {MAX_HOSTS}"),
        ));
    }
    if route.paths.len() > MAX_PATHS {
        faults.push(Fault::new(
            "route.paths",
            format!("must be at most {MAX_PATHS}"),
        ));
    }
    for host in &route.hosts {
        if !is_host(host) {
            faults.push(Fault::new(
                "route.hosts",
                "must be lower-case names without port, or *.name for one label",
            ));
        }
    }
    let mut seen = BTreeSet::new();
    for rule in &route.paths {
        if !is_path(&rule.prefix) || rule.prefix.contains('?') {
            faults.push(Fault::new(
                "route.paths",
                "a prefix must begin with a slash and have no query, space or control character",
            ));
        }
        if !seen.insert(rule.normal()) {
            faults.push(Fault::new("route.paths", "a prefix must be given once"));
        }
    }
}

fn check_faults(revision: &str, check: &Check, faults: &mut Vec<Fault>) {
    let field = |name: &str| format!("revisions[{revision}].check.{name}");
    for (name, value, least) in [
        ("periodSeconds", check.period_seconds, 1),
        ("timeoutSeconds", check.timeout_seconds, 1),
        ("failureThreshold", check.failure_threshold, 1),
        ("successThreshold", check.success_threshold, 1),
        ("initialDelaySeconds", check.initial_delay_seconds, 0),
    ] {
        if value < least || value > MAX_CHECK_SECONDS {
            faults.push(Fault::new(
                field(name),
                format!("must be {least} to {MAX_CHECK_SECONDS}"),
            ));
        }
    }
    match &check.probe {
        Probe::Http {
            path,
            port,
            headers,
        } => {
            if !is_path(path) {
                faults.push(Fault::new(
                    field("path"),
                    "must begin with a slash and have no space or control character",
                ));
            }
            if *port == 0 {
                faults.push(Fault::new(field("port"), "must be 1 to 65535"));
            }
            let valid = |name: &str, value: &str| {
                !name.is_empty()
                    && name.len() <= MAX_NAME_BYTES
                    && name.bytes().all(is_token)
                    && value.len() <= MAX_CHECK_HEADER_BYTES
                    && value
                        .bytes()
                        .all(|b| b == b'\t' || (b' '..=b'~').contains(&b))
            };
            if headers.len() > MAX_CHECK_HEADERS
                || headers.iter().any(|h| !valid(&h.name, &h.value))
            {
                faults.push(Fault::new(
                    field("headers"),
                    format!("must be at most {MAX_CHECK_HEADERS} valid headers"),
                ));
            }
        }
        Probe::Tcp { port } => {
            if *port == 0 {
                faults.push(Fault::new(field("port"), "must be 1 to 65535"));
            }
        }
    }
}

/// Whether a text is a host pattern that a route may have.
pub fn is_host(host: &str) -> bool {
    let name = host.strip_prefix("*.").unwrap_or(host);
    !name.is_empty() && host.len() <= MAX_HOST_BYTES && name.split('.').all(is_label)
}

fn is_label(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (1..=63).contains(&text.len())
        && text.bytes().all(inner)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

fn is_name(text: &str) -> bool {
    (1..=MAX_NAME_BYTES).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic())
}

fn is_path(text: &str) -> bool {
    text.starts_with('/')
        && text.len() <= MAX_PATH_BYTES
        && text.bytes().all(|b| b.is_ascii_graphic() && b != b'#')
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Whether a text is `YYYY-MM-DDTHH:MM:SSZ`, the only form in which text order is time order.
fn is_second(text: &str) -> bool {
    let form = b"0000-00-00T00:00:00Z";
    text.len() == form.len()
        && text.bytes().zip(form).all(|(b, f)| {
            if *f == b'0' {
                b.is_ascii_digit()
            } else {
                b == *f
            }
        })
}

#[cfg(test)]
mod tests;
