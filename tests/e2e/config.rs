//! What instances see of ConfigMaps and Secrets, what a rollback brings back, and where a secret must not be found.

use std::path::Path;

use tests::deployed::{NAMED_USER, SHOP};
use tests::docker_cli::{self, docker};
use tests::installation::Installation;
use tests::kubectl::Kubectl;
use tests::program;
use tests::request::{self, Answer};

use crate::shop::{self, PATIENCE};

/// A way of giving an instance its configuration.
struct Way {
    /// The pipeline's name.
    name: &'static str,
    /// The image's tag.
    tag: &'static str,
    /// Its securityContext.
    security: &'static str,
    /// Whom the files must belong to.
    owner: &'static str,
}

/// Files in the container's layer, files in a scratch volume, and an owner that only the image can name.
const WAYS: [Way; 3] = [
    Way {
        name: "layer",
        tag: "1.0",
        security: "{runAsUser: 65532}",
        owner: "65532:",
    },
    Way {
        name: "scratch",
        tag: "1.0",
        security: "{runAsUser: 65532, readOnlyRootFilesystem: true}",
        owner: "65532:",
    },
    Way {
        name: "named",
        tag: NAMED_USER,
        security: "{}",
        owner: "1000:",
    },
];

#[test]
fn configuration_arrives_comes_back_and_stays_secret() {
    let installation = Installation::fresh("config");
    let (kubectl, port) = (installation.kubectl(), installation.http_port());
    let canary = format!("canary-{}-of-the-vault", std::process::id());
    kubectl.apply(&settings("EUR", ""));
    kubectl.apply(&format!(
        "{{apiVersion: v1, kind: Secret, metadata: {{name: vault}}, stringData: {{password: {canary}}}}}"
    ));
    kubectl.apply("{apiVersion: v1, kind: Secret, metadata: {name: keys}, stringData: {token: for-all-to-see}}");
    for way in &WAYS {
        kubectl.apply(&manifest(way));
    }
    for way in &WAYS {
        kubectl.wait(&object(way), "condition=Ready", PATIENCE);
        arrives(way, port, &canary);
    }
    for way in &WAYS[..2] {
        inside_agrees(way);
    }
    comes_back(&kubectl, port);
    stays_secret(&installation, &kubectl, &canary);
}

fn settings(currency: &str, more: &str) -> String {
    format!(
        "{{apiVersion: v1, kind: ConfigMap, metadata: {{name: settings}}, data: {{CURRENCY: {currency}, GREETING: hello{more}}}}}"
    )
}

fn manifest(way: &Way) -> String {
    let Way {
        name,
        tag,
        security,
        owner: _,
    } = way;
    format!(
        "apiVersion: mooring.dev/v1alpha1
kind: DeploymentPipeline
metadata: {{name: {name}}}
spec:
  source: {{image: '{SHOP}:{tag}'}}
  template:
    terminationGracePeriodSeconds: 1
    containers:
    - name: main
      env:
      - name: TOKEN
        valueFrom: {{secretKeyRef: {{name: keys, key: token}}}}
      envFrom:
      - configMapRef: {{name: settings}}
      securityContext: {security}
      readinessProbe:
        httpGet: {{path: /ready, port: 8080}}
        periodSeconds: 1
      volumeMounts:
      - {{name: settings, mountPath: /etc/settings}}
      - {{name: tight, mountPath: /etc/tight}}
      - {{name: vault, mountPath: /etc/vault}}
    volumes:
    - {{name: settings, configMap: {{name: settings}}}}
    - {{name: tight, configMap: {{name: settings, defaultMode: 0440, items: [{{key: CURRENCY, path: money/currency}}]}}}}
    - {{name: vault, secret: {{secretName: vault}}}}
  traffic: {{port: 8080, hosts: [{name}.localhost]}}
  strategy: {{minReadySeconds: 1, healthyDeadlineSeconds: 4, progressDeadlineSeconds: 60, bakeSeconds: 1}}
"
    )
}

fn object(way: &Way) -> String {
    format!("deploymentpipeline/{}", way.name)
}

fn ask(name: &str, port: u16, path: &str) -> Answer {
    let answer = request::get(port, &format!("{name}.localhost"), path);
    let answer = answer.expect("the proxy answers");
    assert_eq!(answer.status, 200, "{path} of {name}: {answer:?}");
    answer
}

