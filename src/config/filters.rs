//! The filters of an exposure, `[exposures.NAME.rate_limit]` and the like, and `[callers]`. Files are not opened here.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::parse;
use super::reader::{Section, named};
use super::{Bind, Exposure, Listener};
use crate::model::filters::{Authorization, Callers, Compression, Filters, Jwt, Keys, Range, RateLimit};
use crate::model::route::is_host;
use crate::model::service::check_name;
use crate::model::{Secret, Traffic};
use crate::text::clip;

/// The most entries of one list.
const MOST: usize = 1_000;

/// `[callers]`
pub(super) fn callers(root: &mut Section<'_>) -> Callers {
    let name = |text: &str| -> Result<Arc<str>, String> {
        let right = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        if text == "*" || (!text.is_empty() && text.len() <= 128 && text.bytes().all(right)) {
            return Ok(text.into());
        }
        Err("a caller's name has letters, digits, `-`, `_` and `.`; `*` stands for all others".to_owned())
    };
    let mut named: BTreeMap<Arc<str>, Vec<String>> =
        root.lists("callers", name, identity).into_iter().collect();
    let others = named.remove("*").unwrap_or_default();
    for (name, identities) in &named {
        if identities.iter().any(|one| one.contains("{caller}")) {
            root.mistake(
                "callers",
                format!("{name}: {{caller}} stands in the line of `*` only"),
            );
        }
    }
    if others.iter().any(|one| !one.contains("{caller}")) {
        root.mistake(
            "callers",
            "*: must hold {caller}, such as \"spiffe://shop/{caller}\": else each name is the same caller",
        );
    }
    Callers { named, others }
}

fn identity(text: &str) -> Result<String, String> {
    parse::san_pattern(&text.replace("{caller}", "x"))
        .map(|_| text.to_owned())
        .map_err(|_| {
            format!(
                "`{}` must be a URI such as spiffe://shop/web, or dns: and a name such as dns:web.shop",
                clip(text)
            )
        })
}

/// Those of one exposure.
pub(super) fn read(
    s: &mut Section<'_>,
    base: &Path,
    callers: &Arc<Callers>,
    jwks: &mut BTreeMap<Arc<str>, PathBuf>,
) -> Filters {
    let allow_ips = s.list("allow_ips", Range::parse);
    if allow_ips.as_ref().is_some_and(Vec::is_empty) {
        s.mistake(
            "allow_ips",
            "is empty: nobody could come; leave it out to let all in",
        );
    }
    let deny_ips = s.list("deny_ips", Range::parse).unwrap_or_default();
    let allow_ips = allow_ips.unwrap_or_default();
    for (key, list) in [("allow_ips", &allow_ips), ("deny_ips", &deny_ips)] {
        if list.len() > MOST {
            s.mistake(key, format!("has more than {MOST} entries"));
        }
    }
    let rate_limit = s.optional("rate_limit").and_then(rate_limit);
    let exposure = s.name().to_owned();
    let jwt = s.sections("jwt").into_iter();
    let jwt = jwt.filter_map(|s| issuer(s, &exposure, base, jwks)).collect();
    let authorization = s.optional("authorization").and_then(authorization);
    let mut compress = s.list("compress", Compression::parse).unwrap_or_default();
    compress.sort_unstable();
    compress.dedup();
    Filters {
        allow_ips,
        deny_ips,
        rate_limit,
        jwt,
        authorization,
        compress,
        callers: callers.clone(),
        anonymous: Vec::new(),
        inner: false,
        any_caller: s.get_or("any_caller", false, parse::switch),
        file_filters: s.get_or("file_filters", false, parse::switch),
    }
}

/// `None` only beside a mistake, as for all that follow: a filter that cannot be read is never left out.
fn rate_limit(mut s: Section<'_>) -> Option<RateLimit> {
    let number = parse::count(1, RateLimit::MOST as usize);
    let number = |text: &str| number(text).map(|n| u32::try_from(n).unwrap_or(RateLimit::MOST));
    let requests = s.need("requests", "100", number);
    let per = s.get_or("per", Duration::from_secs(1), |text| {
        let time = parse::duration(text)?;
        if time < RateLimit::SHORTEST {
            return Err("must be at least 50ms".to_owned());
        }
        Ok(time)
    });
    let burst = s.get("burst", number);
    if burst
        .zip(requests)
        .is_some_and(|(burst, requests)| burst < requests)
    {
        s.mistake("burst", "must be at least as many as requests");
    }
    s.finish();
    let requests = requests?;
    let burst = burst.unwrap_or(requests);
    Some(RateLimit { requests, per, burst })
}

