//! Debian's docker-registry on loopback, with a password, behind a server that can fail in its place.
//!
//! Owns both processes of it and what is pushed. It must not know Mooring. Invariant: a request that no fault is meant
//! for reaches the real registry as it is.

use std::convert::Infallible;
use std::fs;
use std::io;
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use futures::stream;
use http::{Request, Response, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::net::TcpListener;

use crate::docker_cli::docker;
use crate::installation::free_port;
use crate::program;

/// Who may pull.
pub const USER: &str = "puller";
/// With what.
pub const PASSWORD: &str = "canary-of-the-registry";
/// Both as `htpasswd -nbBC 4` writes them: the registry takes bcrypt alone.
const HTPASSWD: &str = "puller:$2y$04$wcooBEIoF4O2En16bT7VeO0/m59Mjs/H0sYma8/TpgHVXCoOkP4jK\n";
/// The longest time from its start to its first answer.
const START: Duration = Duration::from_secs(15);
/// Bytes of the layer that each image has for itself.
const LAYER: usize = 8 << 20;
/// Between two parts of a slow layer.
const PAUSE: Duration = Duration::from_millis(250);

/// What is wrong with the registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// This status for every manifest.
    Status(u16),
    /// It has manifests and no layers.
    NoLayers,
    /// Layers come in small parts.
    Slow,
    /// It takes connections and says nothing.
    Silent,
}

/// The registry. Dropping it ends it.
#[derive(Debug)]
pub struct Registry {
    child: Child,
    /// The port of the server in front of it.
    port: u16,
    fault: Shared,
    docker_config: PathBuf,
}

type Shared = Arc<Mutex<Fault>>;
type Body = UnsyncBoxBody<Bytes, hyper::Error>;

impl Registry {
    /// An empty one that keeps its files below `scratch`.
    ///
    /// # Panics
    /// It does not start; `.ci/packages tests` installs it.
    pub fn start(scratch: &Path) -> Registry {
        let directory = scratch.join("registry");
        let docker_config = directory.join("docker");
        fs::create_dir_all(&docker_config).expect("a directory can be made");
        let (back, front) = (free_port(), free_port());
        let password = directory.join("htpasswd");
        fs::write(&password, HTPASSWD).expect("it can be written");
        let config = json!({
            "version": "0.1", "log": {"level": "error"},
            "storage": {"filesystem": {"rootdirectory": directory.join("images")}},
            "http": {"addr": format!("127.0.0.1:{back}"), "secret": "of-no-use"},
            "auth": {"htpasswd": {"realm": "test", "path": password}},
        });
        let file = directory.join("config.yml");
        fs::write(&file, config.to_string()).expect("it can be written");
        let pair = BASE64_STANDARD.encode(format!("{USER}:{PASSWORD}"));
        let login = json!({"auths": {format!("127.0.0.1:{front}"): {"auth": pair}}});
        fs::write(docker_config.join("config.json"), login.to_string()).expect("it can be written");
        let child = Command::new("docker-registry")
            .arg("serve")
            .arg(&file)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("docker-registry is installed: run .ci/packages tests");
        program::until("the registry listens", START, || {
            TcpStream::connect((Ipv4Addr::LOCALHOST, back)).map_err(|error| error.to_string())
        });
        let fault = Arc::new(Mutex::new(Fault::None));
        serve(front, back, Arc::clone(&fault));
        Registry {
            child,
            port: front,
            fault,
            docker_config,
        }
    }

    /// Its name in references.
    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// From now on this is wrong with it.
    pub fn set(&self, fault: Fault) {
        *lock(&self.fault) = fault;
    }

    /// Pushes `image` with a layer of its own as `name`, such as `shop:1.0`, and gives its reference here. The Engine
    /// is left without that layer, so that it has something to pull.
    ///
    /// # Panics
    /// docker says no.
    pub fn push(&self, image: &str, name: &str) -> String {
        let reference = format!("{}/{name}", self.host());
        let config = self.docker_config.display().to_string();
        let layer = self.docker_config.with_file_name("layer");
        fs::write(&layer, incompressible(name)).expect("it can be written");
        let container = docker(&["create", image]);
        let container = container.trim();
        let into = format!("{container}:/layer");
        docker(&["cp", &layer.display().to_string(), &into]);
        docker(&["commit", container, &reference]);
        docker(&["rm", container]);
        docker(&["--config", &config, "push", &reference]);
        docker(&["rmi", &reference]);
        reference
    }
}

