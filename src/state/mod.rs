//! What bridges share beside the registry's entries, such as drains: one task follows it and publishes typed documents;
//! everybody writes by the handle.
//!
//! Never decides anything by what is shared, never overwrites a document that it cannot read, and keeps what it saw
//! last while the registry is away.

pub mod document;
mod handle;
mod kept;
pub mod path;
mod presence;
mod questions;
mod recall;
mod task;

pub use crate::registry::store::Status;
pub use document::{Answer, Documents, Drain, Laggard, Question, Replica, Unreadable, Wanted};
pub use handle::{DESCRIPTORS, Snapshot, State, StateError, random_id};
pub use path::{Path, Target};
pub use questions::{Answering, Asked};
pub use task::Task;
