//! What can be read: path and parameters of one read, percent-encoded. Never sends anything.

use std::fmt::Write as _;
use std::time::Duration;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// All but RFC 3986's unreserved characters: a name may hold a space, a slash or any letter.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// An id that nothing has: filtered by it, an answer is only its headers.
const NO_ID: &str = "~none~";

/// One readable thing.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Query {
    /// `/v1/catalog/services`: the names of all services.
    Services,
    /// `/v1/health/service/NAME`: the instances of one, with their checks.
    Health(String),
    /// `/v1/health/service/consul`: Consul's own, which is in the default namespace and of no peer.
    Canary,
    /// The same without any instance: its index tells whether there is something to read.
    Probe(String),
    /// `/v1/health/state/any` without any check: its index moves with each check.
    Checks,
    /// `/v1/catalog/nodes` without any node: its index moves with each node.
    Nodes,
    /// `/v1/kv/PREFIX?keys`: the names of all keys below a prefix, without their values. 404 means: none.
    Keys(String),
    /// `/v1/kv/PREFIX?recurse`: all keys below a prefix with their values. 404 means: none.
    Tree(String),
    /// `/v1/kv/KEY`: one key. 404 means: it is not there.
    Key(String),
}

/// Which part of Consul is read. All of it is percent-encoded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    /// Another datacenter than the agent's own.
    pub datacenter: Option<String>,
    /// Another namespace than the token's (Enterprise).
    pub namespace: Option<String>,
    /// Another admin partition than the agent's own (Enterprise).
    pub partition: Option<String>,
    /// A peer whose services are read; Consul accepts it for [`Query::Health`] and [`Query::Probe`] only.
    pub peer: Option<String>,
}

impl Scope {
    /// Whether the names of services hold Consul's own, as those of the default namespace do.
    #[must_use]
    pub fn holds_canary(&self) -> bool {
        let default = |name: &Option<String>| name.as_deref().is_none_or(|name| name == "default");
        default(&self.namespace) && default(&self.partition)
    }

    /// The parameters of a write, with `?` before them; empty where there are none.
    pub(super) fn of_write(&self) -> String {
        let all = [
            ("dc", &self.datacenter),
            ("ns", &self.namespace),
            ("partition", &self.partition),
        ];
        let given = all
            .into_iter()
            .filter_map(|(key, value)| Some((key, value.as_deref()?)));
        let given: Vec<String> = given
            .map(|(key, value)| format!("{key}={}", encode(value)))
            .collect();
        if given.is_empty() {
            String::new()
        } else {
            format!("?{}", given.join("&"))
        }
    }

    /// The parameters of one query, each with `&` behind it.
    fn parameters(&self, query: &Query) -> String {
        let canary = matches!(query, Query::Canary);
        let peer = matches!(query, Query::Health(_) | Query::Probe(_));
        let all = [
            ("dc", &self.datacenter, true),
            ("ns", &self.namespace, !canary),
            ("partition", &self.partition, !canary),
            ("peer", &self.peer, peer),
        ];
        all.into_iter()
            .filter(|(_, _, taken)| *taken)
            .filter_map(|(key, value, _)| Some(format!("{key}={}&", encode(value.as_deref()?))))
            .collect()
    }
}

/// How it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// At once, from the leader's memory.
    Plain,
    /// At once, after the leader has verified its quorum and its log (`?consistent`).
    Consistent,
    /// Once the index has passed this one, or the wait is over.
    Blocking {
        /// From `X-Consul-Index` of the answer before.
        index: u64,
        /// Consul ends it after this, plus up to 1/16.
        wait: Duration,
        /// May be answered from the agent's own copy, where it streams (from 1.10 on). Otherwise servers answer it.
        streamed: bool,
    },
    /// The same, and the leader verifies itself before it answers. Never from an agent's own copy, since what is
    /// streamed knows no consistency: not for [`Query::Health`].
    Following {
        /// As above.
        index: u64,
        /// As above.
        wait: Duration,
    },
}

impl Mode {
    /// How long Consul itself may hold the request.
    #[must_use]
    pub fn held(self) -> Duration {
        match self {
            Self::Plain | Self::Consistent => Duration::ZERO,
            Self::Blocking { wait, .. } | Self::Following { wait, .. } => wait + wait / 16,
        }
    }
}

impl Query {
    /// For messages: `service orders`.
    #[must_use]
    pub fn subject(&self) -> String {
        match self {
            Self::Services => "the names of services".to_owned(),
            Self::Health(name) | Self::Probe(name) => format!("service {name}"),
            Self::Canary => "service consul".to_owned(),
            Self::Checks => "the checks".to_owned(),
            Self::Nodes => "the nodes".to_owned(),
            Self::Keys(prefix) | Self::Tree(prefix) => format!("keys below {prefix}"),
            Self::Key(key) => format!("key {key}"),
        }
    }

    /// Whether 404 is a good answer, with an index of its own.
    #[must_use]
    pub const fn may_be_missing(&self) -> bool {
        matches!(self, Self::Keys(_) | Self::Tree(_) | Self::Key(_))
    }

