//! How an Envoy speaks TLS to the bridge. The files are on its machine: they are named
//! here, and never opened.

use std::net::SocketAddr;

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

use crate::config::TlsFiles;
use crate::translate::pack;

/// What is said about TLS on the command line.
#[derive(Clone, Debug, Default)]
pub struct TlsWish {
    /// Who signed the bridge.
    pub ca: Option<String>,
    /// The Envoy's chain.
    pub certificate: Option<String>,
    /// Its key.
    pub key: Option<String>,
    /// The bridge's DNS name; else its certificate must carry its IP address.
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
        "bridge.toml has xds.tls.client_ca: say which certificate the Envoy shows, --cert FILE --key FILE"
    )]
    NoCertificate,
    /// One without the other.
    #[error("--cert and --key go together")]
    Half,
    /// Nothing that was tried.
    #[error("with [xds.tls] no bootstrap for gRPC clients is printed yet: add tls credentials to it by hand")]
    Grpc,
    /// A flag too many.
    #[error("--ca, --cert, --key and --sni need [xds.tls] in bridge.toml: without it the port has no TLS")]
    NoTls,
}

/// The transport socket of the bridge's cluster.
pub(super) fn socket(
    tls: Option<&TlsFiles>,
    wish: &TlsWish,
    bridge: SocketAddr,
) -> Result<Option<TransportSocket>, TlsMistake> {
    let said = [&wish.ca, &wish.certificate, &wish.key, &wish.sni];
    let Some(tls) = tls else {
        return if said.into_iter().any(Option::is_some) {
            Err(TlsMistake::NoTls)
        } else {
            Ok(None)
        };
    };
    let ca = wish.ca.as_deref().ok_or(TlsMistake::NoCa)?;
    let pair = match (&wish.certificate, &wish.key) {
        (Some(certificate), Some(key)) => Some(TlsCertificate {
            certificate_chain: Some(file(certificate)),
            private_key: Some(file(key)),
            ..TlsCertificate::default()
        }),
        (None, None) if tls.client_ca.is_some() => return Err(TlsMistake::NoCertificate),
        (None, None) => None,
        _ => return Err(TlsMistake::Half),
    };
    // Without a name to look for, Envoy would take any certificate of that CA for the bridge.
    let (san_type, name) = match &wish.sni {
        Some(name) => (SanType::Dns, name.clone()),
        None => (SanType::IpAddress, bridge.ip().to_string()),
    };
    let validation = CertificateValidationContext {
        trusted_ca: Some(file(ca)),
        match_typed_subject_alt_names: vec![SubjectAltNameMatcher {
            san_type: san_type as i32,
            matcher: Some(StringMatcher {
                match_pattern: Some(MatchPattern::Exact(name)),
                ..StringMatcher::default()
            }),
            ..SubjectAltNameMatcher::default()
        }],
        ..CertificateValidationContext::default()
    };
    let context = UpstreamTlsContext {
        common_tls_context: Some(CommonTlsContext {
            tls_certificates: pair.into_iter().collect(),
            validation_context_type: Some(ValidationContextType::ValidationContext(validation)),
            alpn_protocols: vec!["h2".to_owned()],
            ..CommonTlsContext::default()
        }),
        sni: wish.sni.clone().unwrap_or_default(),
        ..UpstreamTlsContext::default()
    };
    Ok(Some(TransportSocket {
        name: "envoy.transport_sockets.tls".to_owned(),
        config_type: Some(ConfigType::TypedConfig(pack(&context))),
    }))
}

fn file(path: &str) -> DataSource {
    DataSource {
        specifier: Some(Specifier::Filename(path.to_owned())),
        ..DataSource::default()
    }
}
