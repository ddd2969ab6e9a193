//! Connections that services take whole, without HTTP, through a real Envoy: by port, by the name of TLS, passed on or with
//! TLS ended, as services come and go.

use std::net::SocketAddr;

use rcgen::SanType;
use tokio::net::TcpStream;

use crate::support::bridge::{Bridge, Step};
use crate::support::folder::Folder;
use crate::support::pki::Ca;
use crate::support::servers::Server;
use crate::support::{process, raw, tls, wait};

fn front(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

async fn answers(at: SocketAddr, name: &str) {
    wait::until(wait::PATIENCE, name, async || {
        let answer = raw::get(at, "any", "/").await?;
        wait::holds(answer == (200, name.to_owned()), || format!("{answer:?}"))
    })
    .await;
}

async fn refused(at: SocketAddr) {
    wait::until(wait::PATIENCE, "connections are refused", async || {
        let outcome = TcpStream::connect(at).await.map(drop);
        wait::holds(outcome.is_err(), || "it is connected".to_owned())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_port_goes_to_the_service_that_has_it_and_is_closed_while_nobody_has() {
    let (first, second, fixed) = (
        Server::http("first").await,
        Server::http("second").await,
        Server::http("fixed").await,
    );
    let [claimed, own] = process::ports().map(front);
    let route = format!("port={}", claimed.port());
    let keys: [(&str, &str); 1] = [("route", &route)];
    let all = [
        ("a-first", first.address, &keys[..]),
        ("b-second", second.address, &keys[..]),
        ("fixed", fixed.address, &[("protocol", "tcp")][..]),
    ];
    let folder = Folder::of(&all[2..]);
    let bridge = Bridge::start(&format!(
        "{}[clusters]\nkeep_routes = \"0s\"\n[listeners.claimed]\nprotocol = \"tcp\"\naddress = \"{claimed}\"\n\
         [listeners.own]\nprotocol = \"tcp\"\naddress = \"{own}\"\nservice = \"fixed\"\n",
        folder.section()
    ))
    .await;
    let envoy = bridge.envoy(Step::Listeners, &[]).await;
    answers(own, "fixed").await;
    refused(claimed).await;

    folder.write(&all[1..]);
    answers(claimed, "second").await;
    // It has the port: one that comes later, and is first by its name, takes nothing from it.
    folder.write(&all);
    bridge
        .metric_is("xds_bridge_routes_contested", &[], |contested| contested == 1)
        .await;
    answers(claimed, "second").await;
    // With its last instance the port goes to the other one, and then to nobody.
    folder.write(&[all[0], all[2]]);
    answers(claimed, "first").await;
    folder.write(&all[2..]);
    refused(claimed).await;
    answers(own, "fixed").await;
    assert_eq!(envoy.stat("listener_manager.lds.update_rejected").await, 0);
    bridge.assert_no_nacks().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_of_tls_are_passed_on_or_ended_beside_requests() {
    let dir = tempfile::tempdir().expect("a folder");
    let (ca, web) = (Ca::new(), Server::http("web").await);
    let sign = |name: &str| {
        let host = SanType::DnsName(name.try_into().expect("a name"));
        ca.sign(dir.path(), name, host)
    };
    let [db_chain, db_key] = sign("db.test");
    let [edge_chain, edge_key] = sign("*.edge.test");
    let (db, db_task) = tls::server(&db_chain, &db_key, None).await;
    let plain = Server::http("plain").await;
    let [port] = process::ports();
    let at = front(port);
    let db_keys = [("route", "sni=db.test"), ("expose", "edge")];
    let ended = [("route", "sni=tcp.edge.test terminate=true"), ("expose", "edge")];
    let requests = [("route", "host=web.edge.test"), ("expose", "edge")];
    let all = [
        ("db", db, &db_keys[..]),
        ("ended", plain.address, &ended[..]),
        ("web", web.address, &requests[..]),
        (
            "thief",
            web.address,
            &[("route", "sni=other.test"), ("expose", "edge")][..],
        ),
    ];
    let folder = Folder::of(&all[2..]);
    let bridge = Bridge::start(&format!(
        "{}[clusters]\nkeep_routes = \"0s\"\n[tls.edge]\ncertificate = \"{edge_chain}\"\nkey = \"{edge_key}\"\n\
         [exposures.edge]\nhosts = [\"*.edge.test\"]\nsni = [\"db.test\", \"*.edge.test\"]\n\
         [listeners.front]\naddress = \"{at}\"\nexposure = \"edge\"\n\
         [listeners.front.tls]\ncertificates = [\"edge\"]\n",
        folder.section()
    ))
    .await;
    let envoy = bridge.envoy(Step::Listeners, &[]).await;
    let gets = async |host: &'static str, wanted: &str| {
        wait::until(wait::PATIENCE, host, async || {
            let (answer, shown) = tls::get(at, host, &ca).await?;
            wait::holds(answer == wanted, || format!("{answer} {}", shown.len()))
        })
        .await;
    };
    gets("web.edge.test", "web").await;
    assert!(tls::get(at, "db.test", &ca).await.is_err(), "nobody has it yet");

    folder.write(&all);
    // The server saw the name, so TLS was its own; the other one speaks no TLS at all.
    gets("db.test", "db.test").await;
    gets("tcp.edge.test", "plain").await;
    gets("web.edge.test", "web").await;
    let log = bridge.log();
    assert!(log.contains("sni `other.test` may not be claimed"), "{log}");

    // An open connection through one chain lives on when another one comes or goes.
    let mut open = tls::open(at, "tcp.edge.test", &ca).await.expect("a connection");
    let before = envoy.stat("listener_manager.listener_in_place_updated").await;
    folder.write(&all[1..]);
    wait::until(wait::PATIENCE, "nobody has the name", async || {
        let answer = tls::get(at, "db.test", &ca).await;
        wait::holds(answer.is_err(), || format!("{answer:?}"))
    })
    .await;
    assert_eq!(tls::request(&mut open, "any").await.as_deref(), Ok("plain"));
    assert!(envoy.stat("listener_manager.listener_in_place_updated").await > before);
    bridge.assert_no_nacks().await;
    db_task.abort();
}
