//! `traefik.http.services.S.loadbalancer.*`: where the server of an instance is, and how it is spoken to. Pure.

use crate::import::entry::Options;
use crate::import::gathered::{self, Gathered};
use crate::import::url::{place, port};
use crate::model::MAX_WEIGHT;
use crate::text::clip;

/// Adds what a service declares. `name`: of the service in the registry.
pub(super) fn read(prefix: &str, name: &str, options: &Options, gathered: &mut Gathered<'_>) {
    if let Some(check) = health_check(options) {
        gathered.key("health-check", check);
    }
    sticky(name, options, gathered);
    passive(options, gathered);
    for (option, value) in options {
        if let Err(why) = one(option, value, gathered) {
            gathered.note(&format!("{prefix}.http.services…loadbalancer.{option}"), why);
        }
    }
}

fn one(option: &str, value: &str, gathered: &mut Gathered<'_>) -> Result<(), String> {
    match option {
        "server.port" => gathered.imported.port = Some(port(value)?),
        "server.scheme" => scheme(value, gathered)?,
        "server.url" => url(value, gathered)?,
        "server.weight" => {
            let weight = value.parse().ok().filter(|weight| *weight <= MAX_WEIGHT);
            let wrong = || format!("must be from 0 to {MAX_WEIGHT}; ignored");
            gathered.imported.weight = Some(weight.ok_or_else(wrong)?);
        }
        // Of routes, [`by_its_address`].
        "passhostheader" if ["true", "false"].contains(&value) => {}
        "strategy" if value == "wrr" => {}
        "responseforwarding.flushinterval" => {}
        "passhostheader" => {
            return Err("must be true or false; the server gets the host of the request".to_owned());
        }
        "strategy" if value == "p2c" => gathered.key("lb", "least_request"),
        "strategy" if value == "hrw" => {
            gathered.key("lb", "maglev");
            gathered.key("hash", "ip");
        }
        "healthcheck.port"
        | "healthcheck.scheme"
        | "healthcheck.method"
        | "healthcheck.unhealthyinterval" => {
            return Err("health checks are GETs to the port of the server here, by the protocol of the service, at one \
                        interval; ignored"
                .to_owned());
        }
        "sticky.cookie.secure"
        | "sticky.cookie.httponly"
        | "sticky.cookie.samesite"
        | "sticky.cookie.domain"
        | "sticky.cookie.path" => {
            return Err("the cookie is for the path / and HttpOnly here; ignored".to_owned());
        }
        option if ["sticky", "healthcheck", "passivehealthcheck"].contains(&first(option)) => {}
        _ => return Err("not imported; ignored".to_owned()),
    }
    Ok(())
}

/// Whether the server gets its own address for a host.
pub(super) fn by_its_address(options: &Options) -> bool {
    options
        .get("passhostheader")
        .is_some_and(|value| value == "false")
}

fn first(option: &str) -> &str {
    option.split('.').next().unwrap_or_default()
}

/// Active checks, by Traefik's defaults: one failure takes a server out, one success in.
fn health_check(options: &Options) -> Option<String> {
    let get = |name: &str| options.get(&format!("healthcheck.{name}")).map(String::as_str);
    let grpc = get("mode") == Some("grpc");
    let path = get("path").filter(|path| path.starts_with('/'));
    let mut check = match (grpc, path) {
        (true, _) => "grpc".to_owned(),
        (false, Some(path)) => format!("http:{path}"),
        (false, None) => return None,
    };
    for (name, default) in [("interval", "30s"), ("timeout", "5s")] {
        let time = get(name).unwrap_or(default);
        // A number alone is of seconds there.
        let unit = if time.bytes().all(|b| b.is_ascii_digit()) {
            "s"
        } else {
            ""
        };
        check.extend([" ", name, "=", time, unit]);
    }
    check += " unhealthy=1 healthy=1";
    if let Some(host) = get("hostname") {
        check.extend([" host=", host]);
    }
    if !grpc {
        check.extend([" status=", get("status").unwrap_or("200-399")]);
    }
    Some(check)
}

/// A cookie that is hashed: Envoy sets it where it is missing.
fn sticky(service: &str, options: &Options, gathered: &mut Gathered<'_>) {
    let declared = |(option, value): (&String, &String)| first(option) == "sticky" && value != "false";
    if !options.iter().any(declared) {
        return;
    }
    let get = |name: &str| options.get(&format!("sticky.cookie.{name}"));
    let usual = || format!("_{:05x}", gathered::number(service));
    let name = get("name").cloned().unwrap_or_else(usual);
    let age = get("maxage").filter(|age| age.parse::<u32>().is_ok_and(|age| age > 0));
    gathered.key("lb", "ring_hash");
    gathered.key(
        "hash",
        format!("cookie:{name}:{}s", age.map_or("0", String::as_str)),
    );
}

fn passive(options: &Options, gathered: &mut Gathered<'_>) {
    let get = |name: &str| options.get(&format!("passivehealthcheck.{name}"));
    if !options.keys().any(|option| first(option) == "passivehealthcheck") {
        return;
    }
    let failures = get("maxfailedattempts").map_or("1", String::as_str);
    let window = get("failurewindow").map_or("10s", String::as_str);
    gathered.key(
        "outlier",
        format!("gateway-errors={failures} ejection={window} max-ejected=100%"),
    );
}

pub(super) fn scheme(text: &str, gathered: &mut Gathered<'_>) -> Result<(), String> {
    match text {
        "http" => Ok(()),
        "h2c" => {
            gathered.key("protocol", "http2");
            Ok(())
        }
        "https" => {
            gathered.key("protocol", "https");
            Ok(())
        }
        _ => Err(format!("`{}` must be http, https or h2c; ignored", clip(text))),
    }
}

fn url(text: &str, gathered: &mut Gathered<'_>) -> Result<(), String> {
    let (of, host, port) = place(text)?;
    scheme(of, gathered)?;
    gathered.imported.host = Some(host.to_owned());
    gathered.imported.port = Some(port);
    Ok(())
}
