//! The routes of one tag, or of one command. Pure.

use super::connections;
use super::options::{self, Treatment};
use super::tag::Tag;
use crate::config::{FabioImport, FabioMatcher};
use crate::import::gathered::Gathered;
use crate::import::path::{Path, encoded};
use crate::import::regex::of_glob;
use crate::import::route::{Draft, Requests};
use crate::model::pattern::escape;

/// Routes of hosts that are patterns stand behind those of hosts, and those of each host behind both.
const BEHIND: i32 = 100_000;

/// Adds the routes of a tag, or of a command; the numbers that they have. `lacking`: why it can only be refused.
pub(super) fn add(
    settings: &FabioImport,
    tag: &Tag,
    gathered: &mut Gathered<'_>,
    name: &str,
    lacking: Option<&str>,
) -> Vec<u32> {
    if tag.option("proto") == Some("tcp") {
        let number = connections::add(settings, tag, gathered, name, lacking);
        return number.into_iter().collect();
    }
    let (drafts, priority) = match route(settings, tag, gathered, name, lacking) {
        Ok(made) => made,
        Err(why) => {
            gathered.note(name, format!("{why}; this route is left out"));
            return Vec::new();
        }
    };
    let mut numbers = Vec::new();
    for (n, draft) in drafts.iter().enumerate() {
        let (rule, why) = draft.made("fabio", priority, &settings.expose);
        if let Some(why) = why {
            gathered.note(name, why);
        }
        if let Some(rule) = rule {
            numbers.extend(gathered.route(&format!("fabio {} {n}", tag.source()), rule));
        }
    }
    numbers
}

/// The routes of a tag, and their place among the others.
fn route(
    settings: &FabioImport,
    tag: &Tag,
    gathered: &mut Gathered<'_>,
    name: &str,
    lacking: Option<&str>,
) -> Result<(Vec<Draft>, i32), String> {
    let protocol = tag.option("proto").unwrap_or("http");
    if protocol == "tcp-dynamic" {
        return Err("it opens a listener there, and here those are the operator's".to_owned());
    }
    if tag.host.is_empty() && !tag.path.starts_with('/') {
        return Err("a route by a port needs proto=tcp".to_owned());
    }
    let (requests, priority) = requests(settings, tag)?;
    let mut draft = Draft::new(requests);
    match options::treatment(tag, &settings.expose, &mut draft)? {
        Treatment::Whole => {}
        Treatment::Without(notes) => {
            for note in notes {
                gathered.note(name, note);
            }
        }
        Treatment::Refused(status, why) => {
            draft.refuse(status);
            gathered.note(name, format!("{why}: its requests are answered with {status}"));
        }
    }
    if !draft.ended {
        // As there, what the client says counts. With `host=dst` it would be the address of the server, which Envoy
        // chooses later.
        draft.add(
            "default-header",
            "x-real-ip:%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%",
        );
        match tag.option("host") {
            None => draft.add("default-header", "x-forwarded-host:%REQ(:authority)%"),
            Some("dst") => {}
            Some(host) => draft.add("default-header", format!("x-forwarded-host:{host}")),
        }
    }
    if let Some(why) = lacking.filter(|_| !draft.ended) {
        draft.refuse(503);
        gathered.note(name, format!("{why}: its requests are answered with 503"));
    }
    match protocol {
        "https" | "grpc" | "grpcs" => gathered.key("protocol", protocol),
        "http" => {}
        _ => gathered.note(
            name,
            "proto= is none of http, https, grpc, grpcs, tcp: it means http",
        ),
    }
    if let Some(name) = tag.option("grpcservername") {
        gathered.key("tls", format!("system sni={name}"));
    }
    if tag.option("pxyproto") == Some("true") {
        gathered.key("proxy-protocol", "v1");
    }
    Ok((options::along_the_way(options::paths(tag, draft)?), priority))
}

/// Which requests it takes: a port of the host counts there, but for the usual ones.
fn requests(settings: &FabioImport, tag: &Tag) -> Result<(Requests, i32), String> {
    let length = i32::try_from(tag.path.len()).unwrap_or(i32::MAX).min(4_096);
    let path = path(settings, &tag.path)?;
    if tag.host.is_empty() {
        return Ok((Requests::of(None, path), length - 2 * BEHIND));
    }
    let (host, port) = match tag.host.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => (host, Some(port)),
        _ => (tag.host.as_str(), None),
    };
    let port = match port {
        None | Some("80" | "443") => "(?::(?:80|443))?".to_owned(),
        Some(port) => format!(":{port}"),
    };
    let is_pattern = host.contains(['*', '?', '[', '{']);
    if !is_pattern {
        let mut requests = Requests::of(Some(host.to_owned()), path);
        requests
            .conditions
            .push(("authority-regex", format!("[^:]*{port}")));
        // As a route of our own would be that says the same.
        let of_host = i32::try_from(host.len()).unwrap_or(256) + 8;
        let of_path = if tag.path == "/" { 0 } else { length + 18 };
        return Ok((requests, of_host + of_path + 30));
    }
    let end = host.rsplit(['*', '?', ']', '}']).next().unwrap_or_default();
    let certain = i32::try_from(end.len().min(250)).unwrap_or(250);
    let priority = certain * 300 + length.min(299) - BEHIND;
    let regex = if settings.glob {
        of_glob(host)
    } else {
        escape(host)
    };
    let mut requests = Requests::of(None, path);
    requests
        .conditions
        .push(("authority-regex", format!("(?:{regex}){port}")));
    Ok((requests, priority))
}

fn path(settings: &FabioImport, path: &str) -> Result<Path, String> {
    if path.contains("//") {
        return Err("no request has a path with two slashes".to_owned());
    }
    let never = |path: &str| match encoded(path) {
        Ok(encoded) if !encoded.contains('%') || !path.contains('%') => Ok(encoded),
        Ok(_) => Err("paths are compared as they are decoded, so no request has this one".to_owned()),
        Err(why) => Err(why),
    };
    Ok(match settings.matcher {
        FabioMatcher::Prefix => Path::Begins(never(path)?),
        FabioMatcher::IgnoringCase if path == "/" => Path::all(),
        FabioMatcher::IgnoringCase => Path::Matched(format!("(?i){}.*", escape(&never(path)?))),
        FabioMatcher::Glob => Path::Matched(of_glob(path)),
    })
}
