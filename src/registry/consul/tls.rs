//! TLS towards an agent: whom we trust, and who we are. The files are read again at each check; files that cannot be used
//! change nothing. Never checks by itself.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use hyper_rustls::ConfigBuilderExt as _;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;

use super::error::Failure;
use crate::files::{PemError, PemFile, Steady, fingerprint, seen};

/// Where its parts are. The default: the machine's own roots, and no certificate of ours.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// PEM; who signs the agent's certificate, instead of the machine's own roots.
    pub ca: Option<PathBuf>,
    /// PEM chain and key: who we are.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// The name in the agent's certificate, where it is not that of the address.
    pub server_name: Option<String>,
}

#[derive(Debug)]
pub(super) struct Tls {
    files: TlsFiles,
    pub(super) server_name: Option<ServerName<'static>>,
    current: ArcSwap<Current>,
    steady: Mutex<Steady>,
}

/// What new connections use.
#[derive(Debug)]
pub(super) struct Current {
    /// Grows with each change of the files.
    pub(super) generation: u64,
    pub(super) config: ClientConfig,
}

/// What the files held at one time.
struct Contents {
    ca: Option<PemFile>,
    identity: Option<(PemFile, PemFile)>,
}

impl Tls {
    pub(super) fn load(files: TlsFiles) -> Result<Self, Failure> {
        let name = |name: String| ServerName::try_from(name.clone()).map_err(|_| Failure::ServerName(name));
        let contents = Contents::read(&files)?;
        let config = contents.config()?;
        Ok(Self {
            server_name: files.server_name.clone().map(name).transpose()?,
            steady: Mutex::new(Steady::new(contents.fingerprint())),
            current: ArcSwap::from_pointee(Current {
                generation: 0,
                config,
            }),
            files,
        })
    }

    pub(super) fn is_anonymous(&self) -> bool {
        self.files.identity.is_none()
    }

    pub(super) fn current(&self) -> Arc<Current> {
        self.current.load_full()
    }

    /// Reads the files. `None`: nothing new, or not yet certain. Blocks on a disk.
    pub(super) fn check(&self) -> Option<Result<(), Failure>> {
        let contents = Contents::read(&self.files);
        let seen = seen(&contents, Contents::fingerprint);
        let mut steady = self.steady.lock().unwrap_or_else(PoisonError::into_inner);
        if !steady.is_news(seen) {
            return None;
        }
        let fresh = contents
            .map_err(Failure::from)
            .and_then(|contents| contents.config());
        Some(fresh.map(|config| {
            let generation = self.current.load().generation + 1;
            self.current.store(Arc::new(Current { generation, config }));
        }))
    }
}

impl Contents {
    fn read(files: &TlsFiles) -> Result<Self, PemError> {
        let identity =
            |(certificate, key): &(PathBuf, PathBuf)| Ok((PemFile::read(certificate)?, PemFile::read(key)?));
        Ok(Self {
            ca: files.ca.as_deref().map(PemFile::read).transpose()?,
            identity: files.identity.as_ref().map(identity).transpose()?,
        })
    }

    fn fingerprint(&self) -> u128 {
        let identity = self
            .identity
            .iter()
            .flat_map(|(certificate, key)| [certificate, key]);
        fingerprint(self.ca.iter().chain(identity))
    }

    fn config(&self) -> Result<ClientConfig, Failure> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        let builder = match &self.ca {
            Some(ca) => builder.with_root_certificates(ca.roots()?),
            None => builder.with_native_roots().map_err(Failure::Roots)?,
        };
        let Some((certificate, key)) = &self.identity else {
            return Ok(builder.with_no_client_auth());
        };
        let pair = |source| PemError::Pair {
            certificate: certificate.path().to_owned(),
            key: key.path().to_owned(),
            source,
        };
        Ok(builder
            .with_client_auth_cert(certificate.certificates()?, key.key()?)
            .map_err(pair)?)
    }
}
