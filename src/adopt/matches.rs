//! Which requests a route of Envoy's takes, in our words. Pure.

use super::at::At;
use super::words::Words;
use crate::model::pattern::escape;

/// How a text is compared, in our words.
enum Compared {
    Exact(String),
    Prefix(String),
    Regex(String),
}

/// Reads `match`.
pub(super) fn matching(at: &At<'_>, words: &mut Words) {
    let mut fields = at.fields();
    let sensitive = fields.take("case_sensitive").is_none_or(|at| !at.is(false));
    if let Some(at) = fields.take("prefix") {
        prefix(&at, at.text().unwrap_or_default(), sensitive, words);
    } else if let Some(at) = fields.take("path") {
        let path = at.text().unwrap_or_default();
        if !sensitive {
            words.add(&at, "regex", format!("(?i){}", escape(path)));
        } else if path.contains("//") {
            words.add(&at, "regex", escape(path));
        } else {
            words.add(&at, "exact", path);
        }
    } else if let Some(at) = fields.take("path_separated_prefix") {
        let path = at.text().unwrap_or_default();
        if sensitive && !path.contains('*') {
            words.add(&at, "path", path);
        } else {
            let flag = if sensitive { "" } else { "(?i)" };
            words.add(&at, "regex", format!("{flag}{}(?:/.*)?", escape(path)));
        }
    } else if let Some(at) = fields.take("safe_regex") {
        words.add(&at, "regex", at.text_of("regex").unwrap_or_default());
    }
    for at in fields.take("headers").iter().flat_map(At::items) {
        header(&at, words);
    }
    for at in fields.take("query_parameters").iter().flat_map(At::items) {
        parameter(&at, "query", words);
    }
    for at in fields.take("cookies").iter().flat_map(At::items) {
        parameter(&at, "cookie", words);
    }
    if let Some(at) = fields.take("grpc") {
        words.add(&at, "header-regex", r"content-type:application/grpc(?:\+.*)?");
    }
    words.rests.extend(fields.rests());
}

fn prefix(at: &At<'_>, path: &str, sensitive: bool, words: &mut Words) {
    match path {
        "" | "/" => words.add(at, "path", "/"),
        _ if !sensitive => words.add(at, "regex", format!("(?i){}.*", escape(path))),
        _ if path.contains('*') || path.contains("//") => {
            words.add(at, "regex", format!("{}.*", escape(path)));
        }
        _ => words.add(at, "path", format!("{path}*")),
    }
}

/// Reads a matcher of a text.
fn compared(at: &At<'_>, words: &mut Words) -> Option<Compared> {
    let mut fields = at.fields();
    let ignore_case = fields.take("ignore_case").is_some_and(|at| at.is(true));
    let flag = if ignore_case { "(?i)" } else { "" };
    let text = |at: &At<'_>| at.text().unwrap_or_default().to_owned();
    let found = if let Some(at) = fields.take("exact") {
        exact(text(&at), flag)
    } else if let Some(at) = fields.take("prefix") {
        match text(&at) {
            text if text.is_empty() => Compared::Regex(".*".to_owned()),
            text if ignore_case => Compared::Regex(format!("(?i){}.*", escape(&text))),
            text => Compared::Prefix(text),
        }
    } else if let Some(at) = fields.take("suffix") {
        Compared::Regex(format!("{flag}.*{}", escape(&text(&at))))
    } else if let Some(at) = fields.take("contains") {
        Compared::Regex(format!("{flag}.*{}.*", escape(&text(&at))))
    } else if let Some(at) = fields.take("safe_regex") {
        Compared::Regex(at.text_of("regex").unwrap_or_default().to_owned())
    } else {
        words.stay(at.not_expressed());
        return None;
    };
    words.rests.extend(fields.rests());
    Some(found)
}

fn exact(text: String, flag: &str) -> Compared {
    match text {
        text if text.is_empty() => Compared::Regex("^$".to_owned()),
        text if flag.is_empty() => Compared::Exact(text),
        text => Compared::Regex(format!("{flag}{}", escape(&text))),
    }
}

