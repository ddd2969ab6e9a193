//! Load reports (LRS): what clients say of the requests that they send to each endpoint. A report is read where it lies,
//! [`Talk`] decides what a client is sent, and [`Table`] holds what is known of all clients. Pure: no I/O, no clock, no
//! locks; time is an argument. What is not known is never taken for zero.

mod client;
mod crowded;
mod ends;
mod flight;
mod names;
mod report;
mod sums;
mod table;
mod talk;
mod view;
mod who;

pub use flight::{Flight, Why};
pub use report::{Bounds, Counts, Report};
pub use sums::{Sum, Sums};
pub use table::{ClientId, Limits, Table};
pub use talk::{SLOW, Say, Settings, Talk};
pub use view::{ClientView, EndView, RowView, ServiceView, Totals, is_cluster_of, is_spare};
pub use who::{Kind, Who};

#[cfg(test)]
mod table_tests;
