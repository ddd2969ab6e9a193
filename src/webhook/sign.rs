//! The signature of what is sent: HMAC-SHA256 over the time and the body, so that nobody can send the same again later.
//! Pure.

use ring::hmac::{HMAC_SHA256, Key, sign};

use super::notice::hex;

/// The header with the time of sending, seconds since 1970.
pub const TIMESTAMP: &str = "x-xds-bridge-timestamp";

/// The header with the signature: `v1=` and 64 hexadecimal digits.
pub const SIGNATURE: &str = "x-xds-bridge-signature";

/// Of `TIMESTAMP.BODY`.
#[must_use]
pub fn signature(secret: &[u8], timestamp: u64, body: &[u8]) -> String {
    let key = Key::new(HMAC_SHA256, secret);
    let signed = [timestamp.to_string().as_bytes(), b".", body].concat();
    format!("v1={}", hex(sign(&key, &signed).as_ref()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By `printf '%s' '1700000000.{"a":1}' | openssl dgst -sha256 -hmac secret`.
    #[test]
    fn a_signature_is_what_others_compute() {
        assert_eq!(
            signature(b"secret", 1_700_000_000, br#"{"a":1}"#),
            "v1=49f24e537407743fa4a0242bb63b94b9a47ee99cbbe071ccd8a22550ae411686"
        );
    }
}
