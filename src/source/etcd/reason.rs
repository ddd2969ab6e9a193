//! What went wrong, in words for the operator: the cause, and the fix where there is one. Pure.
//!
//! Never holds a value, a password or a token.

use crate::registry::etcd::{Error, Side};
use crate::source::HubGone;
use crate::text::chain;

/// Why a watch is over.
#[derive(Debug, thiserror::Error)]
pub(super) enum Break {
    #[error(transparent)]
    Etcd(#[from] Error),
    #[error("the hub wants to know whether what is gone is really gone")]
    Asked,
    #[error(
        "etcd has moved on and the watch delivers nothing, though reads are answered: what stands between us and \
         etcd does not pass it on"
    )]
    Dead,
    #[error("what is below it is {0}; what is known stays, and it is listed again")]
    Full(String),
    #[error("there is room now for the values that were left out")]
    Room,
    #[error("this endpoint belongs to cluster {seen:x}, our facts are from cluster {known:x}")]
    OtherCluster { seen: u64, known: u64 },
    #[error(transparent)]
    Hub(#[from] HubGone),
}

/// Why a prefix is not watched now over this endpoint. `user`: who we are to etcd, where we have a name.
pub(super) fn reason(end: &Break, endpoint: &str, prefix: &str, user: Option<&str>) -> String {
    let text = chain(end);
    let Break::Etcd(error) = end else { return text };
    let who = user.map_or_else(
        || "the user of our certificate".to_owned(),
        |user| format!("the user `{user}`"),
    );
    match error {
        Error::Denied { .. } => format!(
            "{who} may not read {prefix} ({text}); fix: etcdctl role grant-permission ROLE --prefix=true read {prefix}"
        ),
        Error::Login { .. } => format!(
            "{text}; fix: the password in password_file must be that of {who} (etcdctl user passwd), \
             it is read again at each try"
        ),
        Error::Expired { .. } if user.is_none() => {
            format!("{text}; fix: user and password_file in the source's section of bridge.toml")
        }
        Error::Tls { about, .. } => {
            let fix = match about {
                Side::Member => "`ca` must name the file of those who sign etcd's certificates",
                Side::Name => "`server_name` must be a name in etcd's certificate",
                Side::Ours => "`certificate` and `key` must be ones that etcd's trusted CA has signed",
            };
            format!("{text}; fix: {fix}, in the source's [tls] of bridge.toml")
        }
        // Over TLS 1.3 a certificate is refused after the handshake, and the word of it comes too late at times.
        Error::Unavailable { reason }
            if endpoint.starts_with("https:") && reason.contains("connection closed") =>
        {
            format!(
                "{text}; a member that refuses our certificate, or wants one, closes like this: see `certificate` \
                 and `key` in the source's [tls] of bridge.toml"
            )
        }
        Error::File { .. } | Error::Pem(_) => format!("{text}; it is read again at each try"),
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_the_prefix_the_user_and_the_fix() {
        let text = |error: Error, user| reason(&Break::Etcd(error), "https://etcd:2379", "/services/", user);
        let denied = || Error::Denied {
            reason: "etcdserver: permission denied".to_owned(),
        };
        assert_eq!(
            text(denied(), Some("bridge")),
            "the user `bridge` may not read /services/ (etcd denies access: etcdserver: permission denied); \
             fix: etcdctl role grant-permission ROLE --prefix=true read /services/"
        );
        assert!(text(denied(), None).starts_with("the user of our certificate may not"));
        let expired = || Error::Expired {
            reason: "etcdserver: user name is empty".to_owned(),
        };
        assert!(text(expired(), None).contains("fix: user and password_file"));
        assert!(!text(expired(), Some("bridge")).contains("fix"));
        let login = Error::Login {
            reason: "etcdserver: authentication failed, invalid user ID or password".to_owned(),
        };
        assert!(text(login, Some("bridge")).contains("that of the user `bridge`"));
        let tls = Error::Tls {
            reason: "invalid peer certificate: UnknownIssuer".to_owned(),
            about: Side::Member,
        };
        assert!(text(tls, None).contains("fix: `ca` must name"));
        let closed = Error::Unavailable {
            reason: "operation was canceled: connection closed".to_owned(),
        };
        assert!(text(closed, None).contains("see `certificate` and `key`"));
    }
}
