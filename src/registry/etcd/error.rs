//! What can go wrong with etcd, by what must be done about it.
//!
//! Compaction, a future revision and "too large" share one code, `OutOfRange`: only the text tells
//! them apart (etcd `api/v3rpc/rpctypes/error.go`). Never holds a value of a key.

use std::path::PathBuf;

use tonic::Code;

use crate::files::PemError;
use crate::registry::budget::Exhausted;
use crate::text::causes;

/// An answer of etcd, or the lack of one.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The revision asked for is no longer kept: list again.
    #[error("the history before revision {before} is compacted")]
    Compacted {
        /// The first revision that is still there; 0 when etcd did not say.
        before: i64,
    },
    /// The member's history ends before what we know already, or is another one: a restored backup, or
    /// (harmlessly) a member that lags. List again.
    #[error(
        "the history of etcd is not the one that was seen up to revision {known}: a backup was restored, or \
         this member lags"
    )]
    Rewound {
        /// Where we are; 0 when etcd did not repeat it.
        known: i64,
    },
    /// The user has no right to what was asked for.
    #[error("etcd denies access: {reason}")]
    Denied {
        /// etcd's own words.
        reason: String,
    },
    /// The token ran out, was withdrawn or is older than a change of the rights; or none was shown: log in again.
    #[error("etcd wants a login: {reason}")]
    Expired {
        /// etcd's own words.
        reason: String,
    },
    /// The user's name or password is wrong.
    #[error("etcd refuses the login: {reason}")]
    Login {
        /// etcd's own words.
        reason: String,
    },
    /// A certificate or key of ours, or the file of those we trust.
    #[error(transparent)]
    Pem(#[from] PemError),
    /// The file of the password.
    #[error("{}: {reason}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// One of the two certificates is refused, or no certificates of the machine are there.
    #[error("TLS: {reason}")]
    Tls {
        /// What the TLS library said.
        reason: String,
        /// Whose certificate it is about.
        about: Side,
    },
    /// etcd ended the watch inside the stream (which stays open).
    #[error("etcd canceled the watch: {reason}")]
    Canceled {
        /// etcd's own words.
        reason: String,
    },
    /// A listing beyond what all reads may hold together.
    #[error("{0}")]
    Memory(Exhausted),
    /// An answer beyond what is decoded.
    #[error("an answer of etcd is too large: {reason}")]
    TooLarge {
        /// The limit that was hit.
        reason: String,
    },
    /// No answer in time.
    #[error("etcd does not answer")]
    Silent,
    /// The stream ended, as at a graceful stop.
    #[error("etcd closed the watch")]
    Closed,
    /// An answer that etcd's API does not allow.
    #[error("etcd answered wrongly: {0}")]
    Protocol(&'static str),
    /// Not reachable, without a leader, or failing.
    #[error("etcd is not available: {reason}")]
    Unavailable {
        /// What the client said, and the deepest cause of it.
        reason: String,
    },
}

/// Whose certificate a TLS error is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The member's: we do not trust who signed it, or it has run out.
    Member,
    /// The member's: it is for other names.
    Name,
    /// Ours, or that we have none.
    Ours,
}

impl From<etcd_client::Error> for Error {
    fn from(error: etcd_client::Error) -> Self {
        let status = match &error {
            etcd_client::Error::GRpcStatus(status) => status,
            // Made before anything is sent: the machine has no root certificates.
            etcd_client::Error::TransportError(inner) => {
                return Self::Tls {
                    reason: explain(&inner.to_string(), inner),
                    about: Side::Member,
                };
            }
            _ => {
                return Self::Unavailable {
                    reason: error.to_string(),
                };
            }
        };
        if let Some(tls) = tls_error(status) {
            return Self::Tls {
                reason: tls.to_string(),
                about: side(tls),
            };
        }
        let text = status.message();
        let reason = text.to_owned();
        match status.code() {
            // `etcd grpc-proxy` keeps the text and loses the code.
            Code::OutOfRange | Code::Unknown if text.contains("revision has been compacted") => {
                Self::Compacted { before: 0 }
            }
            Code::OutOfRange | Code::Unknown if text.contains("future revision") => {
                Self::Rewound { known: 0 }
            }
            Code::OutOfRange | Code::ResourceExhausted if text.contains("large") => Self::TooLarge { reason },
            // A call that etcd's own parts made in between keeps the text and loses the code.
            _ => Self::refusal(text).unwrap_or_else(|| {
                let message = match text {
                    "" => status.code().description(),
                    text => text,
                };
                let reason = explain(message, status);
                // HTTP/2 keeps only the text of what ended its connection.
                if reason.contains("received fatal alert") {
                    let about = Side::Ours;
                    return Self::Tls { reason, about };
                }
                Self::Unavailable { reason }
            }),
        }
    }
}

