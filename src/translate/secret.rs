//! What Envoys get by name for TLS: certificates with their keys, and CAs.

use std::sync::Arc;

use envoy_types::pb::envoy::config::core::v3::DataSource;
use envoy_types::pb::envoy::config::core::v3::data_source::Specifier;
use envoy_types::pb::envoy::extensions::transport_sockets::quic::v3::QuicDownstreamTransport;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::common_tls_context::CombinedCertificateValidationContext;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::common_tls_context::ValidationContextType;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::secret::Type;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::subject_alt_name_matcher::SanType;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::tls_parameters::TlsProtocol;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::{
    CertificateValidationContext, CommonTlsContext, DownstreamTlsContext, SdsSecretConfig,
    Secret as EnvoySecret, SubjectAltNameMatcher, TlsCertificate, TlsParameters, UpstreamTlsContext,
};
use envoy_types::pb::envoy::r#type::matcher::v3::StringMatcher;
use envoy_types::pb::envoy::r#type::matcher::v3::string_matcher::MatchPattern;
use envoy_types::pb::google::protobuf::{Any, BoolValue};
use prost::Message as _;

use super::any::pack;
use super::cluster::ads;
use crate::model::cluster::Tls;
use crate::model::{ClusterSettings, ListenerTls, Network, Protocol, Secret};
use crate::xds::{Draft, Kind, Reach};

/// The resources of one secret.
pub(super) fn drafts(name: &Arc<str>, secret: &Secret, network: &Network) -> Vec<Draft> {
    let draft = |name: Arc<str>, of| Draft {
        kind: Kind::Secret,
        body: EnvoySecret {
            name: name.to_string(),
            r#type: Some(of),
        }
        .encode_to_vec(),
        needs: Vec::new(),
        reach: reach(network, &name),
        name,
        local: None,
    };
    let identity = secret.identity.iter().map(|(chain, key)| {
        let certificate = Type::TlsCertificate(TlsCertificate {
            certificate_chain: Some(inline(chain)),
            private_key: Some(inline(key)),
            ..TlsCertificate::default()
        });
        draft(name.clone(), certificate)
    });
    let ca = secret.ca.iter().map(|ca| {
        let context = Type::ValidationContext(CertificateValidationContext {
            trusted_ca: Some(inline(ca)),
            ..CertificateValidationContext::default()
        });
        draft(Secret::ca_name(name).into(), context)
    });
    identity.chain(ca).collect()
}

/// The names of these resources.
pub(super) fn names(name: &Arc<str>, secret: &Secret) -> Vec<Arc<str>> {
    let identity = secret.identity.as_ref().map(|_| name.clone());
    let ca = secret.ca.as_ref().map(|_| Secret::ca_name(name).into());
    identity.into_iter().chain(ca).collect()
}

/// A certificate that only listeners of some fleets show is for these alone.
fn reach(network: &Network, name: &str) -> Reach {
    let shows = |tls: &ListenerTls| tls.certificates.iter().any(|certificate| **certificate == *name);
    let listeners = network
        .listeners
        .values()
        .filter(|l| l.tls.as_ref().is_some_and(shows));
    let fleets: Vec<&[Arc<str>]> = listeners.map(|listener| &listener.fleets[..]).collect();
    if fleets.is_empty() || fleets.iter().any(|fleets| fleets.is_empty()) {
        return Reach::All;
    }
    let mut all = fleets.concat();
    all.sort();
    all.dedup();
    Reach::Fleets(all.into())
}

fn inline(bytes: &[u8]) -> DataSource {
    DataSource {
        specifier: Some(Specifier::InlineBytes(bytes.to_vec())),
        ..DataSource::default()
    }
}

/// "The secret of this name, from the same stream as everything else."
pub(super) fn named(name: &str) -> SdsSecretConfig {
    SdsSecretConfig {
        name: name.to_owned(),
        sds_config: Some(ads()),
    }
}

/// Whom Envoy's own machine trusts, where Debian, and Envoy's images, have it.
const SYSTEM_CA: &str = "/etc/ssl/certs/ca-certificates.crt";

