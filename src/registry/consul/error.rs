//! What can go wrong with one request. Names what was requested and where; never holds a token, and of a body at most
//! its first words.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use http::StatusCode;
use rustls::CertificateError as Wrong;

use super::overload::{self, Overload};
use crate::files::PemError;
use crate::registry::budget::Exhausted;
use crate::text;

/// Of an error's body, for the message.
const WORDS: usize = 200;

/// A failed request: what was requested, where, and why it failed.
#[derive(Debug, thiserror::Error)]
#[error("reading {subject} from consul at {url}")]
pub struct Error {
    /// What was requested, e.g. `service orders`.
    pub subject: String,
    /// The whole URL, with its query.
    pub url: String,
    /// Why.
    #[source]
    pub failure: Failure,
    /// By TLS, and we showed no certificate.
    pub anonymous: bool,
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
    #[error(
        "no root certificates for https: install some, or name the agent's own in `ca` of its tls section"
    )]
    Roots(#[source] io::Error),
    /// A file of its tls section cannot be used.
    #[error("the files of its tls section cannot be used")]
    Files(#[from] PemError),
    /// No name that a certificate can hold.
    #[error("`server_name` of its tls section, `{0}`, is not a DNS name")]
    ServerName(String),
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
    /// Answers of all reads together hold too much.
    #[error("the answer was dropped")]
    Memory(#[source] Exhausted),
    /// `100 Continue` again and again.
    #[error("interim answers (1xx) without end; is this Consul?")]
    Interim,
    /// No response within the deadline.
    #[error("no answer within {0:?}")]
    Deadline(Duration),
    /// It was never sent: the connection that it shares with others was not made, or has no stream for it.
    #[error("the request could not be sent within {after:?}")]
    NotSent {
        /// Time that it waited.
        after: Duration,
        /// Others are under way on the same connections.
        shared: bool,
    },
    /// 403: the token is unknown, or may not read this.
    #[error("refused (403): {text}")]
    Refused {
        /// The first words of the body.
        text: String,
    },
    /// 429 with another text than that of too many connections, or 503 that says so: requests are limited per second,
    /// whatever they read.
    #[error(
        "the rate limit of the agent or its servers is reached (status {status}{}{text}); raise limits.rpc_rate \
         and limits.rpc_max_burst of the agent, or (Consul 1.15 and newer) limits.request_limits of the servers",
        if text.is_empty() { "" } else { ": " }
    )]
    RateLimited {
        /// The status.
        status: u16,
        /// The first words of the body.
        text: String,
    },
    /// Any other status than 200 (or 404 where that is an answer).
    #[error("status {status}: {text}")]
    Status {
        /// The status.
        status: u16,
        /// The first words of the body.
        text: String,
    },
    /// A 200 without a usable `X-Consul-Index`: something between us and Consul answered.
    #[error("an answer without X-Consul-Index; is this Consul?")]
    NoIndex,
}

impl Error {
    /// Whether the agent itself is well and only this one answer is useless: other reads may go on.
    #[must_use]
    pub const fn is_local(&self) -> bool {
        match self.failure {
            Failure::TooLong { .. } | Failure::Memory(_) => true,
            // 429 is the agent's limit, and says nothing about what was requested.
            Failure::Status { status, .. } => status >= 400 && status < 500 && status != 429,
            _ => false,
        }
    }

    /// Whether the agent has no room for one more request, and how that shows.
    #[must_use]
    pub fn overload(&self) -> Option<Overload> {
        self.failure.overload()
    }

    /// Whether requests are limited per second.
    #[must_use]
    pub const fn is_rate_limited(&self) -> bool {
        matches!(self.failure, Failure::RateLimited { .. })
    }

