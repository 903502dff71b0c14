//! A network in memory: instances that are programs of a test, clients and operators as byte streams.
//!
//! Invariant: everything runs in the test's runtime, so paused time drives all of it.

use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use proxy::{Config, Dial, Dialling, Io, Proxy, Storage};
use routes::{
    Check, Drain, Instance, InstanceState, InstanceStatus, Reply, Request, RevisionRoute, Route,
    Section, SectionKey,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

const BUFFER: usize = 64 * 1024;

type Program = Arc<dyn Fn(DuplexStream) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>;

/// What listens at the addresses.
#[derive(Clone, Default)]
pub struct Net(Arc<Mutex<HashMap<SocketAddrV4, Option<Program>>>>);

impl Net {
    /// A program listens at `10.0.0.<last>:8080`.
    pub fn listen<F, R>(&self, last: u8, program: F)
    where
        F: Fn(DuplexStream) -> R + Send + Sync + 'static,
        R: Future<Output = ()> + Send + 'static,
    {
        let program: Program = Arc::new(move |stream| Box::pin(program(stream)));
        self.0
            .lock()
            .expect("net")
            .insert(address(last), Some(program));
    }

    /// Connects to it hang, as to a host that is gone.
    pub fn hang(&self, last: u8) {
        self.0.lock().expect("net").insert(address(last), None);
    }

    /// Connects to it are refused.
    pub fn refuse(&self, last: u8) {
        self.0.lock().expect("net").remove(&address(last));
    }
}

impl Dial for Net {
    fn dial(&self, address: SocketAddrV4) -> Dialling {
        let program = self.0.lock().expect("net").get(&address).cloned();
        Box::pin(async move {
            match program {
                Some(Some(program)) => {
                    let (near, far) = duplex(BUFFER);
                    tokio::spawn(program(far));
                    Ok(Box::new(near) as Box<dyn Io>)
                }
                Some(None) => std::future::pending().await,
                None => Err(io::ErrorKind::ConnectionRefused.into()),
            }
        })
    }
}

pub fn address(last: u8) -> SocketAddrV4 {
    SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, last), 8080)
}

/// A proxy and its network.
pub struct World {
    pub proxy: Proxy,
    pub net: Net,
}

impl World {
    pub fn new() -> Self {
        Self::with(Storage::Memory)
    }

    pub fn with(storage: Storage) -> Self {
        let net = Net::default();
        let proxy = Proxy::open(Config {
            storage,
            dial: Arc::new(net.clone()),
            workers: 0,
        });
        World { proxy, net }
    }

    /// Pushes as the one operator, at whatever version the section has.
    pub async fn push(&self, section: &Section) -> u64 {
        let expect_version = self
            .proxy
            .status()
            .sections
            .get(&section.key())
            .map(|s| s.section.version);
        let section = Box::new(section.clone());
        let push = Request::Push {
            install: "i1".to_owned(),
            epoch: 1,
            expect_version,
            section,
        };
        match self.proxy.request(push).await {
            Reply::Acked { version, .. } => version,
            other => panic!("not acknowledged: {other:?}"),
        }
    }

    pub fn instance(&self, section: &Section, name: &str) -> InstanceStatus {
        self.proxy.status().sections[&section.key()].instances[name].clone()
    }

    pub fn traffic(&self, section: &Section, revision: &str) -> routes::Traffic {
        self.proxy.status().sections[&section.key()].traffic[revision].clone()
    }

    /// A client's connection.
    pub fn connect(&self) -> DuplexStream {
        let (near, far) = duplex(BUFFER);
        let proxy = self.proxy.clone();
        tokio::spawn(async move {
            proxy
                .connection(far, IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)))
                .await
        });
        near
    }

    /// Sends bytes on a connection of their own and reads to its end. Requests should say `Connection: close`.
    pub async fn raw(&self, request: &str) -> String {
        let mut stream = self.connect();
        // The proxy may answer before it read everything.
        let _ = stream.write_all(request.as_bytes()).await;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.expect("read");
        String::from_utf8(answer).expect("text")
    }

    /// GET on a connection of its own: status and body.
    pub async fn get(&self, host: &str, path: &str) -> (u16, String) {
        split(
            &self
                .raw(&format!(
                    "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
                ))
                .await,
        )
    }

    pub async fn post(&self, host: &str, path: &str, body: &str) -> (u16, String) {
        let length = body.len();
        split(
            &self
                .raw(&format!(
                    "POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
                ))
                .await,
        )
    }
}

