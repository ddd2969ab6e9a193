//! What bridges share beside the registry's entries, such as drains: one task follows it and publishes typed documents;
//! everybody writes by the handle.
//!
//! Never decides anything by what is shared, never overwrites a document that it cannot read, and keeps what it saw
//! last while the registry is away.

pub mod counted;
pub mod document;
mod handle;
mod kept;
mod leader;
mod parts;
pub mod path;
mod presence;
mod questions;
mod recall;
mod share;
mod task;
mod unreadable;

pub use crate::registry::store::{If, Revision, Status, StoreError};
pub use counted::{Counted, Data, Leader};
pub use document::{Answer, Documents, Drain, Laggard, Question, Replica, Unreadable, Wanted};
pub use handle::{DESCRIPTORS, Snapshot, State, StateError, random_id};
pub use leader::Lead;
pub use path::{Path, Target};
pub use questions::{Answering, Asked};
pub use share::Counting;
pub use task::Task;
