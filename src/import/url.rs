//! The URL of a server, as Traefik's tags and fabio's commands have it. Pure.

use crate::text::clip;

/// The scheme, host and port. A path in it is dropped there, too.
///
/// # Errors
/// It is none.
pub(super) fn place(text: &str) -> Result<(&str, &str, u16), String> {
    let bad = || format!("`{}` must be http://ADDRESS:PORT; ignored", clip(text));
    let (of, rest) = text.split_once("://").ok_or_else(bad)?;
    let authority = rest.split('/').next().unwrap_or_default();
    let usual = if of == "https" { 443 } else { 80 };
    Ok(match authority.rsplit_once(':') {
        Some((host, own)) if !own.ends_with(']') => (of, host, port(own)?),
        _ => (of, authority, usual),
    })
}

/// # Errors
/// It is none.
pub(super) fn port(text: &str) -> Result<u16, String> {
    let port = text.parse().ok().filter(|port| *port > 0);
    port.ok_or_else(|| format!("`{}` must be a port from 1 to 65535; ignored", clip(text)))
}
