//! The Consul source over HTTP/2: hundreds of watches on one connection, and what may happen to that
//! connection. None of it takes an instance away, and none of it lets a change be missed.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use xds_bridge::config::{ClientTls, ConsulSource};
use xds_bridge::model::Status;
use xds_bridge::source::consul::Timing;

use crate::consul_fake::{Fake, Hub, Reply, timing};
use crate::pki::{Ca, loopback};
use crate::pressure::{missed, services, swept};

/// The names and the policy documents block as well.
const OTHERS: usize = 2;

/// An agent by HTTPS, and the folder with everybody's files.
pub struct Site {
    pub fake: Arc<Fake>,
    config: ConsulSource,
    pub names: Vec<String>,
    ca: Ca,
    files: tempfile::TempDir,
}

fn present(ca: &Ca, files: &Path) -> ServerConfig {
    let [certificate, key] = ca.sign(files, "agent", loopback());
    let chain = CertificateDer::pem_file_iter(certificate).unwrap();
    let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap();
    let mut config = builder
        .with_no_client_auth()
        .with_single_cert(
            chain.map(Result::unwrap).collect(),
            PrivateKeyDer::from_pem_file(key).unwrap(),
        )
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config
}

impl Site {
    pub async fn of(count: usize) -> Self {
        let (fake, address, names) = services(count).await;
        let (ca, files) = (Ca::new(), tempfile::tempdir().unwrap());
        fake.door.tls(present(&ca, files.path()));
        let site = Self {
            fake,
            config: ConsulSource {
                tls: Some(ClientTls {
                    ca: Some(files.path().join("ca.pem")),
                    identity: None,
                    server_name: None,
                }),
                ..ConsulSource::new(address.replace("http:", "https:"))
            },
            names,
            ca,
            files,
        };
        site.trust(&site.ca.pem);
        site
    }

    /// What the source verifies the agent with.
    fn trust(&self, pem: &str) {
        std::fs::write(self.files.path().join("ca.pem"), pem).unwrap();
    }

    /// All are watched.
    pub async fn watched(&self, timing: &Timing) -> Hub {
        let mut hub = Hub::with(&self.config, timing);
        hub.until_live().await;
        self.until_blocked(&mut hub).await;
        assert_eq!(swept(&hub), 0);
        hub
    }

    pub async fn until_blocked(&self, hub: &mut Hub) {
        hub.until_quiet(&self.fake, self.names.len() + OTHERS).await;
    }

    /// Changes all, and waits until all was seen.
    pub async fn changes(&self, hub: &mut Hub, port: u16) {
        for name in &self.names {
            self.fake.set(name, &[1, 2, port]);
        }
        hub.until("all changed", |hub| {
            let wanted = Some(vec![1, 2, port]);
            self.names.iter().all(|name| hub.ports(name) == wanted)
        })
        .await;
    }
}

/// Services that were read by `?consistent`.
fn confirmed(fake: &Fake) -> usize {
    fake.count(|ask| ask.consistent && ask.path.starts_with("/v1/health/service/s"))
}

