//! A Docker Engine of a test's own, in a network namespace of its own, that can be stopped, killed and started again.
//!
//! Two Engines in one namespace rewrite each other's firewall (F27), so the test's thread enters the namespace, and with
//! it everything that it starts: loopback, ports and routes are the namespace's own. Owns the Engine's data, its process
//! and the namespace. It must not know what runs on it. Invariants: one at a time stands on a machine; whatever ends a
//! test, all of it goes, with what a killed test left by the next that begins.

use std::fs::File;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::{docker_cli, program};

/// The namespace's name; there is one at a time.
const NAMESPACE: &str = "mooring-e2e";
/// The longest time from the start of dockerd to its first answer: it restores its containers first.
const STARTING: Duration = Duration::from_secs(60);
/// The longest time from SIGTERM to its end: it gives every container its grace first.
const ENDING: Duration = Duration::from_secs(60);
/// The longest time of any other program.
const PATIENCE: Duration = Duration::from_secs(20);

/// What becomes of containers while their Engine is away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LiveRestore {
    /// They end with it.
    Off,
    /// They run on.
    On,
}

/// The Engine. Dropping it takes everything of it away.
#[derive(Debug)]
pub struct PrivateEngine {
    home: PathBuf,
    programs: Option<PathBuf>,
    dockerd: Option<Child>,
    /// The namespace that the thread came from.
    outside: File,
    _alone: File,
}

impl PrivateEngine {
    /// Starts one and moves this thread to it. `programs` is a directory with dockerd and what belongs to it; without
    /// one they are found as any program is.
    ///
    /// # Panics
    /// It does not start, or this is not root.
    pub fn start(programs: Option<&Path>, live_restore: LiveRestore) -> PrivateEngine {
        let alone = File::create(std::env::temp_dir().join("mooring-e2e-engine.lock"));
        let alone = alone.expect("the lock can be made");
        alone.lock().expect("the lock can be waited for");
        let outside = File::open("/proc/thread-self/ns/net").expect("a thread has a namespace");
        let home = std::env::temp_dir().join("mooring-e2e-engine");
        let left = home.is_dir();
        std::fs::create_dir_all(&home).expect("a directory can be made");
        enter(left);
        let mut engine = PrivateEngine {
            home,
            programs: programs.map(Path::to_owned),
            dockerd: None,
            outside,
            _alone: alone,
        };
        docker_cli::use_engine(Some(&engine.socket()));
        if left {
            engine.end_what_was_left();
            engine.clear();
            std::fs::create_dir_all(&engine.home).expect("a directory can be made");
        }
        engine.again(live_restore);
        engine
    }

    /// Its socket.
    pub fn socket(&self) -> PathBuf {
        self.home.join("docker.sock")
    }

    /// Ends it in order.
    ///
    /// # Panics
    /// It does not run, or does not end.
    pub fn stop(&mut self) {
        let mut dockerd = self.dockerd.take().expect("it runs");
        signal("TERM", dockerd.id());
        program::until("dockerd ends after SIGTERM", ENDING, || {
            let ended = dockerd.try_wait().expect("a child of ours");
            ended.map(drop).ok_or_else(|| "it goes on".to_owned())
        });
    }

    /// Ends it as a power cut would.
    ///
    /// # Panics
    /// It does not run.
    pub fn kill(&mut self) {
        let mut dockerd = self.dockerd.take().expect("it runs");
        dockerd.kill().expect("a child of ours");
        dockerd.wait().expect("a child of ours");
        // Its containerd is told to end with it, and the next dockerd needs the socket.
        let containerd = self.pid("exec/containerd/containerd.pid", "containerd");
        if let Some(pid) = containerd {
            until_gone(pid, "containerd");
        }
    }

    /// Starts it again and gives how long it took to answer.
    ///
    /// # Panics
    /// It runs, or does not answer in time.
    pub fn again(&mut self, live_restore: LiveRestore) -> Duration {
        assert!(self.dockerd.is_none(), "it runs already");
        // Whatever has the numbers in them by now is no Engine.
        for file in ["dockerd.pid", "exec/containerd/containerd.pid"] {
            let _ = std::fs::remove_file(self.home.join(file));
        }
        let log = File::options().create(true).append(true).open(self.log());
        let log = log.expect("the log can be written");
        let begun = Instant::now();
        let mut command = self.command(live_restore);
        let error = log.try_clone().expect("a file can be had twice");
        let started = command
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(error)
            .spawn();
        let child = started.unwrap_or_else(|error| {
            panic!("dockerd does not start ({error}): .ci/engine installs it; run this as root")
        });
        let dockerd = self.dockerd.insert(child);
        let log = self.home.join("dockerd.log");
        program::until("dockerd answers", STARTING, || {
            let ended = dockerd.try_wait().expect("a child of ours");
            assert!(ended.is_none(), "dockerd ended: {}", tail(&log));
            let answer = docker_cli::try_docker(&["version", "--format", "{{.Server.Version}}"]);
            if answer.status.success() {
                Ok(())
            } else {
                Err(tail(&log))
            }
        });
        begun.elapsed()
    }

