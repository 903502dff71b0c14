//! What the answer of a registry means for the next try.
//!
//! Owns which refusals are final and how long one waits after each. Must not know how a registry is
//! asked. The same pauses hold for the question which digest a tag has and for the pull itself.

use crds::Reason;

/// Seconds after the first failure.
const FIRST_SECONDS: u32 = 5;
/// Seconds after the first 429: quicker tries would only be counted as well.
const FIRST_LIMITED_SECONDS: u32 = 60;
/// The longest pause, in seconds.
const MOST_SECONDS: u32 = 300;

/// True when the registry has said no: another try does not help before somebody changes the
/// image, the credentials or the registry.
pub fn is_final(reason: Reason) -> bool {
    matches!(reason, Reason::ImageNotFound | Reason::ImageAccessDenied)
}

/// Seconds to wait after so many failures in a row: doubling, at most five minutes.
pub fn pause_seconds(reason: Reason, attempts: u32) -> u32 {
    let first = if reason == Reason::RegistryRateLimited {
        FIRST_LIMITED_SECONDS
    } else {
        FIRST_SECONDS
    };
    let doublings = attempts.saturating_sub(1).min(8);
    first.saturating_mul(1 << doublings).min(MOST_SECONDS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_from_five_seconds_to_five_minutes() {
        let row = |reason| [0, 1, 2, 3, 6, 7, u32::MAX].map(|n| pause_seconds(reason, n));
        assert_eq!(row(Reason::RegistryFailing), [5, 5, 10, 20, 160, 300, 300]);
        assert_eq!(
            row(Reason::RegistryRateLimited),
            [60, 60, 120, 240, 300, 300, 300]
        );
    }

    #[test]
    fn only_what_the_registry_denies_is_final() {
        assert!(is_final(Reason::ImageNotFound) && is_final(Reason::ImageAccessDenied));
        for reason in [
            Reason::ImageLayerMissing,
            Reason::RegistryRateLimited,
            Reason::RegistryFailing,
            Reason::RegistryUnreachable,
            Reason::RegistryTooSlow,
            Reason::ImagePullFailed,
        ] {
            assert!(!is_final(reason), "{reason:?}");
        }
    }
}
