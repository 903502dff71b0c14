//! Networks and addresses.

use futures::future::join_all;
use operator::docker::networks::{self, Bridge};
use serde_json::{Value, json};

use crate::subject::Subject;

/// The body of a container on a network, with a fixed address or without.
fn on(network: &str, fixed: Option<String>) -> Value {
    let endpoint = match fixed {
        Some(address) => json!({ "Aliases": ["shop"], "IPAMConfig": { "IPv4Address": address } }),
        None => json!({ "Aliases": ["shop"] }),
    };
    json!({ "HostConfig": { "NetworkMode": network }, "NetworkingConfig": { "EndpointsConfig": { network: endpoint } } })
}

async fn post(subject: &mut Subject, short: &str, verb: &str) {
    let line = format!("POST /containers/{}/{verb}", subject.name(short));
    subject.call(&line, Value::Null).await;
}

/// The bridge as the operator makes it.
fn bridge(subject: &Subject) -> Value {
    json!({
        "Subnet": subject.subnet(), "Gateway": subject.address(0, 1),
        "IPRange": format!("{}/24", subject.address(3, 0)),
    })
}

/// F4: on Engine 20.10 two networks may have one name, unless one asks.
pub async fn f4_a_name_is_not_exclusive(subject: &mut Subject) {
    let name = subject.name("n");
    let (first, second) = (subject.address(0, 0), subject.address(1, 0));
    subject
        .network("n", json!({ "Subnet": format!("{first}/24") }))
        .await;
    let second = subject
        .try_network("n", json!({ "Subnet": format!("{second}/24") }))
        .await;
    subject
        .call(&format!("GET /networks/{name}"), Value::Null)
        .await;
    if second.status == 201 {
        subject
            .call(&format!("DELETE /networks/{}", second.id()), Value::Null)
            .await;
    }
    let engine = subject.engine().clone();
    let bridge = Bridge {
        name: name.clone(),
        subnet: format!("{}/24", subject.address(2, 0)),
        ip_range: format!("{}/25", subject.address(2, 128)),
        gateway: subject.address(2, 1),
        labels: [("mooring-contract".to_owned(), "x".to_owned())].into(),
    };
    subject.outcome("create", &networks::create(&engine, &bridge).await);
    subject
        .call(&format!("DELETE /networks/{name}"), Value::Null)
        .await;
    subject
        .call(&format!("DELETE /networks/{name}"), Value::Null)
        .await;
    subject.outcome("remove", &networks::remove(&engine, &name).await);
    subject.call("DELETE /networks/bridge", Value::Null).await;
}

/// F38: of eight at once with one subnet, one is made.
pub async fn f38_a_subnet_is_exclusive(subject: &mut Subject) {
    let bodies = (0..8).map(|number| {
        let name = subject.name(&format!("n{number}"));
        json!({ "Name": name, "Labels": subject.labels(), "IPAM": { "Config": [bridge(subject)] } })
    });
    let mut answers =
        join_all(bodies.map(|body| subject.quiet("POST /networks/create", body))).await;
    answers.sort_by_key(|answer| answer.status);
    let statuses: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
    subject.note(format!("{statuses:?} {}", answers[7].body["message"]));
    for config in [
        json!({ "Subnet": format!("{}/24", subject.address(1, 0)) }),
        json!({ "Subnet": "nonsense" }),
    ] {
        let body = json!({ "Name": subject.name("m"), "Labels": subject.labels(), "IPAM": { "Config": [config] } });
        subject.call("POST /networks/create", body).await;
    }
}

/// F16: an address that Docker gave is given to the next one as soon as its owner ends.
pub async fn f16_an_address_is_given_on_at_once(subject: &mut Subject) {
    let config = bridge(subject);
    subject.network("n", config).await;
    let net = subject.name("n");
    for short in ["a", "b", "c"] {
        subject.create(short, on(&net, None)).await;
    }
    post(subject, "a", "start").await;
    post(subject, "b", "start").await;
    subject.inspect("a").await;
    subject.inspect("b").await;
    let network = subject
        .quiet(&format!("GET /networks/{net}"), Value::Null)
        .await
        .body;
    let on_it = network["Containers"].as_object().into_iter().flatten();
    let mut on_it: Vec<String> = on_it
        .map(|(_, at)| format!("{} {}", at["Name"], at["IPv4Address"]))
        .collect();
    on_it.sort();
    subject.note(on_it.join("\n"));
    post(subject, "a", "stop?t=5").await;
    post(subject, "c", "start").await;
    subject.inspect("c").await;
    post(subject, "a", "start").await;
    let a = subject.inspect("a").await;
    assert_ne!(a["NetworkSettings"]["Networks"][&net]["IPAddress"], "");
}

/// F17: a fixed address outside the range survives stop and start, and nobody else gets it.
pub async fn f17_a_fixed_address_is_kept(subject: &mut Subject) {
    let (config, fixed) = (bridge(subject), subject.address(0, 10));
    let id = subject.network("n", config).await;
    let net = subject.name("n");
    subject.create("a", on(&id, Some(fixed))).await;
    subject.inspect("a").await;
    post(subject, "a", "start").await;
    list_addresses(subject, "a", &net).await;
    post(subject, "a", "stop?t=5").await;
    subject.inspect("a").await;
    list_addresses(subject, "a", &net).await;
    subject.create("d", on(&net, None)).await;
    post(subject, "d", "start").await;
    post(subject, "a", "start").await;
    subject.inspect("a").await;
    subject.inspect("d").await;
    // One is left: the words name those who are there in any order.
    post(subject, "d", "stop?t=5").await;
    subject
        .call(&format!("DELETE /networks/{id}"), Value::Null)
        .await;
}

