//! Discovery: what a client learns about the resources that are served.
//!
//! Owns the documents at `/api`, `/apis`, `/api/v1`, `/apis/GROUP/VERSION` and aggregated discovery in both versions.
//! Must not know how resources are found or requests are answered. Invariant: groups and versions come in one order,
//! which is the order of preference: built-in groups as given, versions by stability.

use std::sync::Arc;

use base64::Engine as _;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::resource::{Resource, Scale};

/// What a subresource can do.
const SUBRESOURCE_VERBS: [&str; 3] = ["get", "patch", "update"];

/// `GET /api`: the versions of the core group. `address` is where this server is reached, as `host:port`.
pub fn api_versions(address: &str) -> Value {
    json!({
        "kind": "APIVersions",
        "versions": ["v1"],
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": address}],
    })
}

/// `GET /apis`: every group but the core group.
pub fn groups(resources: &[Arc<Resource>]) -> Value {
    let groups: Vec<Value> = grouped(resources)
        .iter()
        .filter(|group| !group.name.is_empty())
        .map(Group::render)
        .collect();
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
}

/// `GET /apis/GROUP`; `None` when there is no such group.
pub fn group(resources: &[Arc<Resource>], name: &str) -> Option<Value> {
    let groups = grouped(resources);
    let group = groups
        .iter()
        .find(|group| group.name == name && !name.is_empty())?;
    let mut document = group.render();
    document["kind"] = json!("APIGroup");
    document["apiVersion"] = json!("v1");
    Some(document)
}

/// `GET /api/v1` or `/apis/GROUP/VERSION`; `None` when nothing is served there.
pub fn resource_list(resources: &[Arc<Resource>], group: &str, version: &str) -> Option<Value> {
    let served: Vec<&Arc<Resource>> = resources
        .iter()
        .filter(|resource| {
            resource.served && resource.group == group && resource.version == version
        })
        .collect();
    if served.is_empty() {
        return None;
    }
    let group_version = served[0].api_version();
    let list: Vec<Value> = served
        .iter()
        .flat_map(|resource| entries(resource))
        .collect();
    Some(json!({
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": group_version,
        "resources": list,
    }))
}

/// Aggregated discovery at `/api` (the core group) and `/apis` (all others), in version `v2` or `v2beta1`.
pub fn aggregated(resources: &[Arc<Resource>], core: CoreGroup, version: &str) -> Value {
    let items: Vec<Value> = grouped(resources)
        .iter()
        .filter(|group| group.name.is_empty() == (core == CoreGroup::Only))
        .map(Group::aggregate)
        .collect();
    json!({
        "kind": "APIGroupDiscoveryList",
        "apiVersion": format!("apidiscovery.k8s.io/{version}"),
        "metadata": {},
        "items": items,
    })
}

/// Which groups aggregated discovery is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CoreGroup {
    /// The core group alone, as at `/api`.
    Only,
    /// Every group but the core group, as at `/apis`.
    Without,
}

/// A group with its versions in the order of preference.
struct Group<'r> {
    name: &'r str,
    versions: Vec<(&'r str, Vec<&'r Resource>)>,
}

fn grouped(resources: &[Arc<Resource>]) -> Vec<Group<'_>> {
    let mut groups: Vec<Group<'_>> = Vec::new();
    for resource in resources.iter().filter(|resource| resource.served) {
        let index = match groups.iter().position(|group| group.name == resource.group) {
            Some(index) => index,
            None => {
                groups.push(Group {
                    name: &resource.group,
                    versions: Vec::new(),
                });
                groups.len() - 1
            }
        };
        let versions = &mut groups[index].versions;
        match versions
            .iter_mut()
            .find(|(version, _)| *version == resource.version)
        {
            Some((_, list)) => list.push(resource),
            None => versions.push((&resource.version, vec![resource])),
        }
    }
    for group in &mut groups {
        group
            .versions
            .sort_by_key(|(version, _)| std::cmp::Reverse(priority(version)));
    }
    groups
}

/// Versions by stability, then age: v2, v1, v1beta2, v1alpha1, and others last, by name.
fn priority(version: &str) -> (u8, u64, u64, std::cmp::Reverse<String>) {
    let none = || (0, 0, 0, std::cmp::Reverse(version.to_owned()));
    let Some(rest) = version.strip_prefix('v') else {
        return none();
    };
    let digits = rest
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(rest.len());
    let (major, suffix) = rest.split_at(digits);
    let Ok(major) = major.parse() else {
        return none();
    };
    let (stability, minor) = if suffix.is_empty() {
        (3, Ok(0))
    } else if let Some(minor) = suffix.strip_prefix("beta") {
        (2, minor.parse())
    } else if let Some(minor) = suffix.strip_prefix("alpha") {
        (1, minor.parse())
    } else {
        return none();
    };
    match minor {
        Ok(minor) => (stability, major, minor, std::cmp::Reverse(String::new())),
        Err(_) => none(),
    }
}

