//! A bootstrap for gRPC's own xDS clients: the JSON file that `GRPC_XDS_BOOTSTRAP` names
//! (gRFC A27). It says where the bridge is and who the client is; nothing else.

use serde_json::json;

use super::Wish;

/// The bootstrap as JSON. The bridge has no TLS on this port: credentials are `insecure`.
///
/// # Errors
/// Printing.
pub fn json(wish: &Wish) -> Result<String, serde_json::Error> {
    let bootstrap = json!({
        "xds_servers": [{
            "server_uri": wish.bridge.to_string(),
            "channel_creds": [{ "type": "insecure" }],
            // Older clients speak the protocol's second version without the first word. The second (gRFC A53):
            // a service without instances is one that has no endpoints now, which the bridge says as well.
            // Otherwise grpc-js-xds never notices that a service came back which is as it was before.
            "server_features": ["xds_v3", "ignore_resource_deletion"],
        }],
        "node": {
            "id": wish.node_id,
            "cluster": wish.fleet,
            "locality": { "region": wish.region, "zone": wish.zone },
        },
    });
    Ok(serde_json::to_string_pretty(&bootstrap)? + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bootstrap::Step;

    #[test]
    fn it_names_the_bridge_and_the_client() {
        let wish = Wish {
            step: Step::Listeners,
            node_id: "web-1".into(),
            fleet: "web".into(),
            region: "eu1".into(),
            zone: "a".into(),
            admin: ([127, 0, 0, 1], 9901).into(),
            bridge: ([127, 0, 0, 1], 18000).into(),
            services: Vec::new(),
            tls: super::super::TlsWish::default(),
        };
        let text = json(&wish).unwrap();
        assert!(text.ends_with("}\n"));
        let read: serde_json::Value = serde_json::from_str(&text).unwrap();
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
    }
}
