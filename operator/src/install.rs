//! Who this install is: its id and its key, kept in one Secret.
//!
//! Owns the Secret `mooring-install` and the type of the key. It must not know what is signed. Invariants: the Secret
//! is made once and never written again; the key is in no log, status, label or error, and has no `Debug`.

use std::collections::BTreeMap;
use std::sync::Arc;

use hmac::{Hmac, KeyInit as _, Mac as _};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, ObjectMeta, PostParams};
use sha2::Sha256;

use crate::{api, hex};

/// The Secret in the system namespace.
pub const SECRET: &str = "mooring-install";
/// The file with the key in the state volume of a claimed host; the proxy never reads it.
pub const KEY_FILE: &str = "install.key";

const ID: &str = "id";
const KEY: &str = "key";

/// The key under which everything of this install is signed and named.
#[derive(Clone)]
pub struct Key(Arc<[u8; 32]>);

impl Key {
    /// Takes the key's bytes.
    pub fn from_bytes(bytes: [u8; 32]) -> Key {
        Key(Arc::new(bytes))
    }

    /// Reads the 64 digits of a key file or Secret.
    pub fn parse(text: &str) -> Option<Key> {
        let bytes = hex::decode(text.trim_ascii())?;
        Some(Key::from_bytes(bytes.try_into().ok()?))
    }

    /// The 64 digits, for a key file or Secret and nothing else.
    pub(crate) fn reveal(&self) -> String {
        hex::encode(&*self.0)
    }

    /// HMAC-SHA256 over `parts`, each hashed with its length. `domain` says what for, so that an HMAC made for one
    /// use is none for another.
    pub fn hmac(&self, domain: &str, parts: &[&[u8]]) -> [u8; 32] {
        let mut mac =
            Hmac::<Sha256>::new_from_slice(&*self.0).expect("HMAC takes keys of every length");
        for part in std::iter::once(&domain.as_bytes()).chain(parts) {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part);
        }
        mac.finalize().into_bytes().into()
    }
}

/// The install that this operator acts for.
#[derive(Clone)]
pub struct Install {
    /// 32 hex digits; in labels and in the proxies' claims.
    pub id: String,
    /// The key.
    pub key: Key,
}

/// Why the install cannot be told.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// The API did not answer as it should.
    #[error("reading or making the Secret {namespace}/{SECRET}: {message}")]
    Api {
        /// The system namespace.
        namespace: String,
        /// What the API said.
        message: String,
    },
    /// The Secret is there, but is not one of ours.
    #[error(
        "the Secret {namespace}/{SECRET} holds no install id and key; restore it from a backup, or delete it to begin a new install that owns nothing of the old one"
    )]
    Unreadable {
        /// The system namespace.
        namespace: String,
    },
}

impl Install {
    /// A new install with random id and key.
    pub fn random() -> Install {
        let mut key = [0; 32];
        key[..16].copy_from_slice(&random_16());
        key[16..].copy_from_slice(&random_16());
        Install {
            id: hex::encode(&random_16()),
            key: Key::from_bytes(key),
        }
    }

    /// The install in the Secret, if there is one.
    pub async fn read(
        client: &kube::Client,
        namespace: &str,
    ) -> Result<Option<Install>, InstallError> {
        let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace);
        let secret = secrets
            .get_opt(SECRET)
            .await
            .map_err(|error| failed(namespace, &error))?;
        secret
            .map(|secret| of_secret(&secret, namespace))
            .transpose()
    }

    /// The install in the Secret, or `fresh`, which is then kept there. Two that do this at once get the same.
    pub async fn ensure(
        client: &kube::Client,
        namespace: &str,
        fresh: Install,
    ) -> Result<Install, InstallError> {
        if let Some(install) = Install::read(client, namespace).await? {
            return Ok(install);
        }
        let data = BTreeMap::from([
            (ID.to_owned(), ByteString(fresh.id.clone().into_bytes())),
            (KEY.to_owned(), ByteString(fresh.key.reveal().into_bytes())),
        ]);
        let secret = Secret {
            metadata: ObjectMeta {
                name: Some(SECRET.to_owned()),
                namespace: Some(namespace.to_owned()),
                ..ObjectMeta::default()
            },
            data: Some(data),
            immutable: Some(true),
            ..Secret::default()
        };
        let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace);
        match secrets.create(&PostParams::default(), &secret).await {
            Ok(_) => Ok(fresh),
            Err(error) if api::is_conflict(&error) => {
                let there = secrets
                    .get(SECRET)
                    .await
                    .map_err(|error| failed(namespace, &error))?;
                of_secret(&there, namespace)
            }
            Err(error) => Err(failed(namespace, &error)),
        }
    }
}

/// 128 random bits from the system.
pub fn random_16() -> [u8; 16] {
    let mut bytes = [0; 16];
    aws_lc_rs::rand::fill(&mut bytes)
        .expect("the system's random numbers never fail once they began");
    bytes
}

fn failed(namespace: &str, error: &kube::Error) -> InstallError {
    InstallError::Api {
        namespace: namespace.to_owned(),
        message: api::words(error),
    }
}

fn of_secret(secret: &Secret, namespace: &str) -> Result<Install, InstallError> {
    let text = |name: &str| {
        let bytes = &secret.data.as_ref()?.get(name)?.0;
        std::str::from_utf8(bytes).ok()
    };
    let id = text(ID).filter(|id| id.len() == 32 && hex::decode(id).is_some());
    let key = text(KEY).and_then(Key::parse);
    match (id, key) {
        (Some(id), Some(key)) => Ok(Install {
            id: id.to_owned(),
            key,
        }),
        (Some(_), None) | (None, Some(_) | None) => Err(InstallError::Unreadable {
            namespace: namespace.to_owned(),
        }),
    }
}
