//! Tables: a host as it is found, and the plan as people read it.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crds::{ConditionStatus, ConditionType, names};

use super::*;
use crate::deployment_pipeline::moment;
use crate::fact::FailureClass;
use crds::docker_host::{GarbageKind, GarbageStatus};

const MINE: &str = "11111111111111111111111111111111";
const HOST: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

/// What is different in a world.
type Change = fn(&mut Observed);

fn now() -> Timestamp {
    "2026-01-01T00:00:00Z".parse().expect("a time")
}

fn object() -> DockerHost {
    let mut object: DockerHost = serde_json::from_value(serde_json::json!({
        "apiVersion": "mooring.dev/v1alpha1",
        "kind": "DockerHost",
        "metadata": {"name": "local", "uid": "u2", "generation": 3, "finalizers": [FINALIZER]},
        "spec": {},
    }))
    .expect("a DockerHost");
    object.metadata.creation_timestamp = Some(Time(now()));
    object
}

/// An Engine with nothing on it.
fn empty() -> Observed {
    Observed {
        engine: Ok(EngineFacts {
            version: "20.10.24".to_owned(),
            api_version: "1.41".to_owned(),
            os: "linux".to_owned(),
            architecture: "amd64".to_owned(),
            form: EngineForm::Native,
            live_restore: false,
        }),
        inventory: Fact::Known(Inventory {
            volume: StateVolume::Absent,
            proxies: Vec::new(),
            foreign: BTreeSet::new(),
            images: BTreeSet::new(),
            networks: Vec::new(),
            instances: BTreeMap::new(),
            ownerless: BTreeSet::new(),
            orphans: Vec::new(),
            strays: BTreeSet::new(),
        }),
        proxy: Fact::Unknown("no running proxy is known".to_owned()),
        others: Vec::new(),
        namespaces: BTreeSet::new(),
        routes: Fact::Known(BTreeMap::new()),
        binary: Ok("0123456789ab".to_owned()),
        install: MINE.to_owned(),
        epoch: 4,
        fresh_host_id: HOST.to_owned(),
        failures: Vec::new(),
    }
}

fn container(sha12: &str, state: ContainerState) -> ProxyContainer {
    ProxyContainer {
        id: format!("id-{sha12}"),
        name: names::proxy_container(sha12),
        made_as: names::proxy_container(sha12),
        state,
        restart_policy: RestartPolicy::Always,
        http_port: Some(80),
        claimed: Some(false),
        log_tail: Vec::new(),
    }
}

/// A host that serves.
fn serving() -> Observed {
    let mut observed = empty();
    *inventory(&mut observed) = Inventory {
        volume: StateVolume::Ours {
            host_id: HOST.to_owned(),
        },
        proxies: vec![container("0123456789ab", ContainerState::Running)],
        images: BTreeSet::from(["0123456789ab".to_owned()]),
        ..inventory(&mut empty()).clone()
    };
    observed.proxy = Fact::Known(ProxyReport {
        version: "0.1.0".to_owned(),
        install: Some(MINE.to_owned()),
        epoch: 4,
        listener: Listener::Bound {
            port: 80,
            ipv6: true,
        },
    });
    observed
}

fn inventory(observed: &mut Observed) -> &mut Inventory {
    match &mut observed.inventory {
        Fact::Known(inventory) => inventory,
        Fact::Unknown(_) => panic!("the world has an inventory"),
    }
}

fn network(name: &str, subnet: &str, bridge_of: Option<&str>) -> Network {
    Network {
        id: format!("id-{name}"),
        name: name.to_owned(),
        subnets: vec![subnet.to_owned()],
        created: "2026-01-01".to_owned(),
        bridge_of: bridge_of.map(str::to_owned),
    }
}

