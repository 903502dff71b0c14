//! Sessions of operators: greeting, heartbeats, silence, reports, and peers that speak nonsense.

use std::time::Duration;

use proptest::prelude::*;
use proxy::{SessionEnd, Storage, frame};
use routes::InstanceState::{Checked, Routed};
use routes::limit::{HEARTBEAT, MAX_FRAME_BYTES, MAX_SESSIONS, SILENCE};
use routes::{Check, FromProxy, Hello, Probe, Refusal, Reply, ReportKind, Request, ToProxy};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use crate::world::{World, checked, echo, section};

struct Operator {
    stream: DuplexStream,
    session: JoinHandle<SessionEnd>,
}

impl Operator {
    fn open(world: &World) -> Self {
        let (stream, far) = duplex(1 << 20);
        let proxy = world.proxy.clone();
        let session = tokio::spawn(async move { proxy.session(far).await });
        Operator { stream, session }
    }

    async fn greeted(world: &World) -> Self {
        let mut operator = Self::open(world);
        operator
            .send(&ToProxy::Hello(Hello::new("test", Some("i1".to_owned()))))
            .await;
        let FromProxy::Hello(hello) = operator.next().await else {
            panic!("a greeting")
        };
        assert!(hello.offered.contains(&"websocket".to_owned()));
        operator
    }

    async fn send(&mut self, frame: &ToProxy) {
        frame::write(&mut self.stream, frame)
            .await
            .expect("written");
    }

    async fn next(&mut self) -> FromProxy {
        let bytes = frame::read(&mut self.stream)
            .await
            .expect("a frame")
            .expect("no end");
        serde_json::from_slice(&bytes).expect("json")
    }

    async fn ask(&mut self, id: u64, request: Request) -> Reply {
        self.send(&ToProxy::Request {
            id,
            request: Box::new(request),
        })
        .await;
        loop {
            match self.next().await {
                FromProxy::Reply { id: of, reply } if of == id => return *reply,
                FromProxy::Reply { .. } => panic!("a reply to somebody else"),
                FromProxy::Goodbye { reason } => panic!("{reason}"),
                FromProxy::Hello(_)
                | FromProxy::Report(_)
                | FromProxy::Heartbeat
                | FromProxy::Unknown => {}
            }
        }
    }

    async fn end(self) -> SessionEnd {
        self.session.await.expect("a session")
    }
}

#[tokio::test(start_paused = true)]
async fn requests_are_answered_and_changes_reported() {
    let world = World::new();
    let mut operator = Operator::greeted(&world).await;
    let mut other = Operator::greeted(&world).await;
    world.net.listen(1, echo("one"));
    let section = checked(
        section(&[(1, "a", Checked)]),
        &Check::new(Probe::Tcp { port: 8080 }),
    );
    let push = Request::Push {
        install: "i1".to_owned(),
        epoch: 1,
        expect_version: None,
        section: Box::new(section.clone()),
    };
    let Reply::Acked {
        version, persisted, ..
    } = operator.ask(7, push).await
    else {
        panic!("acknowledged")
    };
    assert!(persisted);
    let mut kinds = Vec::new();
    while kinds.len() < 2 {
        if let FromProxy::Report(report) = other.next().await {
            assert_eq!(report.key, Some(section.key()));
            kinds.push(report.kind);
        }
    }
    assert_eq!(kinds, [ReportKind::Table, ReportKind::Readiness]);
    let Reply::Status(status) = operator
        .ask(
            8,
            Request::Status {
                keys: vec![section.key()],
            },
        )
        .await
    else {
        panic!("a status");
    };
    assert_eq!(status.sections[&section.key()].section.version, version);
    assert_eq!(
        status.sections[&section.key()].instances["c1"].ready,
        Some(true)
    );
    assert_eq!(
        operator.ask(9, Request::Unknown).await,
        Reply::Refused {
            reason: Refusal::Unsupported
        }
    );
}

