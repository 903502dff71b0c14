//! What an instance may use of its host, in the Engine's own fields and units.
//!
//! Owns the translation of a template's requests and limits, for what is created and for what is compared later. It must
//! not know why somebody changed them. Invariant: a container that the Engine made as asked never differs.

use crds::quantity;
use crds::template::Container;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

/// Nanoseconds of CPU time per second in a thousandth of a core.
const NANOS_PER_MILLI: i64 = 1_000_000;
/// CPU shares of a core, as the kubelet maps requests.
const SHARES_PER_CORE: i64 = 1024;
/// The least CPU shares that the kernel takes.
const LEAST_SHARES: i64 = 2;

/// Limits and requests; 0 is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Resources {
    /// The most CPU, in billionths of a core.
    pub nano_cpus: i64,
    /// The most CPU in the kernel's own measure, which no template of ours sets.
    pub cpu_quota: i64,
    /// The share of the CPU under load.
    pub cpu_shares: i64,
    /// The most memory, in bytes.
    pub memory: i64,
    /// The memory that is kept for it when the host runs out, in bytes.
    pub memory_reservation: i64,
}

impl Resources {
    /// What a container's template asks for.
    ///
    /// # Errors
    /// An amount that is no quantity, in words.
    pub fn declared(main: &Container) -> Result<Resources, String> {
        let limits = &main.resources.limits;
        let requests = &main.resources.requests;
        let shares = |milli: i64| (milli.saturating_mul(SHARES_PER_CORE) / 1000).max(LEAST_SHARES);
        Ok(Resources {
            nano_cpus: amount(limits.cpu.as_ref(), quantity::milli)?
                .map_or(0, |milli| milli.saturating_mul(NANOS_PER_MILLI)),
            cpu_quota: 0,
            cpu_shares: amount(requests.cpu.as_ref(), quantity::milli)?.map_or(0, shares),
            memory: amount(limits.memory.as_ref(), quantity::units)?.unwrap_or_default(),
            memory_reservation: amount(requests.memory.as_ref(), quantity::units)?
                .unwrap_or_default(),
        })
    }

    /// True when somebody changed them on a container that was made with `declared`. An amount that is not there was
    /// never set: the Engine drops what its kernel cannot do, and no hand can take an amount away again.
    pub fn differ_from(&self, declared: &Resources) -> bool {
        let Resources {
            nano_cpus,
            cpu_quota,
            cpu_shares,
            memory,
            memory_reservation,
        } = *self;
        [
            (nano_cpus, declared.nano_cpus),
            (cpu_quota, declared.cpu_quota),
            (cpu_shares, declared.cpu_shares),
            (memory, declared.memory),
            (memory_reservation, declared.memory_reservation),
        ]
        .iter()
        .any(|(shown, declared)| *shown != 0 && shown != declared)
    }
}

fn amount(
    value: Option<&IntOrString>,
    read: fn(&str) -> Result<i64, String>,
) -> Result<Option<i64>, String> {
    let text = value.map(|value| match value {
        IntOrString::Int(number) => number.to_string(),
        IntOrString::String(text) => text.clone(),
    });
    text.map(|text| read(&text)).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn main(resources: &str) -> Container {
        let text = format!(r#"{{"name": "main", "resources": {resources}}}"#);
        serde_json::from_str(&text).expect("a container")
    }

    #[test]
    fn limits_and_requests_are_what_the_engine_calls_them() {
        let main = main(
            r#"{"limits": {"cpu": "250m", "memory": "64Mi"}, "requests": {"cpu": 1, "memory": "1k"}}"#,
        );
        let declared = Resources {
            nano_cpus: 250_000_000,
            cpu_quota: 0,
            cpu_shares: 1024,
            memory: 64 << 20,
            memory_reservation: 1000,
        };
        assert_eq!(Resources::declared(&main), Ok(declared));
    }

    #[test]
    fn a_hand_is_seen_and_an_engine_that_cannot_limit_is_none() {
        let declared = Resources::declared(&main(r#"{"limits": {"memory": "64Mi"}}"#));
        let declared = declared.expect("a quantity");
        let other = |memory, cpu_quota| Resources {
            memory,
            cpu_quota,
            ..declared
        };
        assert!(!declared.differ_from(&declared));
        assert!(!other(0, 0).differ_from(&declared));
        assert!(other(32 << 20, 0).differ_from(&declared));
        assert!(other(64 << 20, 50_000).differ_from(&declared));
    }
}
