//! The fields of one instance in a value, read as the format says. Pure.
//!
//! Only address and port are fatal: any other field that is wrong takes its default and is named.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use serde_json::Value as Json;

use super::items::{Item, at, own_id, scalar};
use crate::config::{Condition, Field, Format, Scheme};
use crate::model::declaration::{self, Declared};
use crate::model::service::{self, Registered};
use crate::model::{Health, Instance, Issue, Policy, Protocol, Spelling};
use crate::source::entry::{self, Table};
use crate::source::place::{self, Place};
use crate::text::clip;

/// The weight of an instance that gives none.
const DEFAULT_WEIGHT: u32 = 1;
/// The keys of metadata that are ours without a prefix.
const PLAIN: [&str; 4] = ["version", "weight", "zone", "region"];

/// What is wrong, once each.
pub(super) type Issues = BTreeSet<Issue>;

/// The tables in which a field is looked up: that of the item, then that of the whole value.
#[derive(Clone, Copy)]
pub(super) struct Scope<'a> {
    pub(super) format: &'a Format,
    pub(super) entry: &'a str,
    pub(super) inner: Option<&'a Table>,
    pub(super) outer: Option<&'a Table>,
}

/// Whether an instance is one of those that the format's schemes are for.
pub(super) enum Served<'a> {
    Yes {
        place: Place<'a>,
        /// The place of its scheme among them.
        rank: Option<usize>,
        protocol: Option<Protocol>,
    },
    /// Why not.
    No(String),
}

