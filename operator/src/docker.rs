//! The Docker Engine as the operator sees it: one negotiated connection per Engine and thin typed calls.
//!
//! [`Engine::connect`] finds out which Engine answers and pins the API version; the modules below have one function per
//! verb of the Docker API, named as the API names it. The wire types are bollard's models. What this module must not
//! know: our labels, names and plans. It has no `prune`, and every call it can make is listed in [`calls`].
//!
//! Invariants: a call either has a definite end or is [`Outcome::Unknown`], never a guess; every call that changes
//! something passes the [`Gate`]; no body of a request or answer is ever logged (bollard's own client logs both at
//! level debug, with the environment of containers in them, which is why only its models are used).

use std::fmt;
use std::sync::Arc;

use bollard::models::{SystemInfo, SystemVersion};

use crate::gate::Gate;

pub mod archive;
pub mod calls;
mod client;
mod connector;
pub mod containers;
pub mod endpoint;
pub mod events;
pub mod exec;
mod frames;
pub mod images;
pub mod logs;
pub mod networks;
pub mod outcome;
pub mod pull;
pub mod system;
pub mod volumes;

pub use endpoint::{ByteStream, Dialer, Endpoint, EndpointError};
pub use outcome::{Cause, Outcome};

use client::Client;

/// The newest Engine API this operator knows; a newer Engine is spoken to in this version.
pub const NEWEST_API: ApiVersion = ApiVersion {
    major: 1,
    minor: 53,
};

/// The oldest Engine API with everything the operator needs (Engine 20.10).
pub const OLDEST_API: ApiVersion = ApiVersion {
    major: 1,
    minor: 41,
};

/// A version of the Engine API, such as 1.41.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ApiVersion {
    /// The number before the dot.
    pub major: u32,
    /// The number after the dot.
    pub minor: u32,
}

impl ApiVersion {
    /// Reads `1.41`; anything else is `None`.
    pub fn parse(text: &str) -> Option<ApiVersion> {
        let (major, minor) = text.split_once('.')?;
        Some(ApiVersion {
            major: major.parse().ok()?,
            minor: minor.parse().ok()?,
        })
    }
}

impl fmt::Display for ApiVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// How the Engine is run, as far as it decides what the operator can do on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EngineForm {
    /// An Engine as root on a Linux host: the one that is supported.
    Native,
    /// An Engine without root: addresses of containers cannot be reached from the host's network.
    Rootless,
    /// Docker Desktop: the Engine lives in a virtual machine of its own.
    Desktop,
}

/// What an Engine said of itself when it was connected to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineFacts {
    /// The Engine's own version, for people, for example `20.10.24`.
    pub engine_version: String,
    /// The API version every call is made in.
    pub api_version: ApiVersion,
    /// The operating system of containers, `linux` on every supported Engine.
    pub os: String,
    /// The architecture as Go names it, for example `amd64` or `arm64`.
    pub architecture: String,
    /// How the Engine is run.
    pub form: EngineForm,
    /// Whether containers survive a restart of the daemon.
    pub live_restore: bool,
    /// Whether the daemon maps user ids (`userns-remap`).
    pub userns_remap: bool,
    /// Whether SELinux labels containers.
    pub selinux: bool,
    /// The log driver of a container that names none.
    pub log_driver: String,
}

impl EngineFacts {
    /// Reads the facts out of `/version` and `/info`.
    pub fn read(
        api_version: ApiVersion,
        version: &SystemVersion,
        info: &SystemInfo,
    ) -> EngineFacts {
        let security = info.security_options.as_deref().unwrap_or_default();
        let has = |name: &str| {
            security
                .iter()
                .any(|option| option.split(',').any(|part| part == name))
        };
        let form = if info.operating_system.as_deref() == Some("Docker Desktop") {
            EngineForm::Desktop
        } else if has("name=rootless") {
            EngineForm::Rootless
        } else {
            EngineForm::Native
        };
        EngineFacts {
            engine_version: version.version.clone().unwrap_or_default(),
            api_version,
            os: version.os.clone().unwrap_or_default(),
            architecture: version.arch.clone().unwrap_or_default(),
            form,
            live_restore: info.live_restore_enabled.unwrap_or_default(),
            userns_remap: has("name=userns"),
            selinux: has("name=selinux"),
            log_driver: info.logging_driver.clone().unwrap_or_default(),
        }
    }
}

/// One Docker Engine, connected to. Cloning is cheap and shares the connections.
#[derive(Clone)]
pub struct Engine {
    client: Client,
    facts: Arc<EngineFacts>,
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine")
            .field("facts", &self.facts)
            .finish_non_exhaustive()
    }
}

impl Engine {
    /// Connects to the Engine at `endpoint` and agrees on an API version.
    ///
    /// Errors: [`Outcome::Unreachable`] when nobody listens there, [`Outcome::Incompatible`] when the Engine is too
    /// old or too new, otherwise as any call. A rootless Engine or Docker Desktop is connected to and told in the facts.
    pub async fn connect(endpoint: &Endpoint, gate: Arc<dyn Gate>) -> Result<Engine, Outcome> {
        Engine::connect_with(endpoint.dialer(), gate).await
    }

    /// As [`Engine::connect`], over any way to reach an Engine.
    pub async fn connect_with(
        dialer: Arc<dyn Dialer>,
        gate: Arc<dyn Gate>,
    ) -> Result<Engine, Outcome> {
        let client = Client::new(dialer, gate);
        let version = client.version().await?;
        let api_version = negotiate(&version)?;
        let client = client.pinned(api_version);
        let info = client.info().await?;
        let facts = Arc::new(EngineFacts::read(api_version, &version, &info));
        Ok(Engine { client, facts })
    }

    /// What the Engine said of itself at connect.
    pub fn facts(&self) -> &EngineFacts {
        &self.facts
    }
}

/// The version both sides speak: the Engine's newest, capped at ours.
fn negotiate(version: &SystemVersion) -> Result<ApiVersion, Outcome> {
    let engine = version.version.as_deref().unwrap_or("of unknown version");
    let read = |text: &Option<String>| text.as_deref().and_then(ApiVersion::parse);
    let Some(newest) = read(&version.api_version) else {
        return Err(Outcome::Incompatible {
            message: format!(
                "the Engine {engine} does not say which API version it speaks; is this a Docker Engine?"
            ),
        });
    };
    if newest < OLDEST_API {
        return Err(Outcome::Incompatible {
            message: format!(
                "the Engine {engine} speaks API {newest}, and {OLDEST_API} is the oldest that works; upgrade it to Docker 20.10 or newer"
            ),
        });
    }
    match read(&version.min_api_version) {
        Some(oldest) if oldest > NEWEST_API => Err(Outcome::Incompatible {
            message: format!(
                "the Engine {engine} speaks no API below {oldest}, and {NEWEST_API} is the newest known here; upgrade Mooring"
            ),
        }),
        Some(_) | None => Ok(newest.min(NEWEST_API)),
    }
}

#[cfg(test)]
mod tests;
