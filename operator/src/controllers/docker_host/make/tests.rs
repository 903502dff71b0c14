//! The rights of the proxy's container: no more than the design gives it.

use crate::docker::{ApiVersion, EngineForm};
use crate::install::Key;

use super::*;

fn engine() -> EngineFacts {
    EngineFacts {
        engine_version: "20.10.24".to_owned(),
        api_version: ApiVersion {
            major: 1,
            minor: 41,
        },
        os: "linux".to_owned(),
        architecture: "amd64".to_owned(),
        form: EngineForm::Native,
        live_restore: false,
        userns_remap: false,
        selinux: false,
        log_driver: "json-file".to_owned(),
    }
}

fn install() -> Install {
    Install {
        id: "1".repeat(32),
        key: Key::from_bytes([7; 32]),
    }
}

fn made(engine: &EngineFacts, open_files: OpenFiles) -> (ContainerCreateBody, HostConfig) {
    let body = proxy(
        &install(),
        &"2".repeat(32),
        engine,
        open_files,
        "0123456789ab",
        8080,
    );
    let host = body.host_config.clone().expect("a host configuration");
    (body, host)
}

#[test]
fn the_proxy_has_the_least_rights_that_serve() {
    let (body, host) = made(&engine(), OpenFiles::Plenty);
    assert_eq!(body.user.as_deref(), Some("0:0"));
    assert_eq!(host.network_mode.as_deref(), Some("host"));
    assert_eq!(host.cap_drop, Some(vec!["ALL".to_owned()]));
    assert_eq!(host.cap_add, Some(vec!["NET_BIND_SERVICE".to_owned()]));
    assert_eq!(
        host.security_opt,
        Some(vec!["no-new-privileges".to_owned()])
    );
    assert_eq!(host.readonly_rootfs, Some(true));
    assert_eq!((host.privileged, host.binds), (None, None));
    let mounts: Vec<Option<String>> = host
        .mounts
        .into_iter()
        .flatten()
        .map(|mount| mount.source)
        .collect();
    assert_eq!(mounts, [Some("mooring-proxy".to_owned())]);
    assert!(host.memory.is_some() && host.pids_limit.is_some() && host.log_config.is_some());
    let files = host.ulimits.expect("a limit of files");
    assert_eq!(files[0].hard, Some(1_048_576));
    let labels = body.labels.expect("labels");
    let signed = signature::verify(&install().key, ObjectKind::Container, &labels).expect("ours");
    assert_eq!(
        (signed.role, signed.name.as_str()),
        (Role::Proxy, "mooring-proxy-0123456789ab")
    );
}

#[test]
fn the_engine_decides_the_rest() {
    let special = EngineFacts {
        userns_remap: true,
        selinux: true,
        log_driver: "journald".to_owned(),
        ..engine()
    };
    let (_, host) = made(&special, OpenFiles::Inherited);
    assert_eq!(host.userns_mode.as_deref(), Some("host"));
    assert!(
        host.security_opt
            .is_some_and(|options| options.contains(&"label=disable".to_owned()))
    );
    assert_eq!((host.log_config, host.ulimits), (None, None));
}
