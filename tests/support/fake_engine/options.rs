//! What a fake Engine says of itself.

use jiff::Timestamp;
use operator::docker::{ApiVersion, OLDEST_API};

/// What the fake Engine says it is.
#[derive(Debug, Clone)]
pub struct EngineOptions {
    /// Its version.
    pub engine_version: String,
    /// The newest API it speaks.
    pub api_version: ApiVersion,
    /// As in `/version`.
    pub architecture: String,
    /// As in `/info`, for example `Docker Desktop`.
    pub operating_system: String,
    /// As in `/info`, for example `name=rootless`.
    pub security_options: Vec<String>,
    /// Whether containers survive a restart of the daemon.
    pub live_restore: bool,
    /// Its time at the beginning.
    pub epoch: Timestamp,
    /// Its ids follow from this: two Engines have two seeds (F23).
    pub seed: u64,
}

impl Default for EngineOptions {
    fn default() -> EngineOptions {
        EngineOptions {
            engine_version: "20.10.24".to_owned(),
            api_version: OLDEST_API,
            architecture: "amd64".to_owned(),
            operating_system: "Debian GNU/Linux 12 (bookworm)".to_owned(),
            security_options: vec!["name=seccomp,profile=default".to_owned()],
            live_restore: false,
            epoch: Timestamp::from_second(1_767_225_600).expect("the start of the year 2026"),
            seed: 1,
        }
    }
}
