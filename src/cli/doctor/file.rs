//! What an Envoy's bootstrap says of the way to the bridge. Pure.

use serde_yaml_ng::Value;

/// How an Envoy reaches its bridges.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Way {
    /// `node.id`
    pub(super) node: String,
    /// `node.cluster`
    pub(super) fleet: String,
    /// Each address of the cluster that ADS goes to.
    pub(super) bridges: Vec<Bridge>,
    /// `None`: without TLS.
    pub(super) tls: Option<Tls>,
}

/// Where one bridge is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Bridge {
    pub(super) host: String,
    pub(super) port: u16,
}

/// With which files, and under which name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Tls {
    pub(super) ca: Option<String>,
    /// Certificate and key.
    pub(super) identity: Option<(String, String)>,
    /// The name that the bridge's certificate must have; `None`: the host.
    pub(super) name: Option<String>,
}

/// # Errors
/// What is missing in the file.
pub(super) fn read(text: &str) -> Result<Way, String> {
    let file: Value = serde_yaml_ng::from_str(text).map_err(|error| format!("it cannot be read: {error}"))?;
    let dynamic = &file["dynamic_resources"];
    let ads = [
        &dynamic["ads_config"],
        &dynamic["cds_config"]["api_config_source"],
    ]
    .into_iter()
    .find_map(|config| string(&config["grpc_services"][0]["envoy_grpc"]["cluster_name"]));
    let name = ads.ok_or("no dynamic_resources.ads_config.grpc_services with envoy_grpc.cluster_name")?;
    let clusters = file["static_resources"]["clusters"].as_sequence();
    let cluster = clusters
        .into_iter()
        .flatten()
        .find(|cluster| cluster["name"] == *name);
    let cluster = cluster.ok_or_else(|| format!("no static cluster is called `{name}`"))?;
    let mut bridges = Vec::new();
    for group in cluster["load_assignment"]["endpoints"]
        .as_sequence()
        .into_iter()
        .flatten()
    {
        for end in group["lb_endpoints"].as_sequence().into_iter().flatten() {
            let address = &end["endpoint"]["address"]["socket_address"];
            let port = address["port_value"]
                .as_u64()
                .and_then(|port| u16::try_from(port).ok());
            if let Some((host, port)) = string(&address["address"]).zip(port) {
                bridges.push(Bridge { host, port });
            }
        }
    }
    if bridges.is_empty() {
        return Err(format!("the cluster `{name}` has no address"));
    }
    Ok(Way {
        node: string(&file["node"]["id"]).ok_or("node.id is missing")?,
        fleet: string(&file["node"]["cluster"]).unwrap_or_default(),
        bridges,
        tls: tls(&cluster["transport_socket"]["typed_config"]),
    })
}

fn tls(config: &Value) -> Option<Tls> {
    let common = config.get("common_tls_context")?;
    let file = |value: &Value| string(&value["filename"]);
    let pair = &common["tls_certificates"][0];
    let validation = &common["validation_context"];
    let matched = string(&validation["match_typed_subject_alt_names"][0]["matcher"]["exact"]);
    Some(Tls {
        ca: file(&validation["trusted_ca"]),
        identity: file(&pair["certificate_chain"]).zip(file(&pair["private_key"])),
        name: matched.or_else(|| string(&config["sni"])),
    })
}

fn string(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example(name: &str) -> Way {
        let path = format!("{}/examples/{name}/envoy.yaml", env!("CARGO_MANIFEST_DIR"));
        read(&std::fs::read_to_string(path).unwrap()).unwrap()
    }

    #[test]
    fn what_bootstrap_prints_is_read() {
        let plain = example("etcd");
        assert_eq!(
            (&*plain.node, &*plain.fleet, plain.tls),
            ("envoy-1", "edge", None)
        );
        assert_eq!(
            plain.bridges,
            [Bridge {
                host: "127.0.0.1".to_owned(),
                port: 18000
            }]
        );
        let tls = example("tls").tls.unwrap();
        assert_eq!(tls.ca.as_deref(), Some("tls/ca.pem"));
        assert_eq!(tls.identity.unwrap().1, "tls/envoy-key.pem");
        assert_eq!(tls.name.as_deref(), Some("127.0.0.1"));
    }

    #[test]
    fn what_is_missing_is_named() {
        for (text, part) in [
            ("{", "cannot be read"),
            ("{}", "ads_config"),
            (
                "dynamic_resources: {ads_config: {grpc_services: [{envoy_grpc: {cluster_name: x}}]}}",
                "no static cluster is called `x`",
            ),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
