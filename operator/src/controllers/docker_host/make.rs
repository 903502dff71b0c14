//! What is asked of the Engine for the proxy: its container, with the least rights that serve.

use std::collections::{BTreeMap, HashMap};

use bollard::models::{
    ContainerCreateBody, HostConfig, HostConfigLogConfig, Mount, MountType, ResourcesUlimits,
    RestartPolicy, RestartPolicyNameEnum,
};
use crds::labels::{self, Role};
use crds::names;

use crate::docker::EngineFacts;
use crate::hex;
use crate::install::Install;
use crate::proxy_binary::{PROGRAM, STATE_DIR, serve_arguments};
use crate::signature::{self, ObjectKind};
use sha2::{Digest as _, Sha256};

/// Memory of the proxy, in bytes: tens of thousands of connections at some 10 KiB each, and room.
const MEMORY: i64 = 1 << 30;
/// Threads of the proxy and its connectors.
const PIDS: i64 = 256;
/// Files and sockets that the proxy may have open: two for each request in flight.
const OPEN_FILES: i64 = 1_048_576;
/// Size of one log file, in the Engine's words.
const LOG_SIZE: &str = "20m";
/// Log files that are kept.
const LOG_FILES: &str = "3";

/// The signed labels of something that belongs to the host or to a namespace on it.
pub(super) fn labels(
    install: &Install,
    host_id: &str,
    kind: ObjectKind,
    role: Role,
    name: &str,
    extra: &[(&str, &str)],
) -> HashMap<String, String> {
    let mut all: BTreeMap<String, String> = [
        (labels::INSTALL, install.id.as_str()),
        (labels::HOST, host_id),
        (labels::ROLE, role.as_str()),
        (labels::NAME, name),
    ]
    .iter()
    .chain(extra)
    .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
    .collect();
    signature::sign(&install.key, kind, &mut all);
    all.into_iter().collect()
}

/// Whether the Engine may set the limit of open files of a container; one without CAP_SYS_RESOURCE may not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OpenFiles {
    /// As many as the proxy can use.
    Plenty,
    /// As many as the Engine gives to every container.
    Inherited,
}

/// The create call of the proxy's container.
pub(super) fn proxy(
    install: &Install,
    host_id: &str,
    engine: &EngineFacts,
    open_files: OpenFiles,
    sha12: &str,
    http_port: u16,
) -> ContainerCreateBody {
    let mut body = ContainerCreateBody {
        image: Some(names::proxy_image(sha12)),
        entrypoint: Some(vec![PROGRAM.to_owned()]),
        cmd: Some(serve_arguments(http_port)),
        user: Some("0:0".to_owned()),
        host_config: Some(host_config(engine, open_files)),
        ..ContainerCreateBody::default()
    };
    // It answers the question whether a container of that name is the one that would be made.
    let asked = serde_json::to_vec(&body).expect("the models of the API have string keys");
    let hash = hex::encode(&Sha256::digest(asked)[..16]);
    body.labels = Some(labels(
        install,
        host_id,
        ObjectKind::Container,
        Role::Proxy,
        &names::proxy_container(sha12),
        &[(labels::SPEC_HASH, &hash)],
    ));
    body
}

fn host_config(engine: &EngineFacts, open_files: OpenFiles) -> HostConfig {
    let mut security = vec!["no-new-privileges".to_owned()];
    if engine.selinux {
        // A container in the host's network has to reach the host's sockets.
        security.push("label=disable".to_owned());
    }
    let bounded = "json-file";
    HostConfig {
        network_mode: Some("host".to_owned()),
        restart_policy: Some(RestartPolicy {
            name: Some(RestartPolicyNameEnum::ALWAYS),
            maximum_retry_count: Some(0),
        }),
        cap_drop: Some(vec!["ALL".to_owned()]),
        cap_add: Some(vec!["NET_BIND_SERVICE".to_owned()]),
        security_opt: Some(security),
        readonly_rootfs: Some(true),
        // Under userns-remap the host's network is closed to a container with other user ids.
        userns_mode: engine.userns_remap.then(|| "host".to_owned()),
        mounts: Some(vec![Mount {
            typ: Some(MountType::VOLUME),
            source: Some(names::PROXY_VOLUME.to_owned()),
            target: Some(STATE_DIR.to_owned()),
            ..Mount::default()
        }]),
        memory: Some(MEMORY),
        pids_limit: Some(PIDS),
        ulimits: match open_files {
            OpenFiles::Plenty => Some(vec![ResourcesUlimits {
                name: Some("nofile".to_owned()),
                soft: Some(OPEN_FILES),
                hard: Some(OPEN_FILES),
            }]),
            OpenFiles::Inherited => None,
        },
        log_config: (engine.log_driver == bounded).then(|| HostConfigLogConfig {
            typ: Some(bounded.to_owned()),
            config: Some(HashMap::from([
                ("max-size".to_owned(), LOG_SIZE.to_owned()),
                ("max-file".to_owned(), LOG_FILES.to_owned()),
            ])),
        }),
        ..HostConfig::default()
    }
}

#[cfg(test)]
mod tests;
