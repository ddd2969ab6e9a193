//! Who may use the admin port: programs and people, never a foreign web page. A browser states by itself where a
//! request comes from (`Host`, `Origin`, `Sec-Fetch-Site`), and no page of another origin can add a header of
//! ours. Pure: looks at one request's head.

use std::net::IpAddr;
use std::path::Path;

use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, AsHeaderName, HOST, HeaderMap, HeaderValue, ORIGIN};
use axum::http::uri::Authority;
use axum::http::{Method, StatusCode, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::Guarded;
use crate::files::shows_token;
use crate::floods::Kind;
use crate::text::clip_to;

/// What a request that changes something carries, with any value.
pub const ORDER_HEADER: &str = "x-xds-bridge";

/// In which a browser states from what kind of page a request comes.
const FETCH_SITE: &str = "sec-fetch-site";

/// Who sends a request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer(pub(super) IpAddr);

/// How much of a client's text a response or a log line repeats.
const CLIP: usize = 100;

const REFUSED: Kind = Kind::new("admin requests refused");

/// Why a request is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    /// Another name that leads here: DNS rebinding, or a name that the operator has to allow.
    #[error(
        "the host `{0}` is not one of this bridge: use its IP address, or add the name to admin.hosts in bridge.toml"
    )]
    Host(String),
    /// A page of another origin.
    #[error("requests from web pages of another origin (`{0}`) are refused")]
    Origin(String),
    /// Without a token.
    #[error(
        "orders from other machines need a token: set admin.token_file in bridge.toml, and send Authorization: Bearer TOKEN"
    )]
    Remote,
    /// Not the token.
    #[error("this order needs the token of admin.token_file, as Authorization: Bearer TOKEN")]
    NoToken,
    /// There is no token to compare with.
    #[error("no order is taken: admin.token_file cannot be read")]
    NoFile,
    /// No order of ours.
    #[error("a request that changes something needs the header `{ORDER_HEADER}: 1`")]
    NoHeader,
}

/// `/healthz` reveals only that the process is alive, and load balancers use any name for it.
pub(super) async fn guard(State(guarded): State<Guarded>, request: Request, next: Next) -> Response {
    if request.uri().path() == "/healthz" && matches!(*request.method(), Method::GET | Method::HEAD) {
        return next.run(request).await;
    }
    let authority = request.uri().authority().map(Authority::as_str);
    let mut checked = check(&guarded.hosts, request.method(), authority, request.headers());
    let is_order = !is_read(request.method()) || holds_a_place(request.uri());
    if checked.is_ok() && is_order {
        let peer = request.extensions().get::<Peer>().map(|peer| peer.0);
        checked = authorized(guarded.token.as_deref(), peer, request.headers()).await;
    }
    let Err(refusal) = checked else {
        return next.run(request).await;
    };
    guarded.metrics.admin_refused.inc();
    if guarded.floods.has_line(REFUSED, None) {
        tracing::warn!(path = clipped(request.uri().path()), reason = %refusal, "a request to the admin port is refused");
    }
    (StatusCode::FORBIDDEN, format!("{refusal}\n")).into_response()
}

/// Some reads do so for minutes; `/wait` has all Envoys report each second, too.
fn holds_a_place(uri: &Uri) -> bool {
    let path = uri.path();
    let waits = uri
        .query()
        .is_some_and(|query| query.split('&').any(|pair| pair.starts_with("wait=")));
    if path == "/events" && waits {
        return true;
    }
    path == "/wait" || (path.starts_with("/rollouts/") && path.ends_with("/events"))
}

fn check(
    hosts: &[String],
    method: &Method,
    authority: Option<&str>,
    headers: &HeaderMap,
) -> Result<(), Refusal> {
    let mut named = authority.into_iter().chain(texts(headers, HOST));
    // Without any it is HTTP/1.0 or a hand-made probe: no browser sends that.
    if let Some(foreign) = named.find(|host| !is_ours(hosts, host)) {
        return Err(Refusal::Host(clipped(foreign)));
    }
    let host = texts(headers, HOST).next();
    for origin in texts(headers, ORIGIN) {
        let its_host = origin.strip_prefix("http://").or(origin.strip_prefix("https://"));
        if !host.is_some_and(|host| its_host.is_some_and(|its| its.eq_ignore_ascii_case(host))) {
            return Err(Refusal::Origin(clipped(origin)));
        }
    }
    if let Some(site) = texts(headers, FETCH_SITE).find(|site| !matches!(*site, "same-origin" | "none")) {
        return Err(Refusal::Origin(clipped(site)));
    }
    if !is_read(method) && !headers.contains_key(ORDER_HEADER) {
        return Err(Refusal::NoHeader);
    }
    Ok(())
}

fn is_read(method: &Method) -> bool {
    [Method::GET, Method::HEAD, Method::OPTIONS].contains(method)
}

/// Whether this client may give orders.
async fn authorized(token: Option<&Path>, peer: Option<IpAddr>, headers: &HeaderMap) -> Result<(), Refusal> {
    let Some(file) = token else {
        let local = peer.is_some_and(|peer| peer.to_canonical().is_loopback());
        return if local { Ok(()) } else { Err(Refusal::Remote) };
    };
    let shown = headers.get(AUTHORIZATION).map(HeaderValue::as_bytes);
    match shows_token(file, shown).await {
        Ok(true) => Ok(()),
        Ok(false) => Err(Refusal::NoToken),
        Err(error) => {
            tracing::warn!(file = %file.display(), %error, "admin.token_file cannot be read: no order is taken");
            Err(Refusal::NoFile)
        }
    }
}

