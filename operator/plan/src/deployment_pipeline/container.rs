//! What an instance is created and started with, from its Release.
//!
//! Owns the translation of the template's volumes into files. Must not know states. Invariant:
//! everything comes from the Release and its snapshots, nothing from the spec as it is now.

use std::collections::BTreeMap;

use crds::DEFAULT_STAGE;
use crds::release::{ConfigKind, ConfigRef};
use crds::template::{KeyToPath, Template, Volume};

use crate::Step;
use crate::step::{ConfigFiles, InstanceSpec};

use super::instance::Instance;
use super::pass::{Pass, name_of};
use super::{image, progress};

/// Mode of a ConfigMap's files unless the template says otherwise.
const CONFIG_MAP_MODE: u32 = 0o444;
/// Mode of a Secret's files unless the template says otherwise.
const SECRET_MODE: u32 = 0o400;

/// The step that creates an instance; nothing while its Release or network is missing.
pub(crate) fn create(pass: &Pass<'_>, instance: &Instance) -> Option<Step> {
    let number = pass.owner(instance.revision())?;
    let release = pass.releases.get(&number)?;
    let network = progress::network(pass, &instance.host)?;
    let pipeline = name_of(pass.pipeline);
    Some(Step::CreateContainer(Box::new(InstanceSpec {
        name: instance.name.clone(),
        image: image::tag(pass, instance.revision())?,
        network: network.id.clone(),
        address: instance.address?,
        aliases: vec![pipeline.clone(), format!("{pipeline}.{DEFAULT_STAGE}")],
        template: release.spec.template.clone(),
        config: release.spec.config.clone(),
        release: pass.release_name(number),
    })))
}

/// The step that starts an instance; nothing when its Release is gone.
pub(crate) fn start(pass: &Pass<'_>, instance: &Instance) -> Option<Step> {
    let number = pass.owner(instance.revision())?;
    let release = pass.releases.get(&number)?;
    let template = &release.spec.template;
    let security = template.main().security_context;
    Some(Step::StartContainer {
        id: instance.container()?.id.clone(),
        name: instance.name.clone(),
        files: files(template, &release.spec.config),
        owner: security.run_as_user,
        read_only_root: security.read_only_root_filesystem,
    })
}

/// The files of every mount that comes from configuration, in the order of the mounts.
fn files(template: &Template, config: &[ConfigRef]) -> Vec<ConfigFiles> {
    template
        .main()
        .volume_mounts
        .iter()
        .filter_map(|mount| {
            let volume = template.volumes.iter().find(|v| v.name == mount.name)?;
            files_of(volume, config).map(|files| ConfigFiles {
                mount_path: mount.mount_path.clone(),
                ..files
            })
        })
        .collect()
}

fn files_of(volume: &Volume, config: &[ConfigRef]) -> Option<ConfigFiles> {
    let (kind, name, items, mode) = if let Some(map) = &volume.config_map {
        let mode = map.default_mode.unwrap_or(CONFIG_MAP_MODE);
        (ConfigKind::ConfigMap, &map.name, &map.items, mode)
    } else {
        let secret = volume.secret.as_ref()?;
        let mode = secret.default_mode.unwrap_or(SECRET_MODE);
        (ConfigKind::Secret, &secret.secret_name, &secret.items, mode)
    };
    let snapshot = config
        .iter()
        .find(|entry| entry.kind == kind && entry.name == *name)
        .map(|entry| entry.secret.clone())
        .unwrap_or_default();
    Some(ConfigFiles {
        volume: volume.name.clone(),
        mount_path: String::new(),
        kind,
        secret: snapshot,
        items: paths(items, mode),
        mode,
    })
}

fn paths(items: &[KeyToPath], mode: u32) -> BTreeMap<String, (String, u32)> {
    items
        .iter()
        .map(|item| {
            (
                item.key.clone(),
                (item.path.clone(), item.mode.unwrap_or(mode)),
            )
        })
        .collect()
}