/// The plan as text, and `READY: reason: message`.
fn check(object: &DockerHost, observed: &Observed, expected: &[&str]) -> String {
    let plan = decide(object, observed, now());
    let text = plan.to_string();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines, expected);
    let ready = &plan.record.conditions[0];
    assert_eq!(ready.type_, crds::ConditionType::Ready);
    format!("{:?} {:?}: {}", ready.status, ready.reason, ready.message)
}

#[test]
fn a_new_host_is_claimed_by_steps_that_each_leave_it_findable() {
    let mut fresh = object();
    fresh.metadata.finalizers = None;
    let mut observed = empty();
    let ready = check(
        &fresh,
        &observed,
        &[
            "add finalizer",
            "create the proxy's volume on local",
            "load proxy image 0123456789ab on local",
            "create proxy 0123456789ab for port 80 on local",
        ],
    );
    assert_eq!(ready, "False ProxyUnreachable: the proxy is being made");
    let plan = decide(&object(), &observed, now());
    assert_eq!(
        plan.record.host_id.as_deref(),
        Some(HOST),
        "recorded before the volume carries it"
    );
    *inventory(&mut observed) = inventory(&mut serving()).clone();
    inventory(&mut observed).proxies[0].state = ContainerState::Created;
    check(
        &object(),
        &observed,
        &[
            "write the claim on local",
            "start mooring-proxy-0123456789ab on local",
        ],
    );
    let ready = check(
        &object(),
        &serving(),
        &["event Normal HostReady: instances can run and be reached"],
    );
    assert!(ready.starts_with("True AsDeclared"), "{ready}");
}

#[test]
fn the_recorded_identity_is_kept_and_the_volumes_wins() {
    let mut recorded = object();
    recorded.status = Some(DockerHostStatus {
        host_id: Some("b".repeat(32)),
        ..DockerHostStatus::default()
    });
    assert_eq!(host_id(&recorded, &empty()), "b".repeat(32));
    assert_eq!(host_id(&recorded, &serving()), HOST);
}

#[test]
fn what_cannot_be_used_is_said_and_left_alone() {
    let cases: [(Change, &str); 8] = [
        (
            |o| o.engine = Err(EngineTrouble::Unreachable("no such file".to_owned())),
            "Unknown Unreachable: the Engine at unix:///var/run/docker.sock does not answer; what runs there is left alone; start it, or correct spec.endpoint (no such file)",
        ),
        (
            |o| o.engine = Err(EngineTrouble::Incompatible("too old".to_owned())),
            "False EngineTooOld: too old",
        ),
        (
            |o| engine(o).form = EngineForm::Rootless,
            "False RootlessUnsupported",
        ),
        (
            |o| engine(o).form = EngineForm::Desktop,
            "False DesktopUnsupported",
        ),
        (
            |o| engine(o).os = "windows".to_owned(),
            "False PlatformUnsupported",
        ),
        (
            |o| o.inventory = Fact::Unknown("cut".to_owned()),
            "Unknown Unreachable: the Engine at unix:///var/run/docker.sock does not answer; what runs there is left alone; start it, or correct spec.endpoint (cut)",
        ),
        (
            |o| {
                inventory(o).volume = StateVolume::Foreign {
                    install: Some("2".repeat(32)),
                }
            },
            "False HostClaimed: the host belongs to install 2222",
        ),
        (
            |o| inventory(o).volume = StateVolume::Foreign { install: None },
            "False ForeignObject: the volume mooring-proxy is not Mooring's",
        ),
    ];
    for (change, expected) in cases {
        let mut observed = serving();
        change(&mut observed);
        let plan = decide(&object(), &observed, now());
        assert!(plan.is_converged(), "no step: {plan}");
        let ready = &plan.record.conditions[0];
        let text = format!("{:?} {:?}: {}", ready.status, ready.reason, ready.message);
        assert!(text.starts_with(expected), "{text}");
    }
}

fn engine(observed: &mut Observed) -> &mut EngineFacts {
    observed.engine.as_mut().expect("the world has an Engine")
}

