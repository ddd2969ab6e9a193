//! Walks the layered values and gathers mistakes instead of stopping at the first.

use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;

use config::{Map, Value, ValueKind};
use toml::de::{DeTable, DeValue};

use super::parse;

/// One thing wrong in the configuration.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mistake {
    /// Line in the file, from 1; `None` where no line is to blame (a missing
    /// section, or a value from the environment).
    pub line: Option<usize>,
    /// The key, `sources.etcd.endpoints`.
    pub key: String,
    /// What is wrong, and what would be right.
    pub text: String,
    /// The variable that is to blame, where it is one.
    pub variable: Option<String>,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(variable) = &self.variable {
            write!(f, "{variable}: ")?;
        }
        if self.key.is_empty() {
            f.write_str(&self.text)
        } else {
            write!(f, "{}: {}", self.key, self.text)
        }
    }
}

/// Where keys stand in the file.
pub(super) struct Lines<'a> {
    pub(super) text: &'a str,
    pub(super) table: DeTable<'a>,
}

impl Lines<'_> {
    /// The line (from 1) that a byte offset is on.
    pub(super) fn at(&self, offset: usize) -> usize {
        self.text.get(..offset).unwrap_or(self.text).matches('\n').count() + 1
    }

    /// The line of a key path, or of its nearest parent that is in the file. `clients[1]` is
    /// the second table of a list.
    fn of(&self, path: &[String]) -> Option<usize> {
        let mut table = &self.table;
        let mut line = None;
        for part in path {
            let (name, nth) = match part.strip_suffix(']').and_then(|p| p.rsplit_once('[')) {
                Some((name, nth)) => (name, nth.parse::<usize>().ok()),
                None => (part.as_str(), None),
            };
            let Some((key, value)) = table.get_key_value(name) else {
                break;
            };
            line = Some(self.at(key.span().start));
            let value = match (value.get_ref(), nth) {
                (DeValue::Array(items), Some(nth)) => match items.get(nth) {
                    Some(item) => {
                        line = Some(self.at(item.span().start));
                        item.get_ref()
                    }
                    None => break,
                },
                (value, _) => value,
            };
            match value {
                DeValue::Table(inner) => table = inner,
                _ => break,
            }
        }
        line
    }
}

/// What all sections of one reading share.
pub(super) struct Shared<'a> {
    pub(super) lines: Lines<'a>,
    pub(super) mistakes: RefCell<Vec<Mistake>>,
}

/// One table of the configuration, being read key by key.
pub(super) struct Section<'a> {
    path: Vec<String>,
    table: Map<String, Value>,
    asked: Vec<&'static str>,
    /// Keys whose value came from a variable: a mistake found later is of that, not of the file's line.
    variables: Vec<&'static str>,
    shared: Rc<Shared<'a>>,
}

impl<'a> Section<'a> {
    pub(super) fn root(table: Map<String, Value>, shared: Rc<Shared<'a>>) -> Self {
        Self {
            path: Vec::new(),
            table,
            asked: Vec::new(),
            variables: Vec::new(),
            shared,
        }
    }

    /// This section's own name.
    pub(super) fn name(&self) -> &str {
        self.path.last().map_or("", String::as_str)
    }

