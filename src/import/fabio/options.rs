//! The options of a tag, as words of a route. Pure.

use super::tag::Tag;
use crate::import::addresses::{ranges, written};
use crate::import::path::Stripped;
use crate::import::route::Draft;
use crate::model::pattern;

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
pub(super) fn treatment(tag: &Tag, expose: &[String], draft: &mut Draft) -> Result<Treatment, String> {
    let mut notes = Vec::new();
    for (name, value) in tag.options() {
        match name {
            "allow" | "deny" => match clients(tag, name, value) {
                // There nothing is written by Envoy, and the last one could be anybody's.
                Ok(_) if expose.iter().any(|name| name == "internal") => {
                    let why = "is not possible on the exposure internal: set sources.NAME.fabio.expose";
                    return Ok(Treatment::Refused(403, format!("{name}= protects, and {why}")));
                }
                Ok((word, value)) => draft.add(word, value),
                Err(why) => return Ok(Treatment::Refused(403, format!("{name}= protects, and {why}"))),
            },
            "auth" => {
                return Ok(Treatment::Refused(
                    401,
                    "auth= protects, and is not possible here".to_owned(),
                ));
            }
            "host" if value == "dst" => draft.add("host-rewrite", "*"),
            "host" => draft.add("host-rewrite", value),
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

/// `ip:10.0.0.0/8,ip:192.0.2.7`
fn clients(tag: &Tag, name: &str, value: &str) -> Result<(&'static str, String), &'static str> {
    if tag.option("allow").is_some() && tag.option("deny").is_some() {
        return Err("is not possible together with the other one");
    }
    let all: Option<Vec<&str>> = value
        .split(',')
        .map(|one| one.trim().strip_prefix("ip:"))
        .collect();
    let all = all.and_then(|all| ranges(all.iter()).ok());
    let all = all.ok_or("must be ip:ADDRESS or ip:RANGE, separated by commas")?;
    let word = if name == "allow" { "allow-ips" } else { "deny-ips" };
    match forwarded(word, &all) {
        Some(regex) if pattern::check(&regex).is_ok() => Ok((word, all)),
        _ => Err("is possible here only with few ranges of IPv4, since X-Forwarded-For counts, too"),
    }
}

/// An expression for `X-Forwarded-For` in which all addresses are among the allowed ones, or one is denied. The last one
/// was written by Envoy.
fn forwarded(word: &str, ranges: &str) -> Option<String> {
    let one = written(ranges)?;
    Some(if word == "allow-ips" {
        format!("(?:(?:{one}) *, *)*[^,]*")
    } else {
        format!("(?:.*[^0-9.])?(?:{one})[^0-9.](?:.*,)?[^,]*")
    })
}

/// Each address that somebody names on the way must be one of the allowed ones, and none a denied one: with the route
/// there is one that refuses all others. The address that connects is looked at by Envoy.
///
/// The refusing one for `allow` asks for less, so that it comes behind, and the one for `deny` for more.
pub(super) fn along_the_way(drafts: Vec<Draft>) -> Vec<Draft> {
    let mut all = Vec::new();
    for draft in drafts {
        let listed = |(word, _): &&(&'static str, String)| word.ends_with("-ips");
        let Some((word, regex)) = draft
            .words
            .iter()
            .find(listed)
            .and_then(|(word, ranges)| Some((*word, forwarded(word, ranges)?)))
        else {
            all.push(draft);
            continue;
        };
        let with = |of: &Draft, condition: (&'static str, String)| {
            let mut draft = of.clone();
            draft.requests.conditions.push(condition);
            draft
        };
        let named = ("header-regex", format!("{FORWARDED}:{regex}"));
        let mut refused = draft.clone();
        refused.refuse(403);
        if word == "allow-ips" {
            all.push(with(&draft, ("header", format!("!{FORWARDED}"))));
            all.push(with(&draft, named));
            all.push(refused);
        } else {
            all.push(with(&refused, named));
            all.push(draft);
        }
    }
    all
}

const FORWARDED: &str = "x-forwarded-for";

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_address_on_the_way_counts_but_the_last() {
        let fits = |word, ranges, header: &str| {
            let regex = forwarded(word, ranges).unwrap();
            pattern::check(&regex).unwrap();
            regex::Regex::new(&format!("^(?:{regex})$"))
                .unwrap()
                .is_match(header)
        };
        for (header, allowed, denied) in [
            ("127.0.0.1", true, false),
            ("10.1.2.3,127.0.0.1", true, true),
            ("10.1.2.3, 192.168.0.9,127.0.0.1", true, true),
            ("8.8.8.8, 10.1.2.3,127.0.0.1", false, true),
            ("8.8.8.8,10.1.2.3", false, false),
            ("210.1.2.3, 110.1.2.3,127.0.0.1", false, false),
            ("::ffff:10.1.2.3,127.0.0.1", false, true),
            ("unknown,127.0.0.1", false, false),
        ] {
            let seen = fits("allow-ips", "10.0.0.0/8,192.168.0.0/16", header);
            assert_eq!(seen, allowed, "allow: {header}");
            assert_eq!(fits("deny-ips", "10.0.0.0/8", header), denied, "deny: {header}");
        }
    }
}
