//! Pull secrets: which credentials to show to the registry of an image.
//!
//! Owns the only place where they are read, live and whenever they are needed. They leave it as the header for an
//! Engine and in no other way: nothing here can be printed.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE};
use crds::template::PullSecretRef;
use crds::{DeploymentPipeline, Reason};
use http::HeaderValue;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client, ResourceExt as _};
use plan::deployment_pipeline::Unresolved;
use serde::Deserialize;
use serde_json::json;

/// The type of a pull secret.
const TYPE: &str = "kubernetes.io/dockerconfigjson";
/// Its one key.
const KEY: &str = ".dockerconfigjson";
/// The default registry, which references leave out and docker writes in several ways.
const HUB: &str = "docker.io";
const HUB_ALIASES: [&str; 3] = [
    "index.docker.io",
    "registry-1.docker.io",
    "registry.hub.docker.com",
];
/// Values shorter than this are too common in any text to be blacked out usefully, in bytes.
const SHORTEST: usize = 4;

/// The pull secrets of one pipeline. No Debug.
pub struct PullSecrets {
    /// What each holds, or why it cannot be used.
    read: Vec<Result<Config, String>>,
    fingerprint: u64,
}

/// What a registry is shown. No Debug.
#[derive(Clone)]
pub struct Credentials {
    header: HeaderValue,
    secrets: Vec<String>,
}

#[derive(Deserialize)]
struct Config {
    #[serde(default)]
    auths: BTreeMap<String, Auth>,
}

#[derive(Clone, Default, Deserialize)]
#[serde(default)]
struct Auth {
    username: String,
    password: String,
    /// Both, in base64.
    auth: String,
    identitytoken: String,
    registrytoken: String,
}

impl PullSecrets {
    /// Reads the Secrets that a pipeline names, as they are now.
    ///
    /// # Errors
    /// The API could not be read. A Secret that is missing or not of the right form is no error here.
    pub async fn of_pipeline(
        client: &Client,
        pipeline: &DeploymentPipeline,
    ) -> kube::Result<PullSecrets> {
        let namespace = pipeline.namespace().unwrap_or_default();
        let api: Api<Secret> = Api::namespaced(client.clone(), &namespace);
        let mut hasher = DefaultHasher::new();
        let mut read = Vec::new();
        for PullSecretRef { name } in &pipeline.spec.template.image_pull_secrets {
            let secret = api.get_opt(name).await?;
            let bytes = secret
                .as_ref()
                .and_then(|secret| secret.data.as_ref()?.get(KEY));
            bytes.map(|ByteString(bytes)| bytes).hash(&mut hasher);
            let named = format!("Secret {name} in namespace {namespace}, a pull secret,");
            let found = match (&secret, bytes) {
                (None, _) => Err(format!("{named} does not exist; create it")),
                (Some(secret), _) if secret.type_.as_deref() != Some(TYPE) => {
                    Err(format!("{named} is not of type {TYPE}; make it with kubectl create secret docker-registry"))
                }
                (Some(_), None) => Err(format!("{named} has no key {KEY}")),
                // The parser's words would quote what it read.
                (Some(_), Some(ByteString(bytes))) => serde_json::from_slice(bytes)
                    .map_err(|_| format!("{named} is not what docker login writes; make it with kubectl create secret docker-registry")),
            };
            read.push(found);
        }
        Ok(PullSecrets {
            read,
            fingerprint: hasher.finish(),
        })
    }

    /// A number that another spec or other credentials change: a registry gets a new chance with each. Only for this
    /// process.
    pub fn chance(&self, pipeline: &DeploymentPipeline) -> u64 {
        let generation = pipeline.metadata.generation.unwrap_or_default();
        self.fingerprint ^ generation.unsigned_abs()
    }

    /// The credentials for the registry of `repository`: the first that name it, or none.
    ///
    /// # Errors
    /// A Secret that comes before them cannot be used.
    pub fn of(&self, repository: &str) -> Result<Option<Credentials>, Unresolved> {
        for config in &self.read {
            let config = config.as_ref().map_err(|message| Unresolved {
                reason: Reason::RefNotFound,
                message: message.clone(),
                unknown: false,
            })?;
            let found = config
                .auths
                .iter()
                .filter_map(|(key, auth)| Some((matches(key, repository)?, key, auth)))
                .max_by_key(|(length, _, _)| *length);
            if let Some((_, key, auth)) = found {
                return Ok(Credentials::new(key, auth));
            }
        }
        Ok(None)
    }
}

