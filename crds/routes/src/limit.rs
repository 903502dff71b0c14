//! Every limit of table, protocol and checks, each with its reason.
//!
//! Owns numbers only. Invariant: whatever can grow because of a peer, a user or a request has its bound here.

use std::time::Duration;

/// Format number of the persisted table. Read before anything else; a newer one is refused in words.
pub const TABLE_FORMAT: u32 = 1;
/// Version of the framed protocol. A peer of another version is still spoken to when it requires nothing unknown.
pub const PROTOCOL_VERSION: u32 = 1;

/// One frame. 16,384 instances at about 900 bytes each in a full status fit; a larger status is asked for by section.
pub const MAX_FRAME_BYTES: usize = 16 * 1024 * 1024;
/// Concurrent operator sessions: one in use, one taking over, and connectors that outlived their operator (F20).
pub const MAX_SESSIONS: usize = 8;
/// Both ends send a heartbeat this often.
pub const HEARTBEAT: Duration = Duration::from_secs(2);
/// Silence after which a session or connector ends: five heartbeats, so that a busy host is not mistaken for a dead peer.
pub const SILENCE: Duration = Duration::from_secs(10);
/// Unsolicited reports waiting in one session. Reports only wake, so further ones are merged into one for everything.
pub const MAX_PENDING_REPORTS: usize = 64;

/// Sections of one table: far more pipelines than one host runs.
pub const MAX_SECTIONS: usize = 1_024;
/// Instances of one section: 500 replicas, as many again in a rollout, and failed ones that are kept (`Release.status`).
pub const MAX_INSTANCES_PER_SECTION: usize = 1_100;
/// Instances of the whole table: bounds memory, checks and the size of a status.
pub const MAX_INSTANCES: usize = 16_384;
/// Revisions in one section: the two of a rollout and the kept history.
pub const MAX_REVISIONS: usize = 64;
/// Host names of one route.
pub const MAX_HOSTS: usize = 64;
/// Path rules of one route.
pub const MAX_PATHS: usize = 64;
/// Bytes of a host name, as in DNS.
pub const MAX_HOST_BYTES: usize = 253;
/// Bytes of a path prefix or of the path of a check.
pub const MAX_PATH_BYTES: usize = 1_024;
/// Bytes of a name, id, uid or time in the table: a container name of ours needs 150.
pub const MAX_NAME_BYTES: usize = 255;
/// Weight of one revision. Sums of [`MAX_REVISIONS`] weights stay far inside `u32`.
pub const MAX_WEIGHT: u32 = 1_000_000;
/// Headers that one check sends.
pub const MAX_CHECK_HEADERS: usize = 16;
/// Bytes of one header value of a check.
pub const MAX_CHECK_HEADER_BYTES: usize = 1_024;
/// Longest period, time-out, threshold and delay of a check: one day in seconds, beyond which it is a mistake.
pub const MAX_CHECK_SECONDS: u32 = 86_400;
/// Longest drain and response limit: one day.
pub const MAX_LIMIT_SECONDS: u32 = 86_400;

/// Before the first success of an instance it is checked this often, so that a rollout does not wait for a period.
pub const FAST_CHECK: Duration = Duration::from_millis(100);
/// The fast cadence ends this long after the first check; an application that is not up by then is not nearly up.
pub const FAST_CHECK_SPAN: Duration = Duration::from_secs(30);
/// Cadence after [`FAST_CHECK_SPAN`] while there was no success yet, unless the period is shorter.
pub const SLOW_START_CHECK: Duration = Duration::from_secs(1);
/// Bytes of the last error of a check that a status carries.
pub const MAX_ERROR_BYTES: usize = 256;

/// Upper bounds of the latency histogram, in microseconds; one more bucket counts everything above.
pub const LATENCY_BOUNDS_MICROS: [u64; 12] = [
    1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000,
    10_000_000,
];
/// Buckets of the latency histogram.
pub const LATENCY_BUCKETS: usize = LATENCY_BOUNDS_MICROS.len() + 1;

/// File in the state volume that says which install claimed the host; written by the operator before the proxy starts.
pub const CLAIM_FILE: &str = "claim.json";
/// File in the state volume that holds the last table.
pub const TABLE_FILE: &str = "table.json";
/// Private socket in the state volume, which the connector bridges to.
pub const SOCKET_FILE: &str = "proxy.sock";