    fn command(&self, live_restore: LiveRestore) -> Command {
        let mut command = match &self.programs {
            None => Command::new("dockerd"),
            Some(programs) => {
                let path = std::env::var_os("PATH").unwrap_or_default();
                let others = std::env::split_paths(&path);
                let all = std::iter::once(programs.clone()).chain(others);
                let mut command = Command::new(programs.join("dockerd"));
                command.env("PATH", std::env::join_paths(all).expect("paths join"));
                command
            }
        };
        let place = |name: &str| self.home.join(name).display().to_string();
        command
            .args(["--host", &format!("unix://{}", place("docker.sock"))])
            .args(["--data-root", &place("data")])
            .args(["--exec-root", &place("exec")])
            .args(["--pidfile", &place("dockerd.pid")])
            .arg(format!(
                "--live-restore={}",
                live_restore == LiveRestore::On
            ));
        command
    }

    fn log(&self) -> PathBuf {
        self.home.join("dockerd.log")
    }

    /// The process that a file names, if that program runs under the number.
    fn pid(&self, file: &str, program: &str) -> Option<u32> {
        let text = std::fs::read_to_string(self.home.join(file)).ok()?;
        let pid = text.trim().parse().ok()?;
        runs(pid, program).then_some(pid)
    }

    /// Ends the Engine of a test that was killed.
    fn end_what_was_left(&self) {
        for (file, program) in [
            ("dockerd.pid", "dockerd"),
            ("exec/containerd/containerd.pid", "containerd"),
        ] {
            if let Some(pid) = self.pid(file, program) {
                signal("KILL", pid);
                until_gone(pid, program);
            }
        }
    }

    /// Removes every container and what the Engine kept. What still runs without it is found by starting it again.
    fn clear(&mut self) {
        if self.dockerd.is_none() {
            self.again(LiveRestore::Off);
        }
        for id in docker_cli::words(&["ps", "--all", "--quiet", "--no-trunc"]) {
            docker_cli::try_docker(&["rm", "--force", "--volumes", &id]);
        }
        self.stop();
        let home = self.home.display().to_string();
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        for place in mounts
            .lines()
            .rev()
            .filter_map(|line| line.split(' ').nth(1))
        {
            if place.starts_with(&format!("{home}/")) {
                program::run(
                    Command::new("umount").args(["--lazy", place]),
                    b"",
                    PATIENCE,
                );
            }
        }
        let _ = std::fs::remove_dir_all(&self.home);
    }
}

impl Drop for PrivateEngine {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the last lines of dockerd's log:\n{}", tail(&self.log()));
        }
        self.clear();
        docker_cli::use_engine(None);
        let back =
            move_into_link_name_space(self.outside.as_fd(), Some(LinkNameSpaceType::Network));
        back.expect("a thread can go back to where it came from");
        ip(&["netns", "del", NAMESPACE]);
    }
}

/// Moves this thread into the namespace, which is made unless it is there.
fn enter(left: bool) {
    if !left || !Path::new("/run/netns").join(NAMESPACE).exists() {
        program::run(
            Command::new("ip").args(["netns", "del", NAMESPACE]),
            b"",
            PATIENCE,
        );
        ip(&["netns", "add", NAMESPACE]);
    }
    let namespace = File::open(Path::new("/run/netns").join(NAMESPACE)).expect("it was made");
    let entered = move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network));
    entered.expect("root may enter a namespace");
    ip(&["link", "set", "lo", "up"]);
}

fn ip(arguments: &[&str]) {
    program::output(Command::new("ip").args(arguments), PATIENCE);
}

fn signal(name: &str, pid: u32) {
    let mut kill = Command::new("kill");
    program::run(
        kill.args([&format!("-{name}"), &pid.to_string()]),
        b"",
        PATIENCE,
    );
}

fn runs(pid: u32, program: &str) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim() == program)
}

fn until_gone(pid: u32, program: &str) {
    program::until(&format!("{program} ends"), PATIENCE, || {
        if runs(pid, program) {
            Err("it goes on".to_owned())
        } else {
            Ok(())
        }
    });
}

/// The last lines of a log.
fn tail(log: &Path) -> String {
    let text = std::fs::read(log).unwrap_or_default();
    let text = program::text(&text);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(15)..].join("\n")
}
