//! Which client certificates are accepted: signed by the client CA, and on none of its revocation lists.
//! Never reads a file; who may be which node is `identity`'s matter.

use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use webpki::{CertRevocationList, OwnedCertRevocationList};

use super::error::TlsError;
use crate::files::PemFile;

/// What checks client certificates. With `crl` a certificate counts only if a list of its issuer is there, for each
/// certificate of the chain: whether another one is revoked cannot be known. A list beyond its `nextUpdate` goes on
/// counting: who forgets to renew it must not lock out every client.
pub(super) fn verifier(
    ca: &PemFile,
    crl: Option<&PemFile>,
    provider: Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let roots = Arc::new(ca.roots()?);
    let mut builder = WebPkiClientVerifier::builder_with_provider(roots.clone(), provider);
    let Some(crl) = crl else {
        return builder.build().map_err(|source| TlsError::Verifier {
            path: ca.path().to_owned(),
            source,
        });
    };
    let lists = crl.revocation_lists()?;
    let readable = lists
        .iter()
        .filter_map(|list| OwnedCertRevocationList::from_der(list).ok());
    let issuers: Vec<Vec<u8>> = readable
        .map(|list| CertRevocationList::from(list).issuer().to_vec())
        .collect();
    builder = builder.with_crls(lists);
    let verifier = builder.build().map_err(|source| TlsError::Crl {
        path: crl.path().to_owned(),
        source,
    })?;
    let has_list = |subject: &[u8]| issuers.iter().any(|issuer| issuer == subject);
    match roots.roots.iter().position(|root| !has_list(&root.subject)) {
        None => Ok(verifier),
        Some(index) => Err(TlsError::NoCrl {
            path: crl.path().to_owned(),
            client_ca: ca.path().to_owned(),
            number: index + 1,
        }),
    }
}
