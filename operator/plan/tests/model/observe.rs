//! What an operator would read of the world.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::Ipv4Addr;

use crds::labels::Role;
use crds::release::{ConfigKind, ConfigRef, HostImage, ReleaseImage};
use crds::{DeploymentPipeline, Reason};
use plan::Fact;
use plan::deployment_pipeline::{Observed, Target, Unresolved};
use plan::fact::{ContainerFacts, ContainerState, HostFacts, NetworkFacts, ProxyFacts, Readiness};
use routes::InstanceState;

use crate::engine::{Container, Host};
use crate::world::World;

impl World {
    /// Everything that one pass reads.
    pub fn observe(&self, pipeline: &DeploymentPipeline) -> Observed {
        Observed {
            hosts: self
                .hosts
                .iter()
                .map(|(name, host)| (name.clone(), self.observe_host(name, host)))
                .collect(),
            releases: self.releases.values().rev().cloned().collect(),
            target: self.target(pipeline),
            snapshots: self.snapshots.clone(),
            failures: self.failures.clone(),
        }
    }

    fn observe_host(&self, name: &str, host: &Host) -> HostFacts {
        let away = || "it cannot be reached".to_owned();
        let proxy = if host.reachable && host.proxy_reachable {
            Fact::Known(ProxyFacts {
                section: host.section.clone(),
                persisted: true,
                in_flight: host
                    .containers
                    .values()
                    .map(|c| (c.id.clone(), host.in_flight(c, self.now)))
                    .collect(),
                conflicts: Vec::new(),
                listener_error: None,
            })
        } else {
            Fact::Unknown(away())
        };
        if !host.reachable {
            return HostFacts {
                schedulable: host.schedulable,
                blocked: Some((Reason::Unreachable, away())),
                network: Fact::Unknown(away()),
                containers: Fact::Unknown(away()),
                leftovers: BTreeSet::new(),
                foreign: BTreeMap::new(),
                proxy,
                images: Fact::Unknown(away()),
                pulls: BTreeMap::new(),
                addresses: Vec::new(),
            };
        }
        HostFacts {
            schedulable: host.schedulable,
            blocked: None,
            network: Fact::Known(host.network.as_ref().map(|id| NetworkFacts {
                id: id.clone(),
                subnet: "10.210.0.0/22".to_owned(),
                foreign: host.intruders.clone(),
            })),
            containers: Fact::Known(
                host.containers
                    .values()
                    .map(|c| self.observe_container(host, c))
                    .collect(),
            ),
            leftovers: BTreeSet::new(),
            foreign: host.foreign.clone(),
            proxy,
            images: Fact::Known(self.images(host)),
            pulls: host.pulls.clone(),
            addresses: self.addresses(name, host),
        }
    }

    fn images(&self, host: &Host) -> BTreeMap<String, Option<String>> {
        let mut images: BTreeMap<String, Option<String>> = host
            .images
            .iter()
            .map(|(tag, id)| (tag.clone(), Some(id.clone())))
            .collect();
        for release in self.releases.values() {
            let tag = format!("mooring/default/shop:{}", release.spec.revision);
            images.entry(tag).or_insert(None);
        }
        images
    }

