//! From results of checks to a verdict on one instance.
//!
//! Owns thresholds and what counts as a change. Must not know how checks are made or when. Invariant: an instance
//! that was never proven is unready with its first failure, one that was routed before the proxy knew it is trusted
//! until the failure threshold.
//!
//! | verdict | success | failure |
//! |---|---|---|
//! | none, not trusted | ready at the success threshold | unready |
//! | none, trusted | ready at the success threshold | unready at the failure threshold |
//! | ready | ready | unready at the failure threshold |
//! | unready | ready at the success threshold | unready |

use routes::Check;
use routes::limit::MAX_ERROR_BYTES;
use tokio::time::Instant;

/// What is known from checks since the instance started.
#[derive(Clone, Debug, Default)]
pub struct Readiness {
    ready: Option<bool>,
    proven: bool,
    successes: u32,
    failures: u32,
    checks: u64,
    changed: Option<Instant>,
    last_error: Option<String>,
}

impl Readiness {
    /// Takes one result. `true` when the verdict changed.
    pub fn record(
        &mut self,
        outcome: Result<(), String>,
        check: &Check,
        trusted: bool,
        now: Instant,
    ) -> bool {
        self.checks += 1;
        let verdict = match outcome {
            Ok(()) => {
                self.failures = 0;
                self.successes = self.successes.saturating_add(1);
                (self.successes >= check.success_threshold).then_some(true)
            }
            Err(error) => {
                self.successes = 0;
                self.failures = self.failures.saturating_add(1);
                self.last_error = Some(bounded(error));
                let patient = match self.ready {
                    Some(ready) => ready,
                    None => trusted,
                };
                (!patient || self.failures >= check.failure_threshold).then_some(false)
            }
        };
        match verdict {
            Some(ready) if self.ready != Some(ready) => {
                self.ready = Some(ready);
                self.proven |= ready;
                self.changed = Some(now);
                true
            }
            Some(_) | None => false,
        }
    }

    /// The verdict; `None` before the first.
    pub fn ready(&self) -> Option<bool> {
        self.ready
    }

    /// Whether it was ever ready.
    pub fn proven(&self) -> bool {
        self.proven
    }

    /// Failed checks in a row.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// Checks that ended.
    pub fn checks(&self) -> u64 {
        self.checks
    }

    /// When the verdict last changed.
    pub fn changed(&self) -> Option<Instant> {
        self.changed
    }

    /// Why the last failed check failed.
    pub fn last_error(&self) -> Option<&str> {
        self.last_error.as_deref()
    }
}

fn bounded(mut error: String) -> String {
    if error.len() > MAX_ERROR_BYTES {
        let end = (0..=MAX_ERROR_BYTES)
            .rev()
            .find(|at| error.is_char_boundary(*at))
            .unwrap_or(0);
        error.truncate(end);
    }
    error
}

#[cfg(test)]
mod tests {
    use routes::Probe;

    use super::*;

    fn verdicts(trusted: bool, successes: u32, outcomes: &str) -> String {
        let mut check = Check::new(Probe::Tcp { port: 1 });
        check.success_threshold = successes;
        let mut readiness = Readiness::default();
        let now = Instant::now();
        outcomes
            .chars()
            .map(|outcome| {
                let outcome = if outcome == '+' {
                    Ok(())
                } else {
                    Err("refused".to_owned())
                };
                readiness.record(outcome, &check, trusted, now);
                match readiness.ready() {
                    None => '?',
                    Some(true) => 'R',
                    Some(false) => 'u',
                }
            })
            .collect()
    }

    #[test]
    fn verdicts_follow_the_table() {
        assert_eq!(verdicts(false, 1, "-+--+---+"), "uRRRRRRuR");
        assert_eq!(verdicts(false, 2, "+-++--+-"), "?uuRRRRR");
        assert_eq!(verdicts(true, 1, "--+---"), "??RRRu");
        assert_eq!(verdicts(true, 1, "---"), "??u");
    }

    #[test]
    fn errors_are_bounded_on_a_character() {
        assert_eq!(bounded("é".repeat(200)).len(), 256);
        assert!(bounded(format!("a{}", "é".repeat(200))).len() <= 256);
    }
}
