//! The declaration language: one row per key. Pure.
//!
//! A new key is a variant of [`Key`](super::Key), a field of [`Policy`](super::Policy) or
//! [`InstanceKeys`](super::policy::InstanceKeys), and a row in `rows.rs`. Parsing, precedence, votes, last good
//! values, warnings, the cache, `xds-bridge keys` and the table in the documents follow from the row.

mod cluster_rows;
mod field;
mod precedence;
mod rollout_rows;
mod row;
mod rows;
mod spelling;
mod values;

pub use row::{Row, Scope};
pub use spelling::{Spelling, nearest, prefixed};
pub use values::{MAX_IMPORTED_ROUTES, MAX_ROUTES};
