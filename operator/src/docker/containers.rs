//! Calls about containers. `id` is a container's id or name; what stops or removes should be given the id.

use std::time::Duration;

use bollard::models::{
    ContainerCreateBody, ContainerCreateResponse, ContainerInspectResponse, ContainerSummary,
    ContainerUpdateBody, RestartPolicy, RestartPolicyNameEnum,
};

use super::client::Ask;
use super::{Engine, Outcome, calls};

/// All containers, running or not, that carry every one of `labels` (`key` or `key=value`). No labels: all there are.
pub async fn list(engine: &Engine, labels: &[String]) -> Result<Vec<ContainerSummary>, Outcome> {
    engine
        .client
        .read(
            Ask::new(&calls::CONTAINER_LIST, "")
                .query("all", "1")
                .labels(labels),
        )
        .await
}

/// One container whole.
pub async fn inspect(engine: &Engine, id: &str) -> Result<ContainerInspectResponse, Outcome> {
    engine
        .client
        .read(Ask::new(&calls::CONTAINER_INSPECT, id))
        .await
}

/// Makes a container under `name` and gives its id. [`Outcome::Conflict`] names who holds the name.
pub async fn create(
    engine: &Engine,
    name: &str,
    body: &ContainerCreateBody,
) -> Result<String, Outcome> {
    let ask = Ask::new(&calls::CONTAINER_CREATE, name)
        .query("name", name)
        .json(body);
    let made: ContainerCreateResponse = engine.client.read(ask).await?;
    Ok(made.id)
}

/// Starts a container; one that runs already is success (F5).
pub async fn start(engine: &Engine, id: &str) -> Result<(), Outcome> {
    engine
        .client
        .send(Ask::new(&calls::CONTAINER_START, id))
        .await
        .map(drop)
}

/// Whether a start was refused because the runtime still holds an earlier run of the very container, which no later
/// start gets past: containerd's task, runc's state or the endpoint of its network.
pub fn is_left_behind(outcome: &Outcome) -> bool {
    let message = outcome.message();
    message.contains("already exists") || message.contains("container with id exists")
}

/// Asks the process to end and kills it after `grace`; a stopped or missing container is success (F5).
pub async fn stop(engine: &Engine, id: &str, grace: Duration) -> Result<(), Outcome> {
    let ask = Ask::new(&calls::CONTAINER_STOP, id)
        .query("t", grace.as_secs().to_string())
        .allow(grace);
    gone_is_success(engine.client.send(ask).await.map(drop))
}

/// Sends `signal`, for example `SIGKILL`. To Docker this is a stop by hand (F39).
pub async fn kill(engine: &Engine, id: &str, signal: &str) -> Result<(), Outcome> {
    engine
        .client
        .send(Ask::new(&calls::CONTAINER_KILL, id).query("signal", signal))
        .await
        .map(drop)
}

/// Lets a frozen container go on; one that is not frozen is success.
pub async fn unpause(engine: &Engine, id: &str) -> Result<(), Outcome> {
    let thawed = engine
        .client
        .send(Ask::new(&calls::CONTAINER_UNPAUSE, id))
        .await;
    match thawed {
        // Engine 20.10 answers 500 where a conflict is meant; its words are definite.
        Err(Outcome::Unknown { message, .. }) if message.ends_with("is not paused") => Ok(()),
        Err(Outcome::Conflict { .. }) => Ok(()),
        other => other.map(drop),
    }
}

/// Gives a container another name, exclusive as in [`create`].
pub async fn rename(engine: &Engine, id: &str, name: &str) -> Result<(), Outcome> {
    engine
        .client
        .send(Ask::new(&calls::CONTAINER_RENAME, id).query("name", name))
        .await
        .map(drop)
}

/// Sets what Docker does when the process ends by itself.
pub async fn update(
    engine: &Engine,
    id: &str,
    policy: RestartPolicyNameEnum,
) -> Result<(), Outcome> {
    let restart_policy = Some(RestartPolicy {
        name: Some(policy),
        maximum_retry_count: Some(0),
    });
    let body = ContainerUpdateBody {
        restart_policy,
        ..ContainerUpdateBody::default()
    };
    engine
        .client
        .send(Ask::new(&calls::CONTAINER_UPDATE, id).json(&body))
        .await
        .map(drop)
}

/// Removes a container, killing it if it runs, and never its volumes; a missing one is success (F5).
pub async fn remove(engine: &Engine, id: &str) -> Result<(), Outcome> {
    let ask = Ask::new(&calls::CONTAINER_REMOVE, id)
        .query("force", "1")
        .query("v", "0");
    gone_is_success(engine.client.send(ask).await.map(drop))
}

/// For calls whose aim is that something is no more.
pub(super) fn gone_is_success(result: Result<(), Outcome>) -> Result<(), Outcome> {
    match result {
        Err(Outcome::NotFound { .. }) => Ok(()),
        other => other,
    }
}