    fn addresses(&self, name: &str, host: &Host) -> Vec<Ipv4Addr> {
        let recorded = self
            .releases
            .values()
            .flat_map(|r| r.status.iter().flat_map(|s| &s.stages))
            .flat_map(|stage| &stage.instances)
            .filter(|i| i.host == name)
            .map(|i| i.address);
        let used: BTreeSet<Ipv4Addr> = host
            .containers
            .values()
            .map(|c| c.address)
            .chain(
                host.section
                    .iter()
                    .flat_map(|s| &s.instances)
                    .map(|i| i.address),
            )
            .chain(host.intruders.values().copied())
            .chain(recorded)
            .collect();
        (2..700_u32)
            .map(|n| Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 210, 0, 0)) + n))
            .filter(|address| !used.contains(address))
            .take(24)
            .collect()
    }

    fn observe_container(&self, host: &Host, c: &Container) -> ContainerFacts {
        ContainerFacts {
            id: c.id.clone(),
            name: c.name.clone(),
            instance: c.instance.clone(),
            role: Role::Instance,
            state: c.state,
            stopping: c.stops_at.is_some(),
            exit_code: c.exit_code,
            oom_killed: false,
            started_at: c.started,
            started_at_text: c.started.map(|t| t.to_string()).unwrap_or_default(),
            finished_at: c.finished,
            created_at: Some(c.created),
            restart_count: c.restart_count,
            restart_policy: c.policy,
            address: c.attached.then_some(c.address),
            resources: c.resources,
            network_gone: host.network.as_ref() != Some(&c.network),
            readiness: self.readiness(host, c),
            log_tail: if matches!(c.state, ContainerState::Exited | ContainerState::Restarting) {
                vec!["last words".to_owned()]
            } else {
                Vec::new()
            },
        }
    }

    fn readiness(&self, host: &Host, c: &Container) -> Readiness {
        let never = || Readiness::NotReady {
            since: None,
            why: String::new(),
        };
        let Some(started) = c.started.filter(|_| c.state == ContainerState::Running) else {
            return never();
        };
        let traffic = self
            .pipeline
            .as_ref()
            .is_some_and(|p| p.spec.traffic.is_some());
        if !traffic {
            return Readiness::Ready(started);
        }
        if !host.proxy_reachable {
            return Readiness::Unknown("the proxy does not answer".to_owned());
        }
        let checked = host
            .served(c)
            .filter(|(state, _)| *state != InstanceState::Draining);
        if checked.is_none() {
            return never();
        }
        match c.app.ready_since(started, self.now) {
            Some(since) => Readiness::Ready(since),
            None => Readiness::NotReady {
                since: c.app.unready_since(started, self.now),
                why: "503".to_owned(),
            },
        }
    }

    fn target(&self, pipeline: &DeploymentPipeline) -> Target {
        let reference = &pipeline.spec.source.image;
        let content = digits(&(reference, "image"));
        let image = if reference.contains("missing") {
            Err(Unresolved {
                reason: Reason::ImageMissing,
                message: format!("no host has the image {reference}; load it with docker load"),
                unknown: false,
            })
        } else if let Some((repository, _)) = reference
            .rsplit_once(':')
            .filter(|_| reference.starts_with("registry/"))
        {
            Ok(ReleaseImage {
                reference: reference.clone(),
                repository: repository.to_owned(),
                digest: format!("sha256:{content}"),
                ..ReleaseImage::default()
            })
        } else {
            Ok(ReleaseImage {
                reference: reference.clone(),
                content: content.clone(),
                hosts: self
                    .hosts
                    .keys()
                    .map(|host| HostImage {
                        host: host.clone(),
                        id: format!("sha256:{content}"),
                    })
                    .collect(),
                ..ReleaseImage::default()
            })
        };
        let config: Vec<ConfigRef> = self
            .config
            .iter()
            .map(|(name, bytes)| ConfigRef {
                kind: ConfigKind::ConfigMap,
                name: name.clone(),
                hmac: digits(&(name, bytes)),
                secret: format!("mooring.{}", digits(&(name, bytes))),
            })
            .collect();
        let template = serde_json::to_string(&pipeline.spec.template).unwrap();
        let restart = pipeline.spec.restart_at.as_ref().map(|at| at.0.to_string());
        let revision = image
            .is_ok()
            .then(|| digits(&(&content, &template, &self.config, &restart))[..10].to_owned());
        Target {
            image,
            config: Ok(config),
            revision,
        }
    }
}

/// Sixteen hex digits that stand for a value.
fn digits(value: &impl Hash) -> String {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}