/// `tcp connect error: Connection refused (os error 111)`: a status prints its whole inner life otherwise.
fn explain(message: &str, first: &(dyn std::error::Error + 'static)) -> String {
    let deepest = causes(first).skip(1).last();
    match deepest
        .map(ToString::to_string)
        .filter(|cause| !message.contains(cause))
    {
        Some(cause) => format!("{message}: {cause}"),
        None => message.to_owned(),
    }
}

/// The error of TLS that is the cause. An `io::Error` hides what it was made of from `source`.
fn tls_error<'a>(first: &'a (dyn std::error::Error + 'static)) -> Option<&'a rustls::Error> {
    causes(first).find_map(|error| {
        let inside = error
            .downcast_ref::<std::io::Error>()
            .and_then(std::io::Error::get_ref);
        match inside {
            Some(inside) => inside.downcast_ref().or_else(|| tls_error(inside)),
            None => error.downcast_ref(),
        }
    })
}

const fn side(error: &rustls::Error) -> Side {
    use rustls::CertificateError::{NotValidForName, NotValidForNameContext};
    match error {
        rustls::Error::InvalidCertificate(NotValidForName | NotValidForNameContext { .. }) => Side::Name,
        rustls::Error::AlertReceived(_) => Side::Ours,
        _ => Side::Member,
    }
}

impl Error {
    /// What is meant by a refusal, of a call or inside a watch: there only the text is given, and one code,
    /// `InvalidArgument`, stands for most of them.
    pub(super) fn refusal(text: &str) -> Option<Self> {
        let any = |words: &[&str]| words.iter().any(|word| text.contains(word));
        let reason = text.to_owned();
        Some(match () {
            () if any(&["permission denied"]) => Self::Denied { reason },
            () if any(&["invalid auth token", "auth store is old", "user name is empty"]) => {
                Self::Expired { reason }
            }
            () if any(&["authentication failed", "user name not found"]) => Self::Login { reason },
            () => return None,
        })
    }

    /// Whether the way out is to list again, from any member, at once. A change too large to be decoded would stop each
    /// watch that starts before it; a listing gets past it.
    #[must_use]
    pub const fn needs_listing(&self) -> bool {
        matches!(
            self,
            Self::Compacted { .. } | Self::Rewound { .. } | Self::TooLarge { .. }
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tonic::Status;

    fn of(status: Status) -> Error {
        etcd_client::Error::GRpcStatus(status).into()
    }

    #[test]
    fn one_code_three_meanings() {
        let compacted = "etcdserver: mvcc: required revision has been compacted";
        assert!(matches!(
            of(Status::out_of_range(compacted)),
            Error::Compacted { .. }
        ));
        let future = "etcdserver: mvcc: required revision is a future revision";
        assert!(matches!(of(Status::out_of_range(future)), Error::Rewound { .. }));
        // By way of `etcd grpc-proxy`.
        assert!(matches!(of(Status::unknown(compacted)), Error::Compacted { .. }));
        assert!(matches!(of(Status::unknown(future)), Error::Rewound { .. }));
        let large = "Error, decoded message length too large: found 5 bytes, the limit is: 4 bytes";
        assert!(matches!(of(Status::out_of_range(large)), Error::TooLarge { .. }));
        assert!(of(Status::out_of_range(large)).needs_listing());
    }

    #[test]
    fn refusals_and_outages_are_distinguished() {
        use Error::{Denied, Expired, Login};
        let denied = Status::permission_denied("etcdserver: permission denied");
        assert!(matches!(of(denied), Denied { .. }));
        for text in [
            "etcdserver: invalid auth token",
            "etcdserver: revision of auth store is old",
            "etcdserver: user name is empty",
        ] {
            // Reported by a call with these codes, inside a watch without any.
            assert!(matches!(of(Status::unauthenticated(text)), Expired { .. }));
            assert!(matches!(of(Status::invalid_argument(text)), Expired { .. }));
            let inside = format!("rpc error: code = Unauthenticated desc = {text}");
            assert!(matches!(Error::refusal(&inside), Some(Expired { .. })));
        }
        let wrong = "etcdserver: authentication failed, invalid user ID or password";
        assert!(matches!(of(Status::invalid_argument(wrong)), Login { .. }));
        assert!(matches!(
            of(Status::unavailable("etcdserver: no leader")),
            Error::Unavailable { .. }
        ));
        assert!(!of(Status::unavailable("x")).needs_listing());
    }
}
