//! How the values of some words are read. Pure; each error says what would be right.

use super::criterion::is_token;
use super::matcher::Matcher;
use super::rewrite::is_path;
use super::rule::IMPORTED;
use crate::model::label::label;
use crate::model::path::Paths;
use crate::model::pattern;
use crate::text::clip;

pub(super) fn yes(word: &str, text: &str) -> Result<(), String> {
    match text {
        "true" => Ok(()),
        _ => Err(format!("`{word}={}` must be true, or left out", clip(text))),
    }
}

pub(super) fn parse_path(text: &str) -> Result<Matcher, String> {
    match Paths::parse(text).map_err(|e| e.replacen('`', "`path=", 1))? {
        Paths::Characters(path) => Ok(Matcher::Characters(path)),
        Paths::Exactly(path) | Paths::Segments(path) | Paths::Pattern(path) => Ok(Matcher::Prefix(path)),
    }
}

pub(super) fn parse_exact(text: &str) -> Result<Matcher, String> {
    // Envoy normalises what it receives, so nothing would ever match these.
    let odd = text.split('/').skip(1).any(|part| matches!(part, "." | "..")) || text.contains("//");
    if !is_path(text) || odd {
        return Err(format!(
            "`exact={}` must be a path that starts with / and holds no ?, #, //, /./ or /../",
            clip(text)
        ));
    }
    Ok(Matcher::Exact(text.to_owned()))
}

pub(super) fn parse_regex(text: &str) -> Result<Matcher, String> {
    pattern::check(text).map_err(|error| error.replacen('`', "`regex=", 1))?;
    Ok(Matcher::Regex(text.to_owned()))
}

pub(super) fn parse_priority(text: &str) -> Result<i32, String> {
    let number = text
        .parse()
        .ok()
        .filter(|number: &i32| number.unsigned_abs() <= 1_000_000);
    number.ok_or_else(|| format!("`priority={}` must be a whole number to 1000000", clip(text)))
}

pub(super) fn parse_imported(text: &str) -> Result<&'static str, String> {
    let known = IMPORTED.into_iter().find(|program| *program == text);
    known.ok_or_else(|| format!("`imported={}` must be {}", clip(text), IMPORTED.join(" or ")))
}

pub(super) fn parse_upgrades(text: &str) -> Result<Vec<String>, String> {
    if text == "none" {
        return Ok(Vec::new());
    }
    let mut names: Vec<String> = text.split(',').map(str::to_ascii_lowercase).collect();
    names.sort();
    names.dedup();
    let fits = |name: &String| is_token(name) && name != "connect";
    if names.len() > 8 || !names.iter().all(fits) {
        return Err(format!(
            "`upgrade={}` must be none, or protocols separated by commas, such as websocket",
            clip(text)
        ));
    }
    Ok(names)
}

pub(super) fn parse_version(text: &str) -> Result<String, String> {
    match label(text, "a version") {
        Ok(Some(version)) => Ok(version.to_string()),
        Ok(None) => Err("`version=` needs a version".to_owned()),
        Err(why) => Err(why.replacen('`', "`version=", 1)),
    }
}
