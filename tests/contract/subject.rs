//! What a case talks to: the fake Engine or a real one, which it cannot tell apart.

use std::path::PathBuf;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use operator::docker::{Dialer, Endpoint, Engine, Outcome, containers, images, networks, volumes};
use operator::gate::Open;
use serde_json::{Value, json};
use tests::fake_engine::FakeEngine;
use tests::images::Recipe;
use tokio::io::AsyncWriteExt as _;
use tokio::time::{self, Instant};

use crate::transcript::Transcript;

/// The label on everything that a case makes; its value is the prefix.
const LABEL: &str = "mooring-contract";
/// How long a condition may take: a loaded machine starts a container in seconds.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// The program in every image, built once.
static TESTAPP: LazyLock<PathBuf> =
    LazyLock::new(|| tests::images::testapp().expect("testapp builds"));

/// An answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The body; null when it is none or no JSON.
    pub body: Value,
}

impl Answer {
    /// The `Id` in it.
    pub fn id(&self) -> String {
        self.body["Id"]
            .as_str()
            .expect("a create answers with an id")
            .to_owned()
    }
}

/// Which of the two.
enum Kind {
    Real,
    Fake,
}

/// One Engine, for one case.
pub struct Subject {
    kind: Kind,
    prefix: String,
    number: u8,
    dialer: Option<Arc<dyn Dialer>>,
    engine: Option<Engine>,
    transcript: Transcript,
}

/// Runs a case and gives its transcript. Afterwards nothing of it is left on the Engine.
pub fn run(mut subject: Subject, case: &impl AsyncFn(&mut Subject)) -> String {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder
        .enable_all()
        .start_paused(matches!(subject.kind, Kind::Fake));
    let runtime = builder.build().expect("a runtime");
    runtime.block_on(async {
        subject.connect().await;
        case(&mut subject).await;
    });
    let empty = Transcript::new("");
    std::mem::replace(&mut subject.transcript, empty).into_text()
}

impl Subject {
    /// The fake Engine.
    pub fn fake(case: &str, number: u8) -> Subject {
        Subject::new(Kind::Fake, case, number)
    }

    /// The real Engine.
    pub fn real(case: &str, number: u8) -> Subject {
        Subject::new(Kind::Real, case, number)
    }

    fn new(kind: Kind, case: &str, number: u8) -> Subject {
        let prefix = format!("contract-{}-{case}", std::process::id());
        let transcript = Transcript::new(&prefix);
        Subject {
            kind,
            prefix,
            number,
            dialer: None,
            engine: None,
            transcript,
        }
    }

    /// Connects, and brings the image `v1` there.
    async fn connect(&mut self) {
        let dialer = match self.kind {
            Kind::Fake => FakeEngine::default().dialer(),
            Kind::Real => real_dialer(),
        };
        let engine = Engine::connect_with(Arc::clone(&dialer), Arc::new(Open)).await;
        let engine = engine.unwrap_or_else(|problem| match self.kind {
            Kind::Fake => panic!("the fake Engine: {problem}"),
            Kind::Real => panic!(
                "{problem}\nThe contract suite needs a Docker Engine (API 1.41 or later): run `.ci/engine start` as root, or name one in MOORING_TEST_DOCKER"
            ),
        });
        self.dialer = Some(dialer);
        self.engine = Some(engine);
        self.import("v1", |recipe| recipe).await;
    }

    /// Imports `testapp` under the tag `tag`, changed by `change`.
    pub async fn import(&self, tag: &str, change: impl FnOnce(Recipe) -> Recipe) {
        let mut recipe = change(Recipe::version(&self.prefix, "v1"));
        recipe.tag = tag.to_owned();
        recipe
            .import(self.engine(), &TESTAPP)
            .await
            .expect("testapp is imported");
    }

    /// The operator's client.
    pub fn engine(&self) -> &Engine {
        self.engine.as_ref().expect("cases run after the connect")
    }

    /// The name of something of this case.
    pub fn name(&self, short: &str) -> String {
        format!("{}-{short}", self.prefix)
    }

    /// The image with this tag.
    pub fn image(&self, tag: &str) -> String {
        format!("{}:{tag}", self.prefix)
    }

