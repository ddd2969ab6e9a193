//! A bootstrap for gRPC's own xDS clients: the JSON file that `GRPC_XDS_BOOTSTRAP` names
//! (gRFC A27). It says where the bridge is and who the client is; nothing else.

use serde_json::{Value, json};

use super::tls::Files;
use super::{BootstrapError, BridgeAddress, Provider, TlsMistake, Wish, address, providers};
use crate::config::Config;

/// What is printed.
#[derive(Debug)]
pub struct GrpcBootstrap {
    /// The file.
    pub json: String,
    /// What its reader should know; JSON has no comments.
    pub notes: Vec<&'static str>,
}

const SEVERAL: &str = "a gRPC client uses a second entry of xds_servers only when it starts while the first is \
    away; a running one stays with the first. One DNS name with all addresses (--bridge NAME:PORT) helps both \
    (docs/clients.md, \"Several bridges\")";

const TLS: &str = "the credentials of type tls are for Go, C core (Python, C++, Ruby, ...) and Rust; Node's \
    grpc-js-xds knows no such type, and Java's client ignores the files: it verifies the bridge by the JVM's trust \
    store (-Djavax.net.ssl.trustStore=FILE -Djavax.net.ssl.trustStorePassword=WORD)";

const MTLS: &str = "Java's xDS client shows no certificate, so xds.tls.client_ca shuts it out: give Java's clients \
    a bridge of their own without client_ca";

const RUST: &str = "Rust's tonic-xds takes server_uri without TLS only as http://HOST:PORT, which the others do not \
    take: change it in the file for a Rust program";

const CREDENTIALS: &str = "a program speaks TLS to services only if it makes its channel with xDS credentials \
    (docs/clients.md, \"TLS to services\"); with insecure ones it connects without, and its calls fail";

const JAVA_PAIR: &str = "Java's client takes no CA without a certificate and a key beside it, though no server asks for \
    them (its calls fail with \"UNKNOWN Channel Pipeline\"): for a Java program name any pair, --tls NAME=CA,CERT,KEY";

/// The bootstrap as JSON.
///
/// # Errors
/// [`BootstrapError`]
pub fn bootstrap(config: &Config, wish: &Wish) -> Result<GrpcBootstrap, BootstrapError> {
    address::check(&wish.bridges)?;
    let files = Files::of(config.xds.tls.as_ref(), &wish.tls)?;
    if wish.tls.sni.is_some() {
        return Err(TlsMistake::GrpcSni.into());
    }
    let credentials = credentials(files.as_ref());
    let server = |bridge: &BridgeAddress| {
        json!({
            "server_uri": target(bridge),
            "channel_creds": [credentials],
            // Older clients speak the protocol's second version without the first word. The second (gRFC A53):
            // a service without instances is one that has no endpoints now, which the bridge says as well.
            // Otherwise grpc-js-xds never notices that a service came back which is as it was before.
            "server_features": ["xds_v3", "ignore_resource_deletion"],
        })
    };
    let mut bootstrap = json!({
        "xds_servers": wish.bridges.iter().map(server).collect::<Vec<_>>(),
        "node": {
            "id": wish.node_id,
            "cluster": wish.fleet,
            "locality": { "region": wish.region, "zone": wish.zone },
        },
    });
    let providers = providers::all(&wish.providers, &config.clusters.secrets)?;
    if !providers.is_empty() {
        bootstrap["certificate_providers"] = Value::Object(providers);
    }
    let notes = [
        (wish.bridges.len() > 1, SEVERAL),
        (files.is_none(), RUST),
        (files.is_some(), TLS),
        (files.is_some_and(|f| f.pair.is_some()), MTLS),
        (!wish.providers.is_empty(), CREDENTIALS),
        (!wish.providers.iter().all(Provider::has_pair), JAVA_PAIR),
    ];
    Ok(GrpcBootstrap {
        json: serde_json::to_string_pretty(&bootstrap)? + "\n",
        notes: notes
            .into_iter()
            .filter(|(due, _)| *due)
            .map(|(_, note)| note)
            .collect(),
    })
}

