//! The keys below one prefix, read as its format says. Pure; a key that fits no pattern belongs to nobody.

use std::borrow::Cow;
use std::sync::Arc;

use crate::config::{EtcdPrefix, Format, Named};
use crate::model::service::check_name;

/// The number of characters of a key that are shown: more than one that fits can have.
const SHOWN: usize = 600;

/// The keys of one prefix.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    prefix: String,
    format: Arc<Format>,
}

/// What a key names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Key<'a> {
    /// One instance, or all of a service that stand in one value.
    Instance {
        /// The service's name.
        service: Cow<'a, str>,
        /// Empty where the pattern has none: then a service has one key.
        id: &'a str,
    },
    /// A policy document.
    Policy {
        /// The service's name.
        service: Cow<'a, str>,
    },
}

impl Keys {
    pub(super) fn new(prefix: &EtcdPrefix) -> Self {
        Self {
            prefix: prefix.prefix.clone(),
            format: prefix.format.clone(),
        }
    }

    pub(super) fn prefix(&self) -> &str {
        &self.prefix
    }

    pub(super) const fn format(&self) -> &Arc<Format> {
        &self.format
    }

    /// The key of an instance, for messages.
    pub(super) fn name(&self, service: &str, id: &str) -> String {
        shown(format!("{}{}", self.prefix, self.format.key.write(service, id)).as_bytes())
    }

    /// Reads a key. `Ok(None)`: the key of the prefix itself, by which some mark a folder.
    ///
    /// # Errors
    /// Why it names nothing, and what would be right.
    pub(super) fn read<'a>(&'a self, key: &'a [u8]) -> Result<Option<Key<'a>>, String> {
        let rest = key
            .strip_prefix(self.prefix.as_bytes())
            .ok_or("the key is not below the prefix; ignored")?;
        if rest.is_empty() {
            return Ok(None);
        }
        let rest = std::str::from_utf8(rest).map_err(|_| "the key is not UTF-8; ignored")?;
        let ignored = |reason: String| format!("{reason}; ignored");
        let policy = self.format.policy.as_ref();
        let policy = policy
            .map_or(Ok(None), |pattern| pattern.read(rest))
            .map_err(ignored)?;
        let key = match policy {
            Some(named) => Key::Policy {
                service: self.service(named.service)?,
            },
            None => match self.format.key.read(rest).map_err(ignored)? {
                Some(Named { service, id }) => Key::Instance {
                    service: self.service(service)?,
                    id: id.unwrap_or_default(),
                },
                None => return Err(self.fits_nothing()),
            },
        };
        check_name(key.service()).map_err(ignored)?;
        Ok(Some(key))
    }

    fn service<'a>(&'a self, named: Option<Cow<'a, str>>) -> Result<Cow<'a, str>, String> {
        let fixed = || self.format.service.as_deref().map(Cow::Borrowed);
        // The configuration refuses a format that says neither.
        named
            .or_else(fixed)
            .ok_or_else(|| "names no service; ignored".to_owned())
    }

    fn fits_nothing(&self) -> String {
        let key = self.format.key.text();
        match &self.format.policy {
            Some(policy) => {
                let policy = policy.text();
                format!("fits neither {key} nor {policy} below the prefix; ignored")
            }
            None => format!("does not fit {key} below the prefix; ignored"),
        }
    }
}

impl Key<'_> {
    /// The service's name.
    pub(super) fn service(&self) -> &str {
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

    fn keys(prefix: &str, format: Option<&str>) -> Keys {
        let mut prefix = EtcdPrefix::native(prefix);
        if let Some(format) = format {
            prefix.format = Format::preset(format).unwrap();
        }
        Keys::new(&prefix)
    }

    #[test]
    fn the_two_patterns_are_read() {
        let keys = keys("/services/", None);
        let service = || "orders".into();
        assert_eq!(
            keys.read(b"/services/orders/instances/orders-7"),
            Ok(Some(Key::Instance {
                service: service(),
                id: "orders-7"
            }))
        );
        let policy = Key::Policy { service: service() };
        assert_eq!(keys.read(b"/services/orders/policy"), Ok(Some(policy)));
        assert_eq!(keys.read(b"/services/"), Ok(None));
    }

    #[test]
    fn anything_else_is_nobodys() {
        for (key, word) in [
            (&b"/services2/orders/policy"[..], "not below the prefix"),
            (b"/services/orders", "fits neither"),
            (b"/services/orders/instances", "fits neither"),
            (b"/services/orders/instances/a/b", "fits neither"),
            (b"/services/orders/policy/x", "fits neither"),
            (b"/services/orders/instances/", "fits neither"),
            (b"/services//policy", "fits neither"),
            (b"/services/orders/instances/a\n", "1 to 256"),
            (b"/services/*/policy", "`*`"),
            (b"/services/\xff/policy", "not UTF-8"),
        ] {
            let keys = keys("/services/", None);
            let reason = keys.read(key).unwrap_err();
            assert!(reason.contains(word), "{} → {reason}", shown(key));
        }
    }

    #[test]
    fn a_format_has_its_own_keys() {
        for (prefix, format, key, service, id) in [
            (
                "/services/",
                "dubbo-app",
                "/services/shop/10.0.0.7:80",
                "shop",
                "10.0.0.7:80",
            ),
            (
                "",
                "go-zero",
                "user.rpc/7587862094009",
                "user.rpc",
                "7587862094009",
            ),
            (
                "/skydns/",
                "skydns",
                "/skydns/local/skydns/rails/1",
                "rails.skydns.local",
                "1",
            ),
            (
                "/skydns/local/skydns/",
                "skydns",
                "/skydns/local/skydns/east/rails/1",
                "rails.east",
                "1",
            ),
            ("/apisix/upstreams/", "apisix", "/apisix/upstreams/7", "7", ""),
        ] {
            let keys = keys(prefix, Some(format));
            let service = service.into();
            assert_eq!(keys.read(key.as_bytes()), Ok(Some(Key::Instance { service, id })));
        }
    }

    #[test]
    fn a_shown_key_is_short_and_harmless() {
        assert_eq!(shown(b"/a/\xff\n"), "/a/\u{fffd}\u{fffd}");
        assert!(shown(&vec![b'x'; 1 << 20]).chars().count() <= SHOWN + 1);
    }
}
