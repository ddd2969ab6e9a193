//! Certificates made for one test.

use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, SanType};
use xds_bridge::grpc::Files;

/// The name in each bridge's certificate.
pub(crate) const BRIDGE: &str = "bridge.test";

/// A certificate authority.
pub(crate) struct Ca {
    issuer: Issuer<'static, KeyPair>,
    pub(crate) pem: String,
}

/// A certificate and its key, PEM.
pub(crate) struct Pair {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

impl Ca {
    pub(crate) fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self {
            issuer: Issuer::new(params, key),
            pem,
        }
    }

    /// `dns:NAME`, or a URI.
    pub(crate) fn sign(&self, sans: &[&str]) -> Pair {
        self.sign_with(sans, CertificateParams::default())
    }

    /// Valid in these years only.
    pub(crate) fn sign_for(&self, sans: &[&str], years: std::ops::Range<i32>) -> Pair {
        let mut params = CertificateParams::default();
        params.not_before = rcgen::date_time_ymd(years.start, 1, 1);
        params.not_after = rcgen::date_time_ymd(years.end, 1, 1);
        self.sign_with(sans, params)
    }

    fn sign_with(&self, sans: &[&str], mut params: CertificateParams) -> Pair {
        params.subject_alt_names = sans
            .iter()
            .map(|san| match san.strip_prefix("dns:") {
                Some(name) => SanType::DnsName(name.try_into().unwrap()),
                None => SanType::URI((*san).try_into().unwrap()),
            })
            .collect();
        let key = KeyPair::generate().unwrap();
        Pair {
            certificate: params.signed_by(&key, &self.issuer).unwrap().pem(),
            key: key.serialize_pem(),
        }
    }
}

/// The files of a port, in a folder of the test.
pub(crate) fn files(folder: &Path, server: &Pair, client_ca: Option<&Ca>) -> Files {
    write(folder, server, client_ca);
    let path = |name: &str| -> PathBuf { folder.join(name) };
    Files {
        certificate: path("bridge.pem"),
        key: path("bridge-key.pem"),
        client_ca: client_ca.map(|_| path("ca.pem")),
    }
}

/// Writes them again.
pub(crate) fn write(folder: &Path, server: &Pair, client_ca: Option<&Ca>) {
    std::fs::write(folder.join("bridge.pem"), &server.certificate).unwrap();
    std::fs::write(folder.join("bridge-key.pem"), &server.key).unwrap();
    if let Some(ca) = client_ca {
        std::fs::write(folder.join("ca.pem"), &ca.pem).unwrap();
    }
}
