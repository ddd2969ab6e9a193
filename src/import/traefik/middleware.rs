//! Middlewares of Traefik, in their order, as words of our routes. One that protects and has no equal here refuses the
//! requests. Pure.

use std::collections::BTreeMap;

use super::headers::headers;
use super::redirect::{redirect_regex, redirect_scheme};
use super::tags::list;
use crate::import::addresses::ranges;
use crate::import::entry::Options;
use crate::import::path::{Change, Path, Stripped};
use crate::import::regex::{percent, substitution};
use crate::import::route::Draft;
use crate::model::pattern;
use crate::model::route::headers::PATH;
use crate::text::{clip, parse_duration};

/// The most routes of one alternative.
const MAX_DRAFTS: usize = 12;
/// The most middlewares of one router, with those of chains each time that they are named.
pub(super) const MAX_STEPS: usize = 64;
/// How deep chains may stand in each other.
const MAX_DEPTH: usize = 8;

/// The path that a server would have got without a middleware.
const REPLACED: &str = "x-replaced-path";

/// What middlewares make of the requests of a router.
pub(super) struct Chain<'a> {
    pub(super) middlewares: &'a BTreeMap<String, Options>,
    /// Whose middlewares these are, after an `@`.
    pub(super) providers: &'static [&'static str],
    /// The router serves TLS only.
    pub(super) tls: bool,
    pub(super) drafts: Vec<Draft>,
    /// What to say of the middleware by this name.
    pub(super) notes: Vec<(String, String)>,
    /// How many middlewares may still be looked at.
    pub(super) steps: usize,
}

/// What is to be done about a middleware that has no equal here.
enum Lack {
    /// The route works without it.
    Note(String),
    /// It does not, or it is not protected: Envoy answers so.
    Refuse(u16, String),
}

