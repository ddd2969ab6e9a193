//! The discovery port's certificate, key and client CA, read again when the files change.
//! New connections use the new ones. It never cuts a connection that stands, and never
//! gives up what works for files that do not.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::{NoServerSessionStorage, VerifierBuilderError, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};
use tokio_util::sync::CancellationToken;
use xxhash_rust::xxh3::xxh3_128;

use crate::clock;
use crate::metrics::Metrics;

/// How often the files are looked at. Contents are compared, so links that are swapped
/// (as in Kubernetes) and shared file systems need no notice of the operating system.
const EVERY: Duration = Duration::from_secs(1);

/// Where they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    /// The chain, PEM, leaf first.
    pub certificate: PathBuf,
    /// Its key, PEM.
    pub key: PathBuf,
    /// Who signs clients; with it a client must show a certificate.
    pub client_ca: Option<PathBuf>,
}

/// Why they cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file is not there, or not for us.
    #[error("reading {}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file holds something else.
    #[error("{} holds no {what} in PEM", path.display())]
    Pem {
        /// Which.
        path: PathBuf,
        /// What was looked for.
        what: &'static str,
        /// Why.
        source: rustls::pki_types::pem::Error,
    },
    /// A CA's certificate is none.
    #[error("a certificate in {} cannot sign clients", path.display())]
    Ca {
        /// Which.
        path: PathBuf,
        /// Why.
        source: rustls::Error,
    },
    /// The client CA cannot be used.
    #[error("the client CA {} cannot be used", path.display())]
    Verifier {
        /// Which.
        path: PathBuf,
        /// Why.
        source: VerifierBuilderError,
    },
    /// Its time has not come, or is over.
    #[error("the certificate {} {problem}", path.display())]
    Time {
        /// Which.
        path: PathBuf,
        /// What of it.
        problem: String,
        /// Seconds since 1970 from which it can be used; `None`: never again.
        from: Option<u64>,
    },
    /// Certificate and key.
    #[error("the certificate {} and the key {} cannot be used together", certificate.display(), key.display())]
    Pair {
        /// The chain.
        certificate: PathBuf,
        /// The key.
        key: PathBuf,
        /// Why.
        source: rustls::Error,
    },
}

/// What new connections use.
#[derive(Debug)]
pub struct Tls {
    files: Files,
    every: Duration,
    current: ArcSwap<ServerConfig>,
    /// What `load` saw.
    first: u128,
}

/// The files' bytes at one time.
struct Contents {
    certificate: Vec<u8>,
    key: Vec<u8>,
    client_ca: Option<Vec<u8>>,
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// [`TlsError`]
    pub fn load(files: Files) -> Result<Self, TlsError> {
        let contents = read(&files, |path| std::fs::read(path))?;
        // There is none that would be better: told, and used all the same.
        if let Err(error) = in_time(&files, &contents, clock::unix_seconds()) {
            tracing::error!(%error, "clients will not accept it");
        }
        Ok(Self {
            every: EVERY,
            current: ArcSwap::from_pointee(build(&files, &contents)?),
            first: contents.hash(),
            files,
        })
    }

    /// With another time between two looks.
    #[must_use]
    pub const fn every(mut self, every: Duration) -> Self {
        self.every = every;
        self
    }

    /// For a connection that begins now.
    pub(super) fn current(&self) -> Arc<ServerConfig> {
        self.current.load_full()
    }

    /// Follows the files until `stop`.
    pub(super) async fn follow(&self, metrics: &Metrics, stop: &CancellationToken) {
        let (mut tried, mut before) = (self.first, self.first);
        // When files that came too early are to be tried again.
        let mut from: Option<u64> = None;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(self.every) => {}
            }
            let files = self.files.clone();
            let looked = tokio::task::spawn_blocking(move || {
                let contents = read(&files, |path| std::fs::read(path));
                // What cannot be read is a content of its own: told once.
                let hash = contents
                    .as_ref()
                    .map_or_else(|e| xxh3_128(e.to_string().as_bytes()), Contents::hash);
                (contents, hash)
            });
            let Ok((contents, hash)) = looked.await else {
                continue;
            };
            // Twice the same: a certificate and its key are written one after the other.
            let steady = std::mem::replace(&mut before, hash) == hash;
            let now = clock::unix_seconds();
            let known = hash == tried && from.is_none_or(|from| now < from);
            if known || !steady {
                continue;
            }
            tried = hash;
            let usable = contents.and_then(|contents| {
                in_time(&self.files, &contents, now)?;
                build(&self.files, &contents)
            });
            from = match &usable {
                Err(TlsError::Time { from, .. }) => *from,
                _ => None,
            };
            match usable {
                Ok(config) => {
                    self.current.store(Arc::new(config));
                    metrics.tls_reloads.inc();
                    tracing::info!(
                        certificate = %self.files.certificate.display(),
                        "new certificates: new connections use them"
                    );
                }
                Err(error) => {
                    metrics.tls_reload_failures.inc();
                    tracing::error!(
                        %error,
                        reason = std::error::Error::source(&error).map(tracing::field::display),
                        "new certificates cannot be used: the old ones stay"
                    );
                }
            }
        }
    }
}

