//! What a control plane needs before an operator can work on it: definitions, the system namespace, a first host.
//!
//! Owns the objects that `mooring up` makes by itself. It must not change what is there: a DockerHost belongs to people
//! from the moment it exists.

use std::time::Duration;

use crds::DockerHost;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, ListParams, ObjectMeta, Patch, PatchParams, PostParams};
use kube::runtime::wait::{await_condition, conditions};
use kube::{Client, ResourceExt as _};
use serde_json::json;

use crate::api;

/// The name of the host that is made when there is none.
pub const FIRST_HOST: &str = "local";
/// The longest wait until the API serves a kind that was defined.
const ESTABLISHED: Duration = Duration::from_secs(30);

/// Why a control plane cannot be prepared.
#[derive(Debug, thiserror::Error)]
pub enum BootstrapError {
    /// The API refused or did not answer.
    #[error("{what}: {message}")]
    Api {
        /// What was asked of it.
        what: String,
        /// What it said.
        message: String,
    },
    /// A kind was defined, but is not served.
    #[error("the kind {name} was not served within {} s of its definition", ESTABLISHED.as_secs())]
    NotServed {
        /// The definition's name.
        name: String,
    },
}

fn failed(what: impl Into<String>) -> impl FnOnce(kube::Error) -> BootstrapError {
    let what = what.into();
    move |error| BootstrapError::Api {
        what,
        message: api::words(&error),
    }
}

/// Defines every kind, or brings their definitions up to date, and waits until they are served.
pub async fn definitions(client: &Client) -> Result<(), BootstrapError> {
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    let params = PatchParams::apply(crds::FIELD_MANAGER).force();
    let all = crds::all();
    for definition in &all {
        let name = definition.name_any();
        definitions
            .patch(&name, &params, &Patch::Apply(definition))
            .await
            .map_err(failed(format!("defining {name}")))?;
    }
    for definition in &all {
        let name = definition.name_any();
        let served = await_condition(definitions.clone(), &name, conditions::is_crd_established());
        match tokio::time::timeout(ESTABLISHED, served).await {
            Ok(Ok(_)) => {}
            Ok(Err(_)) | Err(_) => return Err(BootstrapError::NotServed { name }),
        }
    }
    Ok(())
}

/// Makes a namespace, unless it is there.
pub async fn namespace(client: &Client, name: &str) -> Result<(), BootstrapError> {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let what = || failed(format!("making the namespace {name}"));
    if namespaces.get_opt(name).await.map_err(what())?.is_some() {
        return Ok(());
    }
    let namespace = Namespace {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            ..ObjectMeta::default()
        },
        ..Namespace::default()
    };
    match namespaces.create(&PostParams::default(), &namespace).await {
        Ok(_) => Ok(()),
        Err(error) if api::is_conflict(&error) => Ok(()),
        Err(error) => Err(what()(error)),
    }
}

/// What the flags of `mooring up` say of the first host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FirstHost {
    /// `--docker`.
    pub endpoint: String,
    /// `--http-port`.
    pub http_port: u16,
}

/// What became of the first host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hosted {
    /// There was none, so it was made, open to every namespace.
    Made,
    /// There is at least one. What differs from the flags, in words, if the first host is among them.
    Kept {
        /// The port that the object says, if it is the first host's.
        http_port: Option<u16>,
        /// One line for people.
        difference: Option<String>,
    },
}

/// Makes the first host when there is none at all; afterwards the objects win.
pub async fn first_host(client: &Client, wanted: &FirstHost) -> Result<Hosted, BootstrapError> {
    let hosts: Api<DockerHost> = Api::all(client.clone());
    let list = hosts.list(&ListParams::default()).await;
    let there = list.map_err(failed("listing DockerHosts"))?.items;
    if !there.is_empty() {
        let first = there.iter().find(|host| host.name_any() == FIRST_HOST);
        return Ok(Hosted::Kept {
            http_port: first.map(|host| host.spec.proxy.http_port),
            difference: first.and_then(|host| difference(host, wanted)),
        });
    }
    let host: DockerHost = serde_json::from_value(json!({
        "apiVersion": "mooring.dev/v1alpha1",
        "kind": "DockerHost",
        "metadata": { "name": FIRST_HOST },
        "spec": {
            "endpoint": wanted.endpoint,
            "proxy": { "httpPort": wanted.http_port },
            "allowedNamespaces": ["*"],
        },
    }))
    .expect("this is a DockerHost");
    let params = api::posted();
    match hosts.create(&params, &host).await {
        Ok(_) => Ok(Hosted::Made),
        Err(error) if api::is_conflict(&error) => Ok(Hosted::Kept {
            http_port: None,
            difference: None,
        }),
        Err(error) => Err(failed(format!("making the DockerHost {FIRST_HOST}"))(error)),
    }
}

/// Where the flags differ from the object, which wins.
fn difference(host: &DockerHost, wanted: &FirstHost) -> Option<String> {
    let mut parts = Vec::new();
    if host.spec.endpoint != wanted.endpoint {
        parts.push(format!(
            "--docker {} (it has {})",
            wanted.endpoint, host.spec.endpoint
        ));
    }
    if host.spec.proxy.http_port != wanted.http_port {
        parts.push(format!(
            "--http-port {} (it has {})",
            wanted.http_port, host.spec.proxy.http_port
        ));
    }
    (!parts.is_empty()).then(|| {
        format!(
            "the DockerHost {FIRST_HOST} exists and wins over {}; change it with kubectl edit dockerhost {FIRST_HOST}",
            parts.join(" and ")
        )
    })
}

#[cfg(test)]
mod tests;
