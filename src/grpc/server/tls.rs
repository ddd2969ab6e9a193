//! The discovery port's certificate, key, client CA and revocation lists, read again when the files change.
//! New connections use the new ones. It never cuts a connection that stands, and never
//! gives up what works for files that do not.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::pki_types::UnixTime;
use rustls::server::NoServerSessionStorage;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::clients;
use super::error::TlsError;
use crate::clock;
use crate::files::{PemError, PemFile, Steady, fingerprint, seen};
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
    /// Which of the client CA's certificates are revoked; without it none is.
    pub crl: Option<PathBuf>,
}

/// What new connections use.
#[derive(Debug)]
pub struct Tls {
    files: Files,
    every: Duration,
    current: ArcSwap<ServerConfig>,
    /// What `load` saw.
    first: Steady,
    /// What an operator should know of the certificate in use.
    note: watch::Sender<Option<String>>,
}

/// The files at one time.
struct Contents {
    certificate: PemFile,
    key: PemFile,
    client_ca: Option<PemFile>,
    crl: Option<PemFile>,
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// [`TlsError`]
    pub fn load(files: Files) -> Result<Self, TlsError> {
        let contents = Contents::read(&files)?;
        let tls = Self {
            every: EVERY,
            current: ArcSwap::from_pointee(contents.config()?),
            first: Steady::new(contents.fingerprint()),
            note: watch::Sender::new(None),
            files,
        };
        // There is none that would be better: reported, and used all the same.
        tls.note_time(&contents, clock::unix_seconds());
        Ok(tls)
    }

    /// What an operator should know of the certificate in use; it changes with time and with the files.
    #[must_use]
    pub fn note(&self) -> watch::Receiver<Option<String>> {
        self.note.subscribe()
    }

    /// Notes that the certificate in use is not valid now, or no longer not.
    fn note_time(&self, contents: &Contents, now: u64) {
        let Err(error) = contents.in_time(now) else {
            self.note.send_if_modified(|note| note.take().is_some());
            return;
        };
        if self.note.borrow().is_none() {
            tracing::error!(%error, "clients will not accept it");
        }
        self.note
            .send_replace(Some(format!("{error}: clients will not accept it")));
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
        let mut steady = self.first;
        let mut used = steady.tried();
        // When files that came too early are to be tried again.
        let mut from: Option<u64> = None;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(self.every) => {}
            }
            let files = self.files.clone();
            let looked = tokio::task::spawn_blocking(move || Contents::read(&files));
            let Ok(contents) = looked.await else {
                continue;
            };
            // What cannot be read is a content of its own: reported once.
            let seen = seen(&contents, Contents::fingerprint);
            let now = clock::unix_seconds();
            let due = from.is_some_and(|from| now >= from);
            let news = steady.is_news(seen) || (due && steady.was_tried(seen));
            if !news {
                if let Some(contents) = contents.ok().filter(|_| seen == used) {
                    self.note_time(&contents, now);
                }
                continue;
            }
            let usable = contents.map_err(TlsError::from).and_then(|contents| {
                contents.in_time(now)?;
                contents.config()
            });
            from = match &usable {
                Err(TlsError::Time { from, .. }) => *from,
                _ => None,
            };
            match usable {
                Ok(config) => {
                    self.current.store(Arc::new(config));
                    used = seen;
                    self.note.send_replace(None);
                    metrics.tls_reloads.inc();
                    tracing::info!(
                        certificate = %self.files.certificate.display(),
                        "new certificates: new connections use them"
                    );
                }
                Err(error) => {
                    metrics.tls_reload_failures.inc();
                    let reason = std::error::Error::source(&error).map(ToString::to_string);
                    tracing::error!(%error, reason, "new certificates cannot be used: the old ones stay");
                    let reason = reason.map(|reason| format!(": {reason}")).unwrap_or_default();
                    let note = format!("new certificates cannot be used, the old ones stay: {error}{reason}");
                    self.note.send_replace(Some(note));
                }
            }
        }
    }
}

impl Contents {
    fn read(files: &Files) -> Result<Self, PemError> {
        Ok(Self {
            certificate: PemFile::read(&files.certificate)?,
            key: PemFile::read(&files.key)?,
            client_ca: files.client_ca.as_deref().map(PemFile::read).transpose()?,
            crl: files.crl.as_deref().map(PemFile::read).transpose()?,
        })
    }

    fn fingerprint(&self) -> u128 {
        let pair = [&self.certificate, &self.key].into_iter();
        fingerprint(pair.chain(&self.client_ca).chain(&self.crl))
    }

    /// Refuses a certificate that no client would accept now.
    fn in_time(&self, now: u64) -> Result<(), TlsError> {
        let chain = self.certificate.certificates()?;
        // Whether it can be read at all is said by `config`.
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
            path: self.certificate.path().to_owned(),
            problem,
            from,
        })
    }

    fn config(&self) -> Result<ServerConfig, TlsError> {
        let (chain, key) = (self.certificate.certificates()?, self.key.key()?);
        let pair = |source| PemError::Pair {
            certificate: self.certificate.path().to_owned(),
            key: self.key.path().to_owned(),
            source,
        };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(pair)?;
        let builder = match &self.client_ca {
            None => builder.with_no_client_auth(),
            Some(ca) => {
                builder.with_client_cert_verifier(clients::verifier(ca, self.crl.as_ref(), provider)?)
            }
        };
        let mut config = builder.with_single_cert(chain, key).map_err(pair)?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        // No resumption: each connection is verified again, with the CA of today. Connections here live for days, so
        // resumption would not save anything either.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(config)
    }
}
