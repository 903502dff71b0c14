//! Kubernetes' own kinds that the server has before any CustomResourceDefinition is applied.
//!
//! Owns their names, schemas, merge rules, defaults and validation. It must not know storage, HTTP or any kind that comes as
//! a CustomResourceDefinition. Invariant: every list of every schema says how it merges.

mod merge_table;
mod names;
mod normal;
mod rules;
mod schemas;

use std::sync::LazyLock;

use serde_json::Value;

pub use names::{dns_label, dns_subdomain, qualified_name};
pub use normal::normalize;
pub use rules::validate;

/// One built-in kind in one version.
#[derive(Clone, Debug)]
pub struct BuiltIn {
    /// API group; empty for the core group.
    pub group: &'static str,
    /// API version.
    pub version: &'static str,
    /// Kind.
    pub kind: &'static str,
    /// Kind of a list.
    pub list_kind: &'static str,
    /// Resource name in paths.
    pub plural: &'static str,
    /// Name for one object, as kubectl accepts it.
    pub singular: &'static str,
    /// Short names that kubectl accepts.
    pub short_names: &'static [&'static str],
    /// Categories such as `all`.
    pub categories: &'static [&'static str],
    /// Whether objects live in a namespace.
    pub namespaced: bool,
    /// Whether there is a status subresource.
    pub status: bool,
    /// OpenAPI v3 schema without references, with `x-kubernetes-*` merge extensions.
    pub schema: Value,
}

impl BuiltIn {
    /// `v1` or `group/version`.
    #[must_use]
    pub fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.to_owned()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }
}

/// All built-in kinds.
#[must_use]
pub fn all() -> &'static [BuiltIn] {
    &ALL
}

static ALL: LazyLock<Vec<BuiltIn>> = LazyLock::new(|| {
    let core = |kind, plural, singular, short_names, schema| BuiltIn {
        group: "",
        version: "v1",
        kind,
        list_kind: list_kind(kind),
        plural,
        singular,
        short_names,
        categories: &[],
        namespaced: true,
        status: false,
        schema,
    };
    vec![
        BuiltIn {
            namespaced: false,
            status: true,
            ..core(
                "Namespace",
                "namespaces",
                "namespace",
                &["ns"],
                schemas::namespace(),
            )
        },
        core("Secret", "secrets", "secret", &[], schemas::secret()),
        core(
            "ConfigMap",
            "configmaps",
            "configmap",
            &["cm"],
            schemas::config_map(),
        ),
        core("Event", "events", "event", &["ev"], schemas::core_event()),
        core(
            "ServiceAccount",
            "serviceaccounts",
            "serviceaccount",
            &["sa"],
            schemas::service_account(),
        ),
        BuiltIn {
            group: EVENTS_GROUP,
            ..core("Event", "events", "event", &["ev"], schemas::event())
        },
        BuiltIn {
            group: "coordination.k8s.io",
            ..core("Lease", "leases", "lease", &[], schemas::lease())
        },
        BuiltIn {
            group: "apiextensions.k8s.io",
            namespaced: false,
            status: true,
            categories: &["api-extensions"],
            ..core(
                "CustomResourceDefinition",
                "customresourcedefinitions",
                "customresourcedefinition",
                &["crd", "crds"],
                schemas::custom_resource_definition(),
            )
        },
    ]
});

/// The group in which Events have their newer form.
const EVENTS_GROUP: &str = "events.k8s.io";

fn list_kind(kind: &str) -> &'static str {
    match kind {
        "Namespace" => "NamespaceList",
        "Secret" => "SecretList",
        "ConfigMap" => "ConfigMapList",
        "Event" => "EventList",
        "ServiceAccount" => "ServiceAccountList",
        "Lease" => "LeaseList",
        _ => "CustomResourceDefinitionList",
    }
}

#[cfg(test)]
mod tests;
