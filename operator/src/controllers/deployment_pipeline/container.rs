//! What is asked of the Engine for one instance: the create call's body and its scratch volumes.
//!
//! Pure but for the secrets that pass through it: the same spec, image and configuration give the
//! same body. Must not know why an instance is made. Nothing in here can give a container more
//! rights on the host than an ordinary one has.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bollard::models::{
    ContainerCreateBody, EndpointIpamConfig, EndpointSettings, HealthConfig, HostConfig,
    HostConfigLogConfig, ImageInspect, Mount, MountType, MountVolumeOptions, NetworkingConfig,
    RestartPolicy, RestartPolicyNameEnum, VolumeCreateRequest,
};
use crds::labels::{self, Role};
use crds::quantity;
use crds::template::{Container, Template};
use plan::resources::Resources;
use plan::step::InstanceSpec;
use serde_json::json;
use sha2::{Digest as _, Sha256};

use crate::hex;
use crate::image::canonical;
use crate::install::Key;
use crate::signature::{self, ObjectKind};
use crate::snapshot::Bytes;

/// The longest pause between two runs of an image's HEALTHCHECK while it decides readiness: a
/// rollout waits for it. Nanoseconds.
const MAX_HEALTH_INTERVAL: i64 = 5_000_000_000;

/// Whose an instance is, beyond what its spec says.
pub struct Owner<'a> {
    /// The install's ID.
    pub install: &'a str,
    /// The install's key.
    pub key: &'a Key,
    /// The host's identity.
    pub host_id: String,
    /// The log driver of a container that names none.
    pub log_driver: &'a str,
}

/// Everything that is created for one instance.
pub struct Order {
    /// The container.
    pub body: ContainerCreateBody,
    /// The volumes it needs first.
    pub volumes: Vec<VolumeCreateRequest>,
}

/// Why an instance cannot be created as it is declared; for people.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Refusal {
    /// An amount that is no quantity.
    #[error("template.containers[0].resources: {0}")]
    Quantity(String),
    /// The image runs as root, or nobody can tell.
    #[error(
        "template.containers[0].securityContext.runAsNonRoot: the image's user is {0:?}; set runAsUser to a number other than 0"
    )]
    Root(String),
}

/// The order for one instance. `config` holds the bytes of each snapshot Secret by its name.
///
/// # Errors
/// A template that cannot run from this image.
pub fn order(
    spec: &InstanceSpec,
    owner: &Owner<'_>,
    image: &ImageInspect,
    config: &BTreeMap<String, Bytes>,
) -> Result<Order, Refusal> {
    let main = spec.template.main();
    let user = user(&main, image)?;
    let scratch = scratch(&spec.template, &spec.name.to_string(), image);
    let labels = signed_labels(spec, owner);
    let body = ContainerCreateBody {
        image: Some(spec.image.clone()),
        entrypoint: some(main.command.clone()),
        cmd: some(main.args.clone()),
        working_dir: main.working_dir.clone(),
        user,
        env: some(environment(&main, spec, config)),
        labels: Some(labels),
        healthcheck: healthcheck(&main, image),
        stop_signal: main
            .lifecycle
            .as_ref()
            .and_then(|lifecycle| lifecycle.stop_signal.clone()),
        stop_timeout: Some(i64::from(spec.template.termination_grace_period_seconds)),
        host_config: Some(host_config(spec, owner, &main, &scratch)?),
        networking_config: Some(networking(spec)),
        ..ContainerCreateBody::default()
    };
    let volumes = scratch
        .iter()
        .map(|volume| volume_request(volume, spec, owner))
        .collect();
    Ok(Order { body, volumes })
}

/// One volume that lives as long as its instance.
struct Scratch {
    name: String,
    target: String,
    read_only: bool,
}

/// Every emptyDir, every uncovered VOLUME of the image, and with a read-only root every mount of
/// configuration, since files cannot be written into such a root (F33).
fn scratch(template: &Template, container: &str, image: &ImageInspect) -> Vec<Scratch> {
    let main = template.main();
    let mut volumes = Vec::new();
    let mut covered = BTreeSet::new();
    for mount in &main.volume_mounts {
        let Some(volume) = template
            .volumes
            .iter()
            .find(|volume| volume.name == mount.name)
        else {
            continue;
        };
        let is_config = volume.empty_dir.is_none();
        covered.insert(mount.mount_path.trim_end_matches('/').to_owned());
        if is_config && !main.security_context.read_only_root_filesystem {
            continue;
        }
        volumes.push(Scratch {
            name: format!("{container}.{}", volume.name),
            target: mount.mount_path.clone(),
            read_only: is_config || mount.read_only,
        });
    }
    let declared = image
        .config
        .as_ref()
        .and_then(|config| config.volumes.clone());
    let declared: BTreeSet<String> = declared.unwrap_or_default().into_iter().collect();
    for (index, target) in declared.into_iter().enumerate() {
        if !covered.contains(target.trim_end_matches('/')) {
            volumes.push(Scratch {
                name: format!("{container}.image-{index}"),
                target,
                read_only: false,
            });
        }
    }
    volumes
}

