//! `doctor`: each thing that can be wrong on the way from an Envoy to its bridge is found, with what mends it.

use std::net::SocketAddr;
use std::path::Path;

use rcgen::SanType;
use serde_json::json;

use crate::support::bridge::{Bridge, Step, run};
use crate::support::folder::Folder;
use crate::support::pki::{Ca, loopback};
use crate::support::process;
use crate::support::servers::Server;
use crate::support::wait;

const ADMIN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 9901);

/// What the doctor says of this bootstrap, and its exit code.
fn says(dir: &Path, bootstrap: &str) -> (Option<i32>, String) {
    std::fs::write(dir.join("envoy.yaml"), bootstrap).expect("a file");
    let output = run(&["doctor", "envoy.yaml"], dir);
    (
        output.status.code(),
        format!("{}{}", output.stdout, output.stderr),
    )
}

fn fails(dir: &Path, bootstrap: &str, words: &[&str]) {
    let (code, text) = says(dir, bootstrap);
    assert_eq!(code, Some(3), "{text}");
    assert!(words.iter().all(|word| text.contains(word)), "{words:?}: {text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_way_to_a_bridge_without_tls_is_walked_step_by_step() {
    let server = Server::http("web-1").await;
    let folder = Folder::of(&[("web", server.address, &[][..])]);
    let bridge = Bridge::start(&folder.section()).await;
    let dir = tempfile::tempdir().expect("a folder");
    let bootstrap = bridge.bootstrap(Step::Listeners, ADMIN, &[]);
    let (code, text) = says(dir.path(), &bootstrap);
    assert_eq!(code, Some(0), "{text}");
    for line in [
        "✓ the name resolves: 127.0.0.1",
        "takes connections",
        "✓ it is reached without TLS",
        "✓ a stream is open",
        "✓ first answer: 1 clusters",
        "✓ first answer: 1 listeners",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
    let port = format!("port_value: {}", bridge.xds.port());
    let [free] = process::ports();
    let elsewhere = bootstrap.replace(&port, &format!("port_value: {free}"));
    fails(
        dir.path(),
        &elsewhere,
        &["takes no connection", "is the bridge running and ready"],
    );
    let nowhere = bootstrap.replace(
        "address: 127.0.0.1\n                port_value",
        "address: nowhere.invalid\n                port_value",
    );
    assert_ne!(nowhere, bootstrap);
    fails(
        dir.path(),
        &nowhere,
        &["! the name does not resolve", "IP address"],
    );
    // It is no bridge: the admin port speaks HTTP/1.1.
    let admin = bootstrap.replace(&port, &format!("port_value: {}", bridge.admin.port()));
    fails(dir.path(), &admin, &["!", "→"]);
    assert!(!run(&["doctor", "none.yaml"], dir.path()).status.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_bridge_of_several_that_is_away_is_named_and_does_not_fail_the_whole() {
    let server = Server::http("web-1").await;
    let folder = Folder::of(&[("web", server.address, &[][..])]);
    let bridge = Bridge::start(&folder.section()).await;
    let dir = tempfile::tempdir().expect("a folder");
    let [free, other] = process::ports();
    let both = |first: &str, second: &str| {
        let flags = ["--bridge", first, "--bridge", second];
        bridge.bootstrap_with(Step::Listeners, ADMIN, &flags)
    };
    let away = format!("127.0.0.1:{free}");
    for bootstrap in [
        both(&away, &bridge.xds.to_string()),
        both(&bridge.xds.to_string(), &away),
    ] {
        let (code, text) = says(dir.path(), &bootstrap);
        assert_eq!(code, Some(0), "{text}");
        for line in [
            &*format!("! {away} takes no connection"),
            "is the bridge running and ready",
            "✓ first answer: 1 listeners",
            "1 of 2 bridges can be used",
        ] {
            assert!(text.contains(line), "{line}: {text}");
        }
    }
    // None of them.
    let neither = both(&away, &format!("127.0.0.1:{other}"));
    fails(
        dir.path(),
        &neither,
        &[
            &format!("! 127.0.0.1:{other} takes no connection"),
            "2 steps fail",
        ],
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_doctor_accepts_is_accepted_by_no_client() {
    let server = Server::http("web-1").await;
    let folder = Folder::of(&[
        ("web", server.address, &[][..]),
        ("orders", server.address, &[][..]),
    ]);
    // What Envoy refuses, and the doctor does not look into.
    let overlay =
        "[[overlay]]\ntype = \"cluster\"\nname = \"orders\"\njson = '{\"connect_timeout\": \"-1s\"}'\n";
    let bridge = Bridge::start(&format!("{}{overlay}", folder.section())).await;
    let envoy = bridge.envoy(Step::Listeners, &[]).await;
    let json = async |path: &str| -> serde_json::Value {
        serde_json::from_str(&bridge.text(path).await.expect("an answer")).expect("JSON")
    };
    let votes = async || {
        let rejected = json("/streams").await["rejected"][0].clone();
        (
            rejected["name"].clone(),
            rejected["refused_by"].clone(),
            rejected["accepted_by"].clone(),
        )
    };
    let wanted = (json!("orders"), json!(1), json!(0));
    wait::until(wait::PATIENCE, "Envoy refuses the cluster", async || {
        let seen = votes().await;
        wait::holds(seen == wanted, || format!("{seen:?}"))
    })
    .await;
    // As this Envoy, by its node.id.
    let dir = tempfile::tempdir().expect("a folder");
    let bootstrap = bridge.bootstrap(Step::Listeners, envoy.admin(), &[]);
    let (code, text) = says(dir.path(), &bootstrap);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("✓ first answer: 2 clusters"), "{text}");
    wait::until(wait::PATIENCE, "the doctor has gone", async || {
        let log = bridge.log();
        wait::holds(log.contains("xds-bridge-doctor"), || log.clone())?;
        let streams = bridge.metrics().await.sum("xds_bridge_streams", &[]);
        wait::holds(streams == Some(1), || format!("{streams:?}"))
    })
    .await;
    assert_eq!(votes().await, wanted);
    assert_eq!(json("/status").await["total"], 1);
    // Nor is a fleet there whose Envoys nobody has seen.
    let foreign = bootstrap.replace("cluster: proof", "cluster: nobody");
    assert_ne!(foreign, bootstrap);
    let (_, text) = says(dir.path(), &foreign);
    assert!(text.contains("of fleet `nobody`"), "{text}");
    let status = json("/status").await.to_string();
    assert!(!status.contains("nobody"), "{status}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wrong_with_tls_and_identity_is_named() {
    let (dir, ca) = (tempfile::tempdir().expect("a folder"), Ca::new());
    let ca_file = dir.path().join("ca.pem");
    std::fs::write(&ca_file, &ca.pem).expect("a file");
    let [certificate, key] = ca.sign(dir.path(), "bridge", loopback());
    let uri = |path: &str| SanType::URI(format!("spiffe://shop/{path}").try_into().expect("a URI"));
    let envoy = ca.sign(dir.path(), "envoy", uri("edge"));
    let server = Server::http("web-1").await;
    let folder = Folder::of(&[("web", server.address, &[][..])]);
    let bridge = Bridge::start(&format!(
        "{}[xds.tls]\ncertificate = \"{certificate}\"\nkey = \"{key}\"\nclient_ca = \"{}\"\n[[xds.clients]]\nsan = \
         \"spiffe://shop/edge\"\nnode_ids = [\"envoy-*\"]\nfleets = [\"proof\", \"edge\"]\n",
        folder.section(),
        ca_file.display()
    ))
    .await;
    let ca_file = ca_file.display().to_string();
    let flags = ["--ca", &ca_file, "--cert", &envoy[0], "--key", &envoy[1]];
    let bootstrap = bridge.bootstrap_with(Step::Listeners, ADMIN, &flags);
    let (code, text) = says(dir.path(), &bootstrap);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("✓ TLS works"), "{text}");

    // Another CA than the one that signed the bridge.
    let other = Ca::new();
    let other_file = dir.path().join("other.pem");
    std::fs::write(&other_file, &other.pem).expect("a file");
    let wrong = bootstrap.replace(
        &format!("filename: {ca_file}"),
        &format!("filename: {}", other_file.display()),
    );
    assert_ne!(wrong, bootstrap);
    fails(dir.path(), &wrong, &["did not sign the bridge's certificate"]);
    // A certificate of somebody else.
    let foreign = other.sign(dir.path(), "foreign", uri("edge"));
    let wrong = bootstrap
        .replace(&envoy[0], &foreign[0])
        .replace(&envoy[1], &foreign[1]);
    fails(dir.path(), &wrong, &["certificate of its client CA"]);
    // A node that the certificate may not be.
    let wrong = bootstrap.replace("id: envoy-", "id: somebody-");
    assert_ne!(wrong, bootstrap);
    fails(dir.path(), &wrong, &["the stream is refused", "[[xds.clients]]"]);
    // A file that is not there.
    let wrong = bootstrap.replace(&envoy[0], "/nowhere/envoy.pem");
    fails(dir.path(), &wrong, &["/nowhere/envoy.pem cannot be read"]);
    // Without TLS.
    let plain = bridge.bootstrap_with(Step::Listeners, ADMIN, &flags);
    let begin = plain.find("    transport_socket:\n").expect("TLS in it");
    let end = plain.find("    load_assignment:\n").expect("the rest");
    let plain = format!("{}{}", &plain[..begin], &plain[end..]);
    fails(dir.path(), &plain, &["does the port speak TLS"]);
}