fn arrives(way: &Way, port: u16, canary: &str) {
    let name = way.name;
    assert_eq!(ask(name, port, "/env?name=TOKEN").body, "for-all-to-see");
    assert_eq!(ask(name, port, "/env?name=GREETING").body, "hello");
    for (path, content, mode) in [
        ("/etc/settings/CURRENCY", "EUR", "0444"),
        ("/etc/settings/GREETING", "hello", "0444"),
        ("/etc/tight/money/currency", "EUR", "0440"),
        ("/etc/vault/password", canary, "0400"),
    ] {
        let answer = ask(name, port, &format!("/file?path={path}"));
        assert_eq!(answer.body, content, "{path} in {name}");
        assert_eq!(answer.headers["x-mode"], mode, "mode of {path} in {name}");
        let found = &answer.headers["x-owner"];
        assert!(
            found.starts_with(way.owner),
            "owner of {path} in {name}: {found}"
        );
    }
}

/// What Docker says of the container is what was asked for.
fn inside_agrees(way: &Way) {
    let ids = docker_cli::running(way.name);
    let format = "{{.Config.User}} {{.HostConfig.ReadonlyRootfs}}";
    let found = docker(&["inspect", "--format", format, &ids[0]]);
    let read_only = way.security.contains("readOnlyRootFilesystem");
    assert_eq!(found.trim(), format!("65532 {read_only}"));
}

/// A configuration that makes the application bad is undone, bytes and all, for later instances too.
fn comes_back(kubectl: &Kubectl, port: u16) {
    let currency = || ask("layer", port, "/file?path=/etc/settings/CURRENCY").body;
    let object = object(&WAYS[0]);
    kubectl.apply(&settings("USD", ", NEVER_READY: 'yes'"));
    kubectl.wait(
        &object,
        "jsonpath={.status.currentRelease}=layer-2",
        PATIENCE,
    );
    kubectl.wait(&object, "condition=Stalled", PATIENCE);
    assert_eq!(
        kubectl.condition(&object, "Stalled", "reason"),
        "RolledBack"
    );
    assert_eq!(currency(), "EUR");

    let running = docker_cli::running("layer");
    docker(&["rm", "--force", &running[0]]);
    let found = shop::until("an instance of the old release stands in", || {
        let answer = request::get(port, "layer.localhost", "/file?path=/etc/settings/CURRENCY")?;
        if answer.status == 200 {
            Ok(answer.body)
        } else {
            Err(format!("{answer:?}"))
        }
    });
    assert_eq!(
        found, "EUR",
        "made anew, it has what ran, not what the ConfigMap says"
    );

    kubectl.apply(&settings("USD", ""));
    for way in &WAYS {
        kubectl.wait(&self::object(way), "condition=Ready", PATIENCE);
        let found = ask(way.name, port, "/file?path=/etc/settings/CURRENCY").body;
        assert_eq!(found, "USD", "{} follows the ConfigMap", way.name);
    }
}

/// The canary is in the container and in the Secrets, and nowhere else.
fn stays_secret(installation: &Installation, kubectl: &Kubectl, canary: &str) {
    let encoded = kubectl.run(&["get", "secret", "vault", "-o", "jsonpath={.data.password}"]);
    let forms = [canary.to_owned(), encoded];
    let absent = |place: &str, text: &[u8]| {
        for form in &forms {
            let found = text
                .windows(form.len())
                .any(|window| window == form.as_bytes());
            assert!(!found, "the canary is in {place}");
        }
    };
    let kinds = "dockerhosts,deploymentpipelines,releases,configmaps,leases,events";
    let yaml = kubectl.run(&["get", kinds, "--all-namespaces", "-o", "yaml"]);
    assert!(yaml.contains("kind: Release"), "the objects were read");
    absent("an object", yaml.as_bytes());
    absent(
        "a description",
        kubectl.run(&["describe", "dp,rel"]).as_bytes(),
    );
    let log = std::fs::read(installation.log()).expect("the log is there");
    assert!(!log.is_empty(), "something was logged");
    absent("mooring's log", &log);
    let label = format!("label=mooring.dev/install={}", installation.id());
    let containers = docker_cli::words(&["ps", "--all", "--quiet", "--filter", &label]);
    assert!(
        containers.len() > WAYS.len(),
        "the proxy and the instances are there"
    );
    for id in &containers {
        absent("docker inspect", docker(&["inspect", id]).as_bytes());
        absent(
            "docker logs",
            program::text(&docker_cli::try_docker(&["logs", id]).stdout).as_bytes(),
        );
    }
    let mut files = 0;
    each_file(installation.data_dir(), &mut |path, bytes| {
        files += 1;
        absent(&path.display().to_string(), bytes);
    });
    assert!(files > 2, "the data directory was read");
}

fn each_file(directory: &Path, look: &mut impl FnMut(&Path, &[u8])) {
    for entry in std::fs::read_dir(directory).expect("the directory can be read") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            each_file(&path, look);
        } else {
            look(&path, &std::fs::read(&path).expect("the file can be read"));
        }
    }
}