impl Credentials {
    fn new(server: &str, auth: &Auth) -> Option<Credentials> {
        let mut auth = auth.clone();
        if auth.username.is_empty()
            && let Ok(pair) = BASE64_STANDARD.decode(auth.auth.trim())
            && let Ok(pair) = String::from_utf8(pair)
            && let Some((name, password)) = pair.split_once(':')
        {
            (auth.username, auth.password) = (name.to_owned(), password.to_owned());
        }
        let document = json!({
            "username": auth.username, "password": auth.password, "serveraddress": server,
            "identitytoken": auth.identitytoken, "registrytoken": auth.registrytoken,
        });
        let mut header =
            HeaderValue::try_from(BASE64_URL_SAFE.encode(document.to_string())).ok()?;
        header.set_sensitive(true);
        let secrets = [
            auth.password,
            auth.auth,
            auth.identitytoken,
            auth.registrytoken,
        ];
        Some(Credentials {
            header,
            secrets: secrets
                .into_iter()
                .filter(|secret| secret.len() >= SHORTEST)
                .collect(),
        })
    }

    /// For the Engine.
    pub fn header(&self) -> HeaderValue {
        self.header.clone()
    }
}

/// A registry's words without the credentials that it was shown, should it echo them.
pub fn redacted(shown: Option<&Credentials>, text: &str) -> String {
    let secrets = shown.into_iter().flat_map(|shown| &shown.secrets);
    secrets.fold(text.to_owned(), |text, secret| {
        text.replace(secret.as_str(), "***")
    })
}

/// How much of `repository` the key of a docker configuration names; `None`: another registry.
fn matches(key: &str, repository: &str) -> Option<usize> {
    let bare = key
        .trim_start_matches("https://")
        .trim_start_matches("http://")
        .trim_end_matches('/');
    let bare = bare.trim_end_matches("/v1").trim_end_matches("/v2");
    let (host, path) = bare.split_once('/').unwrap_or((bare, ""));
    let (registry, rest) = match repository.split_once('/') {
        Some((first, rest)) if first.contains(['.', ':']) || first == "localhost" => (first, rest),
        Some(_) | None => (HUB, repository),
    };
    let known = |host: &str| {
        let hub = HUB_ALIASES.contains(&host);
        if hub { HUB.to_owned() } else { host.to_owned() }
    };
    let (host, registry) = (known(host), known(registry));
    let (mut wanted, mut given) = (host.split('.'), registry.split('.'));
    let same_host = loop {
        match (wanted.next(), given.next()) {
            (None, None) => break true,
            (Some("*"), Some(_)) => {}
            (Some(a), Some(b)) if a == b => {}
            _ => break false,
        }
    };
    let below = path.is_empty() || rest == path || rest.strip_prefix(path)?.starts_with('/');
    (same_host && below).then_some(path.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_names_a_registry_or_a_part_of_it() {
        for (key, repository, length) in [
            (
                "registry.example.com",
                "registry.example.com/team/shop",
                Some(0),
            ),
            (
                "https://registry.example.com/v2/",
                "registry.example.com/team/shop",
                Some(0),
            ),
            (
                "registry.example.com/team",
                "registry.example.com/team/shop",
                Some(4),
            ),
            (
                "registry.example.com/team",
                "registry.example.com/teams/shop",
                None,
            ),
            ("*.example.com", "registry.example.com/shop", Some(0)),
            ("*.example.com", "a.b.example.com/shop", None),
            ("https://index.docker.io/v1/", "shop", Some(0)),
            ("https://index.docker.io/v1/", "team/shop", Some(0)),
            ("docker.io", "registry.example.com/shop", None),
            ("127.0.0.1:5000", "127.0.0.1:5000/shop", Some(0)),
            ("127.0.0.1:5001", "127.0.0.1:5000/shop", None),
        ] {
            assert_eq!(matches(key, repository), length, "{key} for {repository}");
        }
    }

    #[test]
    fn both_forms_of_a_password_are_shown_and_blacked_out() {
        let pair = Auth {
            auth: BASE64_STANDARD.encode("me:hunter2"),
            ..Auth::default()
        };
        let plain = Auth {
            username: "me".to_owned(),
            password: "hunter2".to_owned(),
            ..Auth::default()
        };
        for auth in [pair, plain] {
            let credentials = Credentials::new("r.example.com", &auth).expect("a header");
            let shown = BASE64_URL_SAFE
                .decode(credentials.header().as_bytes())
                .expect("base64");
            let shown: serde_json::Value = serde_json::from_slice(&shown).expect("JSON");
            assert_eq!(
                (&shown["username"], &shown["password"]),
                (&json!("me"), &json!("hunter2"))
            );
            assert!(credentials.header().is_sensitive());
            assert_eq!(
                redacted(Some(&credentials), "bad password hunter2"),
                "bad password ***"
            );
        }
    }
}
