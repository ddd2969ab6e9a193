//! What decisions look like on disk. These types are the file's own, as those of [`super::schema`] are. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::schema::Keys;
use crate::model::{self, Policy};
use crate::plan::{Decisions, Remembered};

/// All decisions; `P` is a policy as its format writes it.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Body<P> {
    services: BTreeMap<Arc<str>, Service<P>>,
    /// Keys of JSON are strings: requests stand in lists.
    holders: BTreeMap<Arc<str>, Vec<(Requests, Holder)>>,
    /// Clusters of versions; earlier versions do not write them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    names: Option<BTreeMap<Arc<str>, Arc<str>>>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Service<P> {
    /// What its instances declare together; absent: nothing.
    #[serde(default = "none", skip_serializing_if = "Option::is_none")]
    elected: Option<P>,
    #[serde(default = "none", skip_serializing_if = "Option::is_none")]
    policy: Option<P>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    left_ago: Option<Duration>,
}

const fn none<P>() -> Option<P> {
    None
}

#[derive(Debug, Serialize, Deserialize)]
struct Requests {
    host: String,
    paths: Paths,
    /// Headers that must be equal; what else must hold is in `more`, which earlier versions do not have.
    headers: Vec<(String, String)>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    more: Vec<Criterion>,
}

#[derive(Debug, Serialize, Deserialize)]
enum Criterion {
    Method(Vec<String>),
    NotMethod(Vec<String>),
    Authority(String, bool),
    Url(String, bool),
    Header(String, Test, bool),
    Query(String, Test),
    Cookie(String, Test),
}

#[derive(Debug, Serialize, Deserialize)]
enum Test {
    Present,
    Exact(String),
    Prefix(String),
    Regex(String),
}

#[derive(Debug, Serialize, Deserialize)]
enum Paths {
    Exactly(String),
    Segments(String),
    Characters(String),
    Pattern(String),
}

#[derive(Debug, Serialize, Deserialize)]
struct Holder {
    service: Arc<str>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    others: Vec<Arc<str>>,
}

impl Body<Keys> {
    /// What is written.
    pub(super) fn of(decisions: &Decisions) -> Self {
        let service = |known: &Remembered| Service {
            elected: (*known.elected != Policy::default()).then(|| Keys::of_service(&known.elected)),
            policy: known.policy.as_deref().map(Keys::of_service),
            left_ago: known.left_ago,
        };
        let services = decisions.services.iter();
        let holders = decisions.holders.iter();
        Self {
            services: services
                .map(|(name, known)| (name.clone(), service(known)))
                .collect(),
            holders: holders
                .map(|(exposure, all)| {
                    let all = all.iter().map(|(what, who)| (what.into(), who.into()));
                    (exposure.clone(), all.collect())
                })
                .collect(),
            names: decisions.names.clone(),
        }
    }
}

impl<P> Body<P> {
    /// The decisions as they were.
    pub(super) fn read(self, policy: impl Fn(P) -> Policy) -> Decisions {
        let service = |known: Service<P>| Remembered {
            elected: known.elected.map(&policy).unwrap_or_default().into(),
            policy: known.policy.map(&policy).map(Arc::new),
            left_ago: known.left_ago,
        };
        let services = self.services.into_iter();
        let holders = self.holders.into_iter();
        Decisions {
            services: services.map(|(name, known)| (name, service(known))).collect(),
            holders: holders
                .map(|(exposure, all)| {
                    let all = all.into_iter().map(|(what, who)| (what.into(), who.into()));
                    (exposure, all.collect())
                })
                .collect(),
            names: self.names,
        }
    }
}

impl From<&model::Requests> for Requests {
    fn from(requests: &model::Requests) -> Self {
        Self {
            host: requests.host.clone(),
            paths: match requests.paths.clone() {
                model::Paths::Exactly(path) => Paths::Exactly(path),
                model::Paths::Segments(path) => Paths::Segments(path),
                model::Paths::Characters(path) => Paths::Characters(path),
                model::Paths::Pattern(pattern) => Paths::Pattern(pattern),
            },
            headers: Vec::new(),
            more: requests.criteria.iter().cloned().map(Into::into).collect(),
        }
    }
}

impl From<Requests> for model::Requests {
    fn from(requests: Requests) -> Self {
        Self {
            host: requests.host,
            paths: match requests.paths {
                Paths::Exactly(path) => model::Paths::Exactly(path),
                Paths::Segments(path) => model::Paths::Segments(path),
                Paths::Characters(path) => model::Paths::Characters(path),
                Paths::Pattern(pattern) => model::Paths::Pattern(pattern),
            },
            criteria: {
                let equal = |(name, value)| model::Criterion::Header {
                    name,
                    test: model::route::Test::Exact(value),
                    not: false,
                };
                let headers = requests.headers.into_iter().map(equal);
                let mut all: Vec<_> = headers.chain(requests.more.into_iter().map(Into::into)).collect();
                all.sort();
                all
            },
        }
    }
}

impl From<model::Criterion> for Criterion {
    fn from(criterion: model::Criterion) -> Self {
        match criterion {
            model::Criterion::Method { names, not: false } => Self::Method(names),
            model::Criterion::Method { names, not: true } => Self::NotMethod(names),
            model::Criterion::Authority { regex, not } => Self::Authority(regex, not),
            model::Criterion::Url { regex, not } => Self::Url(regex, not),
            model::Criterion::Header { name, test, not } => Self::Header(name, test.into(), not),
            model::Criterion::Query { name, test } => Self::Query(name, test.into()),
            model::Criterion::Cookie { name, test } => Self::Cookie(name, test.into()),
        }
    }
}

impl From<Criterion> for model::Criterion {
    fn from(criterion: Criterion) -> Self {
        match criterion {
            Criterion::Method(names) => Self::Method { names, not: false },
            Criterion::NotMethod(names) => Self::Method { names, not: true },
            Criterion::Authority(regex, not) => Self::Authority { regex, not },
            Criterion::Url(regex, not) => Self::Url { regex, not },
            Criterion::Header(name, test, not) => Self::Header {
                name,
                test: test.into(),
                not,
            },
            Criterion::Query(name, test) => Self::Query {
                name,
                test: test.into(),
            },
            Criterion::Cookie(name, test) => Self::Cookie {
                name,
                test: test.into(),
            },
        }
    }
}

impl From<model::route::Test> for Test {
    fn from(test: model::route::Test) -> Self {
        match test {
            model::route::Test::Present => Self::Present,
            model::route::Test::Exact(value) => Self::Exact(value),
            model::route::Test::Prefix(value) => Self::Prefix(value),
            model::route::Test::Regex(value) => Self::Regex(value),
        }
    }
}

impl From<Test> for model::route::Test {
    fn from(test: Test) -> Self {
        match test {
            Test::Present => Self::Present,
            Test::Exact(value) => Self::Exact(value),
            Test::Prefix(value) => Self::Prefix(value),
            Test::Regex(value) => Self::Regex(value),
        }
    }
}

impl From<&model::Holder> for Holder {
    fn from(holder: &model::Holder) -> Self {
        Self {
            service: holder.service.clone(),
            others: holder.others.clone(),
        }
    }
}

impl From<Holder> for model::Holder {
    fn from(holder: Holder) -> Self {
        Self {
            service: holder.service,
            others: holder.others,
        }
    }
}
