//! Reads a world from text, one thing a line.
//!
//! ```text
//! want b replicas=2 minReady=1          the spec: content b, and numbers
//! release 1 a Finalizing Succeeded verified
//! host h1 cordoned|unreachable|mute|networkless|untagged|full|holder=other/shop
//! h1 a.0-1 running always ready@90 routed flight=2 =Serving
//! h1 a.1-1 exited unusable =Serving      the Engine said that it can never be started again
//! foreign h1 b.0-1
//! ```
//! A revision is a letter, a time is a second after the beginning, `=State` is what the record
//! says of an instance; without it there is none. The pipeline is `shop` in `default`, and its
//! names are left out of the answer.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use crds::deployment_pipeline::ImagePullPolicy;
use crds::labels::Role;
use crds::names::InstanceName;
use crds::release::{
    HostImage, InstanceState, InstanceStatus, Outcome, ReleaseImage, ReleaseStatus, RolloutState,
    StageStatus,
};
use crds::{DeploymentPipeline, Reason, Release, ReleaseSpec};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use plan::deployment_pipeline::{Observed, Record, Target, decide};
use plan::fact::{
    ContainerFacts, ContainerState, FailureClass, HostFacts, NetworkFacts, ProxyFacts, PullFacts,
    PullProgress, Readiness, RestartPolicy,
};
use plan::resources::Resources;
use plan::{Fact, Plan, StepFailure};
use routes::{Instance, InstanceState as RouteState, RevisionRoute, Section};
use serde_json::json;

/// The second at which every table is looked at.
const NOW: i64 = 100;

/// Compares the plan of a world with what is expected, line by line.
pub fn check(world: &str, expected: &str) {
    let plan = decided(world);
    let text = plan
        .to_string()
        .replace("default.shop.default.main.", "")
        .replace(" default/shop/default", "");
    let short = "abcdef".chars().fold(text, |text, letter| {
        text.replace(&letter.to_string().repeat(10), &letter.to_string())
    });
    let lines = |text: &str| -> Vec<String> {
        text.lines()
            .map(|line| line.trim().to_owned())
            .filter(|line| !line.is_empty() && !line.starts_with("event "))
            .collect()
    };
    assert_eq!(lines(&short), lines(expected), "\nof the world{world}");
}

/// The plan of a world.
pub fn decided(world: &str) -> Plan<Record> {
    let (pipeline, observed) = read(world);
    decide(&pipeline, &observed, at(NOW))
}

fn at(second: i64) -> Timestamp {
    let start: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    start
        .checked_add(SignedDuration::from_secs(second))
        .unwrap()
}

fn revision(letter: &str) -> String {
    letter.repeat(10)
}

fn read(world: &str) -> (DeploymentPipeline, Observed) {
    let mut pipeline: DeploymentPipeline = serde_json::from_value(json!({
        "apiVersion": "mooring.dev/v1alpha1", "kind": "DeploymentPipeline",
        "metadata": {"name": "shop", "namespace": "default", "uid": "u", "finalizers": [crds::FINALIZER]},
        "spec": {"source": {"image": "shop:a"}, "traffic": {"port": 80, "hosts": ["shop.test"]}}
    }))
    .unwrap();
    pipeline.spec.strategy.min_ready_seconds = 5;
    let mut observed = Observed {
        hosts: BTreeMap::new(),
        releases: Vec::new(),
        target: Target {
            image: Ok(image("a", &[])),
            config: Ok(Vec::new()),
            revision: None,
        },
        snapshots: BTreeMap::new(),
        failures: Vec::new(),
    };
    let mut want = "a".to_owned();
    for line in world.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[0] {
            "want" => {
                want = words[1].to_owned();
                spec(&mut pipeline, &words[2..]);
            }
            "release" => observed.releases.push(release(&words)),
            "host" => {
                observed
                    .hosts
                    .insert(words[1].to_owned(), host(&words[2..]));
            }
            "foreign" => {
                let name = name(words[2]).to_string();
                let facts = observed.hosts.get_mut(words[1]).unwrap();
                facts.foreign.insert(name, "f".repeat(64));
            }
            _ => instance(&mut observed, &words),
        }
    }
    finish(&mut pipeline, &mut observed, &want);
    (pipeline, observed)
}

