//! Files that an operator names, and those that the bridge writes. Reading never waits for a pipe and never holds more
//! than a bound; writing replaces a whole file or nothing. Never decides what a content is good for, nor when to look
//! again.

pub mod jwks;
pub mod pem;
mod read;
mod replace;
mod steady;
mod token;

pub use pem::{PemError, PemFile, fingerprint, seen, usable_pair};
pub use read::{read, read_small, read_small_aside};
pub use replace::replace;
pub use steady::Steady;
pub use token::shows_token;
