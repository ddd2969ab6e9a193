//! What a stream sends: a small header of its own, and frames that all streams share.

use std::fmt;
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};

use super::kind::Kind;
use super::resource::Resource;
use super::variant::Variant;
use super::wire::{self, field};

/// Bytes before a message of gRPC: a flag, and the length.
const PREFIX: usize = 5;

/// Bytes that a name takes besides itself: its tag, and a length of three bytes at most.
const NAME: usize = 4;

/// One discovery response.
#[derive(Clone, Debug)]
pub struct Response {
    /// Decides the message type.
    pub variant: Variant,
    /// Its type.
    pub kind: Kind,
    /// Unique within the stream, never empty.
    pub nonce: String,
    /// `version_info` or `system_version_info`.
    pub version: String,
    /// New or changed; in state of the world the whole set for LDS and CDS.
    pub resources: Vec<Arc<Resource>>,
    /// The frames of the resources, in their order, shared with other streams.
    pub pieces: Vec<Bytes>,
    /// Gone (delta only).
    pub removed: Vec<Arc<str>>,
    /// There is none of this name (state of the world, for gRPC's own clients only, which
    /// would else wait 15 s): `resource_errors` with `NOT_FOUND`.
    pub missing: Vec<Missing>,
}

/// A name that there is no resource of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// The name.
    pub name: Arc<str>,
    /// Why there is none; empty: nobody knows more.
    pub why: String,
}

/// As its name.
impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl Response {
    /// The gRPC prefix (5 bytes: not compressed, length) and all fields but the resources.
    /// The pieces follow, in any order: protobuf fields may come in any order.
    #[must_use]
    pub fn head(&self) -> Bytes {
        // Once: the names of a removal may be a megabyte.
        let names: usize = self.removed.iter().map(|name| name.len() + NAME).sum();
        let mut head = BytesMut::with_capacity(160 + names);
        head.put_bytes(0, PREFIX);
        field(&mut head, 1, self.version.as_bytes());
        field(&mut head, 4, self.kind.type_url().as_bytes());
        field(&mut head, 5, self.nonce.as_bytes());
        for name in &self.removed {
            field(&mut head, 6, name.as_bytes());
        }
        for missing in &self.missing {
            field(&mut head, 7, &wire::not_found(&missing.name, &missing.why));
        }
        let pieces: usize = self.pieces.iter().map(Bytes::len).sum();
        let length = u32::try_from(head.len() - PREFIX + pieces).unwrap_or(u32::MAX);
        head[1..PREFIX].copy_from_slice(&length.to_be_bytes());
        head.freeze()
    }

    /// The frames one by one; together they are the pieces.
    pub fn frames(&self) -> impl Iterator<Item = Bytes> + '_ {
        self.resources.iter().map(|r| r.frame(self.variant))
    }
}
