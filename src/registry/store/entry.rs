//! One key, what it must be to be written, and the bounds. Pure.

use std::sync::Arc;

use bytes::Bytes;

/// The longest value, bytes: a tenth of what Consul takes (512 KiB), and less of what etcd does.
pub const MAX_VALUE: usize = 48 << 10;
/// The longest key below the root, bytes.
pub const MAX_KEY: usize = 2_048;
/// Keys below the root, at most, and their bytes with all values.
pub const MAX_KEYS: usize = 10_000;
/// See [`MAX_KEYS`].
pub const MAX_BYTES: usize = 16 << 20;

/// When a key was written last. Only equality means something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Revision(pub(super) u64);

/// One key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Below the root.
    pub key: Arc<str>,
    /// Empty where it is longer than [`MAX_VALUE`].
    pub value: Bytes,
    /// How long it is in the store, bytes.
    pub size: usize,
    /// Of its last write.
    pub revision: Revision,
}

/// What a key must be for it to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum If {
    /// Anything.
    Always,
    /// Not there.
    Absent,
    /// As it was at this revision.
    Revision(Revision),
}

impl Entry {
    /// A key with this value, as it would be listed.
    #[must_use]
    pub fn of(key: &str, value: &[u8], revision: u64) -> Self {
        Self::new(key, value.to_vec(), value.len(), revision)
    }

    /// Without a value that nobody would read.
    pub(super) fn new(key: &str, value: Vec<u8>, size: usize, revision: u64) -> Self {
        let value = if size > MAX_VALUE { Vec::new() } else { value };
        Self {
            key: key.into(),
            value: value.into(),
            size,
            revision: Revision(revision),
        }
    }
}
