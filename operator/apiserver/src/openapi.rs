//! OpenAPI documents: what `kubectl explain`, client-side merging and field validation read.
//!
//! Owns the documents of version 3, one for each group and version, and what both versions share: which operations a
//! resource has and what a kind is called. Version 2 is in `v2`, its protobuf form in `proto`. Must not know requests.
//! Invariant: every `$ref` of a document leads somewhere in the same document.

mod operations;
mod proto;
mod v2;

use std::sync::Arc;

use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use crate::resource::Resource;

use operations::{Address, Operation, addresses};

/// The version of Kubernetes whose API is served.
const API_VERSION: &str = "v1.33.0";

const OBJECT_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";
const LIST_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta";
const STATUS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Status";
const SCALE: &str = "io.k8s.api.autoscaling.v1.Scale";

/// The index at `/openapi/v3`. Addresses carry a hash of the document, so that clients may keep it for ever.
pub fn v3_index(resources: &[Arc<Resource>]) -> Value {
    let mut paths = Map::new();
    for path in group_versions(resources) {
        if let Some(document) = v3(resources, &path) {
            let url = format!("/openapi/v3/{path}?hash={}", hash(&document));
            paths.insert(path, json!({"serverRelativeURL": url}));
        }
    }
    json!({"paths": paths})
}

/// The document at `/openapi/v3/<group_version>`, where that is `api/v1` or `apis/GROUP/VERSION`; `None` when nothing is
/// served there.
pub fn v3(resources: &[Arc<Resource>], group_version: &str) -> Option<Value> {
    let mut paths = Map::new();
    let mut schemas = Map::new();
    for resource in resources
        .iter()
        .filter(|resource| resource.served && root_path(resource) == group_version)
    {
        schemas.insert(
            definition_name(resource),
            object_schema(resource, Dialect::V3),
        );
        schemas.insert(
            format!("{}List", definition_name(resource)),
            list_schema(resource, Dialect::V3),
        );
        for address in addresses(resource) {
            paths.insert(address.path.clone(), v3_path_item(&address));
        }
    }
    if paths.is_empty() {
        return None;
    }
    shared_schemas(resources, Dialect::V3, &mut schemas);
    Some(json!({
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": API_VERSION},
        "paths": paths,
        "components": {"schemas": schemas},
    }))
}

/// The document at `/openapi/v2` as JSON.
pub fn v2(resources: &[Arc<Resource>]) -> Value {
    v2::document(resources)
}

/// The document at `/openapi/v2` as the protobuf message that client-go demands,
/// `application/com.github.proto-openapi.spec.v2@v1.0+protobuf`.
pub fn v2_proto(resources: &[Arc<Resource>]) -> Vec<u8> {
    proto::encode(&v2::document(resources))
}

/// A hash of a document, for addresses and ETags.
pub fn hash(document: &Value) -> String {
    use std::fmt::Write as _;
    let digest = Sha256::digest(document.to_string().as_bytes());
    digest.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02X}");
        text
    })
}

/// The two forms of documents differ in what a schema may say and where references lead.
#[derive(Clone, Copy, PartialEq)]
enum Dialect {
    V2,
    V3,
}

impl Dialect {
    fn reference(self, name: &str) -> Value {
        let prefix = match self {
            Dialect::V2 => "#/definitions/",
            Dialect::V3 => "#/components/schemas/",
        };
        json!({"$ref": format!("{prefix}{name}")})
    }
}

fn group_versions(resources: &[Arc<Resource>]) -> Vec<String> {
    let mut paths: Vec<String> = resources
        .iter()
        .filter(|resource| resource.served)
        .map(|resource| root_path(resource))
        .collect();
    paths.sort();
    paths.dedup();
    paths
}

fn root_path(resource: &Resource) -> String {
    if resource.group.is_empty() {
        format!("api/{}", resource.version)
    } else {
        format!("apis/{}/{}", resource.group, resource.version)
    }
}

