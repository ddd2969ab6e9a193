//! A thin client of Consul's HTTP API: one request, one typed answer.
//!
//! The transport over TCP is rs-consul's own client type, built here, so that TLS and HTTP/2 are set
//! up in one way. The requests are sent here: rs-consul drops all headers but the index, reads them from errors too, and
//! does not percent-encode names.
//!
//! Never: a retry (except one after a rotated token), a watch loop, a check of a file by itself, or a judgement of what
//! was read.

mod agent;
mod answer;
mod body;
mod client;
mod error;
mod overload;
mod peering;
mod query;
mod rights;
mod send_signal;
mod tls;
mod token;
mod transport;
mod write;

pub use answer::{Answer, Backend};
pub use client::Client;
pub use error::{Error, Failure, chain};
pub use overload::Overload;
pub use peering::Peering;
pub use query::{Mode, Query, Scope};
pub use rights::{Grant, Right};
pub use tls::TlsFiles;
pub use transport::Transport;
pub use write::{Op, Outcome, Pair, pairs};
