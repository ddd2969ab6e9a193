//! The entries of an answer about one service, one after the other: none is kept while the next one is read. Pure.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{DeserializeSeed, Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use serde_json::value::RawValue;

use super::body::Unreadable;
use super::wire::{Entry, Who};
use crate::text::clip;

/// Entries in one answer, also those that are not selected, at most. An answer with more is not read at all, and what is
/// known stays.
const MAX_READ: usize = 40_000;
/// The longest malformed entry that is read a second time, more leniently.
const MAX_ODD: usize = 64 << 10;

/// Lists and tables within each other: the bound of `serde_json` itself.
const MAX_DEPTH: usize = 128;

/// An entry that cannot be read: its id, where that can be, and why.
pub(super) type Bad = (Option<String>, String);

/// Passes each entry of the service of this name to `take`, which adds it to what it has so far. All at once where they
/// are well-formed, else from the beginning, each by itself.
pub(super) fn each<S: Default>(
    body: &[u8],
    name: Option<&str>,
    take: impl Fn(&mut S, Result<Entry, Bad>),
) -> Result<S, Unreadable> {
    // Each entry of an agent carries one.
    let is_other = |found: &str| !found.is_empty() && name.is_some_and(|name| name != found);
    let mut all = S::default();
    let well_formed = in_turn(body, |entry: Entry| {
        if !is_other(&entry.service.name) {
            take(&mut all, Ok(entry));
        }
    });
    if well_formed.is_ok() {
        return Ok(all);
    }
    drop(all);
    // The reader of raw values remembers each open bracket: millions of them took more than the body.
    if is_deep(body) {
        return Err(Unreadable::Json {
            wanted: "/v1/health/service",
            reason: format!("it is nested more than {MAX_DEPTH} deep"),
        });
    }
    let mut all = S::default();
    let read = in_turn(body, |value: &RawValue| match entry(value.get()) {
        Ok(entry) if is_other(&entry.service.name) => {}
        Ok(entry) => take(&mut all, Ok(entry)),
        Err(error) => {
            let who: Who = serde_json::from_str(value.get()).unwrap_or_default();
            let id = Some(who.service.id.0).filter(|id| !id.is_empty());
            let id = id.map(|id| format!("{id}@{}", who.node.name.0));
            if !is_other(&who.service.name.0) {
                // The reader quotes the value that it did not expect.
                take(&mut all, Err((id, clip(&error.to_string()))));
            }
        }
    });
    read.map_err(|error| Unreadable::Json {
        wanted: "/v1/health/service",
        reason: clip(&error.to_string()),
    })?;
    Ok(all)
}

fn is_deep(body: &[u8]) -> bool {
    let (mut depth, mut quoted, mut escaped) = (0_usize, false, false);
    for byte in body {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'[' | b'{' if !quoted => depth += 1,
            b']' | b'}' if !quoted => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > MAX_DEPTH {
            return true;
        }
    }
    false
}

/// One entry. Of a repeated field the last one counts.
fn entry(text: &str) -> serde_json::Result<Entry> {
    let read = serde_json::from_str(text);
    if text.len() > MAX_ODD {
        return read;
    }
    read.or_else(|error| match serde_json::from_str::<Value>(text) {
        Ok(value) => serde_json::from_value(value),
        Err(_) => Err(error),
    })
}

/// Reads a list, element by element.
fn in_turn<'b, T: Deserialize<'b>>(body: &'b [u8], take: impl FnMut(T)) -> serde_json::Result<()> {
    let mut json = serde_json::Deserializer::from_slice(body);
    InTurn(take, PhantomData).deserialize(&mut json)?;
    json.end()
}

struct InTurn<T, F>(F, PhantomData<T>);

impl<'b, T: Deserialize<'b>, F: FnMut(T)> DeserializeSeed<'b> for InTurn<T, F> {
    type Value = ();

    fn deserialize<D: Deserializer<'b>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_seq(self)
    }
}

impl<'b, T: Deserialize<'b>, F: FnMut(T)> Visitor<'b> for InTurn<T, F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a list of at most {MAX_READ} elements")
    }

    fn visit_seq<A: SeqAccess<'b>>(mut self, mut all: A) -> Result<(), A::Error> {
        let mut read = 0_usize;
        while let Some(one) = all.next_element()? {
            read += 1;
            if read > MAX_READ {
                return Err(A::Error::custom(format_args!("more than {MAX_READ} elements")));
            }
            (self.0)(one);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brackets_count_outside_of_strings() {
        let deep = "[".repeat(MAX_DEPTH + 1);
        assert!(is_deep(deep.as_bytes()));
        assert!(!is_deep(&deep.as_bytes()[1..]));
        assert!(!is_deep(format!(r#"["a\"{deep}",{{"b":"{deep}"}}]"#).as_bytes()));
        assert!(is_deep(format!(r#"["\\",{deep}"#).as_bytes()));
        assert!(!is_deep("[{}]".repeat(1_000).as_bytes()));
    }
}
