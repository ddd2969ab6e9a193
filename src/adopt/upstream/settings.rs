//! How a cluster balances, connects, limits and checks, as keys of a service. Pure.

use std::time::Duration;

use super::super::at::{At, Fields};
use super::super::report::Change;
use super::{Upstream, change};
use crate::model::Key;
use crate::text::show_duration;

impl Upstream {
    pub(super) fn balancing(&mut self, fields: &mut Fields<'_>) {
        if let Some(at) = fields.take("lb_policy") {
            let word = at.text().unwrap_or_default().to_ascii_lowercase();
            if word != "round_robin" {
                self.key("lb", word);
            }
        }
        for name in ["least_request_lb_config", "round_robin_lb_config"] {
            let Some(at) = fields.take(name) else { continue };
            let mut of = at.fields();
            if let Some(slow) = of.take("slow_start_config") {
                let mut of = slow.fields();
                if let Some(time) = of.take("slow_start_window").and_then(|at| at.duration()) {
                    self.key("slow-start", show_duration(time));
                }
                self.rests.extend(of.rests());
            }
            self.rests.extend(of.rests());
        }
        if let Some(at) = fields.take("common_lb_config") {
            let mut of = at.fields();
            match of.take("healthy_panic_threshold").and_then(|at| at.float()) {
                Some(0.0) => self.key("all-unhealthy", "closed"),
                _ => self.changes.push(change(
                    &at,
                    "unhealthy servers get requests only when none is healthy (healthy_panic_threshold 1 %)",
                )),
            }
            self.rests.extend(of.rests());
        }
    }
    pub(super) fn connections(&mut self, fields: &mut Fields<'_>) {
        let connect = fields.take("connect_timeout").and_then(|at| at.duration());
        let connect = connect.unwrap_or(Duration::from_secs(5));
        if Key::parse("connect-timeout").is_some() {
            self.key("connect-timeout", show_duration(connect));
        } else {
            self.changes.push(Change {
                at: self.at.clone(),
                what: "the timeout of connections is that of [clusters] in bridge.toml".to_owned(),
            });
        }
        if let Some(at) = fields.take("upstream_connection_options") {
            let mut of = at.fields();
            if let Some(at) = of.take("tcp_keepalive") {
                let mut words = Vec::new();
                let mut of = at.fields();
                for (field, word, unit) in [
                    ("keepalive_time", "idle", "s"),
                    ("keepalive_interval", "interval", "s"),
                    ("keepalive_probes", "probes", ""),
                ] {
                    if let Some(number) = of.take(field).and_then(|at| at.number()) {
                        words.push(format!("{word}={number}{unit}"));
                    }
                }
                self.rests.extend(of.rests());
                self.key("tcp-keepalive", words.join(" "));
            }
            self.rests.extend(of.rests());
        }
    }

    pub(super) fn limits(&mut self, fields: &mut Fields<'_>) {
        let Some(at) = fields.take("circuit_breakers") else {
            return self.changes.push(Change {
                at: self.at.clone(),
                what: "no limit of 1024 requests and connections at once (the key `limits` sets one)"
                    .to_owned(),
            });
        };
        let mut of = at.fields();
        let mut words = Vec::new();
        for at in of.take("thresholds").iter().flat_map(At::items) {
            let mut of = at.fields();
            if let Some(at) = of.take("priority")
                && at.text() != Some("DEFAULT")
            {
                self.rests.push(at.not_expressed());
            }
            for (field, word) in [
                ("max_connections", "connections"),
                ("max_pending_requests", "pending"),
                ("max_requests", "requests"),
                ("max_retries", "retries"),
            ] {
                if let Some(number) = of.take(field).and_then(|at| at.number()) {
                    words.push(format!("{word}={number}"));
                }
            }
            if let Some(at) = of.take("retry_budget") {
                let mut of = at.fields();
                let percent = of
                    .take("budget_percent")
                    .and_then(|at| at.float())
                    .unwrap_or(20.0);
                let least = of
                    .take("min_retry_concurrency")
                    .and_then(|at| at.number())
                    .unwrap_or(3);
                words.retain(|word| !word.starts_with("retries="));
                words.push(format!("retry-budget={percent}% min-retries={least}"));
                self.rests.extend(of.rests());
            }
            of.ignore(&["track_remaining"]);
            self.rests.extend(of.rests());
        }
        self.rests.extend(of.rests());
        if !words.is_empty() {
            self.key("limits", words.join(" "));
        }
    }

