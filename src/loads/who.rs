//! Who reports, from the node of the first request, and what its reports can say. Pure.

use crate::fields::{self, Unreadable, Value, text};
use crate::text::head;
use crate::xds::{Client, Release};

/// Longer names are cut: an id beyond this is found by nobody.
const NAME: usize = 512;

/// By which a client says that it can report all of its clusters.
const SENDS_ALL: &str = "envoy.lrs.supports_send_all_clusters";

/// From this Envoy on a report names each endpoint with requests in progress, whether some have begun since the last
/// report or not. From 1.37 on the same holds unless a runtime guard is off, which nothing says.
const SURE: (u32, u32) = (1, 40);

/// From this Envoy on the result of a call counts also where nothing began in the same locality since the last report.
const COUNTS_SLOW_CALLS: (u32, u32) = (1, 39);

/// Clients whose counts mean the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// Envoy from 1.39 on: an error is a status of 500 and above, the gRPC codes 2, 4 and 12 to 15, a reset.
    Envoy,
    /// Envoy before 1.39, or of an unknown release: loses the results of slow calls.
    OldEnvoy,
    /// gRPC's own clients: each status but OK is an error, and there are no endpoints.
    Grpc,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Envoy, Self::OldEnvoy, Self::Grpc];

    /// For a person.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Envoy => "envoy",
            Self::OldEnvoy => "envoy before 1.39",
            Self::Grpc => "grpc",
        }
    }
}

/// Who reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Who {
    /// `node.id`
    pub node: String,
    /// `node.cluster`
    pub fleet: String,
    /// `node.user_agent_name`
    pub agent: String,
    /// What its counts mean.
    pub kind: Kind,
    /// Of Envoy, where it says so.
    pub release: Option<Release>,
    /// It can be asked for all of its clusters.
    pub sends_all: bool,
}

impl Who {
    /// From an encoded node, whose some 450 extensions are passed over.
    ///
    /// # Errors
    /// [`Unreadable`]
    pub fn read(mut node: &[u8]) -> Result<Self, Unreadable> {
        let (mut id, mut fleet, mut agent) = ("", "", "");
        let (mut release, mut sends_all) = (None, false);
        while let Some((field, value)) = fields::next(&mut node)? {
            let Value::Bytes(bytes) = value else { continue };
            match field {
                1 => id = text(bytes)?,
                2 => fleet = text(bytes)?,
                6 => agent = text(bytes)?,
                8 => release = self::release(bytes)?,
                10 => sends_all |= bytes == SENDS_ALL.as_bytes(),
                _ => {}
            }
        }
        let kind = match Client::of(agent) {
            Client::Envoy if is_from(release, COUNTS_SLOW_CALLS) => Kind::Envoy,
            Client::Envoy => Kind::OldEnvoy,
            _ => Kind::Grpc,
        };
        Ok(Self {
            node: cut(id),
            fleet: cut(fleet),
            agent: cut(agent),
            kind,
            release,
            sends_all,
        })
    }

    /// What a report does not name has no requests in progress.
    #[must_use]
    pub fn is_sure(&self) -> bool {
        self.has_endpoints() && is_from(self.release, SURE)
    }

    /// Its reports name endpoints.
    #[must_use]
    pub fn has_endpoints(&self) -> bool {
        self.kind != Kind::Grpc
    }
}

fn is_from(release: Option<Release>, first: (u32, u32)) -> bool {
    release.is_some_and(|release| (release.major, release.minor) >= first)
}

/// Of a `BuildVersion`.
fn release(mut build: &[u8]) -> Result<Option<Release>, Unreadable> {
    let mut found = None;
    while let Some((field, value)) = fields::next(&mut build)? {
        let (1, Value::Bytes(mut version)) = (field, value) else {
            continue;
        };
        let mut release = Release::default();
        while let Some((field, value)) = fields::next(&mut version)? {
            let Value::Number(number) = value else { continue };
            let number = u32::try_from(number).unwrap_or(u32::MAX);
            match field {
                1 => release.major = number,
                2 => release.minor = number,
                3 => release.patch = number,
                _ => {}
            }
        }
        found = Some(release);
    }
    Ok(found)
}

fn cut(name: &str) -> String {
    head(name, NAME).to_owned()
}

#[cfg(test)]
mod tests {
    use envoy_types::pb::envoy::config::core::v3 as core;
    use envoy_types::pb::envoy::r#type::v3::SemanticVersion;
    use prost::Message as _;

    use super::*;

    fn who(agent: &str, minor: u32, features: &[&str]) -> Who {
        let version = SemanticVersion {
            major_number: 1,
            minor_number: minor,
            patch: 2,
        };
        let build = core::BuildVersion {
            version: Some(version),
            ..core::BuildVersion::default()
        };
        let node = core::Node {
            id: "edge-1".into(),
            cluster: "edge".into(),
            user_agent_name: agent.into(),
            client_features: features.iter().map(|f| (*f).to_owned()).collect(),
            extensions: vec![core::Extension::default(); 450],
            user_agent_version_type: (minor > 0)
                .then_some(core::node::UserAgentVersionType::UserAgentBuildVersion(build)),
            ..core::Node::default()
        };
        Who::read(&node.encode_to_vec()).unwrap()
    }

    #[test]
    fn a_client_is_known_by_its_node() {
        let now = who("envoy", 40, &["a", SENDS_ALL]);
        assert_eq!(
            (&*now.node, &*now.fleet, now.kind),
            ("edge-1", "edge", Kind::Envoy)
        );
        assert!(now.sends_all && now.is_sure() && now.has_endpoints());
        let before = who("envoy", 39, &[]);
        assert!(before.kind == Kind::Envoy && !before.is_sure() && !before.sends_all);
        assert_eq!(who("envoy", 36, &[]).kind, Kind::OldEnvoy);
        let unknown = who("envoy", 0, &[]);
        assert!(unknown.kind == Kind::OldEnvoy && !unknown.is_sure());
        let grpc = who("gRPC Java", 0, &[SENDS_ALL]);
        assert!(grpc.kind == Kind::Grpc && !grpc.has_endpoints() && !grpc.is_sure());
    }

    #[test]
    fn a_long_name_is_cut_and_nonsense_is_refused() {
        let node = core::Node {
            id: "ä".repeat(1_000),
            ..core::Node::default()
        };
        assert_eq!(Who::read(&node.encode_to_vec()).unwrap().node.len(), NAME);
        assert_eq!(Who::read(&[0x0a, 0xff]), Err(Unreadable));
        assert_eq!(Who::read(&[0x0a, 2, 0xff, 0xff]), Err(Unreadable), "no UTF-8");
    }
}
