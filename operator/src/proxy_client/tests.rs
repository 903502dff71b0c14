//! The session against a scripted proxy on the other end of a pipe, with time standing still.

use std::sync::Mutex;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use routes::{FromProxy, Hello, ReportKind, ToProxy};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::*;

const INSTALL: &str = "11111111111111111111111111111111";

/// The proxy's end of one stream.
struct Far(DuplexStream);

impl Far {
    async fn read(&mut self) -> ToProxy {
        let length = self.0.read_u32().await.expect("a frame");
        let mut body = vec![0; length as usize];
        self.0.read_exact(&mut body).await.expect("a whole frame");
        serde_json::from_slice(&body).expect("a frame of the protocol")
    }

    /// The next frame that is no heartbeat.
    async fn next(&mut self) -> ToProxy {
        loop {
            let frame = self.read().await;
            if frame != ToProxy::Heartbeat {
                return frame;
            }
        }
    }

    async fn request(&mut self) -> (u64, Request) {
        match self.next().await {
            ToProxy::Request { id, request } => (id, *request),
            other => panic!("not a request: {other:?}"),
        }
    }

    async fn write(&mut self, frame: &FromProxy) {
        let body = serde_json::to_vec(frame).expect("a frame");
        let length = u32::try_from(body.len()).expect("short");
        self.0.write_u32(length).await.expect("written");
        self.0.write_all(&body).await.expect("written");
    }

    async fn greet(&mut self) {
        let ToProxy::Hello(hello) = self.next().await else {
            panic!("the operator speaks first");
        };
        assert_eq!(hello.install.as_deref(), Some(INSTALL));
        self.write(&FromProxy::Hello(Hello::new("0.1.0", None)))
            .await;
    }

    async fn acknowledge(&mut self, id: u64, version: u64) {
        let reply = Box::new(Reply::Acked {
            version,
            persisted: true,
            conflicts: Vec::new(),
        });
        self.write(&FromProxy::Reply { id, reply }).await;
    }
}

/// A session, the far ends of the streams it opens, and what it tells.
struct World {
    session: ProxySession,
    streams: mpsc::UnboundedReceiver<DuplexStream>,
    heard: mpsc::UnboundedReceiver<Heard>,
    effects: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

impl Drop for World {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Notes effects and lets them pass.
struct Notes(Arc<Mutex<Vec<String>>>);

impl Gate for Notes {
    fn pass(&self, effect: Effect, run: BoxFuture<'static, ()>) -> BoxFuture<'static, ()> {
        self.0.lock().expect("one thread").push(effect.to_string());
        run
    }
}

impl World {
    fn new() -> World {
        let effects: Arc<Mutex<Vec<String>>> = Arc::default();
        let session = ProxySession::new(
            "local",
            Fence {
                install: INSTALL.to_owned(),
                epoch: Epoch::fixed(4),
                gate: Arc::new(Notes(Arc::clone(&effects))),
            },
        );
        let (opened, streams) = mpsc::unbounded_channel();
        let (told, heard) = mpsc::unbounded_channel();
        let running = session.clone();
        let task = tokio::spawn(async move {
            let jitter = Jitter::new(1);
            let open = |container: String| {
                assert_eq!(container, "c1");
                let (near, far) = tokio::io::duplex(1 << 16);
                opened.send(far).expect("the test listens");
                async move { Ok(Box::new(near) as Box<dyn ByteStream>) }.boxed()
            };
            let hear = move |what| {
                let _ = told.send(what);
            };
            running.run(open, &jitter, hear).await;
        });
        World {
            session,
            streams,
            heard,
            effects,
            task,
        }
    }

