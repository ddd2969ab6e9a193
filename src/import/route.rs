//! A route of ours, put together word by word: what `RouteRule` reads is what Envoy accepts. Pure.

use super::path::{Change, Path};
use crate::model::RouteRule;

/// Which requests one alternative of a rule takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Requests {
    /// `None`: of each host.
    pub(super) host: Option<String>,
    pub(super) path: Path,
    /// `method`, and whether it must be none of them.
    pub(super) methods: Option<(Vec<String>, bool)>,
    /// Words of further conditions.
    pub(super) conditions: Vec<(&'static str, String)>,
}

impl Requests {
    pub(super) const fn of(host: Option<String>, path: Path) -> Self {
        Self {
            host,
            path,
            methods: None,
            conditions: Vec::new(),
        }
    }

    /// It is all requests.
    pub(super) fn says_nothing(&self) -> bool {
        self.host.is_none()
            && self.path == Path::all()
            && self.methods.is_none()
            && self.conditions.is_empty()
    }

    /// Its host, where it is exactly one.
    pub(super) fn only_host(&self) -> Option<&str> {
        self.host.as_deref().filter(|host| !host.starts_with('*'))
    }
}

/// A route while it is put together.
#[derive(Clone, Debug)]
pub(super) struct Draft {
    pub(super) requests: Requests,
    pub(super) change: Change,
    /// Words of what becomes of the requests.
    pub(super) words: Vec<(&'static str, String)>,
    /// Nobody gets them; nothing that follows matters.
    pub(super) ended: bool,
}

impl Draft {
    pub(super) const fn new(requests: Requests) -> Self {
        Self {
            requests,
            change: Change::None,
            words: Vec::new(),
            ended: false,
        }
    }

    pub(super) fn add(&mut self, word: &'static str, value: impl Into<String>) {
        self.words.push((word, value.into()));
    }

    /// Envoy answers by itself: a route that is left out would leave its requests to wider ones, without what should
    /// protect them.
    pub(super) fn refuse(&mut self, status: u16) {
        self.words.clear();
        self.change = Change::None;
        self.add("respond", status.to_string());
        self.ended = true;
    }

    /// Somebody may be refused by it: without it a wider route would let its requests pass.
    pub(super) fn protects(&self) -> bool {
        let protects = |word: &str| matches!(word, "respond" | "allow-ips" | "deny-ips");
        self.words.iter().any(|(word, _)| protects(word))
    }

    /// The route, or one that refuses its requests where it cannot be had; and what is to be said of that. Where even its
    /// requests cannot be recognized here, and it protects, more are refused: those of its host and the beginning of its
    /// path.
    pub(super) fn made(
        &self,
        program: &str,
        priority: i32,
        expose: &[String],
    ) -> (Option<RouteRule>, Option<String>) {
        let why = match self.rule(program, priority, expose) {
            Ok(rule) => return (Some(rule), None),
            Err(why) => why,
        };
        let mut closed = self.clone();
        if !closed.ended || !closed.protects() {
            closed.refuse(503);
        }
        if let Ok(rule) = closed.rule(program, priority, expose) {
            return (Some(rule), Some(format!("{why}; its requests are refused")));
        }
        if !self.protects() {
            return (None, Some(format!("{why}; this route is left out")));
        }
        let reads = |requests: Requests| {
            let mut one = Self::new(requests);
            one.refuse(503);
            one.rule(program, priority, expose).is_ok()
        };
        let mut wide = closed.requests.clone();
        wide.conditions.retain(|condition| {
            let mut one = Requests::of(None, Path::all());
            one.conditions.push(condition.clone());
            reads(one)
        });
        if !reads(Requests::of(None, wide.path.clone())) {
            wide.path = Path::all();
        }
        if wide.says_nothing() {
            let end = "it cannot be refused, as that would refuse all requests; this route is left out";
            return (None, Some(format!("{why}; {end}")));
        }
        closed.requests = wide;
        match closed.rule(program, priority, expose) {
            Ok(rule) => {
                let end = "more requests than those that it would get are refused";
                (Some(rule), Some(format!("{why}; {end}")))
            }
            Err(_) => (None, Some(format!("{why}; this route is left out"))),
        }
    }

