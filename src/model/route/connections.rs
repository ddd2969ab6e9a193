//! Connections that a service takes whole, without HTTP: by the port that they come to, `port=5432`, or by the name that a
//! TLS client asks for, `sni=db.example.com`. Pure.

use super::extras::{Extras, Target};
use super::hash::HashKey;
use super::matcher::Matcher;
use super::rule::RouteRule;
use crate::text::clip;

/// Precedes a name of TLS where hosts of requests stand: no host holds a colon.
const NAME: &str = "sni:";

/// Which connections, as it stands where requests have a host.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// Those to this port of a TCP listener.
    Port(u16),
    /// Those by TLS for this name, or for all below `*.example.com`.
    Name(String),
}

impl Place {
    /// `:5432`, `sni:db.example.com`.
    #[must_use]
    pub fn host(&self) -> String {
        match self {
            Self::Port(port) => format!(":{port}"),
            Self::Name(name) => format!("{NAME}{name}"),
        }
    }

    /// `None`: it is a host of requests.
    #[must_use]
    pub fn of_host(host: &str) -> Option<Self> {
        if let Some(port) = host.strip_prefix(':') {
            return port.parse().ok().map(Self::Port);
        }
        host.strip_prefix(NAME).map(|name| Self::Name(name.to_owned()))
    }
}

/// Reads `5432`.
pub(super) fn parse_port(text: &str) -> Result<Matcher, String> {
    let port = text.parse().ok().filter(|port| *port > 0);
    let wrong = || format!("`port={}` must be a port, from 1 to 65535", clip(text));
    port.map(Matcher::Port).ok_or_else(wrong)
}

/// Of a route for connections: no word may stand in it that is about requests.
pub(super) fn fits(rule: &RouteRule) -> Result<(), String> {
    let word = match rule.matcher {
        Matcher::Port(_) if !rule.hosts.is_empty() => {
            return Err("`port=` takes all connections to a port: leave `host=` out".to_owned());
        }
        Matcher::Port(_) => "port",
        Matcher::Name { .. } => "sni",
        _ => return Ok(()),
    };
    let extras = &rule.extras;
    let plain = RouteRule {
        hosts: rule.hosts.clone(),
        expose: rule.expose.clone(),
        stream_idle_timeout: rule.stream_idle_timeout,
        max_stream_duration: rule.max_stream_duration,
        extras: Extras {
            target: match &extras.target {
                Target::Split(parts) => Target::Split(parts.clone()),
                _ => Target::Itself,
            },
            hash: extras
                .hash
                .iter()
                .filter(|key| **key == HashKey::Ip)
                .cloned()
                .collect(),
            ..Extras::default()
        },
        ..RouteRule::of(rule.matcher.clone())
    };
    if *rule == plain {
        return Ok(());
    }
    Err(format!(
        "beside `{word}=` only `expose=`, `split=`, `hash=ip`, `stream-idle-timeout=` and `max-stream-duration=` can \
         stand: Envoy sees no requests in these connections"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_for_a_host_is_read_again() {
        for place in [
            Place::Port(5432),
            Place::Name("db.example.com".into()),
            Place::Name("*.x".into()),
        ] {
            assert_eq!(Place::of_host(&place.host()), Some(place));
        }
        for host in ["db.example.com", "*", "*.x", ":http"] {
            assert_eq!(Place::of_host(host), None);
        }
    }

    #[test]
    fn words_about_requests_have_no_place_beside_a_port_or_a_name() {
        let read = |text: &str| RouteRule::parse(text).map(|rule| rule.to_string());
        for good in [
            "port=5432",
            "port=5432 expose=edge stream-idle-timeout=3600s max-stream-duration=7200s split=a:1,b:9 hash=ip",
            "sni=*.example.com,db.example.com",
            "sni=db.example.com terminate=true",
        ] {
            assert_eq!(read(good).as_deref(), Ok(good));
        }
        for (bad, why) in [
            ("port=0", "must be a port"),
            ("port=70000", "must be a port"),
            ("port=5432 host=x", "leave `host=` out"),
            ("port=5432 path=/a", "a route has one"),
            ("port=5432 sni=x", "a route has one"),
            ("sni=x host=y", "a route with `sni=` has no `host=`"),
            ("host=y sni=x", "a route with `sni=` has no `host=`"),
            ("sni=x:443", "must be a host name without a port"),
            ("port=5432 timeout=1s", "beside `port=` only"),
            ("sni=x hash=header:x-user", "beside `sni=` only"),
            ("sni=x respond=404", "beside `sni=` only"),
            ("sni=x priority=3", "beside `sni=` only"),
            ("port=5432 terminate=true", "`terminate=` needs `sni=`"),
            ("sni=x terminate=maybe", "must be true"),
        ] {
            let error = read(bad).unwrap_err();
            assert!(error.contains(why), "{bad}: {error}");
        }
    }
}
