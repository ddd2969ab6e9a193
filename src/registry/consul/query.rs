//! What can be asked: path and parameters of one read, percent-encoded. Never sends anything.

use std::fmt::Write as _;
use std::time::Duration;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// All but RFC 3986's unreserved characters: a name may hold a space, a slash or any letter.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// One readable thing.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Query {
    /// `/v1/catalog/services`: the names of all services.
    Services,
    /// `/v1/health/service/NAME`: the instances of one, with their checks.
    Health(String),
    /// `/v1/kv/PREFIX?keys`: the names of all keys below a prefix, without their values. 404 means: none.
    Keys(String),
    /// `/v1/kv/KEY`: one key. 404 means: it is not there.
    Key(String),
}

/// How it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// At once, from the leader's memory.
    Plain,
    /// At once, after the leader made sure of its quorum and its log (`?consistent`).
    Consistent,
    /// When the index has passed this one, or the wait is over.
    Blocking {
        /// From `X-Consul-Index` of the answer before.
        index: u64,
        /// Consul ends it after this, plus up to 1/16.
        wait: Duration,
    },
}

impl Mode {
    /// How long Consul itself may hold the request.
    #[must_use]
    pub fn held(self) -> Duration {
        match self {
            Self::Plain | Self::Consistent => Duration::ZERO,
            Self::Blocking { wait, .. } => wait + wait / 16,
        }
    }
}

impl Query {
    /// For messages: `service orders`.
    #[must_use]
    pub fn subject(&self) -> String {
        match self {
            Self::Services => "the names of services".to_owned(),
            Self::Health(name) => format!("service {name}"),
            Self::Keys(prefix) => format!("keys below {prefix}"),
            Self::Key(key) => format!("key {key}"),
        }
    }

    /// Whether 404 is a good answer, with an index of its own.
    #[must_use]
    pub const fn may_be_missing(&self) -> bool {
        matches!(self, Self::Keys(_) | Self::Key(_))
    }

    /// The longest body that is held: 10,000 services or 10,000 instances of one are below 16 MiB.
    /// A key is never asked for by more than a short value's sake, and many may be on their way at once.
    #[must_use]
    pub const fn longest(&self) -> usize {
        match self {
            Self::Services | Self::Health(_) | Self::Keys(_) => 32 * 1024 * 1024,
            Self::Key(_) => 128 * 1024,
        }
    }

    /// The URL at `base` (no trailing slash).
    #[must_use]
    pub fn url(&self, base: &str, datacenter: Option<&str>, mode: Mode) -> String {
        let mut url = match self {
            Self::Services => format!("{base}/v1/catalog/services?"),
            Self::Health(name) => format!("{base}/v1/health/service/{}?", encode(name)),
            Self::Keys(prefix) => format!("{base}/v1/kv/{}?keys&", path(prefix)),
            Self::Key(key) => format!("{base}/v1/kv/{}?", path(key)),
        };
        if let Some(dc) = datacenter {
            let _ = write!(url, "dc={}&", encode(dc)); // writing to a String cannot fail
        }
        match mode {
            Mode::Plain => {}
            Mode::Consistent => url.push_str("consistent"),
            Mode::Blocking { index, wait } => {
                // With its unit: `wait=10` is a 400.
                let _ = write!(url, "index={index}&wait={}ms", wait.as_millis());
            }
        }
        url.truncate(url.trim_end_matches(['?', '&']).len());
        url
    }
}

/// Consul cuts a key at its slashes before it decodes the parts.
fn path(key: &str) -> String {
    key.split('/').map(encode).collect::<Vec<_>>().join("/")
}

fn encode(text: &str) -> String {
    utf8_percent_encode(text, SEGMENT).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(query: &Query, datacenter: Option<&str>, mode: Mode) -> String {
        query.url("http://a:1", datacenter, mode)
    }

    #[test]
    fn each_query_has_its_url() {
        let wait = Duration::from_secs(300);
        assert_eq!(
            url(&Query::Services, None, Mode::Plain),
            "http://a:1/v1/catalog/services"
        );
        assert_eq!(
            url(&Query::Services, Some("eu 1"), Mode::Consistent),
            "http://a:1/v1/catalog/services?dc=eu%201&consistent"
        );
        assert_eq!(
            url(
                &Query::Health("a/b ü".into()),
                None,
                Mode::Blocking { index: 7, wait }
            ),
            "http://a:1/v1/health/service/a%2Fb%20%C3%BC?index=7&wait=300000ms"
        );
        assert_eq!(
            url(&Query::Keys("xds/".into()), None, Mode::Plain),
            "http://a:1/v1/kv/xds/?keys"
        );
        assert_eq!(
            url(&Query::Key("xds/a b/policy".into()), None, Mode::Consistent),
            "http://a:1/v1/kv/xds/a%20b/policy?consistent"
        );
    }
}
