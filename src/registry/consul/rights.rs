//! What the token may read, according to Consul itself: without the right something looks as if it were gone (200 with
//! `[]`). `/v1/internal/acl/authorize` is what Consul's own UI uses; it exists since 1.7.
//! Never sends anything.

use std::collections::BTreeSet;

use bytes::Bytes;
use http::StatusCode;
use serde::{Deserialize, Serialize};

use super::error::Failure;
use super::query::Scope;

/// Rights in one request, at most: Consul's own limit.
pub(super) const MAX_RIGHTS: usize = 64;
pub(super) const LONGEST: usize = 128 * 1024;
/// Consul's text for a token that it does not know. Another text comes from something in between.
const UNKNOWN: &str = "ACL not found";

/// Which of the requested rights the token gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Grant {
    /// Each right.
    All,
    /// All but these.
    Without(BTreeSet<Right>),
    /// It cannot be found out: without ACLs, with agents before 1.7, or with something in between that forbids the
    /// request.
    Unknown,
}

impl Grant {
    /// Combines two parts of one request.
    pub(super) fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Without(some), Self::Without(more)) => {
                Self::Without(some.into_iter().chain(more).collect())
            }
            (Self::Without(some), _) | (_, Self::Without(some)) => Self::Without(some),
            (Self::Unknown, _) | (_, Self::Unknown) => Self::Unknown,
            (Self::All, Self::All) => Self::All,
        }
    }
}

/// Something that may be read.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Right {
    /// `service:read` of this one.
    Service(String),
    /// `node:read` of this one.
    Node(String),
    /// `key:read` of this one.
    Key(String),
}

impl Right {
    const fn parts(&self) -> (&'static str, &String) {
        match self {
            Self::Service(name) => ("service", name),
            Self::Node(name) => ("node", name),
            Self::Key(name) => ("key", name),
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
    // Strings cannot fail to be JSON; an empty request lacks no right.
    serde_json::to_vec(&wanted.collect::<Vec<_>>())
        .unwrap_or_default()
        .into()
}

pub(super) fn grant(rights: &[Right], status: StatusCode, body: &[u8]) -> Result<Grant, Failure> {
    if status != StatusCode::OK {
        let failure = Failure::of(status, body);
        let unknowable = match &failure {
            Failure::RateLimited { .. } => false,
            Failure::Refused { .. } => !String::from_utf8_lossy(body).contains(UNKNOWN),
            // 401: ACLs are off.
            _ => status.is_client_error() && status != StatusCode::TOO_MANY_REQUESTS,
        };
        return if unknowable {
            Ok(Grant::Unknown)
        } else {
            Err(failure)
        };
    }
    let Ok(given) = serde_json::from_slice::<Vec<Given>>(body) else {
        return Ok(Grant::Unknown); // not Consul's answer
    };
    let whole = given.len() == rights.len();
    let denied = rights.iter().zip(given).filter(|(_, given)| !given.allow);
    let denied: BTreeSet<Right> = denied.map(|(right, _)| right.clone()).collect();
    Ok(match denied.is_empty() {
        false => Grant::Without(denied),
        true if whole => Grant::All,
        true => Grant::Unknown,
    })
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
    fn each_that_is_not_given_is_named() {
        let asked = |status: u16, body: &str| {
            let status = StatusCode::from_u16(status).unwrap();
            grant(&rights(), status, body.as_bytes()).map_err(|failure| failure.to_string())
        };
        let given = |a: bool, b: bool| asked(200, &format!(r#"[{{"Allow":{a}}},{{"Allow":{b},"New":1}}]"#));
        let without = |rights: &[Right]| Ok(Grant::Without(rights.iter().cloned().collect()));
        assert_eq!(given(true, true), Ok(Grant::All));
        assert_eq!(given(true, false), without(&rights()[1..]));
        assert_eq!(given(false, false), without(&rights()));
        for (status, body) in [
            (401, "ACL support disabled"),
            (404, ""),
            (403, "by a proxy"),
            (200, "<html>"),
            (200, "[]"),
        ] {
            assert_eq!(asked(status, body), Ok(Grant::Unknown), "{status}");
        }
        assert!(
            asked(403, "rpc error making call: ACL not found")
                .unwrap_err()
                .contains("403")
        );
        assert!(asked(500, "No cluster leader").unwrap_err().contains("500"));
        assert!(asked(429, "").unwrap_err().contains("429"));
    }

    #[test]
    fn parts_of_a_question_add_up() {
        let [a, b] = rights().map(|right| Grant::Without([right].into()));
        let both = Grant::Without(rights().into());
        assert_eq!(a.clone().and(b), both);
        assert_eq!(a.clone().and(Grant::Unknown), a);
        assert_eq!(Grant::All.and(Grant::Unknown), Grant::Unknown);
        assert_eq!(Grant::All.and(Grant::All), Grant::All);
    }
}
