//! Discovery streams: which path is which, when they begin, what their requests and responses are. What a client is
//! sent is decided by the engine in `xds`.

mod admission;
mod body;
mod peer;
mod service;
mod shared;

pub(super) use service::Discovery;
