//! Tags that were written for Traefik 3. Pure.

mod headers;
mod middleware;
mod redirect;
mod rule;
mod service;
mod tags;

use std::collections::BTreeSet;

use self::middleware::Chain;
use self::tags::{Router, Tags};
use super::entry::{Entry, worst};
use super::gathered::Gathered;
use super::route::Draft;
use crate::config::{NAMES, TraefikImport};
use crate::model::Health;
use crate::text::clip;
use crate::text::expression::Function;

/// The entry point of a route where the operator names none.
const EXPOSURE: &str = "internal";

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
    if tags.canary {
        gathered.note(
            &tag("consulcatalog.canary"),
            "a canary is a service of its own there, and there is none here: the instance gets no requests",
        );
        gathered.health(Health::Off);
        return;
    }
    let mut import = Importing {
        settings,
        entry,
        tags: &tags,
        gathered,
    };
    import.routers();
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

struct Importing<'a, 'b, 'c> {
    settings: &'a TraefikImport,
    entry: &'a Entry<'a>,
    tags: &'a Tags,
    gathered: &'b mut Gathered<'c>,
}

/// Who gets the requests of a router.
enum Target {
    /// This service, by one of the services that it declares there, or by none.
    Own(Option<String>),
    /// Another service of the registry.
    Other(String),
}

impl Importing<'_, '_, '_> {
    fn tag(&self, router: &str, end: &str) -> String {
        format!("{}.http.routers.{router}.{end}", self.settings.prefix)
    }

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
                "the routers of one instance go to one server here, that of `{}`; those of the others of {} are left out",
                names[0],
                clip(&names.join(", "))
            );
            self.gathered.note(&tag, why);
        }
        for (name, router, target) in served {
            let split = match target {
                Target::Own(Some(service)) if first.as_ref() != Some(&service) => continue,
                Target::Own(_) => None,
                Target::Other(service) => Some(service),
            };
            self.router(name, router, split.as_deref());
        }
        if let Some(options) = first.and_then(|first| tags.services.get(&first)) {
            service::read(&self.settings.prefix, self.entry.service, options, self.gathered);
        }
    }

    fn default_rule(&self) -> String {
        let [in_a_host, plain] = NAMES;
        let rule = self
            .settings
            .default_rule
            .replace(in_a_host, &normalized(self.entry.service));
        rule.replace(plain, self.entry.service)
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
            return Err("a service that is declared elsewhere is not known here".to_owned());
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

    fn exposures(&mut self, name: &str, router: &Router) -> Vec<String> {
        let known = &self.settings.entry_points;
        if known.is_empty() {
            if router.tls {
                let tag = self.tag(name, "tls");
                let why = "needs an entry point of tls_entry_points in bridge.toml; this router is left out";
                self.gathered.note(&tag, why);
                return Vec::new();
            }
            return vec![EXPOSURE.to_owned()];
        }
        let wanted: Vec<&String> = if router.entry_points.is_empty() {
            known.keys().collect()
        } else {
            router.entry_points.iter().collect()
        };
        let mut exposures = BTreeSet::new();
        for entry_point in wanted {
            let Some(names) = known.get(entry_point) else {
                let tag = self.tag(name, "entrypoints");
                let why = format!(
                    "`{}` is not one of entry_points in bridge.toml",
                    clip(entry_point)
                );
                self.gathered.note(&tag, why);
                continue;
            };
            if !router.tls || self.settings.tls_entry_points.contains(entry_point) {
                exposures.extend(names.iter().cloned());
            }
        }
        if exposures.is_empty() {
            let tag = self.tag(name, "entrypoints");
            let why = if router.tls {
                "none is left that speaks TLS"
            } else {
                "none is left"
            };
            self.gathered
                .note(&tag, format!("{why}; this router is left out"));
        }
        exposures.into_iter().collect()
    }

    fn router(&mut self, name: &str, router: &Router, split: Option<&str>) {
        let default = self.default_rule();
        let rule = router.rule.as_ref().unwrap_or(&default);
        let tag = self.tag(name, "rule");
        let read = match &router.unusable {
            Some(why) => Err(why.clone()),
            None => rule::requests(rule),
        };
        let (alternatives, never) = match read {
            Ok(read) => read,
            Err(why) => {
                return self
                    .gathered
                    .note(&tag, format!("{why}; this router is left out"));
            }
        };
        for why in never {
            self.gathered
                .note(&tag, format!("{why}: this alternative is left out"));
        }
        let expose = self.exposures(name, router);
        if expose.is_empty() {
            return;
        }
        let length = i64::try_from(rule.len()).unwrap_or(i64::MAX);
        let priority = router
            .priority
            .filter(|priority| *priority != 0)
            .unwrap_or(length);
        #[allow(clippy::cast_possible_truncation, reason = "bounded")]
        let priority = priority.clamp(-1_000_000, 1_000_000) as i32;
        let mut drafts = Vec::new();
        for requests in alternatives {
            let mut draft = Draft::new(requests);
            for word in FORWARDED {
                draft.add(word.0, word.1);
            }
            if let Some(service) = split {
                draft.add("split", format!("{service}:1"));
            }
            let mut chain = Chain {
                middlewares: &self.tags.middlewares,
                tls: router.tls,
                drafts: vec![draft],
                notes: Vec::new(),
            };
            chain.follow(&router.middlewares, 0);
            drafts.extend(chain.drafts);
            for (middleware, why) in chain.notes {
                let tag = format!("{}.http.middlewares.{middleware}", self.settings.prefix);
                self.gathered.note(&tag, why);
            }
        }
        for (n, draft) in drafts.into_iter().enumerate() {
            match draft.rule("traefik", priority, &expose) {
                Ok(route) => self.gathered.route(&format!("traefik {name} {n}"), route),
                Err(why) => self
                    .gathered
                    .note(&tag, format!("{why}; this router is left out")),
            }
        }
    }
}

/// What Traefik writes, whatever the client sent.
const FORWARDED: [(&str, &str); 3] = [
    ("set-header", "x-forwarded-host:%REQ(:authority)%"),
    ("set-header", "x-real-ip:%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%"),
    ("remove-header", "x-forwarded-prefix"),
];

/// `my_svc.v1` as Traefik writes it into a host: `my-svc-v1`.
fn normalized(name: &str) -> String {
    let parts = name.split(|c: char| !c.is_alphanumeric());
    let parts: Vec<&str> = parts.filter(|part| !part.is_empty()).collect();
    parts.join("-")
}
