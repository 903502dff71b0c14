//! One idempotent effect as data. The operator's `act` matches on these exhaustively and does
//! nothing else.
//!
//! A step names what it acts on by name or full ID. Its rendering is a line of the plan that people
//! read, and the key under which the driver remembers its failures; it holds no secret.

use std::collections::BTreeMap;
use std::fmt;
use std::net::Ipv4Addr;

use crds::names::InstanceName;
use crds::release::{ConfigKind, ConfigRef};
use crds::{Release, ReleaseSpec};

use crate::fact::RestartPolicy;

/// An effect on a host.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Gives an image a tag of ours, so that pruning leaves it alone.
    TagImage {
        /// The image's ID on this host.
        image: String,
        /// `repository:tag`.
        tag: String,
    },
    /// Begins to pull an image by the digest that its registry confirmed, with the pipeline's pull
    /// secrets, and to keep it by a tag of ours. It goes on by itself and shows in the facts.
    PullImage {
        /// `repository@digest`.
        image: String,
        /// `repository:tag`.
        tag: String,
    },
    /// Ends a pull that nobody waits for any more.
    CancelPull {
        /// `repository@digest`.
        image: String,
    },
    /// Takes a tag of ours away; the image goes with its last tag.
    UntagImage {
        /// `repository:tag`.
        tag: String,
    },
    /// Creates an instance, its scratch volumes included. A name that is taken is inspected: the
    /// same instance is adopted, anything else is refused.
    CreateContainer(Box<InstanceSpec>),
    /// Writes the configuration files into a created container, then starts it.
    StartContainer {
        /// The full ID.
        id: String,
        /// The instance.
        name: InstanceName,
        /// The files that must be there first.
        files: Vec<ConfigFiles>,
        /// The user who owns the files, if the template says so.
        owner: Option<u32>,
        /// True: the container's root cannot be written, so the files go into its scratch volumes.
        read_only_root: bool,
    },
    /// Sets the policy by which Docker restarts a container.
    SetRestartPolicy {
        /// The full ID.
        id: String,
        /// Its name.
        name: String,
        /// The policy.
        policy: RestartPolicy,
    },
    /// Stops a container: signal, grace, kill.
    StopContainer {
        /// The full ID.
        id: String,
        /// Its name.
        name: String,
        /// Seconds between signal and kill.
        grace_seconds: u32,
    },
    /// Lets a frozen container go on.
    UnpauseContainer {
        /// The full ID.
        id: String,
        /// Its name.
        name: String,
    },
    /// Gives a container back the name that it was made with.
    RenameContainer {
        /// The full ID.
        id: String,
        /// The name it has.
        from: String,
        /// The name it was made with.
        to: String,
    },
    /// Removes a stopped container and the scratch volumes made for it. Never another volume.
    RemoveContainer {
        /// The full ID.
        id: String,
        /// Its name.
        name: String,
    },
    /// Removes what was made for an instance whose container does not exist: scratch volumes and
    /// the helper through which they were filled.
    RemoveLeftovers {
        /// The instance.
        name: InstanceName,
    },
    /// Replaces the pipeline's section of the proxy's route table.
    PushSection {
        /// The version that the proxy reported, `None` for a new section.
        expect: Option<u64>,
        /// The section.
        section: Box<routes::Section>,
    },
    /// Takes the pipeline's section out of the proxy's route table.
    DropSection {
        /// The section.
        key: routes::SectionKey,
        /// The version that the proxy reported.
        expect: u64,
    },
    /// Creates a signed bridge for a namespace.
    CreateBridge {
        /// The namespace.
        namespace: String,
        /// A /22.
        subnet: String,
        /// The part of it that Docker gives out by itself, its last /24.
        ip_range: String,
        /// The host's own address on it.
        gateway: Ipv4Addr,
    },
    /// Removes a bridge of ours that nothing is attached to.
    RemoveBridge {
        /// The Engine's ID.
        id: String,
        /// Its name.
        name: String,
    },
    /// Creates the volume with the proxy's state, if it does not exist.
    CreateProxyVolume,
    /// Loads the proxy's image from the binary beside the operator.
    LoadProxyImage {
        /// First twelve hex digits of the binary's hash.
        sha12: String,
    },
    /// Creates the proxy's container.
    CreateProxy {
        /// First twelve hex digits of the binary's hash.
        sha12: String,
        /// The port for HTTP.
        http_port: u16,
    },
    /// Writes the install's claim and key into the state volume, through the proxy's container.
    WriteClaim {
        /// The container through which the volume is reached.
        container: String,
        /// The host's identity, 32 hex digits.
        host_id: String,
    },
    /// Starts a container of the host's own: the proxy.
    StartProxy {
        /// The full ID.
        id: String,
        /// Its name.
        name: String,
    },
    /// Makes the proxy this install's and raises its epoch.
    ClaimProxy,
    /// Removes the volume with the proxy's state: the host is let go.
    RemoveProxyVolume,
}

