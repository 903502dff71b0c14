//! What of a container is shown in a transcript: all that must be the same on both, and nothing that two cannot share.

use std::net::Ipv4Addr;

use serde_json::{Value, json};

/// The part of an inspect that must be the same on both.
pub fn chosen(body: &Value) -> Value {
    if body["message"].is_string() {
        return body.clone();
    }
    // The Engine lists mounts in any order.
    let mut mounts = body["Mounts"].as_array().cloned().unwrap_or_default();
    mounts.sort_by_key(|mount| mount["Destination"].to_string());
    let state = &body["State"];
    let networks = body["NetworkSettings"]["Networks"].as_object().into_iter().flatten().map(|(name, endpoint)| {
        let view = json!({
            "IPAMConfig": endpoint["IPAMConfig"], "Aliases": endpoint["Aliases"], "NetworkID": endpoint["NetworkID"],
            "hasEndpoint": endpoint["EndpointID"] != "", "Gateway": endpoint["Gateway"],
            "IPAddress": address(name, &endpoint["IPAddress"]), "IPPrefixLen": endpoint["IPPrefixLen"],
            "MacAddress": hardware(&endpoint["MacAddress"], &endpoint["IPAddress"]),
        });
        (name.clone(), view)
    });
    json!({
        "State": {
            "Status": state["Status"], "Running": state["Running"], "Paused": state["Paused"],
            "Restarting": state["Restarting"], "ExitCode": state["ExitCode"], "Error": state["Error"],
            "OOMKilled": state["OOMKilled"], "Dead": state["Dead"], "hasPid": state["Pid"] != 0,
            "started": state["StartedAt"] != "0001-01-01T00:00:00Z",
            "finished": state["FinishedAt"] != "0001-01-01T00:00:00Z", "Health": state["Health"]["Status"],
        },
        "Name": body["Name"], "Path": body["Path"], "Args": body["Args"], "RestartCount": body["RestartCount"],
        "Config": {
            "Labels": body["Config"]["Labels"], "Env": body["Config"]["Env"], "Cmd": body["Config"]["Cmd"],
            "Entrypoint": body["Config"]["Entrypoint"], "Image": body["Config"]["Image"],
            "ExposedPorts": body["Config"]["ExposedPorts"], "Volumes": body["Config"]["Volumes"],
            "User": body["Config"]["User"], "Hostname": body["Config"]["Hostname"],
            "Healthcheck": body["Config"]["Healthcheck"],
        },
        "HostConfig": {
            "RestartPolicy": body["HostConfig"]["RestartPolicy"], "NetworkMode": body["HostConfig"]["NetworkMode"],
            "ReadonlyRootfs": body["HostConfig"]["ReadonlyRootfs"], "Mounts": body["HostConfig"]["Mounts"],
            "LogConfig": body["HostConfig"]["LogConfig"], "CapDrop": body["HostConfig"]["CapDrop"],
            "Memory": body["HostConfig"]["Memory"], "PidsLimit": body["HostConfig"]["PidsLimit"],
        },
        "Networks": networks.collect::<serde_json::Map<_, _>>(), "Mounts": mounts,
    })
}

/// An address; on the default bridge, which all cases share, only whether there is one.
fn address(network: &str, address: &Value) -> Value {
    match address.as_str() {
        Some(given) if network == "bridge" && !given.is_empty() => json!("any"),
        _ => address.clone(),
    }
}

/// Whether a hardware address follows from the address. Engine 29 draws it, so the two cannot be compared.
fn hardware(mac: &Value, address: &Value) -> &'static str {
    let derived = |address: Ipv4Addr| {
        let [a, b, c, d] = address.octets();
        format!("02:42:{a:02x}:{b:02x}:{c:02x}:{d:02x}")
    };
    let address = address.as_str().and_then(|address| address.parse().ok());
    match mac.as_str() {
        None | Some("") => "none",
        Some(mac) if address.map(derived).as_deref() == Some(mac) => "derived",
        Some(_) => "drawn",
    }
}
