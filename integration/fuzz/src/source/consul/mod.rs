//! Answers of Consul.

#[path = "../../../../../src/source/consul/document.rs"]
mod document;
#[path = "../../../../../src/source/consul/parse.rs"]
mod parse;
#[path = "../../../../../src/source/consul/select.rs"]
mod select;
#[path = "../../../../../src/source/consul/wire.rs"]
mod wire;

pub use document::{Document, Documents, document, named};
pub use parse::{Found, Names, Unreadable, health, services};
