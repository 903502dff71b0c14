//! What steps do to the world, and where an operator may die between them.

use crds::{FINALIZER, Release, ReleaseStatus};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use plan::deployment_pipeline::Record;
use plan::fact::{ContainerState, FailureClass, RestartPolicy};
use plan::resources::Resources;
use plan::step::InstanceSpec;
use plan::{ApiStep, Plan, Step, StepFailure};

use crate::app::later;
use crate::engine::Container;
use crate::world::World;

impl World {
    /// Records, then does the steps in order, as far as the operator lives.
    pub fn carry_out(&mut self, plan: &Plan<Record>) {
        if self.is_dead() {
            return;
        }
        self.write(&plan.record);
        for step in &plan.api {
            if self.is_dead() {
                return;
            }
            self.done.push(format!("{step}"));
            self.do_api(step);
        }
        for (host, steps) in &plan.hosts {
            for step in steps {
                if self.is_dead() {
                    return;
                }
                if !self.try_step(host, step) {
                    break;
                }
            }
        }
        self.events
            .extend(plan.events.iter().map(ToString::to_string));
    }

    fn is_dead(&mut self) -> bool {
        match &mut self.dies_after {
            None => false,
            Some(0) => true,
            Some(left) => {
                *left -= 1;
                false
            }
        }
    }

    fn try_step(&mut self, host: &str, step: &Step) -> bool {
        let text = step.to_string();
        self.done.push(format!("{text} on {host}"));
        let refused = self.refused.iter().any(|prefix| text.starts_with(prefix));
        let lost = match &mut self.hiccup {
            Some((0, done)) => Some(*done),
            Some((left, _)) => {
                *left -= 1;
                None
            }
            None => None,
        };
        let outcome = if let Some(done) = lost {
            self.hiccup = None;
            if done {
                let _ = self.guarded(host, step);
            }
            Err((FailureClass::Unknown, "the answer was lost".to_owned()))
        } else if refused {
            Err((FailureClass::Refused, "the Engine refuses".to_owned()))
        } else {
            self.guarded(host, step)
        };
        let old = self
            .failures
            .iter()
            .position(|f| f.place == host && f.step == text)
            .map(|index| self.failures.remove(index));
        match outcome {
            Ok(()) => true,
            Err((class, message)) => {
                let attempts = old.map_or(1, |f| f.attempts + 1);
                let pause = 1000 << attempts.min(8);
                self.failures.push(StepFailure {
                    place: host.to_owned(),
                    step: text,
                    class,
                    message,
                    attempts,
                    retry_at: later(self.now, pause),
                });
                false
            }
        }
    }

    fn write(&mut self, record: &Record) {
        for (name, status) in &record.releases {
            let Some(release) = self.releases.get_mut(name) else {
                self.broken
                    .push(format!("a status for {name}, which does not exist"));
                continue;
            };
            let stored = stored(status);
            if stored != *status {
                self.broken.push(format!(
                    "the status of {name} does not survive being stored"
                ));
            }
            release.status = Some(stored);
        }
        if let Some(pipeline) = &mut self.pipeline {
            let text = serde_json::to_string(&record.summary).unwrap();
            pipeline.status = Some(serde_json::from_str(&text).unwrap());
        }
    }

    fn do_api(&mut self, step: &ApiStep) {
        let now = Time(self.now);
        match step {
            ApiStep::AddFinalizer => {
                if let Some(pipeline) = &mut self.pipeline {
                    pipeline.metadata.finalizers = Some(vec![FINALIZER.to_owned()]);
                }
            }
            ApiStep::DropFinalizer => self.pipeline = None,
            ApiStep::CreateRelease { name, spec } => {
                let mut release = Release::new(name, (**spec).clone());
                release.metadata.finalizers = Some(vec![FINALIZER.to_owned()]);
                release.metadata.creation_timestamp = Some(now);
                if self.releases.insert(name.clone(), release).is_some() {
                    self.broken.push(format!("{name} was made twice"));
                }
            }
            ApiStep::CreateSnapshot { release, config } => {
                self.snapshots
                    .entry(config.secret.clone())
                    .or_default()
                    .insert(release.clone());
            }
            ApiStep::OwnSnapshot { release, secret } => {
                self.snapshots
                    .entry(secret.clone())
                    .or_default()
                    .insert(release.clone());
            }
            ApiStep::DeleteRelease { name } => {
                if let Some(release) = self.releases.get_mut(name) {
                    release.metadata.deletion_timestamp = Some(now);
                }
            }
            ApiStep::ReleaseFinalizer { name } => {
                if let Some(release) = self.releases.get_mut(name) {
                    release.metadata.finalizers = None;
                    if release.metadata.deletion_timestamp.is_some() {
                        self.releases.remove(name);
                    }
                }
            }
        }
    }