    /// An address of this case's /22: `third` is 0 to 3.
    pub fn address(&self, third: u8, last: u8) -> String {
        format!(
            "10.{}.{}.{last}",
            200 + self.number / 64,
            (self.number % 64) * 4 + third
        )
    }

    /// This case's addresses.
    pub fn subnet(&self) -> String {
        format!("{}/22", self.address(0, 0))
    }

    /// The label that everything made here carries.
    pub fn labels(&self) -> Value {
        json!({ LABEL: self.prefix })
    }

    /// Adds to the transcript.
    pub fn note(&mut self, text: impl AsRef<str>) {
        let text = text
            .as_ref()
            .replace(&format!("{}.{}.", 10, 200 + self.number / 64), "10.x.");
        self.transcript.note(&text);
    }

    /// Masks an id from now on, also its first twelve digits.
    pub fn learn(&mut self, id: &str) {
        self.transcript.learn(id);
    }

    /// Adds how a call of the operator's client ended.
    pub fn outcome<T>(&mut self, what: &str, result: &Result<T, Outcome>) {
        match result {
            Ok(_) => self.note(format!("{what}: ok")),
            Err(outcome) => self.note(format!(
                "{what}: {}: {}",
                outcome.label(),
                outcome.message()
            )),
        }
    }

    /// Makes a request and notes how it was answered: status, and the words of a refusal.
    pub async fn call(&mut self, line: &str, body: Value) -> Answer {
        let answer = self.quiet(line, body).await;
        if let Some(id) = answer.body["Id"].as_str().filter(|id| id.len() == 64) {
            self.transcript.learn(id);
        }
        let words = if answer.status >= 400 {
            answer.body["message"].as_str().unwrap_or_default()
        } else {
            ""
        };
        self.note(format!("{line} -> {} {words}", answer.status));
        answer
    }

    /// Makes a request without noting it.
    pub async fn quiet(&self, line: &str, body: Value) -> Answer {
        let (method, path) = line.split_once(' ').expect("method and path");
        let bytes = if body.is_null() {
            Bytes::new()
        } else {
            Bytes::from(body.to_string())
        };
        let request = Request::builder()
            .method(Method::from_bytes(method.as_bytes()).expect("a method"))
            .uri(format!("/v1.41{path}"))
            .header(http::header::HOST, "engine")
            .header(http::header::CONTENT_TYPE, "application/json")
            .body(Full::new(bytes))
            .expect("a request");
        let stream = self.dial().await;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .expect("an HTTP connection");
        let driving = tokio::spawn(connection);
        let response = sender.send_request(request).await.expect("an answer");
        let status = response.status().as_u16();
        let body = response
            .into_body()
            .collect()
            .await
            .expect("a whole answer")
            .to_bytes();
        driving.abort();
        Answer {
            status,
            body: serde_json::from_slice(&body).unwrap_or(Value::Null),
        }
    }

    /// How many events the Engine still knows, and how many of them name `word`.
    pub async fn events(&self, word: &str) -> (usize, usize) {
        // The fake Engine lives in its own year, and nothing happens on it but this.
        let until = match self.kind {
            Kind::Real => {
                SystemTime::now()
                    .duration_since(UNIX_EPOCH)
                    .expect("after 1970")
                    .as_secs()
                    + 2
            }
            Kind::Fake => 1_767_225_600 + 1,
        };
        let path = format!("/v1.41/events?since=1&until={until}");
        let request = Request::builder()
            .uri(path)
            .header(http::header::HOST, "engine")
            .body(Full::new(Bytes::new()));
        let stream = self.dial().await;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .expect("an HTTP connection");
        let driving = tokio::spawn(connection);
        let response = sender
            .send_request(request.expect("a request"))
            .await
            .expect("an answer");
        let mut body = response.into_body();
        let mut text = Vec::new();
        // A list that goes on into the future is quiet after its past.
        while let Ok(Some(Ok(frame))) = time::timeout(Duration::from_secs(5), body.frame()).await {
            text.extend_from_slice(&frame.into_data().unwrap_or_default());
        }
        driving.abort();
        let text = String::from_utf8_lossy(&text);
        (
            text.lines().count(),
            text.lines().filter(|line| line.contains(word)).count(),
        )
    }