/// Everything that is needed to create one instance, with configuration by reference.
#[derive(Clone, Debug, PartialEq)]
pub struct InstanceSpec {
    /// Which instance, and its container's name.
    pub name: InstanceName,
    /// The image reference to create from: the release's retained tag.
    pub image: String,
    /// The bridge's ID.
    pub network: String,
    /// The fixed address on it.
    pub address: Ipv4Addr,
    /// Names by which it is reached on the bridge.
    pub aliases: Vec<String>,
    /// The Release's template.
    pub template: crds::template::Template,
    /// The Release's configuration.
    pub config: Vec<ConfigRef>,
    /// Whose Release it is, for finding the snapshot Secrets.
    pub release: String,
}

/// The files of one volume mount that come from configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigFiles {
    /// The volume's name in the template.
    pub volume: String,
    /// The mounted directory.
    pub mount_path: String,
    /// ConfigMap or Secret.
    pub kind: ConfigKind,
    /// The snapshot Secret that keeps the bytes; empty when an optional object did not exist.
    pub secret: String,
    /// Key to (relative path, mode); empty means every key under its own name with `mode`.
    pub items: BTreeMap<String, (String, u32)>,
    /// Mode of files that `items` does not name.
    pub mode: u32,
}

/// An effect on the API, beyond the record.
#[derive(Clone, Debug, PartialEq)]
pub enum ApiStep {
    /// Puts Mooring's finalizer on the object.
    AddFinalizer,
    /// Takes Mooring's finalizer off the object: everything behind it is gone.
    DropFinalizer,
    /// Makes a Release, owned by the pipeline, with its finalizer.
    CreateRelease {
        /// Its name.
        name: String,
        /// What it says.
        spec: Box<ReleaseSpec>,
    },
    /// Keeps the bytes of one ConfigMap or Secret in an immutable Secret that the Release owns.
    /// Bytes that have changed since they were resolved are refused.
    CreateSnapshot {
        /// The Release that owns it.
        release: String,
        /// What is kept.
        config: ConfigRef,
    },
    /// Adds the Release to the owners of a snapshot that exists.
    OwnSnapshot {
        /// The Release.
        release: String,
        /// The Secret's name.
        secret: String,
    },
    /// Deletes a Release that left the history; it goes when its finalizer does.
    DeleteRelease {
        /// Its name.
        name: String,
    },
    /// Takes the finalizer off a Release of which nothing is left.
    ReleaseFinalizer {
        /// Its name.
        name: String,
    },
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TagImage { image, tag } => write!(f, "tag image {} as {tag}", short(image)),
            Self::PullImage { image, tag } => write!(f, "pull {image} as {tag}"),
            Self::CancelPull { image } => write!(f, "cancel the pull of {image}"),
            Self::UntagImage { tag } => write!(f, "untag image {tag}"),
            Self::CreateContainer(spec) => write!(f, "create {} at {}", spec.name, spec.address),
            Self::StartContainer { name, .. } => write!(f, "start {name}"),
            Self::SetRestartPolicy { name, policy, .. } => {
                let policy = match policy {
                    RestartPolicy::No => "no",
                    RestartPolicy::Always => "always",
                    RestartPolicy::Other => "other",
                };
                write!(f, "set restart policy of {name} to {policy}")
            }
            Self::StopContainer {
                name,
                grace_seconds,
                ..
            } => write!(f, "stop {name} within {grace_seconds}s"),
            Self::UnpauseContainer { name, .. } => write!(f, "unpause {name}"),
            Self::RenameContainer { from, to, .. } => write!(f, "rename {from} to {to}"),
            Self::RemoveContainer { name, .. } => write!(f, "remove {name}"),
            Self::RemoveLeftovers { name } => write!(f, "remove leftovers of {name}"),
            Self::PushSection { section, .. } => {
                write!(f, "push section {}: {}", section.key(), routing(section))
            }
            Self::DropSection { key, .. } => write!(f, "drop section {key}"),
            Self::CreateBridge {
                namespace, subnet, ..
            } => write!(f, "create bridge of {namespace} with {subnet}"),
            Self::RemoveBridge { name, .. } => write!(f, "remove bridge {name}"),
            Self::CreateProxyVolume => write!(f, "create the proxy's volume"),
            Self::LoadProxyImage { sha12 } => write!(f, "load proxy image {sha12}"),
            Self::CreateProxy { sha12, http_port } => {
                write!(f, "create proxy {sha12} for port {http_port}")
            }
            Self::WriteClaim { .. } => write!(f, "write the claim"),
            Self::StartProxy { name, .. } => write!(f, "start {name}"),
            Self::ClaimProxy => write!(f, "claim the proxy"),
            Self::RemoveProxyVolume => write!(f, "remove the proxy's volume"),
        }
    }
}

