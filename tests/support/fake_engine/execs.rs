//! Commands in fake containers. A stream ends the same way whether the command ended or was killed (F7), and a command
//! without stdin lives on after its client (F8, F19); after a restart of the daemon with live-restore it lives on even
//! with stdin, and nobody lists it (F20).

use std::sync::Arc;

use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use http::{HeaderValue, Response, StatusCode, header};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::io::{self, AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::endings::not_running;
use super::logs::{RAW, frame};
use super::reply::{Asked, Body, Handled, Refusal, empty_reply, json_reply};
use super::world::{Exec, Life, strings};
use super::{ContainerView, Shared};

/// The room in a pipe, as on Linux.
const PIPE: usize = 64 << 10;
/// Pieces of output on their way to the client.
const PIECES: usize = 16;
/// The exit code of a killed command.
const KILLED: i64 = 137;

/// What a command in a fake container reads and writes.
#[derive(Debug)]
pub struct ExecIo {
    /// Reading is its stdin, writing its stdout.
    pub stream: DuplexStream,
    /// Writing is its stderr.
    pub stderr: DuplexStream,
}

/// `POST /containers/{id}/exec`.
pub(super) fn create(shared: &Shared, asked: &Asked) -> Handled {
    let body = asked.json()?;
    let mut world = shared.world();
    let container = world.find(&asked.target)?;
    let owner = container.id.clone();
    if !container.is_running() {
        return Err(not_running(world.generation, &owner));
    }
    if container.is_paused() {
        let message = format!(
            "Container {} is paused, unpause the container before exec",
            asked.target
        );
        return Err(Refusal::new(409, message));
    }
    let command = strings(&body["Cmd"]);
    if command.is_empty() {
        return Err(Refusal::new(400, "No exec command specified"));
    }
    let id = world.ids.next();
    let stdin = body["AttachStdin"] == json!(true);
    let action = format!("exec_create: {}", command.join(" "));
    let exec = Exec {
        id: id.clone(),
        container: owner.clone(),
        command,
        stdin,
        running: false,
        code: None,
        listed: true,
    };
    world.execs.insert(id.clone(), exec);
    world.tell_of(&owner, &action, &[("execID", &id)]);
    Ok(json_reply(201, &json!({ "Id": id })))
}

/// `GET /exec/{id}/json`.
pub(super) fn inspect(shared: &Shared, asked: &Asked) -> Handled {
    let world = shared.world();
    let exec = world.exec(&asked.target)?;
    let view = json!({
        "ID": exec.id, "Running": exec.running, "ExitCode": exec.code,
        "ProcessConfig": {
            "tty": false, "entrypoint": exec.command[0], "arguments": exec.command[1..], "privileged": false,
        },
        "OpenStdin": exec.stdin, "OpenStderr": true, "OpenStdout": true, "CanRemove": false,
        "ContainerID": exec.container, "DetachKeys": "", "Pid": 0,
    });
    Ok(json_reply(200, &view))
}

impl super::world::World {
    fn exec(&self, id: &str) -> Result<&Exec, Refusal> {
        self.execs
            .get(id)
            .ok_or_else(|| Refusal::new(404, format!("No such exec instance: {id}")))
    }
}

/// `POST /exec/{id}/start`: the connection becomes the command's stream.
pub(super) fn start(
    shared: &Arc<Shared>,
    asked: &Asked,
    upgrade: Option<OnUpgrade>,
) -> Result<Response<Body>, Refusal> {
    let mut world = shared.world();
    let exec = world.exec(&asked.target)?.clone();
    let container = world.find(&exec.container)?;
    if !container.is_running() {
        return Err(not_running(world.generation, &container.id));
    }
    if exec.running || exec.code.is_some() {
        return Err(Refusal::new(
            409,
            format!(
                "{} {} is already running",
                world
                    .generation
                    .either("Error: Exec command", "exec command"),
                exec.id
            ),
        ));
    }
    let upgrade = upgrade.ok_or_else(|| {
        Refusal::new(
            400,
            "the fake Engine runs commands on upgraded connections only",
        )
    })?;
    let (life, program, view) = (
        container.life.subscribe(),
        shared.program_of(container),
        ContainerView::of(container),
    );
    let ready = container.is_ready();
    let not_found = world.generation.either(126, 127);
    if let Some(exec) = world.execs.get_mut(&exec.id) {
        exec.running = true;
    }
    world.tell_of(
        &exec.container,
        &format!("exec_start: {}", exec.command.join(" ")),
        &[("execID", &exec.id)],
    );
    drop(world);
    let (ours, stream) = io::duplex(PIPE);
    let (errors, stderr) = io::duplex(PIPE);
    let io = ExecIo { stream, stderr };
    let run = match program {
        Some(program) => program.exec(view, exec.command.clone(), io),
        None => built_in(&exec.command, ready, not_found, io),
    };
    let session = Session {
        shared: Arc::clone(shared),
        exec,
        ours,
        errors,
        life,
        cut: shared.down_token(),
    };
    tokio::spawn(session.carry(run, upgrade));
    let mut response = empty_reply(101);
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(RAW));
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("tcp"));
    Ok(response)
}

/// One running command and its client.
struct Session {
    shared: Arc<Shared>,
    exec: Exec,
    ours: DuplexStream,
    errors: DuplexStream,
    life: tokio::sync::watch::Receiver<Life>,
    cut: CancellationToken,
}

