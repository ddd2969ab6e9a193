//! Keys of issuers of tokens (RFC 7517), as far as Envoy takes them: one that it cannot use costs the whole listener.

use base64::Engine as _;
use base64::engine::general_purpose::{URL_SAFE, URL_SAFE_NO_PAD};
use serde_json::Value;

use super::pem::{PemError, PemFile};

/// The bytes of a file that Envoy can use: a set with at least one key that it knows.
///
/// # Errors
/// [`PemError::Jwks`]
pub fn usable(file: &PemFile) -> Result<Vec<u8>, PemError> {
    let wrong = |why| PemError::Jwks {
        path: file.path().to_owned(),
        why,
    };
    let set: Value = serde_json::from_slice(file.bytes()).map_err(|_| wrong("it is no JSON"))?;
    let keys = set.get("keys").and_then(Value::as_array);
    let keys = keys.ok_or_else(|| wrong("it must be {\"keys\": […]}"))?;
    if keys.iter().any(is_usable) {
        return Ok(file.bytes().to_vec());
    }
    Err(wrong(
        "it needs a key with kty RSA (n, e), EC (crv P-256, P-384 or P-521, x, y) or OKP (crv Ed25519, x)",
    ))
}

fn is_usable(key: &Value) -> bool {
    let text = |name: &str| key.get(name).and_then(Value::as_str);
    let bytes = |name: &str| {
        let text = text(name)?;
        let decoded = URL_SAFE_NO_PAD.decode(text).or_else(|_| URL_SAFE.decode(text));
        decoded.ok().map(|bytes| bytes.len())
    };
    let alg = text("alg").unwrap_or_default();
    match (text("kty"), text("crv")) {
        (Some("RSA"), _) => {
            (alg.is_empty() || alg.starts_with("RS") || alg.starts_with("PS"))
                && bytes("n").is_some_and(|n| n >= 128)
                && bytes("e").is_some_and(|e| e > 0)
        }
        (Some("EC"), Some(curve)) => {
            let (length, name) = match curve {
                "P-256" => (32, "ES256"),
                "P-384" => (48, "ES384"),
                "P-521" => (66, "ES512"),
                _ => return false,
            };
            (alg.is_empty() || alg == name) && bytes("x") == Some(length) && bytes("y") == Some(length)
        }
        (Some("OKP"), Some("Ed25519")) => (alg.is_empty() || alg == "EdDSA") && bytes("x") == Some(32),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<u8>, PemError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys.json");
        std::fs::write(&path, text).unwrap();
        usable(&PemFile::read(&path).unwrap())
    }

    #[test]
    fn a_set_needs_one_key_that_envoy_knows() {
        let (b32, b256) = ("A".repeat(43), "A".repeat(342));
        let ec = format!(r#"{{"kty":"EC","crv":"P-256","x":"{b32}","y":"{b32}"}}"#);
        let rsa = format!(r#"{{"kty":"RSA","n":"{b256}","e":"AQAB"}}"#);
        let okp = format!(r#"{{"kty":"OKP","crv":"Ed25519","x":"{b32}"}}"#);
        for key in [&ec, &rsa, &okp, &format!(r#"{{"kty":"new"}},{ec}"#)] {
            assert!(read(&format!(r#"{{"keys":[{key}]}}"#)).is_ok(), "{key}");
        }
        for (text, words) in [
            ("no", "it is no JSON"),
            ("{}", "it must be"),
            (r#"{"keys":[]}"#, "it needs a key"),
            (r#"{"keys":[{"kty":"oct","k":"AAAA"}]}"#, "it needs a key"),
            (
                r#"{"keys":[{"kty":"RSA","n":"AQAB","e":"AQAB"}]}"#,
                "it needs a key",
            ),
        ] {
            let error = read(text).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
    }
}
