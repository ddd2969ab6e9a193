//! A route that a service declares for itself: which requests, and what becomes of them. It is written as words,
//! `host=api.x path=/orders header=x-canary:1 timeout=2s`. Pure.

pub mod connections;
pub mod cors;
pub mod criterion;
mod draft;
pub mod exposures;
pub mod extras;
pub mod hash;
pub mod headers;
pub mod host;
pub mod instead;
pub mod matcher;
mod read;
pub mod retry;
pub mod rewrite;
pub mod rule;
pub mod shares;
mod values;
mod word;
mod words;

pub use connections::Place;
pub use criterion::{Criterion, Test};
pub use extras::{Extras, Target};
pub use host::is_host;
pub use matcher::{GrpcMethod, Matcher};
pub use read::MAX as MAX_BYTES;
pub use rule::{IMPORTED, RouteRule};
pub use word::Word;
pub use words::WORDS;