/// Status and body of an answer.
pub fn split(answer: &str) -> (u16, String) {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((answer, ""));
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok())
        .unwrap_or(0);
    (status, body.to_owned())
}

/// A program that answers every request with `<name> <head>` and keeps the connection.
pub fn echo(
    name: &'static str,
) -> impl Fn(DuplexStream) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync {
    move |mut stream| {
        Box::pin(async move {
            while let Some((head, body)) = read_request(&mut stream).await {
                let text = format!("{name} {head}{body}");
                let answer = format!(
                    "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}",
                    text.len()
                );
                if stream.write_all(answer.as_bytes()).await.is_err() {
                    return;
                }
            }
        })
    }
}

/// Head and body of the next request; `None` at the end of the stream.
pub async fn read_request(stream: &mut DuplexStream) -> Option<(String, String)> {
    let head = read_until(stream, "\r\n\r\n").await?;
    let field = |name: &str| {
        let line = head
            .lines()
            .find(|line| line.to_ascii_lowercase().starts_with(name))?;
        Some(line[name.len()..].trim().to_owned())
    };
    let body = if let Some(length) = field("content-length:") {
        let mut body = vec![0; length.parse().expect("a length")];
        stream.read_exact(&mut body).await.ok()?;
        String::from_utf8(body).expect("text")
    } else if field("transfer-encoding:").is_some() {
        read_until(stream, "0\r\n\r\n").await?
    } else {
        String::new()
    };
    Some((head, body))
}

pub async fn read_until(stream: &mut DuplexStream, end: &str) -> Option<String> {
    let mut text = Vec::new();
    while !text.ends_with(end.as_bytes()) {
        text.push(stream.read_u8().await.ok()?);
    }
    String::from_utf8(text).ok()
}

/// A section of pipeline `shop` at host `shop.io`; instances as `(last byte, revision, state)`, all weights 1.
pub fn section(instances: &[(u8, &str, InstanceState)]) -> Section {
    Section {
        namespace: "default".to_owned(),
        pipeline: "shop".to_owned(),
        stage: "default".to_owned(),
        owner_uid: "uid-shop".to_owned(),
        owner_created: "2026-01-31T10:00:00Z".to_owned(),
        version: 0,
        route: Some(Route {
            hosts: vec!["shop.io".to_owned()],
            default: false,
            paths: Vec::new(),
        }),
        revisions: instances
            .iter()
            .map(|(_, revision, _)| {
                (
                    (*revision).to_owned(),
                    RevisionRoute {
                        weight: 1,
                        check: None,
                    },
                )
            })
            .collect::<BTreeMap<_, _>>(),
        instances: instances
            .iter()
            .map(|(last, revision, state)| instance(*last, revision, *state))
            .collect(),
        drain: Drain {
            request_seconds: 30,
            stream_seconds: 300,
        },
        response_timeout_seconds: 60,
    }
}

pub fn instance(last: u8, revision: &str, state: InstanceState) -> Instance {
    Instance {
        name: format!("c{last}"),
        container_id: format!("id{last}"),
        started_at: "2026-01-31T10:00:01Z".to_owned(),
        revision: revision.to_owned(),
        address: *address(last).ip(),
        port: Some(8080),
        state,
    }
}

pub fn checked(mut section: Section, check: &Check) -> Section {
    for revision in section.revisions.values_mut() {
        revision.check = Some(check.clone());
    }
    section
}

pub fn key() -> SectionKey {
    SectionKey::new("default", "shop", "default")
}

/// Lets everything run that can without time passing.
pub async fn settle() {
    for _ in 0..200 {
        tokio::task::yield_now().await;
    }
}
