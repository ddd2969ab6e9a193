//! How values of keys are read and shown, by their type. Pure; each error says what would be right.

use std::sync::Arc;
use std::time::Duration;

use crate::model::instance::MAX_WEIGHT;
use crate::model::label::MAX_LABEL;
use crate::model::policy::Expose;
use crate::model::route::exposures;
use crate::model::service::check_name;
use crate::text::{clip, parse_duration};

/// The most services that one entry may need.
pub(super) const MAX_NEEDS: usize = 200;
/// The most callers that one service may name.
const MAX_CALLERS: usize = 64;
/// The most routes that one entry may declare: Consul Meta holds no more than 64 pairs.
pub const MAX_ROUTES: usize = 64;
/// The most routes of one policy, with those that are imported: most of these only refuse requests.
pub const MAX_IMPORTED_ROUTES: usize = 1_024;

/// One of a few words; `these` names them.
pub(super) fn word<T>(text: &str, parse: fn(&str) -> Option<T>, these: &str) -> Result<Option<T>, String> {
    match parse(text) {
        Some(value) => Ok(Some(value)),
        None => Err(format!("`{}` must be {these}", clip(text))),
    }
}

pub(super) fn duration(text: &str) -> Result<Option<Duration>, String> {
    parse_duration(text).map(Some)
}

pub(super) fn weight(text: &str) -> Result<Option<u32>, String> {
    match text.parse::<u32>() {
        Ok(weight) if weight <= MAX_WEIGHT => Ok(Some(weight)),
        _ => Err(format!(
            "`{}` must be a whole number from 0 to {MAX_WEIGHT}",
            clip(text)
        )),
    }
}

pub(super) fn expose(text: &str) -> Result<Option<Expose>, String> {
    if text == "none" {
        return Ok(Some(Expose::Nothing));
    }
    let names: Vec<String> = text
        .split(',')
        .map(|n| n.trim().to_owned())
        .filter(|n| !n.is_empty())
        .collect();
    if names.is_empty() || names.len() > exposures::MAX || !names.iter().all(|n| exposures::is_name(n)) {
        return Err(format!(
            "`{}` must be none, or names of exposures separated by commas",
            clip(text)
        ));
    }
    Ok(Some(Expose::On(names)))
}

pub(super) fn show_exposures(expose: &Expose) -> String {
    match expose {
        Expose::Nothing => "none".to_owned(),
        Expose::On(names) => names.join(","),
    }
}

pub(super) fn needs(text: &str) -> Result<Option<Vec<Arc<str>>>, String> {
    if text == "none" {
        return Ok(Some(Vec::new()));
    }
    let mut names: Vec<Arc<str>> = Vec::new();
    for name in text.split(',').map(str::trim).filter(|name| !name.is_empty()) {
        check_name(name).map_err(|reason| format!("`{}`: {reason}", clip(name)))?;
        names.push(name.into());
    }
    names.sort_unstable();
    names.dedup();
    if names.len() > MAX_NEEDS {
        return Err(format!(
            "names {} services; {MAX_NEEDS} are the most",
            names.len()
        ));
    }
    Ok((!names.is_empty()).then_some(names))
}

pub(super) fn show_needs(names: &[Arc<str>]) -> String {
    match names {
        [] => "none".to_owned(),
        names => names.join(","),
    }
}

/// Names of callers, sorted.
pub(super) fn callers(text: &str) -> Result<Option<Vec<String>>, String> {
    let mut names: Vec<String> = text
        .split(',')
        .map(|name| name.trim().to_owned())
        .filter(|name| !name.is_empty())
        .collect();
    names.sort();
    names.dedup();
    let fits = |name: &String| {
        let right = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        name.len() <= MAX_LABEL && name.bytes().all(right)
    };
    if names.is_empty() || names.len() > MAX_CALLERS || !names.iter().all(fits) {
        return Err(format!(
            "`{}` must be names of callers separated by commas, at most {MAX_CALLERS}",
            clip(text)
        ));
    }
    Ok(Some(names))
}
