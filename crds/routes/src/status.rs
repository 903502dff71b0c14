//! What a proxy reports: what it serves, how its instances are, what is in flight, what was counted.
//!
//! Owns the shape of facts. Must not know how they come about. Invariant: a status is taken at one version of the
//! table: its counts in flight belong to exactly the sections it carries. Times are ages in milliseconds by the
//! proxy's monotonic clock, so that clocks of two machines are never compared.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::claim::Conflict;
use crate::limit::LATENCY_BUCKETS;
use crate::table::{Revision, Section, SectionKey};

/// Everything known at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// Version of the table.
    pub version: u64,
    /// The install that claimed the proxy.
    #[serde(default)]
    pub install: Option<String>,
    /// Highest fence epoch seen.
    pub epoch: u64,
    /// Whether this version is on disk.
    pub persisted: bool,
    /// Why it is not, or why the table on disk could not be read at start.
    #[serde(default)]
    pub storage_error: Option<String>,
    /// Software version of the proxy.
    pub proxy_version: String,
    /// Milliseconds since the proxy started.
    pub uptime_millis: u64,
    /// The listener for HTTP.
    pub listener: Listener,
    /// The sections asked for.
    pub sections: BTreeMap<SectionKey, SectionStatus>,
    /// Instances that are in no section any more and still have requests in flight.
    #[serde(default)]
    pub leaving: Vec<Leaving>,
    /// Claimed routes that are not served, of all sections.
    #[serde(default)]
    pub conflicts: Vec<Conflict>,
}

/// Whether requests come in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all_fields = "camelCase")]
pub enum Listener {
    /// Not tried yet, or none was asked for.
    Closed,
    /// Requests are accepted.
    Bound {
        /// The port.
        port: u16,
        /// Whether IPv6 is listened on as well.
        ipv6: bool,
    },
    /// Another process listens there; tried again every 5 s.
    PortTaken {
        /// The port.
        port: u16,
        /// Name and process id of who holds it, as far as `/proc` tells.
        #[serde(default)]
        holder: Option<String>,
    },
    /// The port cannot be bound for another reason; tried again every 5 s.
    Refused {
        /// The port.
        port: u16,
        /// What the kernel said.
        message: String,
    },
    /// A state of a later version.
    #[serde(other)]
    Unknown,
}

/// One section as it is served.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SectionStatus {
    /// The section with its version.
    pub section: Section,
    /// Facts of every instance of the section, by instance name.
    pub instances: BTreeMap<String, InstanceStatus>,
    /// What was counted since the proxy started, by revision.
    #[serde(default)]
    pub traffic: BTreeMap<Revision, Traffic>,
}

/// Facts of one instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InstanceStatus {
    /// Container that was checked.
    pub container_id: String,
    /// Its start as the section had it: a result of an earlier start is no result.
    pub started_at: String,
    /// What the check says; `None` without a check, or before its first verdict.
    #[serde(default)]
    pub ready: Option<bool>,
    /// How long it is ready without a break.
    #[serde(default)]
    pub ready_for_millis: Option<u64>,
    /// How long ago `ready` last changed; `None` before the first verdict.
    #[serde(default)]
    pub changed_millis_ago: Option<u64>,
    /// Checks that ended since the instance started.
    #[serde(default)]
    pub checks: u64,
    /// Failed checks in a row.
    #[serde(default)]
    pub failures: u32,
    /// Why the last failed check failed; kept after a success, bounded.
    #[serde(default)]
    pub last_error: Option<String>,
    /// Plain requests in flight.
    pub requests: u64,
    /// Upgraded connections and event streams in flight.
    pub streams: u64,
}

impl InstanceStatus {
    /// Requests and streams together; zero is the licence to stop a container that gets no new ones.
    pub fn in_flight(&self) -> u64 {
        self.requests + self.streams
    }
}

/// An instance that left the table with requests in flight.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Leaving {
    /// The section it was in.
    pub key: SectionKey,
    /// Its container name.
    pub name: String,
    /// Its container.
    pub container_id: String,
    /// Plain requests in flight.
    pub requests: u64,
    /// Upgraded connections and event streams in flight.
    pub streams: u64,
}

/// Counters of one revision since the proxy started. A client that goes away is neither answer nor failure.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Traffic {
    /// Requests that were given to an instance; a repeated one counts once.
    pub requests: u64,
    /// Answers by class of their status code: 1xx (upgrades), 2xx, 3xx, 4xx, 5xx, as the instance gave them.
    #[serde(default)]
    pub answers: [u64; 5],
    /// Requests that ended with a 502 or 503 of ours: connection refused, reset or broken answer.
    #[serde(default)]
    pub failed: u64,
    /// Requests that ended with a 504 of ours.
    #[serde(default)]
    pub timed_out: u64,
    /// Requests and streams cut at a drain limit.
    #[serde(default)]
    pub cut: u64,
    /// Attempts repeated on another instance.
    #[serde(default)]
    pub retried: u64,
    /// Time to the answer's head by bucket of [`crate::limit::LATENCY_BOUNDS_MICROS`].
    #[serde(default)]
    pub latency: [u64; LATENCY_BUCKETS],
    /// Sum of these times in microseconds.
    #[serde(default)]
    pub latency_micros: u64,
}
