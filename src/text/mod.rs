//! Text for people, in one way everywhere: somebody else's words in a message, the first of many names, an error with
//! its causes, durations. Pure; imports nothing of ours, and knows nothing of services.

mod chain;
mod clip;
mod duration;
pub mod expression;
mod list;

pub use chain::{causes, chain};
pub use clip::{clip, clip_to, head, on_lines};
pub use duration::{parse_duration, show_duration};
pub use list::list;