/// The name of the scratch volume behind a mount of configuration in a read-only root.
pub fn config_volume(container: &str, volume: &str) -> String {
    format!("{container}.{volume}")
}

/// Mooring's labels for something that belongs to an instance, not yet signed.
fn instance_labels(
    spec: &InstanceSpec,
    owner: &Owner<'_>,
    role: Role,
    name: &str,
) -> BTreeMap<String, String> {
    let of_the_instance = signature::instance_labels(&spec.name);
    [
        (labels::INSTALL, owner.install.to_owned()),
        (labels::HOST, owner.host_id.clone()),
        (labels::ROLE, role.as_str().to_owned()),
        (labels::NAME, name.to_owned()),
        (labels::SPEC_HASH, spec_hash(spec)),
    ]
    .into_iter()
    .chain(of_the_instance)
    .map(|(key, value)| (key.to_owned(), value))
    .collect()
}

/// The user's labels, then ours, which win over theirs and the image's.
fn signed_labels(spec: &InstanceSpec, owner: &Owner<'_>) -> HashMap<String, String> {
    let name = spec.name.to_string();
    let mut ours = instance_labels(spec, owner, Role::Instance, &name);
    signature::sign(owner.key, ObjectKind::Container, &mut ours);
    let metadata = &spec.template.metadata;
    metadata
        .annotations
        .iter()
        .chain(&metadata.labels)
        .map(|(key, value)| (key.clone(), value.clone()))
        .chain(ours)
        .collect()
}

/// Labels of a helper container that reaches the scratch volumes of an instance.
pub fn helper_labels(
    spec: &InstanceSpec,
    owner: &Owner<'_>,
    name: &str,
) -> HashMap<String, String> {
    let mut ours = instance_labels(spec, owner, Role::Helper, name);
    signature::sign(owner.key, ObjectKind::Container, &mut ours);
    ours.into_iter().collect()
}

fn volume_request(volume: &Scratch, spec: &InstanceSpec, owner: &Owner<'_>) -> VolumeCreateRequest {
    let mut labels = instance_labels(spec, owner, Role::Scratch, &volume.name);
    signature::sign(owner.key, ObjectKind::Volume, &mut labels);
    VolumeCreateRequest {
        name: Some(volume.name.clone()),
        driver: Some("local".to_owned()),
        labels: Some(labels.into_iter().collect()),
        ..VolumeCreateRequest::default()
    }
}

/// A hash of everything that the create asks for, configuration by reference: 64 hex digits.
fn spec_hash(spec: &InstanceSpec) -> String {
    let InstanceSpec {
        name,
        image,
        network,
        address,
        aliases,
        template,
        config,
        release: _,
    } = spec;
    let document = json!({
        "name": name.to_string(), "image": image, "network": network, "address": address,
        "aliases": aliases, "template": template, "config": config,
    });
    hex::encode(&Sha256::digest(canonical(&document).to_string().as_bytes()))
}

/// `user[:group]`, or the image's own; refused when the template forbids root and that is what the
/// image runs as.
fn user(main: &Container, image: &ImageInspect) -> Result<Option<String>, Refusal> {
    let context = &main.security_context;
    let inherited = image
        .config
        .as_ref()
        .and_then(|config| config.user.clone())
        .unwrap_or_default();
    if context.run_as_non_root == Some(true) && context.run_as_user.is_none() {
        let numeric = inherited
            .split(':')
            .next()
            .and_then(|user| user.parse::<u32>().ok());
        if numeric.is_none_or(|user| user == 0) {
            return Err(Refusal::Root(inherited));
        }
    }
    Ok(match (context.run_as_user, context.run_as_group) {
        (Some(user), Some(group)) => Some(format!("{user}:{group}")),
        (Some(user), None) => Some(user.to_string()),
        (None, Some(group)) => {
            let user = inherited
                .split(':')
                .next()
                .filter(|user| !user.is_empty())
                .unwrap_or("0");
            Some(format!("{user}:{group}"))
        }
        (None, None) => None,
    })
}

