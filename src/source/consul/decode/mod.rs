//! What Consul answers, as records of the model: names, health, policy documents. Pure: no I/O, no clock.

pub(crate) mod document;
mod instance;
pub(crate) mod parse;
mod select;
mod wire;

pub use document::{Document, Documents, document, named};
pub(crate) use parse::elsewhere;
pub use parse::{Found, Names, Unreadable, health, services};