fn spec(pipeline: &mut DeploymentPipeline, words: &[&str]) {
    for word in words {
        let (key, value) = word.split_once('=').unwrap_or((word, "0"));
        let number: u32 = value.parse().unwrap();
        let strategy = &mut pipeline.spec.strategy;
        match key {
            "replicas" => pipeline.spec.replicas = number,
            "minReady" => strategy.min_ready_seconds = number,
            "unavailable" => {
                strategy.rolling_update.max_unavailable =
                    k8s_openapi::apimachinery::pkg::util::intstr::IntOrString::Int(
                        i32::try_from(number).unwrap(),
                    );
            }
            "new" => pipeline.metadata.finalizers = None,
            "deleted" => pipeline.metadata.deletion_timestamp = Some(Time(at(NOW))),
            "worker" => pipeline.spec.traffic = None,
            // The images are from a registry, and the wanted one is on no host.
            "registry" => pipeline.spec.source.image_pull_policy = Some(ImagePullPolicy::Always),
            other => panic!("unknown setting {other}"),
        }
    }
}

fn image(letter: &str, hosts: &[String]) -> ReleaseImage {
    ReleaseImage {
        reference: format!("shop:{letter}"),
        content: letter.repeat(64),
        hosts: hosts
            .iter()
            .map(|host| HostImage {
                host: host.clone(),
                id: format!("sha256:{}", letter.repeat(64)),
            })
            .collect(),
        ..ReleaseImage::default()
    }
}

fn release(words: &[&str]) -> Release {
    let number: u64 = words[1].parse().unwrap();
    let mut release = Release::new(
        &format!("shop-{number}"),
        ReleaseSpec {
            pipeline: "shop".to_owned(),
            number,
            revision: revision(words[2]),
            image: image(words[2], &[]),
            template: crds::template::Template::default(),
            config: Vec::new(),
            cause: crds::release::Cause::default(),
            restart_at: None,
            abort: Vec::new(),
            retry_at: None,
        },
    );
    release.metadata.finalizers = Some(vec![crds::FINALIZER.to_owned()]);
    let mut stage = StageStatus {
        name: "default".to_owned(),
        started_at: Some(Time(at(0))),
        since: Some(Time(at(80))),
        progress_at: Some(Time(at(80))),
        ..StageStatus::default()
    };
    for word in &words[3..] {
        match *word {
            "verified" => stage.verified_at = Some(Time(at(50))),
            word => match serde_json::from_value::<RolloutState>(json!(word)) {
                Ok(state) => stage.state = state,
                Err(_) => {
                    stage.outcome = Some(serde_json::from_value::<Outcome>(json!(word)).unwrap());
                }
            },
        }
    }
    if words.len() > 3 {
        release.status = Some(ReleaseStatus {
            stages: vec![stage],
            ..ReleaseStatus::default()
        });
    }
    release
}

fn host(words: &[&str]) -> HostFacts {
    let has = |word: &str| words.contains(&word);
    let away = "it does not answer".to_owned();
    HostFacts {
        schedulable: !has("cordoned"),
        blocked: has("unreachable").then(|| (Reason::Unreachable, away.clone())),
        network: Fact::Known((!has("networkless")).then(|| NetworkFacts {
            id: "net".to_owned(),
            subnet: "10.210.0.0/22".to_owned(),
            foreign: BTreeMap::new(),
        })),
        containers: Fact::Known(Vec::new()),
        leftovers: BTreeSet::new(),
        foreign: BTreeMap::new(),
        proxy: if has("mute") {
            Fact::Unknown(away)
        } else {
            Fact::Known(ProxyFacts {
                section: None,
                persisted: true,
                in_flight: BTreeMap::new(),
                conflicts: words
                    .iter()
                    .filter_map(|word| word.strip_prefix("holder="))
                    .map(|holder| ("shop.test/".to_owned(), holder.to_owned()))
                    .collect(),
                listener_error: None,
            })
        },
        // What `untagged` says is carried by an empty reference until the Releases are known.
        pulls: words
            .iter()
            .filter_map(|word| pull(word))
            .map(|facts| (String::new(), facts))
            .collect(),
        images: Fact::Known(
            has("untagged")
                .then(|| (String::new(), None))
                .into_iter()
                .collect(),
        ),
        addresses: (50..if has("full") { 50 } else { 60 })
            .map(|last| Ipv4Addr::new(10, 210, 0, last))
            .collect(),
    }
}