/// Notes what the list of all says of a container's addresses: who allocates some must know those of stopped ones too.
async fn list_addresses(subject: &mut Subject, short: &str, net: &str) {
    let listed = subject.listed(short).await;
    let endpoint = &listed["NetworkSettings"]["Networks"][net];
    subject.note(format!(
        "listed: {} {} {}",
        endpoint["IPAMConfig"], endpoint["IPAddress"], endpoint["NetworkID"]
    ));
}

/// F32: whose fixed address another one has does not start, and says so in its state.
pub async fn f32_a_fixed_address_in_use(subject: &mut Subject) {
    let (config, fixed) = (bridge(subject), subject.address(0, 10));
    subject.network("n", config).await;
    let net = subject.name("n");
    subject.create("a", on(&net, Some(fixed.clone()))).await;
    subject.create("b", on(&net, Some(fixed))).await;
    subject
        .try_create("c", on(&net, Some("10.99.99.99".to_owned())))
        .await;
    post(subject, "a", "start").await;
    post(subject, "b", "start").await;
    subject.inspect("b").await;
    post(subject, "c", "start").await;
    post(subject, "a", "stop?t=5").await;
    post(subject, "b", "start").await;
    post(subject, "a", "start").await;
    subject.inspect("a").await;
}

/// F34: without a gateway the Engine takes the first address of the range; 20.10 does not show it.
pub async fn f34_no_gateway(subject: &mut Subject) {
    let config =
        json!({ "Subnet": subject.subnet(), "IPRange": format!("{}/24", subject.address(3, 0)) });
    subject.network("n", config).await;
    let net = subject.name("n");
    let found = subject
        .quiet(&format!("GET /networks/{net}"), Value::Null)
        .await
        .body;
    subject.note(format!(
        "{} {} {}",
        found["IPAM"]["Config"], found["Driver"], found["Labels"]["mooring-contract"]
    ));
    subject.create("a", on(&net, None)).await;
    post(subject, "a", "start").await;
    subject.inspect("a").await;
}

/// F35: a stopped container whose network was taken away does not start, not even when the name is there again.
pub async fn f35_the_network_is_gone(subject: &mut Subject) {
    let (config, fixed) = (bridge(subject), subject.address(0, 10));
    let id = subject.network("n", config.clone()).await;
    let net = subject.name("n");
    subject.create("a", on(&net, Some(fixed.clone()))).await;
    subject.create("b", on(&net, Some(fixed))).await;
    post(subject, "a", "start").await;
    post(subject, "a", "stop?t=5").await;
    subject
        .call(&format!("DELETE /networks/{id}"), Value::Null)
        .await;
    post(subject, "a", "start").await;
    subject.inspect("a").await;
    post(subject, "b", "start").await;
    subject.network("n", config).await;
    post(subject, "a", "start").await;
    post(subject, "b", "start").await;
    subject.inspect("b").await;
}

/// A network can be asked for by id and by name; a container shows it by name.
pub async fn names_and_ids_of_networks(subject: &mut Subject) {
    let config = bridge(subject);
    let id = subject.network("n", config).await;
    let net = subject.name("n");
    subject.create("a", on(&id, None)).await;
    subject.inspect("a").await;
    subject
        .create("b", json!({ "HostConfig": { "NetworkMode": "none" } }))
        .await;
    post(subject, "b", "start").await;
    subject.inspect("b").await;
    let two = json!({ "NetworkingConfig": { "EndpointsConfig": { "bridge": {}, net: {} } } });
    let body = subject.body(two);
    let create = format!("POST /containers/create?name={}", subject.name("c"));
    // The words name the two in any order.
    let refused = subject.quiet(&create, body).await;
    subject.note(format!("two networks: {}", refused.status));
    subject
        .create(
            "d",
            json!({ "HostConfig": { "NetworkMode": subject.name("none") } }),
        )
        .await;
    post(subject, "d", "start").await;
    subject
        .call(
            &format!("GET /networks/{}", subject.name("none")),
            Value::Null,
        )
        .await;
}

/// Connect and disconnect.
pub async fn connected_later(subject: &mut Subject) {
    let (config, fixed) = (bridge(subject), subject.address(0, 10));
    subject.network("n", config).await;
    let (net, name) = (subject.name("n"), subject.name("a"));
    subject
        .create("a", json!({ "HostConfig": { "NetworkMode": "none" } }))
        .await;
    subject.create("b", json!({})).await;
    let b = subject.name("b");
    let endpoint =
        json!({ "Container": b, "EndpointConfig": { "IPAMConfig": { "IPv4Address": fixed } } });
    subject
        .call(&format!("POST /networks/{net}/connect"), endpoint)
        .await;
    post(subject, "b", "start").await;
    let found = subject
        .quiet(&format!("GET /containers/{b}/json"), Value::Null)
        .await
        .body;
    let endpoint = &found["NetworkSettings"]["Networks"][&net];
    subject.note(format!("{} {}", endpoint["IPAddress"], endpoint["Aliases"]));
    for container in [&b, &b, &name, &subject.name("none")] {
        subject
            .call(
                &format!("POST /networks/{net}/disconnect"),
                json!({ "Container": container }),
            )
            .await;
    }
}
