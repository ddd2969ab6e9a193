//! `expose=edge` of a route: where it stands, if not wherever its service does. Pure.

use crate::text::clip;

/// The most exposures of one service or route.
pub const MAX: usize = 16;

/// Whether it can name an exposure that is declared.
#[must_use]
pub fn is_name(text: &str) -> bool {
    text != "none"
        && (1..=64).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
}

/// Reads names of exposures, separated by commas.
pub(super) fn parse(text: &str) -> Result<Vec<String>, String> {
    let mut names: Vec<String> = text.split(',').map(str::to_owned).collect();
    names.sort();
    names.dedup();
    if names.len() > MAX || !names.iter().all(|name| is_name(name)) {
        return Err(format!(
            "`expose={}` must be the name of an exposure, or up to {MAX} of them separated by commas",
            clip(text)
        ));
    }
    Ok(names)
}
