//! A route that a service declares for itself: which requests, and what becomes of them. It is written as words,
//! `host=api.x path=/orders header=x-canary:1 timeout=2s`. Pure.

pub mod cors;
pub mod criterion;
pub mod extras;
pub mod hash;
pub mod headers;
pub mod host;
pub mod instead;
mod read;
pub mod retry;
pub mod rewrite;
pub mod rule;
pub mod shares;
mod words;

pub use criterion::{Criterion, Test};
pub use extras::{Extras, Target};
pub use host::is_host;
pub use rule::{GrpcMethod, Matcher, RouteRule};
pub use words::{WORDS, Word};