/// The word and its value for a comparison; `not`: `!` or nothing.
fn add(at: &At<'_>, kind: &str, not: &str, name: &str, compared: &Compared, words: &mut Words) {
    let (suffix, value) = match compared {
        Compared::Exact(value) => ("", value),
        Compared::Prefix(value) => ("-prefix", value),
        Compared::Regex(value) => ("-regex", value),
    };
    words.add(at, &format!("{kind}{suffix}"), format!("{not}{name}:{value}"));
}

/// Fields of header matchers that `string_match` took the place of, and what they are called there.
pub(super) const BEFORE_STRING_MATCH: [(&str, &str); 5] = [
    ("exact_match", "exact"),
    ("prefix_match", "prefix"),
    ("suffix_match", "suffix"),
    ("contains_match", "contains"),
    ("safe_regex_match", "safe_regex"),
];

fn header(at: &At<'_>, words: &mut Words) {
    let mut fields = at.fields();
    let name = fields.take("name");
    let name = name.as_ref().and_then(At::text).unwrap_or_default();
    let inverted = fields.take("invert_match").is_some_and(|at| at.is(true));
    let missing = fields.take("treat_missing_header_as_empty");
    let missing = missing.filter(|at| at.is(true));
    let present = fields.take("present_match");
    let old = BEFORE_STRING_MATCH
        .iter()
        .find_map(|(name, kind)| Some((fields.take(name)?, *kind)));
    let wanted = match (fields.take("string_match"), old) {
        (Some(at), _) => compared(&at, words),
        (None, Some((at, kind))) => {
            let value = serde_json::json!({ kind: at.value });
            compared(
                &At {
                    path: at.path.clone(),
                    value: &value,
                },
                words,
            )
        }
        (None, None) => None,
    };
    let rests = fields.rests();
    if !rests.is_empty() {
        words.rests.extend(rests);
        return;
    }
    if name == ":method" {
        return method(at, inverted, wanted.as_ref(), words);
    }
    if name.starts_with(':') {
        return words.stay(at.rest(format!(
            "the bridge matches no {name}, only what stands in `match`"
        )));
    }
    let Some(wanted) = wanted else {
        // Without a matcher: the header is there.
        let there = present.is_none_or(|at| !at.is(false)) != inverted;
        if let Some(at) = missing {
            return words.stay(at.not_expressed());
        }
        return words.add(at, "header", format!("{}{name}", if there { "" } else { "!" }));
    };
    match (inverted, missing) {
        (false, Some(missing)) if matches!(wanted, Compared::Regex(_)) => words.stay(missing.not_expressed()),
        (false, _) => add(at, "header", "", name, &wanted, words),
        (true, missing) => {
            add(at, "header", "!", name, &wanted, words);
            // To Envoy a header that is not there does not differ; to `!name:value` it does.
            if missing.is_none() {
                words.add(at, "header", name);
            }
        }
    }
}

fn method(at: &At<'_>, inverted: bool, wanted: Option<&Compared>, words: &mut Words) {
    let names = match wanted {
        Some(Compared::Exact(name)) => Some(name.clone()),
        Some(Compared::Regex(pattern)) => {
            let inner = pattern.trim_start_matches('^').trim_end_matches('$');
            let inner = inner
                .strip_prefix('(')
                .and_then(|p| p.strip_suffix(')'))
                .unwrap_or(inner);
            let inner = inner.strip_prefix("?:").unwrap_or(inner);
            let plain = inner.bytes().all(|b| b.is_ascii_uppercase() || b == b'|');
            plain.then(|| inner.replace('|', ","))
        }
        _ => None,
    };
    match names {
        Some(names) if !inverted => words.add(at, "method", names),
        _ => words.stay(at.rest("`method=` takes methods by their names only")),
    }
}

/// A parameter of the query, or a cookie.
fn parameter(at: &At<'_>, kind: &str, words: &mut Words) {
    let mut fields = at.fields();
    let name = fields.take("name");
    let name = name.as_ref().and_then(At::text).unwrap_or_default();
    let present = fields.take("present_match");
    if let Some(at) = fields.take("string_match") {
        if let Some(wanted) = compared(&at, words) {
            add(&at, kind, "", name, &wanted, words);
        }
    } else if present.as_ref().is_none_or(|at| !at.is(false)) {
        words.add(at, kind, name);
    } else {
        words.rests.extend(present.map(|at| at.not_expressed()));
    }
    words.rests.extend(fields.rests());
}
