//! The real process and real sockets: the port, both families, workers, signals.

use std::net::{Ipv6Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use proxy::{Config, Proxy, Storage, Tcp, frame};
use routes::InstanceState::Routed;
use routes::limit::SOCKET_FILE;
use routes::{FromProxy, Hello, Listener, Request, Section, ToProxy};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{sleep, timeout};

use crate::world::{section, settle, split};

const LIMIT: Duration = Duration::from_secs(20);

/// A real application that answers `ok` to everything.
async fn application() -> u16 {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    let port = listener.local_addr().expect("an address").port();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            tokio::spawn(async move {
                let mut seen = Vec::new();
                loop {
                    match stream.read_buf(&mut seen).await {
                        Ok(1..) if seen.ends_with(b"\r\n\r\n") => {
                            seen.clear();
                            let _ = stream
                                .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                                .await;
                        }
                        Ok(1..) => {}
                        Ok(0) | Err(_) => return,
                    }
                }
            });
        }
    });
    port
}

fn local(port: u16) -> Section {
    let mut section = section(&[(1, "a", Routed)]);
    section.instances[0].address = std::net::Ipv4Addr::LOCALHOST;
    section.instances[0].port = Some(port);
    section
}

fn push(section: Section) -> Request {
    Request::Push {
        install: "i".to_owned(),
        epoch: 1,
        expect_version: None,
        section: Box::new(section),
    }
}

async fn get(address: SocketAddr) -> (u16, String) {
    let mut stream = TcpStream::connect(address).await.expect("connected");
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: shop.io\r\nConnection: close\r\n\r\n")
        .await
        .expect("written");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("read");
    split(&answer)
}

#[tokio::test(start_paused = true)]
async fn a_taken_port_is_named_and_tried_again_every_five_seconds() {
    let taken = TcpListener::bind("0.0.0.0:0").expect("a port");
    let port = taken.local_addr().expect("an address").port();
    let proxy = Proxy::open(Config {
        storage: Storage::Memory,
        dial: Arc::new(Tcp),
        workers: 0,
    });
    let listening = proxy.clone();
    let listening = tokio::spawn(async move { listening.listen(port, Duration::ZERO).await });
    settle().await;
    let Listener::PortTaken { port: of, holder } = proxy.listener() else {
        panic!("{:?}", proxy.listener())
    };
    assert_eq!(of, port);
    assert!(
        holder
            .expect("a holder")
            .contains(&format!("pid {}", std::process::id()))
    );
    drop(taken);
    sleep(Duration::from_millis(5_001)).await;
    assert!(
        matches!(proxy.listener(), Listener::Bound { port: of, .. } if of == port),
        "{:?}",
        proxy.listener()
    );
    proxy.stop();
    timeout(Duration::from_secs(1), listening)
        .await
        .expect("an end")
        .expect("no panic")
        .expect("no error");
}

#[tokio::test]
async fn workers_serve_both_families_over_real_sockets() {
    let proxy = Proxy::open(Config {
        storage: Storage::Memory,
        dial: Arc::new(Tcp),
        workers: 2,
    });
    proxy.request(push(local(application().await))).await;
    let listening = proxy.clone();
    let listening = tokio::spawn(async move { listening.listen(0, Duration::from_secs(1)).await });
    let (port, ipv6) = timeout(LIMIT, async {
        loop {
            if let Listener::Bound { port, ipv6 } = proxy.listener() {
                return (port, ipv6);
            }
            sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .expect("bound");
    for _ in 0..4 {
        assert_eq!(
            get(([127, 0, 0, 1], port).into()).await,
            (200, "ok".to_owned())
        );
        if ipv6 {
            assert_eq!(
                get((Ipv6Addr::LOCALHOST, port).into()).await,
                (200, "ok".to_owned())
            );
        }
    }
    proxy.stop();
    timeout(LIMIT, listening)
        .await
        .expect("an end")
        .expect("no panic")
        .expect("no error");
    assert!(
        TcpStream::connect(("127.0.0.1", port)).await.is_err(),
        "the port is free again"
    );
}

struct Process {
    child: Child,
    directory: PathBuf,
}

impl Process {
    fn start(directory: &PathBuf, port: u16) -> Self {
        let child = Command::new(env!("CARGO_BIN_EXE_mooring-proxy"))
            .args([
                "serve",
                "--workers",
                "1",
                "--http-port",
                &port.to_string(),
                "--state-dir",
            ])
            .arg(directory)
            .stderr(Stdio::null())
            .spawn()
            .expect("started");
        Process {
            child,
            directory: directory.clone(),
        }
    }

    async fn ask(&self, request: Request) -> routes::Reply {
        let path = self.directory.join(SOCKET_FILE);
        let mut stream = timeout(LIMIT, async {
            loop {
                match UnixStream::connect(&path).await {
                    Ok(stream) => return stream,
                    Err(_) => sleep(Duration::from_millis(5)).await,
                }
            }
        })
        .await
        .expect("a socket");
        frame::write(&mut stream, &ToProxy::Hello(Hello::new("test", None)))
            .await
            .expect("written");
        let request = ToProxy::Request {
            id: 1,
            request: Box::new(request),
        };
        frame::write(&mut stream, &request).await.expect("written");
        loop {
            let bytes = frame::read(&mut stream)
                .await
                .expect("a frame")
                .expect("no end");
            if let FromProxy::Reply { reply, .. } = serde_json::from_slice(&bytes).expect("json") {
                return *reply;
            }
        }
    }

    async fn terminate(mut self) -> bool {
        let pid = self.child.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-TERM", &pid])
                .status()
                .expect("kill")
                .success()
        );
        timeout(LIMIT, async {
            loop {
                if let Some(status) = self.child.try_wait().expect("waited") {
                    return status.success();
                }
                sleep(Duration::from_millis(5)).await;
            }
        })
        .await
        .expect("an end")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn the_process_restarts_with_its_table_and_ends_by_sigterm() {
    let directory = std::env::temp_dir().join(format!("mooring-process-{}", std::process::id()));
    let application = application().await;
    let port = {
        let free = TcpListener::bind("127.0.0.1:0").expect("a port");
        free.local_addr().expect("an address").port()
    };
    let first = Process::start(&directory, port);
    assert!(matches!(
        first.ask(push(local(application))).await,
        routes::Reply::Acked {
            persisted: true,
            ..
        }
    ));
    assert_eq!(
        get(([127, 0, 0, 1], port).into()).await,
        (200, "ok".to_owned())
    );
    assert!(first.terminate().await, "a clean end");
    let second = Process::start(&directory, port);
    let routes::Reply::Status(status) = second.ask(Request::Status { keys: Vec::new() }).await
    else {
        panic!("a status");
    };
    assert_eq!(
        (status.sections.len(), status.install.as_deref()),
        (1, Some("i"))
    );
    assert_eq!(
        get(([127, 0, 0, 1], port).into()).await,
        (200, "ok".to_owned())
    );
    assert!(second.terminate().await);
    std::fs::remove_dir_all(&directory).expect("removed");
}
