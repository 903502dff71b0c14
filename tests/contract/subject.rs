//! What a case talks to: the fake Engine or a real one, which it cannot tell apart.

use std::path::PathBuf;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use operator::docker::{
    ApiVersion, Dialer, Endpoint, Engine, Outcome, containers, images, networks, volumes,
};
use operator::gate::Open;
use serde_json::{Value, json};
use tests::docker_cli;
use tests::fake_engine::{EngineOptions, FakeEngine, Generation};
use tests::images::Recipe;
use tokio::io::AsyncWriteExt as _;
use tokio::time::{self, Instant};

use crate::shown::chosen;
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
    Fake(Generation),
}

/// One Engine, for one case.
pub struct Subject {
    kind: Kind,
    prefix: String,
    number: u8,
    dialer: Option<Arc<dyn Dialer>>,
    engine: Option<Engine>,
    transcript: Transcript,
    /// Where the Engine keeps volumes.
    data_root: String,
}

/// Runs a case and gives its transcript and the Engine's generation. Afterwards nothing of it is left on the Engine.
pub fn run(mut subject: Subject, case: &impl AsyncFn(&mut Subject)) -> (String, Generation) {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder
        .enable_all()
        .start_paused(matches!(subject.kind, Kind::Fake(_)));
    let runtime = builder.build().expect("a runtime");
    runtime.block_on(async {
        subject.connect().await;
        case(&mut subject).await;
    });
    let empty = Transcript::new("");
    let transcript = std::mem::replace(&mut subject.transcript, empty);
    (transcript.into_text(), subject.generation())
}

impl Subject {
    /// The fake Engine of a generation.
    pub fn fake(case: &str, number: u8, generation: Generation) -> Subject {
        Subject::new(Kind::Fake(generation), case, number)
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
            data_root: String::new(),
        }
    }

    /// Connects, and brings the image `v1` there.
    async fn connect(&mut self) {
        let dialer = match self.kind {
            Kind::Fake(generation) => FakeEngine::new(EngineOptions::of(generation)).dialer(),
            Kind::Real => real_dialer(),
        };
        let engine = Engine::connect_with(Arc::clone(&dialer), Arc::new(Open)).await;
        let engine = engine.unwrap_or_else(|problem| match self.kind {
            Kind::Fake(_) => panic!("the fake Engine: {problem}"),
            Kind::Real => panic!(
                "{problem}\nThe contract suite needs a Docker Engine (API 1.41 or later): run `.ci/engine start` as root, or name one in DOCKER_HOST"
            ),
        });
        self.dialer = Some(dialer);
        self.engine = Some(engine);
        let info = self.quiet("GET /info", Value::Null).await.body;
        let root = info["DockerRootDir"]
            .as_str()
            .expect("the Engine says where its files are");
        self.data_root = root.to_owned();
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

    /// The version that every call is made in, as the operator makes them.
    fn api_version(&self) -> ApiVersion {
        self.engine().facts().api_version
    }

    /// Which kind of Engine it is.
    pub fn generation(&self) -> Generation {
        Generation::of(self.api_version())
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
            .replace(&self.data_root, "<data root>")
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
            .uri(format!("/v{}{path}", self.api_version()))
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
            Kind::Fake(_) => 1_767_225_600 + 1,
        };
        let path = format!("/v{}/events?since=1&until={until}", self.api_version());
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
            "{method} /v{}{path} HTTP/1.1\r\nHost: engine\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            self.api_version(),
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
        let answer = self.try_network(short, config).await;
        assert_eq!(answer.status, 201, "{:?}", answer.body);
        answer.id()
    }

    /// As [`Subject::network`], however it is answered.
    pub async fn try_network(&mut self, short: &str, config: Value) -> Answer {
        let body = json!({ "Name": self.name(short), "Labels": self.labels(), "IPAM": { "Config": [config] } });
        self.call("POST /networks/create", body).await
    }

    /// Notes what is to be compared of a container.
    pub async fn inspect(&mut self, short: &str) -> Value {
        let answer = self
            .quiet(
                &format!("GET /containers/{}/json", self.name(short)),
                Value::Null,
            )
            .await;
        let networks = answer.body["NetworkSettings"]["Networks"].as_object();
        let endpoints = networks
            .into_iter()
            .flatten()
            .map(|(_, at)| &at["EndpointID"]);
        for id in std::iter::once(&answer.body["Id"]).chain(endpoints) {
            if let Some(id) = id.as_str().filter(|id| !id.is_empty()) {
                self.transcript.learn(id);
            }
        }
        let shown = serde_json::to_string_pretty(&chosen(&answer.body)).expect("JSON");
        self.note(format!("{short}: {} {shown}", answer.status));
        answer.body
    }

    /// A container as the list of all shows it.
    pub async fn listed(&self, short: &str) -> Value {
        let list = self.quiet("GET /containers/json?all=1", Value::Null).await;
        let name = format!("/{}", self.name(short));
        let containers = list.body.as_array().into_iter().flatten();
        let mut named = containers.filter(|container| container["Names"][0] == name.as_str());
        named.next().cloned().expect("it is listed")
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
    let endpoint: Endpoint = docker_cli::host()
        .parse()
        .expect("DOCKER_HOST is an endpoint");
    endpoint.dialer()
}

/// Removes what a case made, also after a panic: in a thread of its own, because the case's runtime may be gone.
impl Drop for Subject {
    fn drop(&mut self) {
        if matches!(self.kind, Kind::Fake(_)) || self.engine.is_none() {
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