    /// Does a step on a host.
    pub fn do_step(&mut self, host: &str, step: &Step) -> Result<(), (FailureClass, String)> {
        let now = self.now;
        match step {
            Step::TagImage { image, tag } => {
                self.host(host).images.insert(tag.clone(), image.clone());
            }
            Step::PullImage { image, tag } => {
                let refusal = self.registry;
                self.host(host).pull(image, tag, now, refusal);
            }
            Step::CancelPull { image } => self.host(host).cancel_pull(image),
            Step::UntagImage { tag } => {
                self.host(host).images.remove(tag);
            }
            Step::CreateContainer(spec) => return self.create(host, spec),
            Step::StartContainer { id, .. } => {
                let network = self.host(host).network.clone();
                let container = self.container(host, id)?;
                if network.as_ref() != Some(&container.network) {
                    return Err((FailureClass::Refused, "network not found".to_owned()));
                }
                if matches!(
                    container.state,
                    ContainerState::Created | ContainerState::Exited
                ) {
                    container.restart_count = 0;
                    container.pause = 50;
                    container.start(now);
                }
            }
            Step::SetRestartPolicy { id, policy, .. } => {
                self.container(host, id)?.policy = *policy;
            }
            Step::StopContainer { id, .. } => stop(self.container(host, id)?, now),
            Step::UnpauseContainer { id, .. } => {
                self.container(host, id)?.state = ContainerState::Running;
            }
            Step::RenameContainer { id, to, .. } => {
                self.container(host, id)?.name = to.clone();
            }
            Step::RemoveContainer { id, .. } => {
                self.host(host).containers.remove(id);
            }
            Step::RemoveLeftovers { .. } => {}
            Step::PushSection { expect, section } => {
                let served = self.host(host).section.as_ref().map(|s| s.version);
                if served != *expect {
                    return Err((FailureClass::Transient, "another version".to_owned()));
                }
                self.host(host).swap((**section).clone(), now);
            }
            Step::DropSection { .. } => {
                let host = self.host(host);
                host.section = None;
                host.entered.clear();
            }
            Step::CreateBridge { .. }
            | Step::RemoveBridge { .. }
            | Step::CreateProxyVolume
            | Step::RemoveProxyVolume
            | Step::LoadProxyImage { .. }
            | Step::CreateProxy { .. }
            | Step::WriteClaim { .. }
            | Step::StartProxy { .. }
            | Step::ClaimProxy => {
                self.broken.push(format!("{step} is not a pipeline's"));
            }
        }
        Ok(())
    }

    fn create(&mut self, host: &str, spec: &InstanceSpec) -> Result<(), (FailureClass, String)> {
        let name = spec.name.to_string();
        if self.host(host).foreign.contains_key(&name) {
            return Err((FailureClass::Refused, "the name is taken".to_owned()));
        }
        if self.host(host).containers.values().any(|c| c.name == name) {
            return Ok(());
        }
        self.serial += 1;
        let reference = self
            .releases
            .get(&spec.release)
            .map(|r| r.spec.image.reference.clone())
            .unwrap_or_default();
        let app = self.app(&reference);
        let container = Container {
            id: format!("{:064x}", self.serial),
            name,
            instance: spec.name.clone(),
            state: ContainerState::Created,
            exit_code: None,
            created: self.now,
            started: None,
            finished: None,
            restart_count: 0,
            policy: RestartPolicy::No,
            address: spec.address,
            network: spec.network.clone(),
            attached: true,
            resources: Resources::declared(&spec.template.main()).unwrap(),
            stops_at: None,
            restarts_at: None,
            pause: 50,
            app,
        };
        self.host(host)
            .containers
            .insert(container.id.clone(), container);
        Ok(())
    }

    /// A host.
    pub fn host(&mut self, name: &str) -> &mut crate::engine::Host {
        self.hosts.get_mut(name).expect("the host exists")
    }

    fn container(
        &mut self,
        host: &str,
        id: &str,
    ) -> Result<&mut Container, (FailureClass, String)> {
        self.host(host)
            .containers
            .get_mut(id)
            .ok_or((FailureClass::Refused, "no such container".to_owned()))
    }
}

fn stop(container: &mut Container, now: Timestamp) {
    match container.state {
        ContainerState::Running => {
            container.stops_at = Some(later(now, container.app.stops_in));
        }
        ContainerState::Restarting | ContainerState::Paused => container.halt(now),
        ContainerState::Created
        | ContainerState::Exited
        | ContainerState::Removing
        | ContainerState::Dead => {}
    }
}

/// A status as the API gives it back.
pub fn stored(status: &ReleaseStatus) -> ReleaseStatus {
    serde_json::from_str(&serde_json::to_string(status).unwrap()).unwrap()
}
