//! A few keys that bridges share, in etcd, in Consul's KV store, or (one bridge alone) in a file: read, written with a
//! compare, followed, and held for as long as a process lives.
//!
//! | | etcd | Consul | file |
//! |---|---|---|---|
//! | revision | `mod_revision` | `ModifyIndex` | counted |
//! | compare | a transaction | a transaction (`cas`) | a lock |
//! | follow | list, watch from the next revision | `?recurse&consistent`, blocking | in the process |
//! | hold | a lease | a session with `Behavior: delete` | the process |
//! | fence | the `create_revision` of the held key | `check-session` on the held key | the hold |
//!
//! After any break everything is read again, consistently: these are few keys, so no history has to be resumed, and a
//! restored backup, a compaction or another leader make no difference. Never: policy (what a key means), a retry of a write, a
//! value in a message, a touch of keys that are not named.

mod backend;
mod change;
mod consul;
mod entry;
mod error;
mod etcd;
mod file;
mod hold;
mod shared;
mod watch;

pub use entry::{Entry, If, MAX_BYTES, MAX_KEY, MAX_KEYS, MAX_VALUE, Revision};
pub use error::StoreError;
pub use hold::{Held, Hold};
pub use shared::Store;
pub use watch::{Entries, Pauses, Status, View, Watching};
