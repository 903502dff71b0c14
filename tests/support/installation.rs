//! One `mooring up` on the Engine that a test uses, alone, and taken away again.
//!
//! Owns the released binaries' place, a data directory, ports and the end of it all. A host belongs to one install, so
//! a lock lets one at a time stand, over threads and processes. Invariants: whatever ends a test, what the install made
//! goes, and nothing else; a missing part fails in words and is never skipped.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use crate::alone::Alone;
use crate::deployed::{self, Deployed};
use crate::docker_cli;
use crate::kubectl::Kubectl;
use crate::program;

/// Names the directory of the released binaries, if they are not where `.ci/dist` puts them.
pub const DIST: &str = "MOORING_DIST";
/// The longest time from the start to the ready line: the first start makes keys, certificates and the store.
const READY: Duration = Duration::from_secs(60);
/// The longest time from SIGTERM to the end.
const ENDING: Duration = Duration::from_secs(12);
/// The ports that are tried: below the range that the kernel gives to clients.
const PORTS: std::ops::Range<u16> = 20_000..30_000;
/// Log lines that a failed test shows.
const LOG_LINES: usize = 200;

/// The directory of the released binaries.
///
/// # Panics
/// It is not there.
pub fn dist() -> PathBuf {
    let dist = std::env::var_os(DIST).map_or_else(
        || {
            let test = std::env::current_exe().expect("a program knows where it is");
            // target/<profile>/deps/<test>
            test.ancestors()
                .nth(3)
                .expect("tests lie in the target directory")
                .join("dist")
        },
        PathBuf::from,
    );
    let proxy = format!("mooring-proxy-{}", std::env::consts::ARCH);
    for name in ["mooring", "ledger", "testapp", &proxy] {
        assert!(
            dist.join(name).is_file(),
            "{} is missing: run .ci/dist, or .ci/test, which does",
            dist.join(name).display()
        );
    }
    dist
}

/// A process `mooring up` that said that it is ready.
#[derive(Debug)]
pub struct ControlPlane {
    child: Child,
    /// The line in which it said so.
    pub ready_line: String,
}

/// How a `mooring up` ended that was not ready before.
#[derive(Debug)]
pub struct Refusal {
    /// Whether it said that it failed.
    pub failed: bool,
    /// What it wrote on standard error.
    pub words: String,
}

impl ControlPlane {
    /// Starts it and waits until it is ready. Its log goes to the end of the file `log`.
    ///
    /// # Errors
    /// It ended before.
    ///
    /// # Panics
    /// It can be neither started nor waited for.
    pub fn start(arguments: &[String], log: &Path) -> Result<ControlPlane, Refusal> {
        let before = std::fs::metadata(log).map_or(0, |found| found.len());
        let file = File::options().create(true).append(true).open(log);
        let mut child = Command::new(dist().join("mooring"))
            .args(["--log-format", "json", "up"])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(file.expect("the log can be written"))
            .spawn()
            .expect("mooring runs");
        let lines = lines(&mut child);
        match lines.recv_timeout(READY) {
            Ok(ready_line) => Ok(ControlPlane { child, ready_line }),
            Err(_) => {
                let ended = child.try_wait().expect("a child of ours");
                let _ = child.kill();
                let status = child.wait().expect("a child of ours");
                let log = std::fs::read(log).unwrap_or_default();
                let words = program::text(&log[usize::try_from(before).expect("a short log")..]);
                assert!(
                    ended.is_some() || !status.success(),
                    "mooring up was not ready within {} s: {words}",
                    READY.as_secs()
                );
                Err(Refusal {
                    failed: !status.success(),
                    words,
                })
            }
        }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Freezes it wherever it is.
    pub fn freeze(&self) {
        signal(self.child.id(), "STOP");
    }

    /// Lets it go on.
    pub fn thaw(&self) {
        signal(self.child.id(), "CONT");
    }

    /// Ends it in order and gives how long that took.
    ///
    /// # Panics
    /// It did not end in time, or said that it failed.
    pub fn stop(mut self) -> Duration {
        let begun = Instant::now();
        signal(self.child.id(), "TERM");
        let status = program::until("mooring ends after SIGTERM", ENDING, || {
            let status = self.child.try_wait().expect("a child of ours");
            status.ok_or_else(|| "it goes on".to_owned())
        });
        assert!(
            status.success(),
            "mooring ended with {status} after SIGTERM"
        );
        begun.elapsed()
    }

    /// Ends it at once, wherever it is.
    pub fn kill(mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn signal(pid: u32, name: &str) {
    let mut kill = Command::new("kill");
    program::output(
        kill.args([&format!("-{name}"), &pid.to_string()]),
        Duration::from_secs(5),
    );
}

/// The lines that a child prints; the channel closes with its standard output.
fn lines(child: &mut Child) -> Receiver<String> {
    let (send, receive) = channel();
    let stdout = child.stdout.take().expect("it is piped");
    thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            // Nobody has to listen, but the pipe has to be read.
            let _ = send.send(line);
        }
    });
    receive
}

