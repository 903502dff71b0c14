//! What the build before wrote is as declared for this one: an upgrade replaces no container.

use std::collections::{BTreeMap, BTreeSet};

use crds::labels::Role;
use crds::names::InstanceName;
use crds::release::InstanceStatus;
use crds::{DeploymentPipeline, Release};
use jiff::Timestamp;
use plan::Fact;
use plan::deployment_pipeline::{Observed, Target, decide};
use plan::fact::{
    ContainerFacts, ContainerState, HostFacts, NetworkFacts, ProxyFacts, Readiness, RestartPolicy,
};
use plan::resources::Resources;
use routes::Section;

/// The day after the objects were written.
const NOW: &str = "2026-11-22T12:00:00Z";

/// The section that the proxy had on disk: the first line is the table, the second its checksum.
fn section() -> Section {
    let text = include_str!("../../../../tests/golden/first/table.json");
    let table: serde_json::Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    serde_json::from_value(table["sections"]["default/shop/default"].clone()).unwrap()
}

fn container(recorded: &InstanceStatus, section: &Section) -> ContainerFacts {
    let entry = section.instances.iter().find(|i| i.name == recorded.name);
    let text = entry.unwrap().started_at.clone();
    let started: Timestamp = text.parse().unwrap();
    ContainerFacts {
        id: recorded.id.clone(),
        name: recorded.name.clone(),
        instance: InstanceName::parse(&recorded.name).unwrap(),
        role: Role::Instance,
        state: ContainerState::Running,
        stopping: false,
        exit_code: None,
        oom_killed: false,
        started_at: Some(started),
        started_at_text: text,
        finished_at: None,
        created_at: Some(started),
        restart_count: 0,
        restart_policy: RestartPolicy::Always,
        address: Some(recorded.address),
        // As the Engine showed it: the template says 64Mi.
        resources: Resources {
            memory: 67_108_864,
            ..Resources::default()
        },
        network_gone: false,
        readiness: Readiness::Ready(started),
        log_tail: Vec::new(),
    }
}

#[test]
fn what_the_first_build_left_is_as_declared() {
    let pipeline: DeploymentPipeline =
        serde_json::from_str(include_str!("../../../../tests/golden/first/pipeline.json")).unwrap();
    let releases: Vec<Release> =
        serde_json::from_str(include_str!("../../../../tests/golden/first/releases.json")).unwrap();
    let newest = releases
        .iter()
        .max_by_key(|r| r.spec.number)
        .unwrap()
        .clone();
    let section = section();
    let stage = &newest.status.as_ref().unwrap().stages[0];
    let containers: Vec<ContainerFacts> = stage
        .instances
        .iter()
        .map(|recorded| container(recorded, &section))
        .collect();
    assert_eq!(containers.len(), 4);
    let tags = releases.iter().map(|release| {
        let tag = format!("mooring/default/shop:{}", release.spec.revision);
        (tag, Some(newest.spec.image.hosts[0].id.clone()))
    });
    let host = HostFacts {
        schedulable: true,
        blocked: None,
        network: Fact::Known(Some(NetworkFacts {
            id: "n".repeat(64),
            subnet: "10.210.0.0/22".to_owned(),
            foreign: BTreeMap::new(),
        })),
        containers: Fact::Known(containers),
        leftovers: BTreeSet::new(),
        foreign: BTreeMap::new(),
        pulls: BTreeMap::new(),
        proxy: Fact::Known(ProxyFacts {
            section: Some(section),
            persisted: true,
            in_flight: BTreeMap::new(),
            conflicts: Vec::new(),
            listener_error: None,
        }),
        images: Fact::Known(tags.collect()),
        addresses: Vec::new(),
    };
    let owners = |secret: &str| {
        releases
            .iter()
            .filter(|release| release.spec.config.iter().any(|c| c.secret == secret))
            .map(|release| release.metadata.name.clone().unwrap())
            .collect::<BTreeSet<String>>()
    };
    let observed = Observed {
        hosts: BTreeMap::from([("local".to_owned(), host)]),
        target: Target {
            image: Ok(newest.spec.image.clone()),
            config: Ok(newest.spec.config.clone()),
            // Another name for the same content, as a build with more fields may give it.
            revision: Some("0123456789".to_owned()),
        },
        snapshots: newest
            .spec
            .config
            .iter()
            .map(|config| (config.secret.clone(), owners(&config.secret)))
            .collect(),
        failures: Vec::new(),
        releases,
    };
    let plan = decide(&pipeline, &observed, NOW.parse().unwrap());
    assert!(plan.is_converged(), "an upgrade would do:\n{plan}");
    assert_eq!(plan.record.summary.ready, "4/4");
    assert_eq!(plan.record.summary.summary, "Serving shop-2");
}
