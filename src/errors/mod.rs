//! Which errors appear: entries of Envoys' access logs (`StreamAccessLogs`), which their listeners send of failed attempts
//! alone and only while a rollout is judged. A message is read where it lies ([`Message`]), and [`Table`] holds what all
//! of them add up to, within bounds. Pure: no I/O, no clock, no locks; time is an argument. Nothing is ever decided by
//! it: it is for people.

mod entry;
mod line;
mod status;
mod table;
mod template;
mod versions;

pub use entry::{Entry, MOST_ENTRIES, Message};
pub use line::{ClusterErrors, Line, TOOK};
pub use status::{Flags, Status};
pub use table::{Allowance, Limits, Table};
pub use template::method;
pub use versions::by_version;

#[cfg(test)]
mod table_tests;
