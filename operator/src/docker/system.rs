//! Calls about the Engine itself.

use bollard::models::SystemInfo;

use super::client::Ask;
use super::{Engine, Outcome, calls};

/// Whether the daemon takes new connections, within 2 s. One that is told to end takes none from then on, while it goes
/// on answering those that it has.
pub async fn knock(engine: &Engine) -> Result<(), Outcome> {
    let ask = Ask::new(&calls::PING_ENGINE, "");
    let answer = engine.client.anew().send(ask).await;
    answer.map(drop).map_err(|outcome| Outcome::Unreachable {
        call: "connect anew".to_owned(),
        message: outcome.message().to_owned(),
    })
}

/// What the Engine says of itself right now; `live_restore_enabled` can change while it runs.
pub async fn info(engine: &Engine) -> Result<SystemInfo, Outcome> {
    engine.client.info().await
}
