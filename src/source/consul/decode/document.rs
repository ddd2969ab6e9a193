//! Policy documents in Consul's KV: `xds/<service>/policy`, a JSON object of the plain keys. Pure: a malformed document is
//! a warning, and its last good content stays in force.
//!
//! The names of the keys are read apart from their values, and only values of keys of this shape: other keys below `xds/`
//! cost the policies nothing, however many there are.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::{Deserializer as _, SeqAccess, Visitor};

use super::body::Unreadable;
use super::wire::Pair;
use crate::model::service::check_name;
use crate::model::{Code, Issue, Policy};
use crate::source::entry;
use crate::text::clip;

/// Where the documents are.
pub(crate) const PREFIX: &str = "xds/";
/// The longest document, in bytes; Consul's own limit is 512 KiB, ours holds 64 routes easily.
const MAX_VALUE: usize = 64 * 1024;
/// The same in base64, with its padding.
const MAX_BASE64: usize = MAX_VALUE.div_ceil(3) * 4;

/// One policy document.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Document {
    /// `None`: malformed, or not read.
    pub policy: Option<Policy>,
    /// The key exists and its value cannot be read: the last good content stays in force.
    pub unread: bool,
    /// The token may not read it now.
    pub refused: bool,
    /// What is wrong with it.
    pub issues: Vec<Issue>,
}

/// The documents by service.
pub type Documents = BTreeMap<Arc<str>, Document>;

/// The services that have a policy document, from the body of `/v1/kv/xds/?keys`. Keys of another shape are ignored.
///
/// # Errors
/// [`Unreadable`] when the body is not a list of keys.
pub fn named(body: &[u8]) -> Result<Vec<Arc<str>>, Unreadable> {
    let mut reader = serde_json::Deserializer::from_slice(body);
    let names = reader.deserialize_seq(Keys);
    names
        .and_then(|names| reader.end().map(|()| names))
        .map_err(|e| Unreadable::Json {
            wanted: "/v1/kv?keys",
            reason: clip(&e.to_string()),
        })
}

/// Keeps our keys while the list is read: it may hold a million others.
struct Keys;

impl<'de> Visitor<'de> for Keys {
    type Value = Vec<Arc<str>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of keys")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut keys: A) -> Result<Self::Value, A::Error> {
        let mut names = Vec::new();
        while let Some(key) = keys.next_element::<String>()? {
            names.extend(service_of(&key).map(Arc::from));
        }
        Ok(names)
    }
}

/// The service whose policy a key holds.
fn service_of(key: &str) -> Option<&str> {
    let name = key.strip_prefix(PREFIX)?.strip_suffix("/policy")?;
    // No URL leads to such a key: Consul redirects to the path without it.
    let unreachable = name.split('/').any(|part| matches!(part, "" | "." | ".."));
    (!unreachable && check_name(name).is_ok()).then_some(name)
}

/// The key of a service's policy.
#[must_use]
pub(crate) fn key_of(service: &str) -> String {
    format!("{PREFIX}{service}/policy")
}

/// Reads `/v1/kv/xds/SERVICE/policy`.
#[must_use]
pub fn document(service: &str, body: &[u8]) -> Document {
    match serde_json::from_slice::<[Pair; 1]>(body) {
        Ok([pair]) if pair.value.as_ref().is_some_and(|v| v.len() > MAX_BASE64) => {
            Document::too_long(service)
        }
        // Consul compares keys byte by byte; a proxy before it may not.
        Ok([pair]) if !pair.key.is_empty() && pair.key != key_of(service) => {
            Document::unread(service, "the answer is of another key")
        }
        Ok([pair]) => decoded(service, &pair),
        Err(e) => Document::unread(service, &clip(&e.to_string())),
    }
}

