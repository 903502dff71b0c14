//! Whether the spec asks for something that has no Release yet, and what makes one.
//!
//! Owns the comparison of contents: image reference, template and configuration. Must not compare
//! revisions, which only name. Invariant: the content of the newest Release never makes another
//! one, however that Release ended.

use std::collections::BTreeSet;

use crds::ReleaseSpec;
use crds::release::{Cause, CauseReason, ConfigRef};

use crate::{API, ApiStep};

use super::Unresolved;
use super::pass::{Pass, name_of};

/// What the spec asks for, beside the newest Release.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Change {
    /// Nothing new.
    None,
    /// Something that has no Release.
    New(Box<ReleaseSpec>),
    /// Something new that cannot be resolved.
    Pending(Unresolved),
}

/// Compares the spec with the newest Release.
pub(crate) fn change(pass: &Pass<'_>) -> Change {
    let spec = &pass.pipeline.spec;
    let target = &pass.observed.target;
    let current = pass
        .current
        .and_then(|number| pass.releases.get(&number))
        .map(|release| &release.spec);
    let reason = match current {
        None => CauseReason::Created,
        Some(current) if current.image.reference != spec.source.image => CauseReason::ImageChanged,
        Some(current) if current.template != spec.template => CauseReason::TemplateChanged,
        Some(current) => match &target.config {
            Err(unresolved) => return Change::Pending(unresolved.clone()),
            Ok(config) if same(config, &current.config) => return Change::None,
            Ok(_) => CauseReason::ConfigChanged,
        },
    };
    let (image, config) = match (&target.image, &target.config) {
        (Ok(image), Ok(config)) => (image.clone(), config.clone()),
        (Err(unresolved), _) | (_, Err(unresolved)) => return Change::Pending(unresolved.clone()),
    };
    let Some(revision) = target.revision.clone() else {
        return Change::None;
    };
    Change::New(Box::new(ReleaseSpec {
        pipeline: name_of(pass.pipeline),
        number: next_number(pass),
        revision,
        image,
        template: spec.template.clone(),
        config,
        cause: Cause {
            reason,
            by: pass.observed.by.clone(),
            ..Cause::default()
        },
    }))
}

fn same(a: &[ConfigRef], b: &[ConfigRef]) -> bool {
    let set = |refs: &[ConfigRef]| -> BTreeSet<ConfigRef> { refs.iter().cloned().collect() };
    set(a) == set(b)
}

/// One more than the highest number that was ever seen.
fn next_number(pass: &Pass<'_>) -> u64 {
    last_number(pass) + 1
}

/// The highest number that was ever seen, in Releases or in the summary.
pub(crate) fn last_number(pass: &Pass<'_>) -> u64 {
    let recorded = pass
        .pipeline
        .status
        .as_ref()
        .map_or(0, |status| status.last_release_number);
    pass.current.unwrap_or(0).max(recorded)
}

/// The steps that make a Release and keep its configuration.
pub(crate) fn create(pass: &Pass<'_>, spec: ReleaseSpec) -> Vec<ApiStep> {
    let name = crds::names::release(&name_of(pass.pipeline), spec.number);
    let mut steps = vec![ApiStep::CreateRelease {
        name: name.clone(),
        spec: Box::new(spec.clone()),
    }];
    steps.extend(keep(pass, &name, &spec.config));
    steps
}

/// The steps that a Release still needs before its configuration is kept.
pub(crate) fn snapshots_missing(pass: &Pass<'_>, number: u64) -> Vec<ApiStep> {
    pass.releases
        .get(&number)
        .map(|release| keep(pass, &pass.release_name(number), &release.spec.config))
        .unwrap_or_default()
}

fn keep(pass: &Pass<'_>, release: &str, config: &[ConfigRef]) -> Vec<ApiStep> {
    let mut done = BTreeSet::new();
    config
        .iter()
        .filter(|config| !config.secret.is_empty() && done.insert(config.secret.clone()))
        .filter_map(|config| match pass.observed.snapshots.get(&config.secret) {
            None => Some(ApiStep::CreateSnapshot {
                release: release.to_owned(),
                config: config.clone(),
            }),
            Some(owners) if owners.contains(release) => None,
            Some(_) => Some(ApiStep::OwnSnapshot {
                release: release.to_owned(),
                secret: config.secret.clone(),
            }),
        })
        .collect()
}

/// The failure of one of these steps that is not over, if there is one: what runs is looked after
/// meanwhile.
pub(crate) fn held(pass: &Pass<'_>, steps: &[ApiStep]) -> Option<(String, jiff::Timestamp)> {
    steps.iter().find_map(|step| {
        let text = step.to_string();
        pass.observed
            .failures
            .iter()
            .find(|f| f.place == API && f.step == text && f.retry_at > pass.now)
            .map(|f| (format!("cannot {text}: {}", f.message), f.retry_at))
    })
}
