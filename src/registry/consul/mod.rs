//! A thin client of Consul's HTTP API: one request, one typed answer.
//!
//! The transport over TCP is rs-consul's own client type, built here, so that the calls that
//! rs-consul does rightly run over the same connections ([`Client::simple`]). The
//! reads that a watch needs are sent here: rs-consul drops all headers but the
//! index, reads them from errors too, and does not percent-encode names.
//!
//! Never: a retry (but one after a rotated token), a watch loop, a look at a file that nobody asked
//! for, or a belief in what was read.

mod agent;
mod client;
mod crowding;
mod departure;
mod error;
mod peering;
mod query;
mod rights;
mod tls;
mod token;
mod transport;

pub use client::{Answer, Backend, Client};
pub use crowding::Crowding;
pub use error::{Error, Failure, chain};
pub use peering::Peering;
pub use query::{Mode, Query, Scope};
pub use rights::{Grant, Right};
pub use tls::TlsFiles;
pub use transport::Transport;
