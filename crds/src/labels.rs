//! Every label, annotation and tag that Mooring writes on something outside its own objects, once.
//!
//! These words are persisted on containers, networks and volumes: changing one means migrating
//! what runs. The signature covers exactly the keys of [`SIGNED_V1`], in that order.

/// The install that owns the object: 32 hex digits.
pub const INSTALL: &str = "mooring.dev/install";
/// The host's identity: 32 hex digits.
pub const HOST: &str = "mooring.dev/host";
/// The namespace of the owner; empty for what belongs to the host itself.
pub const NAMESPACE: &str = "mooring.dev/namespace";
/// The pipeline's name.
pub const PIPELINE: &str = "mooring.dev/pipeline";
/// The stage's name.
pub const STAGE: &str = "mooring.dev/stage";
/// The process's name.
pub const PROCESS: &str = "mooring.dev/process";
/// The revision: ten hex digits.
pub const REVISION: &str = "mooring.dev/revision";
/// The slot: a decimal number below the number of replicas.
pub const SLOT: &str = "mooring.dev/slot";
/// The attempt: a decimal number, counted per slot.
pub const ATTEMPT: &str = "mooring.dev/attempt";
/// What the object is for: see [`Role`].
pub const ROLE: &str = "mooring.dev/role";
/// The name under which the object was made.
pub const NAME: &str = "mooring.dev/name";
/// A hash of everything the create call asked for.
pub const SPEC_HASH: &str = "mooring.dev/spec-hash";
/// `v1.<hex>`: the HMAC that makes the other labels believable.
pub const SIGNATURE: &str = "mooring.dev/signature";

/// The keys that version 1 of the signature covers, in the order in which they are hashed.
/// A key that is absent is hashed as an empty value.
pub const SIGNED_V1: [&str; 12] = [
    INSTALL, HOST, NAMESPACE, PIPELINE, STAGE, PROCESS, REVISION, SLOT, ATTEMPT, ROLE, NAME,
    SPEC_HASH,
];

/// On Releases and snapshot Secrets: the pipeline they belong to, so that they can be listed.
pub const OBJECT_PIPELINE: &str = "mooring.dev/pipeline";

/// The type of the Secret that keeps the bytes of one referenced ConfigMap or Secret.
pub const CONFIG_SECRET_TYPE: &str = "mooring.dev/config";

/// The user labels' prefix, which a template may not use.
pub const PREFIX: &str = "mooring.dev/";

/// What an object on a host is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// One instance of a pipeline.
    Instance,
    /// The proxy container.
    Proxy,
    /// The volume with the proxy's state and the install key.
    ProxyState,
    /// The bridge of a namespace.
    Bridge,
    /// A volume of a pipeline.
    Volume,
    /// A container that is never started: it gives access to a volume.
    Helper,
    /// Something that goes away with the instance it was made for.
    Scratch,
}

impl Role {
    /// The label's value.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Instance => "instance",
            Self::Proxy => "proxy",
            Self::ProxyState => "proxy-state",
            Self::Bridge => "bridge",
            Self::Volume => "volume",
            Self::Helper => "helper",
            Self::Scratch => "scratch",
        }
    }

    /// Reads a label's value; `None` for a word that this version does not know.
    pub fn parse(word: &str) -> Option<Self> {
        [
            Self::Instance,
            Self::Proxy,
            Self::ProxyState,
            Self::Bridge,
            Self::Volume,
            Self::Helper,
            Self::Scratch,
        ]
        .into_iter()
        .find(|role| role.as_str() == word)
    }
}
