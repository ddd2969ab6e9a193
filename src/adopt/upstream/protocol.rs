//! What the servers of a cluster speak, and TLS to them, as keys of a service. Pure.

use super::super::Identity;
use super::super::at::{At, Fields};
use super::super::report::Change;
use super::{Upstream, change};
use crate::text::show_duration;

/// Whom Envoy's own machine trusts.
const SYSTEM_CA: &str = "/etc/ssl/certs/ca-certificates.crt";

impl Upstream {
    pub(super) fn protocol(&mut self, fields: &mut Fields<'_>, grpc: bool) {
        let mut http2 = fields.take("http2_protocol_options");
        if let Some(at) = fields.take("http_protocol_options") {
            self.rests.extend(at.fields().rests());
        }
        if let Some(at) = fields.take("common_http_protocol_options") {
            self.common(&at);
        }
        for (name, at) in fields
            .take("typed_extension_protocol_options")
            .iter()
            .flat_map(At::entries)
        {
            if name != crate::translate::cluster::HTTP_OPTIONS {
                self.rests.push(at.not_expressed());
                continue;
            }
            let mut options = at.fields();
            if let Some(at) = options.take("common_http_protocol_options") {
                self.common(&at);
            }
            if let Some(at) = options.take("explicit_http_config") {
                let mut explicit = at.fields();
                if let Some(at) = explicit.take("http_protocol_options") {
                    self.rests.extend(at.fields().rests());
                }
                http2 = explicit.take("http2_protocol_options").or(http2);
                self.rests.extend(explicit.rests());
            }
            self.rests.extend(options.rests());
        }
        if let Some(at) = http2 {
            self.key("protocol", if grpc { "grpc" } else { "http2" });
            self.http2(&at);
        } else {
            self.key("protocol", "http1");
            if !self.keys.contains_key("idle-timeout") {
                self.changes.push(Change {
                    at: self.at.clone(),
                    what: "idle connections to its servers are closed after `clusters.idle_timeout`, 4 s, no longer after an \
                           hour (the key `idle-timeout` sets it)"
                        .to_owned(),
                });
            }
        }
    }
    pub(super) fn http2(&mut self, at: &At<'_>) {
        let mut fields = at.fields();
        let mut words = Vec::new();
        for (field, word) in [
            ("max_concurrent_streams", "streams"),
            ("initial_stream_window_size", "window"),
            ("initial_connection_window_size", "connection-window"),
        ] {
            if let Some(number) = fields.take(field).and_then(|at| at.number()) {
                words.push(format!("{word}={number}"));
            }
        }
        if let Some(at) = fields.take("connection_keepalive") {
            let mut of = at.fields();
            for (field, word) in [("interval", "keepalive"), ("timeout", "keepalive-timeout")] {
                if let Some(time) = of.take(field).and_then(|at| at.duration()) {
                    words.push(format!("{word}={}", show_duration(time)));
                }
            }
            self.rests.extend(of.rests());
        }
        if !words.is_empty() {
            self.key("http2", words.join(" "));
        }
        self.rests.extend(fields.rests());
    }

    pub(super) fn common(&mut self, at: &At<'_>) {
        let mut fields = at.fields();
        for (field, key) in [
            ("idle_timeout", "idle-timeout"),
            ("max_connection_duration", "max-connection-duration"),
        ] {
            if let Some(time) = fields.take(field).and_then(|at| at.duration()) {
                self.key(key, show_duration(time));
            }
        }
        if let Some(number) = fields
            .take("max_requests_per_connection")
            .and_then(|at| at.number())
        {
            self.key("max-requests-per-connection", number.to_string());
        }
        self.rests.extend(fields.rests());
    }

    /// TLS to the servers: with a name that is checked, by a CA in a file.
    pub(super) fn encrypted(&mut self, at: &At<'_>) {
        let config = at
            .get("typed_config")
            .filter(|config| config.type_name() == "UpstreamTlsContext");
        let Some(config) = config else {
            return self.rests.push(at.not_expressed());
        };
        let mut of = config.fields();
        let sni = of.take("sni");
        let sni = sni.as_ref().and_then(At::text).filter(|sni| !sni.is_empty());
        let Some((sni, common)) = sni.zip(of.take("common_tls_context")) else {
            return self
                .rests
                .push(config.rest("it needs an `sni`, whose certificate is checked"));
        };
        self.rests.extend(of.rests());
        let mut of = common.fields();
        of.ignore(&["alpn_protocols"]);
        let file = |at: &At<'_>, key: &str| at.get(key)?.text_of("filename").map(str::to_owned);
        let own = of.take("tls_certificates");
        let own = own.as_ref().and_then(|all| all.items().into_iter().next());
        let own = own.and_then(|one| file(&one, "certificate_chain").zip(file(&one, "private_key")));
        let validation = of.take("validation_context");
        self.rests.extend(of.rests());
        let ca = validation.as_ref().and_then(|at| file(at, "trusted_ca"));
        let Some((validation, ca)) = validation.zip(ca) else {
            return self
                .rests
                .push(common.rest("servers whose certificate nobody checks stay in the file"));
        };
        let mut of = validation.fields();
        of.ignore(&["trusted_ca"]);
        let names = of.take("match_typed_subject_alt_names");
        let names = names.iter().flat_map(At::items).collect::<Vec<_>>();
        self.rests.extend(of.rests());
        let san = match &names[..] {
            [] => {
                let what =
                    "the server's certificate must have the name of its SNI, not only be signed by the CA";
                self.changes.push(change(&validation, what));
                None
            }
            [one] => {
                let exact = one.get("matcher");
                let exact = exact
                    .as_ref()
                    .and_then(|at| at.text_of("exact"))
                    .map(str::to_owned);
                if exact.is_none() {
                    self.rests.push(one.not_expressed());
                }
                exact
            }
            [_, second, ..] => return self.rests.push(second.not_expressed()),
        };
        let name = if own.is_none() && ca == SYSTEM_CA {
            "system".to_owned()
        } else {
            let name = super::super::assemble::sanitised(&format!("to-{}", self.service));
            let ca = Some(ca);
            self.tls = Some((name.clone(), Identity { own, ca }));
            name
        };
        let san = san
            .filter(|san| san != sni)
            .map_or_else(String::new, |san| format!(" san={san}"));
        self.key("tls", format!("{name} sni={sni}{san}"));
        let protocol = match self.keys.get("protocol").map(String::as_str) {
            Some("http2") => "https2",
            Some("grpc") => "grpcs",
            _ => "https",
        };
        self.key("protocol", protocol);
    }
}
