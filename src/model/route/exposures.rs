//! `expose=edge` of a route: where it stands, if not wherever its service does. Pure.

use crate::text::clip;

/// The most exposures of one route.
const MAX: usize = 16;

/// Reads names of exposures, separated by commas.
pub(super) fn parse(text: &str) -> Result<Vec<String>, String> {
    let mut names: Vec<String> = text.split(',').map(str::to_owned).collect();
    names.sort();
    names.dedup();
    let word = |name: &String| {
        name != "none"
            && (1..=64).contains(&name.len())
            && name
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    };
    if names.len() > MAX || !names.iter().all(word) {
        return Err(format!(
            "`expose={}` must be the name of an exposure, or up to {MAX} of them separated by commas",
            clip(text)
        ));
    }
    Ok(names)
}
