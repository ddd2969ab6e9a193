//! The security of the discovery port over real sockets: TLS and its rotation, who may be
//! which node, every bound, and how many clients at once are let in.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test may panic"
)]

mod admission;
mod bootstrap;
mod identity;
mod limits;
mod loads;
mod pki;
mod port;
mod revoked;
mod status;
mod tls;
