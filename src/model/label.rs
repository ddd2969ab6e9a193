//! A version, a zone or a region, as it is declared. Pure.

use std::sync::Arc;

use crate::text::clip;

/// The longest version or zone that is declared, bytes.
pub const MAX_LABEL: usize = 128;

/// A version or a zone; an empty one is none.
pub(super) fn label(text: &str, what: &str) -> Result<Option<Arc<str>>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    let fits = text.len() <= MAX_LABEL
        && text
            .bytes()
            .all(|b| b.is_ascii_graphic() && b != b'@' && b != b'/');
    if !fits {
        return Err(format!(
            "`{}` must be {what}: at most {MAX_LABEL} visible ASCII characters, no @ or /",
            clip(text)
        ));
    }
    Ok(Some(text.into()))
}
