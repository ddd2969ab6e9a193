//! The token of operators: a file of one word, read at each use, so that a new one counts at once.

use std::io::{Error, ErrorKind};
use std::path::Path;

use super::read_small_aside;

/// Whether an `authorization` header shows what is in this file.
///
/// # Errors
/// The file cannot be read, or holds nothing.
pub async fn shows_token(file: &Path, authorization: Option<&[u8]>) -> Result<bool, Error> {
    let bytes = read_small_aside(file).await?;
    let wanted = bytes.trim_ascii();
    if wanted.is_empty() {
        return Err(Error::new(ErrorKind::InvalidData, "it is empty"));
    }
    let shown = authorization.and_then(|text| text.strip_prefix(b"Bearer "));
    Ok(is_equal(shown.unwrap_or_default(), wanted))
}

/// Takes as long wherever they differ.
fn is_equal(one: &[u8], other: &[u8]) -> bool {
    let differs = one.iter().zip(other).fold(0, |all, (a, b)| all | (a ^ b));
    one.len() == other.len() && differs == 0
}
