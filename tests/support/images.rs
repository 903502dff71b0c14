//! The images that tests, demo and benchmark deploy: `testapp`, built static, imported into an Engine as one layer.
//!
//! No registry and no Dockerfile: the archive is made in memory and goes in as an import.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use bytes::Bytes;
use operator::docker::{Engine, Outcome, images};
use serde_json::Value;

/// Names a `testapp` that is built already; it must be static.
pub const TESTAPP: &str = "MOORING_TESTAPP";

/// Why there is no image.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// Cargo could not be run.
    #[error("cannot run cargo to build testapp: {0}")]
    Cargo(#[source] io::Error),
    /// The build failed.
    #[error("building testapp failed: {0}")]
    Build(String),
    /// The archive could not be made.
    #[error("cannot pack testapp: {0}")]
    Pack(#[source] io::Error),
    /// The Engine did not take it.
    #[error(transparent)]
    Engine(#[from] Outcome),
}

/// An image of `testapp`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipe {
    /// Its name without the tag.
    pub repository: String,
    /// Its tag.
    pub tag: String,
    /// The program's environment: what makes it good or bad (`tests/testapp/settings.rs`).
    pub env: Vec<(String, String)>,
    /// More of the image in Dockerfile words, for example `LABEL a=b` or `HEALTHCHECK CMD [...]`.
    pub changes: Vec<String>,
}

impl Recipe {
    /// A good application that says it is `version`, tagged so.
    pub fn version(repository: &str, version: &str) -> Recipe {
        Recipe {
            repository: repository.to_owned(),
            tag: version.to_owned(),
            env: vec![("VERSION".to_owned(), version.to_owned())],
            changes: Vec::new(),
        }
    }

    /// With one variable more.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Recipe {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With one Dockerfile word more.
    #[must_use]
    pub fn change(mut self, change: &str) -> Recipe {
        self.changes.push(change.to_owned());
        self
    }

    /// With a check of its readiness by itself, every `interval_ms`, unhealthy after two failures.
    #[must_use]
    pub fn healthcheck(self, interval_ms: u64) -> Recipe {
        self.change(&format!(
            r#"HEALTHCHECK --interval={interval_ms}ms --timeout=2s --retries=2 CMD ["/testapp","healthcheck"]"#
        ))
    }

    /// `repository:tag`.
    pub fn reference(&self) -> String {
        format!("{}:{}", self.repository, self.tag)
    }

    /// All of it in Dockerfile words.
    pub fn all_changes(&self) -> Vec<String> {
        let fixed = [
            r#"ENTRYPOINT ["/testapp"]"#.to_owned(),
            "EXPOSE 8080".to_owned(),
        ];
        let env = self
            .env
            .iter()
            .map(|(name, value)| format!("ENV {name}={value}"));
        fixed
            .into_iter()
            .chain(env)
            .chain(self.changes.clone())
            .collect()
    }

    /// Imports it into `engine`, from a built `program`.
    pub async fn import(&self, engine: &Engine, program: &Path) -> Result<(), ImageError> {
        let archive = pack(program).map_err(ImageError::Pack)?;
        images::import(
            engine,
            &self.repository,
            &self.tag,
            &self.all_changes(),
            archive,
        )
        .await?;
        Ok(())
    }
}

/// The static `testapp`: the one that [`TESTAPP`] names, or built now, which takes half a minute the first time.
pub fn testapp() -> Result<PathBuf, ImageError> {
    if let Some(path) = std::env::var_os(TESTAPP) {
        return Ok(PathBuf::from(path));
    }
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let target = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let build = Command::new(cargo)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args([
            "build",
            "--package",
            "testapp",
            "--release",
            "--message-format",
            "json",
            "--target",
            &target,
        ])
        .env("RUSTFLAGS", "-C target-feature=+crt-static")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .output()
        .map_err(ImageError::Cargo)?;
    if !build.status.success() {
        return Err(ImageError::Build(
            String::from_utf8_lossy(&build.stderr).into_owned(),
        ));
    }
    let messages = serde_json::Deserializer::from_slice(&build.stdout)
        .into_iter::<Value>()
        .flatten();
    messages
        .filter_map(|message| message["executable"].as_str().map(PathBuf::from))
        .last()
        .ok_or_else(|| ImageError::Build("cargo named no executable".to_owned()))
}

/// The files of the image: the program, a user `app` and an empty `/data`.
fn pack(program: &Path) -> io::Result<Bytes> {
    let program = std::fs::read(program)?;
    let passwd = "root:x:0:0::/:/testapp\napp:x:1000:1000::/:/testapp\n";
    let mut builder = tar::Builder::new(Vec::new());
    let files = [
        ("testapp", program.as_slice(), 0o755),
        ("etc/passwd", passwd.as_bytes(), 0o644),
    ];
    for directory in ["etc/", "data/"] {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Directory);
        header.set_mode(0o755);
        header.set_uid(0);
        header.set_gid(0);
        header.set_size(0);
        builder.append_data(&mut header, directory, io::empty())?;
    }
    for (path, content, mode) in files {
        let mut header = tar::Header::new_gnu();
        header.set_mode(mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_size(content.len() as u64);
        builder.append_data(&mut header, path, content)?;
    }
    builder.into_inner().map(Bytes::from)
}
