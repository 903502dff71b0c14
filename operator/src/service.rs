//! `mooring up --install-service`: a systemd unit with the same flags, so that the control plane survives the session
//! and the reboot.
//!
//! Owns the unit's text and the two calls of `systemctl`. It must not know what `up` does. No shell is involved.

use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use crate::args::Up;

/// The unit.
pub const UNIT: &str = "mooring.service";
/// Where units of the administrator are.
const DIRECTORY: &str = "/etc/systemd/system";
/// There when systemd runs as the first process.
const RUNTIME: &str = "/run/systemd/system";
/// The longest time for a call of systemctl: the start waits until the program was executed.
const SYSTEMCTL: Duration = Duration::from_secs(60);

/// Why the service cannot be installed.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// There is no systemd.
    #[error(
        "systemd does not run here ({RUNTIME} is missing); start `mooring up` without --install-service under the supervisor of this host"
    )]
    NoSystemd,
    /// A file cannot be read or written.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// systemctl refused.
    #[error("systemctl {arguments} failed: {message}")]
    Systemctl {
        /// What was asked.
        arguments: String,
        /// What it said.
        message: String,
    },
}

/// Writes the unit and starts it; gives its path.
pub async fn install(up: &Up) -> Result<PathBuf, ServiceError> {
    if !Path::new(RUNTIME).is_dir() {
        return Err(ServiceError::NoSystemd);
    }
    let program = std::env::current_exe().map_err(file(Path::new("the program's own path")))?;
    let absolute = |path: &Path| std::path::absolute(path).map_err(file(path));
    let up = Up {
        data_dir: absolute(&up.data_dir)?,
        kubeconfig: up.kubeconfig.as_deref().map(absolute).transpose()?,
        at_rest_key_file: up.at_rest_key_file.as_deref().map(absolute).transpose()?,
        proxy_dir: up.proxy_dir.as_deref().map(absolute).transpose()?,
        ..up.clone()
    };
    let path = Path::new(DIRECTORY).join(UNIT);
    let fresh = path.with_extension("service.new");
    std::fs::write(&fresh, unit(&program, &up)).map_err(file(&fresh))?;
    std::fs::rename(&fresh, &path).map_err(file(&path))?;
    systemctl(&["daemon-reload"]).await?;
    systemctl(&["enable", UNIT]).await?;
    // A unit that runs already gets the new flags as well.
    systemctl(&["restart", UNIT]).await?;
    Ok(path)
}

fn file(path: &Path) -> impl FnOnce(io::Error) -> ServiceError {
    let path = path.display().to_string();
    move |source| ServiceError::File { path, source }
}

async fn systemctl(arguments: &[&str]) -> Result<(), ServiceError> {
    let failed = |message: String| ServiceError::Systemctl {
        arguments: arguments.join(" "),
        message,
    };
    let call = Command::new("systemctl")
        .args(arguments)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    match tokio::time::timeout(SYSTEMCTL, call).await {
        Ok(Ok(output)) if output.status.success() => Ok(()),
        Ok(Ok(output)) => {
            let words = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            Err(failed(words))
        }
        Ok(Err(error)) => Err(failed(error.to_string())),
        Err(_) => Err(failed(format!("no end in {} s", SYSTEMCTL.as_secs()))),
    }
}

/// The unit's text.
fn unit(program: &Path, up: &Up) -> String {
    let mut words = vec![program.display().to_string(), "up".to_owned()];
    words.extend(flags(up));
    let command: Vec<String> = words.iter().map(|word| quoted(word)).collect();
    format!(
        "# Written by `mooring up --install-service`; run that again with other flags to change it.\n\
         [Unit]\n\
         Description=Mooring: control plane and controllers for Docker hosts\n\
         Wants=network-online.target\n\
         After=network-online.target docker.service\n\
         \n\
         [Service]\n\
         Type=exec\n\
         ExecStart={}\n\
         Restart=always\n\
         RestartSec=1\n\
         # Containers and proxies belong to the Engine and go on.\n\
         KillMode=mixed\n\
         TimeoutStopSec=15\n\
         LimitNOFILE=65536\n\
         \n\
         [Install]\n\
         WantedBy=multi-user.target\n",
        command.join(" ")
    )
}

/// The flags that lead to the same `up`, without the one that installs.
fn flags(up: &Up) -> Vec<String> {
    let Up {
        data_dir,
        listen,
        kubeconfig,
        at_rest_key_file,
        docker,
        http_port,
        proxy_dir,
        adopt,
        metrics_listen,
        install_service: _,
    } = up;
    let mut flags = vec!["--data-dir".to_owned(), data_dir.display().to_string()];
    let mut flag = |name: &str, value: String| flags.extend([name.to_owned(), value]);
    for address in listen {
        flag("--listen", address.to_string());
    }
    flag("--docker", docker.clone());
    flag("--http-port", http_port.to_string());
    for (name, path) in [
        ("--kubeconfig", kubeconfig),
        ("--at-rest-key-file", at_rest_key_file),
        ("--proxy-dir", proxy_dir),
    ] {
        if let Some(path) = path {
            flag(name, path.display().to_string());
        }
    }
    if let Some(address) = metrics_listen {
        flag("--metrics-listen", address.to_string());
    }
    if *adopt {
        flags.push("--adopt".to_owned());
    }
    flags
}

/// A word as systemd reads it back: quoted, with its own special characters doubled or escaped.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@=,".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    let mut text = String::from("\"");
    for c in word.chars() {
        match c {
            '"' | '\\' => {
                text.push('\\');
                text.push(c);
            }
            '%' | '$' => {
                text.push(c);
                text.push(c);
            }
            c if c.is_control() => {
                write!(text, "\\x{:02x}", u32::from(c)).expect("writing to a String cannot fail");
            }
            c => text.push(c),
        }
    }
    text.push('"');
    text
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::args::{Arguments, Command as Asked};

    #[test]
    fn the_unit_says_the_same_flags() {
        let words = [
            "mooring",
            "up",
            "--data-dir",
            "/var/lib/my mooring",
            "--listen",
            "127.0.0.1:7443",
            "--docker",
            "unix:///var/run/docker.sock",
            "--http-port",
            "8080",
            "--proxy-dir",
            "/opt/100%",
        ];
        let Asked::Up(up) = Arguments::parse_from(words).command else {
            panic!("the command is up");
        };
        assert_eq!(flags(&up), words[2..]);
        let text = unit(Path::new("/usr/bin/mooring"), &up);
        assert!(
            text.contains(
                "ExecStart=/usr/bin/mooring up --data-dir \"/var/lib/my mooring\" --listen 127.0.0.1:7443 --docker unix:///var/run/docker.sock --http-port 8080 --proxy-dir \"/opt/100%%\"\n"
            ),
            "{text}"
        );
    }

    #[test]
    fn words_are_quoted_as_systemd_reads_them() {
        assert_eq!(quoted("a-b/c"), "a-b/c");
        assert_eq!(quoted(""), "\"\"");
        assert_eq!(quoted("a\"b$c\n"), "\"a\\\"b$$c\\x0a\"");
    }
}
