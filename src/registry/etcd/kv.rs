//! Keys and their changes as they are handed on. Pure: the decoders need nothing else of etcd.

/// The longest value that is kept, bytes: etcd's default limit of a request. A declaration has a few hundred;
/// go-micro's values describe each handler of a server, and have a hundred thousand.
pub const MAX_VALUE: usize = 1536 * 1024;

/// One key, as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kv {
    /// Bytes: etcd's keys need not be UTF-8.
    pub key: Vec<u8>,
    /// Bytes; empty when there are more than [`MAX_VALUE`].
    pub value: Vec<u8>,
    /// How many bytes the value has in etcd.
    pub size: usize,
    /// The revision of the last write.
    pub mod_revision: i64,
    /// The revision in which the key came to be; another one means that it was deleted in between.
    pub create_revision: i64,
}

impl Kv {
    /// Without a value that nobody would read.
    pub(super) fn new(key: Vec<u8>, value: Vec<u8>, (mod_revision, create_revision): (i64, i64)) -> Self {
        let size = value.len();
        Self {
            key,
            value: if size > MAX_VALUE { Vec::new() } else { value },
            size,
            mod_revision,
            create_revision,
        }
    }
}

/// A change of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Written.
    Put(Kv),
    /// Deleted, or its lease ran out.
    Delete {
        /// The key.
        key: Vec<u8>,
        /// The revision of the deletion.
        mod_revision: i64,
    },
}

impl Event {
    /// The revision of the change.
    #[must_use]
    pub const fn mod_revision(&self) -> i64 {
        match self {
            Self::Put(kv) => kv.mod_revision,
            Self::Delete { mod_revision, .. } => *mod_revision,
        }
    }

    /// The bytes that it holds, of a deletion, too: one transaction may delete a million keys.
    #[must_use]
    pub const fn weight(&self) -> usize {
        size_of::<Self>()
            + match self {
                Self::Put(kv) => kv.key.len() + kv.value.len(),
                Self::Delete { key, .. } => key.len(),
            }
    }
}
