//! What can go wrong with one request. Names what was asked for and where; never holds a token,
//! and of a body at most its first words.

use std::path::PathBuf;
use std::time::Duration;

/// A failed request: what was asked for, where, and why it failed.
#[derive(Debug, thiserror::Error)]
#[error("reading {subject} from consul at {url}")]
pub struct Error {
    /// What was asked for, e.g. `service orders`.
    pub subject: String,
    /// The whole URL, with its query.
    pub url: String,
    /// Why.
    #[source]
    pub failure: Failure,
}

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The URL cannot be built from the configured address.
    #[error("the address is not a URL")]
    Url(#[from] http::Error),
    /// The file with the token cannot be read, or holds no token.
    #[error("the token file {path}: {reason}")]
    Token {
        /// The configured file.
        path: PathBuf,
        /// Why it is of no use.
        reason: String,
    },
    /// No certificates to verify the agent with.
    #[error("no root certificates for https")]
    Roots(#[source] std::io::Error),
    /// TLS cannot be set up.
    #[error("tls cannot be set up")]
    Tls(#[from] rustls::Error),
    /// No connection, or it broke before the answer's head.
    #[error("no answer")]
    Send(#[source] hyper_util::client::legacy::Error),
    /// The answer broke off.
    #[error("the answer broke off")]
    Body(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The answer is longer than a client is willing to hold.
    #[error("the answer is longer than {limit} bytes")]
    TooLong {
        /// In bytes.
        limit: usize,
    },
    /// Nothing for so long.
    #[error("no answer within {0:?}")]
    Deadline(Duration),
    /// 403: the token is unknown, or may not read this.
    #[error("refused (403): {said}")]
    Refused {
        /// The first words of the body.
        said: String,
    },
    /// Any other status than 200 (or 404 where that is an answer).
    #[error("status {status}: {said}")]
    Status {
        /// The status.
        status: u16,
        /// The first words of the body.
        said: String,
    },
    /// A 200 without a usable `X-Consul-Index`: something between us and Consul answered.
    #[error("an answer without X-Consul-Index; is this Consul?")]
    NoIndex,
}

impl Error {
    /// Whether the agent itself is well and only this one answer is of no use: other reads may go on.
    #[must_use]
    pub const fn is_local(&self) -> bool {
        match self.failure {
            Failure::TooLong { .. } => true,
            // 429 is the agent's limit, and says nothing of what was asked for.
            Failure::Status { status, .. } => status >= 400 && status < 500 && status != 429,
            _ => false,
        }
    }

    /// Whether there is not even the head of an answer.
    #[must_use]
    pub const fn is_unsent(&self) -> bool {
        matches!(self.failure, Failure::Send(_))
    }

    /// Whether the token was refused.
    #[must_use]
    pub const fn is_refused(&self) -> bool {
        matches!(self.failure, Failure::Refused { .. })
    }

    /// The error and all its sources in one line.
    #[must_use]
    pub fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut source = std::error::Error::source(self);
        while let Some(error) = source {
            let part = error.to_string();
            // Some errors repeat their source; one mention is enough.
            if !text.contains(&part) {
                text.push_str(": ");
                text.push_str(&part);
            }
            source = error.source();
        }
        text
    }
}
