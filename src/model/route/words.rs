//! The words of a route: how each is read into a draft, and shown. A new one is a row here. Pure.

use super::connections;
use super::cors;
use super::criterion::Criterion;
use super::draft::Draft;
use super::exposures;
use super::extras::Target;
use super::hash::HashKey;
use super::headers::{How, Side};
use super::host;
use super::instead::{Redirect, Respond};
use super::matcher::{GrpcMethod, Matcher};
use super::retry::Retry;
use super::rewrite::{NewHost, Rewrite};
use super::shares::{self, Mirror};
use super::values::{
    parse_exact, parse_imported, parse_path, parse_priority, parse_regex, parse_upgrades, parse_version, yes,
};
use super::word::{
    Word, clients_of, cors_of, criteria_of, headers_of, listed, matcher_of, one, redirect_of, rewrite_of,
    time, word, words,
};
use crate::model::filters::{Compression, RateLimit, parse_issuer};
use crate::text::{clip, parse_duration, show_duration};

/// The words of a route, in the order in which they are shown.
pub static WORDS: [Word; 59] = [
    word(
        "host",
        "requests for this host, without a port; `*.example.com`: all below it; several, separated by commas; else for \
         each host of the exposure",
        |draft, name, text| host::parse(name, text).map(|hosts| draft.hosts = hosts),
        |rule, _| one(listed(&rule.hosts).filter(|_| !matches!(rule.matcher, Matcher::Name { .. }))),
    ),
    words(
        "path",
        "this path and what is below it by whole segments; `path=/orders*`: all that begins with these characters",
        |draft, _, text| draft.only(parse_path(text)?),
        matcher_of,
    ),
    words(
        "exact",
        "this path alone",
        |draft, _, text| draft.only(parse_exact(text)?),
        matcher_of,
    ),
    words(
        "regex",
        "paths that match this regular expression (RE2) as a whole: `regex=/orders/[0-9]+`",
        |draft, _, text| draft.only(parse_regex(text)?),
        matcher_of,
    ),
    words(
        "grpc",
        "a gRPC service, `shop.Orders`, or one method of it, `shop.Orders/Get`",
        |draft, _, text| draft.only(Matcher::Grpc(GrpcMethod::parse(text)?)),
        matcher_of,
    ),
    words(
        "port",
        "no requests, but all connections to this port of a listener with `protocol = \"tcp\"`",
        |draft, _, text| draft.only(connections::parse_port(text)?),
        matcher_of,
    ),
    words(
        "sni",
        "no requests, but connections by TLS for this name; `*.example.com`: all below it; several, separated by \
         commas; the server ends TLS",
        |draft, name, text| {
            draft.only(Matcher::Name { terminate: false })?;
            host::parse(name, text).map(|names| draft.names = names)
        },
        |rule, _| one(listed(&rule.hosts).filter(|_| matches!(rule.matcher, Matcher::Name { .. }))),
    ),
    word(
        "terminate",
        "`true`: Envoy ends the TLS of `sni=`, with a certificate of the listener",
        |draft, name, text| yes(name, text).map(|()| draft.terminate = true),
        |rule, _| match rule.matcher {
            Matcher::Name { terminate: true } => vec!["true".to_owned()],
            _ => Vec::new(),
        },
    ),
    word(
        "method",
        "requests with this method, or one of several, separated by commas: `method=GET,HEAD`; `!` before them: with \
         none of them",
        |draft, _, text| draft.criterion(Criterion::method(text)),
        criteria_of,
    ),
    words(
        "header",
        "`name:value`: requests with exactly this header; `name`: with any value; `!name:value`, `!name`: without it; \
         several: all must hold",
        |draft, name, text| draft.criterion(Criterion::header(name, text)),
        criteria_of,
    ),
    words(
        "header-prefix",
        "`name:value`: the header begins with this; `!` as for `header`",
        |draft, name, text| draft.criterion(Criterion::header(name, text)),
        criteria_of,
    ),
    words(
        "header-regex",
        "`name:expression`: the whole header matches it; `!` as for `header`",
        |draft, name, text| draft.criterion(Criterion::header(name, text)),
        criteria_of,
    ),
    words(
        "query",
        "`name:value`: requests with exactly this parameter in the query; `name`: with any value",
        |draft, name, text| draft.criterion(Criterion::query(name, text)),
        criteria_of,
    ),
    words(
        "query-prefix",
        "`name:value`: the parameter begins with this",
        |draft, name, text| draft.criterion(Criterion::query(name, text)),
        criteria_of,
    ),
    words(
        "query-regex",
        "`name:expression`: the whole parameter matches it",
        |draft, name, text| draft.criterion(Criterion::query(name, text)),
        criteria_of,
    ),
    words(
        "cookie",
        "`name:value`: requests with exactly this cookie; `name`: with any value",
        |draft, name, text| draft.criterion(Criterion::cookie(name, text)),
        criteria_of,
    ),
    words(
        "cookie-prefix",
        "`name:value`: the cookie begins with this",
        |draft, name, text| draft.criterion(Criterion::cookie(name, text)),
        criteria_of,
    ),
    words(
        "cookie-regex",
        "`name:expression`: the whole cookie matches it",
        |draft, name, text| draft.criterion(Criterion::cookie(name, text)),
        criteria_of,
    ),
    word(
        "expose",
        "on these exposures alone, whatever the key `expose` says; several, separated by commas",
        |draft, _, text| exposures::parse(text).map(|names| draft.expose = names),
        |rule, _| one(listed(&rule.expose)),
    ),
    words(
        "authority-regex",
        "the host and port as the client sent them match this expression as a whole, whatever their case; `!` before \
         it: they do not",
        |draft, _, text| draft.criterion(Criterion::authority(text)),
        criteria_of,
    ),
    words(
        "url-regex",
        "path and query together match this expression as a whole, beside what `path=` says; `!` before it: they do not",
        |draft, _, text| draft.criterion(Criterion::url(text)),
        criteria_of,
    ),
    word(
        "priority",
        "the higher comes first, before what is more specific; counts on the service's own host, by a policy \
         document, where bridge.toml gives the requests to the service, and where nobody else has the host",
        |draft, _, text| parse_priority(text).map(|priority| draft.priority = priority),
        |rule, _| one((rule.priority != 0).then(|| rule.priority.to_string())),
    ),
    word(
        "imported",
        "written by the bridge into routes that it makes of the tags of Traefik or fabio ([import.md](import.md)); \
         nobody else can declare it",
        |draft, _, text| parse_imported(text).map(|program| draft.imported = Some(program)),
        |rule, _| one(rule.imported.map(str::to_owned)),
    ),
    word(
        "timeout",
        "as the key `timeout`, for this route",
        |draft, _, text| parse_duration(text).map(|time| draft.timeout = Some(time)),
        |rule, _| time(rule.timeout),
    ),
    word(
        "stream-idle-timeout",
        "as the key `stream-idle-timeout`, for this route",
        |draft, _, text| parse_duration(text).map(|time| draft.stream_idle_timeout = Some(time)),
        |rule, _| time(rule.stream_idle_timeout),
    ),
    word(
        "per-try-timeout",
        "as the key `per-try-timeout`, for this route",
        |draft, _, text| parse_duration(text).map(|time| draft.per_try_timeout = Some(time)),
        |rule, _| time(rule.per_try_timeout),
    ),
    word(
        "max-stream-duration",
        "as the key `max-stream-duration`, for this route",
        |draft, _, text| parse_duration(text).map(|time| draft.max_stream_duration = Some(time)),
        |rule, _| time(rule.max_stream_duration),
    ),
    word(
        "retry",
        "as the key `retry`, for this route",
        |draft, _, text| Retry::parse(text).map(|retry| draft.retry = Some(retry)),
        |rule, _| one(rule.retry.as_ref().map(Retry::show)),
    ),
    words(
        "split",
        "shares the requests between services by weight: `split=orders:90,orders-next:10`",
        |draft, _, text| draft.target(Target::Split(shares::split(text)?)),
        |rule, _| match &rule.extras.target {
            Target::Split(parts) => vec![shares::show_split(parts)],
            _ => Vec::new(),
        },
    ),
    words(
        "version",
        "a version of the service: its instances alone get the requests; 503 while there are none, and where a rollout \
         gives it none",
        |draft, _, text| draft.target(Target::Version(parse_version(text)?)),
        |rule, _| one(rule.extras.version().map(str::to_owned)),
    ),
    words(
        "redirect",
        "sends the client elsewhere: `https:`, `https://www.example.com`, `https://*:8443` (to this port of the same \
         host), `/new`, or `/new*`, which keeps what follows the path of the route",
        |draft, _, text| draft.target(Target::Redirect(Redirect::parse(text)?)),
        |rule, _| redirect_of(rule, |redirect| Some(redirect.place())),
    ),
    word(
        "redirect-code",
        "301 (the default), 302, 303, 307 or 308",
        |draft, _, text| Redirect::parse_code(text).map(|code| draft.code = Some(code)),
        |rule, _| redirect_of(rule, |redirect| redirect.code.map(|code| code.to_string())),
    ),
    word(
        "redirect-query",
        "`drop`: without the query of the request",
        |draft, _, text| match text {
            "drop" => {
                draft.drop_query = true;
                Ok(())
            }
            _ => Err(format!(
                "`redirect-query={}` must be drop, or left out",
                clip(text)
            )),
        },
        |rule, _| redirect_of(rule, |redirect| redirect.drop_query.then(|| "drop".to_owned())),
    ),
    words(
        "respond",
        "Envoy answers by itself: `404`, or `\"200:all is well\"`",
        |draft, _, text| draft.target(Target::Respond(Respond::parse(text)?)),
        |rule, _| match &rule.extras.target {
            Target::Respond(respond) => vec![respond.show()],
            _ => Vec::new(),
        },
    ),
    words(
        "rewrite",
        "what the server gets in place of the path that the route matches: `path=/orders rewrite=/v2`",
        |draft, _, text| draft.rewrite(Rewrite::matched(text)?),
        rewrite_of,
    ),
    words(
        "regex-rewrite",
        "an expression, `=>`, and what takes its place in the path: `^/a/(.*)=>/b/\\1`",
        |draft, _, text| draft.rewrite(Rewrite::regex(text)?),
        rewrite_of,
    ),
    word(
        "host-rewrite",
        "the host that the server gets; `*`: its own address and port",
        |draft, _, text| NewHost::parse(text).map(|host| draft.extras.host_rewrite = Some(host)),
        |rule, _| one(rule.extras.host_rewrite.as_ref().map(NewHost::show)),
    ),
    words(
        "set-header",
        "`name:value`: this header for the server, in place of the client's",
        |draft, _, text| draft.header(Side::Request, How::Set, text),
        headers_of,
    ),
    words(
        "add-header",
        "`name:value`: this header for the server, beside the client's",
        |draft, _, text| draft.header(Side::Request, How::Add, text),
        headers_of,
    ),
    words(
        "default-header",
        "`name:value`: this header for the server, where the client sends none",
        |draft, _, text| draft.header(Side::Request, How::Default, text),
        headers_of,
    ),
    words(
        "remove-header",
        "a header that the server does not get",
        |draft, _, text| draft.header(Side::Request, How::Remove, text),
        headers_of,
    ),
    words(
        "set-response-header",
        "`name:value`: this header for the client, in place of the server's",
        |draft, _, text| draft.header(Side::Response, How::Set, text),
        headers_of,
    ),
    words(
        "add-response-header",
        "`name:value`: this header for the client, beside the server's",
        |draft, _, text| draft.header(Side::Response, How::Add, text),
        headers_of,
    ),
    words(
        "default-response-header",
        "`name:value`: this header for the client, where the server sends none",
        |draft, _, text| draft.header(Side::Response, How::Default, text),
        headers_of,
    ),
    words(
        "remove-response-header",
        "a header that the client does not get",
        |draft, _, text| draft.header(Side::Response, How::Remove, text),
        headers_of,
    ),
    word(
        "cors",
        "pages of these origins may call it: `https://shop.example.com`, `https://*.example.com`, `*`; several, \
         separated by commas",
        |draft, _, text| cors::origins(text).map(|origins| draft.cors().origins = origins),
        |rule, _| cors_of(rule, |cors| listed(&cors.origins)),
    ),
    word(
        "cors-methods",
        "methods that a page may use",
        |draft, name, text| cors::names(name, text).map(|names| draft.cors().methods = names),
        |rule, _| cors_of(rule, |cors| listed(&cors.methods)),
    ),
    word(
        "cors-headers",
        "headers that a page may send",
        |draft, name, text| cors::names(name, text).map(|names| draft.cors().headers = names),
        |rule, _| cors_of(rule, |cors| listed(&cors.headers)),
    ),
    word(
        "cors-expose",
        "headers that a page may read",
        |draft, name, text| cors::names(name, text).map(|names| draft.cors().expose = names),
        |rule, _| cors_of(rule, |cors| listed(&cors.expose)),
    ),
    word(
        "cors-max-age",
        "for how long a browser need not ask again",
        |draft, _, text| parse_duration(text).map(|time| draft.cors().max_age = Some(time)),
        |rule, _| cors_of(rule, |cors| cors.max_age.map(show_duration)),
    ),
    word(
        "cors-credentials",
        "`true`: a page may send cookies",
        |draft, name, text| yes(name, text).map(|()| draft.cors().credentials = true),
        |rule, _| cors_of(rule, |cors| cors.credentials.then(|| "true".to_owned())),
    ),
    word(
        "upgrade",
        "protocols that a request may be upgraded to, whatever the listener says: `websocket`; `none`",
        |draft, _, text| parse_upgrades(text).map(|names| draft.extras.upgrades = Some(names)),
        |rule, _| {
            let shown = |names: &Vec<String>| listed(names).unwrap_or_else(|| "none".to_owned());
            one(rule.extras.upgrades.as_ref().map(shown))
        },
    ),
    words(
        "mirror",
        "a service that gets a copy of the requests, or of some: `mirror=orders-next:1%`; its answers are thrown away",
        |draft, _, text| Mirror::parse(text).map(|mirror| draft.extras.mirrors.push(mirror)),
        |rule, _| rule.extras.mirrors.iter().map(Mirror::show).collect(),
    ),
    word(
        "hash",
        "as the key `hash`, for this route",
        |draft, _, text| HashKey::parse_all(text).map(|keys| draft.extras.hash = keys),
        |rule, _| match &rule.extras.hash[..] {
            [] => Vec::new(),
            keys => vec![HashKey::show_all(keys)],
        },
    ),
    word(
        "rate-limit",
        "all its requests together, in each Envoy: `100/s`, `1000/10s`, `100/s:500` for 500 at once; what is over it \
         gets 429. The limit of the exposure counts as well",
        |draft, _, text| RateLimit::parse(text).map(|limit| draft.extras.rate_limit = Some(limit)),
        |rule, _| one(rule.extras.rate_limit.map(|limit| limit.show())),
    ),
    word(
        "jwt",
        "each request needs a token of this issuer, a `[exposures.EXPOSURE.jwt.NAME]`, beside what the exposure \
         requires; 403 where there is none of that name",
        |draft, _, text| parse_issuer(text).map(|name| draft.extras.jwt = Some(name)),
        |rule, _| one(rule.extras.jwt.clone()),
    ),
    word(
        "allow-ips",
        "requests from these addresses only, `10.0.0.0/8,192.0.2.7`; others get 403. The lists of the exposure count as \
         well",
        Draft::clients,
        clients_of,
    ),
    word(
        "deny-ips",
        "no requests from these addresses, even if they are among those of `allow-ips=`: they get 403",
        Draft::clients,
        clients_of,
    ),
    word(
        "compress",
        "responses are compressed as the client takes it: `gzip`, `brotli`, `zstd`, several separated by commas, or \
         `none`, whatever the exposure says",
        |draft, _, text| Compression::parse_all(text).map(|all| draft.extras.compress = Some(all)),
        |rule, _| one(rule.extras.compress.as_deref().map(Compression::show_all)),
    ),
];