/// All values of a header. What is no text is no value that we would accept.
fn texts(headers: &HeaderMap, name: impl AsHeaderName) -> impl Iterator<Item = &str> {
    let values = headers.get_all(name).into_iter();
    values.map(|value| value.to_str().unwrap_or("?"))
}

/// An IP address cannot be rebound; a name leads where its owner's DNS points.
fn is_ours(hosts: &[String], host: &str) -> bool {
    if hosts.iter().any(|ours| ours == "*") {
        return true;
    }
    let Some(authority) = host.parse::<Authority>().ok().filter(|_| !host.contains('@')) else {
        return false;
    };
    let name = authority.host();
    let bare = name
        .strip_prefix('[')
        .and_then(|name| name.strip_suffix(']'))
        .unwrap_or(name);
    if bare.parse::<IpAddr>().is_ok() {
        return true;
    }
    let name = name.strip_suffix('.').unwrap_or(name);
    name.eq_ignore_ascii_case("localhost") || hosts.iter().any(|ours| ours.eq_ignore_ascii_case(name))
}

fn clipped(text: &str) -> String {
    clip_to(text, CLIP)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(method: &Method, headers: &[(&'static str, &str)]) -> Result<(), Refusal> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        check(&["bridge.example".to_owned()], method, None, &map)
    }

    #[test]
    fn addresses_localhost_and_configured_names_are_ours() {
        for host in [
            "127.0.0.1:18001",
            "10.1.2.3",
            "[::1]:18001",
            "LocalHost:18001",
            "localhost.",
            "Bridge.example:80",
        ] {
            assert_eq!(asked(&Method::GET, &[("host", host)]), Ok(()), "{host}");
        }
        for host in [
            "other.example:18001",
            "127.0.0.1.other.example",
            "bridge.example.other.example",
            "localhost.other.example",
            "user@127.0.0.1",
            "",
            "a b",
        ] {
            let refused = asked(&Method::GET, &[("host", host)]);
            assert_eq!(refused, Err(Refusal::Host(host.to_owned())));
        }
        assert_eq!(asked(&Method::GET, &[]), Ok(()), "no browser");
        let two = [("host", "127.0.0.1"), ("host", "other.example")];
        assert!(asked(&Method::GET, &two).is_err());
        assert!(check(&[], &Method::GET, Some("other.example"), &HeaderMap::new()).is_err());
        assert!(is_ours(&["*".to_owned()], "other.example"));
    }

    #[test]
    fn pages_of_other_origins_are_refused() {
        let host = ("host", "127.0.0.1:18001");
        for (name, value, ours) in [
            ("origin", "http://127.0.0.1:18001", true),
            ("origin", "https://127.0.0.1:18001", true),
            ("origin", "http://127.0.0.1:9999", false),
            ("origin", "http://other.example", false),
            ("origin", "null", false),
            ("sec-fetch-site", "same-origin", true),
            ("sec-fetch-site", "none", true),
            ("sec-fetch-site", "same-site", false),
            ("sec-fetch-site", "cross-site", false),
        ] {
            assert_eq!(
                asked(&Method::GET, &[host, (name, value)]).is_ok(),
                ours,
                "{name}: {value}"
            );
        }
    }

    #[tokio::test]
    async fn orders_come_from_this_machine_or_with_the_token() {
        let local: Option<IpAddr> = Some([127, 0, 0, 1].into());
        let remote: Option<IpAddr> = Some([10, 0, 0, 1].into());
        let none = HeaderMap::new();
        assert_eq!(authorized(None, local, &none).await, Ok(()));
        for peer in [remote, None] {
            assert_eq!(authorized(None, peer, &none).await, Err(Refusal::Remote));
        }
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        let token = Some(&*file);
        assert_eq!(authorized(token, local, &none).await, Err(Refusal::NoFile));
        std::fs::write(&file, "\n").unwrap();
        assert_eq!(authorized(token, local, &none).await, Err(Refusal::NoFile));
        std::fs::write(&file, "secret\n").unwrap();
        for (shown, wanted) in [
            ("Bearer secret", Ok(())),
            ("Bearer secre", Err(Refusal::NoToken)),
            ("Bearer secret2", Err(Refusal::NoToken)),
            ("Bearer ", Err(Refusal::NoToken)),
            ("secret", Err(Refusal::NoToken)),
        ] {
            let headers = HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from_static(shown))]);
            assert_eq!(authorized(token, remote, &headers).await, wanted, "{shown}");
        }
        assert_eq!(authorized(token, local, &none).await, Err(Refusal::NoToken));
    }

    #[test]
    fn what_changes_something_needs_a_header_that_no_form_can_send() {
        let host = ("host", "localhost");
        assert_eq!(asked(&Method::POST, &[host]), Err(Refusal::NoHeader));
        assert_eq!(asked(&Method::POST, &[host, (ORDER_HEADER, "1")]), Ok(()));
    }
}
