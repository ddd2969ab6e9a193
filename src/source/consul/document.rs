//! Policy documents in Consul's KV: `xds/<service>/policy`, a JSON object of the plain keys.
//! Pure: a malformed document is ignored with a warning, never a reason to drop its service.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::parse::Unreadable;
use super::wire::Pair;
use crate::model::declaration::{self, Spelling};
use crate::model::route::clip;
use crate::model::{Declared, Issue, Policy};

/// Where the documents are.
pub(super) const PREFIX: &str = "xds/";
/// Base64 characters of one document; Consul's own limit is 512 KiB, ours holds 64 routes easily.
const MAX_VALUE: usize = 128 * 1024;

/// One policy document.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Document {
    /// `None`: malformed.
    pub policy: Option<Policy>,
    /// What is wrong with it.
    pub issues: Vec<Issue>,
}

/// The documents by service.
pub type Documents = BTreeMap<Arc<str>, Document>;

/// Reads `/v1/kv/xds/?recurse`. Keys of another shape are none of ours.
///
/// # Errors
/// [`Unreadable`] when the body is not a list of pairs.
pub fn documents(body: &[u8]) -> Result<Documents, Unreadable> {
    let pairs: Vec<Pair> = serde_json::from_slice(body).map_err(|e| Unreadable::Json {
        wanted: "/v1/kv",
        reason: clip(&e.to_string()),
    })?;
    let ours = |pair: Pair| {
        let service = pair.key.strip_prefix(PREFIX)?.strip_suffix("/policy")?;
        (!service.is_empty()).then(|| (service.into(), document(&pair)))
    };
    Ok(pairs.into_iter().filter_map(ours).collect())
}

fn document(pair: &Pair) -> Document {
    let mut issues = Vec::new();
    let policy = object(pair.value.as_deref().unwrap_or_default()).map(|pairs| {
        let pairs: Vec<(&str, &str)> = pairs
            .iter()
            .filter_map(|(k, v)| text(&pair.key, k, v.as_ref(), &mut issues))
            .collect();
        declaration::parse(&pair.key, Spelling::Plain, pairs, &mut issues)
    });
    match policy {
        Ok(declared) => {
            if (Declared {
                policy: Policy::default(),
                ..declared.clone()
            }) != Declared::default()
            {
                let reason =
                    "version, weight, zone and state belong to instances; ignored in a policy document";
                issues.push(Issue::warning(&pair.key, reason));
            }
            Document {
                policy: Some(declared.policy),
                issues,
            }
        }
        Err(reason) => Document {
            policy: None,
            issues: vec![Issue::warning(&pair.key, reason)],
        },
    }
}

/// Keys and their values as text; `None` for a value that is no plain one.
fn object(base64: &str) -> Result<Vec<(String, Option<String>)>, String> {
    if base64.len() > MAX_VALUE {
        return Err("the policy document is too long; ignored".to_owned());
    }
    let bytes = STANDARD
        .decode(base64)
        .map_err(|_| "the value is not base64; ignored".to_owned())?;
    let object: BTreeMap<String, Value> = serde_json::from_slice(&bytes).map_err(|e| {
        format!(
            "must be a JSON object such as {{\"expose\": \"edge\"}} ({}); ignored",
            clip(&e.to_string())
        )
    })?;
    let plain = |value: Value| match value {
        Value::String(text) => Some(text),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    };
    Ok(object
        .into_iter()
        .map(|(key, value)| (key, plain(value)))
        .collect())
}

fn text<'a>(
    entry: &str,
    key: &'a str,
    value: Option<&'a String>,
    issues: &mut Vec<Issue>,
) -> Option<(&'a str, &'a str)> {
    if value.is_none() {
        issues.push(Issue::warning(
            entry,
            format!("{}: must be text or a number; ignored", clip(key)),
        ));
    }
    value.map(|value| (key, value.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Protocol;

    fn read(key: &str, value: &str) -> Documents {
        let value = STANDARD.encode(value);
        let body = format!(r#"[{{"Key":"{key}","Value":"{value}","Flags":0,"LockIndex":0}}]"#);
        documents(body.as_bytes()).unwrap()
    }

    #[test]
    fn a_document_is_read() {
        let all = read(
            "xds/orders/policy",
            r#"{"protocol":"grpc","route":"grpc=shop.Orders"}"#,
        );
        let document = &all["orders"];
        assert_eq!(document.issues, []);
        let policy = document.policy.as_ref().unwrap();
        assert_eq!((policy.protocol, policy.routes.len()), (Some(Protocol::Grpc), 1));
    }

    #[test]
    fn a_malformed_one_is_ignored_with_a_warning() {
        for value in ["", "[]", "{", "null", "\u{0}"] {
            let all = read("xds/orders/policy", value);
            assert_eq!(
                (&all["orders"].policy, all["orders"].issues.len()),
                (&None, 1),
                "{value}"
            );
        }
        let all = read(
            "xds/orders/policy",
            r#"{"protocol":["grpc"],"weight":3,"expose":"edge"}"#,
        );
        assert_eq!(all["orders"].issues.len(), 2);
        assert!(all["orders"].policy.as_ref().unwrap().expose.is_some());
    }

    #[test]
    fn other_keys_are_none_of_ours() {
        for key in ["xds/policy", "xds//policy", "xds/orders/other", "xds/"] {
            assert!(read(key, "{}").is_empty(), "{key}");
        }
        assert!(
            documents(br#"[{"Key":"xds/a/policy","Value":null}]"#).unwrap()["a"]
                .policy
                .is_none()
        );
        assert!(documents(b"<html>").is_err());
    }
}
