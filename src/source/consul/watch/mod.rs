//! Following things in Consul: blocking reads, sweeps of what has no watch, and the rolling audit.
//!
//! [`follow`](follow()) repeats [`step`](step()) for one [`Subject`](subject::Subject): read, judge, confirm, send. The
//! rules of belief are in `step` and [`stream`]; what an answer means is up to the subject. Never decides what is
//! delivered: findings go to the supervisor.

pub(crate) mod audit;
mod belief;
mod blocking;
pub(crate) mod detector;
pub(crate) mod documents;
mod follow;
pub(crate) mod health;
pub(crate) mod names;
mod next;
mod policies;
mod step;
mod stream;
pub(crate) mod subject;
pub(crate) mod sweep;
pub(crate) mod tree;

pub(crate) use belief::Belief;
pub(crate) use follow::{End, follow};
pub(crate) use next::Next;
pub(crate) use step::step;