/// The scheme makes each language resolve all addresses of a name; an IP address needs none.
fn target(bridge: &BridgeAddress) -> String {
    match bridge {
        BridgeAddress::Ip(address) => address.to_string(),
        BridgeAddress::Name { .. } => format!("dns:///{bridge}"),
    }
}

/// gRFC A65.
fn credentials(files: Option<&Files<'_>>) -> Value {
    let Some(Files { ca, pair }) = files else {
        return json!({ "type": "insecure" });
    };
    match pair {
        None => json!({ "type": "tls", "config": { "ca_certificate_file": ca } }),
        Some([certificate, key]) => json!({ "type": "tls", "config": {
            "ca_certificate_file": ca,
            "certificate_file": certificate,
            "private_key_file": key,
        } }),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::bootstrap::{Step, TlsWish};
    use crate::config::load_str;

    fn made(bridges: &[&str], tls: &[&str]) -> (Value, Vec<&'static str>) {
        let wish = Wish {
            step: Step::Listeners,
            node_id: "web-1".into(),
            fleet: "web".into(),
            region: "eu1".into(),
            zone: "a".into(),
            admin: ([127, 0, 0, 1], 9901).into(),
            bridges: bridges.iter().map(|b| b.parse().unwrap()).collect(),
            services: Vec::new(),
            tls: TlsWish::default(),
            providers: tls.iter().map(|t| t.parse().unwrap()).collect(),
        };
        let text = "[sources.a]\nkind = \"file\"\npath = \".\"\n[tls.shop]\nca = \"shop.pem\"\n";
        let config = load_str(Path::new("bridge.toml"), text, None).unwrap();
        let made = bootstrap(&config, &wish).unwrap();
        assert!(made.json.ends_with("}\n"));
        (serde_json::from_str(&made.json).unwrap(), made.notes)
    }

    #[test]
    fn it_names_the_bridge_and_the_client() {
        let (read, notes) = made(&["127.0.0.1:18000"], &[]);
        let server = &read["xds_servers"][0];
        assert_eq!(server["server_uri"], "127.0.0.1:18000");
        assert_eq!(server["channel_creds"][0]["type"], "insecure");
        assert_eq!(
            server["server_features"],
            json!(["xds_v3", "ignore_resource_deletion"])
        );
        assert_eq!(read["node"]["id"], "web-1");
        assert_eq!(read["node"]["cluster"], "web");
        assert_eq!(read["node"]["locality"], json!({ "region": "eu1", "zone": "a" }));
        assert_eq!(notes, [RUST]);
        assert_eq!(read.get("certificate_providers"), None);
    }

    #[test]
    fn files_for_tls_to_services_are_named_and_what_they_ask_of_programs() {
        let one = ["127.0.0.1:18000"];
        let (read, notes) = made(&one, &["shop=ca.pem"]);
        let provider = &read["certificate_providers"]["shop"];
        assert_eq!(provider["config"]["ca_certificate_file"], "ca.pem");
        assert_eq!(notes, [RUST, CREDENTIALS, JAVA_PAIR]);
        let (_, notes) = made(&one, &["shop=ca.pem,c.pem,k.pem"]);
        assert_eq!(notes, [RUST, CREDENTIALS]);
    }

    #[test]
    fn a_name_is_resolved_and_several_bridges_get_a_warning() {
        let (read, notes) = made(&["bridge.internal:18000"], &[]);
        assert_eq!(
            read["xds_servers"][0]["server_uri"],
            "dns:///bridge.internal:18000"
        );
        assert_eq!(notes, [RUST]);
        let (read, notes) = made(&["127.0.0.1:18000", "127.0.0.2:18000"], &[]);
        assert_eq!(read["xds_servers"][1]["server_uri"], "127.0.0.2:18000");
        assert_eq!(notes, [SEVERAL, RUST]);
    }
}
