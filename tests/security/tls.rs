//! TLS and mTLS; certificates that change while clients are connected.

use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use xds_bridge::files::PemError;
use xds_bridge::grpc::{Options, Tls, TlsError};

use crate::pki::{BRIDGE, Ca, Pair, files, write};
use crate::port::{PATIENCE, Port, served};

const FAILURES: &str = "xds_bridge_tls_handshake_failures_total";
const RELOADS: &str = "xds_bridge_tls_reloads_total";
const RELOAD_FAILURES: &str = "xds_bridge_tls_reload_failures_total";

fn bridge(ca: &Ca) -> Pair {
    ca.sign(&[&format!("dns:{BRIDGE}")])
}

/// A port whose files are looked at often.
async fn start(folder: &TempDir, server: &Pair, client_ca: Option<&Ca>) -> Port {
    let tls = Tls::load(files(folder.path(), server, client_ca)).unwrap();
    let options = Options {
        tls: Some(Arc::new(tls.every(Duration::from_millis(20)))),
        ..Options::default()
    };
    Port::start(options, 3, 100).await
}

#[tokio::test]
async fn tls_is_served_and_plaintext_is_not() {
    let (folder, ca) = (tempfile::tempdir().unwrap(), Ca::new("ca"));
    let port = start(&folder, &bridge(&ca), None).await;
    served(port.tls(&ca, None).await, "n", "edge").await.unwrap();
    assert!(served(port.plain().await, "n", "edge").await.is_err());
    port.metric_is(FAILURES, 1).await;
    // A client that trusts another CA does not take us for the bridge.
    assert!(
        served(port.tls(&Ca::new("other"), None).await, "n", "edge")
            .await
            .is_err()
    );
}

#[tokio::test]
async fn mtls_lets_in_only_whom_the_client_ca_signed() {
    let (folder, ca) = (tempfile::tempdir().unwrap(), Ca::new("ca"));
    let port = start(&folder, &bridge(&ca), Some(&ca)).await;
    let envoy = ca.sign(&["spiffe://shop/ns/edge"]);
    served(port.tls(&ca, Some(&envoy)).await, "n", "edge")
        .await
        .unwrap();
    assert!(served(port.tls(&ca, None).await, "n", "edge").await.is_err());
    let stranger = Ca::new("other").sign(&["spiffe://shop/ns/edge"]);
    assert!(
        served(port.tls(&ca, Some(&stranger)).await, "n", "edge")
            .await
            .is_err()
    );
    port.metric_is(FAILURES, 2).await;
}

#[tokio::test]
async fn new_files_serve_new_connections_and_cut_no_old_one() {
    let folder = tempfile::tempdir().unwrap();
    let (old, new) = (Ca::new("old"), Ca::new("new"));
    let port = start(&folder, &bridge(&old), Some(&old)).await;
    let (before, after) = (old.sign(&["dns:envoy.test"]), new.sign(&["dns:envoy.test"]));
    let mut open = served(port.tls(&old, Some(&before)).await, "n1", "edge")
        .await
        .unwrap();

    write(folder.path(), &bridge(&new), Some(&new));
    port.metric_is(RELOADS, 1).await;
    served(port.tls(&new, Some(&after)).await, "n2", "edge")
        .await
        .unwrap();
    assert!(
        served(port.tls(&new, Some(&before)).await, "n3", "edge")
            .await
            .is_err()
    );
    assert!(
        served(port.tls(&old, Some(&before)).await, "n3", "edge")
            .await
            .is_err()
    );

    // The stream of before goes on.
    open.say(
        xds_bridge::xds::Kind::Endpoints,
        xds_bridge::xds::DeltaRequest {
            subscribe: vec!["c0".into()],
            ..Default::default()
        },
    )
    .await;
    assert_eq!(open.hear().await.unwrap().expect("endpoints").resources.len(), 1);
    assert_eq!(port.metric(RELOAD_FAILURES), 0);
}

