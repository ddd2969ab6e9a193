//! How the Consul source reaches a real agent: by HTTPS with client certificates that change, and by the
//! agent's unix socket.

use std::path::{Path, PathBuf};

use rcgen::SanType;
use serde_json::json;
use xds_bridge::config::{ClientTls, ConsulSource};
use xds_bridge::model::Status;

use crate::support::agent::{Agent, Watched};
use crate::support::pki::Ca;

/// The name in the agent's certificate.
const NAME: &str = "agent.test";

fn named(name: &str) -> SanType {
    SanType::DnsName(name.try_into().unwrap())
}

/// The agent's files; also written while it runs, for its next start.
fn agents(dir: &Path, ca: &Ca) {
    std::fs::write(dir.join("agent-ca.pem"), &ca.pem).unwrap();
    ca.sign(dir, "agent", named(NAME));
}

/// Ours, in a folder of the test.
fn ours(dir: &Path, ca: &Ca) -> ClientTls {
    let file = dir.join("ca.pem");
    std::fs::write(&file, &ca.pem).unwrap();
    let [certificate, key] = ca.sign(dir, "bridge", named("bridge.test")).map(PathBuf::from);
    ClientTls {
        ca: Some(file),
        identity: Some((certificate, key)),
        server_name: Some(NAME.to_owned()),
    }
}

/// Wants certificates by HTTPS; the test's own way in is HTTP.
async fn agent(ca: &Ca) -> Agent {
    let agent = Agent::start(|dir, ports| {
        agents(dir, ca);
        json!({
            "ports": { "https": ports.https }, "verify_incoming_https": true,
            "ca_file": dir.join("agent-ca.pem"),
            "cert_file": dir.join("agent.pem"), "key_file": dir.join("agent-key.pem"),
        })
    })
    .await;
    agent.enter("orders", 1, json!({})).await;
    agent.enter("orders", 2, json!({})).await;
    agent
}

fn source(agent: &Agent, tls: ClientTls) -> ConsulSource {
    ConsulSource {
        tls: Some(tls),
        ..ConsulSource::new(format!("https://127.0.0.1:{}", agent.ports.https))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wrong_with_tls_is_told_with_what_would_be_right() {
    let (ca, dir) = (Ca::new(), tempfile::tempdir().unwrap());
    let agent = agent(&ca).await;
    let right = ours(dir.path(), &ca);
    for (tls, word) in [
        (
            ClientTls {
                identity: None,
                ..right.clone()
            },
            "the agent wants `certificate` and `key`",
        ),
        (
            ClientTls {
                server_name: Some("other.test".to_owned()),
                ..right.clone()
            },
            "`server_name` of its tls section must be a name in the agent's certificate",
        ),
        (
            ClientTls {
                ca: right.identity.as_ref().map(|(own, _)| own.clone()),
                ..right.clone()
            },
            "`ca` of its tls section must hold who signed the agent's certificate",
        ),
    ] {
        let mut watched = Watched::start(&source(&agent, tls));
        watched.until_away(word).await;
    }
    // A file that is missing, then is no certificate, then the right one: tried for ever.
    let late = dir.path().join("late.pem");
    let mut watched = Watched::start(&source(
        &agent,
        ClientTls {
            ca: Some(late.clone()),
            ..right.clone()
        },
    ));
    watched.until_away(&format!("reading {}", late.display())).await;
    std::fs::write(&late, "rubbish").unwrap();
    watched
        .until_away(&format!("{} holds no certificate in PEM", late.display()))
        .await;
    std::fs::write(&late, &ca.pem).unwrap();
    watched.until_live().await;
    assert_eq!(watched.addresses("orders"), ["10.9.0.1:1", "10.9.0.1:2"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_change_under_a_watch() {
    let (old, dir) = (Ca::new(), tempfile::tempdir().unwrap());
    let mut agent = agent(&old).await;
    let mut watched = Watched::start(&source(&agent, ours(dir.path(), &old)));
    watched.until_live().await;

    // Ours broken: what works goes on.
    std::fs::write(dir.path().join("bridge.pem"), "rubbish").unwrap();
    agent.enter("orders", 3, json!({})).await;
    watched
        .until("3 instances", |w| w.addresses("orders").len() == 3)
        .await;
    // Everybody's, from another authority; the agent takes them when it starts anew.
    let new = Ca::new();
    ours(dir.path(), &new);
    agents(agent.dir.path(), &new);
    agent.enter("orders", 4, json!({})).await;
    watched
        .until("4 instances", |w| w.addresses("orders").len() == 4)
        .await;
    assert_eq!(watched.statuses, [Status::Live], "what stood was not cut");
    agent.kill();
    watched
        .until("away", |w| w.statuses.last() != Some(&Status::Live))
        .await;
    agent.restart().await;
    watched.until_live().await;
    agent.enter("orders", 5, json!({})).await;
    watched
        .until("5 instances", |w| w.addresses("orders").len() == 5)
        .await;
    assert_eq!(watched.lost, [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_agents_unix_socket() {
    let mut agent = Agent::start(|dir, _| {
        json!({ "addresses": { "http": format!("127.0.0.1 unix://{}", dir.join("http.sock").display()) } })
    })
    .await;
    let socket = agent.dir.path().join("http.sock");
    let source = ConsulSource::new(format!("unix://{}", socket.display()));
    agent.enter("orders", 1, json!({})).await;
    agent
        .send("PUT", "/v1/kv/xds/orders/policy", &json!({ "protocol": "grpc" }))
        .await;
    let mut watched = Watched::start(&source);
    watched.until_live().await;
    assert_eq!(watched.addresses("orders"), ["10.9.0.1:1"]);
    assert_eq!(watched.protocol("orders"), "grpc");
    agent.enter("orders", 2, json!({})).await;
    watched
        .until_served("orders", &["10.9.0.1:1", "10.9.0.1:2"])
        .await;

    agent.kill();
    watched.until_away(&socket.display().to_string()).await;
    agent.restart().await;
    watched.until_live().await;
    agent.leave("orders", 1).await;
    watched.until_served("orders", &["10.9.0.1:2"]).await;
    assert_eq!(watched.lost, ["orders"], "the one that left");
    // None of the source's connections went by TCP.
    let mut nobody = Watched::start(&ConsulSource::new("unix:///nonexistent/http.sock".to_owned()));
    nobody.until_away("unix:///nonexistent/http.sock").await;
}
