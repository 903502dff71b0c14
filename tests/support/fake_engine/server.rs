//! The wire of the fake Engine: HTTP/1.1 over any stream, the table of calls, faults, and the ledger.
//!
//! Invariant: what a request does goes on when its client is gone (F1, F6), because it runs in a task of its own. A
//! request outside the client's list of calls is answered as unknown and remembered.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

use http::{Request, Response};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::{TokioIo, TokioTimer};
use operator::docker::calls::{self, Call};
use operator::docker::{ApiVersion, ByteStream};
use serde_json::json;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::faults::{Applied, Fault, Seen};
use super::reply::{Asked, Body, Handled, Refusal, bytes_reply, json_reply};
use super::{
    Shared, archive, containers, endings, events, execs, images, lifecycle, logs, networks,
    registry, volumes,
};

/// Who sends requests over a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Client {
    /// The operator: its requests are booked and meet faults.
    Operator,
    /// A person at the host: neither.
    Person,
}

/// Serves one connection until it ends or the daemon goes down.
pub(super) async fn serve(shared: Arc<Shared>, client: Client, stream: impl ByteStream) {
    let token = shared.down_token();
    let stream = Cuttable {
        stream,
        down: Box::pin(token.clone().cancelled_owned()),
        token,
    };
    let service = service_fn(move |request| receive(Arc::clone(&shared), client, request));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .half_close(true)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    // A client may go away in the middle of anything.
    let _ = connection.await;
}

