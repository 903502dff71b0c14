//! Real kubectl against one API, as a person would type it.
//!
//! Owns the environment that kubectl runs in. It must not know which control plane answers.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::program;

/// The longest time that any call may take beyond what it was told to wait.
const PATIENCE: Duration = Duration::from_secs(60);

/// kubectl with a kubeconfig.
#[derive(Debug, Clone)]
pub struct Kubectl {
    kubeconfig: PathBuf,
    editor: Option<String>,
}

impl Kubectl {
    /// kubectl for the API that `kubeconfig` names.
    pub fn new(kubeconfig: &Path) -> Kubectl {
        Kubectl {
            kubeconfig: kubeconfig.to_owned(),
            editor: None,
        }
    }

    /// Where the kubeconfig is.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// The same with an editor for `kubectl edit`.
    #[must_use]
    pub fn editor(&self, editor: &str) -> Kubectl {
        Kubectl {
            editor: Some(editor.to_owned()),
            ..self.clone()
        }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("kubectl");
        command.args(arguments).env("KUBECONFIG", &self.kubeconfig);
        if let Some(editor) = &self.editor {
            command.env("KUBE_EDITOR", editor);
        }
        command
    }

    /// What it answers, whatever that is.
    pub fn try_run(&self, arguments: &[&str], input: &str) -> Output {
        program::run(
            &mut self.command(arguments),
            input.as_bytes(),
            PATIENCE + Duration::from_secs(180),
        )
    }

    /// What it prints when it is given `input`.
    ///
    /// # Panics
    /// It failed.
    pub fn given(&self, arguments: &[&str], input: &str) -> String {
        let output = self.try_run(arguments, input);
        assert!(
            output.status.success(),
            "kubectl {} failed ({})\n{}{}",
            arguments.join(" "),
            output.status,
            program::text(&output.stdout),
            program::text(&output.stderr)
        );
        program::text(&output.stdout)
    }

    /// What it prints.
    ///
    /// # Panics
    /// It failed.
    pub fn run(&self, arguments: &[&str]) -> String {
        self.given(arguments, "")
    }

    /// What it says when it refuses.
    ///
    /// # Panics
    /// It did not refuse.
    pub fn refused(&self, arguments: &[&str], input: &str) -> String {
        let output = self.try_run(arguments, input);
        assert!(
            !output.status.success(),
            "kubectl {} was not refused:\n{}",
            arguments.join(" "),
            program::text(&output.stdout)
        );
        program::text(&output.stderr)
    }

    /// `kubectl apply -f -` of documents.
    ///
    /// # Panics
    /// It was refused.
    pub fn apply(&self, documents: &str) -> String {
        self.given(&["apply", "-f", "-"], documents)
    }

    /// `kubectl wait OBJECT --for=WHAT`.
    ///
    /// # Panics
    /// It is not so within the limit; the message has the object as it is then.
    pub fn wait(&self, object: &str, what: &str, seconds: u32) -> String {
        let condition = format!("--for={what}");
        let limit = format!("--timeout={seconds}s");
        let output = self.try_run(&["wait", object, &condition, &limit], "");
        if output.status.success() {
            return program::text(&output.stdout);
        }
        let described = self.try_run(&["describe", object], "");
        let releases = self.try_run(&["get", "releases", "-o", "yaml"], "");
        panic!(
            "kubectl wait {object} {condition}: {}\n{}\n{}",
            program::text(&output.stderr),
            program::text(&described.stdout),
            program::text(&releases.stdout)
        );
    }

    /// An object, or a list of them.
    ///
    /// # Panics
    /// It cannot be read.
    pub fn json(&self, arguments: &[&str]) -> Value {
        let arguments: Vec<&str> = arguments.iter().copied().chain(["-o", "json"]).collect();
        serde_json::from_str(&self.run(&arguments)).expect("kubectl prints JSON")
    }

    /// One field of a condition of an object, such as `status` or `message`; empty when there is none.
    pub fn condition(&self, object: &str, kind: &str, field: &str) -> String {
        let path = format!("jsonpath={{.status.conditions[?(@.type==\"{kind}\")].{field}}}");
        self.run(&["get", object, "-o", &path])
    }

    /// Begins a call that goes on, such as `get -w`.
    ///
    /// # Panics
    /// kubectl cannot be started.
    pub fn follow(&self, arguments: &[&str]) -> Following {
        let mut child = self
            .command(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .expect("kubectl runs");
        let lines = Arc::new(Mutex::new(Vec::new()));
        let (kept, stdout) = (
            Arc::clone(&lines),
            child.stdout.take().expect("it is piped"),
        );
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                kept.lock().expect("no panic while held").push(line);
            }
        });
        Following { child, lines }
    }
}

/// A call that goes on until it is dropped.
#[derive(Debug)]
pub struct Following {
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Following {
    /// What it has printed so far.
    pub fn lines(&self) -> Vec<String> {
        self.lines.lock().expect("no panic while held").clone()
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
