//! A rule of Traefik as the requests of our routes, one for each alternative. Pure.

use crate::import::path::{Path, encoded};
use crate::import::regex::{Around, in_query, whole};
use crate::import::route::Requests;
use crate::model::pattern::escape;
use crate::text::clip;
use crate::text::expression::{Expression, Function};

/// The most alternatives of one rule.
const MAX_ALTERNATIVES: usize = 16;
/// A port, which the hosts of rules do not have.
const PORT: &str = "(?::[0-9]+)?";

/// The requests of a rule, and what to say about alternatives that no request fulfils.
///
/// # Errors
/// The whole rule cannot be used.
pub(super) fn requests(rule: &str) -> Result<(Vec<Requests>, Vec<String>), String> {
    let expression = Expression::parse(rule)?;
    let (mut all, mut never) = (Vec::new(), Vec::new());
    for alternative in expression.alternatives(MAX_ALTERNATIVES)? {
        match conjunction(&alternative)? {
            Ok(requests) => all.push(requests),
            Err(why) => never.push(why),
        }
    }
    Ok((all, never))
}

/// The most alternatives of a rule whose requests can only be refused.
const MAX_REFUSED: usize = 64;

/// The requests of a rule that cannot be used, and more: what cannot be read of it holds for each.
pub(super) fn wider(rule: &str) -> Vec<Requests> {
    let Ok(expression) = Expression::parse(rule) else {
        return Vec::new();
    };
    let all = expression.alternatives(MAX_REFUSED).unwrap_or_default();
    let read = |all: Vec<(&Function, bool)>| {
        let known: Vec<(&Function, bool)> = all
            .into_iter()
            .filter(|(function, _)| conditions(function).is_ok())
            .collect();
        conjunction(&known).ok()?.ok()
    };
    let mut requests: Vec<Requests> = all.into_iter().filter_map(read).collect();
    requests.retain(|requests| !requests.says_nothing());
    requests
}