#[test]
fn the_younger_of_two_with_one_identity_lets_go() {
    let mut observed = serving();
    let other = |uid: &str| OtherHost {
        name: "other".to_owned(),
        host_id: HOST.to_owned(),
        created: Some(now()),
        uid: uid.to_owned(),
    };
    observed.others = vec![other("u3")];
    let ready = check(
        &object(),
        &observed,
        &["event Normal HostReady: instances can run and be reached"],
    );
    assert!(ready.starts_with("True"), "the other is younger: {ready}");
    observed.others = vec![other("u1")];
    let plan = decide(&object(), &observed, now());
    assert!(plan.is_converged());
    assert_eq!(plan.record.conditions[0].reason, Reason::HostClaimed);
    assert_eq!(plan.record.host_id, None);
    let mut deleted = object();
    deleted.metadata.deletion_timestamp = Some(Time(now()));
    assert_eq!(
        decide(&deleted, &observed, now()).api,
        [ApiStep::DropFinalizer],
        "it has nothing to clean up"
    );
}

#[test]
fn a_proxy_that_serves_is_left_alone_whatever_its_binary() {
    let mut observed = serving();
    observed.binary = Ok("ffffffffffff".to_owned());
    let ready = check(
        &object(),
        &observed,
        &["event Normal HostReady: instances can run and be reached"],
    );
    assert!(ready.starts_with("True"));
    observed.binary = Err("no file".to_owned());
    let ready = check(
        &object(),
        &observed,
        &["event Normal HostReady: instances can run and be reached"],
    );
    assert!(ready.starts_with("True"));
    // Stopped by hand with an old binary: nobody is served by it, so it comes back as today's.
    observed.binary = Ok("ffffffffffff".to_owned());
    observed.proxy = Fact::Unknown("gone".to_owned());
    inventory(&mut observed).proxies[0].state = ContainerState::Exited;
    check(
        &object(),
        &observed,
        &["remove mooring-proxy-0123456789ab on local"],
    );
    observed.binary = Err("no file".to_owned());
    inventory(&mut observed).proxies[0].claimed = Some(true);
    check(
        &object(),
        &observed,
        &["start mooring-proxy-0123456789ab on local"],
    );
}

#[test]
fn a_proxy_that_cannot_be_started_any_more_is_made_anew() {
    let mut observed = serving();
    observed.proxy = Fact::Unknown("gone".to_owned());
    inventory(&mut observed).proxies[0].state = ContainerState::Exited;
    inventory(&mut observed).proxies[0].claimed = Some(true);
    for (class, step) in [
        (FailureClass::Transient, "start"),
        (FailureClass::Unknown, "start"),
        (FailureClass::Unusable, "remove"),
    ] {
        observed.failures = vec![StepFailure {
            place: "local".to_owned(),
            step: "start mooring-proxy-0123456789ab".to_owned(),
            class,
            message: "task already exists".to_owned(),
            attempts: 1,
            retry_at: now(),
        }];
        let plan = decide(&object(), &observed, now());
        assert_eq!(
            plan.hosts["local"][0].to_string(),
            format!("{step} mooring-proxy-0123456789ab")
        );
    }
}

