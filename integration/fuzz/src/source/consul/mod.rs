//! Answers of Consul.

#[path = "../../../../../src/source/consul/decode/mod.rs"]
mod decode;

pub use decode::{Document, Documents, Found, Names, Unreadable, document, health, named, services};