impl Chain<'_> {
    pub(super) fn follow(&mut self, names: &[String], depth: usize) {
        for name in names {
            if self.drafts.iter().all(|draft| draft.ended) {
                return;
            }
            let of_ours = name
                .split_once('@')
                .filter(|(_, provider)| self.providers.contains(provider));
            let local = of_ours
                .map_or(name.as_str(), |(local, _)| local)
                .to_ascii_lowercase();
            let is_last = self.steps == 0;
            self.steps = self.steps.saturating_sub(1);
            let lack = match self.middlewares.get(&local) {
                _ if is_last => Err(Lack::Refuse(
                    403,
                    format!("comes after {MAX_STEPS} other middlewares"),
                )),
                Some(options) => self.one(options, depth),
                None if name.contains('@') => Err(Lack::Refuse(
                    403,
                    "is declared elsewhere, where it may protect this router".to_owned(),
                )),
                None => Err(Lack::Refuse(404, "is not declared beside this router".to_owned())),
            };
            match lack {
                Ok(()) => {}
                Err(Lack::Note(why)) => self.notes.push((local, why)),
                Err(Lack::Refuse(status, why)) => {
                    for draft in self.drafts.iter_mut().filter(|draft| !draft.ended) {
                        draft.refuse(status);
                    }
                    self.notes.push((
                        local,
                        format!("{why}: requests that it would get are answered with {status}"),
                    ));
                    return;
                }
            }
        }
    }

    fn one(&mut self, options: &Options, depth: usize) -> Result<(), Lack> {
        let mut kinds: Vec<&str> = options.keys().filter_map(|key| key.split('.').next()).collect();
        kinds.dedup();
        let [kind] = kinds[..] else {
            return Err(Lack::Refuse(
                404,
                format!("is of several kinds: {}", kinds.join(", ")),
            ));
        };
        let get = |name: &str| options.get(&format!("{kind}.{name}")).map(String::as_str);
        let refuse = |status, why: &str| Err(Lack::Refuse(status, format!("{kind} {why}")));
        match kind {
            "stripprefix" => self.strip(&list(get("prefixes").unwrap_or_default())),
            "addprefix" => {
                let prefix = get("prefix").unwrap_or_default();
                self.change(|change| change.add(prefix))
            }
            "replacepath" => {
                self.replace("^.*$", &literal(get("path").unwrap_or_default()))?;
                self.note_path();
                Ok(())
            }
            "replacepathregex" => {
                let (find, put) = (
                    get("regex").unwrap_or_default(),
                    get("replacement").unwrap_or_default(),
                );
                match substitution(put) {
                    Some(put) => self.replace_what_fits(find, &put),
                    None => refuse(404, "replaces by a named group, which is not possible here"),
                }
            }
            "stripprefixregex" => {
                let regexes = list(get("regex").unwrap_or_default());
                let [regex] = &regexes[..] else {
                    return refuse(404, "with several expressions is not possible here");
                };
                self.replace(&format!("^(?:{})/?", regex.trim_start_matches('^')), "/")
            }
            "redirectscheme" => {
                let scheme = get("scheme").unwrap_or_default();
                let permanent = get("permanent") == Some("true");
                if self.tls && scheme == "https" {
                    return Ok(());
                }
                redirect_scheme(&mut self.drafts, scheme, get("port"), permanent);
                Ok(())
            }
            "redirectregex" => {
                let permanent = get("permanent") == Some("true");
                let (regex, to) = (
                    get("regex").unwrap_or_default(),
                    get("replacement").unwrap_or_default(),
                );
                redirect_regex(&mut self.drafts, regex, to, permanent).map_err(|why| Lack::Refuse(404, why))
            }
            "headers" => {
                let options = options
                    .iter()
                    .filter_map(|(key, value)| Some((key.strip_prefix("headers.")?, value)));
                let (words, ignored) = headers(options, self.tls).map_err(|why| Lack::Refuse(403, why))?;
                for draft in self.drafts.iter_mut().filter(|draft| !draft.ended) {
                    draft.words.extend(words.iter().cloned());
                }
                if ignored.is_empty() {
                    return Ok(());
                }
                Err(Lack::Note(format!(
                    "headers without {}",
                    clip(&ignored.join(", "))
                )))
            }
            "retry" => self.retry(get("attempts"), get("status"), get("timeout")),
            "chain" if depth >= MAX_DEPTH => refuse(403, "of a chain of a chain does not end"),
            "chain" => {
                self.follow(&list(get("middlewares").unwrap_or_default()), depth + 1);
                Ok(())
            }
            "compress" => self.compress(options),
            "buffering" | "inflightreq" | "circuitbreaker" | "errors" | "contenttype" | "grpcweb"
            | "passtlsclientcert" | "encodedcharacters" => Err(Lack::Note(format!(
                "{kind} is not imported; the router works without it"
            ))),
            "basicauth" | "digestauth" | "forwardauth" => refuse(401, "protects, and is not possible here"),
            "ratelimit" => refuse(429, "protects, and is not possible here"),
            "ipallowlist" | "ipwhitelist" => self.allow(kind, options),
            "plugin" => refuse(403, "may protect, and is not possible here"),
            _ => refuse(404, "is not known"),
        }
    }

    fn change(&mut self, change: impl Fn(&Change) -> Option<Change>) -> Result<(), Lack> {
        for draft in self.drafts.iter_mut().filter(|draft| !draft.ended) {
            draft.change = change(&draft.change).ok_or_else(several)?;
        }
        Ok(())
    }

    fn replace(&mut self, find: &str, put: &str) -> Result<(), Lack> {
        self.change(|change| match change {
            Change::None => Some(Change::Regex {
                find: find.to_owned(),
                put: put.to_owned(),
            }),
            _ => None,
        })
    }

    /// The server gets the path of the request, too.
    fn note_path(&mut self) {
        for draft in self.drafts.iter_mut().filter(|draft| !draft.ended) {
            draft
                .words
                .retain(|word| *word != ("remove-header", REPLACED.to_owned()));
            draft.add("set-header", format!("{REPLACED}:%{PATH}%"));
        }
    }

    /// Only where the expression finds something the server gets that path, too: those requests are routes of their own. One
    /// that is too long for that replaces without a word.
    fn replace_what_fits(&mut self, find: &str, put: &str) -> Result<(), Lack> {
        let before = self.drafts.clone();
        let fits = Path::Found(find.to_owned()).url();
        self.replace(find, put)?;
        if pattern::check(&fits).is_err() {
            return Err(Lack::Note(format!(
                "replacepathregex without {REPLACED}: the expression is too long for it"
            )));
        }
        let mut after = std::mem::take(&mut self.drafts);
        for draft in after.iter_mut().filter(|draft| !draft.ended) {
            draft.requests.conditions.push(("url-regex", fits.clone()));
        }
        self.drafts = after;
        self.note_path();
        self.drafts
            .extend(before.into_iter().filter(|draft| !draft.ended));
        self.is_not_too_much()
    }

    /// The first prefix that fits, once; a request that has none of them passes unchanged. What cannot be stays as it
    /// was, so that all requests of the router are still there to be answered.
    fn strip(&mut self, prefixes: &[String]) -> Result<(), Lack> {
        let before = self.drafts.clone();
        let outcome = self.stripped(prefixes);
        if outcome.is_err() {
            self.drafts = before;
        }
        outcome
    }

    fn stripped(&mut self, prefixes: &[String]) -> Result<(), Lack> {
        let mut after = Vec::new();
        for draft in std::mem::take(&mut self.drafts) {
            if draft.ended {
                after.push(draft);
                continue;
            }
            let mut rest = true;
            let mut before: Vec<String> = Vec::new();
            for prefix in prefixes {
                let stripped = draft.change.strip(prefix).ok_or_else(several)?;
                let mut fits = draft.clone();
                let (change, others) = match stripped {
                    Stripped::Never => continue,
                    Stripped::Always(change) => (change, false),
                    // All that begins with it begins with one before it.
                    Stripped::If(need, _) if before.iter().any(|other| need.starts_with(other.as_str())) => {
                        continue;
                    }
                    Stripped::If(need, change) => {
                        before.push(need.clone());
                        let (narrowed, others) = draft.requests.path.narrowed(&need);
                        let Some(narrowed) = narrowed else { continue };
                        fits.requests.path = narrowed.path;
                        fits.requests
                            .conditions
                            .extend(narrowed.url.map(|url| ("url-regex", url)));
                        (change, others)
                    }
                };
                fits.change = change;
                fits.add("set-header", format!("x-forwarded-prefix:{}", percent(prefix)));
                after.push(fits);
                if !others {
                    rest = false;
                    break;
                }
            }
            if rest {
                after.push(draft);
            }
        }
        self.drafts = after;
        self.is_not_too_much()
    }

    fn is_not_too_much(&self) -> Result<(), Lack> {
        if self.drafts.len() > MAX_DRAFTS {
            return Err(Lack::Refuse(
                404,
                format!("makes more than {MAX_DRAFTS} routes of one"),
            ));
        }
        Ok(())
    }

    /// By the address that connects. Envoy refuses with 403 alone, and who that is by a header is the listener's.
    fn allow(&mut self, kind: &str, options: &Options) -> Result<(), Lack> {
        let get = |name: &str| options.get(&format!("{kind}.{name}")).map(String::as_str);
        let status = get("rejectstatuscode").and_then(|code| code.parse().ok());
        let status = status.filter(|code| (400..600).contains(code)).unwrap_or(403);
        let refuse = |why: &str| Err(Lack::Refuse(status, format!("{kind} protects, and {why}")));
        let own = ["sourcerange", "rejectstatuscode"].map(|name| format!("{kind}.{name}"));
        if options.keys().any(|option| !own.contains(option)) || status != 403 {
            return refuse("is possible here only with sourceRange, and with 403");
        }
        let Ok(ranges) = ranges(list(get("sourcerange").unwrap_or_default()).iter()) else {
            return refuse("its sourceRange cannot be read");
        };
        let has = |draft: &Draft| draft.words.iter().any(|(word, _)| *word == "allow-ips");
        if self.drafts.iter().any(|draft| !draft.ended && has(draft)) {
            return refuse("two of them are not possible here");
        }
        for draft in self.drafts.iter_mut().filter(|draft| !draft.ended) {
            draft.add("allow-ips", ranges.clone());
        }
        Ok(())
    }

    /// By the encodings that both have; there responses of all types are compressed, here those that are text.
    fn compress(&mut self, options: &Options) -> Result<(), Lack> {
        let named = |name: &str| match name {
            "gzip" => Some("gzip"),
            "br" => Some("brotli"),
            "zstd" => Some("zstd"),
            _ => None,
        };
        let wanted = options.get("compress.encodings").map(String::as_str);
        let wanted = list(wanted.unwrap_or("zstd,br,gzip"));
        let known: Vec<&str> = wanted.iter().filter_map(|name| named(name)).collect();
        let value = if known.is_empty() {
            "none".to_owned()
        } else {
            known.join(",")
        };
        for draft in self.drafts.iter_mut().filter(|draft| !draft.ended) {
            draft.words.retain(|(word, _)| *word != "compress");
            draft.add("compress", value.clone());
        }
        let options = options.keys().filter_map(|key| key.strip_prefix("compress."));
        let others: Vec<&str> = options.filter(|name| *name != "encodings").collect();
        if others.is_empty() {
            return Ok(());
        }
        Err(Lack::Note(format!(
            "compress without {}",
            clip(&others.join(", "))
        )))
    }

    fn retry(
        &mut self,
        attempts: Option<&str>,
        status: Option<&str>,
        timeout: Option<&str>,
    ) -> Result<(), Lack> {
        let attempts: Option<u32> = attempts.and_then(|attempts| attempts.parse().ok());
        let Some(attempts) = attempts.filter(|attempts| (1..=11).contains(attempts)) else {
            return Err(Lack::Note(
                "retry without a number of attempts from 1 to 11".to_owned(),
            ));
        };
        let statuses: Vec<String> = list(status.unwrap_or_default());
        let retry = match (attempts - 1, &statuses[..]) {
            (0, _) => "off".to_owned(),
            (times, []) => times.to_string(),
            (times, statuses) => format!("{}:{times}", statuses.join(",")),
        };
        let timeout = timeout.filter(|timeout| parse_duration(timeout).is_ok());
        for draft in self.drafts.iter_mut().filter(|draft| !draft.ended) {
            draft
                .words
                .retain(|(word, _)| !matches!(*word, "retry" | "per-try-timeout"));
            draft.add("retry", retry.clone());
            if let Some(timeout) = timeout {
                draft.add("per-try-timeout", timeout);
            }
        }
        Ok(())
    }
}

fn several() -> Lack {
    Lack::Refuse(
        404,
        "changes a path that another one before it has changed in a way that cannot be joined here"
            .to_owned(),
    )
}

/// As it stands in what takes the place of a match.
fn literal(text: &str) -> String {
    text.replace('\\', r"\\")
}
