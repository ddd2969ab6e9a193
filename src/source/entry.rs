//! One flat table of a registry entry (a JSON object, a TOML table) → instance or policy.
//! What the etcd and the file source share. Pure.
//!
//! Only address and port are fatal: anything else costs its own key. Never puts a whole value into a message.

use std::net::SocketAddr;

use serde_json::{Map, Value};

use crate::model::declaration::{self, Declared};
use crate::model::keys::Scope;
use crate::model::service::{self, Registered};
use crate::model::{Health, Instance, Issue, Key, Policy, Spelling};
use crate::text::clip;

/// The weight of an instance that declares none.
const DEFAULT_WEIGHT: u32 = 1;
/// The most issues that one entry may have; a value of 64 KiB has room for thousands of unknown keys.
const MAX_ISSUES: usize = 16;

/// A flat table as JSON and TOML hold it.
pub(super) type Table = Map<String, Value>;

/// An entry that can be served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Decoded<T> {
    /// What it says.
    pub(super) content: T,
    /// Keys of it that were ignored or defaulted.
    pub(super) issues: Vec<Issue>,
}

/// Reads an instance; one that asks for no traffic is `Health::Off`.
/// `entry` names it in issues; without an `id` it is called by its address.
///
/// # Errors
/// Why it cannot be served: address or port are missing or wrong.
pub(super) fn instance(entry: &str, id: Option<&str>, table: &Table) -> Result<Decoded<Instance>, String> {
    let address = address(table)?;
    let shown = address.to_string();
    let mut issues = Vec::new();
    let declared = declared(entry, table, &["address", "port"], &mut issues);
    let registered = Registered {
        id: id.unwrap_or(&shown),
        address,
        // Neither etcd nor a file knows checks: what is registered (under a living lease) is up.
        health: Health::Healthy,
        weight: DEFAULT_WEIGHT,
        zone: "",
        region: "",
    };
    Ok(Decoded {
        content: service::assemble(&registered, declared),
        issues: bounded(entry, issues),
    })
}

/// Reads a policy document, the same wherever it is kept: a JSON object of the plain keys. Keys of instances are
/// named and ignored.
///
/// # Errors
/// Why it is none: the last one that could be read stays in force.
pub(super) fn document(entry: &str, json: &[u8]) -> Result<Decoded<Policy>, String> {
    // To a tree first: its errors speak of places only, a typed reader's would quote the value.
    match serde_json::from_slice(json) {
        Ok(Value::Object(table)) => Ok(policy(entry, &table)),
        Ok(other) => Err(format!(
            "the value is {}, must be a JSON object such as {{\"expose\":\"edge\"}}",
            kind(&other)
        )),
        Err(error) => Err(format!("the value is not JSON: {error}")),
    }
}

/// The same of a table that has been read already.
pub(super) fn policy(entry: &str, table: &Table) -> Decoded<Policy> {
    let of_instances = Key::ALL.iter().map(|key| key.row());
    let of_instances = of_instances.filter(|row| row.scope() == Scope::Instance);
    let not_here: Vec<&str> = ["address", "port"]
        .into_iter()
        .chain(of_instances.map(|row| row.name))
        .collect();
    let mut issues: Vec<Issue> = not_here
        .iter()
        .filter(|key| table.contains_key(**key))
        .map(|key| {
            Issue::warning(
                entry,
                format!("{key}: is declared by each instance, not in a policy document; ignored"),
            )
        })
        .collect();
    let policy = declared(entry, table, &not_here, &mut issues).policy;
    Decoded {
        content: policy,
        issues: bounded(entry, issues),
    }
}

fn declared(entry: &str, table: &Table, skip: &[&str], issues: &mut Vec<Issue>) -> Declared {
    let mut pairs = Vec::with_capacity(table.len());
    let mut unread = Vec::new();
    for (key, value) in table.iter().filter(|(key, _)| !skip.contains(&key.as_str())) {
        match text(value) {
            Ok(text) => pairs.push((key.as_str(), text)),
            Err(kind) => {
                unread.push(key.as_str());
                let key = clip(key);
                issues.push(Issue::warning(
                    entry,
                    format!("{key}: is {kind}, must be a string or a number; not used"),
                ));
            }
        }
    }
    let pairs = pairs.iter().map(|(k, v)| (*k, v.as_ref()));
    let mut declared = declaration::parse(entry, Spelling::Plain, pairs, issues);
    for key in unread {
        declared.slip_named(key);
    }
    declared
}

fn address(table: &Table) -> Result<SocketAddr, String> {
    const EXAMPLE: &str = "such as {\"address\":\"10.0.0.7\",\"port\":8080}";
    let host = match table.get("address") {
        Some(Value::String(host)) => {
            service::not_a_socket(host)?; // before the port that it does not have
            host.trim()
        }
        Some(other) => return Err(format!("address is {}, must be a string, {EXAMPLE}", kind(other))),
        None => return Err(format!("address is missing, {EXAMPLE}")),
    };
    let port = match table.get("port") {
        Some(Value::Number(port)) => port.as_u64(),
        Some(Value::String(port)) => port.trim().parse().ok(),
        Some(other) => return Err(format!("port is {}, must be a number, {EXAMPLE}", kind(other))),
        None => return Err(format!("port is missing, {EXAMPLE}")),
    };
    let port = port.ok_or("port must be a whole number from 1 to 65535")?;
    service::address(host, port)
}