fn issuer(
    mut s: Section<'_>,
    exposure: &str,
    base: &Path,
    jwks: &mut BTreeMap<Arc<str>, PathBuf>,
) -> Option<(Arc<str>, Jwt)> {
    named(&s);
    let name: Arc<str> = s.name().into();
    let issuer = s.need("issuer", "\"https://login.example.com\"", parse::text);
    let missing =
        "which tokens are meant for what is behind this exposure? for example audiences = [\"shop\"]";
    let audiences = s.need_list("audiences", missing, parse::text);
    let require = s.get_or("require", true, parse::switch);
    let header = s.get("header", header);
    let file = s.get("file", parse::text);
    let url = s.get("url", url);
    let service = s.get("service", service);
    let cache = s.get("cache", parse::duration);
    let keys = match (file, url) {
        (Some(_), Some(_)) => {
            s.mistake("url", "a file or a url, not both");
            None
        }
        (None, None) => {
            s.mistake(
                "",
                "where are the keys? file = \"keys.json\", or url = \"https://login.example.com/keys\" with service = \
                 \"login\"",
            );
            None
        }
        (Some(file), None) => {
            if service.is_some() || cache.is_some() {
                s.mistake("file", "is read by the bridge: service and cache belong to url");
            }
            jwks.insert(Secret::jwks_name(exposure, &name).into(), base.join(file));
            Some(Keys::File)
        }
        (None, Some(url)) => {
            if service.is_none() {
                s.mistake(
                    "service",
                    "is missing: which service, or [external.NAME], is asked for the url?",
                );
            }
            service.map(|service| Keys::Remote {
                url,
                service,
                cache: cache.unwrap_or(Duration::from_secs(300)),
            })
        }
    };
    s.finish();
    let jwt = Jwt {
        issuer: issuer?,
        audiences: audiences?,
        keys: keys?,
        header,
        require,
    };
    Some((name, jwt))
}

fn authorization(mut s: Section<'_>) -> Option<Authorization> {
    let by = s.need("service", "\"authorization\"", service);
    let grpc = s.get_or("protocol", true, parse::word(&[("grpc", true), ("http", false)]));
    let timeout = s.get_or("timeout", Duration::from_secs(1), |text| {
        parse::duration(text).and_then(|time| {
            if time.is_zero() {
                Err("must be above 0".to_owned())
            } else {
                Ok(time)
            }
        })
    });
    let open = s.get_or(
        "on_failure",
        false,
        parse::word(&[("deny", false), ("allow", true)]),
    );
    let path_prefix = s.get_or("path_prefix", String::new(), |text| {
        let right =
            text.starts_with('/') && text.bytes().all(|b| b.is_ascii_graphic() && !b"?#".contains(&b));
        right
            .then(|| text.to_owned())
            .ok_or_else(|| format!("`{}` must be a path such as /check", clip(text)))
    });
    let request_headers = s.list("request_headers", header).unwrap_or_default();
    let upstream_headers = s.list("upstream_headers", header).unwrap_or_default();
    if grpc && !(path_prefix.is_empty() && request_headers.is_empty() && upstream_headers.is_empty()) {
        s.mistake(
            "protocol",
            "path_prefix, request_headers and upstream_headers are for protocol = \"http\": by gRPC it gets all headers",
        );
    }
    s.finish();
    Some(Authorization {
        service: by?,
        grpc,
        timeout,
        open,
        path_prefix,
        request_headers,
        upstream_headers,
    })
}

fn service(text: &str) -> Result<Arc<str>, String> {
    check_name(text).map(|()| text.into())
}

fn header(text: &str) -> Result<String, String> {
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    if (1..=256).contains(&text.len()) && text.bytes().all(token) {
        return Ok(text.to_ascii_lowercase());
    }
    Err(format!("`{}` must be the name of a header", clip(text)))
}

fn url(text: &str) -> Result<String, String> {
    let wrong = || {
        format!(
            "`{}` must be a URL such as https://login.example.com/keys",
            clip(text)
        )
    };
    if text.contains('@') {
        return Err(parse::NO_USER.to_owned());
    }
    let uri: http::Uri = text.parse().map_err(|_| wrong())?;
    let right = matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some_and(is_host);
    right.then(|| text.to_owned()).ok_or_else(wrong)
}

/// What filters and listeners are only together.
pub(super) fn fit(
    root: &Section<'_>,
    listeners: &BTreeMap<Arc<str>, Listener>,
    exposures: &mut BTreeMap<Arc<str>, Exposure>,
) {
    for (name, listener) in listeners {
        let Some(exposure) = exposures.get_mut(&listener.exposure) else {
            continue;
        };
        if listener.bind == Bind::Internal && exposure.filters.knows_addresses() {
            root.mistake(
                &format!("listeners.{name}.internal"),
                format!(
                    "exposures.{} lets clients in by their addresses, and inside of Envoy they have none",
                    listener.exposure
                ),
            );
        }
        if listener.traffic != Traffic::Http {
            if exposure.filters.refuse() {
                root.mistake(
                    &format!("listeners.{name}"),
                    format!(
                        "connections without HTTP do not pass the filters of exposures.{}; give it an exposure of its own",
                        listener.exposure
                    ),
                );
            }
            continue;
        }
        exposure.filters.inner |= listener.bind == Bind::Internal;
        if listener.tls.as_ref().is_none_or(|tls| tls.client_ca.is_none()) {
            exposure.filters.anonymous.push(name.clone());
        }
    }
    for (name, exposure) in exposures.iter() {
        if exposure.filters.refuse() && !exposure.sni.is_empty() {
            root.mistake(
                &format!("exposures.{name}.sni"),
                "connections that go to a service by their name do not pass the filters of this exposure; give them an \
                 exposure of their own",
            );
        }
    }
}
