//! Routes as they are written.

use std::time::Duration;

use super::*;
use crate::model::route::criterion::{Criterion, Test};
use crate::model::route::matcher::GrpcMethod;

#[test]
fn a_full_route_is_read() {
    let rule =
        RouteRule::parse("host=API.x path=/orders/ header=X-Canary:1 timeout=2s stream-idle-timeout=0s")
            .unwrap();
    assert_eq!(rule.hosts, ["api.x"]);
    assert_eq!(rule.matcher, Matcher::Prefix("/orders".into()));
    let canary = Criterion::Header {
        name: "x-canary".into(),
        test: Test::Exact("1".into()),
        not: false,
    };
    assert_eq!(rule.criteria, [canary]);
    assert_eq!(rule.timeout, Some(Duration::from_secs(2)));
    assert_eq!(rule.stream_idle_timeout, Some(Duration::ZERO));
    let rule = RouteRule::parse("path=/orders*").unwrap();
    assert_eq!(rule.matcher, Matcher::Characters("/orders".into()));
}

/// Each word, as it is declared.
const ROUTES: &[&str] = &[
    "host=api.x path=/orders/ header=a:1 header=b:2 timeout=1.5s stream-idle-timeout=0s",
    "path=/ timeout=0s",
    "path=/orders* timeout=86400s",
    "path=/orders/*",
    "grpc=shop.Orders/Get stream-idle-timeout=250ms",
    "grpc=shop.Orders retry=unavailable:3",
    "host=*.example.com,api.x exact=/orders/",
    r"host=x regex=/orders/\d+(?:/.*)?",
    "path=/ method=GET,HEAD header=!x header=x-any header=!y:1 header-prefix=p:ab header-regex=!r:a.c",
    "path=/ query=debug query=v:1 query-prefix=p:a query-regex=q:[0-9]+ cookie=s cookie=v:next cookie-prefix=c:a \
     cookie-regex=d:[ab]",
    "path=/ priority=-5 per-try-timeout=1s max-stream-duration=3600s retry=5xx,reset,503:4",
    "path=/ expose=core,edge retry=off",
    "path=/ retry=3",
    "path=/ split=orders:90,orders-next:10 mirror=orders-shadow:0.5% mirror=all",
    "path=/ redirect=https: redirect-code=308",
    "path=/old redirect=//www.example.com:8443/new* redirect-query=drop",
    "exact=/old redirect=/new",
    "path=/ redirect=http://a.example.com",
    "path=/ respond=404",
    "path=/ respond=\"200:all is \\\"well\\\"\"",
    "path=/orders rewrite=/v2 host-rewrite=orders.internal:80",
    r"path=/ regex-rewrite=^/a/(.*)=>/b/\1",
    "path=/ set-header=a:1 add-header=\"b:two words\" remove-header=c set-response-header=d:%START_TIME% \
     add-response-header=e:100%% add-response-header=f:%REQ(x-user)% remove-response-header=server",
    "path=/ cors=https://*.example.com,https://a.x:8443 cors-methods=DELETE,PUT cors-headers=x-a cors-expose=x-b \
     cors-max-age=3600s cors-credentials=true",
    "path=/ upgrade=none",
    "path=/canary version=9f31c2a host-rewrite=*",
    "path=/ default-header=x-a:%PATH(NQ:PATH)% default-response-header=x-b:1",
    "port=5432 expose=db stream-idle-timeout=3600s split=a:1,b:9 hash=ip",
    "sni=*.a.example,b.example terminate=true",
    r"path=/ method=!POST,PUT expose=edge,internal authority-regex=[^.]+\.x(?::80)? authority-regex=!a url-regex=!/p(?:\?.*)? priority=7 imported=traefik set-header=x-forwarded-host:%REQ(:authority)%",
    "path=/ redirect=https://*:8443",
    "path=/ upgrade=websocket hash=header:x-user,cookie:s:60s,query:q,ip",
    "path=/ rate-limit=100/10s:500 jwt=corp compress=gzip,zstd",
    "path=/ rate-limit=5/m compress=none",
    "path=/ allow-ips=10.0.0.0/8,2001:db8::/32 deny-ips=10.1.0.7/32",
];

#[test]
fn a_route_is_shown_as_it_can_be_declared() {
    for text in ROUTES {
        let text = text.replace("path=/orders/ ", "path=/orders ");
        let rule = RouteRule::parse(&text).unwrap();
        assert_eq!(rule.to_string(), text);
        assert_eq!(RouteRule::parse(&rule.to_string()).unwrap(), rule);
    }
    for word in &WORDS {
        let name = format!("{}=", word.name);
        let found = ROUTES
            .iter()
            .flat_map(|text| text.split(' '))
            .any(|part| part.starts_with(&name));
        assert!(found, "no route of this test has the word {name}");
    }
}

