//! The control planes: `mooring up`, and kube-apiserver with etcd, started from an existing data directory.
//!
//! Owns the processes that the benchmark starts, and stops them. It measures from the fork to the first 200 of
//! `/readyz`, and the resident memory.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use kube::Client;
use kube::config::{Config, KubeConfigOptions, Kubeconfig};
use tokio::process::{Child, Command};

/// How often `/readyz` is asked.
const POLL: Duration = Duration::from_millis(2);
/// How long a start may take.
const START: Duration = Duration::from_secs(120);
/// How long a stop may take before the process is killed.
const STOP: Duration = Duration::from_secs(20);

/// Where everything is, and on which ports.
#[derive(Debug, Clone)]
pub struct Places {
    /// The directory with `mooring` and the proxy.
    pub dist: PathBuf,
    /// The data directory of `mooring up`.
    pub data: PathBuf,
    /// The address that it listens on.
    pub listen: String,
    /// The port of the proxy.
    pub http_port: u16,
    /// A directory in which `.ci/cluster up` has run once, and `.ci/cluster down` after it.
    pub cluster: PathBuf,
}

/// Processes that are stopped together.
#[derive(Debug)]
pub struct Running {
    children: Vec<Child>,
    kubeconfig: PathBuf,
}

impl Running {
    /// Starts `mooring up` and returns how long it took until it was ready.
    ///
    /// # Errors
    /// It did not become ready.
    pub async fn mooring(places: &Places) -> anyhow::Result<(Self, Duration)> {
        let begun = Instant::now();
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(places.data.with_extension("log"))?;
        let child = Command::new(places.dist.join("mooring"))
            .arg("up")
            .arg("--data-dir")
            .arg(&places.data)
            .args([
                "--listen",
                &places.listen,
                "--http-port",
                &places.http_port.to_string(),
            ])
            .arg("--proxy-dir")
            .arg(&places.dist)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .context("mooring up")?;
        let running = Self {
            children: vec![child],
            kubeconfig: places.data.join("kubeconfig"),
        };
        running.ready(begun).await
    }

    /// Starts etcd and kube-apiserver with the commands that `.ci/cluster up` left behind.
    ///
    /// # Errors
    /// They did not become ready.
    pub async fn kubernetes(places: &Places) -> anyhow::Result<(Self, Duration)> {
        let begun = Instant::now();
        let mut children = Vec::new();
        for name in ["etcd", "kube-apiserver"] {
            let file = places.cluster.join(format!("{name}.command"));
            let line = std::fs::read(&file).with_context(|| file.display().to_string())?;
            let words: Vec<&str> = std::str::from_utf8(&line)?.split_terminator('\0').collect();
            let (program, arguments) = words.split_first().context("an empty command")?;
            let log = std::fs::File::options()
                .create(true)
                .append(true)
                .open(places.cluster.join(format!("{name}.log")))?;
            let child = Command::new(program)
                .args(arguments)
                .stdin(Stdio::null())
                .stdout(log.try_clone()?)
                .stderr(log)
                .kill_on_drop(true)
                .spawn()
                .with_context(|| name.to_owned())?;
            children.push(child);
        }
        let running = Self {
            children,
            kubeconfig: places.cluster.join("kubeconfig"),
        };
        running.ready(begun).await
    }

    async fn ready(self, begun: Instant) -> anyhow::Result<(Self, Duration)> {
        let readying = async {
            loop {
                if let Ok(client) = client(&self.kubeconfig).await
                    && is_ready(&client).await
                {
                    return begun.elapsed();
                }
                tokio::time::sleep(POLL).await;
            }
        };
        match tokio::time::timeout(START, readying).await {
            Ok(took) => Ok((self, took)),
            Err(_) => bail!(
                "{} answered no /readyz within {START:?}",
                self.kubeconfig.display()
            ),
        }
    }

    /// A client of it.
    ///
    /// # Errors
    /// The kubeconfig cannot be read.
    pub async fn client(&self) -> anyhow::Result<Client> {
        client(&self.kubeconfig).await
    }

    /// The resident memory of its processes, in MiB.
    ///
    /// # Errors
    /// A process has ended.
    pub fn resident_mib(&self) -> anyhow::Result<f64> {
        let mut kib = 0.0;
        for child in &self.children {
            let id = child.id().context("the process has ended")?;
            let status = std::fs::read_to_string(format!("/proc/{id}/status"))?;
            let line = status
                .lines()
                .find_map(|line| line.strip_prefix("VmRSS:"))
                .context("VmRSS")?;
            kib += line
                .trim()
                .trim_end_matches(" kB")
                .parse::<f64>()
                .context("VmRSS is a number")?;
        }
        Ok(kib / 1024.0)
    }

    /// Stops them, the last one started first.
    ///
    /// # Errors
    /// The signal cannot be sent.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        for mut child in self.children.drain(..).rev() {
            let Some(id) = child.id() else { continue };
            // The standard library can only kill; `kill` sends what the process can answer.
            Command::new("kill")
                .args(["-TERM", &id.to_string()])
                .status()
                .await
                .context("kill")?;
            if tokio::time::timeout(STOP, child.wait()).await.is_err() {
                child.kill().await.context("the process ignores SIGTERM")?;
            }
        }
        Ok(())
    }
}

async fn client(kubeconfig: &Path) -> anyhow::Result<Client> {
    let kubeconfig = Kubeconfig::read_from(kubeconfig)?;
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    Ok(Client::try_from(config)?)
}

async fn is_ready(client: &Client) -> bool {
    let Ok(request) = http::Request::get("/readyz").body(Vec::new()) else {
        return false;
    };
    client.request_text(request).await.is_ok()
}