/// Waits for a level of the fake that no event of the source tells of.
async fn until(what: &str, done: impl Fn() -> bool) {
    let wait = async {
        while !done() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let in_time = tokio::time::timeout(Duration::from_secs(60), wait).await;
    assert!(in_time.is_ok(), "{what}");
}

/// Nothing was away, lost or missed.
fn assert_calm(hub: &Hub) {
    assert_eq!((&hub.statuses[..], missed(hub)), (&[Status::Live][..], 0));
    assert_lossless(hub);
}

/// No change took anything away.
pub fn assert_lossless(hub: &Hub) {
    let lost = |(_, instances): &(String, Option<usize>)| instances.is_none_or(|n| n < 2);
    assert!(!hub.named().iter().any(lost), "{:?}", hub.named());
}

#[tokio::test]
async fn goaway_while_watches_are_blocked_is_no_outage() {
    let site = Site::of(260).await;
    let mut hub = site.watched(&timing()).await;
    for port in 3..6 {
        let before = site.fake.door.served();
        site.fake.door.go_away();
        site.changes(&mut hub, port).await;
        site.until_blocked(&mut hub).await;
        assert!(site.fake.door.served() > before, "on new connections");
    }
    assert_calm(&hub);
}

#[tokio::test]
async fn goaway_and_an_end_soon_after_is_confirmed_and_loses_nothing() {
    let site = Site::of(260).await;
    let mut hub = site.watched(&timing()).await;
    site.fake.forget();
    site.fake.door.go_away();
    site.fake.door.hang_up();
    until("each is confirmed", || confirmed(&site.fake) >= 260).await;
    assert_eq!(hub.named().len(), 260, "only the first change");
    site.changes(&mut hub, 3).await;
    assert_lossless(&hub);
}

#[tokio::test]
async fn refused_streams_are_no_outage() {
    for reason in [h2::Reason::REFUSED_STREAM, h2::Reason::ENHANCE_YOUR_CALM] {
        let site = Site::of(20).await;
        site.fake.script(move |ask| {
            let refused = ask.path.ends_with("/s0007") && ask.index.is_some();
            refused.then_some(Reply::Drop(reason))
        });
        let mut hub = Hub::with(&site.config, &timing());
        hub.until_live().await;
        hub.until("it is swept", |hub| swept(hub) > 0).await;
        site.changes(&mut hub, 3).await;
        assert!(
            hub.note
                .as_deref()
                .is_some_and(|n| n.contains("turned requests away"))
        );
        assert_calm(&hub);
    }
}

#[tokio::test]
async fn streams_that_are_reset_for_another_reason_are_trouble() {
    let site = Site::of(20).await;
    let mut hub = site.watched(&timing()).await;
    hub.forget();
    site.fake.script(|ask| {
        let reset = ask.path.ends_with("/s0007") && ask.index.is_some();
        reset.then_some(Reply::Drop(h2::Reason::INTERNAL_ERROR))
    });
    hub.until_away("no answer").await;
    site.fake.script(|_| None);
    hub.until_live().await;
    assert_eq!((hub.named(), swept(&hub)), (Vec::new(), 0));
}

/// A proxy in between, or an agent with another limit.
#[tokio::test]
async fn fewer_streams_than_expected_are_more_connections() {
    let site = Site::of(460).await;
    site.fake.door.streams(90);
    let mut hub = site.watched(&timing()).await;
    for port in 3..6 {
        site.changes(&mut hub, port).await;
        site.until_blocked(&mut hub).await;
    }
    // 460 / 90, that of the names, and that of the reads; those in between end a moment later.
    until("few connections are left", || site.fake.door.open() <= 6 + 2).await;
    assert_calm(&hub);
}

#[tokio::test]
async fn the_agents_certificate_is_rotated() {
    let site = Site::of(30).await;
    let mut hub = site.watched(&timing()).await;
    // Another one of the same authority, for new connections.
    site.fake.door.tls(present(&site.ca, site.files.path()));
    site.fake.door.go_away();
    site.changes(&mut hub, 3).await;
    site.until_blocked(&mut hub).await;
    // Another authority, which is trusted beforehand: nothing is cut, and nothing is away.
    let new = Ca::new();
    let before = site.fake.door.served();
    site.trust(&format!("{}{}", site.ca.pem, new.pem));
    site.fake.set("another", &[1, 2]);
    hub.until_ports("another", &[1, 2]).await;
    let trusted = async {
        // Each read of a new service goes to the connections of now: a level.
        for n in 0_u16.. {
            if site.fake.door.served() > before {
                break;
            }
            site.fake.set("another", &[1, 2, n]);
            hub.until_ports("another", &[1, 2, n]).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), trusted)
        .await
        .unwrap();
    site.fake.door.tls(present(&new, site.files.path()));
    site.fake.door.go_away();
    site.changes(&mut hub, 4).await;
    assert_calm(&hub);
    // And one that is trusted only afterwards.
    let newest = Ca::new();
    site.fake.door.tls(present(&newest, site.files.path()));
    site.fake.door.hang_up();
    hub.until_away("`ca` of its tls section must hold who signed")
        .await;
    site.trust(&newest.pem);
    hub.until_live().await;
    site.changes(&mut hub, 5).await;
    assert_lossless(&hub);
}

/// Takes ten seconds: the interval of pings, and as much for an answer. Without them a read blocks 310 s.
#[tokio::test]
async fn a_frozen_connection_is_seen_by_its_silence() {
    let site = Site::of(260).await;
    let mut hub = site.watched(&timing()).await;
    hub.forget();
    site.fake.forget();
    site.fake.door.freeze();
    until("each is confirmed", || confirmed(&site.fake) >= 260).await;
    assert_eq!(hub.named(), []);
    site.changes(&mut hub, 3).await;
    assert_lossless(&hub);
}