/// What a kind is called among the schemas: Kubernetes' own name, or the group reversed.
fn definition_name(resource: &Resource) -> String {
    let package = match (resource.builtin, resource.group.as_str()) {
        (true, "") => "io.k8s.api.core".to_owned(),
        (true, "apiextensions.k8s.io") => {
            "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions".to_owned()
        }
        (true, group) => format!("io.k8s.api.{}", group.split('.').next().unwrap_or(group)),
        (false, group) => group.split('.').rev().collect::<Vec<_>>().join("."),
    };
    format!("{package}.{}.{}", resource.version, resource.kind)
}

fn gvk(resource: &Resource) -> Value {
    json!({"group": resource.group, "version": resource.version, "kind": resource.kind})
}

/// The schema of an object, with what every object has written out.
fn object_schema(resource: &Resource, dialect: Dialect) -> Value {
    let mut schema = match dialect {
        Dialect::V2 => v2::simplified(&resource.openapi),
        Dialect::V3 => (*resource.openapi).clone(),
    };
    let Some(map) = schema.as_object_mut() else {
        return schema;
    };
    let properties = map.entry("properties").or_insert_with(|| json!({}));
    if let Some(properties) = properties.as_object_mut() {
        properties.insert(
            "apiVersion".to_owned(),
            json!({"type": "string", "description": ABOUT_API_VERSION}),
        );
        properties.insert(
            "kind".to_owned(),
            json!({"type": "string", "description": ABOUT_KIND}),
        );
        let mut metadata = dialect.reference(OBJECT_META);
        if dialect == Dialect::V3 {
            // Beside a reference nothing else counts in version 3.0.
            metadata = json!({"allOf": [metadata], "default": {}});
        }
        metadata["description"] = json!(
            "Standard object's metadata. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata"
        );
        properties.insert("metadata".to_owned(), metadata);
    }
    map.insert(
        "x-kubernetes-group-version-kind".to_owned(),
        json!([gvk(resource)]),
    );
    schema
}

const ABOUT_API_VERSION: &str = "APIVersion defines the versioned schema of this representation of an object. Servers should convert recognized schemas to the latest internal value, and may reject unrecognized values. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#resources";
const ABOUT_KIND: &str = "Kind is a string value representing the REST resource this object represents. Servers may infer this from the endpoint the client submits requests to. Cannot be updated. In CamelCase. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#types-kinds";

fn list_schema(resource: &Resource, dialect: Dialect) -> Value {
    json!({
        "description": format!("{} is a list of {}", resource.list_kind, resource.kind),
        "type": "object",
        "required": ["items"],
        "properties": {
            "apiVersion": {"type": "string", "description": ABOUT_API_VERSION},
            "kind": {"type": "string", "description": ABOUT_KIND},
            "metadata": dialect.reference(LIST_META),
            "items": {
                "type": "array",
                "description": format!("List of {}.", resource.plural),
                "items": dialect.reference(&definition_name(resource)),
            },
        },
        "x-kubernetes-group-version-kind": [
            {"group": resource.group, "version": resource.version, "kind": resource.list_kind},
        ],
    })
}

