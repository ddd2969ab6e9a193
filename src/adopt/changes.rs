//! Headers that Envoy writes and removes, and what it allows browsers, in our words. Pure.

use std::collections::BTreeSet;

use super::at::At;
use super::words::Words;
use crate::text::show_duration;

/// Reads the headers that a route changes, of the route, its virtual host and its configuration, in this order: as
/// Envoy applies them.
pub(super) fn headers(levels: &[At<'_>], words: &mut Words) {
    for (side, set, add, remove) in [
        ("request", "set-header", "add-header", "remove-header"),
        (
            "response",
            "set-response-header",
            "add-response-header",
            "remove-response-header",
        ),
    ] {
        let mut before: BTreeSet<String> = BTreeSet::new();
        for level in levels {
            let mut here = BTreeSet::new();
            for at in level.list(&format!("{side}_headers_to_remove")) {
                let name = at.text().unwrap_or_default();
                here.insert(name.to_ascii_lowercase());
                words.add(&at, remove, name);
            }
            for at in level.list(&format!("{side}_headers_to_add")) {
                if let Some(name) = added(&at, set, add, words) {
                    here.insert(name);
                }
            }
            for name in here {
                if !before.insert(name.clone()) {
                    words.stay(level.rest(format!("the header {name} is changed at several levels")));
                }
            }
        }
    }
}

/// Reads one header that is added; its name.
fn added(at: &At<'_>, set: &str, add: &str, words: &mut Words) -> Option<String> {
    let mut fields = at.fields();
    let header = fields.take("header")?;
    let keep_empty = fields.take("keep_empty_value").is_some_and(|at| at.is(true));
    let append = fields.take("append");
    let action = fields.take("append_action");
    let word = match (
        append.as_ref().and_then(|at| at.value.as_bool()),
        action.as_ref().and_then(At::text),
    ) {
        (Some(true), _) | (None, None | Some("APPEND_IF_EXISTS_OR_ADD")) => add,
        (Some(false), _) | (None, Some("OVERWRITE_IF_EXISTS_OR_ADD")) => set,
        (None, Some("ADD_IF_ABSENT")) => &set.replacen("set", "default", 1),
        (None, Some(_)) => {
            words.rests.extend(action.map(|at| at.not_expressed()));
            return None;
        }
    };
    let mut of_header = header.fields();
    let key = of_header.take("key")?.text().unwrap_or_default();
    let value = of_header.take("value");
    let value = value.as_ref().and_then(At::text).unwrap_or_default();
    words.rests.extend(of_header.rests());
    words.rests.extend(fields.rests());
    if !value.is_empty() || keep_empty {
        words.add(at, word, format!("{key}:{value}"));
    }
    Some(key.to_ascii_lowercase())
}

/// Reads what browsers are allowed; the deprecated `cors` and the filter's `CorsPolicy` have the same fields.
pub(super) fn cors(at: &At<'_>, words: &mut Words) {
    let mut fields = at.fields();
    for name in ["filter_enabled", "shadow_enabled"] {
        let Some(at) = fields.take(name) else { continue };
        let share = at
            .get("default_value")
            .and_then(|at| at.get("numerator")?.number());
        let denominator = at
            .get("default_value")
            .and_then(|at| at.text_of("denominator"))
            .unwrap_or("HUNDRED")
            .to_owned();
        let all = match denominator.as_str() {
            "HUNDRED" => 100,
            "TEN_THOUSAND" => 10_000,
            _ => 1_000_000,
        };
        let wanted = if name == "filter_enabled" { all } else { 0 };
        if share.unwrap_or(0) != wanted {
            words.stay(at.not_expressed());
        }
    }
    let mut origins = Vec::new();
    for at in fields
        .take("allow_origin_string_match")
        .iter()
        .flat_map(At::items)
    {
        match origin(&at) {
            Some((origin, note)) => {
                origins.push(origin);
                if let Some(note) = note {
                    words.change(&at, note);
                }
            }
            None => {
                words.stay(at.rest("`cors=` takes origins, `https://*.example.com` for all below, and `*`"));
            }
        }
    }
    if origins.is_empty() {
        words.rests.extend(fields.rests());
        return;
    }
    words.add(at, "cors", origins.join(","));
    for (name, word) in [
        ("allow_methods", "cors-methods"),
        ("allow_headers", "cors-headers"),
        ("expose_headers", "cors-expose"),
    ] {
        if let Some(at) = fields.take(name) {
            let names = at.text().unwrap_or_default().split(',').map(str::trim);
            let names: Vec<&str> = names.filter(|name| !name.is_empty()).collect();
            if !names.is_empty() {
                words.add(&at, word, names.join(","));
            }
        }
    }
    if let Some(at) = fields.take("max_age") {
        let seconds = at.text().and_then(|text| text.parse().ok());
        match seconds.or_else(|| at.number()) {
            Some(seconds) => words.add(
                &at,
                "cors-max-age",
                show_duration(std::time::Duration::from_secs(seconds)),
            ),
            None => words.stay(at.not_expressed()),
        }
    }
    if let Some(at) = fields.take("allow_credentials").filter(|at| at.is(true)) {
        words.add(&at, "cors-credentials", "true");
    }
    words.rests.extend(fields.rests());
}

/// An origin, and what is not as it was.
fn origin(at: &At<'_>) -> Option<(String, Option<String>)> {
    if let Some(text) = at.text_of("exact") {
        return Some((text.to_owned(), None));
    }
    if at.text_of("prefix") == Some("") {
        return Some(("*".to_owned(), None));
    }
    let regex = at.get("safe_regex")?;
    let regex = regex.text_of("regex")?;
    let inner = regex.strip_prefix('^').unwrap_or(regex);
    let inner = inner.strip_suffix('$').unwrap_or(inner);
    if matches!(inner, ".*" | "*" | ".+") {
        return Some(("*".to_owned(), None));
    }
    let (scheme, rest) = inner.split_once("://")?;
    let below = [
        ".*\\.",
        ".+\\.",
        "[^.]+\\.",
        "[a-z0-9-]+\\.",
        "[^/]+\\.",
        "([a-z0-9-]+\\.)+",
    ];
    let host = below.iter().find_map(|below| rest.strip_prefix(below))?;
    let host = host.replace("\\.", ".");
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-');
    if !host.bytes().all(plain) {
        return None;
    }
    let origin = format!("{scheme}://*.{host}");
    let note = format!(
        "the origins of `{regex}` become `{origin}`: each host name below it, of letters, digits, - and _"
    );
    Some((origin, Some(note)))
}
