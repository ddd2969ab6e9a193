//! A value as one JSON object, and the policy documents of all formats. Pure decoder.
//!
//! Never panics, never looks into a value beyond its cap, never puts a value into a message.

use std::fmt;

use serde::de::{Deserializer as _, IgnoredAny, MapAccess, Visitor};

use crate::model::Policy;
use crate::registry::etcd::{Kv, MAX_VALUE};
use crate::source::entry::{self, Decoded, Table};

/// Reads a policy document: a flat JSON object of the keys that we declare services by.
///
/// # Errors
/// Why it is no policy document.
pub(super) fn policy(entry: &str, kv: &Kv) -> Result<Decoded<Policy>, String> {
    bounded(kv)?;
    entry::document(entry, &kv.value)
}

/// # Errors
/// The value is longer than any that is read.
fn bounded(kv: &Kv) -> Result<(), String> {
    if kv.size > MAX_VALUE {
        return Err(format!("the value has {} bytes, more than {MAX_VALUE}", kv.size));
    }
    Ok(())
}

/// The value as a JSON object, without the fields that are skipped: what nobody reads takes no memory,
/// and may be most of a value.
///
/// # Errors
/// Why it is none.
pub(super) fn table(kv: &Kv, skip: impl Fn(&str) -> bool) -> Result<Table, String> {
    bounded(kv)?;
    // To a tree first: its errors speak of places only, a typed reader's would quote the value.
    let wrong = |e: serde_json::Error| format!("the value is not JSON: {e}");
    if kv.value.trim_ascii_start().starts_with(b"{") {
        let mut reader = serde_json::Deserializer::from_slice(&kv.value);
        let table = reader.deserialize_map(Fields(skip)).map_err(wrong)?;
        reader.end().map_err(wrong)?;
        return Ok(table);
    }
    match serde_json::from_slice(&kv.value).map_err(wrong)? {
        serde_json::Value::Object(table) => Ok(table),
        other => Err(format!(
            "the value is {}, must be a JSON object",
            entry::kind(&other)
        )),
    }
}

/// The outermost fields, but for those that are skipped.
struct Fields<F>(F);

impl<'de, F: Fn(&str) -> bool> Visitor<'de> for Fields<F> {
    type Value = Table;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Table, A::Error> {
        let mut table = Table::new();
        while let Some(field) = map.next_key::<String>()? {
            if (self.0)(&field) {
                map.next_value::<IgnoredAny>()?;
            } else {
                let value = map.next_value()?;
                table.insert(field, value);
            }
        }
        Ok(table)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kv(value: &[u8]) -> Kv {
        Kv {
            key: Vec::new(),
            value: value.to_vec(),
            size: value.len(),
            mod_revision: 1,
            create_revision: 1,
        }
    }

    #[test]
    fn a_wrong_value_is_named_by_its_place_and_never_quoted() {
        let deep = "[".repeat(10_000);
        let big = format!("{{\"address\":\"{}\"}}", "secret".repeat(300_000));
        for (value, word) in [
            (&b""[..], "not JSON"),
            (b"{\"address\":\"secret", "line 1 column"),
            (b"\xff\xfe", "not JSON"),
            (b"\"secret\"", "is a string"),
            (b"[1]", "is a list"),
            (b"null", "is null"),
            (b"{} secret", "trailing"),
            (deep.as_bytes(), "recursion"),
            (big.as_bytes(), "bytes, more than 1572864"),
        ] {
            let reason = table(&kv(value), |_| false).unwrap_err();
            assert!(reason.contains(word), "{reason}");
            assert!(!reason.contains("secret") && reason.len() < 200, "{reason}");
            assert!(policy("k", &kv(value)).is_err());
        }
    }

    #[test]
    fn what_is_skipped_is_not_there_and_must_be_json_all_the_same() {
        let read = |value: &str| table(&kv(value.as_bytes()), |field| field == "endpoints");
        let seen = read(r#" {"a":1,"endpoints":[{"b":"2"}],"a":3}"#).unwrap();
        assert_eq!(serde_json::Value::Object(seen), serde_json::json!({ "a": 3 }));
        for value in [r#"{"endpoints":[1,}"#, r#"{"endpoints":1} x"#, r#"{"endpoints""#] {
            assert!(read(value).unwrap_err().contains("not JSON"), "{value}");
        }
    }

    #[test]
    fn a_good_value_is_read() {
        assert!(
            policy("k", &kv(br#"{"expose":"edge"}"#))
                .unwrap()
                .content
                .expose
                .is_some()
        );
    }
}