/// One thing that must hold.
enum Condition {
    Host(String),
    Authority(String),
    Path(Path),
    Method(String),
    Word(&'static str, String),
}

type Never = String;

fn conjunction(all: &[(&Function, bool)]) -> Result<Result<Requests, Never>, String> {
    let mut requests = Requests::of(None, Path::all());
    let mut paths: Vec<Path> = Vec::new();
    let mut add = |word, value| requests.conditions.push((word, value));
    let (mut host, mut allowed, mut refused): (Option<String>, Option<String>, Vec<String>) =
        Default::default();
    for (function, not) in all {
        let bang = if *not { "!" } else { "" };
        for condition in match conditions(function)? {
            Ok(conditions) => conditions,
            // What no request fulfils, each fulfils when it is negated.
            Err(_) if *not => continue,
            Err(why) => return Ok(Err(why)),
        } {
            match condition {
                Condition::Host(name) if *not || host.is_some() => {
                    add("authority-regex", format!("{bang}{}{PORT}", escape(&name)));
                }
                Condition::Host(name) => host = Some(name),
                Condition::Authority(regex) => add("authority-regex", format!("{bang}{regex}{PORT}")),
                Condition::Path(path) if *not => add("url-regex", format!("!{}", path.url())),
                Condition::Path(path) => paths.push(path),
                Condition::Method(method) if *not => refused.push(method),
                Condition::Method(method) if allowed.as_ref().is_some_and(|other| *other != method) => {
                    return Ok(Err("no request has two methods".to_owned()));
                }
                Condition::Method(method) => allowed = Some(method),
                Condition::Word(word, value) => add(word, format!("{bang}{value}")),
            }
        }
    }
    paths.sort_by_key(|path| std::cmp::Reverse(path.rank()));
    let mut paths = paths.into_iter();
    let first = paths.next();
    for path in paths {
        add("url-regex", path.url());
    }
    if let Some(first) = first {
        requests.path = first;
    }
    requests.host = host;
    requests.methods = match allowed {
        Some(method) if refused.contains(&method) => {
            return Ok(Err("a method is wanted and refused".to_owned()));
        }
        Some(method) => Some((vec![method], false)),
        None if refused.is_empty() => None,
        None => Some((refused, true)),
    };
    Ok(Ok(requests))
}

/// What a matcher means.
fn conditions(function: &Function) -> Result<Result<Vec<Condition>, Never>, String> {
    let arguments: Vec<&str> = function.arguments.iter().map(String::as_str).collect();
    let name = function.name.to_ascii_lowercase();
    let least = if name.starts_with("query") {
        1
    } else {
        arguments.len().max(1)
    };
    let most = match name.as_str() {
        "header" | "headerregexp" | "query" | "queryregexp" => 2,
        _ => 1,
    };
    if arguments.len() > most
        || arguments.len() < least
        || (name.starts_with("header") && arguments.len() != 2)
    {
        return Err(format!("{}() takes {most} values", function.name));
    }
    if arguments.iter().any(|argument| argument.is_empty()) {
        return Err(format!("{}() has an empty value", function.name));
    }
    let one = |condition| Ok(Ok(vec![condition]));
    let path = |path: Result<String, String>, kind: fn(String) -> Path| {
        Ok(path.map(|path| vec![Condition::Path(kind(path))]))
    };
    match (name.as_str(), &arguments[..]) {
        ("host", ["*"]) => Ok(Ok(Vec::new())),
        ("host", [host]) => Ok(self::host(host)),
        ("hostregexp", [regex]) => one(Condition::Authority(whole(regex, Around::Host))),
        ("path", [text]) if text.starts_with('/') => path(encoded(text), Path::Exactly),
        ("pathprefix", [text]) if text.starts_with('/') => path(encoded(text), Path::Begins),
        ("pathregexp", [regex]) => one(Condition::Path(Path::Found((*regex).to_owned()))),
        ("method", [method]) => one(Condition::Method(method.to_ascii_uppercase())),
        ("header" | "headerregexp", [name, _]) if name.eq_ignore_ascii_case("host") => {
            Ok(Err("the header Host never matches there".to_owned()))
        }
        ("header", [name, value]) => one(Condition::Word("header", format!("{name}:{value}"))),
        ("headerregexp", [name, regex]) => one(Condition::Word(
            "header-regex",
            format!("{name}:{}", whole(regex, Around::Any)),
        )),
        ("query" | "queryregexp", [key]) => one(parameter(key, "=?")),
        ("query", [key, value]) => one(parameter(key, &format!("={}", in_query(value)))),
        ("queryregexp", [key, regex]) => {
            one(parameter(key, &format!("=(?:{})", whole(regex, Around::Value))))
        }
        ("clientip", _) => Err("ClientIP() is not possible here".to_owned()),
        _ => Err(format!(
            "{}({}) is not known",
            function.name,
            clip(&arguments.join(", "))
        )),
    }
}

fn host(text: &str) -> Result<Vec<Condition>, Never> {
    let host = text.to_ascii_lowercase();
    let host = host.strip_suffix('.').unwrap_or(&host).to_owned();
    if host.contains(':') {
        return Err("a host with a port never matches there".to_owned());
    }
    Ok(match host.strip_prefix("*.") {
        // `*.x` is one label more there, and any number of them in Envoy.
        Some(rest) => {
            // It stands on the hosts of the exposure, where it takes nothing from others: see `plan`.
            vec![Condition::Authority(format!(r"[^.:]+\.{}", escape(rest)))]
        }
        None => vec![Condition::Host(host)],
    })
}

/// One parameter of a query: any of that name, where Envoy's own matcher compares the first.
fn parameter(key: &str, value: &str) -> Condition {
    Condition::Word(
        "url-regex",
        format!(r"[^?]*\?(?:.*&)?{}{value}(?:&.*)?", in_query(key)),
    )
}
