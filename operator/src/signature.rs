//! The signature that makes labels believable.
//!
//! Owns the one way in which labels of containers, networks and volumes are signed and checked: an image author can
//! write our labels (F12), but not an HMAC under the install key. It must not know what the labels decide. Invariant:
//! version 1 covers the kind of object and exactly the keys of [`labels::SIGNED_V1`]; every later build reads it.

use std::collections::{BTreeMap, HashMap};

use crds::labels::{self, Role};
use crds::names::{InstanceName, Revision};

use crate::install::Key;

/// What the HMAC is made for, so that no other use of the key can give the same bytes.
const DOMAIN: &str = "mooring.dev/signature/v1";
/// The version, as the label has it.
const VERSION: &str = "v1.";

/// The kinds of Docker objects that carry labels of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ObjectKind {
    /// A container.
    Container,
    /// A network.
    Network,
    /// A volume.
    Volume,
}

impl ObjectKind {
    fn word(self) -> &'static str {
        match self {
            ObjectKind::Container => "container",
            ObjectKind::Network => "network",
            ObjectKind::Volume => "volume",
        }
    }
}

/// What the labels of an object say, after its signature was found right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    /// What it is for.
    pub role: Role,
    /// Which instance it is or was made for; `None` for what belongs to the host or a namespace.
    pub instance: Option<InstanceName>,
    /// The name under which it was made.
    pub name: String,
    /// The identity of the host that it was made for.
    pub host: String,
    /// The namespace of its owner; empty for what belongs to the host.
    pub namespace: String,
    /// The hash of what its create asked for; empty when it has none.
    pub spec_hash: String,
}

/// Adds `mooring.dev/signature` over the labels that are there. Call it when all of them are.
pub fn sign(key: &Key, kind: ObjectKind, labels: &mut BTreeMap<String, String>) {
    let value = format!(
        "{VERSION}{}",
        crate::hex::encode(&mac(key, kind, |name| labels.get(name)))
    );
    labels.insert(labels::SIGNATURE.to_owned(), value);
}

/// Reads signed labels. `None`: not provably ours, never to be touched.
pub fn verify(key: &Key, kind: ObjectKind, labels: &HashMap<String, String>) -> Option<Signed> {
    let hex = labels.get(labels::SIGNATURE)?.strip_prefix(VERSION)?;
    let claimed = crate::hex::decode(hex)?;
    let expected = mac(key, kind, |name| labels.get(name));
    // Both are 32 bytes or the answer is no; the comparison takes the same time wherever they differ.
    aws_lc_rs::constant_time::verify_slices_are_equal(&claimed, &expected).ok()?;
    let text = |name: &str| labels.get(name).cloned().unwrap_or_default();
    let role = Role::parse(&text(labels::ROLE))?;
    let instance = instance(&text);
    if role == Role::Instance && instance.is_none() {
        return None;
    }
    Some(Signed {
        role,
        instance,
        name: text(labels::NAME),
        host: text(labels::HOST),
        namespace: text(labels::NAMESPACE),
        spec_hash: text(labels::SPEC_HASH),
    })
}

/// The labels that say which instance something is or was made for.
pub fn instance_labels(instance: &InstanceName) -> [(&'static str, String); 7] {
    let InstanceName {
        namespace,
        pipeline,
        stage,
        process,
        revision,
        slot,
        attempt,
    } = instance;
    [
        (labels::NAMESPACE, namespace.clone()),
        (labels::PIPELINE, pipeline.clone()),
        (labels::STAGE, stage.clone()),
        (labels::PROCESS, process.clone()),
        (labels::REVISION, revision.to_string()),
        (labels::SLOT, slot.to_string()),
        (labels::ATTEMPT, attempt.to_string()),
    ]
}

fn instance(text: &impl Fn(&str) -> String) -> Option<InstanceName> {
    Some(InstanceName {
        namespace: text(labels::NAMESPACE),
        pipeline: text(labels::PIPELINE),
        stage: text(labels::STAGE),
        process: text(labels::PROCESS),
        revision: Revision::parse(&text(labels::REVISION))?,
        slot: text(labels::SLOT).parse().ok()?,
        attempt: text(labels::ATTEMPT).parse().ok()?,
    })
}

fn mac<'a>(key: &Key, kind: ObjectKind, value: impl Fn(&str) -> Option<&'a String>) -> [u8; 32] {
    let mut parts: Vec<&[u8]> = vec![kind.word().as_bytes()];
    for name in labels::SIGNED_V1 {
        parts.push(value(name).map_or(&[], |value| value.as_bytes()));
    }
    key.hmac(DOMAIN, &parts)
}

#[cfg(test)]
mod tests;
