//! What a fake Engine says of itself.

use jiff::Timestamp;
use operator::docker::{ApiVersion, OLDEST_API};

/// Which Engine it behaves as, where they differ in more than numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Generation {
    /// 20.10: the oldest that is supported, with Docker's own image store.
    Engine20,
    /// 29: what users have today, with containerd's image store.
    Engine29,
}

impl Generation {
    /// The generation of an Engine with which this version was agreed on.
    pub fn of(api_version: ApiVersion) -> Generation {
        if api_version < FIRST_OF_29 {
            Generation::Engine20
        } else {
            Generation::Engine29
        }
    }

    /// Its storage driver.
    pub(super) fn driver(self) -> &'static str {
        self.either("overlay2", "overlayfs")
    }

    /// The one of the two that this generation says or does.
    pub(super) fn either<T>(self, engine_20: T, engine_29: T) -> T {
        match self {
            Generation::Engine20 => engine_20,
            Generation::Engine29 => engine_29,
        }
    }
}

/// The API version of Engine 29.0.
const FIRST_OF_29: ApiVersion = ApiVersion {
    major: 1,
    minor: 52,
};

/// What the fake Engine says it is.
#[derive(Debug, Clone)]
pub struct EngineOptions {
    /// How it behaves.
    pub generation: Generation,
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
        EngineOptions::of(Generation::Engine20)
    }
}

impl EngineOptions {
    /// The usual Engine of this generation.
    pub fn of(generation: Generation) -> EngineOptions {
        let (engine_version, minor) = match generation {
            Generation::Engine20 => ("20.10.24", OLDEST_API.minor),
            Generation::Engine29 => ("29.0.0", 56),
        };
        EngineOptions {
            generation,
            engine_version: engine_version.to_owned(),
            api_version: ApiVersion { major: 1, minor },
            architecture: "amd64".to_owned(),
            operating_system: "Debian GNU/Linux 12 (bookworm)".to_owned(),
            security_options: vec!["name=seccomp,profile=default".to_owned()],
            live_restore: false,
            epoch: Timestamp::from_second(1_767_225_600).expect("the start of the year 2026"),
            seed: 1,
        }
    }
}
