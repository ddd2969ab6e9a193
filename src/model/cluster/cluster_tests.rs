//! What is read, what is refused, and that each value is shown as it can be declared.

use super::ClusterKeys;
use crate::model::declaration::{self, Spelling};
use crate::model::key::Key;
use crate::model::policy::{Policy, Protocol};

/// The policy that declares one key, or the warning about its value.
fn read(key: &str, value: &str) -> Result<Policy, String> {
    let mut issues = Vec::new();
    let declared = declaration::parse("x", Spelling::Plain, [(key, value)], &mut issues);
    match issues.pop() {
        None => Ok(declared.policy),
        Some(issue) => Err(issue.reason),
    }
}

#[test]
fn a_value_is_shown_as_it_can_be_declared() {
    for (key, value) in [
        ("lb", "round_robin"),
        ("lb", "least_request"),
        ("lb", "random"),
        ("lb", "ring_hash"),
        ("lb", "maglev"),
        ("lb", "wrr"),
        ("health-check", "http:/healthz"),
        (
            "health-check",
            "http:/a?b=c:d interval=10s timeout=2s unhealthy=3 healthy=2 host=a.example:80 status=200-399",
        ),
        ("health-check", "http:/ status=204"),
        ("health-check", "http:/ status=200-299,404"),
        ("health-check", "grpc interval=100ms"),
        ("health-check", "grpc:shop.Orders host=a"),
        ("health-check", "tcp timeout=1.5s"),
        ("outlier", "off"),
        (
            "outlier",
            "errors=5 gateway-errors=3 failure-rate=50% interval=10s ejection=30s max-ejected=50%",
        ),
        ("outlier", "max-ejected=100%"),
        ("limits", "connections=1 pending=2 requests=3 retries=0"),
        ("limits", "requests=4294967295 retry-budget=20% min-retries=0"),
        ("connect-timeout", "250ms"),
        ("max-connection-duration", "0s"),
        ("max-requests-per-connection", "0"),
        ("max-requests-per-connection", "4294967295"),
        ("tcp-keepalive", "60s"),
        ("tcp-keepalive", "idle=60s interval=10s probes=3"),
        ("tcp-keepalive", "probes=3"),
        (
            "http2",
            "streams=100 window=1MiB connection-window=64KiB keepalive=30s keepalive-timeout=5s",
        ),
        ("http2", "window=65535"),
        ("proxy-protocol", "v1"),
        ("proxy-protocol", "v2"),
        ("slow-start", "30s"),
    ] {
        let policy = read(key, value).unwrap();
        let key = Key::parse(key).unwrap();
        assert_eq!(policy.shown(key).as_deref(), Some(value), "{key}");
    }
    for (key, value, shown) in [
        ("tcp-keepalive", "idle=1m", "60s"),
        ("http2", "window=1048576", "window=1MiB"),
        ("outlier", "ejection=30s errors=5", "errors=5 ejection=30s"),
        ("health-check", "http:/  status=200-200", "http:/ status=200"),
    ] {
        let policy = read(key, value).unwrap();
        assert_eq!(policy.shown(Key::parse(key).unwrap()).as_deref(), Some(shown));
        assert_eq!(read(key, shown).unwrap(), policy);
    }
}