/// Takes a request in, lets it meet its fault, and has it done.
async fn receive(
    shared: Arc<Shared>,
    client: Client,
    mut request: Request<Incoming>,
) -> io::Result<Response<Body>> {
    let upgrade = request.extensions_mut().remove::<OnUpgrade>();
    let (parts, body) = request.into_parts();
    // A request whose body is cut off has not been made.
    let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
    let path = match unversioned(parts.uri.path(), shared.options.api_version) {
        Ok(path) => path.to_owned(),
        Err(refusal) => return Ok(refusal.reply()),
    };
    let line = format!("{} {path}", parts.method);
    let Some((call, target)) = route(&line) else {
        shared.world().unlisted.push(line);
        return Ok(Refusal::new(404, "page not found").reply());
    };
    let mut asked = Asked::new(target, parts.uri.query().unwrap_or_default(), body);
    asked.registry_auth = parts
        .headers
        .get("x-registry-auth")
        .map(|value| value.as_bytes().to_vec());
    let fault = match client {
        Client::Operator => shared.fault(&Seen {
            verb: call.template,
            target: shared.object(call, &asked),
            effect: call.effect,
            nth: shared.requests.fetch_add(1, Ordering::Relaxed) + 1,
        }),
        Client::Person => Fault::None,
    };
    let delay = match &fault {
        Fault::DropBefore => return Err(io::ErrorKind::ConnectionReset.into()),
        Fault::GiveUp => {
            if call.template == "POST /containers/{id}/start" {
                shared.world().give_up(&asked.target);
            }
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        Fault::Hang => std::future::pending().await,
        Fault::Refuse(status, message) => return Ok(Refusal::new(*status, message.clone()).reply()),
        Fault::Delay(delay) => Some(*delay),
        Fault::None | Fault::DropReply | Fault::ErrorAfter => None,
    };
    let work = tokio::spawn(async move {
        if let Some(delay) = delay {
            time::sleep(delay).await;
        }
        let target = shared.object(call, &asked);
        let reply = perform(&shared, call, &asked, upgrade)
            .await
            .unwrap_or_else(|refusal| refusal.reply());
        if call.effect && client == Client::Operator {
            let applied = Applied {
                verb: call.template,
                target,
                status: reply.status().as_u16(),
            };
            shared.world().ledger.push(applied);
        }
        reply
    });
    let reply = work.await.map_err(io::Error::other)?;
    match fault {
        Fault::DropReply => Err(io::ErrorKind::ConnectionReset.into()),
        Fault::ErrorAfter => {
            Ok(Refusal::new(500, "the fake Engine was told to fail after doing it").reply())
        }
        _ => Ok(reply),
    }
}

/// The path without its version, which must not be above the Engine's.
fn unversioned(path: &str, newest: ApiVersion) -> Result<&str, Refusal> {
    let Some((version, _)) = path
        .strip_prefix("/v")
        .and_then(|rest| rest.split_once('/'))
    else {
        return Ok(path);
    };
    let Some(asked) = ApiVersion::parse(version) else {
        return Ok(path);
    };
    if asked > newest {
        let message =
            format!("client version {asked} is too new. Maximum supported API version is {newest}");
        return Err(Refusal::new(400, message));
    }
    Ok(&path[version.len() + 2..])
}

/// The call that `line` (method and path) makes, and what stands in the place of its parameter.
fn route(line: &str) -> Option<(&'static Call, &str)> {
    let exact = calls::ALL
        .into_iter()
        .find(|call| call.template == line)
        .map(|call| (call, ""));
    let with_parameter = || {
        calls::ALL.into_iter().find_map(|call| {
            let (before, rest) = call.template.split_once('{')?;
            let (_, after) = rest.split_once('}')?;
            let target = line.strip_prefix(before)?.strip_suffix(after)?;
            let named = [" /images/", " /distribution/"];
            let nested = target.contains('/') && !named.iter().any(|at| call.template.contains(at));
            (!target.is_empty() && !nested).then_some((call, target))
        })
    };
    exact.or_else(with_parameter)
}

/// Does what is asked.
async fn perform(
    shared: &Arc<Shared>,
    call: &Call,
    asked: &Asked,
    upgrade: Option<OnUpgrade>,
) -> Handled {
    match call.template {
        "GET /_ping" => Ok(bytes_reply(200, "text/plain", b"OK".to_vec())),
        "GET /version" => Ok(json_reply(200, &shared.version())),
        "GET /info" => Ok(json_reply(200, &shared.info())),
        "GET /events" => events::watch(shared, asked),
        "GET /containers/json" => containers::list(shared, asked),
        "GET /containers/{id}/json" => containers::inspect(shared, asked),
        "POST /containers/create" => containers::create(shared, asked),
        "POST /containers/{id}/start" => lifecycle::start(shared, asked).await,
        "POST /containers/{id}/stop" => endings::stop(shared, asked).await,
        "POST /containers/{id}/kill" => endings::kill(shared, asked),
        "POST /containers/{id}/unpause" => endings::unpause(shared, asked),
        "POST /containers/{id}/rename" => containers::rename(shared, asked),
        "POST /containers/{id}/update" => containers::update(shared, asked),
        "DELETE /containers/{id}" => endings::remove(shared, asked),
        "GET /containers/{id}/logs" => logs::read(shared, asked),
        "PUT /containers/{id}/archive" => archive::put(shared, asked),
        "GET /containers/{id}/archive" => archive::get(shared, asked),
        "POST /containers/{id}/exec" => execs::create(shared, asked),
        "POST /exec/{id}/start" => execs::start(shared, asked, upgrade),
        "GET /exec/{id}/json" => execs::inspect(shared, asked),
        "GET /images/json" => images::list(shared, asked),
        "GET /images/{name}/json" => images::inspect(shared, asked),
        "POST /images/{name}/tag" => images::tag(shared, asked),
        "DELETE /images/{name}" => images::remove(shared, asked),
        "POST /images/load" => images::load(shared, asked),
        "POST /images/create" if asked.parameter("fromSrc") == "-" => images::import(shared, asked),
        "POST /images/create" => registry::pull(shared, asked).await,
        "GET /distribution/{name}/json" => registry::digest(shared, asked).await,
        "GET /networks" => networks::list(shared, asked),
        "GET /networks/{id}" => networks::inspect(shared, asked),
        "POST /networks/create" => networks::create(shared, asked),
        "POST /networks/{id}/connect" => networks::connect(shared, asked),
        "POST /networks/{id}/disconnect" => networks::disconnect(shared, asked),
        "DELETE /networks/{id}" => networks::remove(shared, asked),
        "GET /volumes" => volumes::list(shared, asked),
        "GET /volumes/{name}" => volumes::inspect(shared, asked),
        "POST /volumes/create" => volumes::create(shared, asked),
        "DELETE /volumes/{name}" => volumes::remove(shared, asked),
        other => Err(Refusal::new(
            501,
            format!("the fake Engine does not do {other}"),
        )),
    }
}

impl Shared {
    /// The name of what a call is about, for people and for counting.
    fn object(&self, call: &Call, asked: &Asked) -> String {
        let world = self.world();
        let named = |key: &str| {
            asked
                .json()
                .ok()
                .and_then(|body| body[key].as_str().map(str::to_owned))
                .unwrap_or_default()
        };
        match call.template {
            "POST /containers/create" => asked.parameter("name").to_owned(),
            "POST /networks/create" | "POST /volumes/create" => named("Name"),
            "POST /images/create" if !asked.parameter("fromImage").is_empty() => {
                format!(
                    "{}@{}",
                    asked.parameter("fromImage"),
                    asked.parameter("tag")
                )
            }
            "POST /images/create" => {
                format!("{}:{}", asked.parameter("repo"), asked.parameter("tag"))
            }
            template if template.contains(" /containers/{id}") => world
                .find(&asked.target)
                .map_or_else(|_| asked.target.clone(), |container| container.name.clone()),
            template if template.contains(" /networks/{id}") => world
                .network(&asked.target)
                .map_or_else(|_| asked.target.clone(), |network| network.name.clone()),
            _ => asked.target.clone(),
        }
    }

    fn version(&self) -> serde_json::Value {
        let options = &self.options;
        json!({
            "Platform": { "Name": "" }, "Components": [], "Version": options.engine_version,
            "ApiVersion": options.api_version.to_string(), "MinAPIVersion": options.generation.either("1.12", "1.40"), "GitCommit": "", "GoVersion": "",
            "Os": "linux", "Arch": options.architecture, "KernelVersion": "", "BuildTime": "",
        })
    }

    fn info(&self) -> serde_json::Value {
        let options = &self.options;
        let world = self.world();
        json!({
            // F31: the same on every Engine that shares a key file.
            "ID": "FAKE:FAKE:FAKE:FAKE:FAKE:FAKE:FAKE:FAKE:FAKE:FAKE:FAKE:FAKE",
            "Containers": world.containers.len(), "Images": world.images.len(), "Driver": options.generation.driver(), "DockerRootDir": "/var/lib/docker",
            "LoggingDriver": "json-file", "CgroupVersion": "2", "OperatingSystem": options.operating_system,
            "OSType": "linux", "Architecture": "x86_64", "NCPU": 2, "MemTotal": 8_i64 << 30, "Name": "fake",
            "ServerVersion": options.engine_version, "LiveRestoreEnabled": options.live_restore,
            "SecurityOptions": options.security_options, "Warnings": null,
        })
    }
}

/// A stream that ends when the daemon goes down, wherever it is read.
struct Cuttable<S> {
    stream: S,
    down: Pin<Box<WaitForCancellationFutureOwned>>,
    token: CancellationToken,
}

impl<S: ByteStream> AsyncRead for Cuttable<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.token.is_cancelled() || self.down.as_mut().poll(context).is_ready() {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: ByteStream> AsyncWrite for Cuttable<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.token.is_cancelled() {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        Pin::new(&mut self.stream).poll_write(context, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