    /// Sends a request and goes away at once (F1, F6).
    pub async fn send_and_leave(&mut self, line: &str, body: Value) {
        let (method, path) = line.split_once(' ').expect("method and path");
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        let request = format!(
            "{method} /v1.41{path} HTTP/1.1\r\nHost: engine\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let mut stream = self.dial().await;
        stream
            .write_all(request.as_bytes())
            .await
            .expect("the Engine reads");
        stream.flush().await.expect("the Engine reads");
        // The Engine must have read the request before the end of the connection reaches it.
        time::sleep(LOOK).await;
        drop(stream);
        self.note(format!("{line}, and away"));
    }

    async fn dial(&self) -> Box<dyn operator::docker::ByteStream> {
        self.dialer
            .as_ref()
            .expect("cases run after the connect")
            .dial()
            .await
            .expect("the Engine listens")
    }

    /// Makes a container out of `v1` and gives its id. `more` is merged over the create's body.
    pub async fn create(&mut self, short: &str, more: Value) -> String {
        let answer = self.try_create(short, more).await;
        assert_eq!(answer.status, 201, "{:?}", answer.body);
        answer.id()
    }

    /// As [`Subject::create`], however it is answered.
    pub async fn try_create(&mut self, short: &str, more: Value) -> Answer {
        let body = self.body(more);
        self.call(
            &format!("POST /containers/create?name={}", self.name(short)),
            body,
        )
        .await
    }

    /// The body of a create.
    pub fn body(&self, more: Value) -> Value {
        let mut body = json!({ "Image": self.image("v1"), "Labels": self.labels() });
        merge(&mut body, more);
        body
    }

    /// Makes a network and gives its id. `config` is its one IPAM config.
    pub async fn network(&mut self, short: &str, config: Value) -> String {
        let body = json!({ "Name": self.name(short), "Labels": self.labels(), "IPAM": { "Config": [config] } });
        let answer = self.call("POST /networks/create", body).await;
        assert_eq!(answer.status, 201, "{:?}", answer.body);
        answer.id()
    }

    /// Notes what is to be compared of a container.
    pub async fn inspect(&mut self, short: &str) -> Value {
        let answer = self
            .quiet(
                &format!("GET /containers/{}/json", self.name(short)),
                Value::Null,
            )
            .await;
        if let Some(id) = answer.body["Id"].as_str() {
            self.transcript.learn(id);
        }
        let shown = serde_json::to_string_pretty(&chosen(&answer.body)).expect("JSON");
        self.note(format!("{short}: {} {shown}", answer.status));
        answer.body
    }

    /// Waits until the state of a container is as wanted.
    pub async fn until(&mut self, short: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let line = format!("GET /containers/{}/json", self.name(short));
        let deadline = Instant::now() + PATIENCE;
        loop {
            let body = self.quiet(&line, Value::Null).await.body;
            if wanted(&body["State"]) {
                return body;
            }
            assert!(
                Instant::now() < deadline,
                "{short} does not get there: {body}"
            );
            time::sleep(LOOK).await;
        }
    }

    /// Waits until a container has this status.
    pub async fn until_status(&mut self, short: &str, status: &str) -> Value {
        let found = self.until(short, |state| state["Status"] == status).await;
        self.note(format!("{short} is {status}"));
        found
    }
}

/// The part of an inspect that must be the same on both.
fn chosen(body: &Value) -> Value {
    if body["message"].is_string() {
        return body.clone();
    }
    // The Engine lists mounts in any order.
    let mut mounts = body["Mounts"].as_array().cloned().unwrap_or_default();
    mounts.sort_by_key(|mount| mount["Destination"].to_string());
    let state = &body["State"];
    let networks = body["NetworkSettings"]["Networks"].as_object().into_iter().flatten().map(|(name, endpoint)| {
        let view = json!({
            "IPAMConfig": endpoint["IPAMConfig"], "Aliases": endpoint["Aliases"], "NetworkID": endpoint["NetworkID"],
            "hasEndpoint": endpoint["EndpointID"] != "", "Gateway": endpoint["Gateway"],
            "IPAddress": endpoint["IPAddress"], "IPPrefixLen": endpoint["IPPrefixLen"],
            "MacAddress": endpoint["MacAddress"],
        });
        (name.clone(), view)
    });
    json!({
        "State": {
            "Status": state["Status"], "Running": state["Running"], "Paused": state["Paused"],
            "Restarting": state["Restarting"], "ExitCode": state["ExitCode"], "Error": state["Error"],
            "OOMKilled": state["OOMKilled"], "Dead": state["Dead"], "hasPid": state["Pid"] != 0,
            "started": state["StartedAt"] != "0001-01-01T00:00:00Z",
            "finished": state["FinishedAt"] != "0001-01-01T00:00:00Z", "Health": state["Health"]["Status"],
        },
        "Name": body["Name"], "Path": body["Path"], "Args": body["Args"], "RestartCount": body["RestartCount"],
        "Config": {
            "Labels": body["Config"]["Labels"], "Env": body["Config"]["Env"], "Cmd": body["Config"]["Cmd"],
            "Entrypoint": body["Config"]["Entrypoint"], "Image": body["Config"]["Image"],
            "ExposedPorts": body["Config"]["ExposedPorts"], "Volumes": body["Config"]["Volumes"],
            "User": body["Config"]["User"], "Hostname": body["Config"]["Hostname"],
            "Healthcheck": body["Config"]["Healthcheck"],
        },
        "HostConfig": {
            "RestartPolicy": body["HostConfig"]["RestartPolicy"], "NetworkMode": body["HostConfig"]["NetworkMode"],
            "ReadonlyRootfs": body["HostConfig"]["ReadonlyRootfs"], "Mounts": body["HostConfig"]["Mounts"],
            "LogConfig": body["HostConfig"]["LogConfig"], "CapDrop": body["HostConfig"]["CapDrop"],
            "Memory": body["HostConfig"]["Memory"], "PidsLimit": body["HostConfig"]["PidsLimit"],
        },
        "Networks": networks.collect::<serde_json::Map<_, _>>(), "Mounts": mounts,
    })
}

fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from,
    }
}