/// An install on this machine.
#[derive(Debug)]
pub struct Installation {
    scratch: PathBuf,
    api_port: u16,
    http_port: u16,
    docker: String,
    data_dir: PathBuf,
    control_plane: Option<ControlPlane>,
    id: String,
    _deployed: Deployed,
    alone: Alone,
}

impl Installation {
    /// A fresh install for the test `name`, ready, with its host ready.
    ///
    /// # Panics
    /// Something that it needs is missing.
    pub fn fresh(name: &str) -> Installation {
        let mut installation = Installation::prepared(name, None);
        installation.start();
        installation
            .kubectl()
            .wait("dockerhost/local", "condition=Ready", 60);
        installation
    }

    /// A fresh install that is not started yet. `docker` is the Engine's endpoint, if it is not the usual one.
    ///
    /// # Panics
    /// Something that it needs is missing.
    pub fn prepared(name: &str, docker: Option<&str>) -> Installation {
        let answer = docker_cli::try_docker(&["version", "--format", "{{.Server.Version}}"]);
        assert!(
            answer.status.success(),
            "no Engine answers on {}: run .ci/engine as root, or .ci/test, which does\n{}",
            docker_cli::host(),
            program::text(&answer.stderr)
        );
        let dist = dist();
        let alone = Alone::wait();
        let scratch =
            std::env::temp_dir().join(format!("mooring-e2e-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&scratch);
        std::fs::create_dir_all(&scratch).expect("a directory can be made");
        Installation {
            data_dir: scratch.join("data"),
            scratch,
            api_port: free_port(),
            http_port: free_port(),
            docker: docker.map_or_else(docker_cli::host, str::to_owned),
            control_plane: None,
            id: String::new(),
            _deployed: Deployed::images(&dist),
            alone,
        }
    }

    /// The arguments of its `mooring up`.
    pub fn arguments(&self, data_dir: &Path) -> Vec<String> {
        [
            ("--data-dir", data_dir.display().to_string()),
            ("--listen", format!("127.0.0.1:{}", self.api_port)),
            ("--http-port", self.http_port.to_string()),
            ("--docker", self.docker.clone()),
            ("--proxy-dir", dist().display().to_string()),
        ]
        .into_iter()
        .flat_map(|(flag, value)| [flag.to_owned(), value])
        .collect()
    }

    /// Starts it, or starts it again.
    ///
    /// # Panics
    /// It refuses.
    pub fn start(&mut self) {
        self.start_on(self.data_dir.clone(), &[]);
    }

    /// Starts it on another data directory, with more flags.
    ///
    /// # Panics
    /// It refuses, or one runs.
    pub fn start_on(&mut self, data_dir: PathBuf, more: &[&str]) {
        assert!(self.control_plane.is_none(), "it runs already");
        let arguments = self.arguments(&data_dir);
        let more = more.iter().map(|&flag| flag.to_owned());
        let arguments: Vec<String> = arguments.into_iter().chain(more).collect();
        self.data_dir = data_dir;
        let started = ControlPlane::start(&arguments, &self.log());
        let control_plane = started.unwrap_or_else(|refusal| {
            panic!("mooring up ended before it was ready: {}", refusal.words)
        });
        let pid = control_plane.pid();
        self.control_plane = Some(control_plane);
        self.id = self.kubectl().run(&[
            "--namespace",
            "mooring-system",
            "get",
            "secret",
            "mooring-install",
            "-o",
            "go-template={{.data.id | base64decode}}",
        ]);
        assert_eq!(
            self.id.len(),
            32,
            "an install's id has 32 digits: {}",
            self.id
        );
        self.alone.stands(&self.id, pid);
    }

    /// Tries another `mooring up` of this install's ports and Engine, which must refuse.
    ///
    /// # Panics
    /// It does not.
    pub fn refused(&self, arguments: &[String]) -> Refusal {
        match ControlPlane::start(arguments, &self.scratch.join("refused.log")) {
            Ok(control_plane) => {
                let line = control_plane.ready_line.clone();
                drop(control_plane);
                panic!("it was not refused: {line}")
            }
            Err(refusal) => refusal,
        }
    }

    /// The running process.
    ///
    /// # Panics
    /// None runs.
    pub fn control_plane(&self) -> &ControlPlane {
        self.control_plane.as_ref().expect("it was started")
    }

    /// Takes the process, to end it.
    ///
    /// # Panics
    /// None runs.
    pub fn take(&mut self) -> ControlPlane {
        self.control_plane.take().expect("it was started")
    }

    /// kubectl for it.
    pub fn kubectl(&self) -> Kubectl {
        Kubectl::new(&self.data_dir.join("kubeconfig"))
    }

    /// The port on which its proxy listens.
    pub fn http_port(&self) -> u16 {
        self.http_port
    }

    /// Its data directory.
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// A directory that goes away with it.
    pub fn scratch(&self) -> &Path {
        &self.scratch
    }

    /// The install's id, once it was started.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Where everything that `mooring up` logged is.
    pub fn log(&self) -> PathBuf {
        self.scratch.join("mooring.log")
    }

    /// Deletes what was declared, as a person would; what goes wrong, in words.
    fn delete_objects(&self) -> Vec<String> {
        let kubectl = self.kubectl();
        let calls: [&[&str]; 2] = [
            &[
                "delete",
                "deploymentpipelines",
                "--all",
                "--all-namespaces",
                "--timeout=90s",
            ],
            &["delete", "dockerhosts", "--all", "--timeout=60s"],
        ];
        let mut wrong = Vec::new();
        for call in calls {
            let output = kubectl.try_run(call, "");
            if !output.status.success() {
                wrong.push(format!(
                    "kubectl {}: {}",
                    call.join(" "),
                    program::text(&output.stderr)
                ));
            }
        }
        wrong
    }
}

impl Drop for Installation {
    fn drop(&mut self) {
        let failing = thread::panicking();
        let mut wrong = Vec::new();
        if failing {
            let log = std::fs::read(self.log()).unwrap_or_default();
            let log = program::text(&log);
            let lines: Vec<&str> = log.lines().collect();
            eprintln!("the last lines of mooring's log:");
            for line in &lines[lines.len().saturating_sub(LOG_LINES)..] {
                eprintln!("  {line}");
            }
        }
        if let Some(control_plane) = self.control_plane.take() {
            wrong.extend(self.delete_objects());
            let asked_to_end = std::panic::catch_unwind(move || control_plane.stop());
            if asked_to_end.is_err() {
                wrong.push("mooring did not end after SIGTERM".to_owned());
            }
            wrong.extend(
                deployed::sweep(&self.id)
                    .into_iter()
                    .map(|left| format!("{left} was left behind by the deletion of everything")),
            );
        } else {
            deployed::sweep(&self.id);
        }
        self.alone.gone();
        let _ = std::fs::remove_dir_all(&self.scratch);
        for line in &wrong {
            eprintln!("cleaning up: {line}");
        }
        assert!(
            failing || wrong.is_empty(),
            "the install did not take itself away: {wrong:?}"
        );
    }
}

/// A port of this machine that nothing listens on.
///
/// # Panics
/// There is none.
pub fn free_port() -> u16 {
    static TAKEN: std::sync::Mutex<BTreeSet<u16>> = std::sync::Mutex::new(BTreeSet::new());
    let mut taken = TAKEN.lock().expect("no panic while held");
    // Two processes at once begin at different places.
    let offset = u16::try_from(std::process::id() % 10_000).expect("less than 10,000");
    let port = (0..PORTS.end - PORTS.start)
        .map(|n| PORTS.start + (n + offset) % (PORTS.end - PORTS.start))
        .find(|port| !taken.contains(port) && TcpListener::bind(("0.0.0.0", *port)).is_ok())
        .expect("one port of ten thousand is free");
    taken.insert(port);
    port
}