/// What connections to the servers of a service begin with. What is unknown by its name is never sent: requests
/// fail, and go to nobody without a check.
pub(super) fn upstream(service: &str, tls: &Tls, settings: &ClusterSettings) -> UpstreamTlsContext {
    let (sni, san) = names_of(service, tls);
    let wanted = CertificateValidationContext {
        match_typed_subject_alt_names: vec![typed(san)],
        ..CertificateValidationContext::default()
    };
    let validation = match &tls.name {
        Some(name) => {
            ValidationContextType::CombinedValidationContext(CombinedCertificateValidationContext {
                default_validation_context: Some(wanted),
                validation_context_sds_secret_config: Some(named(&Secret::ca_name(name))),
                ..CombinedCertificateValidationContext::default()
            })
        }
        None => ValidationContextType::ValidationContext(CertificateValidationContext {
            trusted_ca: Some(DataSource {
                specifier: Some(Specifier::Filename(SYSTEM_CA.to_owned())),
                ..DataSource::default()
            }),
            ..wanted
        }),
    };
    let shown = tls.name.as_ref().filter(|_| settings.shows_certificate);
    let alpn = match settings.protocol {
        Protocol::Tcp => Vec::new(),
        Protocol::Http1 | Protocol::Https => vec!["http/1.1".to_owned()],
        _ => vec!["h2".to_owned()],
    };
    UpstreamTlsContext {
        common_tls_context: Some(CommonTlsContext {
            // As a client Envoy offers 1.2 at most, unless this says otherwise.
            tls_params: Some(TlsParameters {
                tls_maximum_protocol_version: TlsProtocol::TlSv13 as i32,
                ..TlsParameters::default()
            }),
            tls_certificate_sds_secret_configs: shown.map(|name| named(name)).into_iter().collect(),
            alpn_protocols: alpn,
            validation_context_type: Some(validation),
            ..CommonTlsContext::default()
        }),
        sni: sni.to_owned(),
        ..UpstreamTlsContext::default()
    }
}

/// The host that clients ask for, and the name that the certificate must have.
pub(super) fn names_of<'a>(service: &'a str, tls: &'a Tls) -> (&'a str, &'a str) {
    let sni = tls.sni.as_deref().unwrap_or(service);
    (sni, tls.san.as_deref().unwrap_or(sni))
}

/// This name in a certificate, as what it is.
pub(super) fn typed(san: &str) -> SubjectAltNameMatcher {
    let kind = if is_uri(san) { SanType::Uri } else { SanType::Dns };
    SubjectAltNameMatcher {
        san_type: kind as i32,
        matcher: Some(exact(san.to_owned())),
        ..SubjectAltNameMatcher::default()
    }
}

/// Else it is a host.
pub(super) fn is_uri(san: &str) -> bool {
    san.contains("://")
}

/// Nothing but this.
pub(super) fn exact(text: String) -> StringMatcher {
    StringMatcher {
        match_pattern: Some(MatchPattern::Exact(text)),
        ..StringMatcher::default()
    }
}

/// What a listener's connections with requests begin with.
pub(super) fn downstream(tls: &ListenerTls) -> Any {
    shown(tls, &["h2", "http/1.1"])
}

/// What those begin with in which Envoy sees no requests: it knows nothing of the protocols that the server speaks.
pub(super) fn downstream_of_connections(tls: &ListenerTls) -> Any {
    shown(tls, &[])
}

/// What connections of HTTP/3 begin with.
pub(super) fn by_quic(tls: &ListenerTls) -> Any {
    pack(&QuicDownstreamTransport {
        downstream_tls_context: Some(context(tls, &["h3"])),
        ..QuicDownstreamTransport::default()
    })
}

fn shown(tls: &ListenerTls, protocols: &[&str]) -> Any {
    pack(&context(tls, protocols))
}

fn context(tls: &ListenerTls, protocols: &[&str]) -> DownstreamTlsContext {
    let certificates = tls.certificates.iter().map(|name| named(name));
    let ca = tls.client_ca.as_ref();
    DownstreamTlsContext {
        common_tls_context: Some(CommonTlsContext {
            tls_certificate_sds_secret_configs: certificates.collect(),
            alpn_protocols: protocols.iter().map(|p| (*p).to_owned()).collect(),
            validation_context_type: ca.map(|name| {
                ValidationContextType::ValidationContextSdsSecretConfig(named(&Secret::ca_name(name)))
            }),
            ..CommonTlsContext::default()
        }),
        require_client_certificate: ca.map(|_| BoolValue { value: true }),
        ..DownstreamTlsContext::default()
    }
}
