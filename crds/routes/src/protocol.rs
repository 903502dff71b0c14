//! The frames between operator and proxy: a big-endian `u32` length, then that many bytes of JSON.
//!
//! Owns the messages and what refuses a peer. Must not know the transport. Invariants: the operator speaks first with
//! `Hello`; every request gets exactly one reply with its id, in any order; reports only wake, facts are read with
//! [`Request::Status`]. Unknown fields are ignored, unknown frames skipped, unknown requests answered with
//! [`Refusal::Unsupported`], a peer that requires an unknown capability is told [`FromProxy::Goodbye`].

use serde::{Deserialize, Serialize};

use crate::claim::Conflict;
use crate::fault::Fault;
use crate::limit::PROTOCOL_VERSION;
use crate::status::Status;
use crate::table::{Section, SectionKey};

/// What this build can do, offered in every `Hello`. A later operator requires what it cannot do without.
pub const CAPABILITIES: [&str; 4] = ["http1", "websocket", "check.http", "check.tcp"];

/// The first frame of each side.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Hello {
    /// [`PROTOCOL_VERSION`] of the sender.
    pub protocol: u32,
    /// Software version of the sender.
    pub version: String,
    /// Capabilities the other side must know, or the session ends.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub required: Vec<String>,
    /// Capabilities of the sender.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub offered: Vec<String>,
    /// The install of the sender: of the operator, or the one that claimed the proxy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub install: Option<String>,
}

impl Hello {
    /// The greeting of this build.
    pub fn new(version: &str, install: Option<String>) -> Self {
        Hello {
            protocol: PROTOCOL_VERSION,
            version: version.to_owned(),
            required: Vec::new(),
            offered: CAPABILITIES.map(str::to_owned).to_vec(),
            install,
        }
    }

    /// Capabilities that the other side requires and this build does not know.
    pub fn unknown(&self) -> Vec<String> {
        self.required
            .iter()
            .filter(|name| !CAPABILITIES.contains(&name.as_str()))
            .cloned()
            .collect()
    }
}

/// A frame from the operator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type")]
pub enum ToProxy {
    /// Opens the session.
    Hello(Hello),
    /// Asks for one thing; boxed since a push is large and a heartbeat is not.
    Request {
        /// Chosen by the operator, returned in the reply.
        id: u64,
        /// What is asked.
        request: Box<Request>,
    },
    /// Says that the operator is there.
    Heartbeat,
    /// A frame of a later version; skipped.
    #[serde(other)]
    Unknown,
}

/// What the operator can ask.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all_fields = "camelCase")]
pub enum Request {
    /// Everything the proxy knows about the sections named, or about all when none is named. Refused to nobody.
    Status {
        /// The sections wanted; empty for all.
        #[serde(default)]
        keys: Vec<SectionKey>,
    },
    /// Makes the proxy this install's, or raises its epoch: afterwards a lower one is refused.
    Claim {
        /// The install of the operator.
        install: String,
        /// The operator's fence epoch.
        epoch: u64,
    },
    /// Replaces one section. Also claims.
    Push {
        /// The install of the operator.
        install: String,
        /// The operator's fence epoch.
        epoch: u64,
        /// The version last reported; `None` when the section must not exist.
        #[serde(default)]
        expect_version: Option<u64>,
        /// The whole section; its own version is ignored.
        section: Box<Section>,
    },
    /// Removes one section. Its instances stay in [`Status::leaving`] while requests are in flight.
    Drop {
        /// The install of the operator.
        install: String,
        /// The operator's fence epoch.
        epoch: u64,
        /// The section.
        key: SectionKey,
        /// The version last reported.
        expect_version: u64,
    },
    /// The counters in Prometheus' text format.
    Metrics,
    /// A request of a later version; refused as unsupported.
    #[serde(other)]
    Unknown,
}

/// A frame from the proxy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all_fields = "camelCase")]
pub enum FromProxy {
    /// Answers the operator's.
    Hello(Hello),
    /// Answers a request.
    Reply {
        /// The id of the request.
        id: u64,
        /// The answer; boxed since a status is large and a heartbeat is not.
        reply: Box<Reply>,
    },
    /// Something changed; a reason to ask, never a fact.
    Report(Report),
    /// Says that the proxy is there.
    Heartbeat,
    /// The last frame of a session that the proxy ends.
    Goodbye {
        /// Why, for a person.
        reason: String,
    },
    /// A frame of a later version; skipped.
    #[serde(other)]
    Unknown,
}

/// The answer to a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all_fields = "camelCase")]
pub enum Reply {
    /// To [`Request::Status`].
    Status(Status),
    /// The change is in force: no request is sent by the table before it. Safe to act on.
    Acked {
        /// Version of the section, or of the table after a claim or drop. An unchanged section keeps its version.
        version: u64,
        /// Whether it is on disk as well. When not, an address that left the table must not be reused yet.
        persisted: bool,
        /// Routes of the pushed section that others hold.
        #[serde(default)]
        conflicts: Vec<Conflict>,
    },
    /// Nothing was changed.
    Refused {
        /// Why.
        reason: Refusal,
    },
    /// To [`Request::Metrics`].
    Metrics {
        /// Prometheus text.
        text: String,
    },
    /// A reply of a later version.
    #[serde(other)]
    Unknown,
}

/// Why nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all_fields = "camelCase")]
pub enum Refusal {
    /// The section has another version than expected: observe again.
    VersionMismatch {
        /// The version it has; `None` when there is no such section.
        current: Option<u64>,
    },
    /// A later operator has spoken to this proxy: stop acting.
    StaleEpoch {
        /// The highest epoch seen.
        highest: u64,
    },
    /// The proxy belongs to another install.
    OtherInstall {
        /// The one it belongs to.
        install: String,
    },
    /// The request breaks rules.
    Invalid {
        /// Every broken rule.
        faults: Vec<Fault>,
    },
    /// The answer would not fit into a frame: ask for fewer sections.
    TooLarge,
    /// The proxy does not know this request.
    Unsupported,
    /// A refusal of a later version.
    #[serde(other)]
    Unknown,
}

/// Something changed in the proxy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// The section concerned; `None` for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<SectionKey>,
    /// What changed.
    pub kind: ReportKind,
}

/// What changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ReportKind {
    /// An instance became ready or unready, or was checked for the first time.
    Readiness,
    /// An instance that gets no new requests has none left in flight.
    Drained,
    /// The listener was bound, or cannot be.
    Listener,
    /// Another session changed the table.
    Table,
    /// The table is on disk after all.
    Persisted,
    /// Of a later version, or more than one of the above.
    #[serde(other)]
    Several,
}

#[cfg(test)]
mod tests;
