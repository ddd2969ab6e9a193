//! Tags that were written for Traefik 3. Pure.

mod headers;
mod kv;
mod middleware;
mod redirect;
mod router;
mod rule;
mod service;
mod tags;
mod tcp;

use std::collections::BTreeSet;

pub(super) use self::kv::read as keys;
use self::router::{Importing, Leads, Spelling, normalized};
use self::tags::{Router, Tags};
use super::entry::{Entry, worst};
use super::gathered::{self, Gathered};
use crate::config::TraefikImport;
use crate::model::Health;
use crate::model::label::MAX_LABEL;
use crate::text::clip;
use crate::text::expression::Function;

const TAGS: Spelling = Spelling {
    join: ".",
    providers: &["consulcatalog"],
};

/// Adds what the tags of an entry declare.
pub(super) fn read(settings: &TraefikImport, entry: &Entry<'_>, gathered: &mut Gathered<'_>) {
    let tags = Tags::read(&settings.prefix, entry.tags, gathered);
    let tag = |end: &str| format!("{}.{end}", settings.prefix);
    let enabled = match tags.enable {
        None => settings.exposed_by_default,
        Some(Ok(enabled)) => enabled,
        Some(Err(())) => {
            gathered.note(
                &tag("enable"),
                "is neither true nor false: nothing is read of this instance",
            );
            false
        }
    };
    let meets = |constraints: &crate::text::expression::Expression| {
        constraints
            .holds(&|function: &Function| entry.tags.iter().any(|tag| function.arguments.contains(tag)))
    };
    if !enabled || !settings.constraints.as_ref().is_none_or(meets) {
        return;
    }
    let canary = tags.canary.then(|| canary(entry)).flatten();
    if let Some(version) = &canary {
        gathered.imported.version = Some(version.as_str().into());
        gathered.key("share", "routes");
    }
    let mut import = Importing {
        settings,
        entry,
        tags: &tags,
        gathered,
        spelling: &TAGS,
        canary,
    };
    import.routers();
    import.connections();
    if gathered.has_routes() {
        let maintained = entry
            .checks
            .iter()
            .any(|check| check.maintenance && check.status == crate::config::Check::Critical);
        let allowed = settings.strict_checks.contains(&worst(entry.checks));
        gathered.health(match (allowed, maintained) {
            (true, _) => Health::Healthy,
            (false, true) => Health::Draining,
            (false, false) => Health::Unhealthy,
        });
    }
}

/// The version that an instance is which is a canary. There it is a service of its own, with all that have the same tags,
/// and gets what its routers bring. `None`: its own keys say that it is none: a share, or routes.
fn canary(entry: &Entry<'_>) -> Option<String> {
    if entry.own.share || entry.own.routes {
        return None;
    }
    let mut tags: Vec<&str> = entry.tags.iter().map(String::as_str).collect();
    tags.sort_unstable();
    let name = format!("canary-{:06}", gathered::number(&tags.join("\n")));
    Some(match entry.own.version {
        Some(version) if version.len() + name.len() < MAX_LABEL => format!("{version}-{name}"),
        _ => name,
    })
}

/// Who gets the requests of a router.
enum Target {
    /// This service, by one of the services that it declares there, or by none.
    Own(Option<String>),
    /// Another service of the registry.
    Other(String),
    /// One that is not known here.
    Unknown,
}

impl Importing<'_, '_, '_> {
    fn routers(&mut self) {
        let mut by_name = Router::default();
        let tags = self.tags;
        let mut routers: Vec<(&str, &Router)> = tags
            .routers
            .iter()
            .map(|(name, router)| (name.as_str(), router))
            .collect();
        let plain = normalized(self.entry.service);
        if routers.is_empty() && !tags.bytes && tags.services.len() < 2 {
            by_name.rule = Some(self.default_rule());
            routers.push((&plain, &by_name));
        }
        let mut own: BTreeSet<String> = BTreeSet::new();
        let mut served = Vec::new();
        for (name, router) in routers {
            match self.target(router) {
                Ok(target) => {
                    if let Target::Own(Some(service)) = &target {
                        own.insert(service.clone());
                    }
                    served.push((name, router, target));
                }
                // There it is left out, too.
                Err(why) => {
                    let tag = self.tag(name, "service");
                    self.gathered
                        .note(&tag, format!("{why}; this router is left out"));
                }
            }
        }
        let first = own.iter().next().cloned();
        if own.len() > 1 {
            let tag = format!("{}.http.services", self.settings.prefix);
            let names: Vec<&str> = own.iter().map(String::as_str).collect();
            let why = format!(
                "the routers of one instance go to one server here, that of `{}`; requests of those of the others of {} \
                 are answered with 503",
                names[0],
                clip(&names.join(", "))
            );
            self.gathered.note(&tag, why);
        }
        for (name, router, target) in served {
            let mut leads = Leads::default();
            match target {
                Target::Own(Some(service)) if first.as_ref() != Some(&service) => {
                    leads.lacking = Some("it goes to another server of this instance".to_owned());
                }
                Target::Own(service) => {
                    // One that names the service of the others there leads to them.
                    let of_others = service.is_none() && router.service.is_some();
                    let version = self.canary.clone().filter(|_| !of_others);
                    leads.to = version.map(|version| ("version", version));
                    let options = service.as_ref().and_then(|service| tags.services.get(service));
                    leads.by_its_address = options.is_some_and(service::by_its_address);
                }
                Target::Other(service) => leads.to = Some(("split", format!("{service}:1"))),
                Target::Unknown => {
                    leads.lacking = Some("a service that is declared elsewhere is not known here".to_owned());
                }
            }
            self.router(name, router, &leads);
        }
        if let Some(options) = first.and_then(|first| tags.services.get(&first)) {
            service::read(&self.settings.prefix, self.entry.service, options, self.gathered);
        }
    }

    fn target(&self, router: &Router) -> Result<Target, String> {
        let declared = &self.tags.services;
        let mut names = declared.keys();
        let Some(service) = &router.service else {
            return match (names.next(), names.next()) {
                (Some(_), Some(_)) => Err("there are several services, and the router names none".to_owned()),
                (only, _) => Ok(Target::Own(only.cloned())),
            };
        };
        let (name, provider) = service.split_once('@').unwrap_or((service, "consulcatalog"));
        if provider != "consulcatalog" {
            return Ok(Target::Unknown);
        }
        let lower = name.to_ascii_lowercase();
        if declared.contains_key(&lower) {
            return Ok(Target::Own(Some(lower)));
        }
        let own = [self.entry.service, &normalized(self.entry.service)].contains(&name);
        if own && declared.is_empty() {
            return Ok(Target::Own(None));
        }
        Ok(Target::Other(name.to_owned()))
    }
}