    pub(super) fn health(&mut self, fields: &mut Fields<'_>) {
        let Some(checks) = fields.take("health_checks") else {
            return;
        };
        let checks = checks.items();
        let [at] = &checks[..] else {
            return self.rests.extend(checks.get(1).map(At::not_expressed));
        };
        let mut of = at.fields();
        let mut words = Vec::new();
        if let Some(at) = of.take("http_health_check") {
            let mut http = at.fields();
            let path = http.take("path");
            words.push(format!(
                "http:{}",
                path.as_ref().and_then(At::text).unwrap_or("/")
            ));
            if let Some(at) = http.take("host") {
                words.push(format!("host={}", at.text().unwrap_or_default()));
            }
            let statuses = http.take("expected_statuses");
            let ranges = statuses.iter().flat_map(At::items).filter_map(|at| {
                let (start, end) = (at.get("start")?.number()?, at.get("end")?.number()?);
                Some(match end.saturating_sub(1) {
                    last if last == start => start.to_string(),
                    last => format!("{start}-{last}"),
                })
            });
            let ranges: Vec<String> = ranges.collect();
            if !ranges.is_empty() {
                words.push(format!("status={}", ranges.join(",")));
            }
            http.ignore(&["codec_client_type"]);
            self.rests.extend(http.rests());
        } else if let Some(at) = of.take("grpc_health_check") {
            let mut grpc = at.fields();
            let service = grpc.take("service_name");
            words.push(match service.as_ref().and_then(At::text) {
                Some(service) if !service.is_empty() => format!("grpc:{service}"),
                _ => "grpc".to_owned(),
            });
            self.rests.extend(grpc.rests());
        } else if let Some(at) = of.take("tcp_health_check") {
            words.push("tcp".to_owned());
            self.rests.extend(at.fields().rests());
        }
        for (field, word) in [("interval", "interval"), ("timeout", "timeout")] {
            if let Some(time) = of.take(field).and_then(|at| at.duration()) {
                words.push(format!("{word}={}", show_duration(time)));
            }
        }
        for (field, word) in [
            ("unhealthy_threshold", "unhealthy"),
            ("healthy_threshold", "healthy"),
        ] {
            if let Some(number) = of.take(field).and_then(|at| at.number()) {
                words.push(format!("{word}={number}"));
            }
        }
        of.ignore(&[
            "reuse_connection",
            "event_log_path",
            "always_log_health_check_failures",
        ]);
        self.rests.extend(of.rests());
        self.key("health-check", words.join(" "));
    }

    pub(super) fn ejection(&mut self, fields: &mut Fields<'_>) {
        let Some(at) = fields.take("outlier_detection") else {
            return;
        };
        let mut of = at.fields();
        let mut words = vec![format!(
            "errors={}",
            of.take("consecutive_5xx").and_then(|at| at.number()).unwrap_or(5)
        )];
        let gateway = of.take("consecutive_gateway_failure").and_then(|at| at.number());
        let enforced = of
            .take("enforcing_consecutive_gateway_failure")
            .and_then(|at| at.number());
        if let (Some(number), Some(1..)) = (gateway, enforced) {
            words.push(format!("gateway-errors={number}"));
        }
        for (field, word) in [("interval", "interval"), ("base_ejection_time", "ejection")] {
            if let Some(time) = of.take(field).and_then(|at| at.duration()) {
                words.push(format!("{word}={}", show_duration(time)));
            }
        }
        if let Some(percent) = of.take("max_ejection_percent").and_then(|at| at.number()) {
            words.push(format!("max-ejected={percent}%"));
        }
        if of.take("enforcing_success_rate").and_then(|at| at.number()) != Some(0) {
            let what = "no server is ejected because others succeed more often (success rate)";
            self.changes.push(change(&at, what));
        }
        self.rests.extend(of.rests());
        self.key("outlier", words.join(" "));
    }
}
