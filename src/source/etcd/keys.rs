//! The keys of the `native` format, below the prefix:
//! `SERVICE/instances/ID` and `SERVICE/policy`. Pure; any other key belongs to nobody.

use crate::model::service::check_name;

/// The longest instance id, bytes.
const MAX_ID: usize = 256;
/// So many characters of a key are shown.
const SHOWN: usize = 300;

/// What a key names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key<'a> {
    /// `SERVICE/instances/ID`
    Instance {
        /// The service's name.
        service: &'a str,
        /// The last part of the key.
        id: &'a str,
    },
    /// `SERVICE/policy`
    Policy {
        /// The service's name.
        service: &'a str,
    },
}

/// Reads a key that begins with `prefix`.
///
/// # Errors
/// Why it names nothing, and what would be right.
pub(super) fn parse<'a>(prefix: &str, key: &'a [u8]) -> Result<Key<'a>, String> {
    let text = std::str::from_utf8(key).map_err(|_| "the key is not UTF-8; ignored")?;
    let rest = text
        .strip_prefix(prefix)
        .ok_or("the key is not below the prefix; ignored")?;
    let mut parts = rest.split('/');
    let key = match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some(service), Some("instances"), Some(id), None) => {
            if id.is_empty() || id.len() > MAX_ID || id.chars().any(char::is_control) {
                return Err(format!(
                    "an instance id has 1 to {MAX_ID} bytes and no control characters; ignored"
                ));
            }
            Key::Instance { service, id }
        }
        (Some(service), Some("policy"), None, None) => Key::Policy { service },
        _ => {
            return Err(
                "fits neither SERVICE/instances/ID nor SERVICE/policy below the prefix; ignored".to_owned(),
            );
        }
    };
    check_name(key.service()).map_err(|reason| format!("{reason}; ignored"))?;
    Ok(key)
}

impl<'a> Key<'a> {
    /// The service's name.
    pub(super) const fn service(&self) -> &'a str {
        match self {
            Self::Instance { service, .. } | Self::Policy { service } => service,
        }
    }
}

/// A key for messages: lossy, bounded, without control characters.
pub(super) fn shown(key: &[u8]) -> String {
    // Cut before decoding: a key may have megabytes.
    let head = &key[..key.len().min(SHOWN)];
    let mut text: String = String::from_utf8_lossy(head)
        .chars()
        .map(|c| {
            if c.is_control() {
                char::REPLACEMENT_CHARACTER
            } else {
                c
            }
        })
        .collect();
    if head.len() < key.len() {
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_two_patterns_are_read() {
        assert_eq!(
            parse("/services/", b"/services/orders/instances/orders-7"),
            Ok(Key::Instance {
                service: "orders",
                id: "orders-7"
            })
        );
        assert_eq!(
            parse("/services/", b"/services/orders/policy"),
            Ok(Key::Policy { service: "orders" })
        );
    }

    #[test]
    fn anything_else_is_nobodys() {
        for (key, word) in [
            (&b"/services2/orders/policy"[..], "not below the prefix"),
            (b"/services/orders", "fits neither"),
            (b"/services/", "fits neither"),
            (b"/services/orders/instances", "fits neither"),
            (b"/services/orders/instances/a/b", "fits neither"),
            (b"/services/orders/policy/x", "fits neither"),
            (b"/services/orders/instances/", "1 to 256"),
            (b"/services/orders/instances/a\n", "1 to 256"),
            (b"/services//policy", "1 to 200"),
            (b"/services/*/policy", "`*`"),
            (b"/services/\xff/policy", "not UTF-8"),
        ] {
            let reason = parse("/services/", key).unwrap_err();
            assert!(reason.contains(word), "{} → {reason}", shown(key));
        }
    }

    #[test]
    fn a_shown_key_is_short_and_harmless() {
        assert_eq!(shown(b"/a/\xff\n"), "/a/\u{fffd}\u{fffd}");
        assert!(shown(&vec![b'x'; 1 << 20]).chars().count() <= SHOWN + 1);
    }
}
