//! All keys below a prefix with their values, from `/v1/kv/PREFIX?recurse`. Pure.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::body::{self, Unreadable};
use super::wire::Pair;

/// Keys and values.
pub(crate) type Pairs = Vec<(String, Vec<u8>)>;

/// # Errors
/// [`Unreadable`] when the body is not a list of keys with values in base64.
pub(crate) fn pairs(body: &[u8]) -> Result<Pairs, Unreadable> {
    let wanted = "/v1/kv?recurse";
    let pairs: Vec<Pair> = body::read(body, wanted)?;
    let decoded = |pair: Pair| match STANDARD.decode(pair.value.unwrap_or_default()) {
        Ok(value) => Ok((pair.key, value)),
        Err(_) => Err(Unreadable::Json {
            wanted,
            reason: "a value is not base64".to_owned(),
        }),
    };
    pairs.into_iter().map(decoded).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_decoded_and_anything_else_is_an_error() {
        let read = pairs(br#"[{"Key":"t/a","Value":"Yg==","Flags":0},{"Key":"t/","Value":null}]"#).unwrap();
        let wanted = [("t/a".to_owned(), b"b".to_vec()), ("t/".to_owned(), Vec::new())];
        assert_eq!(read, wanted);
        for body in ["<html>", "{}", r#"[{"Key":"t/a","Value":"?"}]"#, "[1]"] {
            assert!(pairs(body.as_bytes()).is_err(), "{body}");
        }
    }
}