#[test]
fn a_proxy_is_put_right() {
    let cases: [(Change, &[&str]); 6] = [
        (
            |o| inventory(o).proxies[0].state = ContainerState::Paused,
            &["unpause mooring-proxy-0123456789ab on local"],
        ),
        (
            |o| inventory(o).proxies[0].restart_policy = RestartPolicy::No,
            &["set restart policy of mooring-proxy-0123456789ab to always on local"],
        ),
        (
            |o| inventory(o).proxies[0].name = "mine".to_owned(),
            &["rename mine to mooring-proxy-0123456789ab on local"],
        ),
        (
            |o| inventory(o).proxies[0].http_port = Some(8080),
            &[
                "stop mooring-proxy-0123456789ab within 10s on local",
                "remove mooring-proxy-0123456789ab on local",
            ],
        ),
        (
            |o| {
                let second = container("ffffffffffff", ContainerState::Exited);
                inventory(o).proxies.insert(0, second);
            },
            &["remove mooring-proxy-ffffffffffff on local"],
        ),
        (
            |o| {
                if let Fact::Known(report) = &mut o.proxy {
                    report.epoch = 3;
                }
            },
            &["claim the proxy on local"],
        ),
    ];
    for (change, expected) in cases {
        let mut observed = serving();
        change(&mut observed);
        let plan = decide(&object(), &observed, now());
        let text = plan.to_string();
        let steps: Vec<&str> = text
            .lines()
            .filter(|line| !line.starts_with("event"))
            .collect();
        assert_eq!(steps, expected);
    }
}

#[test]
fn what_the_proxy_misses_is_named() {
    let mut observed = serving();
    if let Fact::Known(report) = &mut observed.proxy {
        report.listener = Listener::PortTaken {
            port: 80,
            holder: Some("nginx (process 12)".to_owned()),
        };
    }
    let plan = decide(&object(), &observed, now());
    let ready = &plan.record.conditions[0];
    assert_eq!(ready.reason, Reason::PortTaken);
    assert!(ready.message.contains("nginx (process 12)"));
    assert!(!blocks_pipelines(ready.reason));
    assert!(blocks_pipelines(Reason::HostClaimed));
    let mut observed = empty();
    observed.binary = Err("no file /opt/mooring-proxy-amd64".to_owned());
    let ready = check(
        &object(),
        &observed,
        &["event Warning HostNotReady: no file /opt/mooring-proxy-amd64"],
    );
    assert_eq!(
        ready,
        "False ProxyMissing: no file /opt/mooring-proxy-amd64"
    );
    let mut observed = empty();
    observed.failures = vec![StepFailure {
        place: "local".to_owned(),
        step: "create the proxy's volume".to_owned(),
        class: FailureClass::Transient,
        message: "disk full".to_owned(),
        attempts: 1,
        retry_at: now(),
    }];
    let plan = decide(&object(), &observed, now());
    assert_eq!(
        plan.record.conditions[0].message,
        "create the proxy's volume: disk full"
    );
}

#[test]
fn each_namespace_with_a_pipeline_gets_the_first_free_range() {
    let mut observed = serving();
    observed.namespaces = BTreeSet::from(["a".to_owned(), "b".to_owned(), "c".to_owned()]);
    observed.routes = Fact::Known(BTreeMap::from([
        ("10.210.8.0/24".to_owned(), "tun0".to_owned()),
        ("10.210.0.0/22".to_owned(), "br-1".to_owned()),
    ]));
    inventory(&mut observed).networks = vec![
        network("mooring.a", "10.210.0.0/22", Some("a")),
        network("bridge", "172.17.0.0/16", None),
        network("compose", "10.210.4.0/24", None),
    ];
    check(
        &object(),
        &observed,
        &[
            "create bridge of b with 10.210.12.0/22 on local",
            "create bridge of c with 10.210.16.0/22 on local",
            "event Normal HostReady: instances can run and be reached",
        ],
    );
    // A bridge that was pruned comes back with its range, since stopped instances have addresses of it.
    let mut recorded = object();
    recorded.status = Some(DockerHostStatus {
        networks: vec![NetworkStatus {
            namespace: "c".to_owned(),
            id: "gone".to_owned(),
            subnet: "10.210.20.0/22".to_owned(),
        }],
        ..DockerHostStatus::default()
    });
    let plan = decide(&recorded, &observed, now());
    assert!(
        plan.to_string()
            .contains("create bridge of c with 10.210.20.0/22")
    );
}

