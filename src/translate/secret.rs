//! What Envoys get by name for TLS: certificates with their keys, and CAs.

use std::sync::Arc;

use envoy_types::pb::envoy::config::core::v3::DataSource;
use envoy_types::pb::envoy::config::core::v3::data_source::Specifier;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::common_tls_context::ValidationContextType;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::secret::Type;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::{
    CertificateValidationContext, CommonTlsContext, DownstreamTlsContext, SdsSecretConfig,
    Secret as EnvoySecret, TlsCertificate,
};
use envoy_types::pb::google::protobuf::{Any, BoolValue};
use prost::Message as _;

use super::any::pack;
use super::cluster::ads;
use crate::model::{ListenerTls, Network, Secret};
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

/// What a listener's connections begin with.
pub(super) fn downstream(tls: &ListenerTls) -> Any {
    let certificates = tls.certificates.iter().map(|name| named(name));
    let ca = tls.client_ca.as_ref();
    pack(&DownstreamTlsContext {
        common_tls_context: Some(CommonTlsContext {
            tls_certificate_sds_secret_configs: certificates.collect(),
            alpn_protocols: ["h2", "http/1.1"].map(str::to_owned).to_vec(),
            validation_context_type: ca.map(|name| {
                ValidationContextType::ValidationContextSdsSecretConfig(named(&Secret::ca_name(name)))
            }),
            ..CommonTlsContext::default()
        }),
        require_client_certificate: ca.map(|_| BoolValue { value: true }),
        ..DownstreamTlsContext::default()
    })
}