impl Group<'_> {
    fn render(&self) -> Value {
        let versions: Vec<Value> = self
            .versions
            .iter()
            .map(|(version, _)| {
                json!({"groupVersion": format!("{}/{version}", self.name), "version": version})
            })
            .collect();
        json!({
            "name": self.name,
            "versions": versions,
            "preferredVersion": versions.first().cloned().unwrap_or_default(),
        })
    }

    fn aggregate(&self) -> Value {
        let versions: Vec<Value> = self
            .versions
            .iter()
            .map(|(version, resources)| {
                json!({
                    "version": version,
                    "freshness": "Current",
                    "resources": resources.iter().map(|resource| discover(resource)).collect::<Vec<_>>(),
                })
            })
            .collect();
        let metadata = if self.name.is_empty() {
            json!({"creationTimestamp": null})
        } else {
            json!({"name": self.name, "creationTimestamp": null})
        };
        json!({"metadata": metadata, "versions": versions})
    }
}

/// The entries of one resource and its subresources in an `APIResourceList`.
fn entries(resource: &Resource) -> Vec<Value> {
    let mut entry = json!({
        "name": resource.plural,
        "singularName": resource.singular,
        "namespaced": resource.namespaced,
        "kind": resource.kind,
        "verbs": resource.verbs,
        "storageVersionHash": storage_version_hash(resource),
    });
    if !resource.short_names.is_empty() {
        entry["shortNames"] = json!(resource.short_names);
    }
    if !resource.categories.is_empty() {
        entry["categories"] = json!(resource.categories);
    }
    let mut entries = vec![entry];
    for part in subresources(resource) {
        let mut entry = json!({
            "name": format!("{}/{}", resource.plural, part.name),
            "singularName": "",
            "namespaced": resource.namespaced,
            "kind": part.kind,
            "verbs": part.verbs,
        });
        if let Some((group, version)) = part.foreign {
            entry["group"] = json!(group);
            entry["version"] = json!(version);
        }
        entries.push(entry);
    }
    entries
}

/// One resource with its subresources in aggregated discovery.
fn discover(resource: &Resource) -> Value {
    let kind = |group: &str, version: &str, kind: &str| json!({"group": group, "version": version, "kind": kind});
    let mut document = json!({
        "resource": resource.plural,
        "responseKind": kind(&resource.group, &resource.version, &resource.kind),
        "scope": if resource.namespaced { "Namespaced" } else { "Cluster" },
        "singularResource": resource.singular,
        "verbs": resource.verbs,
    });
    if !resource.short_names.is_empty() {
        document["shortNames"] = json!(resource.short_names);
    }
    if !resource.categories.is_empty() {
        document["categories"] = json!(resource.categories);
    }
    let parts: Vec<Value> = subresources(resource)
        .into_iter()
        .map(|part| {
            let (group, version) = part.foreign.unwrap_or((&resource.group, &resource.version));
            json!({
                "subresource": part.name,
                "responseKind": kind(group, version, part.kind),
                "verbs": part.verbs,
            })
        })
        .collect();
    if !parts.is_empty() {
        document["subresources"] = json!(parts);
    }
    document
}

struct Part<'r> {
    name: &'static str,
    kind: &'r str,
    verbs: &'static [&'static str],
    /// Group and version of the kind, when they are not the resource's own.
    foreign: Option<(&'static str, &'static str)>,
}

fn subresources(resource: &Resource) -> Vec<Part<'_>> {
    let mut parts = Vec::new();
    let mut own = |name, verbs| {
        parts.push(Part {
            name,
            kind: &resource.kind,
            verbs,
            foreign: None,
        });
    };
    if resource.builtin && resource.kind == "Namespace" {
        own("finalize", &["update"]);
    }
    if resource.status {
        own("status", &SUBRESOURCE_VERBS);
    }
    if let Some(Scale { .. }) = &resource.scale {
        parts.push(Part {
            name: "scale",
            kind: "Scale",
            verbs: &SUBRESOURCE_VERBS,
            foreign: Some(("autoscaling", "v1")),
        });
    }
    parts
}

/// Tells clients that migrate storage whether the stored form changed; opaque, made as Kubernetes makes it.
fn storage_version_hash(resource: &Resource) -> String {
    let text = format!("{}/{}/{}", resource.group, resource.version, resource.kind);
    let hash = Sha256::digest(text.as_bytes());
    base64::engine::general_purpose::STANDARD.encode(&hash[..8])
}

#[cfg(test)]
mod tests;
