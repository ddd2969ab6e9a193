//! One declared route: `host=api.x path=/orders header=x-canary:1 timeout=2s` or
//! `grpc=shop.Orders/Get`. Parsing names the word that is wrong and what would be right.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use super::path::Paths;
use crate::text::{clip, parse_duration, show_duration};

/// A route that a service declares for itself.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RouteRule {
    /// Host to match, without a port; `None`: each host of the exposure.
    pub host: Option<String>,
    /// Which requests of that host.
    pub matcher: Matcher,
    /// Headers that must all match exactly, lower-case names.
    pub headers: Vec<(String, String)>,
    /// Response timeout; zero: none. `None`: as the service says.
    pub timeout: Option<Duration>,
    /// How long nothing may pass in either direction; zero: no limit. `None`: as the service says.
    pub stream_idle_timeout: Option<Duration>,
}

/// What of a request is compared.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Matcher {
    /// This path and what is below it; starts with `/`, and ends with none unless it is the root.
    Prefix(String),
    /// All paths that begin with these characters, `path=/orders*`.
    Characters(String),
    /// A gRPC service, or one method of it.
    Grpc(GrpcMethod),
}

/// A gRPC service by its full name, and maybe one method.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GrpcMethod {
    /// e.g. `shop.Orders`
    pub service: String,
    /// e.g. `Get`
    pub method: Option<String>,
}

/// Words of later versions that change what becomes of a request and not which service gets it: without them
/// no request goes to a wrong place. Any other unknown word might narrow the match.
const HARMLESS: [&str; 19] = [
    "rewrite",
    "prefix-rewrite",
    "regex-rewrite",
    "host-rewrite",
    "retry",
    "retries",
    "retry-on",
    "per-try-timeout",
    "idle-timeout",
    "max-stream-duration",
    "hash",
    "cors",
    "upgrade",
    "compress",
    "mirror",
    "set-header",
    "add-header",
    "remove-header",
    "set-response-header",
];

impl Matcher {
    /// Which paths it takes. Different words for the same paths are equal here.
    #[must_use]
    pub fn paths(&self) -> Paths {
        match self {
            Self::Prefix(path) => Paths::Segments(path.clone()),
            Self::Characters(path) => Paths::Characters(path.clone()),
            Self::Grpc(GrpcMethod { service, method }) => match method {
                Some(method) => Paths::Exactly(format!("/{service}/{method}")),
                None => Paths::Characters(format!("/{service}/")),
            },
        }
    }
}

impl RouteRule {
    /// All requests of a host.
    #[must_use]
    pub fn all_of(host: &str) -> Self {
        Self {
            host: Some(host.to_owned()),
            matcher: Matcher::Prefix("/".to_owned()),
            headers: Vec::new(),
            timeout: None,
            stream_idle_timeout: None,
        }
    }

    /// Reads one `route` value: words of `key=value`, separated by spaces.
    ///
    /// # Errors
    /// A sentence naming the word that is wrong and what would be right.
    pub fn parse(text: &str) -> Result<Self, String> {
        Self::read(text).map(|(rule, _)| rule)
    }

    /// The same, with what to warn of in a route that counts all the same.
    ///
    /// # Errors
    /// As those of [`Self::parse`].
    pub fn read(text: &str) -> Result<(Self, Vec<String>), String> {
        let mut draft = Draft::default();
        let mut warnings = Vec::new();
        let mut seen = BTreeSet::new();
        for part in text.split_whitespace() {
            let Some((name, value)) = part.split_once('=') else {
                return Err(format!("`{}` is not key=value ({})", clip(part), known()));
            };
            if let Some(word) = WORDS.iter().find(|word| word.name == name) {
                if !word.many && !seen.insert(name) {
                    return Err(format!(
                        "`{name}=` stands twice in one route; use route-2 for another"
                    ));
                }
                (word.read)(&mut draft, value)?;
            } else if HARMLESS.contains(&name) {
                warnings.push(format!(
                    "`{name}=` is not acted on by this version; the rest of the route counts"
                ));
            } else {
                return Err(format!("`{}=` is not known in a route ({})", clip(name), known()));
            }
        }
        Ok((draft.rule()?, warnings))
    }
}

/// A word of a route, `name=value`.
pub struct Word {
    /// What stands before `=`.
    pub name: &'static str,
    /// What it means, in Markdown, one line.
    pub help: &'static str,
    /// It may stand more than once.
    many: bool,
    /// Takes its value.
    read: fn(&mut Draft, &str) -> Result<(), String>,
}

