//! Configuration as bytes: which ConfigMaps and Secrets a template refers to, what they hold, and
//! the Secrets that keep what ran so that a rollback brings it back.
//!
//! Owns the only place where configuration bytes are read. They leave it as environment values and
//! files of a container, never in a plan, an event or a log.

use std::collections::{BTreeMap, BTreeSet};

use crds::release::{ConfigKind, ConfigRef};
use crds::template::{ConfigMapVolume, SecretVolume, Template};
use crds::{Reason, Release, labels, names};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::{Api, Client, Resource as _};
use plan::deployment_pipeline::Unresolved;

use crate::hex;
use crate::install::Key;

/// The keys of one ConfigMap or Secret. No Debug: it holds secrets.
pub type Bytes = BTreeMap<String, Vec<u8>>;

/// What a template needs of one object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Need {
    /// Keys that must exist.
    pub keys: BTreeSet<String>,
    /// True: the object itself must exist.
    pub required: bool,
}

/// Everything that a template refers to.
pub fn needs(template: &Template) -> BTreeMap<(ConfigKind, String), Need> {
    let mut needs: BTreeMap<(ConfigKind, String), Need> = BTreeMap::new();
    let mut need = |kind: ConfigKind, name: &str, keys: &[&str], optional: bool| {
        let entry = needs.entry((kind, name.to_owned())).or_default();
        if !optional {
            entry.required = true;
            entry.keys.extend(keys.iter().map(|key| (*key).to_owned()));
        }
    };
    let main = template.main();
    for source in main
        .env
        .iter()
        .filter_map(|variable| variable.value_from.as_ref())
    {
        if let Some(key) = &source.config_map_key_ref {
            need(ConfigKind::ConfigMap, &key.name, &[&key.key], key.optional);
        }
        if let Some(key) = &source.secret_key_ref {
            need(ConfigKind::Secret, &key.name, &[&key.key], key.optional);
        }
    }
    for source in &main.env_from {
        if let Some(object) = &source.config_map_ref {
            need(ConfigKind::ConfigMap, &object.name, &[], object.optional);
        }
        if let Some(object) = &source.secret_ref {
            need(ConfigKind::Secret, &object.name, &[], object.optional);
        }
    }
    for volume in &template.volumes {
        if let Some(ConfigMapVolume {
            name,
            items,
            optional,
            ..
        }) = &volume.config_map
        {
            let keys: Vec<&str> = items.iter().map(|item| item.key.as_str()).collect();
            need(ConfigKind::ConfigMap, name, &keys, *optional);
        }
        if let Some(SecretVolume {
            secret_name,
            items,
            optional,
            ..
        }) = &volume.secret
        {
            let keys: Vec<&str> = items.iter().map(|item| item.key.as_str()).collect();
            need(ConfigKind::Secret, secret_name, &keys, *optional);
        }
    }
    needs
}

/// The configuration of one namespace, read live.
#[derive(Clone)]
pub struct Snapshots {
    client: Client,
    namespace: String,
}

impl Snapshots {
    /// The configuration of `namespace`.
    pub fn new(client: Client, namespace: &str) -> Self {
        Self {
            client,
            namespace: namespace.to_owned(),
        }
    }

    fn secrets(&self) -> Api<Secret> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// The bytes of a ConfigMap or Secret as it is now; `None` when it does not exist.
    async fn current(&self, kind: ConfigKind, name: &str) -> kube::Result<Option<Bytes>> {
        match kind {
            ConfigKind::ConfigMap => {
                let api: Api<ConfigMap> = Api::namespaced(self.client.clone(), &self.namespace);
                Ok(api.get_opt(name).await?.map(|map| {
                    let text = map.data.unwrap_or_default().into_iter();
                    let binary = map.binary_data.unwrap_or_default().into_iter();
                    text.map(|(key, value)| (key, value.into_bytes()))
                        .chain(binary.map(|(key, ByteString(value))| (key, value)))
                        .collect()
                }))
            }
            ConfigKind::Secret => {
                let secret = self.secrets().get_opt(name).await?;
                Ok(secret.map(|secret| bytes_of(secret.data)))
            }
        }
    }

    /// The references of a template with the HMACs of what they hold now, or what is missing.
    ///
    /// # Errors
    /// The API could not be read.
    pub async fn resolve(
        &self,
        key: &Key,
        template: &Template,
    ) -> kube::Result<Result<Vec<ConfigRef>, Unresolved>> {
        let mut refs = Vec::new();
        for ((kind, name), need) in needs(template) {
            let found = self.current(kind, &name).await?;
            if let Some(missing) = missing(kind, &name, &need, found.as_ref(), &self.namespace) {
                return Ok(Err(missing));
            }
            refs.push(found.map_or_else(
                || ConfigRef {
                    kind,
                    name: name.clone(),
                    hmac: String::new(),
                    secret: String::new(),
                },
                |bytes| {
                    let hmac = hex::encode(&digest(key, kind, &name, &bytes));
                    let secret = names::config_secret(&hmac[..16]);
                    ConfigRef {
                        kind,
                        name: name.clone(),
                        hmac,
                        secret,
                    }
                },
            ));
        }
        Ok(Ok(refs))
    }

    /// Which of these snapshot Secrets exist, and the names of the Releases that own each.
    ///
    /// # Errors
    /// The API could not be read.
    pub async fn existing(
        &self,
        wanted: &BTreeSet<String>,
    ) -> kube::Result<BTreeMap<String, BTreeSet<String>>> {
        let mut found = BTreeMap::new();
        for name in wanted {
            if let Some(secret) = self.secrets().get_opt(name).await? {
                let owners = secret.metadata.owner_references.unwrap_or_default();
                found.insert(
                    name.clone(),
                    owners.into_iter().map(|owner| owner.name).collect(),
                );
            }
        }
        Ok(found)
    }

