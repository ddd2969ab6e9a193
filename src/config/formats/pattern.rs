//! Patterns of etcd keys, such as `{service}/instances/{id}`. Pure.
//!
//! A pattern is what stands below the prefix, part by part. `{service}` and `{id}` are one part each,
//! `{service...}` and `{id...}` one or more with the slashes between them, and `{domain...}` is a service
//! by its DNS name: the parts the other way round, joined by dots. No two keys fit one pattern in the
//! same way, so that a deletion never takes another key's instance along.

use std::borrow::Cow;

/// The longest instance id, bytes.
const MAX_ID: usize = 256;
/// The longest key below a prefix that is looked at, bytes.
const MAX_KEY: usize = 1024;

/// One pattern, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    text: String,
    parts: Vec<Part>,
}

/// What is said between two slashes.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Literal(String),
    Hole { what: Hole, many: bool },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hole {
    Service,
    Domain,
    Id,
}

/// What a key that fits names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named<'a> {
    /// `{service}` or `{domain...}`
    pub service: Option<Cow<'a, str>>,
    /// `{id}`
    pub id: Option<&'a str>,
}

impl Pattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// What is wrong, and what would be right.
    pub fn parse(text: &str) -> Result<Self, String> {
        const HOLES: &str = "{service}, {service...}, {domain...}, {id} or {id...}";
        if text.len() > MAX_KEY {
            return Err(format!("a pattern has at most {MAX_KEY} bytes"));
        }
        for part in text.split('/') {
            if part.is_empty() {
                return Err(format!(
                    "`{text}` must be parts with one slash between them that begin below the prefix: {{service}}/{{id}}"
                ));
            }
            if part.chars().any(char::is_control) {
                return Err("a pattern holds no control characters".to_owned());
            }
            if matches!(Part::of(part), Part::Literal(_)) && part.contains(['{', '}']) {
                return Err(format!("`{part}` in `{text}` must be a word, or one of {HOLES}"));
            }
        }
        let pattern = Self::of(text);
        let count = |wanted: fn(Hole, bool) -> bool| {
            let fits = |part: &&Part| matches!(part, Part::Hole { what, many } if wanted(*what, *many));
            pattern.parts.iter().filter(fits).count()
        };
        if count(|what, _| what != Hole::Id) > 1 || count(|what, _| what == Hole::Id) > 1 {
            return Err(format!("`{text}` names the service or the id twice"));
        }
        if count(|_, many| many) > 1 {
            return Err(format!(
                "`{text}` has more than one `...`: where the one ends and the other begins would be a guess"
            ));
        }
        Ok(pattern)
    }

    /// Of a text that is known to be right.
    pub(super) fn of(text: &str) -> Self {
        Self {
            text: text.to_owned(),
            parts: text.split('/').map(Part::of).collect(),
        }
    }

    /// As it was written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether it names a service.
    #[must_use]
    pub fn has_service(&self) -> bool {
        self.holds(|what| what != Hole::Id)
    }

    /// Whether it names an id.
    #[must_use]
    pub fn has_id(&self) -> bool {
        self.holds(|what| what == Hole::Id)
    }

    fn holds(&self, wanted: impl Fn(Hole) -> bool) -> bool {
        let fits = |part: &Part| matches!(part, Part::Hole { what, .. } if wanted(*what));
        self.parts.iter().any(fits)
    }

    /// The key below its prefix that names this.
    #[must_use]
    pub fn write(&self, service: &str, id: &str) -> String {
        let one = |part: &Part| match part {
            Part::Literal(word) => word.clone(),
            Part::Hole {
                what: Hole::Service, ..
            } => service.to_owned(),
            Part::Hole {
                what: Hole::Domain, ..
            } => {
                let mut labels: Vec<&str> = service.split('.').collect();
                labels.reverse();
                labels.join("/")
            }
            Part::Hole { what: Hole::Id, .. } => id.to_owned(),
        };
        self.parts.iter().map(one).collect::<Vec<_>>().join("/")
    }

    /// Reads the part of a key below its prefix; `None`: it does not fit.
    ///
    /// # Errors
    /// It fits and is wrong: why.
    pub fn read<'a>(&self, key: &'a str) -> Result<Option<Named<'a>>, String> {
        if key.len() > MAX_KEY {
            return Err(format!("has more than {MAX_KEY} bytes below the prefix"));
        }
        let given = key.split('/').count();
        // The parts beyond one each are those of the `...`.
        let Some(more) = given.checked_sub(self.parts.len()) else {
            return Ok(None);
        };
        let mut named = Named {
            service: None,
            id: None,
        };
        let mut rest = Some(key);
        for part in &self.parts {
            let wide = matches!(part, Part::Hole { many: true, .. });
            let (text, after) = split(rest.unwrap_or_default(), if wide { more } else { 0 });
            rest = after;
            match part {
                Part::Literal(word) if word == text => {}
                Part::Literal(_) => return Ok(None),
                Part::Hole { .. } if text.split('/').any(str::is_empty) => return Ok(None),
                Part::Hole { what, .. } => match what {
                    Hole::Service => named.service = Some(text.into()),
                    Hole::Domain => named.service = Some(domain(text)?.into()),
                    Hole::Id => named.id = Some(id(text)?),
                },
            }
        }
        Ok(rest.is_none().then_some(named))
    }
}