/// The words of a route. A new one is a row here and a field of [`RouteRule`].
pub static WORDS: [Word; 6] = [
    Word {
        name: "host",
        help: "requests for this host, without a port; else for each host of the exposure",
        many: false,
        read: |draft, text| parse_host(text).map(|host| draft.host = Some(host)),
    },
    Word {
        name: "path",
        help: "this path and what is below it by whole segments; `path=/orders*`: all that begins with these characters",
        many: true, // refused by itself, also beside `grpc=`
        read: |draft, text| draft.only(parse_path(text)?),
    },
    Word {
        name: "grpc",
        help: "a gRPC service, `shop.Orders`, or one method of it, `shop.Orders/Get`",
        many: true,
        read: |draft, text| draft.only(Matcher::Grpc(GrpcMethod::parse(text)?)),
    },
    Word {
        name: "header",
        help: "`name:value`: requests with exactly this header; several: with all of them",
        many: true,
        read: |draft, text| parse_header(text).map(|header| draft.headers.push(header)),
    },
    Word {
        name: "timeout",
        help: "as the key `timeout`, for this route",
        many: false,
        read: |draft, text| parse_duration(text).map(|time| draft.timeout = Some(time)),
    },
    Word {
        name: "stream-idle-timeout",
        help: "as the key `stream-idle-timeout`, for this route",
        many: false,
        read: |draft, text| parse_duration(text).map(|time| draft.stream_idle_timeout = Some(time)),
    },
];

/// All words, for messages.
fn known() -> String {
    let words: Vec<String> = WORDS.iter().map(|word| format!("{}=", word.name)).collect();
    words.join(", ")
}

/// A route while it is read.
#[derive(Default)]
struct Draft {
    host: Option<String>,
    matcher: Option<Matcher>,
    headers: Vec<(String, String)>,
    timeout: Option<Duration>,
    stream_idle_timeout: Option<Duration>,
}

impl Draft {
    fn only(&mut self, matcher: Matcher) -> Result<(), String> {
        match self.matcher.replace(matcher) {
            None => Ok(()),
            Some(_) => Err("a route has one `path=` or one `grpc=`; use route-2 for another".to_owned()),
        }
    }

    fn rule(self) -> Result<RouteRule, String> {
        let matcher = match (self.matcher, &self.host) {
            (Some(matcher), _) => matcher,
            (None, Some(_)) => Matcher::Prefix("/".to_owned()),
            (None, None) => return Err("a route needs `host=`, `path=` or `grpc=`".to_owned()),
        };
        let mut headers = self.headers;
        headers.sort();
        Ok(RouteRule {
            host: self.host,
            matcher,
            headers,
            timeout: self.timeout,
            stream_idle_timeout: self.stream_idle_timeout,
        })
    }
}

/// As it is declared.
impl fmt::Display for RouteRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(host) = &self.host {
            write!(f, "host={host} ")?;
        }
        match &self.matcher {
            Matcher::Prefix(path) => write!(f, "path={path}")?,
            Matcher::Characters(path) => write!(f, "path={path}*")?,
            Matcher::Grpc(GrpcMethod { service, method }) => {
                write!(f, "grpc={service}")?;
                if let Some(method) = method {
                    write!(f, "/{method}")?;
                }
            }
        }
        for (name, value) in &self.headers {
            write!(f, " header={name}:{value}")?;
        }
        if let Some(timeout) = self.timeout {
            write!(f, " timeout={}", show_duration(timeout))?;
        }
        if let Some(timeout) = self.stream_idle_timeout {
            write!(f, " stream-idle-timeout={}", show_duration(timeout))?;
        }
        Ok(())
    }
}

impl GrpcMethod {
    /// Reads `shop.Orders` or `shop.Orders/Get`.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (service, method) = match text.split_once('/') {
            Some((service, method)) => (service, Some(method)),
            None => (text, None),
        };
        let identifier = |s: &str| {
            !s.is_empty()
                && s.split('.').all(|part| {
                    !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
                })
        };
        let method_ok = method.is_none_or(|m| identifier(m) && !m.contains('.'));
        if text.len() > 256 || !identifier(service) || !method_ok {
            return Err(format!(
                "`grpc={}` must be package.Service or package.Service/Method",
                clip(text)
            ));
        }
        Ok(Self {
            service: service.to_owned(),
            method: method.map(str::to_owned),
        })
    }
}