#[test]
fn a_wrong_value_says_what_would_be_right() {
    for (key, value, words) in [
        ("lb", "p2c", "round_robin, least_request"),
        ("health-check", "", "http:/PATH, grpc"),
        ("health-check", "http:healthz", "http:/PATH"),
        ("health-check", "http:/ä", "visible ASCII"),
        ("health-check", "grpc:", "grpc:SERVICE"),
        ("health-check", "udp", "or tcp"),
        ("health-check", "tcp host=a", "`host=` is not known here"),
        ("health-check", "grpc status=200", "`status=` is not known here"),
        ("health-check", "tcp 10s", "`10s` is not name=value"),
        ("health-check", "tcp interval=0s", "from 100ms to 86400s"),
        ("health-check", "tcp timeout=0s", "from 1ms to 86400s"),
        ("health-check", "tcp healthy=0", "from 1 to 100"),
        ("health-check", "tcp healthy=1 healthy=2", "stands twice"),
        ("health-check", "http:/ host=a/b", "a host name"),
        ("health-check", "http:/ host=a:0", "a host name"),
        ("health-check", "http:/ status=200-600", "from 100 to 599"),
        ("health-check", "http:/ status=300-200", "from 100 to 599"),
        ("health-check", "http:/ status=1,2,3,4,5,6,7,8,9", "at most 8"),
        ("outlier", "", "off, or words"),
        ("outlier", "on", "`on` is not name=value (errors="),
        ("outlier", "errors=0", "from 1 to 10000"),
        ("outlier", "max-ejected=101%", "from 1% to 100%"),
        ("outlier", "max-ejected=50", "from 1% to 100%"),
        ("outlier", "ejection=0s", "from 100ms"),
        ("limits", "", "words such as"),
        ("limits", "connections=0", "from 1 to 4294967295"),
        ("limits", "requests=4294967296", "from 1 to 4294967295"),
        ("limits", "retry-budget=0%", "from 1% to 100%"),
        ("limits", "retries=1 retry-budget=20%", "not both"),
        ("limits", "min-retries=1", "needs `retry-budget=`"),
        ("connect-timeout", "0s", "from 1ms to 86400s"),
        ("max-connection-duration", "1d", "is not a duration"),
        ("max-requests-per-connection", "-1", "from 0 to 4294967295"),
        ("tcp-keepalive", "", "whole seconds"),
        ("tcp-keepalive", "1.5s", "whole seconds"),
        ("tcp-keepalive", "idle=10h", "from 1s to 32767s"),
        ("tcp-keepalive", "probes=128", "from 1 to 127"),
        ("http2", "", "words such as"),
        ("http2", "streams=2147483648", "from 1 to 2147483647"),
        ("http2", "window=63KiB", "from 65535 to 2147483647 bytes"),
        ("http2", "window=2GiB", "a size such as 64KiB"),
        ("http2", "window=4096MiB", "a size such as 64KiB"),
        ("http2", "keepalive=0s", "from 100ms"),
        ("http2", "keepalive-timeout=1s", "needs `keepalive=`"),
        ("proxy-protocol", "v3", "v1 or v2"),
        ("slow-start", "soon", "is not a duration"),
    ] {
        let reason = read(key, value).unwrap_err();
        assert!(reason.contains(words), "{key}={value} → {reason}");
    }
}

#[test]
fn what_does_not_fit_the_protocol_has_no_effect() {
    let all = [
        ("health-check", "grpc"),
        ("max-connection-duration", "1h"),
        ("max-requests-per-connection", "1"),
        ("http2", "streams=1"),
        ("proxy-protocol", "v1"),
        ("slow-start", "30s"),
        ("lb", "random"),
    ];
    let keys = declaration::parse("x", Spelling::Plain, all, &mut Vec::new());
    let keys = keys.policy.cluster;
    let left_out = |protocol| {
        let out: Vec<String> = keys
            .misfits(protocol)
            .iter()
            .map(|(key, _)| key.to_string())
            .collect();
        let fitting = keys.fitting(protocol);
        assert_eq!(fitting.misfits(protocol), [], "{protocol:?}");
        let policy = Policy {
            cluster: fitting,
            ..Policy::default()
        };
        assert_eq!(policy.keys().len() + out.len(), all.len());
        out.join(" ")
    };
    assert_eq!(left_out(Protocol::Http1), "health-check http2 slow-start");
    assert_eq!(left_out(Protocol::Http2), "slow-start");
    assert_eq!(left_out(Protocol::Grpc), "proxy-protocol slow-start");
    assert_eq!(
        left_out(Protocol::Tcp),
        "health-check max-connection-duration max-requests-per-connection http2 slow-start"
    );
    assert_eq!(ClusterKeys::default().misfits(Protocol::Tcp), []);
}