impl Document {
    /// A document that exists and cannot be read.
    pub(crate) fn unread(service: &str, reason: &str) -> Self {
        let reason = format!("{reason}; what was read of it last stays in force");
        Self {
            policy: None,
            unread: true,
            refused: false,
            issues: vec![Issue::warning(key_of(service), reason).of_kind(Code::ValueKept)],
        }
    }

    /// A document that the token may not read.
    pub(crate) fn refused(service: &str, reason: &str) -> Self {
        Self {
            refused: true,
            ..Self::unread(service, reason)
        }
    }

    /// A document that is too long.
    pub(crate) fn too_long(service: &str) -> Self {
        Self::unread(
            service,
            &format!("the policy document is longer than {MAX_VALUE} bytes"),
        )
    }
}

/// Named by the requested key: no text from elsewhere gets into an issue.
fn decoded(service: &str, pair: &Pair) -> Document {
    let value = STANDARD.decode(pair.value.as_deref().unwrap_or_default());
    let value = value.map_err(|_| "the value is not base64".to_owned());
    match value.and_then(|json| entry::document(&key_of(service), &json)) {
        Ok(entry::Decoded { content, issues }) => Document {
            policy: Some(content),
            issues,
            ..Document::default()
        },
        Err(reason) => Document::unread(service, &reason),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Protocol;

    fn read(value: &str) -> Document {
        let value = STANDARD.encode(value);
        let body = format!(r#"[{{"Key":"xds/orders/policy","Value":"{value}","Flags":0,"LockIndex":0}}]"#);
        document("orders", body.as_bytes())
    }

    #[test]
    fn a_document_is_read() {
        let document = read(r#"{"protocol":"grpc","route":"grpc=shop.Orders"}"#);
        assert_eq!(document.issues, []);
        let policy = document.policy.as_ref().unwrap();
        assert_eq!((policy.protocol, policy.routes.len()), (Some(Protocol::Grpc), 1));
    }

    #[test]
    fn a_malformed_one_leaves_the_last_one_in_force() {
        for value in ["", "[]", "{", "null", "\u{0}"] {
            let document = read(value);
            assert_eq!(
                (&document.policy, document.unread, document.issues.len()),
                (&None, true, 1),
                "{value}"
            );
        }
        let document = read(r#"{"protocol":["grpc"],"weight":3,"expose":"edge"}"#);
        assert_eq!(document.issues.len(), 2);
        assert!(document.policy.as_ref().unwrap().expose.is_some());
        let null = document_of(r#"[{"Key":"xds/orders/policy","Value":null}]"#);
        assert!(null.policy.is_none() && null.unread);
    }

    fn document_of(body: &str) -> Document {
        document("orders", body.as_bytes())
    }

    #[test]
    fn what_is_no_value_or_too_long_leaves_the_last_one_in_force() {
        let fits = format!("{{\"expose\":\"edge\"}}{}", " ".repeat(MAX_VALUE - 17));
        assert!(read(&fits).policy.is_some(), "{}", fits.len());
        for document in [
            read(&format!("{fits}   ")),
            document_of(r#"[{"Key":"xds/Orders/policy","Value":"e30="}]"#),
            document_of("<html>"),
            document_of("[]"),
        ] {
            assert!(document.unread && document.policy.is_none());
            assert_eq!(document.issues[0].entry, "xds/orders/policy");
        }
    }

    #[test]
    fn other_keys_are_none_of_ours() {
        let keys = [
            "xds/orders/policy",
            "xds/a/b c/policy",
            "xds/",
            "xds/policy",
            "xds//policy",
            "xds/orders/other",
            "xds/../policy",
            "xds/a//policy",
            "xds/*/policy",
            "other/orders/policy",
        ];
        let names = named(serde_json::to_string(&keys).unwrap().as_bytes()).unwrap();
        assert_eq!(names, ["orders".into(), "a/b c".into()] as [Arc<str>; 2]);
        for body in ["<html>", "{}", "[1]", "[] []"] {
            assert!(named(body.as_bytes()).is_err(), "{body}");
        }
    }
}