#[tokio::test(start_paused = true)]
async fn heartbeats_flow_and_silence_ends_a_session() {
    let world = World::new();
    let mut operator = Operator::greeted(&world).await;
    let begun = Instant::now();
    for beat in 1..=4 {
        assert_eq!(operator.next().await, FromProxy::Heartbeat);
        assert_eq!(begun.elapsed(), HEARTBEAT * beat);
        operator.send(&ToProxy::Heartbeat).await;
    }
    let silent = Instant::now();
    assert!(matches!(operator.end().await, SessionEnd::Silent));
    assert_eq!(silent.elapsed(), SILENCE);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_does_not_read_is_ended() {
    let world = World::new();
    let (mut stream, far) = duplex(64);
    let proxy = world.proxy.clone();
    let session = tokio::spawn(async move { proxy.session(far).await });
    let hello = ToProxy::Hello(Hello::new("test", None));
    let _ = timeout(Duration::from_secs(1), frame::write(&mut stream, &hello)).await;
    assert!(matches!(
        session.await.expect("a session"),
        SessionEnd::Silent
    ));
}

#[tokio::test(start_paused = true)]
async fn unknown_requirements_a_missing_greeting_and_a_ninth_session_are_refused_in_words() {
    let world = World::new();
    let goodbye = async |operator: &mut Operator| match operator.next().await {
        FromProxy::Goodbye { reason } => reason,
        other => panic!("{other:?}"),
    };
    let mut operator = Operator::open(&world);
    let mut hello = Hello::new("test", None);
    hello.required = vec!["http3".to_owned()];
    operator.send(&ToProxy::Hello(hello)).await;
    assert!(
        goodbye(&mut operator)
            .await
            .ends_with("does not know what is required: http3")
    );
    let mut operator = Operator::open(&world);
    operator.send(&ToProxy::Heartbeat).await;
    assert_eq!(
        goodbye(&mut operator).await,
        "the first frame must be Hello"
    );
    let mut open = Vec::new();
    for _ in 0..MAX_SESSIONS {
        open.push(Operator::greeted(&world).await);
    }
    let mut ninth = Operator::open(&world);
    assert_eq!(goodbye(&mut ninth).await, "too many sessions");
    drop(open);
    sleep(Duration::from_millis(1)).await;
    Operator::greeted(&world).await;
}

#[tokio::test(start_paused = true)]
async fn a_request_of_a_later_version_is_refused_by_its_id() {
    let world = World::new();
    let mut operator = Operator::greeted(&world).await;
    let later = br#"{"type":"Request","id":5,"request":{"type":"Push","install":"i","epoch":1,"section":{"state":"Warp"}}}"#;
    operator
        .stream
        .write_all(&u32::try_from(later.len()).expect("short").to_be_bytes())
        .await
        .expect("written");
    operator.stream.write_all(later).await.expect("written");
    let FromProxy::Reply { id: 5, reply } = operator.next().await else {
        panic!("a reply")
    };
    assert!(
        matches!(
            *reply,
            Reply::Refused {
                reason: Refusal::Invalid { .. }
            }
        ),
        "{reply:?}"
    );
    let status = operator.ask(6, Request::Status { keys: Vec::new() }).await;
    assert!(matches!(status, Reply::Status(_)), "the session goes on");
}

#[tokio::test(start_paused = true)]
async fn a_frame_over_the_limit_ends_the_session_without_its_memory() {
    let world = World::new();
    let mut operator = Operator::greeted(&world).await;
    let length = u32::try_from(MAX_FRAME_BYTES + 1).expect("a length");
    operator
        .stream
        .write_all(&length.to_be_bytes())
        .await
        .expect("written");
    let FromProxy::Goodbye { reason } = operator.next().await else {
        panic!("a goodbye")
    };
    assert!(reason.contains("larger than"), "{reason}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever bytes a peer sends, its session ends in bounded time and the proxy serves the next one.
    #[test]
    fn nonsense_ends_only_its_own_session(
        greeted in any::<bool>(),
        framed in any::<bool>(),
        bytes in prop::collection::vec(any::<u8>(), 0..300),
        json in "[\\[\\]{}\":,a-zA-Z0-9\\\\]{0,200}",
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().expect("a runtime");
        runtime.block_on(async {
            let world = World::new();
            let mut operator = if greeted { Operator::greeted(&world).await } else { Operator::open(&world) };
            if framed {
                let length = u32::try_from(json.len()).expect("short");
                let _ = operator.stream.write_all(&length.to_be_bytes()).await;
                let _ = operator.stream.write_all(json.as_bytes()).await;
            } else {
                let _ = operator.stream.write_all(&bytes).await;
            }
            let begun = Instant::now();
            let mut sink = Vec::new();
            let _ = operator.stream.read_to_end(&mut sink).await;
            operator.end().await;
            assert!(begun.elapsed() <= SILENCE + Duration::from_secs(5), "{:?}", begun.elapsed());
            Operator::greeted(&world).await;
        });
    }
}

#[tokio::test]
async fn the_connector_bridges_to_the_private_socket() {
    let directory = std::env::temp_dir().join(format!("mooring-connector-{}", std::process::id()));
    std::fs::create_dir_all(&directory).expect("a directory");
    let world = World::with(Storage::Directory(directory.clone()));
    world.push(&section(&[(1, "a", Routed)])).await;
    let (proxy, path) = (world.proxy.clone(), directory.clone());
    let control = tokio::spawn(async move { proxy.control(&path).await });
    let ((mut stdin, input), (output, mut stdout)) = (duplex(4096), duplex(1 << 20));
    let path = directory.clone();
    let bridge = tokio::spawn(async move { proxy::connector::run(&path, input, output).await });
    frame::write(&mut stdin, &ToProxy::Hello(Hello::new("test", None)))
        .await
        .expect("written");
    let ask = ToProxy::Request {
        id: 1,
        request: Box::new(Request::Status { keys: Vec::new() }),
    };
    frame::write(&mut stdin, &ask).await.expect("written");
    let mut seen = Vec::new();
    while seen.len() < 2 {
        let bytes = frame::read(&mut stdout)
            .await
            .expect("a frame")
            .expect("no end");
        seen.push(serde_json::from_slice::<FromProxy>(&bytes).expect("json"));
    }
    assert!(matches!(seen[0], FromProxy::Hello(_)), "{seen:?}");
    assert!(
        matches!(&seen[1], FromProxy::Reply { id: 1, reply } if matches!(**reply, Reply::Status(_))),
        "{seen:?}"
    );
    drop(stdin);
    timeout(Duration::from_secs(5), bridge)
        .await
        .expect("an end")
        .expect("no panic")
        .expect("a clean end");
    control.abort();
    std::fs::remove_dir_all(&directory).expect("removed");
}
