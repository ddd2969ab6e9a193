//! Webhooks: what happens in a rollout, sent to addresses of the operator's. What is sent is made by pure functions
//! ([`Notice`], its texts); a bounded queue and a task for each address send it, and never hold up whoever decides.
//! An event is sent at least once, with an id by which a receiver knows a second one.

mod chat;
mod notice;
mod post;
mod queue;
mod sign;

pub use notice::{Notice, ended};
pub use queue::{Hooks, Patience, Sending, run};
pub use sign::{SIGNATURE, TIMESTAMP, signature};
