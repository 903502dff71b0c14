//! The command line: what can be asked of `mooring`, and nothing of how it is done.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// A reconciling operator for Docker hosts.
#[derive(Debug, Parser)]
#[command(name = "mooring", version, about, long_about = None, propagate_version = true)]
pub struct Arguments {
    /// How the log is written to stderr; what is in it, RUST_LOG says.
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The form of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Runs the control plane and the controllers on this host.
    Up(Up),
    /// Runs the controllers alone, against any Kubernetes API.
    Operator(Operator),
    /// Prints the CustomResourceDefinitions as YAML.
    Crds,
    /// Shows what the instances of a pipeline write.
    Logs(Logs),
}

/// `mooring up`.
#[derive(Debug, Clone, Args)]
pub struct Up {
    /// Where the control plane keeps its data; one process at a time.
    #[arg(long, value_name = "DIR", default_value = "/var/lib/mooring")]
    pub data_dir: PathBuf,
    /// Where kubectl reaches it, with TLS; may be given more than once.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:7443")]
    pub listen: Vec<SocketAddr>,
    /// Where the kubeconfig is written [default: DATA_DIR/kubeconfig].
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// The key that Secrets are encrypted with [default: DATA_DIR/keys/at-rest, made when missing].
    #[arg(long, value_name = "FILE")]
    pub at_rest_key_file: Option<PathBuf>,
    /// The Engine of the DockerHost `local`, which is made when there is no DockerHost.
    #[arg(
        long,
        value_name = "ENDPOINT",
        default_value = "unix:///var/run/docker.sock"
    )]
    pub docker: String,
    /// The port on which its proxy listens.
    #[arg(long, value_name = "PORT", default_value_t = 80, value_parser = clap::value_parser!(u16).range(1..))]
    pub http_port: u16,
    /// Where mooring-proxy-ARCH lies, if not beside this program.
    #[arg(long, value_name = "DIR")]
    pub proxy_dir: Option<PathBuf>,
    /// Takes over a host that belongs to an install whose control plane is lost; for an empty data directory.
    #[arg(long)]
    pub adopt: bool,
    /// Shows metrics under /metrics on this address; without TLS or a token, so keep it on loopback.
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub metrics_listen: Option<SocketAddr>,
    /// Writes a systemd unit with these flags, starts it and ends.
    #[arg(long)]
    pub install_service: bool,
}

/// `mooring operator`.
#[derive(Debug, Clone, Args)]
pub struct Operator {
    /// The API [default: as kubectl, or of the cluster that this runs in].
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Where the install's Secret and the Lease are kept [default: the Pod's own namespace, else mooring-system].
    #[arg(long, value_name = "NAMESPACE")]
    pub system_namespace: Option<String>,
    /// Where mooring-proxy-ARCH lies, if not beside this program.
    #[arg(long, value_name = "DIR")]
    pub proxy_dir: Option<PathBuf>,
    /// Shows metrics under /metrics on this address.
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub metrics_listen: Option<SocketAddr>,
}

/// `mooring logs`.
#[derive(Debug, Clone, Args)]
pub struct Logs {
    /// The pipeline.
    pub name: String,
    /// Its namespace [default: that of the kubeconfig's context].
    #[arg(long, short)]
    pub namespace: Option<String>,
    /// Goes on with what is written from now on.
    #[arg(long, short)]
    pub follow: bool,
    /// Shows the Release before the current one.
    #[arg(long, conflicts_with = "release")]
    pub previous: bool,
    /// Shows the Release with this number.
    #[arg(long, value_name = "NUMBER")]
    pub release: Option<u64>,
    /// The API [default: as kubectl].
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn the_defaults_are_the_documented_ones() {
        let Command::Up(up) = Arguments::parse_from(["mooring", "up"]).command else {
            panic!("the command is up");
        };
        assert_eq!(up.data_dir, PathBuf::from("/var/lib/mooring"));
        assert_eq!(up.listen, ["127.0.0.1:7443".parse().expect("an address")]);
        assert_eq!(
            (up.docker.as_str(), up.http_port),
            ("unix:///var/run/docker.sock", 80)
        );
        assert!(!up.adopt && !up.install_service);
    }
}
