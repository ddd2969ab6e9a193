//! Certificates, keys and revocation lists in PEM files: read, checked and compared. Each error names its file.
//! Never decides what they are good for, nor when to look at them again.

use std::io;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use xxhash_rust::xxh3::xxh3_128;

use super::read::read_small;

/// Why a file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PemError {
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
    /// A file holds no keys of an issuer of tokens.
    #[error("{} holds no key set that Envoy can use: {why}", path.display())]
    Jwks {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        why: &'static str,
    },
    /// A CA's certificate is none.
    #[error("a certificate in {} cannot sign others", path.display())]
    Ca {
        /// Which.
        path: PathBuf,
        /// Why.
        source: rustls::Error,
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

/// The bytes of one file at one time.
#[derive(Clone)]
pub struct PemFile {
    path: PathBuf,
    bytes: Vec<u8>,
}

impl PemFile {
    /// Reads it, whatever it holds.
    ///
    /// # Errors
    /// [`PemError::Read`]
    pub fn read(path: &Path) -> Result<Self, PemError> {
        let path = path.to_owned();
        match read_small(&path) {
            Ok(bytes) => Ok(Self { path, bytes }),
            Err(source) => Err(PemError::Read { path, source }),
        }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What it holds.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// A chain, at least one.
    ///
    /// # Errors
    /// [`PemError::Pem`]
    pub fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, PemError> {
        self.all("certificate")
    }

    /// Revocation lists, at least one.
    ///
    /// # Errors
    /// [`PemError::Pem`]
    pub fn revocation_lists(&self) -> Result<Vec<CertificateRevocationListDer<'static>>, PemError> {
        self.all("certificate revocation list")
    }

    fn all<T: PemObject>(&self, what: &'static str) -> Result<Vec<T>, PemError> {
        let found: Result<Vec<T>, _> = T::pem_slice_iter(&self.bytes).collect();
        match found {
            Ok(found) if found.is_empty() => {
                Err(self.holds_no(what, rustls::pki_types::pem::Error::NoItemsFound))
            }
            found => found.map_err(|source| self.holds_no(what, source)),
        }
    }

    /// Its certificates as those to be trusted, at least one.
    ///
    /// # Errors
    /// [`PemError::Pem`], [`PemError::Ca`]
    pub fn roots(&self) -> Result<RootCertStore, PemError> {
        let mut roots = RootCertStore::empty();
        for certificate in self.certificates()? {
            roots.add(certificate).map_err(|source| PemError::Ca {
                path: self.path.clone(),
                source,
            })?;
        }
        Ok(roots)
    }

    /// The first private key.
    ///
    /// # Errors
    /// [`PemError::Pem`]
    pub fn key(&self) -> Result<PrivateKeyDer<'static>, PemError> {
        PrivateKeyDer::from_pem_slice(&self.bytes).map_err(|source| self.holds_no("private key", source))
    }

    /// Its certificates in PEM, and nothing else that stands in the file: a key beside them is nobody's.
    ///
    /// # Errors
    /// [`PemError::Pem`]
    pub fn chain_only(&self) -> Result<Vec<u8>, PemError> {
        let chain = self.certificates()?;
        Ok(chain.iter().flat_map(|der| block("CERTIFICATE", der)).collect())
    }

    /// The first private key in PEM, and nothing else.
    ///
    /// # Errors
    /// [`PemError::Pem`]
    pub fn key_only(&self) -> Result<Vec<u8>, PemError> {
        let key = self.key()?;
        let label = match &key {
            PrivateKeyDer::Pkcs1(_) => "RSA PRIVATE KEY",
            PrivateKeyDer::Sec1(_) => "EC PRIVATE KEY",
            _ => "PRIVATE KEY",
        };
        Ok(block(label, key.secret_der()))
    }

    fn holds_no(&self, what: &'static str, source: rustls::pki_types::pem::Error) -> PemError {
        PemError::Pem {
            path: self.path.clone(),
            what,
            source,
        }
    }
}

/// One block of PEM.
fn block(label: &str, der: &[u8]) -> Vec<u8> {
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    let mut block = format!("-----BEGIN {label}-----\n").into_bytes();
    for line in text.as_bytes().chunks(64) {
        block.extend_from_slice(line);
        block.push(b'\n');
    }
    block.extend_from_slice(format!("-----END {label}-----\n").as_bytes());
    block
}

/// Whether a chain and a key belong together.
///
/// # Errors
/// [`PemError::Pem`], [`PemError::Pair`]
pub fn usable_pair(certificate: &PemFile, key: &PemFile) -> Result<(), PemError> {
    let pair = |source| PemError::Pair {
        certificate: certificate.path.clone(),
        key: key.path.clone(),
        source,
    };
    let signing = rustls::crypto::ring::sign::any_supported_type(&key.key()?).map_err(pair)?;
    CertifiedKey::new(certificate.certificates()?, signing)
        .keys_match()
        .map_err(pair)
}

/// What some files hold in a number: to be compared with another time's.
#[must_use]
pub fn fingerprint<'a>(files: impl IntoIterator<Item = &'a PemFile>) -> u128 {
    let hashes = files
        .into_iter()
        .flat_map(|file| xxh3_128(&file.bytes).to_le_bytes());
    xxh3_128(&hashes.collect::<Vec<u8>>())
}

/// The same of files that were read, or of the reason why one cannot be.
#[must_use]
pub fn seen<T>(contents: &Result<T, PemError>, fingerprint: impl FnOnce(&T) -> u128) -> u128 {
    match contents {
        Ok(contents) => fingerprint(contents),
        // With its cause: a file that is gone and one that may not be read are two things to say.
        Err(error) => {
            let cause = std::error::Error::source(error).map(ToString::to_string);
            xxh3_128(format!("{error}: {}", cause.unwrap_or_default()).as_bytes())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_file_with_both_the_certificate_and_the_key_are_taken_apart() {
        let pair = rcgen::generate_simple_self_signed(["web.test".to_owned()]).unwrap();
        let (certificate, key) = (pair.cert.pem(), pair.signing_key.serialize_pem());
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("both.pem");
        std::fs::write(&path, format!("{key}{certificate}")).unwrap();
        let file = PemFile::read(&path).unwrap();
        usable_pair(&file, &file).unwrap();
        let lines = |bytes: Vec<u8>| -> Vec<String> {
            let text = String::from_utf8(bytes).unwrap();
            text.lines().map(str::to_owned).collect()
        };
        let of = |text: &str| -> Vec<String> { text.lines().map(str::to_owned).collect() };
        assert_eq!(lines(file.chain_only().unwrap()), of(&certificate));
        assert_eq!(lines(file.key_only().unwrap()), of(&key));
    }
}