    async fn open(&mut self) -> Far {
        let mut far = Far(self.streams.recv().await.expect("a stream"));
        far.greet().await;
        assert_eq!(self.heard.recv().await, Some(Heard::Opened));
        far
    }
}

fn key() -> SectionKey {
    SectionKey::new("default", "shop", "default")
}

#[tokio::test(start_paused = true)]
async fn requests_find_their_replies_in_any_order() {
    let mut world = World::new();
    world.session.attach(Some("c1"));
    let mut far = world.open().await;
    let (first, second) = (world.session.clone(), world.session.clone());
    let first = tokio::spawn(async move { first.drop_section(key(), 7).await });
    let (first_id, request) = far.request().await;
    let Request::Drop {
        install,
        epoch,
        expect_version,
        ..
    } = request
    else {
        panic!("not a drop");
    };
    assert_eq!((install.as_str(), epoch, expect_version), (INSTALL, 4, 7));
    let second = tokio::spawn(async move { second.claim().await });
    let (second_id, _) = far.request().await;
    far.acknowledge(second_id, 22).await;
    far.acknowledge(first_id, 11).await;
    let version = |acked: Result<Acked, ProxyError>| acked.expect("acknowledged").version;
    assert_eq!(version(first.await.expect("it ends")), 11);
    assert_eq!(version(second.await.expect("it ends")), 22);
    assert_eq!(
        *world.effects.lock().expect("one thread"),
        [
            "push drop section local default/shop/default",
            "push claim proxy local local"
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn what_is_sent_and_not_answered_is_unknown_and_what_is_not_sent_is_not() {
    let mut world = World::new();
    let detached = world.session.claim().await;
    assert!(
        matches!(detached, Err(ProxyError::Unreachable { .. })),
        "{detached:?}"
    );
    world.session.attach(Some("c1"));
    let mut far = world.open().await;
    let session = world.session.clone();
    let claim = tokio::spawn(async move { session.claim().await });
    far.request().await;
    // Heartbeats go on, so that only the request runs out of time.
    let beating = tokio::spawn(async move {
        loop {
            far.write(&FromProxy::Heartbeat).await;
            tokio::time::sleep(Duration::from_secs(1)).await;
            if let Ok(ToProxy::Request { id, .. }) =
                tokio::time::timeout(Duration::ZERO, far.read()).await
            {
                far.acknowledge(id, 1).await;
            }
        }
    });
    let unknown = claim.await.expect("it ends");
    assert!(
        matches!(unknown, Err(ProxyError::Unknown { .. })),
        "{unknown:?}"
    );
    beating.abort();
}

#[tokio::test(start_paused = true)]
async fn a_refusal_says_why() {
    let mut world = World::new();
    world.session.attach(Some("c1"));
    let mut far = world.open().await;
    let session = world.session.clone();
    let claim = tokio::spawn(async move { session.claim().await });
    let (id, _) = far.request().await;
    let reason = routes::Refusal::StaleEpoch { highest: 9 };
    let reply = Box::new(Reply::Refused {
        reason: reason.clone(),
    });
    far.write(&FromProxy::Reply { id, reply }).await;
    match claim.await.expect("it ends") {
        Err(ProxyError::Refused {
            reason: said,
            message,
            ..
        }) => {
            assert_eq!(said, reason);
            assert!(message.contains("epoch 9"), "{message}");
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn silence_ends_a_session_and_another_is_opened() {
    let mut world = World::new();
    world.session.attach(Some("c1"));
    let mut far = world.open().await;
    let report = Report {
        key: Some(key()),
        kind: ReportKind::Readiness,
    };
    far.write(&FromProxy::Report(report.clone())).await;
    assert_eq!(world.heard.recv().await, Some(Heard::Report(report)));
    // The far end keeps the stream open and says nothing.
    let closed = world.heard.recv().await;
    assert_eq!(closed, Some(Heard::Closed("silence for 10 s".to_owned())));
    let mut again = world.open().await;
    let session = world.session.clone();
    let claim = tokio::spawn(async move { session.claim().await });
    let (id, _) = again.request().await;
    again.acknowledge(id, 1).await;
    claim.await.expect("it ends").expect("acknowledged");
    drop(far);
}

#[tokio::test(start_paused = true)]
async fn a_proxy_that_requires_the_unknown_is_not_spoken_to() {
    let mut world = World::new();
    world.session.attach(Some("c1"));
    let mut far = Far(world.streams.recv().await.expect("a stream"));
    far.next().await;
    let hello = Hello {
        required: vec!["http9".to_owned()],
        ..Hello::new("9.0.0", None)
    };
    far.write(&FromProxy::Hello(hello)).await;
    let refused = world.session.claim().await;
    match refused {
        Err(ProxyError::Unreachable { message, .. }) => {
            assert!(message.contains("http9"), "{message}");
        }
        other => panic!("{other:?}"),
    }
}
