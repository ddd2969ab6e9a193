//! One change of one key, what keeps a held key in the store, and whether they can be written at all. Pure.

use std::sync::Arc;
use std::time::Duration;

use super::entry::{If, MAX_KEY, MAX_VALUE};
use super::error::StoreError;

/// One change of one key, below the root.
#[derive(Clone, Copy, Debug)]
pub(super) struct Change<'a> {
    pub(super) key: &'a str,
    /// `None`: it is deleted.
    pub(super) value: Option<&'a [u8]>,
    pub(super) when: If,
    /// Only while this is held.
    pub(super) fence: Option<&'a Lease>,
    /// The key ends with it.
    pub(super) under: bool,
}

/// What keeps a held key in the store.
#[derive(Clone, Debug)]
pub(super) struct Lease {
    pub(super) id: LeaseId,
    /// What is held, below the root.
    pub(super) key: Arc<str>,
    /// When the key came to be.
    pub(super) created: u64,
    /// Without a sign of life it ends after this.
    pub(super) ttl: Duration,
}

/// As the store names it.
#[derive(Clone, Debug)]
pub(super) enum LeaseId {
    Etcd(i64),
    Consul(Arc<str>),
    File(u64),
}

impl Change<'_> {
    pub(super) fn check(&self) -> Result<(), StoreError> {
        check_key(self.key)?;
        check_value(self.key, self.value.unwrap_or_default())
    }
}

pub(super) fn check_key(key: &str) -> Result<(), StoreError> {
    let right = key.len() <= MAX_KEY
        && !key.contains(char::is_control)
        && !key.split('/').any(|part| matches!(part, "" | "." | ".."));
    if right {
        return Ok(());
    }
    let key = key.chars().take(MAX_KEY).collect();
    Err(StoreError::Key { key })
}

pub(super) fn check_value(key: &str, value: &[u8]) -> Result<(), StoreError> {
    if value.len() <= MAX_VALUE {
        return Ok(());
    }
    Err(StoreError::TooLarge {
        key: key.to_owned(),
        size: value.len(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_a_path_that_nothing_on_the_way_rewrites() {
        for right in ["a", "drains/service/a%2Fb/ü", "a.b/..c"] {
            assert_eq!(check_key(right), Ok(()), "{right}");
        }
        let long = "a".repeat(MAX_KEY + 1);
        for wrong in ["", "/a", "a/", "a//b", "a/./b", "..", "a\nb", &long] {
            assert!(check_key(wrong).is_err(), "{wrong}");
        }
    }
}
