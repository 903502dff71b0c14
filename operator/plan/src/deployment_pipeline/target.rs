//! Whether the spec asks for something that has no Release yet, and what makes one.
//!
//! Owns the comparison of contents: image reference, template, configuration and restarts, and what
//! keeps a change from coming out. Must not compare revisions, which only name. Invariant: the
//! content of the newest Release never makes another one, however that Release ended.

use std::collections::BTreeSet;

use crds::release::{Cause, CauseReason, ConfigRef};
use crds::{Reason, ReleaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::{API, ApiStep};

use super::pass::{Pass, name_of};
use super::{Unresolved, asked, verbs};

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

/// What is to come out next. `rollbackTo` goes before `paused`, and both before the spec.
pub(crate) fn change(pass: &Pass<'_>) -> Change {
    let change = match &pass.pipeline.spec.rollback_to {
        Some(to) => return admitted(pass, return_to(pass, &to.release)),
        None => declared(pass),
    };
    if change != Change::None && pass.pipeline.spec.paused {
        let who = asked::who(&pass.pipeline.metadata, "paused");
        return pending(
            Reason::Paused,
            format!(
                "paused by {who}, with a change waiting; set spec.paused to false to bring it out"
            ),
        );
    }
    admitted(pass, change)
}

/// The change, unless it would bring out what may never come out again.
fn admitted(pass: &Pass<'_>, change: Change) -> Change {
    match change {
        Change::New(spec) if verbs::is_rejected(pass, &spec.revision) => pending(
            Reason::RevisionRejected,
            format!(
                "{} is revision {}, which spec.rejectedRevisions names; change the spec, or take the revision out of the list",
                spec.image.reference, spec.revision
            ),
        ),
        Change::New(_) | Change::None | Change::Pending(_) => change,
    }
}

fn pending(reason: Reason, message: String) -> Change {
    Change::Pending(Unresolved {
        reason,
        message,
        unknown: false,
    })
}

/// A new release with the content of an earlier one, unless the newest has it already.
fn return_to(pass: &Pass<'_>, release: &str) -> Change {
    let named = |number: &&u64| pass.release_name(**number) == release;
    let Some(wanted) = pass
        .releases
        .keys()
        .find(named)
        .and_then(|number| pass.releases.get(number))
    else {
        return pending(
            Reason::ReleaseNotFound,
            format!(
                "spec.rollbackTo names the release {release}, which this pipeline does not have; kubectl get releases shows those it has"
            ),
        );
    };
    let newest = pass
        .current
        .and_then(|number| pass.releases.get(&number).map(|newest| (number, newest)));
    match newest {
        Some((_, newest)) if newest.spec.revision == wanted.spec.revision => Change::None,
        Some((number, _)) => Change::New(Box::new(ReleaseSpec {
            number: next_number(pass),
            cause: Cause {
                reason: CauseReason::Rollback,
                by: asked::who(&pass.pipeline.metadata, "rollbackTo"),
                rollback_of: Some(pass.release_name(number)),
            },
            abort: Vec::new(),
            retry_at: None,
            ..wanted.spec.clone()
        })),
        None => Change::None,
    }
}

/// Compares the spec with the newest Release.
fn declared(pass: &Pass<'_>) -> Change {
    let spec = &pass.pipeline.spec;
    let target = &pass.observed.target;
    let current = pass
        .current
        .and_then(|number| pass.releases.get(&number))
        .map(|release| &release.spec);
    let reason = match current {
        None => CauseReason::Created,
        Some(current) if current.image.reference != spec.source.image => CauseReason::ImageChanged,
        Some(current) if current.template.released() != spec.template.released() => {
            CauseReason::TemplateChanged
        }
        Some(current) => match &target.config {
            Err(unresolved) => return Change::Pending(unresolved.clone()),
            Ok(config) if !same(config, &current.config) => CauseReason::ConfigChanged,
            Ok(_) if is_later(spec.restart_at.as_ref(), current.restart_at.as_ref()) => {
                CauseReason::Restart
            }
            Ok(_) => return Change::None,
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
        template: spec.template.released(),
        config,
        cause: Cause {
            reason,
            by: match reason {
                CauseReason::Restart => asked::who(&pass.pipeline.metadata, "restartAt"),
                CauseReason::Created
                | CauseReason::ImageChanged
                | CauseReason::TemplateChanged
                | CauseReason::ConfigChanged
                | CauseReason::Rollback => asked::last(&pass.pipeline.metadata),
            },
            rollback_of: None,
        },
        restart_at: spec.restart_at.as_ref().map(mark),
        abort: Vec::new(),
        retry_at: None,
    }))
}

/// A mark in time as it is kept: in whole seconds, as Kubernetes stores times.
pub(crate) fn mark(time: &Time) -> Time {
    Time(crds::condition::whole_seconds(time.0))
}

/// True for a mark that is later than the one before. One that was taken away is none.
pub(crate) fn is_later(new: Option<&Time>, before: Option<&Time>) -> bool {
    match (new, before) {
        (Some(new), Some(before)) => mark(new).0 > mark(before).0,
        (Some(_), None) => true,
        (None, Some(_) | None) => false,
    }
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
