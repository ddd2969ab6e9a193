//! The state of a peering, from `/v1/peering/NAME` (Consul 1.13 and newer). Consul answers the health of a service of a
//! peer with `[]` also where the peering is unknown, deleted or new: the service is gone only if the peering has been
//! active for a while. From a new one instances come, and may go, one after the other
//! (findings/consul-peer-service-comes-and-goes-one-by-one.sh, 1.14.11).
//! Never sends anything.

use http::StatusCode;
use serde::Deserialize;

use super::error::Failure;
use super::query::{Scope, encode};

/// A peering holds the certificates of the other cluster and the names of all its services.
pub(super) const LONGEST: usize = 4 * 1024 * 1024;
/// Go's zero time.
const NEVER: &str = "0001-01-01T00:00:00Z";

/// What is known of a peering.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Peering {
    /// Connected, and what the peer exports was received.
    Active,
    /// Connected, and it cannot be known yet whether everything that the peer exports was received.
    New,
    /// Any other state, as Consul calls it.
    State(String),
    /// There is no peering of this name.
    Missing,
    /// The token may not read peerings.
    Refused,
    /// Consul before 1.13, or one with `peering.enabled = false`.
    Unsupported,
}

impl Peering {
    /// Its state cannot be found out. An instance that leaves while others stay is an ordinary change then.
    #[must_use]
    pub const fn is_unknown(&self) -> bool {
        matches!(self, Self::Refused | Self::Unsupported)
    }

    /// What is wrong with one that is not active, for people.
    #[must_use]
    pub fn problem(&self, name: &str) -> Option<String> {
        let why = match self {
            Self::Active => return None,
            Self::New => format!("peering `{name}` has just connected: its first heartbeat is waited for"),
            Self::State(state) => format!("peering `{name}` is not active, its state is {state}"),
            Self::Missing => {
                format!("peering `{name}` does not exist: it was deleted, or not established under this name")
            }
            Self::Refused => {
                format!("the state of peering `{name}` cannot be read: the token lacks peering:read")
            }
            Self::Unsupported => {
                format!("peering `{name}` cannot be read: peerings take Consul 1.13 with peering enabled")
            }
        };
        Some(why)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Read {
    state: String,
    #[serde(default)]
    stream_status: Option<Stream>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Stream {
    #[serde(default)]
    last_heartbeat: Option<String>,
}

/// Without a datacenter: a peering belongs to the agent's own cluster.
pub(super) fn path(scope: &Scope, name: &str) -> String {
    let partition = scope.partition.as_deref().map(encode);
    let partition = partition.map_or_else(String::new, |partition| format!("?partition={partition}"));
    format!("/v1/peering/{}{partition}", encode(name))
}

pub(super) fn read(status: StatusCode, body: &[u8]) -> Result<Peering, Failure> {
    let text = String::from_utf8_lossy(body);
    match status {
        StatusCode::OK => {}
        StatusCode::NOT_FOUND if text.contains("Peering not found") => return Ok(Peering::Missing),
        StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => return Ok(Peering::Unsupported),
        StatusCode::FORBIDDEN if !text.contains("ACL not found") => return Ok(Peering::Refused),
        _ if text.contains("peering must be enabled") => return Ok(Peering::Unsupported),
        status => return Err(Failure::of(status, body)),
    }
    let Ok(read) = serde_json::from_slice::<Read>(body) else {
        return Ok(Peering::Unsupported); // not Consul's answer
    };
    // Consul 1.13 knows no heartbeats here. A new stream is called active before anything came by it; the
    // first heartbeat comes after 15 s.
    let beats = |stream: Stream| {
        stream
            .last_heartbeat
            .is_some_and(|at| !at.is_empty() && at != NEVER)
    };
    Ok(match read.state.as_str() {
        "ACTIVE" if read.stream_status.is_none_or(beats) => Peering::Active,
        "ACTIVE" => Peering::New,
        state => Peering::State(
            state
                .chars()
                .filter(char::is_ascii_alphanumeric)
                .take(32)
                .collect(),
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_that_beats_is_active() {
        let read = |status: u16, body: &str| {
            let status = StatusCode::from_u16(status).unwrap();
            read(status, body.as_bytes()).map_err(|failure| failure.to_string())
        };
        let state = |state: &str, beat: &str| {
            read(
                200,
                &format!(r#"{{"State":"{state}","StreamStatus":{{"LastHeartbeat":{beat}}}}}"#),
            )
        };
        let beat = r#""2026-11-27T09:52:19.858467194Z""#;
        assert_eq!(state("ACTIVE", beat), Ok(Peering::Active));
        assert_eq!(read(200, r#"{"State":"ACTIVE"}"#), Ok(Peering::Active));
        assert_eq!(state("ACTIVE", r#""0001-01-01T00:00:00Z""#), Ok(Peering::New));
        assert_eq!(state("ACTIVE", "null"), Ok(Peering::New));
        assert_eq!(state("FAILING", beat), Ok(Peering::State("FAILING".into())));
        let missing = read(404, "Peering not found for \"west\"");
        assert_eq!(missing, Ok(Peering::Missing));
        let old = read(404, "Invalid URL path: not a recognized HTTP API endpoint");
        assert_eq!(old, Ok(Peering::Unsupported));
        let off = "rpc error: code = FailedPrecondition desc = peering must be enabled to use this endpoint";
        assert_eq!(read(500, off), Ok(Peering::Unsupported));
        assert_eq!(read(200, "<html>"), Ok(Peering::Unsupported));
        let denied = "rpc error: code = Unknown desc = Permission denied: lacks permission 'peering:read'";
        assert_eq!(read(403, denied), Ok(Peering::Refused));
        assert!(read(403, "ACL not found").is_err() && read(500, "No cluster leader").is_err());
        assert!(read(429, "").unwrap_err().contains("rate limit"));
    }

    #[test]
    fn a_state_is_a_word() {
        let odd = read(StatusCode::OK, br#"{"State":"A\nB <c> \u0000"}"#).unwrap();
        assert_eq!(odd, Peering::State("ABc".into()));
        assert!(odd.problem("west").is_some() && Peering::Active.problem("west").is_none());
        let scope = Scope {
            partition: Some("a b".into()),
            datacenter: Some("eu".into()),
            ..Scope::default()
        };
        assert_eq!(path(&scope, "w/e"), "/v1/peering/w%2Fe?partition=a%20b");
    }
}
