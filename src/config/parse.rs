//! Parsers of single values. Each error says what would be right.

use std::net::SocketAddr;
use std::time::Duration;

use crate::model::route::is_host;
use crate::model::{Paths, Place};
use crate::text::{clip, parse_duration};

pub(super) fn text(value: &str) -> Result<String, String> {
    if value.is_empty() {
        Err("must not be empty".to_owned())
    } else {
        Ok(value.to_owned())
    }
}

pub(super) fn socket(value: &str) -> Result<SocketAddr, String> {
    value
        .parse::<SocketAddr>()
        // `::ffff:127.0.0.1` is `127.0.0.1`.
        .map(|address| SocketAddr::new(address.ip().to_canonical(), address.port()))
        .map_err(|_| format!("`{value}` must be IP:PORT, such as 127.0.0.1:18000 or [::1]:18000"))
}

pub(super) fn switch(value: &str) -> Result<bool, String> {
    value
        .parse()
        .map_err(|_| format!("`{value}` must be true or false"))
}

pub(super) fn duration(value: &str) -> Result<Duration, String> {
    parse_duration(value)
}

pub(super) fn count(low: usize, high: usize) -> impl Fn(&str) -> Result<usize, String> {
    move |value| {
        let wrong = || format!("`{value}` must be a whole number from {low} to {high}");
        value
            .parse()
            .ok()
            .filter(|n| (low..=high).contains(n))
            .ok_or_else(wrong)
    }
}

/// `256MiB`, `1GiB`, `65536KiB`, or a number of bytes.
pub(super) fn bytes(low: usize) -> impl Fn(&str) -> Result<usize, String> {
    move |value| {
        let at = value.find(|c: char| !c.is_ascii_digit()).unwrap_or(value.len());
        let (number, unit) = value.split_at(at);
        let factor = match unit.trim_start() {
            "" | "B" => Some(1),
            "KiB" => Some(1 << 10),
            "MiB" => Some(1 << 20),
            "GiB" => Some(1 << 30),
            _ => None,
        };
        let number = number.parse::<usize>().ok();
        let bytes = number.zip(factor).and_then(|(n, factor)| n.checked_mul(factor));
        let wrong = || {
            format!(
                "`{value}` must be a size such as \"256MiB\", at least {} MiB",
                low >> 20
            )
        };
        bytes.filter(|n| *n >= low).ok_or_else(wrong)
    }
}

/// `50%`, from 1 to 100.
/// A share of requests, in millionths.
pub(super) fn share(value: &str) -> Result<u32, String> {
    let number = value.strip_suffix('%').and_then(|n| n.trim().parse::<f64>().ok());
    let share = number.filter(|n| (0.0..=100.0).contains(n));
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "from 0 to 1,000,000"
    )]
    share
        .map(|n| (n * 10_000.0).round() as u32)
        .ok_or_else(|| format!("`{value}` must be a percentage such as \"1%\" or \"0.1%\", from 0% to 100%"))
}

pub(super) fn percent(value: &str) -> Result<u32, String> {
    let wrong = || format!("`{value}` must be a percentage such as \"50%\", from 1% to 100%");
    let number = value
        .strip_suffix('%')
        .and_then(|n| n.parse().ok())
        .ok_or_else(wrong)?;
    if (1..=100).contains(&number) {
        Ok(number)
    } else {
        Err(wrong())
    }
}

/// One of some words.
pub(super) fn word<T: Copy>(choices: &'static [(&'static str, T)]) -> impl Fn(&str) -> Result<T, String> {
    move |value| {
        let found = choices
            .iter()
            .find(|(name, _)| *name == value)
            .map(|(_, choice)| *choice);
        let names = || {
            choices
                .iter()
                .map(|(n, _)| format!("\"{n}\""))
                .collect::<Vec<_>>()
                .join(" or ")
        };
        found.ok_or_else(|| format!("`{value}` must be {}", names()))
    }
}

/// Said of an address that holds `user:password@`, which is not repeated: addresses stand in the log,
/// in `/readyz` and in the head of a file of the last known state.
pub(super) const NO_USER: &str = "must not hold a user or a password (`@`), which every log would show: they have keys and files of their own";

/// `http://host:port` or `https://host:port`, without path or trailing slash.
pub(super) fn base_url(value: &str) -> Result<String, String> {
    if value.contains('@') {
        return Err(NO_USER.to_owned());
    }
    let wrong = || format!("`{value}` must be http://HOST:PORT or https://HOST:PORT");
    let uri: http::Uri = value.parse().map_err(|_| wrong())?;
    let plain = uri.path() == "/" || uri.path().is_empty();
    match uri.scheme_str() {
        Some("http" | "https") if plain && uri.query().is_none() && uri.port_u16().is_some_and(|p| p > 0) => {
            Ok(value.trim_end_matches('/').to_owned())
        }
        _ => Err(wrong()),
    }
}

/// `maps.example.com:80`, `10.0.0.7:80` or `[2001:db8::7]:80`.
pub(super) fn host_and_port(value: &str) -> Result<(String, u16), String> {
    let wrong = || format!("`{value}` must be HOST:PORT, such as maps.example.com:80 or 10.0.0.7:80");
    if let Ok(address) = value.parse::<SocketAddr>() {
        let ip = address.ip().to_canonical();
        return if address.port() == 0 || ip.is_unspecified() {
            Err(wrong())
        } else {
            Ok((ip.to_string(), address.port()))
        };
    }
    let (host, port) = value.rsplit_once(':').ok_or_else(wrong)?;
    match port.parse() {
        Ok(port) if port > 0 && is_host(host) => Ok((host.to_ascii_lowercase(), port)),
        _ => Err(wrong()),
    }
}

