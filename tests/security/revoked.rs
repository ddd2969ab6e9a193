//! Client certificates that are revoked.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use xds_bridge::files::PemError;
use xds_bridge::grpc::{Files, Options, Tls, TlsError};

use crate::pki::{BRIDGE, Ca, Pair, files, write};
use crate::port::{Port, served};

const FAILURES: &str = "xds_bridge_tls_handshake_failures_total";
const RELOADS: &str = "xds_bridge_tls_reloads_total";
const RELOAD_FAILURES: &str = "xds_bridge_tls_reload_failures_total";

/// The files of a port with mTLS, with this as the revocation lists.
fn with_crl(folder: &Path, ca: &Ca, crl: &str) -> Files {
    let path = folder.join("crl.pem");
    std::fs::write(&path, crl).unwrap();
    Files {
        crl: Some(path),
        ..files(folder, &ca.sign(&[&format!("dns:{BRIDGE}")]), Some(ca))
    }
}

async fn start(files: Files) -> Port {
    let tls = Tls::load(files).unwrap().every(Duration::from_millis(20));
    let options = Options {
        tls: Some(Arc::new(tls)),
        ..Options::default()
    };
    Port::start(options, 3, 100).await
}

async fn lets_in(port: &Port, ca: &Ca, client: &Pair) -> bool {
    served(port.tls(ca, Some(client)).await, "n", "edge")
        .await
        .is_ok()
}

#[tokio::test]
async fn a_revoked_certificate_is_refused_once_the_list_says_so() {
    let (folder, ca) = (tempfile::tempdir().unwrap(), Ca::new("ca"));
    let [one, two] = [7, 8].map(|serial| ca.sign_numbered(&["dns:envoy.test"], serial));
    let files = with_crl(folder.path(), &ca, &ca.revoked(&[7], 2600));
    let list = files.crl.clone().unwrap();
    let port = start(files).await;
    assert!(lets_in(&port, &ca, &two).await);
    assert!(!lets_in(&port, &ca, &one).await);
    port.metric_is(FAILURES, 1).await;

    // The list changes, the certificates do not.
    std::fs::write(&list, ca.revoked(&[8], 2600)).unwrap();
    port.metric_is(RELOADS, 1).await;
    assert!(lets_in(&port, &ca, &one).await);
    assert!(!lets_in(&port, &ca, &two).await);

    // What cannot be used changes nothing.
    std::fs::write(&list, "").unwrap();
    port.metric_is(RELOAD_FAILURES, 1).await;
    std::fs::write(&list, Ca::new("other").revoked(&[7], 2600)).unwrap();
    port.metric_is(RELOAD_FAILURES, 2).await;
    assert!(lets_in(&port, &ca, &one).await);
    assert!(!lets_in(&port, &ca, &two).await);
}

#[tokio::test]
async fn a_list_that_nobody_renewed_goes_on_counting() {
    let (folder, ca) = (tempfile::tempdir().unwrap(), Ca::new("ca"));
    let port = start(with_crl(folder.path(), &ca, &ca.revoked(&[7], 2002))).await;
    assert!(lets_in(&port, &ca, &ca.sign_numbered(&["dns:envoy.test"], 8)).await);
    assert!(!lets_in(&port, &ca, &ca.sign_numbered(&["dns:envoy.test"], 7)).await);
}

#[tokio::test]
async fn two_authorities_need_a_list_each_in_one_file() {
    let (folder, old, new) = (tempfile::tempdir().unwrap(), Ca::new("old"), Ca::new("new"));
    let files = with_crl(folder.path(), &old, &old.revoked(&[7], 2600));
    let mut both = Ca::new("unused");
    both.pem = format!("{}{}", old.pem, new.pem);
    write(folder.path(), &old.sign(&[&format!("dns:{BRIDGE}")]), Some(&both));
    let error = Tls::load(files.clone()).unwrap_err();
    let missing = matches!(&error, TlsError::NoCrl { number: 2, .. });
    assert!(missing && error.to_string().contains("crl.pem"), "{error}");

    let lists = format!("{}{}", old.revoked(&[7], 2600), new.revoked(&[8], 2600));
    std::fs::write(files.crl.as_ref().unwrap(), lists).unwrap();
    let port = start(files).await;
    assert!(!lets_in(&port, &old, &old.sign_numbered(&["dns:envoy.test"], 7)).await);
    assert!(lets_in(&port, &old, &old.sign_numbered(&["dns:envoy.test"], 8)).await);
    assert!(!lets_in(&port, &old, &new.sign_numbered(&["dns:envoy.test"], 8)).await);
    assert!(lets_in(&port, &old, &new.sign_numbered(&["dns:envoy.test"], 7)).await);
}

#[test]
fn lists_that_cannot_be_used_are_said_before_anything_is_served() {
    let (folder, ca) = (tempfile::tempdir().unwrap(), Ca::new("ca"));
    let broken = |text: &str| Tls::load(with_crl(folder.path(), &ca, text)).unwrap_err();
    let what = "certificate revocation list";
    for text in ["", &ca.pem] {
        let error = broken(text);
        assert!(
            matches!(&error, TlsError::File(PemError::Pem { what: w, .. }) if *w == what),
            "{error}"
        );
    }
    let rubbish = "-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n";
    for text in [rubbish.to_owned(), format!("{}{rubbish}", ca.revoked(&[], 2600))] {
        let error = broken(&text);
        assert!(matches!(&error, TlsError::Crl { .. }), "{error}");
        assert!(error.to_string().contains("crl.pem"), "{error}");
    }
    let files = with_crl(folder.path(), &ca, "");
    std::fs::remove_file(files.crl.as_ref().unwrap()).unwrap();
    assert!(matches!(
        Tls::load(files),
        Err(TlsError::File(PemError::Read { .. }))
    ));
}
