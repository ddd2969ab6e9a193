//! A value as one JSON object, and the policy documents of all formats. Pure decoder.
//!
//! Never panics, never looks into a value beyond its cap, never puts a value into a message.

use crate::model::Policy;
use crate::registry::etcd::{Kv, MAX_VALUE};
use crate::source::entry::{self, Decoded, Table};

/// Reads a policy document: a flat JSON object of the keys that we declare services by.
///
/// # Errors
/// Why it is no policy document.
pub(super) fn policy(entry: &str, kv: &Kv) -> Result<Decoded<Policy>, String> {
    Ok(entry::policy(entry, &table(kv)?))
}

/// The value as a JSON object.
///
/// # Errors
/// Why it is none.
pub(super) fn table(kv: &Kv) -> Result<Table, String> {
    if kv.size > MAX_VALUE {
        return Err(format!("the value has {} bytes, more than {MAX_VALUE}", kv.size));
    }
    // To a tree first: its errors speak of places only, a typed reader's would quote the value.
    match serde_json::from_slice(&kv.value).map_err(|e| format!("the value is not JSON: {e}"))? {
        serde_json::Value::Object(table) => Ok(table),
        other => Err(format!(
            "the value is {}, must be a JSON object",
            entry::kind(&other)
        )),
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
    fn a_wrong_value_is_told_by_its_place_and_never_quoted() {
        let deep = "[".repeat(10_000);
        let big = format!("{{\"address\":\"{}\"}}", "secret".repeat(200_000));
        for (value, word) in [
            (&b""[..], "not JSON"),
            (b"{\"address\":\"secret", "line 1 column"),
            (b"\xff\xfe", "not JSON"),
            (b"\"secret\"", "is a string"),
            (b"[1]", "is a list"),
            (b"null", "is null"),
            (b"{} secret", "trailing"),
            (deep.as_bytes(), "recursion"),
            (big.as_bytes(), "bytes, more than 65536"),
        ] {
            let reason = table(&kv(value)).unwrap_err();
            assert!(reason.contains(word), "{reason}");
            assert!(!reason.contains("secret") && reason.len() < 200, "{reason}");
            assert!(policy("k", &kv(value)).is_err());
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