    /// Whether a read that lasted may have been ended by something between us and the agent: a gateway that
    /// gave up, a stream that was reset, an answer that broke off.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        match &self.failure {
            Failure::Status { status, .. } => matches!(status, 408 | 502 | 503 | 504),
            Failure::Send(error) => self.overload().is_none() && !error.is_connect(),
            Failure::Body(_) => true,
            _ => false,
        }
    }

    /// Whether something between us and the agent answered that it cannot reach it, or has no room.
    #[must_use]
    pub const fn is_gateway(&self) -> bool {
        matches!(
            self.failure,
            Failure::Status {
                status: 502..=504,
                ..
            }
        )
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

    /// The error and all its sources in one line, with what would be right where that is known.
    #[must_use]
    pub fn chain(&self) -> String {
        let mut text = chain(self);
        // By TLS 1.3 an agent that wants a certificate says so after the handshake, and closes: the request that is
        // being written meanwhile may fail first, and hide what it said.
        let cut = || text::causes(self).any(is_closed) || closed_by(&text);
        if self.anonymous && !text.contains(WANTED) && matches!(self.failure, Failure::Send(_)) && cut() {
            text.push_str("; perhaps ");
            text.push_str(WANTED);
        }
        text
    }
}

/// Whether the other end closed a connection that was in use.
fn is_closed(error: &(dyn std::error::Error + 'static)) -> bool {
    let kind = error.downcast_ref::<io::Error>().map(io::Error::kind);
    matches!(
        kind,
        Some(io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted)
    )
}

/// HTTP/2 keeps only the text of what ended a connection.
fn closed_by(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    text.contains("broken pipe") || text.contains("connection reset")
}

impl Failure {
    fn overload(&self) -> Option<Overload> {
        match self {
            Self::Status { status: 429, .. } => Some(Overload::Reported),
            Self::Send(error) => overload::of_send_error(error),
            _ => None,
        }
    }

    /// An error status.
    pub(super) fn of(status: StatusCode, body: &[u8]) -> Self {
        let text = words(body);
        match status {
            StatusCode::FORBIDDEN => Self::Refused { text },
            status if overload::is_rate_limit(status, &text) => Self::RateLimited {
                status: status.as_u16(),
                text,
            },
            status => Self::Status {
                status: status.as_u16(),
                text,
            },
        }
    }

    /// Like [`Error::chain`].
    #[must_use]
    pub fn chain(&self) -> String {
        chain(self)
    }
}

/// Any error and all its sources in one line, with what would be right where that is known.
#[must_use]
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = text::chain(error);
    let fix = text::causes(error).find_map(|cause| tls(cause).and_then(right));
    let fix = fix.or_else(|| refuses(&text).then_some(WANTED));
    if let Some(fix) = fix {
        text.push_str("; ");
        text.push_str(fix);
    }
    text
}

/// I/O errors hold others, also of their own kind, without calling them a source.
fn tls<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a rustls::Error> {
    let inner = || tls(error.downcast_ref::<io::Error>()?.get_ref()?);
    error.downcast_ref().or_else(inner)
}

/// Whether the agent rejected our certificate. It does so after the handshake, and HTTP/2 keeps only the text of what
/// ended a connection.
fn refuses(text: &str) -> bool {
    let alert = text.split_once("received fatal alert: ").map(|(_, alert)| alert);
    let words = [
        "BadCertificate",
        "CertificateRequired",
        "CertificateUnknown",
        "CertificateExpired",
        "CertificateRevoked",
        "UnknownCA",
    ];
    alert.is_some_and(|alert| words.iter().any(|word| alert.starts_with(word)))
}

const WANTED: &str =
    "the agent wants `certificate` and `key` of its tls section to be signed by a CA that it trusts";

/// What would be right in the source's tls section.
fn right(error: &rustls::Error) -> Option<&'static str> {
    match error {
        // An issuer of the same name and another key is unknown, too.
        rustls::Error::InvalidCertificate(Wrong::UnknownIssuer | Wrong::BadSignature) => {
            Some("`ca` of its tls section must hold who signed the agent's certificate")
        }
        rustls::Error::InvalidCertificate(Wrong::NotValidForName | Wrong::NotValidForNameContext { .. }) => {
            Some("`server_name` of its tls section must be a name in the agent's certificate")
        }
        _ => None,
    }
}

fn words(body: &[u8]) -> String {
    let head = &body[..body.len().min(WORDS)];
    String::from_utf8_lossy(head)
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect::<String>()
        .trim()
        .to_owned()
}
