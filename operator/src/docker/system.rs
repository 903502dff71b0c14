//! Calls about the Engine itself.

use bollard::models::SystemInfo;

use super::client::Ask;
use super::{Engine, Outcome, calls};

/// Whether the daemon answers, within 2 s.
pub async fn ping(engine: &Engine) -> Result<(), Outcome> {
    engine
        .client
        .send(Ask::new(&calls::PING_ENGINE, ""))
        .await
        .map(drop)
}

/// What the Engine says of itself right now; `live_restore_enabled` can change while it runs.
pub async fn info(engine: &Engine) -> Result<SystemInfo, Outcome> {
    engine.client.info().await
}