/// What became of the pull of the wanted image: `pulling`, or why and when it failed, such as
/// `RegistryFailing@98`. `finish` gives it its name.
fn pull(word: &str) -> Option<PullFacts> {
    if word == "pulling" {
        return Some(PullFacts::UnderWay(PullProgress {
            layers: 3,
            layers_done: 1,
            bytes: 1_250_000,
            total_bytes: 4_000_000,
            moved_at: at(98),
        }));
    }
    let (reason, second) = word.split_once('@')?;
    Some(PullFacts::Failed {
        reason: serde_json::from_value(json!(reason)).unwrap(),
        message: "the registry says no".to_owned(),
        attempts: 1,
        at: at(second.parse().unwrap()),
    })
}

fn name(tail: &str) -> InstanceName {
    let (letter, rest) = tail.split_once('.').unwrap();
    InstanceName::parse(&format!(
        "default.shop.default.main.{}.{rest}",
        revision(letter)
    ))
    .unwrap()
}

fn instance(observed: &mut Observed, words: &[&str]) {
    let name = name(words[1]);
    let count = observed
        .releases
        .iter()
        .flat_map(|r| r.status.iter().flat_map(|s| &s.stages))
        .map(|stage| stage.instances.len())
        .sum::<usize>();
    let address = Ipv4Addr::new(10, 210, 0, u8::try_from(10 + count).unwrap());
    let id = format!("{:064x}", count + 1);
    if let Some(state) = words.iter().find_map(|word| word.strip_prefix('=')) {
        let state: InstanceState = serde_json::from_value(json!(state)).unwrap();
        let status = InstanceStatus {
            host: words[0].to_owned(),
            name: name.to_string(),
            id: if words[2] == "missing" {
                String::new()
            } else {
                id.clone()
            },
            slot: name.slot,
            attempt: name.attempt,
            address,
            state,
            ready: false,
            restarts: 0,
            since: Some(Time(at(80))),
        };
        let release = observed
            .releases
            .iter_mut()
            .rev()
            .find(|r| r.spec.revision == name.revision.as_str())
            .unwrap();
        release.status.as_mut().unwrap().stages[0]
            .instances
            .push(status);
    }
    if words.contains(&"unusable") {
        observed.failures.push(StepFailure {
            place: words[0].to_owned(),
            step: format!("start {name}"),
            class: FailureClass::Unusable,
            message: "task already exists".to_owned(),
            attempts: 1,
            retry_at: at(NOW),
        });
    }
    let facts = observed.hosts.get_mut(words[0]).unwrap();
    if words[2] != "missing" {
        let container = container(words, name.clone(), id.clone(), address);
        entry(facts, words, &container, address);
        if let Fact::Known(containers) = &mut facts.containers {
            containers.push(container);
        }
    }
}

fn container(words: &[&str], name: InstanceName, id: String, address: Ipv4Addr) -> ContainerFacts {
    let state = match words[2] {
        "created" => ContainerState::Created,
        "running" => ContainerState::Running,
        "exited" => ContainerState::Exited,
        "restarting" => ContainerState::Restarting,
        "paused" => ContainerState::Paused,
        other => panic!("unknown state {other}"),
    };
    let begun = state != ContainerState::Created;
    let since = |prefix: &str| {
        words
            .iter()
            .find_map(|word| word.strip_prefix(prefix))
            .map(|second| at(second.parse().unwrap()))
    };
    let readiness = match (since("ready@"), since("unready@")) {
        (Some(since), _) => Readiness::Ready(since),
        (None, since) => Readiness::NotReady {
            since,
            why: "503".to_owned(),
        },
    };
    ContainerFacts {
        id,
        name: name.to_string(),
        instance: name,
        role: Role::Instance,
        state,
        stopping: words.contains(&"stopping"),
        exit_code: (state == ContainerState::Exited).then_some(1),
        oom_killed: words.contains(&"oom"),
        started_at: begun.then(|| at(85)),
        started_at_text: if begun {
            "85".to_owned()
        } else {
            String::new()
        },
        finished_at: (state == ContainerState::Exited).then(|| at(99)),
        created_at: Some(at(if words.contains(&"old") { 40 } else { 84 })),
        restart_count: 0,
        restart_policy: if words.contains(&"always") {
            RestartPolicy::Always
        } else {
            RestartPolicy::No
        },
        address: (!words.contains(&"unplugged")).then_some(address),
        resources: Resources {
            memory: i64::from(words.contains(&"squeezed")) << 20,
            ..Resources::default()
        },
        network_gone: false,
        readiness,
        log_tail: Vec::new(),
    }
}

