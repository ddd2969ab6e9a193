//! Which certificate may be which node (rule 54).

use std::sync::Arc;

use tonic::Code;
use xds_bridge::grpc::{Options, Rule, Tls};

use crate::pki::{BRIDGE, Ca, files};
use crate::port::{Port, code, served};

#[tokio::test]
async fn a_certificate_may_claim_only_what_its_rule_says() {
    let (folder, ca) = (tempfile::tempdir().unwrap(), Ca::new("ca"));
    let server = ca.sign(&[&format!("dns:{BRIDGE}")]);
    let tls = Tls::load(files(folder.path(), &server, Some(&ca))).unwrap();
    let text = |words: &[&str]| words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>();
    let options = Options {
        tls: Some(Arc::new(tls)),
        rules: Arc::new([
            Rule::new("spiffe://shop/ns/edge/*", text(&["edge-*"]), text(&["edge"])),
            Rule::new(
                "dns:core-*.example",
                text(&["core-1", "core-2"]),
                text(&["core", "bff"]),
            ),
        ]),
        ..Options::default()
    };
    let port = Port::start(options, 1, 100).await;
    let edge = ca.sign(&["spiffe://shop/ns/edge/sa/envoy"]);
    let core = ca.sign(&["dns:core-1.example"]);
    let nobody = ca.sign(&["dns:envoy.test"]);
    for (pair, id, fleet, wanted) in [
        (&edge, "edge-1", "edge", None),
        (&edge, "core-1", "edge", Some(Code::PermissionDenied)),
        (&edge, "edge-1", "core", Some(Code::PermissionDenied)),
        (&core, "core-2", "bff", None),
        (&core, "core-3", "bff", Some(Code::PermissionDenied)),
        (&nobody, "edge-1", "edge", Some(Code::PermissionDenied)),
        (&edge, "", "", Some(Code::PermissionDenied)),
    ] {
        let ended = served(port.tls(&ca, Some(pair)).await, id, fleet).await;
        match wanted {
            None => assert!(ended.is_ok(), "{id} {fleet}: {}", ended.err().unwrap()),
            Some(wanted) => assert_eq!(code(ended), wanted, "{id} {fleet}"),
        }
    }
    assert_eq!(
        port.metric("xds_bridge_streams_refused_total{reason=\"identity\"}"),
        5
    );
}
