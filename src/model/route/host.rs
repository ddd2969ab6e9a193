//! Hosts that a route names. Pure.

use crate::text::clip;

/// The most hosts of one route.
const MAX_HOSTS: usize = 16;

/// Whether `text` can be the domain of a virtual host (no port, no wildcard).
#[must_use]
pub fn is_host(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 253
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
        && !text.starts_with('.')
        && !text.ends_with('.')
}

/// Reads `api.example.com`, `*.example.com`, or several, separated by commas.
pub(super) fn parse(word: &str, text: &str) -> Result<Vec<String>, String> {
    let mut hosts: Vec<String> = text.split(',').map(str::to_ascii_lowercase).collect();
    hosts.sort();
    hosts.dedup();
    let fits = |host: &String| is_host(host.strip_prefix("*.").unwrap_or(host));
    if hosts.len() > MAX_HOSTS || !hosts.iter().all(fits) {
        return Err(format!(
            "`{word}={}` must be a host name without a port, `*.example.com` for all below it, or up to {MAX_HOSTS} of \
             these separated by commas",
            clip(text)
        ));
    }
    Ok(hosts)
}