impl Part {
    fn of(text: &str) -> Self {
        let (what, many) = match text {
            "{service}" => (Hole::Service, false),
            "{service...}" => (Hole::Service, true),
            "{domain...}" => (Hole::Domain, true),
            "{id}" => (Hole::Id, false),
            "{id...}" => (Hole::Id, true),
            word => return Self::Literal(word.to_owned()),
        };
        Self::Hole { what, many }
    }
}

/// The first part and `more` further ones, and what is behind the slash after them.
fn split(text: &str, more: usize) -> (&str, Option<&str>) {
    match text.match_indices('/').nth(more) {
        Some((at, _)) => (&text[..at], Some(&text[at + 1..])),
        None => (text, None),
    }
}

fn domain(parts: &str) -> Result<String, String> {
    if parts.contains('.') {
        return Err("a part of a DNS name holds no dots".to_owned());
    }
    let mut labels: Vec<&str> = parts.split('/').collect();
    labels.reverse();
    Ok(labels.join("."))
}

fn id(text: &str) -> Result<&str, String> {
    if text.len() > MAX_ID || text.chars().any(char::is_control) {
        return Err(format!(
            "an instance id has 1 to {MAX_ID} bytes and no control characters"
        ));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pattern: &str, key: &str) -> String {
        match Pattern::parse(pattern).unwrap().read(key) {
            Ok(None) => "-".to_owned(),
            Ok(Some(Named { service, id })) => {
                format!("{} {}", service.as_deref().unwrap_or("-"), id.unwrap_or("-"))
            }
            Err(reason) => reason,
        }
    }

    #[test]
    fn keys_are_read_part_by_part() {
        for (pattern, key, wanted) in [
            ("{service}/instances/{id}", "orders/instances/7", "orders 7"),
            ("{service}/instances/{id}", "orders/instance/7", "-"),
            ("{service}/instances/{id}", "orders/instances/7/8", "-"),
            ("{service}/instances/{id}", "orders/instances", "-"),
            ("{service}/instances/{id}", "orders/instances/", "-"),
            ("{service}/instances/{id}", "/instances/7", "-"),
            ("{service}", "orders", "orders -"),
            ("{service}", "", "-"),
            ("{service}", "orders/", "-"),
            ("{service...}/{id}", "user.rpc/123", "user.rpc 123"),
            ("{service...}/{id}", "shop/user.rpc/123", "shop/user.rpc 123"),
            ("{service...}/{id}", "shop//123", "-"),
            ("{service...}/{id}", "123", "-"),
            ("v1/{service...}/nodes/{id}", "v1/a/b/nodes/c", "a/b c"),
            ("v1/{service...}/nodes/{id}", "v1/nodes/c", "-"),
            ("{service}/{id...}", "orders/rack/7", "orders rack/7"),
            ("{domain...}/{id}", "east/prod/rails/1", "rails.prod.east 1"),
            ("{domain...}/{id}", "a.b/1", "a part of a DNS name holds no dots"),
            ("{id}", "7", "- 7"),
            (
                "{id}",
                "7\n",
                "an instance id has 1 to 256 bytes and no control characters",
            ),
        ] {
            assert_eq!(read(pattern, key), wanted, "{key} as {pattern}");
            let pattern = Pattern::parse(pattern).unwrap();
            if let Ok(Some(Named { service, id })) = pattern.read(key) {
                let again = pattern.write(service.as_deref().unwrap_or_default(), id.unwrap_or_default());
                assert_eq!(again, key);
            }
        }
        assert!(read("{service}/{id}", &format!("a/{}", "x".repeat(257))).contains("1 to 256"));
        assert!(read("{id}", &"x/".repeat(1000)).contains("more than 1024"));
    }

    #[test]
    fn a_wrong_pattern_is_an_error() {
        for (pattern, word) in [
            ("", "parts with one slash"),
            ("/{service}", "begin below the prefix"),
            ("{service}/", "one slash"),
            ("{service}/{name}", "`{name}`"),
            ("node-{id}", "`node-{id}`"),
            ("{service}/{domain...}", "twice"),
            ("{service...}/{id...}", "more than one `...`"),
        ] {
            let reason = Pattern::parse(pattern).unwrap_err();
            assert!(reason.contains(word), "{pattern} → {reason}");
        }
    }
}