    /// Keeps the bytes behind `config` in its snapshot Secret, owned by `release`.
    ///
    /// # Errors
    /// `Ok(false)` when the bytes are not those that were resolved; otherwise the API's error.
    pub async fn keep(
        &self,
        key: &Key,
        release: &Release,
        config: &ConfigRef,
    ) -> kube::Result<bool> {
        let bytes = self
            .current(config.kind, &config.name)
            .await?
            .unwrap_or_default();
        if hex::encode(&digest(key, config.kind, &config.name, &bytes)) != config.hmac {
            return Ok(false);
        }
        let secret = Secret {
            metadata: ObjectMeta {
                name: Some(config.secret.clone()),
                namespace: Some(self.namespace.clone()),
                labels: Some(crds::deployment_pipeline::selector(&release.spec.pipeline)),
                owner_references: Some(vec![owner(release)]),
                ..ObjectMeta::default()
            },
            immutable: Some(true),
            type_: Some(labels::CONFIG_SECRET_TYPE.to_owned()),
            data: Some(
                bytes
                    .into_iter()
                    .map(|(name, value)| (name, ByteString(value)))
                    .collect(),
            ),
            ..Secret::default()
        };
        match self.secrets().create(&crate::api::posted(), &secret).await {
            Ok(_) => Ok(true),
            // It was made by an attempt whose answer was lost; the next pass shares it if need be.
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// Adds `release` to the owners of a snapshot Secret, so that it lives as long as either.
    ///
    /// # Errors
    /// The API's error; a conflict when somebody else wrote in between.
    pub async fn share(&self, release: &Release, name: &str) -> kube::Result<()> {
        let api = self.secrets();
        let mut secret = api.get(name).await?;
        let owners = secret.metadata.owner_references.get_or_insert_default();
        let mine = owner(release);
        if owners.iter().any(|other| other.uid == mine.uid) {
            return Ok(());
        }
        owners.push(mine);
        let patch = serde_json::json!({"metadata": {
            "resourceVersion": secret.metadata.resource_version,
            "ownerReferences": secret.metadata.owner_references,
        }});
        api.patch(
            name,
            &kube::api::PatchParams::default(),
            &kube::api::Patch::Merge(patch),
        )
        .await?;
        Ok(())
    }

    /// The bytes that a Release keeps for one of its references; empty for an optional reference
    /// to nothing.
    ///
    /// # Errors
    /// The API could not be read, or the snapshot is gone.
    pub async fn kept(&self, secret: &str) -> kube::Result<Bytes> {
        if secret.is_empty() {
            return Ok(Bytes::new());
        }
        Ok(bytes_of(self.secrets().get(secret).await?.data))
    }
}

fn bytes_of(data: Option<BTreeMap<String, ByteString>>) -> Bytes {
    data.unwrap_or_default()
        .into_iter()
        .map(|(key, ByteString(value))| (key, value))
        .collect()
}

fn owner(release: &Release) -> OwnerReference {
    OwnerReference {
        controller: None,
        block_owner_deletion: None,
        ..release.controller_owner_ref(&()).unwrap_or_default()
    }
}

fn word(kind: ConfigKind) -> &'static str {
    match kind {
        ConfigKind::ConfigMap => "ConfigMap",
        ConfigKind::Secret => "Secret",
    }
}

/// What a need lacks, in words that say how to mend it.
fn missing(
    kind: ConfigKind,
    name: &str,
    need: &Need,
    found: Option<&Bytes>,
    namespace: &str,
) -> Option<Unresolved> {
    let refuse = |message: String| {
        Some(Unresolved {
            reason: Reason::RefNotFound,
            message,
            unknown: false,
        })
    };
    let kind = word(kind);
    match found {
        None if need.required => refuse(format!(
            "{kind} {name} does not exist in namespace {namespace}; create it, or mark the reference optional"
        )),
        None => None,
        Some(bytes) => {
            let key = need.keys.iter().find(|key| !bytes.contains_key(*key))?;
            refuse(format!(
                "{kind} {name} in namespace {namespace} has no key {key}; add it, or mark the reference optional"
            ))
        }
    }
}

/// The HMAC of kind, name and bytes, each part with its length before it so that no two contents
/// give one text.
fn digest(key: &Key, kind: ConfigKind, name: &str, bytes: &Bytes) -> [u8; 32] {
    let mut parts: Vec<&[u8]> = vec![word(kind).as_bytes(), name.as_bytes()];
    for (name, value) in bytes {
        parts.push(name.as_bytes());
        parts.push(value);
    }
    key.hmac("config", &parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A build that names the same bytes otherwise would bring every release out again.
    #[test]
    fn the_configuration_of_the_first_build_is_named_as_then() {
        let key = Key::parse(include_str!("../../tests/golden/first/install.key")).expect("a key");
        let releases: Vec<Release> =
            serde_json::from_str(include_str!("../../tests/golden/first/releases.json"))
                .expect("releases");
        let secrets: Vec<Secret> =
            serde_json::from_str(include_str!("../../tests/golden/first/snapshots.json"))
                .expect("secrets");
        let mut compared = 0;
        for config in releases.iter().flat_map(|release| &release.spec.config) {
            let kept = secrets
                .iter()
                .find(|secret| secret.metadata.name.as_ref() == Some(&config.secret))
                .expect("it is kept");
            let bytes = bytes_of(kept.data.clone());
            let digest = crate::hex::encode(&digest(&key, config.kind, &config.name, &bytes));
            assert_eq!(digest, config.hmac, "{}", config.name);
            compared += 1;
        }
        assert_eq!(compared, 4);
    }
}
