//! A body of JSON as a whole. Pure.

use crate::text::clip;

/// A body that cannot be read at all.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// Not the JSON it should be.
    #[error("the answer is not the JSON of {wanted}: {reason}")]
    Json {
        /// What it should be.
        wanted: &'static str,
        /// Where it is wrong.
        reason: String,
    },
}

pub(super) fn read<'b, T: serde::Deserialize<'b>>(
    body: &'b [u8],
    wanted: &'static str,
) -> Result<T, Unreadable> {
    serde_json::from_slice(body).map_err(|e| Unreadable::Json {
        wanted,
        reason: clip(&e.to_string()),
    })
}
