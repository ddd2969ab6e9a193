//! `[xds]`, its TLS files and its rules for clients. Files are not opened here.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use super::reader::Section;
use super::{ClientRule, TlsFiles, Xds, parse};

pub(super) fn read(mut s: Section<'_>, base: &Path) -> Xds {
    let listen: SocketAddr = s.get_or("listen", ([127, 0, 0, 1], 18000).into(), parse::socket);
    let allow_plaintext = s.get_or("allow_plaintext", false, parse::switch);
    let wants_tls = s.has("tls");
    let tls = s.optional("tls").and_then(|tls| files(tls, base));
    if !listen.ip().is_loopback() && !allow_plaintext && !wants_tls {
        s.mistake(
            "listen",
            format!(
                "{listen} is reachable from other machines, and the port has no TLS: \
                 use 127.0.0.1, add [xds.tls], or say allow_plaintext = true"
            ),
        );
    }
    let clients: Vec<ClientRule> = s.tables("clients").into_iter().filter_map(rule).collect();
    // With mistakes in [xds.tls] it cannot be known what it will say.
    let certified = tls.as_ref().map_or(wants_tls, |tls| tls.client_ca.is_some());
    if !clients.is_empty() && !certified {
        s.mistake(
            "clients[0]",
            "needs client_ca in [xds.tls]: without it no client shows a certificate",
        );
    }
    let settle = s.get_or("settle", Duration::from_millis(10), parse::duration);
    let settle_max = s.get_or(
        "settle_max",
        settle.max(Duration::from_millis(100)),
        parse::duration,
    );
    if settle_max < settle {
        s.mistake("settle_max", "must not be below settle");
    }
    let xds = Xds {
        listen,
        allow_plaintext,
        settle,
        settle_max,
        shutdown_timeout: s.get_or("shutdown_timeout", Duration::from_secs(10), parse::duration),
        max_streams: s.get_or("max_streams", 20_000, parse::count(1, 10_000_000)),
        max_names: s.get_or("max_names", 200_000, parse::count(1, 10_000_000)),
        hold_rejected: s.get_or(
            "on_rejected",
            false,
            parse::word(&[("send", false), ("hold", true)]),
        ),
        max_connections: s.get_or("max_connections", 10_000, parse::count(1, 1_000_000)),
        max_streams_per_connection: number(&mut s, "max_streams_per_connection", 10_000),
        max_request_bytes: s.get_or("max_request_bytes", 16 << 20, parse::count(1 << 10, 1 << 30)),
        max_request_memory: s.get_or("max_request_memory", 64 << 20, parse::count(1 << 20, 1 << 40)),
        max_requests_per_second: number(&mut s, "max_requests_per_second", 1_000),
        new_streams_per_second: number(&mut s, "new_streams_per_second", 2_000),
        max_first_responses: s.get_or("max_first_responses", 64, parse::count(1, 1_000_000)),
        max_stream_age: s.get_or("max_stream_age", Duration::ZERO, parse::duration),
        tls,
        clients,
    };
    s.finish();
    xds
}

fn number(s: &mut Section<'_>, key: &'static str, default: u32) -> u32 {
    let read = s.get(key, parse::count(1, 1_000_000));
    read.and_then(|n| u32::try_from(n).ok()).unwrap_or(default)
}

/// `None` only beside a mistake.
fn files(mut s: Section<'_>, base: &Path) -> Option<TlsFiles> {
    let certificate = s.need("certificate", "\"tls/bridge.pem\"", parse::text);
    let key = s.need("key", "\"tls/bridge-key.pem\"", parse::text);
    let client_ca = s.get("client_ca", parse::text);
    let crl = s.get("crl", parse::text);
    if crl.is_some() && client_ca.is_none() {
        s.mistake(
            "crl",
            "needs client_ca: without it no client shows a certificate that could be revoked",
        );
    }
    s.finish();
    Some(TlsFiles {
        certificate: base.join(certificate?),
        key: base.join(key?),
        client_ca: client_ca.map(|path| base.join(path)),
        crl: crl.map(|path| base.join(path)),
    })
}

/// `None` only beside a mistake.
fn rule(mut s: Section<'_>) -> Option<ClientRule> {
    let san = s.need(
        "san",
        "\"spiffe://shop/ns/edge/*\" or \"dns:edge-*.example\"",
        parse::san_pattern,
    );
    let mut claims = |key, missing| s.need_list(key, missing, parse::text);
    let node_ids = claims(
        "node_ids",
        "which node ids may it claim? for example node_ids = [\"edge-*\"]",
    );
    let fleets = claims(
        "fleets",
        "which fleets (node.cluster) may it claim? for example fleets = [\"edge\"]",
    );
    s.finish();
    Some(ClientRule {
        san: san?,
        node_ids: node_ids?,
        fleets: fleets?,
    })
}