#[test]
fn a_full_range_and_a_clash_are_told_apart() {
    let mut small = object();
    small.spec.network.cidr = "10.0.0.0/22".to_owned();
    let mut observed = serving();
    observed.namespaces = BTreeSet::from(["a".to_owned(), "b".to_owned()]);
    inventory(&mut observed).networks = vec![network("mooring.a", "10.0.0.0/22", Some("a"))];
    let plan = decide(&small, &observed, now());
    assert_eq!(plan.record.conditions[0].reason, Reason::NetworkFull);
    observed.routes = Fact::Known(BTreeMap::from([(
        "10.0.0.0/8".to_owned(),
        "tun0".to_owned(),
    )]));
    inventory(&mut observed).networks.clear();
    let plan = decide(&small, &observed, now());
    let ready = &plan.record.conditions[0];
    assert_eq!(ready.reason, Reason::NetworkClash);
    assert!(
        ready
            .message
            .contains("the route to 10.0.0.0/8 through tun0"),
        "{}",
        ready.message
    );
    inventory(&mut observed).networks = vec![network("mooring.a", "10.9.0.0/16", None)];
    let plan = decide(&small, &observed, now());
    assert_eq!(plan.record.conditions[0].reason, Reason::ForeignObject);
}

#[test]
fn of_two_bridges_of_a_namespace_the_older_one_stays() {
    let mut observed = serving();
    let mut second = network("mooring.a", "10.210.4.0/22", Some("a"));
    second.id = "id-second".to_owned();
    second.created = "2026-01-02".to_owned();
    inventory(&mut observed).networks =
        vec![second, network("mooring.a", "10.210.0.0/22", Some("a"))];
    inventory(&mut observed)
        .instances
        .insert(("a".to_owned(), "shop".to_owned()), 2);
    let plan = decide(&object(), &observed, now());
    let removed: Vec<&Step> = plan.hosts["local"].iter().collect();
    assert_eq!(
        removed,
        [&Step::RemoveBridge {
            id: "id-second".to_owned(),
            name: "mooring.a".to_owned()
        }]
    );
    assert_eq!(plan.record.instances, 2);
}

/// An object that has found these to be nobody's so many seconds ago.
fn remembering(seconds_ago: i64, garbage: &[(GarbageKind, &str)]) -> DockerHost {
    let since = now().checked_sub(jiff::SignedDuration::from_secs(seconds_ago));
    let since = Time(since.expect("a time"));
    let mut object = object();
    object.status = Some(DockerHostStatus {
        garbage: garbage
            .iter()
            .map(|(kind, name)| GarbageStatus {
                kind: *kind,
                name: (*name).to_owned(),
                since: since.clone(),
            })
            .collect(),
        ..DockerHostStatus::default()
    });
    object
}

fn orphan(pipeline: &str, entries: usize, containers: &[&str]) -> Orphan {
    Orphan {
        key: SectionKey::new("a", pipeline, "default"),
        version: 7,
        entries,
        containers: containers.iter().map(|name| (*name).to_owned()).collect(),
    }
}

fn steps(plan: &Plan<DockerHostStatus>) -> Vec<String> {
    let rows = plan.hosts.values().flatten();
    rows.map(ToString::to_string).collect()
}

