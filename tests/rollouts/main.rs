//! Rollouts, decided in simulated worlds: transcripts of a good and a bad one, orders, stored data, random histories,
//! and how often a good version is taken back and a bad one is not.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]
#![allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "simulated numbers are small"
)]

mod cases;
mod data;
mod detection;
mod false_alarms;
mod holds;
mod orders;
mod properties;
mod said;
mod transcripts;
mod world;