fn text(value: &Value) -> Result<std::borrow::Cow<'_, str>, &'static str> {
    match value {
        Value::String(text) => Ok(text.into()),
        Value::Number(number) => Ok(number.to_string().into()),
        other => Err(kind(other)),
    }
}

/// A JSON type in words.
pub(super) const fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "a table",
    }
}

/// At most [`MAX_ISSUES`] of one entry; the last one says how many more there are.
pub(super) fn bounded(entry: &str, mut issues: Vec<Issue>) -> Vec<Issue> {
    if issues.len() > MAX_ISSUES {
        let rest = issues.len() - MAX_ISSUES;
        issues.truncate(MAX_ISSUES);
        issues.push(Issue::warning(
            entry,
            format!("{rest} more keys are wrong or unknown"),
        ));
    }
    issues
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Protocol;

    fn table(json: &str) -> Table {
        serde_json::from_str(json).unwrap()
    }

    fn read(json: &str) -> Result<Decoded<Instance>, String> {
        instance("/services/orders/instances/7", Some("7"), &table(json))
    }

    #[test]
    fn numbers_may_be_strings_and_strings_numbers() {
        let a = read(r#"{"address":"10.0.0.7","port":8080,"weight":10,"version":1}"#).unwrap();
        let b = read(r#"{"address":"10.0.0.7","port":"8080","weight":"10","version":"1"}"#).unwrap();
        assert_eq!(a, b);
        let instance = a.content;
        assert_eq!(
            (instance.weight, &*instance.version, &*instance.id),
            (10, "1", "7")
        );
        assert_eq!(a.issues, []);
    }

    #[test]
    fn all_keys_of_the_declaration_are_read() {
        let decoded = read(
            r#"{"address":"fd00::7","port":80,"weight":10,"version":"9f31c2a","protocol":"grpc",
                "route":"grpc=shop.Orders","zone":"a","state":"drain"}"#,
        )
        .unwrap();
        let instance = decoded.content;
        assert_eq!(instance.health, Health::Draining);
        assert_eq!(instance.policy.protocol, Some(Protocol::Grpc));
        assert_eq!(instance.policy.routes.len(), 1);
        assert_eq!(&*instance.zone, "a");
        assert_eq!(decoded.issues, []);
    }

    #[test]
    fn only_address_and_port_are_fatal() {
        for (json, word) in [
            (r"{}", "address is missing"),
            (r#"{"address":7,"port":1}"#, "address is a number"),
            (r#"{"address":"10.0.0.7"}"#, "port is missing"),
            (r#"{"address":"10.0.0.7","port":0}"#, "1 to 65535"),
            (r#"{"address":"10.0.0.7","port":-1}"#, "1 to 65535"),
            (r#"{"address":"10.0.0.7","port":80.5}"#, "1 to 65535"),
            (r#"{"address":"10.0.0.7","port":[80]}"#, "port is a list"),
            (r#"{"address":"db.local","port":80}"#, "no host names"),
            (r#"{"address":"/run/orders.sock"}"#, "unix socket"),
        ] {
            let reason = read(json).unwrap_err();
            assert!(reason.contains(word), "{json} → {reason}");
        }
        let wrong = r#"{"address":"10.0.0.7","port":80,"weight":{"a":1},"zone":null,"state":true,"x":[1]}"#;
        let decoded = read(wrong).unwrap();
        assert_eq!(decoded.content.weight, DEFAULT_WEIGHT);
        assert_eq!(decoded.issues.len(), 4, "{:?}", decoded.issues);
    }

    #[test]
    fn without_an_id_the_address_is_the_id_and_off_is_no_mistake() {
        let one = table(r#"{"address":"10.0.0.7","port":80}"#);
        assert_eq!(&*instance("x", None, &one).unwrap().content.id, "10.0.0.7:80");
        let off = read(r#"{"address":"10.0.0.7","port":80,"state":"off"}"#).unwrap();
        assert_eq!((off.content.health, off.issues), (Health::Off, vec![]));
    }

    #[test]
    fn a_policy_is_no_instance() {
        let decoded = policy("p", &table(r#"{"protocol":"grpc","weight":3,"colour":"red"}"#));
        assert_eq!(decoded.content.protocol, Some(Protocol::Grpc));
        let reasons: Vec<_> = decoded.issues.iter().map(|i| i.reason.as_str()).collect();
        assert_eq!(reasons.len(), 2, "{reasons:?}");
        assert!(reasons[0].contains("each instance") && reasons[1].contains("not a key of ours"));
    }

    #[test]
    fn a_thousand_unknown_keys_are_a_few_issues() {
        let mut one = table(r#"{"address":"10.0.0.7","port":80}"#);
        one.extend((0..1000).map(|n| (format!("k{n}"), Value::from(n))));
        let issues = instance("x", None, &one).unwrap().issues;
        assert_eq!(issues.len(), MAX_ISSUES + 1);
        assert!(issues[MAX_ISSUES].reason.starts_with("984 more"));
    }
}
