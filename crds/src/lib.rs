//! Every kind of the group `mooring.dev`: spec, status, conditions, labels. No I/O.
//!
//! This package is the vocabulary that all others share. It must not know how anything is decided
//! or done: it holds the shapes that people write, that the API stores and that containers carry
//! as labels. The YAML beside it is generated from these types; `tests/generated.rs` keeps the two
//! equal.

// The lint takes the columns of a kind, each an attribute of one form, for copies of one another.
#![allow(clippy::duplicated_attributes)]

pub mod condition;
pub mod deployment_pipeline;
pub mod docker_host;
pub mod labels;
pub mod names;
pub mod quantity;
pub mod release;
pub mod schema;
pub mod template;

pub use condition::{Condition, ConditionStatus, ConditionType, Reason};
pub use deployment_pipeline::{
    DeploymentPipeline, DeploymentPipelineSpec, DeploymentPipelineStatus,
};
pub use docker_host::{DockerHost, DockerHostSpec, DockerHostStatus};
pub use release::{Release, ReleaseSpec, ReleaseStatus};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;

/// The API group of every kind.
pub const GROUP: &str = "mooring.dev";
/// The served and stored version.
pub const VERSION: &str = "v1alpha1";
/// The one stage of a pipeline that declares none.
pub const DEFAULT_STAGE: &str = "default";
/// The process that `template` describes.
pub const MAIN_PROCESS: &str = "main";
/// The field manager of everything that Mooring writes.
pub const FIELD_MANAGER: &str = "mooring";
/// The finalizer that keeps an object until Mooring has cleaned up behind it.
pub const FINALIZER: &str = "mooring.dev/cleanup";

/// The definitions of all kinds, in the order in which they are applied.
///
/// Each is what the derive makes of the types, passed through [`schema::finish`].
pub fn all() -> Vec<CustomResourceDefinition> {
    vec![
        schema::finish(DockerHost::crd()),
        schema::finish(DeploymentPipeline::crd()),
        schema::finish(Release::crd()),
    ]
}
