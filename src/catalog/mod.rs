//! All sources merged into one catalog: what is believed of each ([`guard`], [`probe`]), what takes the place of what
//! cannot be read ([`last_good`]), and what several say of one service (`union`, `vote`).
//!
//! Pure: no I/O, no clock, no locks. Says which services an event really touched; never decides what becomes of them in
//! Envoy.

mod drained;
pub mod find;
pub mod guard;
mod history;
pub mod last_good;
mod linger;
mod merge;
pub mod probe;
mod repaired;
pub mod source_state;
pub mod sources;
pub mod touched;
mod union;
mod vote;

pub use source_state::{Settings, SourceState};
pub use sources::Catalog;
pub use touched::Touched;