fn entry(facts: &mut HostFacts, words: &[&str], container: &ContainerFacts, address: Ipv4Addr) {
    let Fact::Known(proxy) = &mut facts.proxy else {
        return;
    };
    if let Some(flight) = words.iter().find_map(|word| word.strip_prefix("flight=")) {
        proxy
            .in_flight
            .insert(container.id.clone(), flight.parse().unwrap());
    }
    let state = words.iter().find_map(|word| match *word {
        "checked" => Some(RouteState::Checked),
        "routed" => Some(RouteState::Routed),
        "draining" => Some(RouteState::Draining),
        _ => None,
    });
    let Some(state) = state else { return };
    let section = proxy.section.get_or_insert_with(|| Section {
        namespace: "default".to_owned(),
        pipeline: "shop".to_owned(),
        stage: "default".to_owned(),
        owner_uid: "u".to_owned(),
        owner_created: "1970-01-01T00:00:00Z".to_owned(),
        version: 7,
        route: Some(routes::Route {
            hosts: vec!["shop.test".to_owned()],
            default: false,
            paths: vec![routes::PathRule::root()],
        }),
        revisions: BTreeMap::new(),
        instances: Vec::new(),
        drain: routes::Drain::default(),
        response_timeout_seconds: 60,
    });
    let revision = container.instance.revision.to_string();
    let route = section
        .revisions
        .entry(revision.clone())
        .or_insert_with(|| RevisionRoute {
            weight: 0,
            check: Some(routes::Check::new(routes::Probe::Tcp { port: 80 })),
        });
    route.weight += u32::from(state == RouteState::Routed);
    section.instances.push(Instance {
        name: container.instance.to_string(),
        container_id: container.id.clone(),
        started_at: container.started_at_text.clone(),
        revision,
        address,
        port: Some(80),
        state,
    });
    section.instances.sort_by(|a, b| a.name.cmp(&b.name));
}

/// Gives every host its tags, and Releases and target their image IDs.
fn finish(pipeline: &mut DeploymentPipeline, observed: &mut Observed, want: &str) {
    let hosts: Vec<String> = observed.hosts.keys().cloned().collect();
    pipeline.spec.source.image = format!("shop:{want}");
    observed.target.image = Ok(image(want, &hosts));
    observed.target.revision = Some(revision(want));
    for release in &mut observed.releases {
        let letter = release.spec.revision[..1].to_owned();
        release.spec.image = image(&letter, &hosts);
    }
    let pulled = ReleaseImage {
        repository: "r.test/shop".to_owned(),
        digest: format!("sha256:{}", want.repeat(64)),
        reference: format!("shop:{want}"),
        ..ReleaseImage::default()
    };
    let is_pulled = pipeline.spec.source.image_pull_policy.is_some();
    if is_pulled {
        observed.target.image = Ok(pulled.clone());
        let wanted = observed
            .releases
            .iter_mut()
            .filter(|release| release.spec.revision == revision(want));
        wanted.for_each(|release| release.spec.image = pulled.clone());
    }
    for facts in observed.hosts.values_mut() {
        if let Some(pull) = facts.pulls.remove("") {
            facts.pulls.insert(pulled.pulled().unwrap(), pull);
        }
        let Fact::Known(images) = &mut facts.images else {
            continue;
        };
        if images.remove("").is_none() {
            for release in &observed.releases {
                let tag = format!("mooring/default/shop:{}", release.spec.revision);
                images.insert(tag, Some("sha256:1".to_owned()));
            }
        }
        if is_pulled {
            let tag = format!("mooring/default/shop:{}", revision(want));
            images.insert(tag, None);
        }
    }
}