impl Session {
    /// Carries bytes between command and client until the command has ended.
    async fn carry(self, run: BoxFuture<'static, i64>, upgrade: OnUpgrade) {
        let Session {
            shared,
            exec,
            ours,
            errors,
            mut life,
            cut,
        } = self;
        let Ok(client) = upgrade.await else {
            return shared.end_exec(&exec, KILLED);
        };
        let (from_client, to_client) = io::split(TokioIo::new(client));
        let (from_command, to_command) = io::split(ours);
        let (pieces, outgoing) = mpsc::channel::<Bytes>(PIECES);
        let outputs = [
            tokio::spawn(read_pieces(from_command, false, pieces.clone())),
            tokio::spawn(read_pieces(errors, true, pieces)),
        ];
        let input = tokio::spawn(feed(from_client, to_command, exec.stdin, cut.clone()));
        let writer = tokio::spawn(write_pieces(outgoing, to_client, cut));
        let mut command = tokio::spawn(run);
        let code = tokio::select! {
            code = &mut command => code.unwrap_or(KILLED),
            _ = life.wait_for(|life| *life == Life::Gone) => {
                command.abort();
                KILLED
            }
        };
        shared.end_exec(&exec, code);
        input.abort();
        for output in outputs {
            let _ = output.await;
        }
        let _ = writer.await;
    }
}

impl Shared {
    /// Notes how a command has ended.
    fn end_exec(&self, exec: &Exec, code: i64) {
        let mut world = self.world();
        if let Some(exec) = world.execs.get_mut(&exec.id) {
            exec.running = false;
            exec.code = Some(code);
        }
        let code = code.to_string();
        let attributes = [("execID", exec.id.as_str()), ("exitCode", &code)];
        world.tell_of(&exec.container, "exec_die", &attributes);
    }
}

/// Gives a command what its client writes. When the client ends its side, the command gets the end of its stdin, if it
/// has one; when the daemon goes, it does not (F20).
async fn feed(
    mut client: impl io::AsyncRead + Unpin,
    mut command: impl io::AsyncWrite + Unpin,
    stdin: bool,
    cut: CancellationToken,
) {
    tokio::select! {
        _ = io::copy(&mut client, &mut command) => {}
        () = cut.cancelled() => {}
    }
    if stdin && !cut.is_cancelled() {
        let _ = command.shutdown().await;
    }
    drop(client);
    // Its end of the pipe stays open until the command has ended.
    std::future::pending::<()>().await;
}

/// Gives a client what a command has written, until the command has closed both outputs.
async fn write_pieces(
    mut pieces: mpsc::Receiver<Bytes>,
    mut client: impl io::AsyncWrite + Unpin,
    cut: CancellationToken,
) {
    loop {
        tokio::select! {
            () = cut.cancelled() => break,
            piece = pieces.recv() => match piece {
                Some(piece) if client.write_all(&piece).await.is_ok() => {}
                Some(_) => break,
                None => {
                    let _ = client.shutdown().await;
                    break;
                }
            },
        }
    }
    // Nobody reads any more; the command may write on.
    drop(client);
    while pieces.recv().await.is_some() {}
}

/// Frames one output of a command until it closes it.
async fn read_pieces(
    mut output: impl io::AsyncRead + Unpin,
    stderr: bool,
    pieces: mpsc::Sender<Bytes>,
) {
    let mut buffer = vec![0; PIPE];
    while let Ok(read @ 1..) = output.read(&mut buffer).await {
        if pieces.send(frame(stderr, &buffer[..read])).await.is_err() {
            return;
        }
    }
}

/// The programs of `testapp`, which every fake image has unless a [`super::Program`] is installed for it. Any other ends
/// with `not_found`.
fn built_in(
    command: &[String],
    ready: bool,
    not_found: i64,
    io: ExecIo,
) -> BoxFuture<'static, i64> {
    let words: Vec<String> = command.to_vec();
    async move {
        let ExecIo { mut stream, mut stderr } = io;
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        match words.as_slice() {
            ["/testapp", "healthcheck", ..] => {
                let line = if ready { "HTTP/1.1 200 OK\n" } else { "HTTP/1.1 503 Service Unavailable\n" };
                let _ = stream.write_all(line.as_bytes()).await;
                i64::from(!ready)
            }
            ["/testapp", "echo"] => {
                let (mut reader, mut writer) = io::split(stream);
                i64::from(io::copy(&mut reader, &mut writer).await.is_err())
            }
            ["/testapp", "print", text] => {
                let _ = stream.write_all(format!("{text}\n").as_bytes()).await;
                let _ = stderr.write_all(format!("{text} on stderr\n").as_bytes()).await;
                0
            }
            ["/testapp", "exit", code] => code.parse().unwrap_or(2),
            ["/testapp", "hold"] => {
                let _ = stream.write_all(b"holding\n").await;
                std::future::pending().await
            }
            _ => {
                let program = words.first().copied().unwrap_or_default();
                let message = format!(
                    "OCI runtime exec failed: exec failed: unable to start container process: exec: {}: stat {program}: no such file or directory: unknown\r\n",
                    Value::from(program)
                );
                let _ = stream.write_all(message.as_bytes()).await;
                not_found
            }
        }
    }
    .boxed()
}
