//! Which paths a resource has, and what can be done at each.
//!
//! Owns operations in no dialect; the two versions of OpenAPI render them. Must not know how. Invariant: operation ids
//! are unique in a document.

use serde_json::{Value, json};

use crate::resource::Resource;

use super::{SCALE, STATUS, definition_name, gvk, root_path};

/// One path with its operations.
pub struct Address {
    pub path: String,
    /// The names in braces, with what they mean.
    pub variables: Vec<(&'static str, &'static str)>,
    pub operations: Vec<Operation>,
    pub tag: String,
    /// The kind that the operations are about.
    pub gvk: Value,
}

/// One operation, in no dialect.
pub struct Operation {
    pub method: &'static str,
    /// `x-kubernetes-action`
    pub action: &'static str,
    pub id: String,
    pub parameters: &'static [Parameter],
    /// Media types of the body; empty when there is none.
    pub consumes: Vec<&'static str>,
    /// The schema of body and answer.
    pub body: String,
    pub answer: String,
}

/// A query parameter.
pub struct Parameter {
    pub name: &'static str,
    pub type_: &'static str,
    pub about: &'static str,
}

const fn parameter(name: &'static str, type_: &'static str, about: &'static str) -> Parameter {
    Parameter { name, type_, about }
}

const DRY_RUN: Parameter = parameter(
    "dryRun",
    "string",
    "`All`: the request is processed but nothing is persisted.",
);
const FIELD_MANAGER: Parameter = parameter(
    "fieldManager",
    "string",
    "The name of the actor that makes the change; at most 128 characters.",
);
const FIELD_VALIDATION: Parameter = parameter(
    "fieldValidation",
    "string",
    "What to do with unknown or duplicate fields: `Ignore`, `Warn` or `Strict`.",
);
const FORCE: Parameter = parameter(
    "force",
    "boolean",
    "Take over fields that other managers own; for apply patches only.",
);
const WRITE: &[Parameter] = &[DRY_RUN, FIELD_MANAGER, FIELD_VALIDATION];
const PATCH: &[Parameter] = &[DRY_RUN, FIELD_MANAGER, FIELD_VALIDATION, FORCE];
const READ: &[Parameter] = &[parameter(
    "resourceVersion",
    "string",
    "Not older than this version.",
)];
const DELETE: &[Parameter] = &[
    DRY_RUN,
    parameter(
        "gracePeriodSeconds",
        "integer",
        "How long the object may take to go.",
    ),
    parameter(
        "propagationPolicy",
        "string",
        "`Orphan`, `Background` or `Foreground`.",
    ),
];
const LIST: &[Parameter] = &[
    parameter("allowWatchBookmarks", "boolean", "Ask for BOOKMARK events."),
    parameter("continue", "string", "Where the last page ended."),
    parameter("fieldSelector", "string", "Only objects with these fields."),
    parameter("labelSelector", "string", "Only objects with these labels."),
    parameter("limit", "integer", "At most this many objects."),
    parameter(
        "resourceVersion",
        "string",
        "Not older than this version, or watch from it.",
    ),
    parameter(
        "resourceVersionMatch",
        "string",
        "`Exact` or `NotOlderThan`.",
    ),
    parameter(
        "sendInitialEvents",
        "boolean",
        "Begin a watch with the objects that are there.",
    ),
    parameter("timeoutSeconds", "integer", "End the call after this time."),
    parameter("watch", "boolean", "Watch instead of list."),
];

const PATCH_TYPES: [&str; 3] = [
    "application/apply-patch+yaml",
    "application/json-patch+json",
    "application/merge-patch+json",
];

/// All paths of a resource.
pub fn addresses(resource: &Resource) -> Vec<Address> {
    let root = root_path(resource);
    let plural = &resource.plural;
    let collection = if resource.namespaced {
        format!("/{root}/namespaces/{{namespace}}/{plural}")
    } else {
        format!("/{root}/{plural}")
    };
    let object = format!("{collection}/{{name}}");
    let mut variables = Vec::new();
    if resource.namespaced {
        variables.push((
            "namespace",
            "object name and auth scope, such as for teams and projects",
        ));
    }
    let with_name: Vec<_> = variables
        .iter()
        .copied()
        .chain([("name", "name of the object")])
        .collect();
    let scope = if resource.namespaced {
        "Namespaced"
    } else {
        ""
    };
    let tag = tag(resource);
    let make = |path: String, variables: &[(&'static str, &'static str)], operations| Address {
        path,
        variables: variables.to_vec(),
        operations,
        tag: tag.clone(),
        gvk: gvk(resource),
    };
    let mut addresses = vec![
        make(
            collection,
            &variables,
            collection_operations(resource, scope),
        ),
        make(
            object.clone(),
            &with_name,
            object_operations(resource, scope, "", None),
        ),
    ];
    if resource.status {
        let operations = object_operations(resource, scope, "Status", None);
        addresses.push(make(format!("{object}/status"), &with_name, operations));
    }
    if resource.scale.is_some() {
        let operations = object_operations(resource, scope, "Scale", Some(SCALE));
        addresses.push(Address {
            gvk: json!({"group": "autoscaling", "version": "v1", "kind": "Scale"}),
            ..make(format!("{object}/scale"), &with_name, operations)
        });
    }
    if resource.namespaced {
        let list = list_operation(resource, "", "ForAllNamespaces");
        addresses.push(make(format!("/{root}/{plural}"), &[], vec![list]));
    }
    addresses
}

