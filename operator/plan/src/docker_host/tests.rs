//! Tables: a host as it is found, and the plan as people read it.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crds::{ConditionStatus, ConditionType, names};

use super::*;
use crate::fact::FailureClass;

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
            orphans: Vec::new(),
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
fn bridges_go_with_the_last_instance_and_the_older_of_two_stays() {
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
    inventory(&mut observed).instances.clear();
    inventory(&mut observed).networks.remove(0);
    check(
        &object(),
        &observed,
        &[
            "remove bridge mooring.a on local",
            "event Normal HostReady: instances can run and be reached",
        ],
    );
}

#[test]
fn sections_without_owner_go_unless_their_containers_go_on() {
    let mut observed = serving();
    let orphan = |pipeline: &str, containers: &[&str]| Orphan {
        key: SectionKey::new("a", pipeline, "default"),
        version: 7,
        containers: containers.iter().map(|name| (*name).to_owned()).collect(),
    };
    inventory(&mut observed).orphans = vec![orphan("gone", &[]), orphan("kept", &["c1"])];
    check(
        &object(),
        &observed,
        &[
            "drop section a/gone/default on local",
            "event Normal HostReady: instances can run and be reached",
        ],
    );
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
