//! The keys of shared documents. Names are percent-encoded, so that a slash in one is no part of a path. Pure.

use std::sync::Arc;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

/// All but RFC 3986's unreserved characters.
const NAME: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// What is drained.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Target {
    /// One instance of a service.
    Instance {
        /// Its name.
        service: Arc<str>,
        /// The instance's.
        id: Arc<str>,
    },
    /// All instances on a node.
    Node(Arc<str>),
    /// All instances in a zone.
    Zone(Arc<str>),
}

/// A key that this bridge knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Path {
    /// `drains/service/SERVICE/ID`, `drains/node/NODE`, `drains/zone/ZONE`
    Drain(Target),
    /// `replicas/REPLICA`
    Replica(Arc<str>),
    /// `questions/ID`
    Question(Arc<str>),
    /// `answers/ID/REPLICA`
    Answer(Arc<str>, Arc<str>),
    /// `rollouts/SERVICE`
    Rollout(Arc<str>),
    /// `counts/REPLICA/PART`
    Counts(Arc<str>, Arc<str>),
    /// `leader`
    Leader,
    /// `data/NAME`
    Data(Arc<str>),
}

impl Path {
    /// `None`: a key of others, or of a later version of the bridge. What is not spelled as we would is not ours.
    #[must_use]
    pub fn parse(key: &str) -> Option<Self> {
        let parts: Vec<&str> = key.split('/').collect();
        let path = match parts[..] {
            ["drains", "service", service, id] => Self::Drain(Target::Instance {
                service: decode(service)?,
                id: decode(id)?,
            }),
            ["drains", "node", node] => Self::Drain(Target::Node(decode(node)?)),
            ["drains", "zone", zone] => Self::Drain(Target::Zone(decode(zone)?)),
            ["replicas", replica] => Self::Replica(decode(replica)?),
            ["questions", id] => Self::Question(decode(id)?),
            ["answers", id, replica] => Self::Answer(decode(id)?, decode(replica)?),
            ["rollouts", service] => Self::Rollout(decode(service)?),
            ["counts", replica, part] => Self::Counts(decode(replica)?, decode(part)?),
            ["leader"] => Self::Leader,
            ["data", name] => Self::Data(decode(name)?),
            _ => return None,
        };
        (path.to_string() == key).then_some(path)
    }
}

impl std::fmt::Display for Path {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Drain(Target::Instance { service, id }) => {
                write!(f, "drains/service/{}/{}", encode(service), encode(id))
            }
            Self::Drain(Target::Node(node)) => write!(f, "drains/node/{}", encode(node)),
            Self::Drain(Target::Zone(zone)) => write!(f, "drains/zone/{}", encode(zone)),
            Self::Replica(replica) => write!(f, "replicas/{}", encode(replica)),
            Self::Question(id) => write!(f, "questions/{}", encode(id)),
            Self::Answer(id, replica) => write!(f, "answers/{}/{}", encode(id), encode(replica)),
            Self::Rollout(service) => write!(f, "rollouts/{}", encode(service)),
            Self::Counts(replica, part) => write!(f, "counts/{}/{}", encode(replica), encode(part)),
            Self::Leader => f.write_str("leader"),
            Self::Data(name) => write!(f, "data/{}", encode(name)),
        }
    }
}

fn encode(name: &str) -> String {
    // On their own, dots mean another folder.
    if matches!(name, "." | "..") {
        return name.replace('.', "%2E");
    }
    utf8_percent_encode(name, NAME).to_string()
}

fn decode(part: &str) -> Option<Arc<str>> {
    let name = percent_decode_str(part).decode_utf8().ok()?;
    (!name.is_empty()).then(|| name.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_has_one_key_and_comes_back_from_it() {
        for name in ["orders", "a/b", "..", ".", "a b", "ü%2F", "a.b-c_d~e", "x=y&z"] {
            let name: Arc<str> = name.into();
            for path in [
                Path::Drain(Target::Instance {
                    service: name.clone(),
                    id: name.clone(),
                }),
                Path::Drain(Target::Node(name.clone())),
                Path::Drain(Target::Zone(name.clone())),
                Path::Replica(name.clone()),
                Path::Question(name.clone()),
                Path::Answer(name.clone(), name.clone()),
                Path::Rollout(name.clone()),
                Path::Counts(name.clone(), name.clone()),
                Path::Leader,
                Path::Data(name.clone()),
            ] {
                let key = path.to_string();
                assert!(
                    !key.split('/').any(|part| matches!(part, "" | "." | "..")),
                    "{key}"
                );
                assert_eq!(Path::parse(&key), Some(path), "{key}");
            }
        }
    }

    #[test]
    fn other_keys_are_of_others() {
        for key in [
            "",
            "drains",
            "drains/service/orders",
            "drains/service/orders/1/2",
            "drains/service//1",
            "drains/pod/a",
            "rollouts/orders/2",
            "leader/1",
            "counts/1",
            "data",
            "drains/node/a b",
            "drains/node/%61",
            "drains/node/%ff",
            "answers/1",
        ] {
            assert_eq!(Path::parse(key), None, "{key}");
        }
    }
}