/// Bytes that no archive makes shorter, and that are others for each seed.
fn incompressible(seed: &str) -> Vec<u8> {
    let mut state = seed.bytes().fold(0x9e37_79b9_7f4a_7c15_u64, |state, byte| {
        state.wrapping_mul(31) ^ u64::from(byte)
    });
    (0..LAYER / 8)
        .flat_map(|_| {
            // Marsaglia's xorshift64.
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()
        })
        .collect()
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn lock(fault: &Shared) -> std::sync::MutexGuard<'_, Fault> {
    fault.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Serves in a thread of its own until the process ends.
fn serve(front: u16, back: u16, fault: Shared) {
    let (bound, ready) = std::sync::mpsc::channel();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        runtime.block_on(async move {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, front)).await;
            let listener = listener.expect("the port is free");
            bound.send(()).expect("somebody waits");
            while let Ok((stream, _)) = listener.accept().await {
                let fault = Arc::clone(&fault);
                let service = service_fn(move |request| {
                    let fault = Arc::clone(&fault);
                    async move { Ok::<_, Infallible>(answer(request, back, fault).await) }
                });
                let connection = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service);
                // A client may go away in the middle of anything.
                tokio::spawn(async move { drop(connection.await) });
            }
        });
    });
    ready.recv().expect("the server in front listens");
}

async fn answer(request: Request<Incoming>, back: u16, fault: Shared) -> Response<Body> {
    let path = request.uri().path();
    let (manifest, layer) = (path.contains("/manifests/"), path.contains("/blobs/"));
    let now = *lock(&fault);
    match now {
        Fault::Silent => std::future::pending().await,
        Fault::Status(status) if manifest => return refusal(status),
        Fault::NoLayers if layer => return refusal_with(404, "BLOB_UNKNOWN"),
        Fault::None | Fault::Status(_) | Fault::NoLayers | Fault::Slow => {}
    }
    match forward(request, back).await {
        Ok(response) if layer => response.map(|body| slowly(body, fault)),
        Ok(response) => response.map(BodyExt::boxed_unsync),
        Err(error) => panic!("the real registry does not answer: {error}"),
    }
}

/// What a registry says with a status.
fn refusal(status: u16) -> Response<Body> {
    let code = match status {
        401 => "UNAUTHORIZED",
        404 => "MANIFEST_UNKNOWN",
        429 => "TOOMANYREQUESTS",
        _ => "UNKNOWN",
    };
    refusal_with(status, code)
}

fn refusal_with(status: u16, code: &str) -> Response<Body> {
    let text =
        json!({"errors": [{"code": code, "message": "told to", "detail": null}]}).to_string();
    let body = Full::new(Bytes::from(text)).map_err(|never| match never {});
    let mut response = Response::new(body.boxed_unsync());
    *response.status_mut() = StatusCode::from_u16(status).expect("a status");
    let json = header::HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}

/// The real registry's answer.
async fn forward(request: Request<Incoming>, back: u16) -> io::Result<Response<Incoming>> {
    let stream = tokio::net::TcpStream::connect((Ipv4Addr::LOCALHOST, back)).await?;
    let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(io::Error::other)?;
    tokio::spawn(async move { drop(connection.await) });
    sender.send_request(request).await.map_err(io::Error::other)
}

/// A body whose parts come with pauses, for as long as that is the fault.
fn slowly(body: Incoming, fault: Shared) -> Body {
    let frames = stream::unfold((body, fault), |(mut body, fault)| async move {
        let frame: Result<Frame<Bytes>, hyper::Error> = body.frame().await?;
        if *lock(&fault) == Fault::Slow {
            tokio::time::sleep(PAUSE).await;
        }
        Some((frame, (body, fault)))
    });
    StreamBody::new(frames).boxed_unsync()
}
