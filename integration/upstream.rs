//! Connections to servers by TLS, as a service declares it: checked, and with a certificate of Envoy's own.

use rcgen::SanType;

use crate::support::bridge::{Bridge, Step};
use crate::support::folder::Folder;
use crate::support::pki::Ca;
use crate::support::{raw, tls, wait};

fn dns(name: &str) -> SanType {
    SanType::DnsName(name.try_into().expect("a name"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_a_server_with_the_right_certificate_gets_requests() {
    let dir = tempfile::tempdir().expect("a folder");
    let (servers, clients) = (Ca::new(), Ca::new());
    let [chain, key] = servers.sign(dir.path(), "server", dns("web.test"));
    let [own_chain, own_key] = clients.sign(dir.path(), "envoy", dns("envoy.test"));
    let ca = dir.path().join("servers.pem");
    std::fs::write(&ca, &servers.pem).expect("writing a CA");
    let (address, task) = tls::server(&chain, &key, Some(&clients)).await;
    let tls = |value| [("tls", value)];
    let (right, named, other_name) = (
        tls("shop sni=web.test"),
        tls("shop san=web.test"),
        tls("shop sni=other.test"),
    );
    let (bare, other_ca) = (tls("bare sni=web.test"), tls("others sni=web.test"));
    let unknown = tls("nowhere sni=web.test");
    let folder = Folder::of(&[
        ("right", address, &right),
        (
            "https",
            address,
            &[("protocol", "https"), ("tls", "shop sni=web.test")],
        ),
        ("named", address, &named),
        ("other-name", address, &other_name),
        ("no-certificate", address, &bare),
        ("other-ca", address, &other_ca),
        ("unknown", address, &unknown),
        ("plain", address, &[]),
    ]);
    let others = dir.path().join("others.pem");
    std::fs::write(&others, &clients.pem).expect("writing a CA");
    let bridge = Bridge::start(&format!(
        "{2}[tls.shop]\nca = \"{0}\"\ncertificate = \"{own_chain}\"\nkey = \"{own_key}\"\n[tls.bare]\nca = \
         \"{0}\"\n[tls.others]\nca = \"{1}\"\ncertificate = \"{own_chain}\"\nkey = \"{own_key}\"\n",
        ca.display(),
        others.display(),
        folder.section()
    ))
    .await;
    let envoy = bridge.envoy(Step::Listeners, &[]).await;
    let at = envoy.listener();
    for (host, asked) in [("right", "web.test"), ("https", "web.test"), ("named", "named")] {
        wait::until(wait::PATIENCE, host, async || {
            let answer = raw::get(at, host, "/").await?;
            wait::holds(answer == (200, asked.to_owned()), || format!("{answer:?}"))
        })
        .await;
    }
    for host in ["other-name", "no-certificate", "other-ca", "unknown", "plain"] {
        let (status, body) = raw::get(at, host, "/").await.expect("an answer");
        assert!([502, 503].contains(&status), "{host}: {status} {body}");
    }
    assert!(
        bridge.log().contains("tls: `nowhere` is no [tls.nowhere]"),
        "{}",
        bridge.log()
    );

    // The CA changes: the server is no longer trusted, and is again once its own CA is back.
    std::fs::write(&ca, &clients.pem).expect("writing a CA");
    wait::until(wait::PATIENCE, "the server is refused", async || {
        let answer = raw::get(at, "right", "/").await?;
        wait::holds(answer.0 == 503, || format!("{answer:?}"))
    })
    .await;
    std::fs::write(&ca, &servers.pem).expect("writing a CA");
    wait::until(wait::PATIENCE, "the server is trusted again", async || {
        let answer = raw::get(at, "right", "/").await?;
        wait::holds(answer.0 == 200, || format!("{answer:?}"))
    })
    .await;
    bridge.assert_no_nacks().await;
    task.abort();
}
