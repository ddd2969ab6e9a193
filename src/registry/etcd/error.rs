//! What can go wrong with etcd, told apart by what must be done about it.
//!
//! Compaction, a future revision and "too large" share one code, `OutOfRange`: only the text tells
//! them apart (etcd `api/v3rpc/rpctypes/error.go`). Never holds a value of a key.

use tonic::Code;

/// An answer of etcd, or the lack of one.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The revision asked for is no longer kept: list anew.
    #[error("the history before revision {before} is compacted")]
    Compacted {
        /// The first revision that is still there; 0 when etcd did not say.
        before: i64,
    },
    /// The member's history ends before what we know already: a restored backup, or (harmlessly) a
    /// member that lags. List anew.
    #[error(
        "the history of etcd ends before revision {known}, which was seen already: a backup was restored"
    )]
    Rewound {
        /// Where we are; 0 when etcd did not repeat it.
        known: i64,
    },
    /// Not allowed, or not logged in.
    #[error("etcd denies access: {reason}")]
    Denied {
        /// etcd's own words.
        reason: String,
    },
    /// etcd ended the watch inside the stream (which stays open).
    #[error("etcd canceled the watch: {reason}")]
    Canceled {
        /// etcd's own words.
        reason: String,
    },
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

impl From<etcd_client::Error> for Error {
    fn from(error: etcd_client::Error) -> Self {
        let etcd_client::Error::GRpcStatus(status) = &error else {
            return Self::Unavailable {
                reason: error.to_string(),
            };
        };
        let text = status.message();
        let reason = text.to_owned();
        match status.code() {
            Code::OutOfRange if text.contains("compacted") => Self::Compacted { before: 0 },
            Code::OutOfRange if text.contains("future revision") => Self::Rewound { known: 0 },
            Code::OutOfRange | Code::ResourceExhausted if text.contains("large") => Self::TooLarge { reason },
            // InvalidArgument is "etcdserver: user name is empty": authentication is on, and we brought none.
            Code::PermissionDenied | Code::Unauthenticated | Code::InvalidArgument => Self::Denied { reason },
            _ => Self::Unavailable {
                reason: explain(status),
            },
        }
    }
}

/// `tcp connect error: Connection refused (os error 111)`: a status prints its whole inner life otherwise.
fn explain(status: &tonic::Status) -> String {
    let first: &dyn std::error::Error = status;
    let deepest = std::iter::successors(first.source(), |e| e.source()).last();
    let message = match status.message() {
        "" => status.code().description(),
        message => message,
    };
    match deepest
        .map(ToString::to_string)
        .filter(|cause| !message.contains(cause))
    {
        Some(cause) => format!("{message}: {cause}"),
        None => message.to_owned(),
    }
}

impl Error {
    /// Whether the way out is to list anew, from any member, at once. A change too large to be decoded would
    /// stop each watch from before it, for ever; a listing gets past it.
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
        let large = "Error, decoded message length too large: found 5 bytes, the limit is: 4 bytes";
        assert!(matches!(of(Status::out_of_range(large)), Error::TooLarge { .. }));
        assert!(of(Status::out_of_range(large)).needs_listing());
    }

    #[test]
    fn refusals_and_outages_are_told_apart() {
        assert!(matches!(
            of(Status::permission_denied("no")),
            Error::Denied { .. }
        ));
        assert!(matches!(
            of(Status::unauthenticated("invalid auth token")),
            Error::Denied { .. }
        ));
        assert!(matches!(
            of(Status::unavailable("etcdserver: no leader")),
            Error::Unavailable { .. }
        ));
        assert!(!of(Status::unavailable("x")).needs_listing());
    }
}
