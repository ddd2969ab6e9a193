//! Connections without HTTP that tags of Traefik and fabio want: by port, by names of TLS, passed on or ended.

use std::net::SocketAddr;

use rcgen::SanType;
use serde_json::json;

use crate::support::bridge::{Bridge, Step};
use crate::support::consul::Consul;
use crate::support::pki::Ca;
use crate::support::servers::Server;
use crate::support::{process, raw, tls, wait};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_go_where_tags_say() {
    let dir = tempfile::tempdir().expect("a folder");
    let (consul, ca) = (Consul::start().await, Ca::new());
    let sign = |name: &str| {
        let host = SanType::DnsName(name.try_into().expect("a name"));
        ca.sign(dir.path(), name, host)
    };
    let [chain, key] = sign("*.edge.test");
    let [db_chain, db_key] = sign("db.test");
    let [two_chain, two_key] = sign("two.test");
    let (db, db_task) = tls::server(&db_chain, &db_key, None).await;
    let (two, two_task) = tls::server(&two_chain, &two_key, None).await;
    let (by_port, ended) = (Server::http("by-port").await, Server::http("ended").await);
    let [front, ports] = process::ports().map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
    let bridge = Bridge::start(&format!(
        "[clusters]\nkeep_routes = \"0s\"\n[tls.edge]\ncertificate = \"{chain}\"\nkey = \"{key}\"\n\
         [exposures.edge]\nhosts = [\"*.edge.test\"]\nsni = [\"db.test\", \"two.test\", \"*.edge.test\"]\n\
         [listeners.front]\naddress = \"{front}\"\nexposure = \"edge\"\n\
         [listeners.front.tls]\ncertificates = [\"edge\"]\n\
         [listeners.ports]\nprotocol = \"tcp\"\naddress = \"{ports}\"\nexposure = \"edge\"\n\
         {}max_removal = \"100%\"\nguard_probe = false\nimport = [\"traefik\", \"fabio\"]\n\
         [sources.registry.traefik]\nexposed_by_default = false\nentry_points = {{ web = \"edge\" }}\n\
         [sources.registry.fabio]\nexpose = [\"edge\"]\n",
        consul.section()
    ))
    .await;
    let _envoy = bridge.envoy(Step::Listeners, &[]).await;
    let register = async |name: &str, at: SocketAddr, tags: &[&str]| {
        let check = json!({ "CheckID": name, "TTL": "1h", "Status": "passing" });
        let entry = json!({
            "Name": name, "ID": name, "Address": "127.0.0.1", "Port": at.port(), "Tags": tags, "Checks": [check],
        });
        consul.put("/v1/agent/service/register", &entry).await;
    };
    let passed_on = [
        "traefik.enable=true",
        "traefik.tcp.routers.db.rule=HostSNI(`db.test`)",
        "traefik.tcp.routers.db.tls.passthrough=true",
    ];
    register("db", db, &passed_on).await;
    let terminated = [
        "traefik.enable=true",
        "traefik.tcp.routers.ended.rule=HostSNI(`tcp.edge.test`)",
        "traefik.tcp.routers.ended.tls=true",
    ];
    register("ended", ended.address, &terminated).await;
    register("two", two, &["urlprefix-two.test/ proto=tcp"]).await;
    let of_port = format!("urlprefix-:{} proto=tcp", ports.port());
    register("by-port", by_port.address, &[&of_port]).await;
    for (host, wanted) in [
        ("db.test", "db.test"),
        ("tcp.edge.test", "ended"),
        ("two.test", "two.test"),
    ] {
        wait::until(wait::PATIENCE, host, async || {
            let (answer, _) = tls::get(front, host, &ca).await?;
            wait::holds(answer == wanted, || answer.clone())
        })
        .await;
    }
    wait::until(wait::PATIENCE, "by port", async || {
        let answer = raw::get(ports, "any", "/").await?;
        wait::holds(answer == (200, "by-port".to_owned()), || format!("{answer:?}"))
    })
    .await;
    // Nobody has it any more: nobody is connected to the server.
    consul.put("/v1/agent/service/deregister/db", &json!(null)).await;
    wait::until(wait::PATIENCE, "nobody has the name", async || {
        let answer = tls::get(front, "db.test", &ca).await;
        wait::holds(answer.is_err(), || format!("{answer:?}"))
    })
    .await;
    bridge.assert_no_nacks().await;
    db_task.abort();
    two_task.abort();
}