    fn child(&self, key: &str, value: Value) -> Section<'a> {
        let mut path = self.path.clone();
        path.push(key.to_owned());
        let origin = value.origin().map(str::to_owned);
        let table = match value.kind {
            ValueKind::Table(table) => table,
            _ => {
                self.blame(
                    key,
                    format!("must be a table, [{}]", path.join(".")),
                    origin.as_deref(),
                );
                Map::new()
            }
        };
        Section {
            path,
            table,
            asked: Vec::new(),
            variables: Vec::new(),
            shared: self.shared.clone(),
        }
    }

    /// The section below `key`; an absent one is empty, so that its defaults apply.
    pub(super) fn section(&mut self, key: &'static str) -> Section<'a> {
        self.asked.push(key);
        let value = self
            .table
            .remove(key)
            .unwrap_or_else(|| Value::new(None, ValueKind::Table(Map::new())));
        self.child(key, value)
    }

    /// Whether anything is said about `key`.
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// The section below `key`, where there is one.
    pub(super) fn optional(&mut self, key: &'static str) -> Option<Section<'a>> {
        self.asked.push(key);
        let value = self.table.remove(key)?;
        Some(self.child(key, value))
    }

    /// The tables of a list, `[[xds.clients]]`, in the order of the file.
    pub(super) fn tables(&mut self, key: &'static str) -> Vec<Section<'a>> {
        let Some(value) = self.take(key) else {
            return Vec::new();
        };
        let origin = value.origin().map(str::to_owned);
        match value.kind {
            ValueKind::Array(items) => items
                .into_iter()
                .enumerate()
                .map(|(n, item)| self.child(&format!("{key}[{n}]"), item))
                .collect(),
            _ => {
                let name = [self.path.as_slice(), &[key.to_owned()]].concat().join(".");
                let text = format!("must be a list of tables, [[{name}]]");
                self.blame(key, text, origin.as_deref());
                Vec::new()
            }
        }
    }

    /// All named sections below `key`, `[sources.NAME]`, in the order of their names.
    pub(super) fn sections(&mut self, key: &'static str) -> Vec<Section<'a>> {
        let mut parent = self.section(key);
        let mut entries: Vec<(String, Value)> = std::mem::take(&mut parent.table).into_iter().collect();
        entries.sort_by(|a, b| a.0.cmp(&b.0));
        entries
            .into_iter()
            .map(|(name, value)| parent.child(&name, value))
            .collect()
    }

    /// One value read by `parse`; absent or wrong: `None` (wrong is reported).
    pub(super) fn get<T>(
        &mut self,
        key: &'static str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        let value = self.take(key)?;
        let origin = value.origin().map(str::to_owned);
        let read = match &value.kind {
            ValueKind::String(text) => parse(text),
            ValueKind::Boolean(_)
            | ValueKind::I64(_)
            | ValueKind::I128(_)
            | ValueKind::U64(_)
            | ValueKind::U128(_) => {
                // The parser of a number or switch takes the text; one of a string says what it wants instead.
                parse(&value.kind.to_string())
            }
            _ => Err("must be a single value".to_owned()),
        };
        read.map_err(|text| self.blame(key, text, origin.as_deref())).ok()
    }

    /// Like [`Self::get`], with a default.
    pub(super) fn get_or<T>(
        &mut self,
        key: &'static str,
        default: T,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> T {
        self.get(key, parse).unwrap_or(default)
    }

    /// Like [`Self::get`], and absent is a mistake; `example` says what would be right.
    pub(super) fn need<T>(
        &mut self,
        key: &'static str,
        example: &str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        if self.table.contains_key(key) {
            return self.get(key, parse);
        }
        self.asked.push(key);
        self.mistake(key, format!("is missing; for example {key} = {example}"));
        None
    }

    /// A list of values; a variable gives them separated by commas.
    pub(super) fn list<T>(
        &mut self,
        key: &'static str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<Vec<T>> {
        let value = self.take(key)?;
        let origin = value.origin().map(str::to_owned);
        let texts: Result<Vec<String>, String> = match &value.kind {
            ValueKind::Array(items) => items
                .iter()
                .map(|item| match &item.kind {
                    ValueKind::String(text) => Ok(text.clone()),
                    _ => Err("must be a list of strings, [\"…\", \"…\"]".to_owned()),
                })
                .collect(),
            ValueKind::String(text) if from_environment(origin.as_deref()) => Ok(text
                .split(',')
                .map(|t| t.trim().to_owned())
                .filter(|t| !t.is_empty())
                .collect()),
            _ => Err("must be a list of strings, [\"…\", \"…\"]".to_owned()),
        };
        let mut read = Vec::new();
        for text in texts
            .map_err(|text| self.blame(key, text, origin.as_deref()))
            .ok()?
        {
            match parse(&text) {
                Ok(item) => read.push(item),
                Err(text) => self.blame(key, text, origin.as_deref()),
            }
        }
        Some(read)
    }

    /// All that stands in a table whose keys are the reader's to judge, in the order of the keys.
    pub(super) fn pairs(&mut self) -> Vec<(String, String)> {
        let mut entries: Vec<(String, Value)> = std::mem::take(&mut self.table).into_iter().collect();
        entries.sort_by(|a, b| a.0.cmp(&b.0));
        let mut pairs = Vec::new();
        for (name, value) in entries {
            match &value.kind {
                ValueKind::Array(_) | ValueKind::Table(_) | ValueKind::Nil => {
                    self.blame(&name, "must be a single value".to_owned(), value.origin());
                }
                kind => pairs.push((name, kind.to_string())),
            }
        }
        pairs
    }

    /// A table whose keys are the operator's own, each with one value or a list of them; in the order of the keys.
    pub(super) fn lists<K, T>(
        &mut self,
        key: &'static str,
        named: impl Fn(&str) -> Result<K, String>,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Vec<(K, Vec<T>)> {
        let Some(inner) = self.optional(key) else {
            return Vec::new();
        };
        let mut entries: Vec<(&String, &Value)> = inner.table.iter().collect();
        entries.sort_by_key(|(name, _)| *name);
        let mut all = Vec::new();
        for (name, value) in entries {
            let items = match &value.kind {
                ValueKind::Array(items) => items.as_slice(),
                _ => std::slice::from_ref(value),
            };
            let one = |item: &Value| match &item.kind {
                ValueKind::String(text) => parse(text),
                _ => Err("must be a string or a list of strings".to_owned()),
            };
            let read = items.iter().map(one).collect::<Result<Vec<T>, String>>();
            match read.and_then(|items| Ok((named(name)?, items))) {
                Ok(pair) => all.push(pair),
                Err(text) => inner.blame(name, text, value.origin()),
            }
        }
        all
    }

    /// All values that are left, as texts; their keys are judged by whoever reads them.
    pub(super) fn left(&mut self) -> Vec<(String, String)> {
        let mut all = Vec::new();
        for (key, value) in std::mem::take(&mut self.table) {
            match &value.kind {
                ValueKind::Table(_) | ValueKind::Array(_) | ValueKind::Nil => {
                    self.blame(&key, "must be a single value".to_owned(), value.origin());
                }
                kind => all.push((key, kind.to_string())),
            }
        }
        all.sort();
        all
    }

    /// Like [`Self::list`], and absent or empty is a mistake; `missing` says what would be
    /// right. Items that are wrong are reported as such, and not once more as missing.
    pub(super) fn need_list<T>(
        &mut self,
        key: &'static str,
        missing: &str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<Vec<T>> {
        let before = self.shared.mistakes.borrow().len();
        let read = self.list(key, parse);
        let silent = self.shared.mistakes.borrow().len() == before;
        if silent && read.as_ref().is_none_or(Vec::is_empty) {
            self.mistake(key, missing);
        }
        read
    }

    fn take(&mut self, key: &'static str) -> Option<Value> {
        self.asked.push(key);
        let value = self.table.remove(key)?;
        if from_environment(value.origin()) {
            self.variables.push(key);
        }
        Some(value)
    }

    /// Reports a mistake of this section's `key` (`""`: of the section itself).
    pub(super) fn mistake(&self, key: &str, text: impl Into<String>) {
        let origin = self.variables.contains(&key).then_some(ENVIRONMENT);
        self.blame(key, text.into(), origin);
    }

    fn blame(&self, key: &str, text: String, origin: Option<&str>) {
        let mut path = self.path.clone();
        if !key.is_empty() {
            path.push(key.to_owned());
        }
        let variable =
            from_environment(origin).then(|| format!("XDS_BRIDGE__{}", path.join("__").to_uppercase()));
        let line = if variable.is_some() {
            None
        } else {
            self.shared.lines.of(&path)
        };
        self.shared.mistakes.borrow_mut().push(Mistake {
            line,
            key: path.join("."),
            text,
            variable,
        });
    }

    /// Whatever was not asked for is a mistake.
    pub(super) fn finish(self) {
        let mut left: Vec<(&String, &Value)> = self.table.iter().collect();
        left.sort_by_key(|(key, _)| *key);
        for (key, value) in left {
            let near = self
                .asked
                .iter()
                .map(|known| (strsim::damerau_levenshtein(known, key), *known))
                .filter(|(distance, known)| *distance <= 1 + known.len() / 4)
                .min();
            let text = match near {
                Some((_, known)) => format!("is not a known key; did you mean `{known}`?"),
                None => {
                    let mut known = self.asked.clone();
                    known.sort_unstable();
                    known.dedup();
                    format!("is not a known key; known here: {}", known.join(", "))
                }
            };
            self.blame(key, text, value.origin());
        }
    }
}

/// `config` names the layer a value is from; ours are the file and the environment.
/// Names stand in variables, metrics and resource names.
pub(super) fn named(s: &Section<'_>) {
    if !parse::is_name(s.name()) {
        s.mistake("", "a name here has 1 to 64 of a-z, 0-9, - and _");
    }
}

fn from_environment(origin: Option<&str>) -> bool {
    origin.is_some_and(|o| o.contains(ENVIRONMENT))
}

/// How `config` calls that layer.
const ENVIRONMENT: &str = "environment";