/// `mooringDev_v1alpha1`, `core_v1`: the prefix of operation ids.
fn tag(resource: &Resource) -> String {
    let group = match (resource.builtin, resource.group.as_str()) {
        (_, "") => "core".to_owned(),
        (true, group) => group.split('.').next().unwrap_or(group).to_owned(),
        (false, group) => {
            let mut parts = group.split(['.', '-']);
            let first = parts.next().unwrap_or_default().to_owned();
            parts.fold(first, |text, part| text + &capitalized(part))
        }
    };
    format!("{group}_{}", resource.version)
}

fn capitalized(word: &str) -> String {
    let mut chars = word.chars();
    chars.next().map_or_else(String::new, |first| {
        first.to_uppercase().chain(chars).collect()
    })
}

fn operation_id(resource: &Resource, verb: &str, scope: &str, suffix: &str) -> String {
    let mut tag = tag(resource).replace('_', " ");
    tag = tag.split(' ').map(capitalized).collect();
    format!("{verb}{tag}{scope}{}{suffix}", resource.kind)
}

fn list_operation(resource: &Resource, scope: &str, suffix: &str) -> Operation {
    Operation {
        method: "get",
        action: "list",
        id: operation_id(resource, "list", scope, suffix),
        parameters: LIST,
        consumes: Vec::new(),
        body: String::new(),
        answer: format!("{}List", definition_name(resource)),
    }
}

fn collection_operations(resource: &Resource, scope: &str) -> Vec<Operation> {
    let name = definition_name(resource);
    let mut operations = vec![
        list_operation(resource, scope, ""),
        Operation {
            method: "post",
            action: "post",
            id: operation_id(resource, "create", scope, ""),
            parameters: WRITE,
            consumes: vec!["application/json", "application/yaml"],
            body: name.clone(),
            answer: name,
        },
    ];
    if resource.verbs.contains(&"deletecollection") {
        operations.push(Operation {
            method: "delete",
            action: "deletecollection",
            id: operation_id(resource, "deleteCollection", scope, ""),
            parameters: LIST,
            consumes: Vec::new(),
            body: String::new(),
            answer: STATUS.to_owned(),
        });
    }
    operations
}

/// The operations on one object, or on its subresource when `suffix` names one.
fn object_operations(
    resource: &Resource,
    scope: &str,
    suffix: &str,
    kind: Option<&str>,
) -> Vec<Operation> {
    let name = kind.map_or_else(|| definition_name(resource), str::to_owned);
    let id = |verb| operation_id(resource, verb, scope, suffix);
    let mut patch_types = PATCH_TYPES.to_vec();
    if resource.builtin {
        patch_types.push("application/strategic-merge-patch+json");
    }
    let mut operations = vec![
        Operation {
            method: "get",
            action: "get",
            id: id("read"),
            parameters: READ,
            consumes: Vec::new(),
            body: String::new(),
            answer: name.clone(),
        },
        Operation {
            method: "put",
            action: "put",
            id: id("replace"),
            parameters: WRITE,
            consumes: vec!["application/json", "application/yaml"],
            body: name.clone(),
            answer: name.clone(),
        },
        Operation {
            method: "patch",
            action: "patch",
            id: id("patch"),
            parameters: PATCH,
            consumes: patch_types,
            body: String::new(),
            answer: name,
        },
    ];
    if suffix.is_empty() {
        operations.push(Operation {
            method: "delete",
            action: "delete",
            id: id("delete"),
            parameters: DELETE,
            consumes: Vec::new(),
            body: String::new(),
            answer: STATUS.to_owned(),
        });
    }
    operations
}
