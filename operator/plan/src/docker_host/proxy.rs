//! The proxy container: made, claimed, started, kept, and left alone while it serves.
//!
//! | State of the container | What follows |
//! |---|---|
//! | none | volume, image, container |
//! | Created, Exited with our binary | claim and key into the volume, start |
//! | Created, Exited with another binary or one that the Engine cannot start any more, Dead | removed, made anew: nobody is served by it |
//! | Running, Restarting, Paused | left alone, whatever its binary; thawed, policy `always`, claimed again if need be |
//! | Running with another port than declared | stopped, removed, made anew |
//! | Removing | waited for |

use crds::{Reason, names};
use routes::Listener;

use super::verdict::Trouble;
use super::{
    Case, Inventory, PROXY_GRACE_SECONDS, ProxyContainer, ProxyReport, StateVolume, host_id,
    proxy_status,
};
use crate::Step;
use crate::fact::{ContainerState, Fact, FailureClass, RestartPolicy};

pub(super) fn decide(case: &mut Case<'_>, inventory: &Inventory) -> Vec<Trouble> {
    let current = current(case, inventory);
    for container in &inventory.proxies {
        if Some(container) != current && container.state != ContainerState::Removing {
            remove(case, container);
        }
    }
    let Some(container) = current else {
        case.plan.record.proxy = None;
        return create(case, inventory);
    };
    if container.name != container.made_as {
        case.step(Step::RenameContainer {
            id: container.id.clone(),
            from: container.name.clone(),
            to: container.made_as.clone(),
        });
    }
    if is_obsolete(case, container) {
        match &case.observed.binary {
            Ok(_) => {
                remove(case, container);
                case.plan.record.proxy = None;
                return vec![Trouble::new(
                    Reason::ProxyUnreachable,
                    "the proxy is being made anew".to_owned(),
                )];
            }
            Err(why) if container.is_up() => {
                return vec![Trouble::new(Reason::ProxyMissing, why.clone())];
            }
            Err(_) => {}
        }
    }
    keep(case, inventory, container);
    troubles(case, container)
}

/// The container that is the proxy: one that is up before one that is not, ours of today before others.
fn current<'a>(case: &Case<'_>, inventory: &'a Inventory) -> Option<&'a ProxyContainer> {
    let wanted = case.observed.binary.as_deref().unwrap_or_default();
    inventory.proxies.iter().min_by_key(|container| {
        (
            !container.is_up(),
            container.sha12() != wanted,
            &container.id,
        )
    })
}

/// Whether a container must be made anew although a binary for it exists.
fn is_obsolete(case: &Case<'_>, container: &ProxyContainer) -> bool {
    let moved = container.http_port != Some(case.object.spec.proxy.http_port);
    let outdated = case
        .observed
        .binary
        .as_ref()
        .is_ok_and(|sha12| sha12 != container.sha12());
    match container.state {
        ContainerState::Running | ContainerState::Paused | ContainerState::Restarting => moved,
        ContainerState::Created | ContainerState::Exited => {
            moved || outdated || is_unusable(case, container)
        }
        ContainerState::Dead => true,
        ContainerState::Removing => false,
    }
}

/// Whether the Engine said that it will never start this container again.
fn is_unusable(case: &Case<'_>, container: &ProxyContainer) -> bool {
    let start = start(container).to_string();
    let failures = &case.observed.failures;
    failures
        .iter()
        .any(|failure| failure.class == FailureClass::Unusable && failure.step == start)
}

fn start(container: &ProxyContainer) -> Step {
    Step::StartProxy {
        id: container.id.clone(),
        name: container.made_as.clone(),
    }
}

