//! Redirects: another code for GET than for other methods, and of expressions those that name a host. Pure.

use crate::import::route::Draft;

/// The middleware `redirectScheme`.
pub(super) fn redirect_scheme(drafts: &mut Vec<Draft>, scheme: &str, port: Option<&str>, permanent: bool) {
    each(drafts, permanent, |draft| {
        let host = draft.requests.only_host();
        match (host, port) {
            (_, Some(port)) => format!("{scheme}://{}:{port}", host.unwrap_or("*")),
            // The port of the request is dropped, which Envoy does only where the route names the host.
            (Some(host), None) => format!("{scheme}://{host}"),
            (None, None) => format!("{scheme}:"),
        }
    });
}

/// The middleware `redirectRegex`, where it changes the scheme, or the host, and keeps the rest.
///
/// # Errors
/// It is another one.
pub(super) fn redirect_regex(
    drafts: &mut Vec<Draft>,
    regex: &str,
    replacement: &str,
    permanent: bool,
) -> Result<(), String> {
    let unlike =
        || "redirectRegex is possible here only as `^https?://HOST/(.*)` to `https://OTHER/${1}`".to_owned();
    let (from, host) = origin(regex).ok_or_else(unlike)?;
    let rest = replacement
        .strip_suffix("$1")
        .or_else(|| replacement.strip_suffix("${1}"));
    let to = rest.and_then(|rest| {
        if host.is_empty() {
            Some(rest)
        } else {
            rest.strip_suffix('/')
        }
    });
    let (scheme, other) = to.and_then(|to| to.split_once("://")).ok_or_else(unlike)?;
    let same_scheme = from != "https?" && from == scheme;
    if !matches!(scheme, "http" | "https") || other.contains(['$', '/']) || (same_scheme && other == host) {
        return Err(unlike());
    }
    if host.is_empty() != other.is_empty() {
        return Err(unlike());
    }
    if from == "https"
        || drafts
            .iter()
            .any(|draft| !host.is_empty() && draft.requests.only_host() != Some(&host))
    {
        return Err(unlike());
    }
    let to = if other.is_empty() {
        format!("{scheme}:")
    } else {
        format!("{scheme}://{other}")
    };
    each(drafts, permanent, |_| to.clone());
    Ok(())
}

/// `^https?://www\.example\.com/(.*)`: the scheme and the host, which is empty for `^http://(.*)`.
fn origin(regex: &str) -> Option<(&'static str, String)> {
    let rest = regex.strip_prefix('^')?;
    let rest = rest.strip_suffix('$').unwrap_or(rest).strip_suffix("(.*)")?;
    let schemes = [
        ("https?", "https?://"),
        ("https", "https://"),
        ("http", "http://"),
    ];
    let (scheme, rest) = schemes
        .into_iter()
        .find_map(|(name, text)| Some((name, rest.strip_prefix(text)?)))?;
    let host = match rest.strip_suffix('/') {
        None if rest.is_empty() => String::new(),
        None => return None,
        Some(host) => host.replace("\\.", "."),
    };
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.');
    host.bytes()
        .all(plain)
        .then(|| (scheme, host.to_ascii_lowercase()))
}

/// GET is redirected with other codes than the rest.
fn each(drafts: &mut Vec<Draft>, permanent: bool, to: impl Fn(&Draft) -> String) {
    let (of_get, of_others) = if permanent { ("301", "308") } else { ("302", "307") };
    let mut after = Vec::new();
    for mut draft in std::mem::take(drafts) {
        if draft.ended {
            after.push(draft);
            continue;
        }
        let place = to(&draft);
        draft.add("redirect", place);
        draft.ended = true;
        // What would reach the server is of no use in a redirect.
        draft.words.retain(|(word, _)| {
            word.starts_with("redirect") || word.contains("response-header") || word.ends_with("-ips")
        });
        let only = draft.requests.methods.clone();
        let get = "GET".to_owned();
        let takes_get = only
            .as_ref()
            .is_none_or(|(names, not)| names.contains(&get) != *not);
        let only_get = matches!(&only, Some((names, false)) if *names == [get.clone()]);
        if takes_get {
            let mut of = draft.clone();
            of.requests.methods = Some((vec![get], false));
            of.add("redirect-code", of_get);
            after.push(of);
        }
        if !only_get {
            draft.add("redirect-code", of_others);
            after.push(draft);
        }
    }
    *drafts = after;
}
