//! The route table: sections by pipeline and stage, their revisions and instances.
//!
//! Owns the persisted shape. Must not know how it is stored or served. Invariant: the proxy numbers versions, they
//! only rise, and a version is never used for two contents.

use std::collections::BTreeMap;
use std::fmt;
use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use crate::check::Check;
use crate::claim::Holders;
use crate::limit::TABLE_FORMAT;
use crate::route::Route;

/// The first ten hex digits that name a revision.
pub type Revision = String;

/// Everything one proxy serves and checks. The API is the truth; this is what the proxy goes on with when alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Table {
    /// [`TABLE_FORMAT`] of the writer.
    pub format: u32,
    /// The install that claimed the proxy; `None` before the first claim.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub install: Option<String>,
    /// Highest fence epoch that was seen. Claims, pushes and drops below it are refused.
    #[serde(default)]
    pub epoch: u64,
    /// Rises by one with every accepted change; a changed section takes it as its own version.
    #[serde(default)]
    pub version: u64,
    /// The sections by pipeline and stage.
    #[serde(default)]
    pub sections: BTreeMap<SectionKey, Section>,
    /// Who holds each claimed host and path, so that a holder keeps it over a restart.
    #[serde(default)]
    pub holders: Holders,
}

impl Default for Table {
    fn default() -> Self {
        Table {
            format: TABLE_FORMAT,
            install: None,
            epoch: 0,
            version: 0,
            sections: BTreeMap::new(),
            holders: Holders::new(),
        }
    }
}

/// What the operator writes into the state volume as [`crate::limit::CLAIM_FILE`] when it claims a host. The install
/// key lies in a file of its own, which the proxy never reads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HostClaim {
    /// The install that the host belongs to.
    pub install: String,
    /// The host's identity: 128 random bits in hex.
    pub host_id: String,
}

/// Names one section: `<namespace>/<pipeline>/<stage>`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SectionKey(String);

impl SectionKey {
    /// The key of a pipeline's stage. The parts are DNS labels, so the slash is unambiguous.
    pub fn new(namespace: &str, pipeline: &str, stage: &str) -> Self {
        SectionKey(format!("{namespace}/{pipeline}/{stage}"))
    }

    /// The text `<namespace>/<pipeline>/<stage>`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Namespace, pipeline and stage; empty where a part is missing.
    pub fn parts(&self) -> (&str, &str, &str) {
        let mut parts = self.0.splitn(3, '/');
        let mut next = || parts.next().unwrap_or("");
        (next(), next(), next())
    }
}

impl fmt::Display for SectionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One pipeline's stage on this host: its route, its instances, how they are checked and drained. A worker has no route.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Section {
    /// Namespace of the pipeline.
    pub namespace: String,
    /// Name of the pipeline.
    pub pipeline: String,
    /// Name of the stage.
    pub stage: String,
    /// UID of the pipeline: decides between pipelines created in one second.
    pub owner_uid: String,
    /// `creationTimestamp` of the pipeline, exactly `YYYY-MM-DDTHH:MM:SSZ`, so that text order is time order.
    pub owner_created: String,
    /// Given by the proxy; what a push carries here is ignored.
    #[serde(default)]
    pub version: u64,
    /// Which requests come here; absent for a worker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route: Option<Route>,
    /// Weight and check of each revision that an instance names.
    #[serde(default)]
    pub revisions: BTreeMap<Revision, RevisionRoute>,
    /// The instances on this host, by name.
    #[serde(default)]
    pub instances: Vec<Instance>,
    /// How long the requests of a draining instance may take.
    #[serde(default)]
    pub drain: Drain,
    /// Seconds to the first byte of the answer, from the request's head or the last piece of its body; then 504.
    #[serde(default = "default_response_timeout")]
    pub response_timeout_seconds: u32,
}

impl Section {
    /// The key under which the table keeps this section.
    pub fn key(&self) -> SectionKey {
        SectionKey::new(&self.namespace, &self.pipeline, &self.stage)
    }

    /// Whether both say the same, their versions aside.
    pub fn same_content(&self, other: &Section) -> bool {
        let mut other = other.clone();
        other.version = self.version;
        *self == other
    }
}

/// One revision's share of the traffic and how its instances are checked (a rollout may change the check).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RevisionRoute {
    /// Share of the requests relative to the other revisions with something to send to; 0 gets none.
    pub weight: u32,
    /// The check of its instances; absent when something else judges them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub check: Option<Check>,
}

/// One container at its fixed address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Instance {
    /// Container name, unique in the section.
    pub name: String,
    /// Full container id.
    pub container_id: String,
    /// The Engine's `State.StartedAt`, verbatim. Another one for the same container begins its readiness anew.
    pub started_at: String,
    /// Its revision, a key of the section's `revisions`.
    pub revision: Revision,
    /// Its address on the namespace's bridge.
    pub address: Ipv4Addr,
    /// Where its requests go; absent for a worker, required of a routed instance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// What the proxy does with it.
    pub state: InstanceState,
}

/// What the proxy does with an instance. One that is absent is treated as `Draining` while it has requests in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum InstanceState {
    /// Checked only: no new requests, those in flight go on without a limit.
    Checked,
    /// Checked, and gets new requests.
    Routed,
    /// No new requests; those in flight are counted and cut at the drain limits, which begin with this state.
    Draining,
}

/// Limits of a drain, in seconds since it began.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Drain {
    /// For plain requests.
    pub request_seconds: u32,
    /// For upgraded connections (WebSocket) and `text/event-stream` answers.
    pub stream_seconds: u32,
}

impl Default for Drain {
    fn default() -> Self {
        Drain {
            request_seconds: 30,
            stream_seconds: 300,
        }
    }
}

fn default_response_timeout() -> u32 {
    60
}