/// A host that may be claimed: exact, `*.example.com`, or `*`.
pub(super) fn host_pattern(value: &str) -> Result<String, String> {
    let rest = value.strip_prefix("*.").unwrap_or(value);
    if value == "*" || is_host(rest) {
        return Ok(value.to_ascii_lowercase());
    }
    Err(format!(
        "`{value}` must be a host without port, `*.` and a host, or `*`"
    ))
}

/// A name of the admin port: a host, or `*` for any.
pub(super) fn admin_host(value: &str) -> Result<String, String> {
    if value == "*" || is_host(value) {
        return Ok(value.to_ascii_lowercase());
    }
    Err(format!("`{value}` must be a host without port, or `*`"))
}

/// A host made of a service's name.
pub(super) fn service_host(value: &str) -> Result<String, String> {
    if value.contains("{service}") && is_host(&value.replace("{service}", "x")) {
        return Ok(value.to_ascii_lowercase());
    }
    Err(format!(
        "`{value}` must hold {{service}}, such as \"{{service}}.internal\""
    ))
}

/// A name in a client's certificate: `dns:` and a name, or a URI; `*` stands for a part of it.
pub(super) fn san_pattern(value: &str) -> Result<String, String> {
    let right = match value.strip_prefix("dns:") {
        Some(name) => is_host(&name.replace('*', "x").to_ascii_lowercase()),
        None => {
            let (scheme, rest) = value.split_once("://").unwrap_or_default();
            !scheme.is_empty()
                && scheme
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b))
                && !rest.is_empty()
                && !rest.starts_with('*')
                && rest.bytes().all(|b| b.is_ascii_graphic())
        }
    };
    if right && value.len() <= 512 {
        return Ok(value.to_owned());
    }
    Err(format!(
        "`{value}` must be a URI such as spiffe://shop/ns/*, or dns: and a name such as dns:edge-*.example"
    ))
}

pub(super) fn path_pattern(value: &str) -> Result<Paths, String> {
    Paths::parse(value).map_err(|e| format!("{e}; such as / or /{{service}}/"))
}

/// A part of an exposure: `orders`, `orders/login` or `*.shop.example/login`.
pub(super) fn place(value: &str) -> Result<(String, Paths), String> {
    if let Some(Place::Port(port)) = Place::of_host(value) {
        return Ok((Place::Port(port).host(), Paths::parse("/")?));
    }
    let at = value.find('/').unwrap_or(value.len());
    let (host, path) = value.split_at(at);
    let paths = if path.is_empty() { "/" } else { path };
    Ok((host_pattern(host)?, Paths::parse(paths)?))
}

/// The words of a log filter that stand alone: `tracing` takes one that is no level for the name of a module,
/// and says nothing any more.
pub(super) fn levels(filter: &str) -> Result<(), String> {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    let alone = |part: &&str| !part.is_empty() && !part.contains(['=', '[', ':']);
    for word in filter.split(',').map(str::trim).filter(alone) {
        let lower = word.to_ascii_lowercase();
        let known = LEVELS.contains(&&*lower) || lower.parse::<u8>().is_ok_and(|n| n <= 5);
        if known || lower.starts_with("xds_bridge") {
            continue;
        }
        let meant = match &*lower {
            "warning" => "warn",
            "verbose" | "all" | "fine" => "debug",
            "err" | "fatal" | "critical" | "severe" => "error",
            "none" | "silent" | "quiet" => "off",
            other => {
                let near = LEVELS
                    .iter()
                    .find(|level| strsim::osa_distance(level, other) <= 2);
                near.copied().unwrap_or("info")
            }
        };
        return Err(format!(
            "`{}` is no level ({}); did you mean `{meant}`? A module needs one, as in `{}=debug`",
            clip(word),
            LEVELS.join(", "),
            clip(word)
        ));
    }
    Ok(())
}

/// A protocol in the header `Upgrade`.
pub(super) fn upgrade(value: &str) -> Result<String, String> {
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~/".contains(&b);
    let right = (1..=64).contains(&value.len()) && value.bytes().all(token);
    // CONNECT is a method, and h2c would take the connection out of Envoy's hands.
    if right && !value.eq_ignore_ascii_case("connect") && !value.eq_ignore_ascii_case("h2c") {
        return Ok(value.to_owned());
    }
    Err(format!(
        "`{value}` must be a protocol that a request is upgraded to, such as websocket"
    ))
}

pub(super) fn grpc_pattern(value: &str) -> Result<String, String> {
    let rest = value.strip_suffix(".*").unwrap_or(value);
    if value == "*"
        || (!rest.is_empty()
            && rest
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"._".contains(&b)))
    {
        return Ok(value.to_owned());
    }
    Err(format!(
        "`{value}` must be a gRPC service, a package and `.*`, or `*`"
    ))
}

/// A name that stands in resource names, variables and metrics.
pub(super) fn is_name(value: &str) -> bool {
    !value.is_empty()
        && value.len() <= 64
        && value
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_'))
}