    /// # Errors
    /// The sentence about the word that cannot be.
    fn rule(&self, program: &str, priority: i32, expose: &[String]) -> Result<RouteRule, String> {
        let mut words = Vec::new();
        words.extend(self.requests.host.clone().map(|host| ("host", host)));
        words.push(self.requests.path.word());
        if let Some((methods, not)) = &self.requests.methods {
            let not = if *not { "!" } else { "" };
            words.push(("method", format!("{not}{}", methods.join(","))));
        }
        words.extend(self.requests.conditions.iter().cloned());
        words.push(("priority", priority.to_string()));
        words.push(("expose", expose.join(",")));
        words.push(("imported", program.to_owned()));
        if !self.ended {
            words.extend(self.change.word());
        }
        words.extend(self.words.iter().cloned());
        let quoted = |(word, value): &(&str, String)| {
            if value.contains(|c: char| c.is_whitespace() || c == '"') {
                format!("{word}=\"{}\"", value.replace('"', "\\\""))
            } else {
                format!("{word}={value}")
            }
        };
        let text: Vec<String> = words.iter().map(quoted).collect();
        RouteRule::parse(&text.join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(draft: &Draft) -> (String, String) {
        let (rule, why) = draft.made("traefik", 7, &["edge".to_owned()]);
        let rule = rule.map(|rule| rule.to_string());
        (rule.unwrap_or_default(), why.unwrap_or_default())
    }

    fn draft(host: Option<&str>, path: Path, condition: Option<(&'static str, &str)>) -> Draft {
        let mut requests = Requests::of(host.map(str::to_owned), path);
        requests
            .conditions
            .extend(condition.map(|(word, value)| (word, value.to_owned())));
        Draft::new(requests)
    }

    const BAD: (&str, &str) = ("url-regex", "(?P<a>x");

    #[test]
    fn what_cannot_be_had_is_refused() {
        let mut plain = draft(Some("a.x"), Path::Begins("/p".to_owned()), None);
        plain.add("set-header", "a b:c");
        let (rule, why) = made(&plain);
        assert!(
            rule.contains("path=/p*") && rule.contains("respond=503"),
            "{rule}"
        );
        assert!(why.ends_with("its requests are refused"), "{why}");
        let (rule, why) = made(&draft(Some("a.x"), Path::all(), Some(BAD)));
        assert!(
            rule.is_empty() && why.ends_with("this route is left out"),
            "{rule} {why}"
        );
    }

    #[test]
    fn what_protects_is_refused_whatever_it_matches() {
        let refused = |mut draft: Draft| {
            draft.refuse(401);
            made(&draft)
        };
        let (rule, why) = refused(draft(Some("a.x"), Path::Begins("/p".to_owned()), Some(BAD)));
        assert!(
            rule.contains("host=a.x path=/p*") && rule.contains("respond=401"),
            "{rule}"
        );
        assert!(why.contains("more requests"), "{why}");
        let (rule, _) = refused(draft(Some("a.x"), Path::Matched("(".to_owned()), None));
        assert!(
            rule.contains("host=a.x path=/ ") && rule.contains("respond=401"),
            "{rule}"
        );
        let (rule, _) = refused(draft(None, Path::Begins("/p".to_owned()), Some(BAD)));
        assert!(
            rule.starts_with("path=/p*") && rule.contains("respond=401"),
            "{rule}"
        );
        let (rule, why) = refused(draft(None, Path::all(), Some(BAD)));
        assert!(rule.is_empty() && why.contains("all requests"), "{rule} {why}");
    }
}
