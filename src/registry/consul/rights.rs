//! What the token may read, asked of Consul itself: a right that is missing looks like a thing that is
//! gone (200 with `[]`). `/v1/internal/acl/authorize` is what Consul's own page asks; it is there since 1.7.
//! Never sends anything.

use bytes::Bytes;
use http::StatusCode;
use serde::{Deserialize, Serialize};

use super::error::Failure;
use super::query::Scope;

/// Consul answers no more at once.
pub(super) const MOST: usize = 64;
pub(super) const LONGEST: usize = 128 * 1024;
/// Consul's words for a token that it does not know. Something else that forbids is between us.
const UNKNOWN: &str = "ACL not found";

/// Something that may be read.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Right {
    /// `service:read` of this one.
    Service(String),
    /// `node:read` of this one.
    Node(String),
}

impl Right {
    const fn parts(&self) -> (&'static str, &String) {
        match self {
            Self::Service(name) => ("service", name),
            Self::Node(name) => ("node", name),
        }
    }
}

impl std::fmt::Display for Right {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (what, name) = self.parts();
        write!(f, "{what}:read of {name}")
    }
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Wanted<'a> {
    resource: &'static str,
    segment: &'a str,
    access: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    namespace: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    partition: Option<&'a str>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Given {
    allow: bool,
}

pub(super) fn path(scope: &Scope) -> String {
    let datacenter = scope.datacenter.as_deref().map(super::query::encode);
    datacenter.map_or_else(
        || "/v1/internal/acl/authorize".to_owned(),
        |dc| format!("/v1/internal/acl/authorize?dc={dc}"),
    )
}

pub(super) fn body(scope: &Scope, rights: &[Right]) -> Bytes {
    let wanted = rights.iter().map(|right| {
        let (resource, segment) = right.parts();
        Wanted {
            resource,
            segment,
            access: "read",
            namespace: scope.namespace.as_deref(),
            partition: scope.partition.as_deref(),
        }
    });
    // Strings cannot fail to be JSON; nothing asked is nothing lacking.
    serde_json::to_vec(&wanted.collect::<Vec<_>>())
        .unwrap_or_default()
        .into()
}

pub(super) fn lacking(rights: &[Right], status: StatusCode, body: &[u8]) -> Result<Option<Right>, Failure> {
    let nobody_can_tell = match status {
        StatusCode::OK => false,
        StatusCode::FORBIDDEN => !String::from_utf8_lossy(body).contains(UNKNOWN),
        // 401: ACLs are off.
        status => status.is_client_error() && status != StatusCode::TOO_MANY_REQUESTS,
    };
    if nobody_can_tell {
        return Ok(None);
    }
    if status != StatusCode::OK {
        return Err(Failure::of(status, body));
    }
    let Ok(given) = serde_json::from_slice::<Vec<Given>>(body) else {
        return Ok(None); // not Consul's answer
    };
    let lacking = rights.iter().zip(given).find(|(_, given)| !given.allow);
    Ok(lacking.map(|(right, _)| right.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rights() -> [Right; 2] {
        [Right::Service("a b".into()), Right::Node("n1".into())]
    }

    #[test]
    fn rights_are_asked_in_their_order() {
        let scope = Scope {
            datacenter: Some("eu".into()),
            namespace: Some("shop".into()),
            ..Scope::default()
        };
        assert_eq!(path(&scope), "/v1/internal/acl/authorize?dc=eu");
        assert_eq!(
            String::from_utf8_lossy(&body(&scope, &rights())),
            "[{\"Resource\":\"service\",\"Segment\":\"a b\",\"Access\":\"read\",\"Namespace\":\"shop\"},\
             {\"Resource\":\"node\",\"Segment\":\"n1\",\"Access\":\"read\",\"Namespace\":\"shop\"}]"
        );
    }

    #[test]
    fn the_first_that_is_not_given_is_lacking() {
        let told = |status: u16, body: &str| {
            let status = StatusCode::from_u16(status).unwrap();
            lacking(&rights(), status, body.as_bytes())
                .map(|right| right.map(|r| r.to_string()))
                .map_err(|failure| failure.to_string())
        };
        let given = |a: bool, b: bool| told(200, &format!(r#"[{{"Allow":{a}}},{{"Allow":{b},"New":1}}]"#));
        assert_eq!(given(true, true), Ok(None));
        assert_eq!(given(true, false), Ok(Some("node:read of n1".into())));
        assert_eq!(given(false, false), Ok(Some("service:read of a b".into())));
        for (status, body) in [
            (401, "ACL support disabled"),
            (404, ""),
            (403, "by a proxy"),
            (200, "<html>"),
        ] {
            assert_eq!(told(status, body), Ok(None), "{status}");
        }
        assert!(
            told(403, "rpc error making call: ACL not found")
                .unwrap_err()
                .contains("403")
        );
        assert!(told(500, "No cluster leader").unwrap_err().contains("500"));
        assert!(told(429, "").unwrap_err().contains("429"));
    }
}
