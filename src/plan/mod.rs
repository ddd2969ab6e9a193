//! What services become: which resources each owns, what it claims on exposures, and who has which requests.
//!
//! Pure: no I/O, no clock, no locks. It knows what a resource is made of and whose it is, and none of Envoy's
//! messages: [`crate::translate`] makes those. [`Planner::plan`] answers with the difference to the plan before.

pub mod callees;
pub mod claims;
mod conflicts;
mod contested;
mod detours;
mod guards;
mod hosts;
mod imported;
pub mod owners;
mod planner;
pub mod preview;
mod remembered;
mod resources;
mod routed;
mod slips;
mod standing;
mod states;
mod step;
mod versions;
pub mod views;

pub use claims::{Claim, Claimed, claims};
pub use planner::{Explained, Planner};
pub use remembered::{Decisions, Remembered};
pub use standing::News;
pub use step::{Callees, Key, Planned, Step};
pub use versions::{Part, Split};
