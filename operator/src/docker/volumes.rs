//! Calls about volumes. A create is not exclusive (F3): compare the labels of what it gives back.

use bollard::models::{Volume, VolumeCreateRequest, VolumeListResponse};

use super::client::Ask;
use super::containers::gone_is_success;
use super::{Engine, Outcome, calls};

/// All volumes that carry every one of `labels` (`key` or `key=value`). No labels: all there are.
pub async fn list(engine: &Engine, labels: &[String]) -> Result<Vec<Volume>, Outcome> {
    let list: VolumeListResponse = engine
        .client
        .read(Ask::new(&calls::VOLUME_LIST, "").labels(labels))
        .await?;
    Ok(list.volumes.unwrap_or_default())
}

/// One volume.
pub async fn inspect(engine: &Engine, name: &str) -> Result<Volume, Outcome> {
    engine
        .client
        .read(Ask::new(&calls::VOLUME_INSPECT, name))
        .await
}

/// Makes a volume and gives what is there under that name, which may be an older one with other labels (F3).
pub async fn create(engine: &Engine, request: &VolumeCreateRequest) -> Result<Volume, Outcome> {
    let name = request.name.clone().unwrap_or_default();
    engine
        .client
        .read(Ask::new(&calls::VOLUME_CREATE, name).json(request))
        .await
}

/// Removes a volume; a missing one is success, one in use by any container is a [`Outcome::Conflict`].
pub async fn remove(engine: &Engine, name: &str) -> Result<(), Outcome> {
    gone_is_success(
        engine
            .client
            .send(Ask::new(&calls::VOLUME_REMOVE, name))
            .await
            .map(drop),
    )
}
