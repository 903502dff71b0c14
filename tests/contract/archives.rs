//! Files into and out of containers.

use std::io::Read as _;

use bytes::Bytes;
use operator::docker::archive;
use serde_json::json;

use crate::subject::Subject;

/// One file of mode 0400 that belongs to user 5.
fn tar_of(path: &str, content: &str) -> Bytes {
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(content.len() as u64);
    header.set_mode(0o400);
    header.set_uid(5);
    header.set_gid(6);
    builder
        .append_data(&mut header, path, content.as_bytes())
        .expect("it fits");
    builder.into_inner().expect("in memory").into()
}

/// F33: a read-only root refuses, a writable volume in it takes.
pub async fn f33_what_is_read_only_refuses(subject: &mut Subject) {
    let volume = subject.name("v");
    let mounts = json!([
        { "Type": "volume", "Source": volume, "Target": "/data", "VolumeOptions": { "Labels": subject.labels() } },
        { "Type": "volume", "Source": volume, "Target": "/ro", "ReadOnly": true },
    ]);
    subject
        .create(
            "a",
            json!({ "HostConfig": { "ReadonlyRootfs": true, "Mounts": mounts } }),
        )
        .await;
    let (engine, name) = (subject.engine().clone(), subject.name("a"));
    for path in ["/", "/data", "/ro", "/none"] {
        let put = archive::put(&engine, &name, path, tar_of("x", "abc")).await;
        subject.outcome(path, &put);
    }
    subject.outcome(
        "none",
        &archive::put(&engine, &subject.name("none"), "/", tar_of("x", "abc")).await,
    );
    let found = archive::get(&engine, &name, "/data/x", 1 << 20).await;
    subject.outcome("get", &found);
}

/// F21: a tmpfs is not there before the start.
pub async fn f21_a_tmpfs_is_not_there(subject: &mut Subject) {
    subject
        .create(
            "a",
            json!({ "HostConfig": { "Tmpfs": { "/secrets": "" } } }),
        )
        .await;
    let (engine, name) = (subject.engine().clone(), subject.name("a"));
    let put = archive::put(&engine, &name, "/secrets", tar_of("x", "abc")).await;
    subject.outcome("put", &put);
}

/// Owner and mode are kept, and a file of the image can be read before the start.
pub async fn files_go_in_and_come_out(subject: &mut Subject) {
    subject.create("a", json!({})).await;
    let (engine, name) = (subject.engine().clone(), subject.name("a"));
    subject.outcome(
        "put",
        &archive::put(&engine, &name, "/", tar_of("run/config/x", "abc")).await,
    );
    for path in ["/run/config/x", "/run/config", "/etc/passwd", "/none"] {
        let found = archive::get(&engine, &name, path, 1 << 20).await;
        subject.outcome(path, &found);
        let Ok(found) = found else { continue };
        for entry in tar::Archive::new(found.as_ref())
            .entries()
            .expect("an archive")
        {
            let mut entry = entry.expect("an entry");
            if !entry.header().entry_type().is_file() {
                continue;
            }
            let header = entry.header().clone();
            let path = entry.path().expect("a path").display().to_string();
            let mut content = String::new();
            entry.read_to_string(&mut content).expect("text");
            let owner = (
                header.uid().expect("a number"),
                header.gid().expect("a number"),
            );
            subject.note(format!(
                "{path} {:o} {owner:?} {content:?}",
                header.mode().expect("a mode") & 0o7777
            ));
        }
    }
    let small = archive::get(&engine, &name, "/etc/passwd", 10).await;
    subject.outcome("limit", &small);
}
