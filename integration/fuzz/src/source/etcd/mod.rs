//! Keys and values of etcd.

#[path = "../../../../../src/source/etcd/entries.rs"]
mod entries;
#[path = "../../../../../src/source/etcd/fields.rs"]
mod fields;
#[path = "../../../../../src/source/etcd/foreign.rs"]
mod foreign;
#[path = "../../../../../src/source/etcd/items.rs"]
mod items;
#[path = "../../../../../src/source/etcd/kept.rs"]
mod kept;
#[path = "../../../../../src/source/etcd/keys.rs"]
mod keys;
#[path = "../../../../../src/source/etcd/room.rs"]
mod room;
#[path = "../../../../../src/source/etcd/state.rs"]
mod state;
#[path = "../../../../../src/source/etcd/value.rs"]
mod value;

pub use state::{Relisting, State};
