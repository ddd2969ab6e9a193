//! What Consul answers, as records of the model: names, health, policy documents. Pure: no I/O, no clock.

mod body;
pub(crate) mod document;
mod entries;
mod instance;
mod pairs;
pub(crate) mod parse;
mod select;
mod wire;

pub use body::Unreadable;
pub use document::{Document, Documents, document, named};
pub(crate) use pairs::{Pairs, pairs};
pub(crate) use parse::elsewhere;
pub use parse::{Found, Names, health, services};
