//! Certificates made for one test.

use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, IsCa, Issuer, KeyIdMethod,
    KeyPair, RevokedCertParams, SanType, SerialNumber,
};
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

    /// With this serial number.
    pub(crate) fn sign_numbered(&self, sans: &[&str], serial: u64) -> Pair {
        let mut params = CertificateParams::default();
        params.serial_number = Some(SerialNumber::from(serial));
        self.sign_with(sans, params)
    }

    /// The list of those of its certificates that are revoked, PEM; to be renewed by that year.
    pub(crate) fn revoked(&self, serials: &[u64], until: i32) -> String {
        let revoked = |serial: &u64| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: rcgen::date_time_ymd(2001, 1, 1),
            reason_code: None,
            invalidity_date: None,
        };
        let params = CertificateRevocationListParams {
            this_update: rcgen::date_time_ymd(2001, 1, 1),
            next_update: rcgen::date_time_ymd(until, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: serials.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&self.issuer).unwrap().pem().unwrap()
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
        crl: None,
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
