//! The driver of rollouts: one task follows the records in shared state and gives the hub the shares that they mean; it
//! counts what clients report of services that are judged; and on the one bridge that leads it decides, by the pure
//! `rollout`, and writes what follows. [`Desk`] is the handle for all others.
//!
//! Never moves anything while shared state is away, never writes without the lead (but for orders, with a compare), and
//! never writes a record that it cannot read.

mod counting;
mod counts;
mod desk;
mod facts;
mod gate;
mod gates;
mod leading;
mod records;
mod settings;
mod task;
mod unsaid;
mod work;

pub use desk::{Desk, Notice, Refused, Sight};
pub use work::Pilot;

#[cfg(test)]
mod task_tests;
