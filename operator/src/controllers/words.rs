//! The Engine's words about containers, in those of `plan`. Pure.

use bollard::models::{ContainerInspectResponse, ContainerSummary, RestartPolicyNameEnum};
use plan::fact::{ContainerState, RestartPolicy};

/// The container that publishes a port.
pub(super) fn publisher(all: &[ContainerSummary], port: u16) -> Option<String> {
    let publishes = |summary: &&ContainerSummary| {
        let ports = summary.ports.iter().flatten();
        ports
            .into_iter()
            .any(|published| published.public_port == Some(port))
    };
    let name = container_names(all.iter().find(publishes)?).next()?;
    Some(format!("the container {name}"))
}

/// The names of a container, without the slash that the Engine puts before them.
pub(super) fn container_names(summary: &ContainerSummary) -> impl Iterator<Item = String> {
    let names = summary.names.iter().flatten();
    names.map(|name| name.trim_start_matches('/').to_owned())
}

/// What a container is doing; `None` for a word that is not known.
pub(super) fn state(found: &ContainerInspectResponse) -> Option<ContainerState> {
    use bollard::models::ContainerStateStatusEnum as Word;
    match found.state.as_ref()?.status? {
        Word::CREATED => Some(ContainerState::Created),
        Word::RUNNING => Some(ContainerState::Running),
        Word::PAUSED => Some(ContainerState::Paused),
        Word::RESTARTING => Some(ContainerState::Restarting),
        Word::EXITED => Some(ContainerState::Exited),
        Word::REMOVING => Some(ContainerState::Removing),
        Word::DEAD => Some(ContainerState::Dead),
        _ => None,
    }
}

/// The policy by which Docker restarts a container.
pub(super) fn restart_policy(found: &ContainerInspectResponse) -> RestartPolicy {
    let policy = found
        .host_config
        .as_ref()
        .and_then(|config| config.restart_policy.as_ref());
    match policy.and_then(|policy| policy.name) {
        Some(RestartPolicyNameEnum::ALWAYS) => RestartPolicy::Always,
        None | Some(RestartPolicyNameEnum::EMPTY | RestartPolicyNameEnum::NO) => RestartPolicy::No,
        Some(_) => RestartPolicy::Other,
    }
}