fn real_dialer() -> Arc<dyn Dialer> {
    let endpoint = std::env::var("MOORING_TEST_DOCKER")
        .unwrap_or_else(|_| "unix:///var/run/docker.sock".to_owned());
    let endpoint: Endpoint = endpoint
        .parse()
        .expect("MOORING_TEST_DOCKER is an endpoint");
    endpoint.dialer()
}

/// Removes what a case made, also after a panic: in a thread of its own, because the case's runtime may be gone.
impl Drop for Subject {
    fn drop(&mut self) {
        if matches!(self.kind, Kind::Fake) || self.engine.is_none() {
            return;
        }
        let prefix = self.prefix.clone();
        let removal = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            runtime.expect("a runtime").block_on(remove_all(&prefix))
        });
        match removal.join() {
            Ok(Ok(())) => {}
            Ok(Err(problem)) => eprintln!("contract: cannot clean up {}: {problem}", self.prefix),
            Err(_) => eprintln!("contract: cannot clean up {}", self.prefix),
        }
    }
}

async fn remove_all(prefix: &str) -> Result<(), Outcome> {
    let engine = &Engine::connect_with(real_dialer(), Arc::new(Open)).await?;
    let label = [format!("{LABEL}={prefix}")];
    for container in containers::list(engine, &label).await? {
        containers::remove(engine, container.id.as_deref().unwrap_or_default()).await?;
    }
    for network in networks::list(engine, &label).await? {
        networks::remove(engine, network.id.as_deref().unwrap_or_default()).await?;
    }
    for volume in volumes::list(engine, &label).await? {
        volumes::remove(engine, &volume.name).await?;
    }
    for image in images::list(engine, &[]).await? {
        for (repository, tag) in image
            .repo_tags
            .iter()
            .filter_map(|reference| reference.rsplit_once(':'))
        {
            if repository.starts_with(prefix) {
                images::untag(engine, repository, tag).await?;
            }
        }
    }
    Ok(())
}
