//! Volumes.

use bollard::models::VolumeCreateRequest;
use operator::docker::volumes;
use serde_json::{Value, json};

use crate::subject::Subject;

/// F3: the second create gives the first volume back, with its labels.
pub async fn f3_a_volume_is_not_exclusive(subject: &mut Subject) {
    let name = subject.name("v");
    let engine = subject.engine().clone();
    for value in ["first", "second"] {
        let mut labels = std::collections::HashMap::from([("who".to_owned(), value.to_owned())]);
        labels.insert(
            "mooring-contract".to_owned(),
            subject.labels()["mooring-contract"]
                .as_str()
                .expect("text")
                .to_owned(),
        );
        let request = VolumeCreateRequest {
            name: Some(name.clone()),
            labels: Some(labels),
            ..VolumeCreateRequest::default()
        };
        let made = volumes::create(&engine, &request).await.expect("a volume");
        subject.note(format!(
            "{} {:?} {}",
            made.name,
            made.labels.get("who"),
            made.mountpoint
        ));
    }
    subject.outcome(
        "inspect",
        &volumes::inspect(&engine, &subject.name("none")).await,
    );
    let found = volumes::list(&engine, &["who=first".to_owned()])
        .await
        .expect("a list");
    let found: Vec<String> = found
        .into_iter()
        .map(|volume| volume.name)
        .filter(|found| *found == name)
        .collect();
    subject.note(format!("{found:?}"));
    subject.outcome("remove", &volumes::remove(&engine, &name).await);
    subject.outcome("remove", &volumes::remove(&engine, &name).await);
    subject
        .call(&format!("DELETE /volumes/{name}"), Value::Null)
        .await;
}

/// A volume that any container mounts, running or not, stays.
pub async fn a_volume_in_use(subject: &mut Subject) {
    let name = subject.name("v");
    subject
        .call(
            "POST /volumes/create",
            json!({ "Name": name, "Labels": subject.labels() }),
        )
        .await;
    let mounts = json!([
        { "Type": "volume", "Source": name, "Target": "/data" },
        { "Type": "volume", "Source": name, "Target": "/ro", "ReadOnly": true },
    ]);
    subject
        .create("a", json!({ "HostConfig": { "Mounts": mounts } }))
        .await;
    subject.inspect("a").await;
    subject
        .call(&format!("DELETE /volumes/{name}"), Value::Null)
        .await;
    subject
        .call(
            &format!("DELETE /containers/{}", subject.name("a")),
            Value::Null,
        )
        .await;
    subject
        .call(&format!("DELETE /volumes/{name}"), Value::Null)
        .await;
}

/// A VOLUME of the image that no mount covers becomes a volume without a name, which stays unless `v=1`.
pub async fn volumes_that_nobody_named(subject: &mut Subject) {
    subject
        .import("volume", |recipe| recipe.change("VOLUME /data"))
        .await;
    let image = subject.image("volume");
    for (short, remove) in [("a", "v=1"), ("b", "v=0")] {
        subject.create(short, json!({ "Image": image })).await;
        let found = subject.inspect(short).await;
        let volume = found["Mounts"][0]["Name"]
            .as_str()
            .expect("a name")
            .to_owned();
        subject
            .call(
                &format!("DELETE /containers/{}?{remove}", subject.name(short)),
                Value::Null,
            )
            .await;
        let left = subject
            .quiet(&format!("GET /volumes/{volume}"), Value::Null)
            .await;
        subject.note(format!("{remove}: {}", left.status));
        subject
            .quiet(&format!("DELETE /volumes/{volume}"), Value::Null)
            .await;
    }
}
