//! Values in the formats of others, read as their table says. Pure decoder.
//!
//! Never panics, never looks into a value beyond its cap, never puts a value into a message. Only address
//! and port are fatal, and what is wrong with one of several instances in a value costs that one.

use std::collections::BTreeSet;

use super::fields::{Issues, Scope, Served};
use super::items::{Item, items};
use super::value::table;
use crate::config::{Format, Value};
use crate::model::{Code, Instance, Issue};
use crate::registry::etcd::Kv;
use crate::source::entry::{self, Decoded};
use crate::text::clip;

/// A value that can be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Read {
    /// It stands for a key that is deleted.
    Gone,
    /// Instances, and fields that were ignored or defaulted.
    Here {
        /// Those that can be served.
        decoded: Decoded<Vec<Instance>>,
        /// Those that cannot.
        bad: Vec<Bad>,
    },
}

/// One of several instances in a value that cannot be served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Bad {
    /// The id that it would have.
    pub(super) id: String,
    /// Where it stands in the value.
    pub(super) place: String,
    /// What is wrong.
    pub(super) reason: String,
}

/// Reads the value of a key whose id is `id`. `entry` is the key, for issues.
///
/// # Errors
/// Why nothing of it can be served.
pub(super) fn read(format: &Format, entry: &str, id: &str, kv: &Kv) -> Result<Read, String> {
    let (address, value);
    let (outer, items) = match format.value {
        Value::Native => {
            return Ok(here(entry::instance(
                entry,
                Some(id).filter(|i| !i.is_empty()),
                &table(kv, |_| false)?,
            )?));
        }
        Value::None => (None, vec![Item::alone(id, Some(id))]),
        Value::Text => {
            address = std::str::from_utf8(&kv.value).map_err(|_| "the value is not UTF-8")?;
            if kv.size > kv.value.len() {
                return Err(format!(
                    "the value has {} bytes, and should be HOST:PORT",
                    kv.size
                ));
            }
            (None, vec![Item::alone(id, Some(address))])
        }
        Value::Json => {
            value = table(kv, |field| format.skips(field))?;
            let items = match &format.instances {
                None => vec![Item::alone(id, None)],
                Some(field) => items(field, id, &value)?,
            };
            (Some(&value), items)
        }
    };
    let scope = Scope {
        format,
        entry,
        inner: None,
        outer,
    };
    let mut issues = Issues::new();
    if format.gone.iter().any(|c| scope.holds(c, &mut issues)) {
        return Ok(Read::Gone);
    }
    scope.unknown(outer, "", &mut issues);
    let alone = format.instances.is_none();
    let (mut good, mut bad) = (Vec::new(), Vec::new());
    let (mut ids, mut addresses) = (BTreeSet::new(), BTreeSet::new());
    let mut unserved = None;
    for item in &items {
        let scope = Scope {
            inner: item.fields,
            ..scope
        };
        if let Some(field) = &format.instances {
            scope.unknown(item.fields, &format!("{field}: "), &mut issues);
        }
        let id = scope.id(item);
        let (rank, read) = match scope.served(item, &mut issues) {
            Ok(Served::No(reason)) => {
                unserved = unserved.or(Some(reason));
                continue;
            }
            Ok(Served::Yes {
                place,
                rank,
                protocol,
            }) => (rank, scope.instance(item, &id, &place, protocol, &mut issues)),
            Err(reason) => (None, Err(reason)),
        };
        let mut twice = |instance: &Instance| !ids.insert(instance.id.clone());
        let reason = match read {
            Ok(instance) if twice(&instance) => format!("another instance is called `{}` already", clip(&id)),
            Ok(instance) if !addresses.insert(instance.address) => {
                let reason = format!("{}: stands there twice; counted once", instance.address);
                issues.insert(Issue::warning(entry, reason).of_kind(Code::RegisteredTwice));
                continue;
            }
            Ok(instance) => {
                good.push((rank, instance));
                continue;
            }
            Err(reason) if alone => return Err(reason),
            Err(reason) => reason,
        };
        let place = item.place.clone();
        bad.push((rank, Bad { id, place, reason }));
    }
    // One server often listens for several schemes: requests must not go to the worse one as well, nor
    // instead while the better one is wrong.
    let ranks = good
        .iter()
        .map(|(rank, _)| rank)
        .chain(bad.iter().map(|(rank, _)| rank));
    let best = ranks.flatten().min().copied();
    let (good, bad) = (of_rank(good, best), of_rank(bad, best));
    if let (true, true, Some(reason)) = (good.is_empty(), bad.is_empty(), unserved) {
        return Err(reason);
    }
    Ok(Read::Here {
        decoded: Decoded {
            content: good,
            issues: entry::bounded(entry, issues.into_iter().collect()),
        },
        bad,
    })
}

fn of_rank<T>(all: Vec<(Option<usize>, T)>, best: Option<usize>) -> Vec<T> {
    let best = |(rank, one): (Option<usize>, T)| (rank.is_none() || rank == best).then_some(one);
    all.into_iter().filter_map(best).collect()
}

fn here(decoded: Decoded<Instance>) -> Read {
    Read::Here {
        decoded: Decoded {
            content: vec![decoded.content],
            issues: decoded.issues,
        },
        bad: Vec::new(),
    }
}
