//! How a client speaks TLS to the bridge. The files are on its machine: they are named
//! here, and never opened.

use envoy_types::pb::envoy::config::core::v3::data_source::Specifier;
use envoy_types::pb::envoy::config::core::v3::transport_socket::ConfigType;
use envoy_types::pb::envoy::config::core::v3::{DataSource, TransportSocket};
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::common_tls_context::ValidationContextType;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::subject_alt_name_matcher::SanType;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::{
    CertificateValidationContext, CommonTlsContext, SubjectAltNameMatcher, TlsCertificate, UpstreamTlsContext,
};
use envoy_types::pb::envoy::r#type::matcher::v3::StringMatcher;
use envoy_types::pb::envoy::r#type::matcher::v3::string_matcher::MatchPattern;

use super::address::BridgeAddress;
use crate::config::TlsFiles;
use crate::translate::pack;

/// What is said about TLS on the command line.
#[derive(Clone, Debug, Default)]
pub struct TlsWish {
    /// Who signed the bridge.
    pub ca: Option<String>,
    /// The client's chain.
    pub certificate: Option<String>,
    /// Its key.
    pub key: Option<String>,
    /// The bridge's DNS name; else its certificate must carry the host that is connected to.
    pub sni: Option<String>,
}

/// What does not fit bridge.toml.
#[derive(Debug, thiserror::Error)]
pub enum TlsMistake {
    /// A flag is missing.
    #[error("bridge.toml has [xds.tls]: say which file holds the CA of the bridge, --ca FILE")]
    NoCa,
    /// A flag is missing.
    #[error(
        "bridge.toml has xds.tls.client_ca: say which certificate the client shows, --cert FILE --key FILE"
    )]
    NoCertificate,
    /// One without the other.
    #[error("--cert and --key go together")]
    Half,
    /// gRPC looks for what it connects to.
    #[error(
        "--sni is for Envoy: a gRPC client looks for the host of --bridge in the bridge's certificate, so name that host there"
    )]
    GrpcSni,
    /// A flag too many.
    #[error("--ca, --cert, --key and --sni need [xds.tls] in bridge.toml: without it the port has no TLS")]
    NoTls,
}

/// The files that fit bridge.toml; `None` without TLS.
pub(super) struct Files<'a> {
    pub(super) ca: &'a str,
    /// Certificate and key.
    pub(super) pair: Option<[&'a str; 2]>,
}

impl<'a> Files<'a> {
    pub(super) fn of(tls: Option<&TlsFiles>, wish: &'a TlsWish) -> Result<Option<Self>, TlsMistake> {
        let given = [&wish.ca, &wish.certificate, &wish.key, &wish.sni];
        let Some(tls) = tls else {
            return if given.into_iter().any(Option::is_some) {
                Err(TlsMistake::NoTls)
            } else {
                Ok(None)
            };
        };
        let ca = wish.ca.as_deref().ok_or(TlsMistake::NoCa)?;
        let pair = match (&wish.certificate, &wish.key) {
            (Some(certificate), Some(key)) => Some([certificate.as_str(), key.as_str()]),
            (None, None) if tls.client_ca.is_some() => return Err(TlsMistake::NoCertificate),
            (None, None) => None,
            _ => return Err(TlsMistake::Half),
        };
        Ok(Some(Self { ca, pair }))
    }
}

/// The transport socket of the bridge's cluster.
pub(super) fn socket(
    tls: Option<&TlsFiles>,
    wish: &TlsWish,
    bridges: &[BridgeAddress],
) -> Result<Option<TransportSocket>, TlsMistake> {
    let Some(files) = Files::of(tls, wish)? else {
        return Ok(None);
    };
    let pair = files.pair.map(|[certificate, key]| TlsCertificate {
        certificate_chain: Some(file(certificate)),
        private_key: Some(file(key)),
        ..TlsCertificate::default()
    });
    // Without a name to look for, Envoy would take any certificate of that CA for the bridge.
    // One of several is enough: the bridges behind one cluster are interchangeable.
    let names = match &wish.sni {
        Some(name) => vec![san(SanType::Dns, name.clone())],
        None => bridges.iter().map(san_of).collect(),
    };
    let validation = CertificateValidationContext {
        trusted_ca: Some(file(files.ca)),
        match_typed_subject_alt_names: names,
        ..CertificateValidationContext::default()
    };
    let context = UpstreamTlsContext {
        common_tls_context: Some(CommonTlsContext {
            tls_certificates: pair.into_iter().collect(),
            validation_context_type: Some(ValidationContextType::ValidationContext(validation)),
            alpn_protocols: vec!["h2".to_owned()],
            ..CommonTlsContext::default()
        }),
        sni: wish
            .sni
            .clone()
            .or_else(|| only_name(bridges))
            .unwrap_or_default(),
        ..UpstreamTlsContext::default()
    };
    Ok(Some(TransportSocket {
        name: "envoy.transport_sockets.tls".to_owned(),
        config_type: Some(ConfigType::TypedConfig(pack(&context))),
    }))
}

/// What the certificate of the bridge at this address carries.
fn san_of(bridge: &BridgeAddress) -> SubjectAltNameMatcher {
    match bridge {
        BridgeAddress::Ip(address) => san(SanType::IpAddress, address.ip().to_string()),
        // In certificates names have no dot at the end.
        BridgeAddress::Name { host, .. } => san(SanType::Dns, host.trim_end_matches('.').to_owned()),
    }
}

fn san(san_type: SanType, exact: String) -> SubjectAltNameMatcher {
    SubjectAltNameMatcher {
        san_type: san_type as i32,
        matcher: Some(StringMatcher {
            match_pattern: Some(MatchPattern::Exact(exact)),
            ..StringMatcher::default()
        }),
        ..SubjectAltNameMatcher::default()
    }
}

/// One cluster sends one SNI.
fn only_name(bridges: &[BridgeAddress]) -> Option<String> {
    match bridges {
        [BridgeAddress::Name { host, .. }] => Some(host.trim_end_matches('.').to_owned()),
        _ => None,
    }
}

fn file(path: &str) -> DataSource {
    DataSource {
        specifier: Some(Specifier::Filename(path.to_owned())),
        ..DataSource::default()
    }
}
