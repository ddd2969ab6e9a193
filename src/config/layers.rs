//! The layers that a configuration is read from, the text of a file and the environment, as one section.

use std::borrow::Cow;
use std::ops::Range;
use std::rc::Rc;

use config::{Environment, File, FileFormat, Source as _};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::reader::{Lines, Mistake, Section, Shared};
use crate::text::clip;

/// Reads a text that is not the operator's file: what is wrong with it.
pub(super) fn read_text(text: &str, read: impl FnOnce(&mut Section<'_>)) -> Vec<Mistake> {
    match opened(text, None) {
        Ok((mut root, shared)) => {
            read(&mut root);
            root.finish();
            shared.mistakes.take()
        }
        Err(mistakes) => mistakes,
    }
}

/// The layers as one section, or why the text cannot be read at all.
pub(super) fn opened(
    text: &str,
    environment: Option<Environment>,
) -> Result<(Section<'_>, Rc<Shared<'_>>), Vec<Mistake>> {
    let plain = |line, text: String| Mistake {
        line,
        key: String::new(),
        text,
        variable: None,
    };
    let (table, errors) = DeTable::parse_recoverable(text);
    let lines = Lines {
        text,
        table: table.into_inner(),
    };
    if !errors.is_empty() {
        // The parser's own words are terse; the line itself says the rest.
        let say = |e: &toml::de::Error| {
            let line = e.span().map(|s| lines.at(s.start));
            let shown = line
                .and_then(|n| text.lines().nth(n - 1))
                .map(|l| clip(l.trim()))
                .unwrap_or_default();
            plain(
                line,
                format!("`{shown}` is not TOML: {}", e.message().replace('\n', ", ")),
            )
        };
        return Err(errors.iter().map(say).collect());
    }
    let mut numbers = Vec::new();
    for value in lines.table.values() {
        too_large(value, &mut numbers);
    }
    let bounded = saturated(text, numbers);
    let mut builder = config::Config::builder().add_source(File::from_str(&bounded, FileFormat::Toml));
    if let Some(environment) = environment {
        builder = builder.add_source(environment);
    }
    let values = match builder.build().and_then(|built| built.collect()) {
        Ok(values) => values,
        Err(error) => return Err(vec![plain(None, error.to_string())]),
    };
    let shared = Rc::new(Shared {
        lines,
        mistakes: std::cell::RefCell::default(),
    });
    Ok((Section::root(values, shared.clone()), shared))
}

/// Where numbers stand that no integer holds, which the parser of values refuses without a place and with all else.
fn too_large(value: &Spanned<DeValue<'_>>, found: &mut Vec<Range<usize>>) {
    match value.get_ref() {
        DeValue::Integer(number) if i64::from_str_radix(number.as_str(), number.radix()).is_err() => {
            found.push(value.span());
        }
        DeValue::Array(all) => all.iter().for_each(|value| too_large(value, found)),
        DeValue::Table(all) => all.values().for_each(|value| too_large(value, found)),
        _ => {}
    }
}

/// The text with the largest (or smallest) integer in these places: the key's own bounds refuse it, in their words.
fn saturated(text: &str, mut places: Vec<Range<usize>>) -> Cow<'_, str> {
    if places.is_empty() {
        return text.into();
    }
    places.sort_by_key(|place| std::cmp::Reverse(place.start));
    let mut bounded = text.to_owned();
    for place in places {
        let is_negative = text
            .get(place.clone())
            .is_some_and(|number| number.starts_with('-'));
        let bound = if is_negative { i64::MIN } else { i64::MAX };
        bounded.replace_range(place, &bound.to_string());
    }
    bounded.into()
}
