//! A route from its words, and back. Errors name the word that is wrong and what would be right. Pure.

use std::collections::BTreeSet;
use std::fmt;

use super::connections;
use super::draft::Draft;
use super::matcher::Matcher;
use super::rule::RouteRule;
use super::words::WORDS;
use crate::text::clip;

/// The longest route, bytes: as long as what Consul takes in a tag or in Meta, and a bound for documents.
pub const MAX: usize = 4_096;

/// Words of later versions that change what becomes of a request and not which service gets it: without them
/// no request goes to a wrong place. Any other unknown word might narrow the match.
const HARMLESS: [&str; 3] = ["access-log", "tracing", "description"];

impl RouteRule {
    /// Reads one `route` value: words of `key=value`, separated by spaces. A value with spaces stands in quotes,
    /// `set-header="x-note:two words"`; within them a quote is `\"`.
    ///
    /// # Errors
    /// A sentence naming the word that is wrong and what would be right.
    pub fn parse(text: &str) -> Result<Self, String> {
        Self::read(text).map(|(rule, _)| rule)
    }

    /// The same, with what to warn of in a route that counts all the same.
    ///
    /// # Errors
    /// As those of [`Self::parse`].
    pub fn read(text: &str) -> Result<(Self, Vec<String>), String> {
        let (rule, warnings) = Self::read_once(text)?;
        // It is kept as it is shown, in the last known state.
        let shown = rule.to_string();
        if shown == text {
            return Ok((rule, warnings));
        }
        match Self::read_once(&shown) {
            Ok((again, _)) if again == rule => Ok((rule, warnings)),
            _ => Err(format!(
                "`{}` cannot be written down again: use fewer quotes and backslashes",
                clip(text)
            )),
        }
    }

    fn read_once(text: &str) -> Result<(Self, Vec<String>), String> {
        if text.len() > MAX {
            return Err(format!("a route has at most {MAX} bytes"));
        }
        let mut draft = Draft::default();
        let mut warnings = Vec::new();
        let mut seen = BTreeSet::new();
        for part in parts(text)? {
            let Some((name, value)) = part.split_once('=') else {
                return Err(format!("`{}` is not key=value; {}", clip(&part), meant(&part)));
            };
            if let Some(word) = WORDS.iter().find(|word| word.name == name) {
                if !word.many && !seen.insert(word.name) {
                    return Err(format!(
                        "`{name}=` stands twice in one route; use route-2 for another"
                    ));
                }
                if value.ends_with('\\') && value.contains(char::is_whitespace) {
                    return Err(format!(
                        "`{name}=`: a value with spaces cannot end with a backslash"
                    ));
                }
                (word.read)(&mut draft, word.name, value)?;
            } else if HARMLESS.contains(&name) {
                warnings.push(format!(
                    "`{name}=` is not acted on by this version; the rest of the route counts"
                ));
            } else {
                return Err(format!(
                    "`{}=` is not known in a route; {}",
                    clip(name),
                    meant(name)
                ));
            }
        }
        Ok((rule(draft)?, warnings))
    }
}

fn rule(mut draft: Draft) -> Result<RouteRule, String> {
    if !draft.names.is_empty() {
        if !draft.hosts.is_empty() {
            return Err(
                "a route with `sni=` has no `host=`: Envoy sees no requests in these connections".to_owned(),
            );
        }
        draft.hosts = std::mem::take(&mut draft.names);
    }
    let matcher = match (draft.matcher.take(), &draft.hosts[..]) {
        (Some(Matcher::Name { .. }), _) => Matcher::Name {
            terminate: draft.terminate,
        },
        (Some(matcher), _) => matcher,
        (None, [_, ..]) => Matcher::Prefix("/".to_owned()),
        (None, []) => {
            return Err(
                "a route needs `host=`, `path=`, `exact=`, `regex=`, `grpc=`, `port=` or `sni=`".to_owned(),
            );
        }
    };
    if draft.terminate && !matches!(matcher, Matcher::Name { .. }) {
        return Err("`terminate=` needs `sni=`".to_owned());
    }
    draft.settle(&matcher)?;
    draft.criteria.sort();
    draft.criteria.dedup();
    draft.extras.headers.sort_by_key(|change| (change.of, change.how));
    let rule = RouteRule {
        hosts: draft.hosts,
        matcher,
        criteria: draft.criteria,
        expose: draft.expose,
        priority: draft.priority,
        timeout: draft.timeout,
        stream_idle_timeout: draft.stream_idle_timeout,
        per_try_timeout: draft.per_try_timeout,
        max_stream_duration: draft.max_stream_duration,
        retry: draft.retry,
        imported: draft.imported,
        extras: draft.extras,
    };
    connections::fits(&rule)?;
    Ok(rule)
}

/// What was meant by a word that is none.
fn meant(name: &str) -> String {
    let near = WORDS
        .iter()
        .map(|word| (strsim::osa_distance(word.name, name), word.name))
        .min()
        .filter(|(distance, _)| *distance <= 2);
    match near {
        Some((_, near)) => format!("did you mean `{near}=`?"),
        None => "`xds-bridge keys` lists the words of a route".to_owned(),
    }
}

/// The words of a text: spaces part them, but not between quotes.
fn parts(text: &str) -> Result<Vec<String>, String> {
    let mut parts = Vec::new();
    let mut part: Option<String> = None;
    let mut quoted = false;
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '"' => {
                quoted = !quoted;
                part.get_or_insert_default();
            }
            '\\' if quoted && characters.peek() == Some(&'"') => {
                characters.next();
                part.get_or_insert_default().push('"');
            }
            _ if character.is_whitespace() && !quoted => parts.extend(part.take()),
            _ => part.get_or_insert_default().push(character),
        }
    }
    if quoted {
        return Err(format!("`{}`: a quote is opened and not closed", clip(text)));
    }
    parts.extend(part);
    Ok(parts)
}

/// As it is declared.
impl fmt::Display for RouteRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut between = "";
        for word in &WORDS {
            for value in (word.show)(self, word.name) {
                let plain = !value.contains(|c: char| c.is_whitespace() || c == '"');
                if plain {
                    write!(f, "{between}{}={value}", word.name)?;
                } else {
                    write!(f, "{between}{}=\"{}\"", word.name, value.replace('"', "\\\""))?;
                }
                between = " ";
            }
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "read_tests.rs"]
mod tests;