#[test]
fn equal_paths_are_equal_however_they_are_written() {
    let paths = |text: &str| RouteRule::parse(text).unwrap().matcher.paths();
    assert_eq!(paths("path=/orders/"), paths("path=/orders"));
    assert_eq!(paths("host=x"), paths("path=/*"));
    assert_eq!(paths("grpc=shop.Orders"), paths("path=/shop.Orders/*"));
    assert_eq!(paths("grpc=shop.Orders/Get"), paths("exact=/shop.Orders/Get"));
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
        ("path=/a exact=/b", "one `path=`"),
        ("grpc=shop..Orders", "package.Service"),
        ("grpc=shop.Orders/", "package.Service"),
        ("host=a:80", "without a port"),
        ("host=*", "*.example.com"),
        ("host=a host=b", "twice"),
        ("header=x=y path=/", "name:value"),
        ("header-prefix=x path=/", "name:value"),
        ("header-regex=x:( path=/", "`header-regex=x:`"),
        ("method=get path=/", "capitals"),
        ("timeout=2 path=/", "duration"),
        ("timeout=99h path=/", "duration"),
        ("timeout=. path=/", "duration"),
        ("timeout=0.4ms path=/", "from 1ms"),
        ("timeout=0.0005s path=/", "from 1ms"),
        ("stream-idle-timeout=2 path=/", "duration"),
        ("timeout=1s timeout=2s path=/", "twice"),
        ("path=/a*b", "last character"),
        ("path=/a//b", "//"),
        ("exact=/a//b", "//"),
        ("exact=/a?b", "no ?"),
        ("weight=2 path=/", "not known"),
        ("regex=/a(", "`regex=/a(`"),
        ("path=/a retry=sometimes", "5xx"),
        ("path=/a retry=5xx:11", "number to 10"),
        ("path=/a retry=5xx:0", "number to 10"),
        ("path=/a priority=high", "whole number"),
        ("path=/a priority=1000001", "whole number"),
        ("path=/a priority=-2147483648", "whole number"),
        ("path=/a version=", "a version"),
        ("path=/a version=a@b", "no @"),
        ("path=/a version=1 split=b:1", "one `split=`, `version=`"),
        ("path=/a version=1 respond=404", "one `split=`, `version=`"),
        ("port=5432 version=1", "beside `port=` only"),
        ("path=/a split=b:1 host-rewrite=*", "own servers"),
        ("path=/a host-rewrite=**", "or *"),
        ("path=/a set-header=x:%PATH%", "PATH(NQ:PATH)"),
        ("path=/a split=orders", "weights"),
        ("path=/a split=a:0", "above 0"),
        ("path=/a split=a:1,a:2", "once"),
        ("path=/a split=a:1 respond=200", "one `split=`"),
        ("path=/a mirror=b:10", "10%"),
        ("path=/a mirror=b:101%", "10%"),
        ("path=/a redirect=www.example.com", "https://www.example.com"),
        ("path=/a redirect=https://", "https://www.example.com"),
        ("path=/a redirect=/b redirect-code=300", "308"),
        ("path=/a redirect-code=301", "need `redirect=`"),
        ("regex=/a.* redirect=/b*", "needs `path=`"),
        ("path=/a respond=100", "200 to 599"),
        ("path=/a rewrite=v2", "starts with /"),
        ("regex=/a.* rewrite=/b", "regex-rewrite"),
        ("grpc=shop.Orders rewrite=/b", "cannot be rewritten"),
        (r"path=/a regex-rewrite=^/(a)=>/\2", "number of a group"),
        ("path=/a regex-rewrite=/b", "what takes its place"),
        ("path=/a rewrite=/b regex-rewrite=/a=>/b", "one `rewrite=`"),
        ("path=/a host-rewrite=a_b:x", "maybe with a port"),
        ("path=/a set-header=x", "name:value"),
        ("path=/a set-header=host:x", "host-rewrite="),
        ("path=/a set-header=:path:x", "not the name"),
        ("path=/a set-header=x:50%", "two %"),
        ("path=/a set-header=x:%NOSUCH%", "two %"),
        ("path=/a cors=shop.example.com", "https://shop.example.com"),
        ("path=/a cors-methods=PUT", "needs `cors=`"),
        ("path=/a cors=* cors-credentials=true", "name the origins"),
        ("path=/a cors=* cors-credentials=yes", "must be true"),
        ("path=/a upgrade=connect", "websocket"),
        ("path=/a hash=user", "header:NAME"),
        ("path=\"/a", "not closed"),
        (r#"path=/ header=x:"\""a\"#, "written down again"),
        (
            "path=/ cookie=session:0123456789012345678901234567890123456789012345678901234567890123456789",
            "too long",
        ),
        (
            "path=/ method=AAAAAAAAAAAAAAAAAA,BBBBBBBBBBBBBBBBBB,CCCCCCCCCCCCCCCCCC,DDDDDDDDDDDDDDDDDD,EEEEEEEEEEEEEEEEEE",
            "too large",
        ),
        (
            "path=/0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567 rewrite=/",
            "too long",
        ),
    ] {
        let message = RouteRule::parse(text).unwrap_err();
        assert!(message.contains(word), "{text:?} → {message}");
    }
}