impl Contents {
    fn hash(&self) -> u128 {
        let parts = [Some(&self.certificate), Some(&self.key), self.client_ca.as_ref()];
        let hashes: Vec<u8> = parts
            .into_iter()
            .flatten()
            .flat_map(|part| xxh3_128(part).to_le_bytes())
            .collect();
        xxh3_128(&hashes)
    }
}

fn read(files: &Files, read: impl Fn(&Path) -> io::Result<Vec<u8>>) -> Result<Contents, TlsError> {
    let read = |path: &PathBuf| {
        read(path).map_err(|source| TlsError::Read {
            path: path.clone(),
            source,
        })
    };
    Ok(Contents {
        certificate: read(&files.certificate)?,
        key: read(&files.key)?,
        client_ca: files.client_ca.as_ref().map(read).transpose()?,
    })
}

fn certificates(path: &Path, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let wrong = |source| TlsError::Pem {
        path: path.to_owned(),
        what: "certificate",
        source,
    };
    let found: Vec<_> = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(wrong)?;
    if found.is_empty() {
        return Err(wrong(rustls::pki_types::pem::Error::NoItemsFound));
    }
    Ok(found)
}

/// Refuses a certificate that no client would accept now.
fn in_time(files: &Files, contents: &Contents, now: u64) -> Result<(), TlsError> {
    let chain = certificates(&files.certificate, &contents.certificate)?;
    // Whether it can be read at all is said by `build`.
    let Some(Ok(leaf)) = chain.first().map(webpki::EndEntityCert::try_from) else {
        return Ok(());
    };
    let time = UnixTime::since_unix_epoch(Duration::from_secs(now));
    // Without anybody to trust this always fails, but first of all for the time.
    let judged = leaf.verify_for_usage(&[], &[], &[], time, webpki::KeyUsage::server_auth(), None, None);
    let (problem, from) = match judged.err() {
        Some(webpki::Error::CertExpired { not_after, .. }) => {
            let ago = now.saturating_sub(not_after.as_secs());
            (format!("has expired {ago} s ago"), None)
        }
        Some(webpki::Error::CertNotValidYet { not_before, .. }) => {
            let left = not_before.as_secs().saturating_sub(now);
            (format!("is valid only in {left} s"), Some(not_before.as_secs()))
        }
        _ => return Ok(()),
    };
    Err(TlsError::Time {
        path: files.certificate.clone(),
        problem,
        from,
    })
}

fn build(files: &Files, contents: &Contents) -> Result<ServerConfig, TlsError> {
    let chain = certificates(&files.certificate, &contents.certificate)?;
    let key = PrivateKeyDer::from_pem_slice(&contents.key).map_err(|source| TlsError::Pem {
        path: files.key.clone(),
        what: "private key",
        source,
    })?;
    let pair = |source| TlsError::Pair {
        certificate: files.certificate.clone(),
        key: files.key.clone(),
        source,
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(pair)?;
    let builder = match files.client_ca.as_ref().zip(contents.client_ca.as_ref()) {
        None => builder.with_no_client_auth(),
        Some((path, pem)) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates(path, pem)? {
                roots.add(certificate).map_err(|source| TlsError::Ca {
                    path: path.clone(),
                    source,
                })?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            builder.with_client_cert_verifier(verifier.build().map_err(|source| TlsError::Verifier {
                path: path.clone(),
                source,
            })?)
        }
    };
    let mut config = builder.with_single_cert(chain, key).map_err(pair)?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    // No resumption: each connection shows its certificate anew, to the CA of now. Connections
    // here live for days, so nothing is gained by it either.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}
