//! `allow`: who may call a service, by the identity in the certificate of the caller.

use std::net::SocketAddr;

use rcgen::SanType;

use super::{becomes, somewhere};
use crate::support::bridge::{Bridge, Step};
use crate::support::folder::Folder;
use crate::support::pki::Ca;
use crate::support::servers::Server;
use crate::support::{tls, wait};

/// The status of GET / of a client that shows this certificate.
async fn as_caller(at: SocketAddr, host: &str, ca: &Ca, identity: &[String; 2]) -> Result<u16, String> {
    let mut stream = tls::open_as(at, "front.test", ca, Some(identity)).await?;
    let answer = tls::exchange(&mut stream, host).await?;
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
    status.ok_or_else(|| format!("no status in {answer:?}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_is_called_by_whom_it_names() {
    let dir = tempfile::tempdir().expect("a folder");
    let ca = Ca::new();
    let uri = |name: &str| SanType::URI(format!("spiffe://shop/{name}").try_into().expect("a URI"));
    let dns = |name: &str| SanType::DnsName(name.try_into().expect("a name"));
    let sign = |name: &str, san: SanType| ca.sign(dir.path(), name, san);
    let [front, front_key] = sign("front", dns("front.test"));
    std::fs::write(dir.path().join("ca.pem"), &ca.pem).expect("writing a CA");
    let callers = [
        ("web", sign("web", uri("web"))),
        ("edge", sign("edge", dns("edge-7.shop"))),
        ("other", sign("other", uri("other"))),
        ("below", sign("below", uri("web/more"))),
        ("false edge", sign("false", uri("edge-7.shop"))),
    ];
    let server = Server::http("web").await;
    let folder = Folder::of(&[
        ("orders", server.address, &[("allow", "web, edge")]),
        (
            "counted",
            server.address,
            &[("allow", "web"), ("allow-mode", "log")],
        ),
        ("unknown", server.address, &[("allow", "nobody.knows")]),
        ("slip", server.address, &[("allow", "web;edge")]),
        ("free", server.address, &[]),
    ]);
    let (mutual, any) = (somewhere(), somewhere());
    let bridge = Bridge::start(&format!(
        "{}[callers]\nedge = \"dns:edge-*.shop\"\n\"nobody.knows\" = []\n\"*\" = \"spiffe://shop/{{caller}}\"\n\
         [tls.front]\ncertificate = \"{front}\"\nkey = \"{front_key}\"\nca = \"{}\"\n[listeners.mutual]\naddress = \
         \"{mutual}\"\n[listeners.mutual.tls]\ncertificates = [\"front\"]\nclient_ca = \"front\"\n[exposures.any]\nhosts = \
         [\"*\"]\nservice_hosts = [\"{{service}}\"]\nany_caller = true\n[listeners.any]\naddress = \"{any}\"\nexposure = \
         \"any\"\n",
        folder.section(),
        dir.path().join("ca.pem").display(),
    ))
    .await;
    let envoy = bridge.envoy(Step::Listeners, &[]).await;
    wait::until(wait::PATIENCE, "the listener serves", async || {
        let status = as_caller(mutual, "free", &ca, &callers[0].1).await?;
        wait::holds(status == 200, || status.to_string())
    })
    .await;
    for (service, wanted) in [
        ("orders", [200, 200, 403, 403, 403]),
        ("counted", [200; 5]),
        ("unknown", [403; 5]),
        ("slip", [403; 5]),
        ("free", [200; 5]),
    ] {
        for ((name, identity), wanted) in callers.iter().zip(wanted) {
            let status = as_caller(mutual, service, &ca, identity).await;
            assert_eq!(status, Ok(wanted), "{name} calls {service}");
        }
    }
    assert_eq!(envoy.stat("http.mutual.rbac.callers.shadow_denied").await, 4);
    assert_eq!(envoy.stat("http.mutual.rbac.callers.shadow_allowed").await, 1);
    // Without certificates nobody is known; where the operator says that it does not matter, all are let in.
    let plain = envoy.listener();
    for (at, service, wanted) in [
        (plain, "free", 200),
        (plain, "orders", 403),
        (plain, "counted", 200),
        (plain, "slip", 403),
        (any, "orders", 200),
        (any, "unknown", 200),
    ] {
        becomes(at, (service, "/", ""), wanted).await;
    }
    let said = bridge.text("/sources").await.expect("an answer");
    for words in [
        "allow: clients of internal show no certificate, so requests there get 403",
        "allow: nobody is known by the name nobody.knows",
    ] {
        assert!(said.contains(words), "{said}");
    }
    bridge.assert_no_nacks().await;
}