/// The schemas that those of resources refer to.
fn shared_schemas(resources: &[Arc<Resource>], dialect: Dialect, schemas: &mut Map<String, Value>) {
    // Any built-in kind has the complete schema of metadata.
    let metadata = resources
        .iter()
        .filter(|resource| resource.builtin)
        .find_map(|resource| resource.openapi.pointer("/properties/metadata"))
        .cloned()
        .unwrap_or_else(|| json!({"type": "object"}));
    let mut metadata = match dialect {
        Dialect::V2 => v2::simplified(&metadata),
        Dialect::V3 => metadata,
    };
    metadata["description"] = json!(
        "ObjectMeta is metadata that all persisted resources must have, which includes all objects users must create."
    );
    schemas.insert(OBJECT_META.to_owned(), metadata);
    let text = |about: &str| json!({"type": "string", "description": about});
    schemas.insert(
        LIST_META.to_owned(),
        json!({
            "description": "ListMeta describes metadata that synthetic resources must have, including lists.",
            "type": "object",
            "properties": {
                "continue": text("Set when there are more items; pass it back to get them."),
                "remainingItemCount": {"type": "integer", "format": "int64", "description": "How many items follow."},
                "resourceVersion": text("The version of the list, to watch from."),
                "selfLink": text("Deprecated, no longer set."),
            },
        }),
    );
    schemas.insert(
        STATUS.to_owned(),
        json!({
            "description": "Status is a return value for calls that don't return other objects.",
            "type": "object",
            "properties": {
                "apiVersion": text(ABOUT_API_VERSION),
                "kind": text(ABOUT_KIND),
                "code": {"type": "integer", "format": "int32", "description": "HTTP status code."},
                "message": text("What happened, for people."),
                "reason": text("What happened, for programs."),
                "status": text("Success or Failure."),
                "metadata": dialect.reference(LIST_META),
            },
            "x-kubernetes-group-version-kind": [{"group": "", "version": "v1", "kind": "Status"}],
        }),
    );
    if resources.iter().any(|resource| resource.scale.is_some()) {
        schemas.insert(SCALE.to_owned(), scale_schema(dialect));
    }
}

fn scale_schema(dialect: Dialect) -> Value {
    let replicas =
        |about: &str| json!({"type": "integer", "format": "int32", "description": about});
    json!({
        "description": "Scale represents a scaling request for a resource.",
        "type": "object",
        "properties": {
            "apiVersion": {"type": "string", "description": ABOUT_API_VERSION},
            "kind": {"type": "string", "description": ABOUT_KIND},
            "metadata": dialect.reference(OBJECT_META),
            "spec": {"type": "object", "properties": {"replicas": replicas("The wanted number.")}},
            "status": {
                "type": "object",
                "required": ["replicas"],
                "properties": {
                    "replicas": replicas("The observed number."),
                    "selector": {"type": "string", "description": "The label selector of what is counted."},
                },
            },
        },
        "x-kubernetes-group-version-kind": [{"group": "autoscaling", "version": "v1", "kind": "Scale"}],
    })
}

fn v3_path_item(address: &Address) -> Value {
    let mut item = Map::new();
    for operation in &address.operations {
        item.insert(
            operation.method.to_owned(),
            v3_operation(address, operation),
        );
    }
    let variables: Vec<Value> = address
        .variables
        .iter()
        .map(|(name, about)| {
            json!({
                "name": name,
                "in": "path",
                "required": true,
                "description": about,
                "schema": {"type": "string", "uniqueItems": true},
            })
        })
        .collect();
    if !variables.is_empty() {
        item.insert("parameters".to_owned(), Value::Array(variables));
    }
    Value::Object(item)
}

fn v3_operation(address: &Address, operation: &Operation) -> Value {
    let parameters: Vec<Value> = operation
        .parameters
        .iter()
        .map(|parameter| {
            json!({
                "name": parameter.name,
                "in": "query",
                "description": parameter.about,
                "schema": {"type": parameter.type_, "uniqueItems": true},
            })
        })
        .collect();
    let mut document = json!({
        "tags": [address.tag],
        "operationId": operation.id,
        "parameters": parameters,
        "responses": {
            "200": {
                "description": "OK",
                "content": {"application/json": {"schema": Dialect::V3.reference(&operation.answer)}},
            },
            "401": {"description": "Unauthorized"},
        },
        "x-kubernetes-action": operation.action,
        "x-kubernetes-group-version-kind": address.gvk,
    });
    if !operation.consumes.is_empty() {
        let schema = if operation.body.is_empty() {
            json!({"type": "object"})
        } else {
            Dialect::V3.reference(&operation.body)
        };
        let content: Map<String, Value> = operation
            .consumes
            .iter()
            .map(|media| ((*media).to_owned(), json!({"schema": schema})))
            .collect();
        document["requestBody"] = json!({"content": content, "required": true});
    }
    document
}

#[cfg(test)]
mod tests;