/// `checked a, routed b c, draining d`, by the last part of the names.
fn routing(section: &routes::Section) -> String {
    use routes::InstanceState::{Checked, Draining, Routed};
    let mut words = Vec::new();
    for (word, state) in [
        ("checked", Checked),
        ("routed", Routed),
        ("draining", Draining),
    ] {
        let names: Vec<&str> = section
            .instances
            .iter()
            .filter(|instance| instance.state == state)
            .map(|instance| tail(&instance.name))
            .collect();
        if !names.is_empty() {
            words.push(format!("{word} {}", names.join(" ")));
        }
    }
    if words.is_empty() {
        "nothing".to_owned()
    } else {
        words.join(", ")
    }
}

/// Revision, slot and attempt of a container's name.
fn tail(name: &str) -> &str {
    let mut dots = name.rmatch_indices('.').map(|(index, _)| index);
    match (dots.next(), dots.next()) {
        (Some(_), Some(second)) => &name[second + 1..],
        (Some(_) | None, _) => name,
    }
}

/// The first twelve digits of an ID, as people know it.
fn short(id: &str) -> &str {
    let bare = id.strip_prefix("sha256:").unwrap_or(id);
    bare.get(..12).unwrap_or(bare)
}

impl fmt::Display for ApiStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AddFinalizer => write!(f, "add finalizer"),
            Self::DropFinalizer => write!(f, "drop finalizer"),
            Self::CreateRelease { name, spec } => {
                write!(
                    f,
                    "create release {name}: {} as {}",
                    spec.image.reference, spec.revision
                )
            }
            Self::CreateSnapshot { release, config } => {
                let kind = match config.kind {
                    ConfigKind::ConfigMap => "ConfigMap",
                    ConfigKind::Secret => "Secret",
                };
                write!(
                    f,
                    "keep {kind} {} for {release} as {}",
                    config.name, config.secret
                )
            }
            Self::OwnSnapshot { release, secret } => write!(f, "share {secret} with {release}"),
            Self::DeleteRelease { name } => write!(f, "delete release {name}"),
            Self::ReleaseFinalizer { name } => write!(f, "drop finalizer of release {name}"),
        }
    }
}

/// The Releases of a world, by number. Used wherever the newest or the stable one is asked for.
pub fn by_number(releases: &[Release]) -> BTreeMap<u64, &Release> {
    releases
        .iter()
        .map(|release| (release.spec.number, release))
        .collect()
}
