//! The promises, held against every single step.

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use plan::Step;
use plan::fact::{ContainerState, FailureClass};
use routes::InstanceState;

use crate::world::World;

impl World {
    /// Does a step and notes every promise that it breaks.
    pub fn guarded(&mut self, host: &str, step: &Step) -> Result<(), (FailureClass, String)> {
        if !self.hosts.get(host).is_some_and(|h| h.reachable) {
            self.broken
                .push(format!("{step} on {host}, which is not known"));
            return Err((FailureClass::Unknown, "cut".to_owned()));
        }
        self.before(host, step);
        let before = self.answering();
        let outcome = self.do_step(host, step);
        let after = self.answering();
        let floor = self.floor();
        if after < before && after < floor {
            self.broken.push(format!(
                "{step} on {host} leaves {after} of {before} answering, {floor} are promised"
            ));
        }
        if after == 0 && before > 0 && floor > 0 {
            self.broken
                .push(format!("{step} on {host} takes the last one"));
        }
        outcome
    }

    fn before(&mut self, host: &str, step: &Step) {
        let Some(facts) = self.hosts.get(host) else {
            return;
        };
        let mut broken = Vec::new();
        match step {
            Step::StopContainer { id, .. } | Step::RemoveContainer { id, .. } => {
                let container = facts.containers.get(id);
                match container {
                    None => broken.push(format!("{step}: there is no such container of ours")),
                    Some(container) => {
                        let served = facts.served(container).map(|(state, _)| state);
                        let live = container.state == ContainerState::Running;
                        if live && matches!(served, Some(InstanceState::Routed)) {
                            broken.push(format!("{step}, which has traffic"));
                        }
                        if live && facts.in_flight(container, self.now) > 0 {
                            broken.push(format!("{step}, which has requests in flight"));
                        }
                        if live && matches!(step, Step::RemoveContainer { .. }) {
                            broken.push(format!("{step}, which runs"));
                        }
                    }
                }
            }
            Step::CreateContainer(spec) => {
                let name = spec.name.to_string();
                let recorded = self
                    .releases
                    .values()
                    .flat_map(|r| r.status.iter().flat_map(|s| &s.stages))
                    .flat_map(|stage| &stage.instances)
                    .any(|i| i.name == name && i.host == host && i.address == spec.address);
                if !recorded {
                    broken.push(format!("{step}, which the record does not hold"));
                }
                if facts
                    .containers
                    .values()
                    .any(|c| c.address == spec.address && c.name != name)
                {
                    broken.push(format!("{step}: the address is taken"));
                }
                if !facts.images.contains_key(&spec.image) {
                    broken.push(format!("{step}: the image {} is not there", spec.image));
                }
            }
            Step::PushSection { section, .. } => {
                for fault in section.faults() {
                    broken.push(format!("{step}: {fault}"));
                }
                if !section.revisions.is_empty()
                    && section.revisions.values().all(|r| r.weight == 0)
                {
                    broken.push(format!("{step}: all weights are 0"));
                }
            }
            _ => {}
        }
        self.broken.extend(broken);
    }

    /// How many instances answer requests.
    pub fn answering(&self) -> usize {
        self.hosts
            .values()
            .map(|h| h.answering(self.now).len())
            .sum()
    }

    /// The promised minimum.
    pub fn floor(&self) -> usize {
        let Some(pipeline) = &self.pipeline else {
            return 0;
        };
        if pipeline.metadata.deletion_timestamp.is_some() || pipeline.spec.traffic.is_none() {
            return 0;
        }
        let replicas = pipeline.spec.replicas as usize;
        let unavailable = match pipeline.spec.strategy.rolling_update.max_unavailable {
            IntOrString::Int(number) => usize::try_from(number).unwrap(),
            IntOrString::String(_) => 0,
        };
        if replicas == 0 {
            0
        } else {
            replicas.saturating_sub(unavailable).max(1)
        }
    }

    /// Asserts that nothing was broken, and that a world at rest stays as it is.
    pub fn assert_sound(&self) {
        assert!(self.broken.is_empty(), "{}", self.trace());
    }

    /// Asserts that nothing is left to do, now or an hour later.
    pub fn assert_at_rest(&self) {
        self.assert_sound();
        for hours in [0, 1] {
            let mut world = self.clone();
            world.now = crate::app::later(self.now, hours * 3_600_000);
            let Some(plan) = world.plan() else { return };
            assert!(plan.is_converged(), "left to do:\n{plan}\n{}", self.trace());
            assert!(
                plan.record.releases.is_empty(),
                "left to record: {:?}\n{}",
                plan.record.releases,
                self.trace()
            );
            let written = self.pipeline.as_ref().and_then(|p| p.status.clone());
            assert_eq!(Some(plan.record.summary), written, "{}", self.trace());
            assert!(plan.events.is_empty());
        }
    }
}
