//! What on a host belongs to pipelines that do not exist: sections of the route table, tags of images, instances; and
//! which namespaces have one after all.
//!
//! Owns asking for each owner live, since a list may be old. It must not judge how long or how much. Invariant: what the
//! API could not be asked about is not found here.

use std::collections::{BTreeMap, BTreeSet};

use bollard::models::ContainerSummary;
use crds::{DeploymentPipeline, names};
use kube::api::{Api, ListParams};
use plan::docker_host::Orphan;
use routes::Status;

use crate::context::Context;
use crate::docker::{Engine, Outcome, images};

/// The pipelines that exist, as far as a list told.
pub(super) struct Owners<'a> {
    pub context: &'a Context,
    pub listed: &'a BTreeSet<(String, String)>,
}

impl Owners<'_> {
    /// Whether a pipeline exists, by a live read of it.
    async fn exists(&self, namespace: &str, pipeline: &str) -> Result<bool, kube::Error> {
        let listed = (namespace.to_owned(), pipeline.to_owned());
        if self.listed.contains(&listed) {
            return Ok(true);
        }
        let api = Api::<DeploymentPipeline>::namespaced(self.context.client.clone(), namespace);
        Ok(api.get_metadata_opt(pipeline).await?.is_some())
    }

    /// Those of `namespaces` that have a pipeline, by a live read of each.
    pub(super) async fn inhabited(
        &self,
        namespaces: impl Iterator<Item = &String>,
    ) -> Result<BTreeSet<String>, kube::Error> {
        let one = ListParams::default().limit(1);
        let mut inhabited = BTreeSet::new();
        for namespace in namespaces {
            let api = Api::<DeploymentPipeline>::namespaced(self.context.client.clone(), namespace);
            if !api.list_metadata(&one).await?.items.is_empty() {
                inhabited.insert(namespace.clone());
            }
        }
        Ok(inhabited)
    }

    /// The owners among those of `instances` that do not exist.
    pub(super) async fn absent(
        &self,
        instances: &BTreeMap<(String, String), u32>,
    ) -> Result<BTreeSet<(String, String)>, kube::Error> {
        let mut absent = BTreeSet::new();
        for (namespace, pipeline) in instances.keys() {
            if !self.exists(namespace, pipeline).await? {
                absent.insert((namespace.clone(), pipeline.clone()));
            }
        }
        Ok(absent)
    }

    /// Sections whose pipeline does not exist. `all` are the containers on the host.
    pub(super) async fn orphans(
        &self,
        status: &Status,
        all: &[ContainerSummary],
    ) -> Result<Vec<Orphan>, kube::Error> {
        let ids: BTreeSet<&str> = all
            .iter()
            .filter_map(|summary| summary.id.as_deref())
            .collect();
        let mut orphans = Vec::new();
        for (key, section) in &status.sections {
            let (namespace, pipeline, _) = key.parts();
            if self.exists(namespace, pipeline).await? {
                continue;
            }
            let instances = &section.section.instances;
            orphans.push(Orphan {
                key: key.clone(),
                version: section.section.version,
                entries: instances.len(),
                containers: instances
                    .iter()
                    .filter(|instance| ids.contains(instance.container_id.as_str()))
                    .map(|instance| instance.name.clone())
                    .collect(),
            });
        }
        Ok(orphans)
    }

    /// The tags among `tags` whose pipeline neither exists nor has one of the `instances` on the host.
    pub(super) async fn strays(
        &self,
        tags: BTreeSet<String>,
        instances: &BTreeMap<(String, String), u32>,
    ) -> Result<BTreeSet<String>, kube::Error> {
        let mut strays = BTreeSet::new();
        for tag in tags {
            let Some((namespace, pipeline)) = names::retained_by(&tag) else {
                continue;
            };
            let runs = instances.contains_key(&(namespace.to_owned(), pipeline.to_owned()));
            if !runs && !self.exists(namespace, pipeline).await? {
                strays.insert(tag);
            }
        }
        Ok(strays)
    }
}

/// Every tag of ours by which the image of a release is kept.
pub(super) async fn retained(engine: &Engine) -> Result<BTreeSet<String>, Outcome> {
    let all = images::list(engine, &[]).await?;
    let tags = all.into_iter().flat_map(|image| image.repo_tags);
    Ok(tags
        .filter(|tag| names::retained_by(tag).is_some())
        .collect())
}
