//! What is wrong with the files of TLS.

use std::path::PathBuf;

use rustls::server::VerifierBuilderError;

use crate::files::PemError;

/// Why they cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// One of the files.
    #[error(transparent)]
    File(#[from] PemError),
    /// The client CA cannot be used.
    #[error("the client CA {} cannot be used", path.display())]
    Verifier {
        /// Which.
        path: PathBuf,
        /// Why.
        source: VerifierBuilderError,
    },
    /// The revocation lists cannot be used.
    #[error("the revocation list {} cannot be used", path.display())]
    Crl {
        /// Which.
        path: PathBuf,
        /// Why.
        source: VerifierBuilderError,
    },
    /// No client of this CA could be let in.
    #[error(
        "{} holds no revocation list of the CA number {number} in {}, so that each of its clients would be refused",
        path.display(), client_ca.display()
    )]
    NoCrl {
        /// Where the lists are.
        path: PathBuf,
        /// Where the CA is.
        client_ca: PathBuf,
        /// Which it is there, from 1.
        number: usize,
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
}
