//! How many instances may be started, and how many must go on serving.
//!
//! Owns the arithmetic of `maxSurge` and `maxUnavailable`, with the rules of a Kubernetes
//! Deployment: surge is rounded up, unavailable down, and both 0 means one unavailable. It knows
//! numbers only. Invariant: as long as one is wanted, one must serve.

use crds::DeploymentPipelineSpec;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

/// The numbers of a rollout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Wanted instances.
    pub replicas: usize,
    /// How many may exist beyond them.
    pub surge: usize,
    /// How many must be ready and routed.
    pub floor: usize,
}

impl Limits {
    /// The numbers that a spec asks for.
    pub fn of(spec: &DeploymentPipelineSpec) -> Self {
        let replicas = usize::try_from(spec.replicas).unwrap_or(usize::MAX);
        let rolling = &spec.strategy.rolling_update;
        let mut surge = scaled(&rolling.max_surge, replicas, Round::Up);
        let mut unavailable = scaled(&rolling.max_unavailable, replicas, Round::Down);
        if surge == 0 && unavailable == 0 {
            unavailable = 1;
        }
        // The last one that serves is never taken away for an update: one more is started instead.
        if replicas > 0 && unavailable >= replicas {
            unavailable = replicas - 1;
            if unavailable == 0 {
                surge = surge.max(1);
            }
        }
        Self {
            replicas,
            surge,
            floor: replicas.saturating_sub(unavailable),
        }
    }

    /// How many more may run when `live` do.
    pub fn room(&self, live: usize) -> usize {
        (self.replicas + self.surge).saturating_sub(live)
    }
}

enum Round {
    Up,
    Down,
}

/// A number, or a percentage of `whole`. Anything else is refused by the schema and counts as 0.
fn scaled(amount: &IntOrString, whole: usize, round: Round) -> usize {
    match amount {
        IntOrString::Int(number) => usize::try_from(*number).unwrap_or(0),
        IntOrString::String(text) => {
            let percent: usize = text
                .strip_suffix('%')
                .and_then(|digits| digits.parse().ok())
                .unwrap_or(0);
            let product = whole.saturating_mul(percent);
            match round {
                Round::Up => product.div_ceil(100),
                Round::Down => product / 100,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crds::deployment_pipeline::RollingUpdate;

    fn limits(replicas: u32, surge: IntOrString, unavailable: IntOrString) -> (usize, usize) {
        let mut spec: DeploymentPipelineSpec =
            serde_json::from_value(serde_json::json!({"source": {"image": "shop:1"}})).unwrap();
        spec.replicas = replicas;
        spec.strategy.rolling_update = RollingUpdate {
            max_surge: surge,
            max_unavailable: unavailable,
        };
        let limits = Limits::of(&spec);
        (limits.surge, limits.floor)
    }

    #[test]
    fn numbers_are_those_of_a_kubernetes_deployment_but_the_last_one_stays() {
        use IntOrString::{Int, String as Text};
        let percent = |p: u32| Text(format!("{p}%"));
        assert_eq!(limits(3, Int(1), Int(0)), (1, 3));
        assert_eq!(limits(10, percent(25), percent(25)), (3, 8));
        assert_eq!(limits(3, Int(0), Int(1)), (0, 2));
        assert_eq!(limits(3, percent(0), percent(10)), (0, 2));
        assert_eq!(limits(1, Int(0), Int(1)), (1, 1));
        assert_eq!(limits(2, Int(0), percent(100)), (0, 1));
        assert_eq!(limits(0, Int(1), Int(0)), (1, 0));
        assert_eq!(limits(0, Int(0), Int(2)), (0, 0));
    }
}