impl<'a> Scope<'a> {
    fn get(&self, field: Option<&Field>) -> Option<&'a Json> {
        let field = field?;
        let tables = [self.inner, self.outer].into_iter().flatten();
        tables
            .filter_map(|table| at(field, table))
            .find(|value| !value.is_null())
    }

    /// Where an instance itself must say it, and not the value that it stands in.
    fn own(&self, field: &Field) -> Option<&'a Json> {
        let table = if self.format.instances.is_some() {
            self.inner
        } else {
            self.outer
        };
        at(field, table?).filter(|value| !value.is_null())
    }

    fn warn(&self, issues: &mut Issues, field: &Field, reason: &str) {
        issues.insert(Issue::warning(self.entry, format!("{field}: {reason}")));
    }

    /// A plain value as text.
    fn text(&self, field: Option<&Field>, issues: &mut Issues) -> Option<String> {
        let value = self.get(field)?;
        let text = scalar(value);
        if let (None, Some(field)) = (&text, field) {
            let kind = entry::kind(value);
            self.warn(
                issues,
                field,
                &format!("is {kind}, must be a single value; ignored"),
            );
        }
        text
    }

    pub(super) fn holds(&self, condition: &Condition, issues: &mut Issues) -> bool {
        let Some(text) = self.text(Some(&condition.field), issues) else {
            return false;
        };
        let switch = |text: &str| matches!(text, "true" | "false");
        if switch(&condition.value) && !switch(&text) {
            self.warn(issues, &condition.field, "must be true or false; ignored");
        }
        text == condition.value
    }

    fn any(&self, conditions: &[Condition], issues: &mut Issues) -> bool {
        conditions.iter().any(|condition| self.holds(condition, issues))
    }

    pub(super) fn served<'b>(&self, item: &Item<'b>, issues: &mut Issues) -> Result<Served<'b>, String>
    where
        'a: 'b,
    {
        let format = self.format;
        let place = self.place(item)?;
        let scheme = place.scheme.map(str::to_owned);
        let scheme = scheme.or_else(|| self.text(format.scheme.as_ref(), issues));
        let (rank, protocol) = match scheme.filter(|_| !format.schemes.is_empty()) {
            None => (None, format.protocol),
            Some(scheme) => match rank(&format.schemes, &scheme) {
                Some((rank, protocol)) => (Some(rank), Some(protocol)),
                None => return Ok(Served::No(unserved(&format.schemes, &scheme))),
            },
        };
        Ok(Served::Yes {
            place,
            rank,
            protocol,
        })
    }

    pub(super) fn instance(
        &self,
        item: &Item<'_>,
        id: &str,
        place: &Place<'_>,
        protocol: Option<Protocol>,
        issues: &mut Issues,
    ) -> Result<Instance, String> {
        let format = self.format;
        if place.secure {
            return Err(place::SECURE.to_owned());
        }
        let address = self.address(place)?;
        let declared = self.declared(item, protocol, issues);
        let health = match () {
            () if self.any(&format.off, issues) => Health::Off,
            () if self.any(&format.drain, issues) => Health::Draining,
            () if self.any(&format.unhealthy, issues) => Health::Unhealthy,
            () => Health::Healthy,
        };
        let shown = address.to_string();
        let registered = Registered {
            id: if id.is_empty() { &shown } else { id },
            address,
            health,
            weight: format.default_weight.unwrap_or(DEFAULT_WEIGHT),
            zone: "",
            region: "",
        };
        Ok(service::assemble(&registered, declared))
    }

    /// Its id, where it does not depend on the address: one that went bad has the same.
    pub(super) fn id(&self, item: &Item<'_>) -> String {
        let own = self.format.id.as_ref().and_then(|field| self.own(field));
        let own = own.and_then(scalar).as_deref().and_then(own_id);
        match (item.key, own.unwrap_or_else(|| item.own.clone())) {
            ("", own) => own,
            (key, own) if own.is_empty() || own == key => key.to_owned(),
            (key, own) => format!("{key}/{own}"),
        }
    }

    fn place<'b>(&self, item: &Item<'b>) -> Result<Place<'b>, String>
    where
        'a: 'b,
    {
        let field = &self.format.address;
        if item.fields.is_none() && item.address.is_none() && self.format.instances.is_some() {
            return Err("must be an address or a table".to_owned());
        }
        match self.own(field) {
            Some(Json::String(text)) => service::not_a_socket(text).map(|()| place::parse(text)),
            Some(other) => Err(format!(
                "{field} is {}, must be a string such as 10.0.0.7:8080",
                entry::kind(other)
            )),
            None => match item.address {
                Some(text) => service::not_a_socket(text).map(|()| place::parse(text)),
                None => Err(format!("{field} is missing")),
            },
        }
    }

    fn address(&self, place: &Place<'_>) -> Result<SocketAddr, String> {
        let wrong = || "port must be a whole number from 1 to 65535".to_owned();
        let field = self.format.port.as_ref();
        let port = match (place.port, field.and_then(|field| self.own(field))) {
            (Some(port), _) => port.map_err(|()| wrong())?,
            (None, Some(value)) => scalar(value)
                .and_then(|port| port.trim().parse().ok())
                .ok_or_else(wrong)?,
            (None, None) => {
                let field = field.map(|field| format!(" or a field {field}"));
                let field = field.unwrap_or_default();
                return Err(format!("the port is missing: it must be HOST:PORT{field}"));
            }
        };
        service::address(place.host, port)
    }

    /// Declared keys of the metadata, then the fields of the format, then plain keys of the metadata.
    fn declared(&self, item: &Item<'_>, protocol: Option<Protocol>, issues: &mut Issues) -> Declared {
        let format = self.format;
        let mut found = Vec::new();
        let fields = [("version", &format.version), ("zone", &format.zone)];
        let texts = fields.map(|(key, field)| (key, self.text(field.as_ref(), issues)));
        let weight = self.weight(item, issues);
        let pairs = texts
            .iter()
            .filter_map(|(key, text)| Some((*key, text.as_deref()?)))
            .filter(|(_, text)| !text.is_empty()); // frameworks write all fields, also those that nobody set
        let pairs = pairs.chain(weight.as_deref().map(|weight| ("weight", weight)));
        let mut fields = declaration::parse(self.entry, Spelling::Plain, pairs, &mut found);
        if item.weight.is_some() && weight.is_none() {
            fields.slip_named("weight");
        }

        let metadata = self.metadata();
        let read = |spelling: Spelling, found: &mut Vec<Issue>| {
            let ours = |key: &'a str| {
                let key = spelling.strip(key)?;
                (spelling != Spelling::Plain || PLAIN.contains(&key)).then_some(key)
            };
            let pairs = metadata
                .iter()
                .filter_map(|(key, text)| Some((ours(key)?, text.as_str())));
            declaration::parse(self.entry, spelling, pairs, found)
        };
        let mut declared = read(Spelling::Meta, &mut found).over(&read(Spelling::Tag, &mut found));
        let others = metadata.iter().map(|(key, _)| *key);
        let others =
            others.filter(|key| Spelling::Meta.strip(key).is_none() && Spelling::Tag.strip(key).is_none());
        declaration::near_misses(self.entry, Spelling::Meta, others, &mut declared, &mut found);
        let plain = read(Spelling::Plain, &mut found);
        issues.extend(found);
        declared
            .over(&fields)
            .over(&plain)
            .over(&Declared::of_service(Policy {
                protocol,
                ..Policy::default()
            }))
    }

    /// What stands in the metadata of the value, and, stronger, in that of the instance.
    fn metadata(&self) -> Vec<(&'a str, String)> {
        let field = self.format.metadata.as_ref();
        let table = |table: Option<&'a Table>| at(field?, table?)?.as_object();
        let pairs = [table(self.outer), table(self.inner)]
            .into_iter()
            .flatten()
            .flatten();
        pairs
            .filter_map(|(key, value)| Some((key.as_str(), scalar(value)?)))
            .collect()
    }

    /// A weight as a declaration would say it.
    fn weight(&self, item: &Item<'_>, issues: &mut Issues) -> Option<String> {
        let text = match item.weight {
            Some(value) => scalar(value).or_else(|| {
                let reason = format!(
                    "the weight of one is {}, must be a number; not used",
                    entry::kind(value)
                );
                issues.insert(Issue::warning(self.entry, reason));
                None
            })?,
            None => self.text(self.format.weight.as_ref(), issues)?,
        };
        let none_said = self.format.default_weight.is_some() && text.parse::<i64>().is_ok_and(|w| w <= 0);
        (!none_said).then_some(text)
    }

    /// Fields that the format knows nothing of.
    pub(super) fn unknown(&self, table: Option<&Table>, place: &str, issues: &mut Issues) {
        let format = self.format;
        if format.ignore.iter().any(|field| field == "*") {
            return;
        }
        let unknown = |key: &&String| !format.known().any(|known| known == key.as_str());
        for key in table.into_iter().flat_map(Table::keys).filter(unknown) {
            let reason = format!(
                "{place}{}: is no field of the format {}; ignored",
                clip(key),
                format.name
            );
            issues.insert(Issue::warning(self.entry, reason));
        }
    }
}

fn rank(schemes: &[Scheme], name: &str) -> Option<(usize, Protocol)> {
    let found = schemes
        .iter()
        .position(|scheme| scheme.name.eq_ignore_ascii_case(name))?;
    Some((found, schemes.get(found)?.protocol))
}

fn unserved(schemes: &[Scheme], found: &str) -> String {
    let names: Vec<&str> = schemes.iter().map(|scheme| scheme.name.as_str()).collect();
    format!("the scheme `{}` is none of {}", clip(found), names.join(", "))
}