#[tokio::test]
async fn broken_new_files_leave_the_old_ones_in_use_and_are_told_once() {
    let (folder, ca) = (tempfile::tempdir().unwrap(), Ca::new("ca"));
    let port = start(&folder, &bridge(&ca), Some(&ca)).await;
    let envoy = ca.sign(&["dns:envoy.test"]);
    let path = folder.path().join("bridge.pem");

    std::fs::write(&path, "-----BEGIN CERTIFICATE-----\nrubbish\n").unwrap();
    port.metric_is(RELOAD_FAILURES, 1).await;
    served(port.tls(&ca, Some(&envoy)).await, "n", "edge")
        .await
        .unwrap();

    // Another certificate without its key.
    std::fs::write(&path, bridge(&ca).certificate).unwrap();
    port.metric_is(RELOAD_FAILURES, 2).await;
    served(port.tls(&ca, Some(&envoy)).await, "n", "edge")
        .await
        .unwrap();

    std::fs::remove_file(&path).unwrap();
    port.metric_is(RELOAD_FAILURES, 3).await;
    served(port.tls(&ca, Some(&envoy)).await, "n", "edge")
        .await
        .unwrap();

    // Unreadable for another reason: a folder in its place.
    std::fs::create_dir(&path).unwrap();
    port.metric_is(RELOAD_FAILURES, 4).await;
    std::fs::remove_dir(&path).unwrap();

    // Right again; none of the four was reported twice. (That it is gone again may be seen in between.)
    write(folder.path(), &bridge(&ca), Some(&ca));
    port.metric_is(RELOADS, 1).await;
    assert!((4..=5).contains(&port.metric(RELOAD_FAILURES)));
    served(port.tls(&ca, Some(&envoy)).await, "n", "edge")
        .await
        .unwrap();
}

#[tokio::test]
async fn a_certificate_whose_time_is_over_or_has_not_come_replaces_none_that_works() {
    let (folder, ca) = (tempfile::tempdir().unwrap(), Ca::new("ca"));
    let port = start(&folder, &bridge(&ca), None).await;
    let name = format!("dns:{BRIDGE}");
    for (failures, years) in [(1, 1990..2001), (2, 2500..2600)] {
        write(folder.path(), &ca.sign_for(&[&name], years), None);
        port.metric_is(RELOAD_FAILURES, failures).await;
        served(port.tls(&ca, None).await, "n", "edge").await.unwrap();
    }
    write(folder.path(), &ca.sign_for(&[&name], 2000..2600), None);
    port.metric_is(RELOADS, 1).await;
    assert_eq!(port.metric(RELOAD_FAILURES), 2);
    served(port.tls(&ca, None).await, "n", "edge").await.unwrap();
}

#[tokio::test]
async fn a_certificate_that_is_not_valid_is_noted_until_another_is() {
    let (folder, ca) = (tempfile::tempdir().unwrap(), Ca::new("ca"));
    let name = format!("dns:{BRIDGE}");
    let expired = ca.sign_for(&[&name], 1990..2001);
    let tls = Arc::new(
        Tls::load(files(folder.path(), &expired, None))
            .unwrap()
            .every(Duration::from_millis(20)),
    );
    let mut note = tls.note();
    let said = note.borrow().clone().expect("a note");
    assert!(said.contains("bridge.pem has expired"), "{said}");
    let options = Options {
        tls: Some(tls),
        ..Options::default()
    };
    let port = Port::start(options, 1, 100).await;
    std::fs::write(folder.path().join("bridge-key.pem"), "no key").unwrap();
    let noted = async {
        let cannot = |note: &Option<String>| note.as_ref().is_some_and(|n| n.contains("cannot be used"));
        note.wait_for(cannot).await.unwrap();
        write(folder.path(), &bridge(&ca), None);
        note.wait_for(Option::is_none).await.unwrap();
    };
    tokio::time::timeout(PATIENCE, noted).await.expect("the notes");
    served(port.tls(&ca, None).await, "n", "edge").await.unwrap();
}

#[test]
fn what_cannot_be_used_is_said_before_anything_is_served() {
    let (folder, ca) = (tempfile::tempdir().unwrap(), Ca::new("ca"));
    let right = files(folder.path(), &bridge(&ca), Some(&ca));
    std::fs::write(&right.key, bridge(&ca).key).unwrap();
    assert!(matches!(
        Tls::load(right.clone()),
        Err(TlsError::File(PemError::Pair { .. }))
    ));
    std::fs::write(&right.key, "no key").unwrap();
    assert!(matches!(
        Tls::load(right.clone()),
        Err(TlsError::File(PemError::Pem {
            what: "private key",
            ..
        }))
    ));
    std::fs::remove_file(&right.key).unwrap();
    assert!(matches!(
        Tls::load(right.clone()),
        Err(TlsError::File(PemError::Read { .. }))
    ));
    write(folder.path(), &bridge(&ca), Some(&ca));
    std::fs::write(right.client_ca.as_ref().unwrap(), "").unwrap();
    assert!(matches!(
        Tls::load(right),
        Err(TlsError::File(PemError::Pem {
            what: "certificate",
            ..
        }))
    ));
}
