//! Rollouts: which share of a service's requests a new version gets, decided by what clients report of it.
//! [`decide()`] takes what is remembered ([`Record`]), the policy ([`Settings`]) and what is seen ([`Facts`]), and gives
//! the next record, with what happened ([`Event`]). Pure: no I/O, no clock, no locks; time is an argument.
//!
//! "No data" is neither good nor bad: a version that nothing is known of is never promoted and never rejected.

mod advance;
mod beta;
mod bounds;
mod choose;
mod data;
mod decide;
mod end;
mod event;
mod evidence;
mod facts;
mod find;
mod judge;
mod load;
mod neighbours;
mod order;
mod pass;
mod record;
mod report;
mod settings;
mod tally;
mod verdict;
mod words;

pub use bounds::{MAX_BYTES, MAX_VERSION};
pub use decide::{Decision, decide};
pub use event::{Event, Happened, Severity};
pub use evidence::Evidence;
pub use facts::{Answer, Clients, Count, Facts, Instances, Neighbours, Row, Run, Stratum, Sum};
pub use neighbours::{Neighbour, Watched};
pub use order::{Order, Person, order};
pub use record::{Hold, Ordered, Outcome, Past, Phase, Record, Rejected, Retired, Rollout, Waiting, Why};
pub use report::{ErrorLine, Report};
pub use settings::{Gate, OnNoData, Pass, Settings, Step};
pub use tally::{Mark, Pair, Seen, Tally};
pub use verdict::{Affected, Load, Sample, Signal, SignalVerdict, StratumVerdict, Verdict};

#[cfg(test)]
mod settings_tests;
