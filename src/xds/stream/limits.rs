//! Bounds of one stream, and why it ends with an error.

use std::time::Duration;

/// Bounds of one stream.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Names per type.
    pub names: usize,
    /// Bytes of names, of all types.
    pub name_bytes: usize,
    /// A response is split before it grows beyond this many bytes (gRPC clients refuse 4 MiB).
    pub response_bytes: usize,
    /// Longest time a resource is held back for another type (rule 48).
    pub gate: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            names: 200_000,
            name_bytes: 32 << 20,
            response_bytes: 3_500_000,
            gate: Duration::from_secs(10),
        }
    }
}

/// Longest part of a node, in bytes: it is kept as long as the stream lives, and is part of each of its
/// log lines. The same for a name that is not answered by the end of the stream.
pub const MAX_TEXT: usize = 4096;

/// Bytes of names longer than [`MAX_NAME`](super::MAX_NAME) whose removal is sent.
pub(super) const TOO_LONG: usize = 16 << 10;

/// Why a stream ends with an error.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Rule 2.
    #[error("the first request of a stream must carry the node")]
    NoNode,
    /// Rule 3.
    #[error("a request on the aggregated service needs a type_url")]
    NoType,
    /// Rule 3.
    #[error("this service serves {wanted} only, not {got}")]
    WrongType {
        /// The type of the service.
        wanted: &'static str,
        /// The type of the request.
        got: String,
    },
    /// [`MAX_TEXT`]
    #[error("{what} is longer than {MAX_TEXT} bytes")]
    TooLong {
        /// A name, or a part of the node.
        what: &'static str,
    },
    /// A bound of [`Limits`].
    #[error("more than {limit} names of one type on one stream")]
    TooManyNames {
        /// The bound.
        limit: usize,
    },
    /// A bound of [`Limits`].
    #[error("more than {limit} bytes of names on one stream")]
    TooManyBytes {
        /// The bound.
        limit: usize,
    },
    /// Of all streams together.
    #[error("too many names that nobody serves, on all streams together")]
    Full,
}

/// Refuses what is longer than [`MAX_TEXT`].
pub(super) fn short<'a>(
    what: &'static str,
    texts: impl IntoIterator<Item = &'a String>,
) -> Result<(), Refusal> {
    if texts.into_iter().any(|text| text.len() > MAX_TEXT) {
        return Err(Refusal::TooLong { what });
    }
    Ok(())
}

/// A client's text, for a status and a log line: bounded, on one line.
pub(super) fn shown(text: &str) -> String {
    let printable = |c: char| {
        if c.is_control() {
            char::REPLACEMENT_CHARACTER
        } else {
            c
        }
    };
    text.chars().take(200).map(printable).collect()
}