/// The variables in the order of Kubernetes: `envFrom` first, a later entry over an earlier one,
/// then `env`.
fn environment(
    main: &Container,
    spec: &InstanceSpec,
    config: &BTreeMap<String, Bytes>,
) -> Vec<String> {
    let bytes = |kind: crds::release::ConfigKind, name: &str| {
        let kept = spec
            .config
            .iter()
            .find(|entry| entry.kind == kind && entry.name == name);
        kept.and_then(|entry| config.get(&entry.secret))
    };
    use crds::release::ConfigKind::{ConfigMap, Secret};
    let mut variables: Vec<(String, String)> = Vec::new();
    let mut set = |name: String, value: String| {
        variables.retain(|(known, _)| *known != name);
        variables.push((name, value));
    };
    for source in &main.env_from {
        let map = source
            .config_map_ref
            .as_ref()
            .and_then(|object| bytes(ConfigMap, &object.name));
        let secret = source
            .secret_ref
            .as_ref()
            .and_then(|object| bytes(Secret, &object.name));
        for (key, value) in map.into_iter().chain(secret).flatten() {
            set(
                format!("{}{key}", source.prefix),
                String::from_utf8_lossy(value).into_owned(),
            );
        }
    }
    for variable in &main.env {
        let source = variable.value_from.as_ref();
        let map = source.and_then(|source| source.config_map_key_ref.as_ref());
        let secret = source.and_then(|source| source.secret_key_ref.as_ref());
        let found = map
            .and_then(|key| bytes(ConfigMap, &key.name)?.get(&key.key))
            .or_else(|| secret.and_then(|key| bytes(Secret, &key.name)?.get(&key.key)));
        let referred = map.is_some() || secret.is_some();
        match found {
            Some(value) => set(
                variable.name.clone(),
                String::from_utf8_lossy(value).into_owned(),
            ),
            None if referred => {}
            None => set(
                variable.name.clone(),
                variable.value.clone().unwrap_or_default(),
            ),
        }
    }
    variables
        .into_iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect()
}

/// The image's own test, run often enough for a rollout, unless a probe decides instead.
fn healthcheck(main: &Container, image: &ImageInspect) -> Option<HealthConfig> {
    let inherited = image.config.as_ref()?.healthcheck.clone()?;
    if main.readiness_probe.is_some() {
        return None;
    }
    let interval = inherited.interval.filter(|interval| *interval > 0);
    Some(HealthConfig {
        interval: Some(interval.map_or(MAX_HEALTH_INTERVAL, |interval| {
            interval.min(MAX_HEALTH_INTERVAL)
        })),
        ..inherited
    })
}

fn host_config(
    spec: &InstanceSpec,
    owner: &Owner<'_>,
    main: &Container,
    scratch: &[Scratch],
) -> Result<HostConfig, Refusal> {
    let resources = Resources::declared(main).map_err(Refusal::Quantity)?;
    let limited = |amount: i64| (amount != 0).then_some(amount);
    let context = &main.security_context;
    Ok(HostConfig {
        network_mode: Some(spec.network.clone()),
        restart_policy: Some(RestartPolicy {
            name: Some(RestartPolicyNameEnum::NO),
            maximum_retry_count: Some(0),
        }),
        log_config: log_config(spec, owner),
        mounts: some(scratch.iter().map(mount).collect()),
        nano_cpus: limited(resources.nano_cpus),
        memory: limited(resources.memory),
        memory_reservation: limited(resources.memory_reservation),
        cpu_shares: limited(resources.cpu_shares),
        readonly_rootfs: Some(context.read_only_root_filesystem),
        cap_drop: some(context.capabilities.drop.clone()),
        security_opt: Some(vec!["no-new-privileges".to_owned()]),
        ..HostConfig::default()
    })
}

fn mount(volume: &Scratch) -> Mount {
    Mount {
        typ: Some(MountType::VOLUME),
        source: Some(volume.name.clone()),
        target: Some(volume.target.clone()),
        read_only: Some(volume.read_only),
        volume_options: Some(MountVolumeOptions {
            no_copy: Some(false),
            ..MountVolumeOptions::default()
        }),
        ..Mount::default()
    }
}

/// Bounded logs, unless the daemon was set to another driver on purpose.
fn log_config(spec: &InstanceSpec, owner: &Owner<'_>) -> Option<HostConfigLogConfig> {
    const BOUNDED: &str = "json-file";
    if owner.log_driver != BOUNDED {
        return None;
    }
    let logging = &spec.template.logging;
    // The Engine reads k, m and g as powers of 1024; a plain number of bytes means the same to both.
    let size = quantity::units(&logging.max_size)
        .map_or_else(|_| logging.max_size.clone(), |bytes| bytes.to_string());
    Some(HostConfigLogConfig {
        typ: Some(BOUNDED.to_owned()),
        config: Some(HashMap::from([
            ("max-size".to_owned(), size),
            ("max-file".to_owned(), logging.max_files.to_string()),
        ])),
    })
}

/// The fixed address and the names on the namespace's bridge.
fn networking(spec: &InstanceSpec) -> NetworkingConfig {
    let endpoint = EndpointSettings {
        ipam_config: Some(EndpointIpamConfig {
            ipv4_address: Some(spec.address.to_string()),
            ..EndpointIpamConfig::default()
        }),
        aliases: some(spec.aliases.clone()),
        ..EndpointSettings::default()
    };
    NetworkingConfig {
        endpoints_config: Some(HashMap::from([(spec.network.clone(), endpoint)])),
    }
}

/// An empty list says nothing, so that the image's own value stays.
fn some<T>(list: Vec<T>) -> Option<Vec<T>> {
    (!list.is_empty()).then_some(list)
}