/// Whether `text` can be the domain of a virtual host (no port, no wildcard).
#[must_use]
pub fn is_host(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 253
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
        && !text.starts_with('.')
        && !text.ends_with('.')
}

fn parse_host(text: &str) -> Result<String, String> {
    if !is_host(text) {
        return Err(format!(
            "`host={}` must be a host name without a port",
            clip(text)
        ));
    }
    Ok(text.to_ascii_lowercase())
}

fn parse_path(text: &str) -> Result<Matcher, String> {
    match Paths::parse(text).map_err(|e| e.replacen('`', "`path=", 1))? {
        Paths::Exactly(path) | Paths::Segments(path) => Ok(Matcher::Prefix(path)),
        Paths::Characters(path) => Ok(Matcher::Characters(path)),
    }
}

fn parse_header(text: &str) -> Result<(String, String), String> {
    let bad = || format!("`header={}` must be name:value", clip(text));
    let (name, value) = text.split_once(':').ok_or_else(bad)?;
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    if name.is_empty()
        || value.is_empty()
        || !name.bytes().all(token)
        || !value.bytes().all(|b| b.is_ascii_graphic())
    {
        return Err(bad());
    }
    Ok((name.to_ascii_lowercase(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_route_is_read() {
        let rule =
            RouteRule::parse("host=API.x path=/orders/ header=X-Canary:1 timeout=2s stream-idle-timeout=0s")
                .unwrap();
        assert_eq!(rule.host.as_deref(), Some("api.x"));
        assert_eq!(rule.matcher, Matcher::Prefix("/orders".into()));
        assert_eq!(rule.headers, vec![("x-canary".to_owned(), "1".to_owned())]);
        assert_eq!(rule.timeout, Some(Duration::from_secs(2)));
        assert_eq!(rule.stream_idle_timeout, Some(Duration::ZERO));
        let rule = RouteRule::parse("path=/orders*").unwrap();
        assert_eq!(rule.matcher, Matcher::Characters("/orders".into()));
    }

    #[test]
    fn a_route_is_shown_as_it_can_be_declared() {
        for text in [
            "host=api.x path=/orders header=a:1 header=b:2 timeout=1.5s stream-idle-timeout=0s",
            "path=/ timeout=0s",
            "path=/orders* timeout=86400s",
            "path=/orders/*",
            "grpc=shop.Orders/Get stream-idle-timeout=250ms",
            "grpc=shop.Orders",
        ] {
            let rule = RouteRule::parse(text).unwrap();
            assert_eq!(rule.to_string(), text);
        }
    }

    #[test]
    fn equal_paths_are_equal_however_they_are_written() {
        let paths = |text: &str| RouteRule::parse(text).unwrap().matcher.paths();
        assert_eq!(paths("path=/orders/"), paths("path=/orders"));
        assert_eq!(paths("host=x"), paths("path=/*"));
        assert_eq!(paths("grpc=shop.Orders"), paths("path=/shop.Orders/*"));
    }

    #[test]
    fn grpc_routes_are_read() {
        let rule = RouteRule::parse("grpc=shop.Orders/Get").unwrap();
        let wanted = GrpcMethod {
            service: "shop.Orders".into(),
            method: Some("Get".into()),
        };
        assert_eq!(rule.matcher, Matcher::Grpc(wanted));
    }

    #[test]
    fn a_wrong_route_says_what_would_be_right() {
        for (text, word) in [
            ("", "needs"),
            ("orders", "key=value"),
            ("path=orders", "start with /"),
            ("path=/a path=/b", "one `path=`"),
            ("grpc=shop..Orders", "package.Service"),
            ("grpc=shop.Orders/", "package.Service"),
            ("host=a:80", "without a port"),
            ("host=a host=b", "twice"),
            ("header=x path=/", "name:value"),
            ("timeout=2 path=/", "duration"),
            ("timeout=99h path=/", "duration"),
            ("timeout=. path=/", "duration"),
            ("timeout=0.4ms path=/", "from 1ms"),
            ("timeout=0.0005s path=/", "from 1ms"),
            ("stream-idle-timeout=2 path=/", "duration"),
            ("timeout=1s timeout=2s path=/", "twice"),
            ("path=/a*b", "last character"),
            ("path=/a//b", "//"),
            ("weight=2 path=/", "not known"),
        ] {
            let message = RouteRule::parse(text).unwrap_err();
            assert!(message.contains(word), "{text:?} → {message}");
        }
    }
}
