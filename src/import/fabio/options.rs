//! The options of a tag, as words of a route. Pure.

use super::tag::Tag;
use crate::import::path::Stripped;
use crate::import::route::Draft;

/// How much of the options has an equal here.
pub(super) enum Treatment {
    Whole,
    /// What is to be said of those that have none.
    Without(Vec<String>),
    /// One that protects has none: the status of the answer, and why.
    Refused(u16, String),
}

/// Adds what options say.
///
/// # Errors
/// One without which the route is another one.
pub(super) fn treatment(tag: &Tag, draft: &mut Draft) -> Result<Treatment, String> {
    let mut notes = Vec::new();
    for (name, value) in tag.options() {
        match name {
            "allow" | "deny" => {
                return Ok(Treatment::Refused(
                    403,
                    format!("{name}= protects, and is not possible here"),
                ));
            }
            "auth" => {
                return Ok(Treatment::Refused(
                    401,
                    "auth= protects, and is not possible here".to_owned(),
                ));
            }
            "host" if value == "dst" => {
                notes.push("host=dst: the server gets the host of the request here".to_owned());
            }
            "host" => {
                draft.add("host-rewrite", value);
                draft.add("set-header", format!("x-forwarded-host:{value}"));
            }
            "redirect" => return redirect(tag, value, draft).map(|()| Treatment::Whole),
            "register" => notes.push("register= is not imported; ignored".to_owned()),
            "tlsskipverify" if value == "true" => {
                notes.push("tlsskipverify=: certificates of servers are always checked here".to_owned());
            }
            "strip" | "prepend" | "proto" | "weight" | "tlsskipverify" | "grpcservername" | "pxyproto" => {}
            _ => notes.push("an option is not known; ignored".to_owned()),
        }
    }
    Ok(if notes.is_empty() {
        Treatment::Whole
    } else {
        Treatment::Without(notes)
    })
}

/// First `strip`, then `prepend`. A path that does not begin with what is stripped keeps it: where the route takes such
/// ones, too, they are a route of their own.
///
/// # Errors
/// The two cannot be joined.
pub(super) fn paths(tag: &Tag, mut draft: Draft) -> Result<Vec<Draft>, String> {
    if draft.ended {
        return Ok(vec![draft]);
    }
    let mut drafts = Vec::new();
    if let Some(strip) = tag.option("strip").filter(|strip| !strip.is_empty()) {
        draft.add(
            "set-header",
            format!("x-forwarded-prefix:{}", strip.replace('%', "%%")),
        );
        let (narrowed, others) = draft.requests.path.narrowed(strip);
        if let Some(narrowed) = narrowed {
            let mut fits = draft.clone();
            fits.requests.path = narrowed.path;
            fits.requests
                .conditions
                .extend(narrowed.url.map(|url| ("url-regex", url)));
            if let Some(Stripped::If(_, change)) = draft.change.strip(strip) {
                fits.change = change;
            }
            drafts.push(fits);
        }
        if others {
            drafts.push(draft);
        }
    } else {
        drafts.push(draft);
    }
    if let Some(prepend) = tag.option("prepend").filter(|prepend| !prepend.is_empty()) {
        for draft in &mut drafts {
            let change = draft.change.add(prepend);
            draft.change = change.ok_or("prepend= cannot be joined with strip= here")?;
        }
    }
    Ok(drafts)
}

/// `301,https://www.example.com$path`
fn redirect(tag: &Tag, value: &str, draft: &mut Draft) -> Result<(), String> {
    let wrong = || "redirect= must be a code and a URL, `301,https://www.example.com$path`".to_owned();
    let (code, url) = value.split_once(',').ok_or_else(wrong)?;
    if !["301", "302", "303", "307", "308"].contains(&code) {
        return Err(
            "redirect= has a code that Envoy does not send; 301, 302, 303, 307 and 308 are possible"
                .to_owned(),
        );
    }
    if tag.option("strip").is_some() || tag.option("prepend").is_some() {
        return Err("redirect= together with strip= or prepend= is not possible here".to_owned());
    }
    let (scheme, rest) = url
        .split_once("://")
        .filter(|(scheme, _)| ["http", "https"].contains(scheme))
        .ok_or_else(wrong)?;
    let (host, place) = rest.split_at(rest.find(['/', '$']).unwrap_or(rest.len()));
    let host = if host.is_empty() && place.starts_with("$host") {
        ""
    } else {
        host
    };
    let place = place.strip_prefix("$host").unwrap_or(place);
    let start = if host.is_empty() {
        format!("{scheme}:")
    } else {
        format!("{scheme}://{host}")
    };
    let to = match place.strip_suffix("$path") {
        Some(before) if before.contains('$') => return Err(wrong()),
        Some("" | "/") => start,
        // What the route matches is a part of the path, which stays.
        Some(before) => {
            let before = before.trim_end_matches('/');
            let kept = if tag.path == "/" { "/" } else { tag.path.as_str() };
            format!("{start}{before}{kept}*")
        }
        None if place.contains('$') => return Err(wrong()),
        None => {
            draft.add("redirect-query", "drop");
            format!("{start}{}", if place.is_empty() { "/" } else { place })
        }
    };
    draft.add("redirect", to);
    draft.add("redirect-code", code);
    draft.ended = true;
    Ok(())
}
