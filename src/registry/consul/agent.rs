//! What an agent says about itself, from `/v1/agent/self`. Never sends anything.

use serde::Deserialize;

/// The longest body, in bytes: it holds the whole configuration.
pub(super) const LONGEST: usize = 4 * 1024 * 1024;

pub(super) const PATH: &str = "/v1/agent/self";

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Itself {
    config: Config,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Config {
    server: bool,
}

/// Whether it says that it is a server.
pub(super) fn is_server(body: &[u8]) -> bool {
    serde_json::from_slice::<Itself>(body).is_ok_and(|itself| itself.config.server)
}

#[cfg(test)]
mod tests {
    use super::is_server;

    #[test]
    fn only_who_says_so_is_a_server() {
        assert!(is_server(
            br#"{"Config":{"NodeName":"one","Server":true},"Stats":{}}"#
        ));
        for other in [r#"{"Config":{"Server":false}}"#, "{}", "Permission denied", ""] {
            assert!(!is_server(other.as_bytes()), "{other}");
        }
    }
}