/// A section, a bridge and an image of a pipeline that is gone.
fn abandoned() -> (Observed, [(GarbageKind, &'static str); 3]) {
    let mut observed = serving();
    inventory(&mut observed).networks = vec![network("mooring.a", "10.210.0.0/22", Some("a"))];
    inventory(&mut observed).orphans = vec![orphan("gone", 1, &[]), orphan("kept", 1, &["c1"])];
    inventory(&mut observed).strays = BTreeSet::from(["mooring/a/gone:0123456789".to_owned()]);
    // Another namespace has enough instances for it to be no more than a fifth.
    let bridge = network("mooring.b", "10.210.4.0/22", Some("b"));
    inventory(&mut observed).networks.push(bridge);
    let owner = ("b".to_owned(), "shop".to_owned());
    inventory(&mut observed).instances.insert(owner, 4);
    let all = [
        (GarbageKind::Section, "a/gone/default"),
        (GarbageKind::Network, "mooring.a"),
        (GarbageKind::Image, "mooring/a/gone:0123456789"),
    ];
    (observed, all)
}

#[test]
fn what_nobody_owns_goes_when_it_was_seen_again_five_minutes_later() {
    let (observed, all) = abandoned();
    let first = decide(&object(), &observed, now());
    assert_eq!(steps(&first), [""; 0], "nothing goes at first sight");
    let recorded = &first.record.garbage;
    let recorded: Vec<(GarbageKind, &str)> =
        recorded.iter().map(|g| (g.kind, g.name.as_str())).collect();
    assert_eq!(recorded, all);
    let due = moment::after(now(), 300);
    assert_eq!(first.wake, Some(due), "it is looked at when it is due");

    let early = decide(&remembering(299, &all), &observed, now());
    assert_eq!(steps(&early), [""; 0]);
    let again = decide(&remembering(300, &all), &observed, now());
    assert_eq!(
        steps(&again),
        [
            "drop section a/gone/default",
            "remove bridge mooring.a",
            "untag image mooring/a/gone:0123456789",
        ]
    );
    let other = [(GarbageKind::Section, "a/other/default")];
    let forgotten = decide(&remembering(300, &other), &observed, now());
    assert_eq!(steps(&forgotten), [""; 0], "each waits for itself");
    let none = decide(&remembering(300, &all), &serving(), now());
    assert_eq!(
        none.record.garbage,
        [],
        "what has an owner again is forgotten"
    );
}

#[test]
fn a_bridge_stays_while_its_namespace_has_a_pipeline_or_an_instance() {
    let all = [(GarbageKind::Network, "mooring.a")];
    let (mut observed, _) = abandoned();
    observed.namespaces.insert("a".to_owned());
    inventory(&mut observed).orphans.clear();
    inventory(&mut observed).strays.clear();
    assert_eq!(
        steps(&decide(&remembering(300, &all), &observed, now())),
        [""; 0]
    );
    observed.namespaces.clear();
    let instances = &mut inventory(&mut observed).instances;
    instances.insert(("a".to_owned(), "kept".to_owned()), 1);
    assert_eq!(
        steps(&decide(&remembering(300, &all), &observed, now())),
        [""; 0]
    );
}

/// A host with a section of so many entries whose containers are gone, and instances of pipelines that exist or not.
fn deserted(entries: usize, owned: u32, ownerless: u32) -> Observed {
    let mut observed = serving();
    observed.namespaces.insert("a".to_owned());
    let inventory = inventory(&mut observed);
    inventory.networks = vec![network("mooring.a", "10.210.0.0/22", Some("a"))];
    inventory.orphans = vec![orphan("gone", entries, &[])];
    for (name, count) in [("shop", owned), ("lost", ownerless)] {
        let owner = ("a".to_owned(), name.to_owned());
        inventory.instances.insert(owner, count);
    }
    inventory.ownerless = BTreeSet::from([("a".to_owned(), "lost".to_owned())]);
    observed
}

fn reconciling(plan: &Plan<DockerHostStatus>) -> &crds::Condition {
    let found = plan.record.conditions.iter();
    let mut found = found.filter(|condition| condition.type_ == ConditionType::Reconciling);
    found.next().expect("it is told")
}

#[test]
fn clean_up_is_told_before_it_is_done() {
    let (observed, all) = abandoned();
    let plan = decide(&object(), &observed, now());
    let told = reconciling(&plan);
    assert_eq!(
        (told.status, told.reason),
        (ConditionStatus::True, Reason::CleaningUp)
    );
    let message = "nobody owns these any more, so they are removed by 2026-01-01T00:05:00Z: section a/gone/default, network mooring.a, tag mooring/a/gone:0123456789. To keep them, apply their pipelines again before";
    assert_eq!(told.message, message);
    let news = |plan: &Plan<DockerHostStatus>| -> Vec<String> {
        let events = plan.events.iter().map(ToString::to_string);
        events.filter(|event| event.contains("Clean")).collect()
    };
    assert_eq!(news(&plan), [format!("Normal CleaningUp: {message}")]);
    let later = decide(&remembering(200, &all), &observed, now());
    assert_eq!(news(&later), [""; 0], "it is told once");
    let more = decide(&remembering(200, &all[..2]), &observed, now());
    assert_eq!(news(&more).len(), 1, "and again when there is more");
}

#[test]
fn a_long_list_is_counted() {
    let (mut observed, _) = abandoned();
    inventory(&mut observed).orphans.clear();
    let tags = (0..300).map(|number| format!("mooring/a/gone:{number:010}"));
    inventory(&mut observed).strays = tags.collect();
    let plan = decide(&object(), &observed, now());
    assert_eq!(
        plan.record.garbage.len(),
        256,
        "the rest waits for its turn"
    );
    let message = &reconciling(&plan).message;
    assert!(message.contains("246 more in status.garbage"), "{message}");
}

#[test]
fn more_than_a_fifth_of_the_instances_waits_for_a_person() {
    let all = [(GarbageKind::Section, "a/gone/default")];
    let dropped = ["drop section a/gone/default"];
    for (entries, owned, ownerless, expected) in [
        (4, 16, 0, &dropped[..]),
        (5, 16, 0, &[]),
        (1, 4, 0, &dropped[..]),
        (1, 3, 0, &[]),
        (1, 0, 0, &[]),
        // An API that lost its data: the instances run, and none has an owner.
        (0, 0, 16, &[]),
        (1, 15, 4, &[]),
        (1, 16, 3, &dropped[..]),
    ] {
        let world = deserted(entries, owned, ownerless);
        let plan = decide(&remembering(300, &all), &world, now());
        let case = format!("{entries} gone, {ownerless} without owner, {owned} with one");
        assert_eq!(steps(&plan), expected, "{case}");
        let is_held = reconciling(&plan).reason == Reason::CleanUpHeld;
        assert_eq!(is_held, expected.is_empty(), "{case}");
        let ready = &plan.record.conditions[0];
        assert_eq!(ready.reason, Reason::AsDeclared, "Ready all the same");
    }
    let plan = decide(&remembering(300, &all), &deserted(5, 16, 0), now());
    let message = &reconciling(&plan).message;
    for words in [
        "5 of 21 instances",
        "section a/gone/default",
        "apply them again",
        r#"kubectl patch dockerhost local --type=merge -p '{"spec":{"cleanUpAt":"2025-12-31T23:55:00Z"}}'"#,
    ] {
        assert!(message.contains(words), "{words} in {message}");
    }
    let warned = plan
        .events
        .iter()
        .any(|event| event.reason == "CleanUpHeld");
    assert!(warned, "{plan}");
}

#[test]
fn what_a_person_has_seen_goes_and_nothing_else() {
    let all = [
        (GarbageKind::Section, "a/gone/default"),
        (GarbageKind::Image, "mooring/a/gone:0123456789"),
    ];
    let mut world = deserted(5, 16, 0);
    inventory(&mut world).strays = BTreeSet::from(["mooring/a/gone:0123456789".to_owned()]);
    let mut host = remembering(400, &all);
    let status = host.status.as_mut().expect("a status");
    status.garbage[1].since = Time(moment::after(status.garbage[0].since.0, 60));
    let seconds_ago = |seconds: i64| now().checked_sub(jiff::SignedDuration::from_secs(seconds));
    let plan_at = |seconds: i64| {
        let mut host = host.clone();
        host.spec.clean_up_at = seconds_ago(seconds).ok().map(Time);
        decide(&host, &world, now())
    };
    let dropped = "drop section a/gone/default";
    let untagged = "untag image mooring/a/gone:0123456789";
    assert_eq!(steps(&plan_at(401)), [""; 0], "before anything was found");
    assert_eq!(steps(&plan_at(400)), [dropped]);
    assert_eq!(steps(&plan_at(340)), [dropped, untagged]);
    assert_eq!(steps(&plan_at(0)), [dropped, untagged]);
    let to_come = plan_at(-60);
    assert_eq!(steps(&to_come), [""; 0], "a time to come grants nothing");
    assert_eq!(to_come.wake, Some(moment::after(now(), 60)));
    let rest = plan_at(400);
    let held = reconciling(&rest);
    assert_eq!(held.reason, Reason::CleanUpHeld);
    let message = &held.message;
    assert!(!message.contains("section a/gone/default"), "{message}");
    assert!(message.contains("tag mooring/a/gone"), "{message}");
}

#[test]
fn a_host_that_is_away_is_let_go_only_if_nothing_was_made_there() {
    let mut deleted = object();
    deleted.metadata.deletion_timestamp = Some(Time(now()));
    let mut observed = empty();
    observed.engine = Err(EngineTrouble::Unreachable("gone".to_owned()));
    assert_eq!(
        decide(&deleted, &observed, now()).api,
        [ApiStep::DropFinalizer]
    );
    deleted.status = Some(DockerHostStatus {
        host_id: Some(HOST.to_owned()),
        ..DockerHostStatus::default()
    });
    assert!(decide(&deleted, &observed, now()).is_converged());
}

#[test]
fn a_host_with_instances_is_not_let_go() {
    let mut deleted = object();
    deleted.metadata.deletion_timestamp = Some(Time(now()));
    let mut observed = serving();
    inventory(&mut observed).networks = vec![network("mooring.a", "10.210.0.0/22", Some("a"))];
    inventory(&mut observed)
        .instances
        .insert(("a".to_owned(), "shop".to_owned()), 3);
    let plan = decide(&deleted, &observed, now());
    assert!(plan.is_converged());
    let reconciling = plan.record.conditions.last().expect("conditions");
    assert_eq!(reconciling.type_, crds::ConditionType::Reconciling);
    assert!(
        reconciling.message.contains("3 instances of a/shop (3)"),
        "{}",
        reconciling.message
    );
    inventory(&mut observed).instances.clear();
    check(
        &deleted,
        &observed,
        &[
            "stop mooring-proxy-0123456789ab within 10s on local",
            "remove mooring-proxy-0123456789ab on local",
            "remove bridge mooring.a on local",
            "remove the proxy's volume on local",
            "untag image mooring-proxy:0123456789ab on local",
        ],
    );
    check(&deleted, &empty(), &["drop finalizer"]);
}

#[test]
fn a_cordoned_host_says_so() {
    let mut object = object();
    object.spec.cordoned = true;
    let plan = decide(&object, &serving(), now());
    let ready = &plan.record.conditions[0];
    assert_eq!(
        (ready.status, ready.reason),
        (ConditionStatus::True, Reason::Cordoned)
    );
    assert!(ready.message.contains("no new ones"), "{}", ready.message);
}

#[test]
fn a_host_says_whether_a_restart_of_its_engine_is_safe() {
    for (live_restore, reason) in [
        (false, Reason::LiveRestoreOff),
        (true, Reason::LiveRestoreOn),
    ] {
        let mut observed = serving();
        if let Ok(engine) = &mut observed.engine {
            engine.live_restore = live_restore;
        }
        let plan = decide(&object(), &observed, now());
        let safe = plan
            .record
            .conditions
            .iter()
            .find(|c| c.type_ == ConditionType::EngineRestartSafe)
            .expect("it is said");
        assert_eq!(safe.reason, reason);
        assert!(safe.message.contains("Engine"), "{}", safe.message);
    }
}
