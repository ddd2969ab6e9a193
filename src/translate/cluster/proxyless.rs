//! The cluster of a service whose servers speak TLS, as gRPC's own clients get it. They know neither SDS nor
//! `tls_params`, and refuse a cluster that has them: certificates are files on their own machine, which their bootstrap
//! names (`certificate_providers`, gRFC A29). What each of the five makes of it was measured: docs/clients.md.

use std::sync::Arc;

use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::common_tls_context::ValidationContextType;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::{
    CertificateProviderPluginInstance, CertificateValidationContext, CommonTlsContext, UpstreamTlsContext,
};
use envoy_types::pb::envoy::r#type::matcher::v3::StringMatcher;

use super::{connection, draft, served};
use crate::model::ClusterSettings;
use crate::model::cluster::Tls;
use crate::translate::secret::{exact, is_uri, names_of, typed};
use crate::xds::Draft;

/// The cluster, for one kind of client.
#[must_use]
pub fn cluster(name: &Arc<str>, settings: &ClusterSettings) -> Draft {
    let socket = |tls: &Arc<Tls>| {
        connection::socket(
            "tls",
            &context(settings.servers(name), tls, settings.shows_certificate),
        )
    };
    let cluster = Cluster {
        transport_socket: settings.declared.tls.as_ref().map(socket),
        ..served(name, settings)
    };
    draft(name, &cluster)
}

/// The CA is that of the client's bootstrap by the same name as in bridge.toml.
#[expect(
    deprecated,
    reason = "all but tonic-xds read no other field, and would take any name"
)]
fn context(service: &str, tls: &Tls, shows_certificate: bool) -> UpstreamTlsContext {
    let (sni, san) = names_of(service, tls);
    let provider = || CertificateProviderPluginInstance {
        instance_name: tls.provider().to_owned(),
        ..CertificateProviderPluginInstance::default()
    };
    let validation = CertificateValidationContext {
        ca_certificate_provider_instance: Some(provider()),
        match_subject_alt_names: untyped(san),
        // tonic-xds prefers it, since it takes no wildcard by the other.
        match_typed_subject_alt_names: vec![typed(san)],
        ..CertificateValidationContext::default()
    };
    UpstreamTlsContext {
        common_tls_context: Some(CommonTlsContext {
            tls_certificate_provider_instance: shows_certificate.then(provider),
            validation_context_type: Some(ValidationContextType::ValidationContext(validation)),
            ..CommonTlsContext::default()
        }),
        sni: sni.to_owned(),
        ..UpstreamTlsContext::default()
    }
}

/// One of these is enough. Envoy takes a certificate of `*.example.com` for `api.example.com`, and so do Go, the C core
/// and Node; Java compares letters.
fn untyped(san: &str) -> Vec<StringMatcher> {
    let is_name = !is_uri(san) && san.parse::<std::net::IpAddr>().is_err();
    let above = san
        .split_once('.')
        .filter(|(_, above)| is_name && above.contains('.'));
    let wildcard = above.map(|(_, above)| format!("*.{above}"));
    [san.to_owned()].into_iter().chain(wildcard).map(exact).collect()
}
