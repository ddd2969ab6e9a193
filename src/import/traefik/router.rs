//! One router, from tags or keys, as routes. Pure.

use std::collections::BTreeSet;

use super::middleware::{Chain, MAX_STEPS};
use super::rule;
use super::tags::{Router, Tags};
use crate::config::{NAMES, TraefikImport};
use crate::import::entry::Entry;
use crate::import::gathered::Gathered;
use crate::import::route::{Draft, Requests};
use crate::text::clip;

/// The entry point of a route where the operator names none.
pub(super) const EXPOSURE: &str = "internal";

/// What routers are read with.
pub(super) struct Importing<'a, 'b, 'c> {
    pub(super) settings: &'a TraefikImport,
    pub(super) entry: &'a Entry<'a>,
    pub(super) tags: &'a Tags,
    pub(super) gathered: &'b mut Gathered<'c>,
    pub(super) spelling: &'static Spelling,
    /// The version that the instance is, where it is a canary.
    pub(super) canary: Option<String>,
}

/// Where the requests of a router go.
#[derive(Clone, Debug, Default)]
pub(super) struct Leads {
    /// The word for it; `None`: to the service that it stands with.
    pub(super) to: Option<(&'static str, String)>,
    /// Why nobody can get them here.
    pub(super) lacking: Option<String>,
    /// The server gets its own address for a host.
    pub(super) by_its_address: bool,
}

/// How routers and middlewares are named where they are declared.
pub(super) struct Spelling {
    /// What stands between the parts of a name.
    pub(super) join: &'static str,
    /// After the `@` of what is declared in the same place.
    pub(super) providers: &'static [&'static str],
}

impl Importing<'_, '_, '_> {
    pub(super) fn tag(&self, router: &str, end: &str) -> String {
        let parts = ["http", "routers", router, end];
        format!(
            "{}{}{}",
            self.settings.prefix,
            self.spelling.join,
            parts.join(self.spelling.join)
        )
    }

    pub(super) fn default_rule(&self) -> String {
        let [in_a_host, plain] = NAMES;
        let rule = self
            .settings
            .default_rule
            .replace(in_a_host, &normalized(self.entry.service));
        rule.replace(plain, self.entry.service)
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

    /// Adds the routes of one.
    pub(super) fn router(&mut self, name: &str, router: &Router, leads: &Leads) {
        let default = self.default_rule();
        let rule = router.rule.as_ref().unwrap_or(&default);
        let tag = self.tag(name, "rule");
        let read = match &router.unusable {
            Some(why) => Err(why.clone()),
            None => rule::requests(rule),
        };
        // What protects and cannot be recognized refuses more than it would get.
        let (read, unread) = match read {
            Ok(read) => (read, None),
            Err(why) => ((rule::wider(rule), Vec::new()), Some(why)),
        };
        let (alternatives, never) = read;
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
            let of_one = self.followed(router, requests, leads);
            drafts.extend(of_one);
        }
        if let Some(why) = unread {
            drafts.retain(|draft| draft.protects() || router.doubtful);
            let end = if drafts.is_empty() {
                "this router is left out"
            } else {
                "requests that it would get are refused, and others that look the same here"
            };
            self.gathered.note(&tag, format!("{why}; {end}"));
            for draft in &mut drafts {
                if !draft.ended {
                    draft.refuse(503);
                }
            }
        }
        if let Some(why) = &leads.lacking {
            for draft in &mut drafts {
                if !draft.ended || !draft.protects() {
                    draft.refuse(503);
                }
            }
            self.gathered
                .note(&tag, format!("{why}; its requests are answered with 503"));
        }
        for (n, draft) in drafts.into_iter().enumerate() {
            let (route, why) = draft.made("traefik", priority, &expose);
            if let Some(route) = route {
                // One of a canary is another one than that of the same name of the others.
                let of = self.canary.as_deref().unwrap_or_default();
                self.gathered.route(&format!("traefik {of}{name} {n}"), route);
            }
            if let Some(why) = why {
                self.gathered.note(&tag, why);
            }
        }
    }

    /// What middlewares make of requests.
    fn followed(&mut self, router: &Router, requests: Requests, leads: &Leads) -> Vec<Draft> {
        let mut draft = Draft::new(requests);
        for word in FORWARDED {
            draft.add(word.0, word.1);
        }
        if let Some((word, value)) = &leads.to {
            draft.add(word, value.as_str());
        }
        let mut chain = Chain {
            steps: MAX_STEPS,
            middlewares: &self.tags.middlewares,
            providers: self.spelling.providers,
            tls: router.tls,
            drafts: vec![draft],
            notes: Vec::new(),
        };
        chain.follow(&router.middlewares, 0);
        for (middleware, why) in chain.notes {
            let parts = [&*self.settings.prefix, "http", "middlewares", &middleware];
            let tag = parts.join(self.spelling.join);
            self.gathered.note(&tag, why);
        }
        if leads.by_its_address {
            // Whatever a middleware says of the host before.
            for draft in chain.drafts.iter_mut().filter(|draft| !draft.ended) {
                draft.words.retain(|(word, _)| *word != "host-rewrite");
                draft.add("host-rewrite", "*");
            }
        }
        chain.drafts
    }
}

/// What Traefik writes, whatever the client sent.
const FORWARDED: [(&str, &str); 4] = [
    ("set-header", "x-forwarded-host:%REQ(:authority)%"),
    ("set-header", "x-real-ip:%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%"),
    ("remove-header", "x-forwarded-prefix"),
    // The port of the host, which Envoy has no word for: nobody else may say it.
    ("remove-header", "x-forwarded-port"),
];

/// `my_svc.v1` as Traefik writes it into a host: `my-svc-v1`.
pub(super) fn normalized(name: &str) -> String {
    let parts = name.split(|c: char| !c.is_alphanumeric());
    let parts: Vec<&str> = parts.filter(|part| !part.is_empty()).collect();
    parts.join("-")
}