/// Brings a container to serve, or leaves it serving.
fn keep(case: &mut Case<'_>, inventory: &Inventory, container: &ProxyContainer) {
    let (id, name) = (container.id.clone(), container.made_as.clone());
    match container.state {
        ContainerState::Created | ContainerState::Exited => {
            if container.claimed == Some(false) && inventory.volume != StateVolume::Absent {
                let host_id = host_id(case.object, case.observed);
                case.step(Step::WriteClaim {
                    container: id.clone(),
                    host_id,
                });
            }
            case.step(start(container));
        }
        ContainerState::Paused => case.step(Step::UnpauseContainer { id, name }),
        ContainerState::Running => {
            if container.restart_policy != RestartPolicy::Always {
                case.step(Step::SetRestartPolicy {
                    id,
                    name,
                    policy: RestartPolicy::Always,
                });
            }
            if let Some(report) = case.observed.proxy.known()
                && (report.install.is_none() || report.epoch != case.observed.epoch)
            {
                case.step(Step::ClaimProxy);
            }
        }
        ContainerState::Restarting | ContainerState::Removing | ContainerState::Dead => {}
    }
}

/// What keeps the proxy from serving.
fn troubles(case: &mut Case<'_>, container: &ProxyContainer) -> Vec<Trouble> {
    let report = match &case.observed.proxy {
        Fact::Known(report) => report,
        Fact::Unknown(why) => {
            let mut message = match container.state {
                ContainerState::Running => why.clone(),
                ContainerState::Restarting => "the proxy exits again and again".to_owned(),
                ContainerState::Created
                | ContainerState::Exited
                | ContainerState::Paused
                | ContainerState::Removing
                | ContainerState::Dead => "the proxy is being started".to_owned(),
            };
            if !container.log_tail.is_empty() {
                message = format!(
                    "{message}; it last wrote: {}",
                    container.log_tail.join(" | ")
                );
            }
            return vec![Trouble::unknown(Reason::ProxyUnreachable, message)];
        }
    };
    case.plan.record.proxy = Some(proxy_status(report));
    listener(report).into_iter().collect()
}

fn listener(report: &ProxyReport) -> Option<Trouble> {
    match &report.listener {
        Listener::Bound { .. } => None,
        Listener::PortTaken { port, holder } => {
            let holder = holder.as_deref().unwrap_or("another process");
            Some(Trouble::new(
                Reason::PortTaken,
                format!(
                    "port {port} is held by {holder}: stop it, or set spec.proxy.httpPort to a free port. Pipelines deploy meanwhile; only their routes wait"
                ),
            ))
        }
        Listener::Refused { port, message } => Some(Trouble::new(
            Reason::PortTaken,
            format!(
                "the proxy cannot listen on port {port}: {message}. Set spec.proxy.httpPort to another port; pipelines deploy meanwhile"
            ),
        )),
        Listener::Closed | Listener::Unknown => Some(Trouble::new(
            Reason::ProxyUnreachable,
            "the proxy has not begun to listen".to_owned(),
        )),
    }
}

/// Makes the proxy from nothing.
fn create(case: &mut Case<'_>, inventory: &Inventory) -> Vec<Trouble> {
    let sha12 = match &case.observed.binary {
        Ok(sha12) => sha12.clone(),
        Err(why) => return vec![Trouble::new(Reason::ProxyMissing, why.clone())],
    };
    let name = names::proxy_container(&sha12);
    if inventory.foreign.contains(&name) {
        return vec![Trouble::new(
            Reason::ForeignObject,
            format!("the container {name} is not Mooring's; rename or remove it"),
        )];
    }
    if inventory.volume == StateVolume::Absent {
        case.step(Step::CreateProxyVolume);
    }
    if !inventory.images.contains(&sha12) {
        case.step(Step::LoadProxyImage {
            sha12: sha12.clone(),
        });
    }
    case.step(Step::CreateProxy {
        sha12,
        http_port: case.object.spec.proxy.http_port,
    });
    vec![Trouble::new(
        Reason::ProxyUnreachable,
        "the proxy is being made".to_owned(),
    )]
}

/// Stops a container of the proxy's if it is up, and removes it.
pub(super) fn remove(case: &mut Case<'_>, container: &ProxyContainer) {
    let (id, name) = (container.id.clone(), container.name.clone());
    if container.is_up() {
        case.step(Step::StopContainer {
            id: id.clone(),
            name: name.clone(),
            grace_seconds: PROXY_GRACE_SECONDS,
        });
    }
    case.step(Step::RemoveContainer { id, name });
}