    /// The longest body that is read: 10,000 services or 10,000 instances of one are below 16 MiB. Keys have short
    /// values, and many of them may be read at once.
    #[must_use]
    pub const fn longest(&self) -> usize {
        match self {
            // An agent that does not know filters (before 1.5) answers probes with everything, too.
            Self::Services
            | Self::Health(_)
            | Self::Canary
            | Self::Probe(_)
            | Self::Checks
            | Self::Nodes
            | Self::Keys(_)
            | Self::Tree(_) => 32 * 1024 * 1024,
            Self::Key(_) => 128 * 1024,
        }
    }

    /// Path and parameters, to be appended to an address without a slash at its end.
    #[must_use]
    pub fn path(&self, scope: &Scope, mode: Mode) -> String {
        let mut url = match self {
            Self::Services => "/v1/catalog/services?".to_owned(),
            Self::Health(name) => format!("/v1/health/service/{}?", encode(name)),
            Self::Canary => "/v1/health/service/consul?".to_owned(),
            Self::Probe(name) => {
                format!(
                    "/v1/health/service/{}?filter=Service.ID==%22{NO_ID}%22&",
                    encode(name)
                )
            }
            Self::Checks => format!("/v1/health/state/any?filter=CheckID==%22{NO_ID}%22&"),
            Self::Nodes => format!("/v1/catalog/nodes?filter=Node==%22{NO_ID}%22&"),
            Self::Keys(prefix) => format!("/v1/kv/{}?keys&", path(prefix)),
            Self::Tree(prefix) => format!("/v1/kv/{}?recurse&", path(prefix)),
            Self::Key(key) => format!("/v1/kv/{}?", path(key)),
        };
        url.push_str(&scope.parameters(self));
        match mode {
            Mode::Plain => {}
            Mode::Consistent => url.push_str("consistent"),
            Mode::Blocking {
                index,
                wait,
                streamed,
            } => {
                // Agents do not stream what is sorted by distance.
                if !streamed && matches!(self, Self::Health(_)) {
                    url.push_str("near=_agent&");
                }
                // With its unit: `wait=10` is a 400.
                let _ = write!(url, "index={index}&wait={}ms", wait.as_millis());
            }
            Mode::Following { index, wait } => {
                let _ = write!(url, "consistent&index={index}&wait={}ms", wait.as_millis());
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

pub(super) fn encode(text: &str) -> String {
    utf8_percent_encode(text, SEGMENT).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(query: &Query, mode: Mode) -> String {
        query.path(&Scope::default(), mode)
    }

    #[test]
    fn each_query_has_its_path() {
        let blocking = |streamed| Mode::Blocking {
            index: 7,
            wait: Duration::from_secs(300),
            streamed,
        };
        assert_eq!(path(&Query::Services, Mode::Plain), "/v1/catalog/services");
        assert_eq!(
            path(&Query::Health("a/b ü".into()), blocking(true)),
            "/v1/health/service/a%2Fb%20%C3%BC?index=7&wait=300000ms"
        );
        assert_eq!(
            path(&Query::Health("a".into()), blocking(false)),
            "/v1/health/service/a?near=_agent&index=7&wait=300000ms"
        );
        assert_eq!(path(&Query::Keys("xds/".into()), Mode::Plain), "/v1/kv/xds/?keys");
        assert_eq!(
            path(&Query::Tree("a b/".into()), Mode::Plain),
            "/v1/kv/a%20b/?recurse"
        );
        assert_eq!(
            path(&Query::Key("xds/a b/policy".into()), Mode::Consistent),
            "/v1/kv/xds/a%20b/policy?consistent"
        );
        let following = Mode::Following {
            index: 7,
            wait: Duration::from_secs(10),
        };
        assert_eq!(
            path(&Query::Tree("xds/".into()), following),
            "/v1/kv/xds/?recurse&consistent&index=7&wait=10000ms"
        );
        assert_eq!(
            path(&Query::Probe("a/b".into()), Mode::Plain),
            "/v1/health/service/a%2Fb?filter=Service.ID==%22~none~%22"
        );
        assert_eq!(
            path(&Query::Checks, blocking(false)),
            "/v1/health/state/any?filter=CheckID==%22~none~%22&index=7&wait=300000ms"
        );
        assert_eq!(
            path(&Query::Nodes, Mode::Consistent),
            "/v1/catalog/nodes?filter=Node==%22~none~%22&consistent"
        );
    }

    #[test]
    fn each_query_is_asked_in_its_scope() {
        let some = |text: &str| Some(text.to_owned());
        let scope = Scope {
            datacenter: some("eu 1"),
            namespace: some("shop"),
            partition: some("a&b"),
            peer: some("west"),
        };
        let path = |query: Query| query.path(&scope, Mode::Consistent);
        let part = "dc=eu%201&ns=shop&partition=a%26b&";
        assert_eq!(
            path(Query::Services),
            format!("/v1/catalog/services?{part}consistent")
        );
        assert_eq!(
            path(Query::Health("a".into())),
            format!("/v1/health/service/a?{part}peer=west&consistent")
        );
        assert_eq!(
            path(Query::Keys("xds/".into())),
            format!("/v1/kv/xds/?keys&{part}consistent")
        );
        assert_eq!(
            path(Query::Canary),
            "/v1/health/service/consul?dc=eu%201&consistent"
        );
        assert!(!scope.holds_canary() && Scope::default().holds_canary());
    }
}
