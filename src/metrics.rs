//! What is counted, in Prometheus' text format at `/metrics`. Each label is
//! bounded: sources and listeners are configured, types are ours, and entries
//! with issues are cut off at [`MAX_ENTRIES`].

mod labels;
mod process;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

pub use labels::{
    ByEntry, ByLimit, ByOutcome, ByReason, ByService, BySource, ByState, ByType, ByVariant, Limit, Reason,
    Sent, SourceKind,
};

use crate::xds::PerKind;

/// Maximum of entries with issues that are named in the metrics; the gauges count all.
pub const MAX_ENTRIES: usize = 100;

/// All metrics of one bridge.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    process: process::Process,
    /// 1: reachable and current; 0: not.
    pub source_up: Family<SourceKind, Gauge>,
    /// 1 for the state that each source is in, 0 for the others.
    pub source_state: Family<ByState, Gauge>,
    /// Services a source knows.
    pub source_services: Family<BySource, Gauge>,
    /// Instances a source knows.
    pub source_instances: Family<BySource, Gauge>,
    /// Changes a source delivered.
    pub source_changes: Family<BySource, Counter>,
    /// Instances that a source no longer knows, served until that is certain.
    pub withheld: Family<BySource, Gauge>,
    /// Of those the addresses that accept connections.
    pub withheld_alive: Family<BySource, Gauge>,
    /// Withheld instances that were removed because they refused connections.
    pub probed_gone: Family<BySource, Counter>,
    /// Values kept from an earlier declaration, since the present one cannot be read.
    pub last_good: Family<BySource, Gauge>,
    /// Services that a source reads in turns, because its registry does not allow a watch for each.
    pub swept: Family<BySource, Gauge>,
    /// Services of which a watch had missed a change that an audit found.
    pub missed: Family<BySource, Counter>,
    /// Blocking reads that something on the way to the registry ended.
    pub cut: Family<BySource, Counter>,
    /// How old the last known state is that is served of a source; 0: what it says itself.
    pub stale: Family<BySource, Gauge>,
    /// Last known states that could not be written.
    pub cache_failures: Counter,
    /// Entries that are not served.
    pub entries_rejected: Family<BySource, Gauge>,
    /// Entries by name, rejected or with a warning.
    pub entry_issue: Family<ByEntry, Gauge>,
    /// Services of the merged catalog.
    pub services: Gauge,
    /// Services with failing instances and no healthy one.
    pub services_all_unhealthy: Gauge,
    /// The first hundred of them.
    pub service_all_unhealthy: Family<ByService, Gauge>,
    /// Services all of whose instances are off.
    pub services_all_off: Gauge,
    /// The first hundred of them.
    pub service_all_off: Family<ByService, Gauge>,
    /// Services without instances whose routes are kept.
    pub services_kept: Gauge,
    /// The first hundred of them.
    pub service_kept: Family<ByService, Gauge>,
    /// Listeners whose fleets no connected Envoy is of.
    pub listeners_unused: Gauge,
    /// Claims on requests that another service has.
    pub contested: Gauge,
    /// Services whose versions disagree about the policy.
    pub conflicts: Gauge,
    /// The number of the newest generation.
    pub generation: Gauge,
    /// Resources of the newest generation.
    pub resources: Family<ByType, Gauge>,
    /// Open streams.
    pub streams: Family<ByVariant, Gauge>,
    /// Streams that were refused, or ended by us with an error.
    pub streams_refused: Family<ByReason, Counter>,
    /// Open streams of load reports.
    pub load_streams: Gauge,
    /// Open streams of those who ask for the status of clients.
    pub status_streams: Gauge,
    /// Load reports taken in.
    pub load_reports: Counter,
    /// Streams of load reports that were refused, or ended by us with an error.
    pub load_streams_refused: Family<ByReason, Counter>,
    /// Open streams of access logs.
    pub log_streams: Gauge,
    /// Errors of requests that access logs named.
    pub request_errors: Counter,
    /// Streams of access logs that were refused, or ended by us with an error.
    pub log_streams_refused: Family<ByReason, Counter>,
    /// Events for webhooks of rollouts.
    pub webhooks: Family<ByOutcome, Counter>,
    /// Times that a bound of the port was met.
    pub limits_reached: Family<ByLimit, Counter>,
    /// Open connections of the discovery port.
    pub connections: Gauge,
    /// Clients with which there was no TLS.
    pub tls_handshake_failures: Counter,
    /// Certificates, keys and client CAs taken over from changed files.
    pub tls_reloads: Counter,
    /// Changed files that cannot be used.
    pub tls_reload_failures: Counter,
    /// Requests to the admin port that may come from somebody's web page.
    pub admin_refused: Counter,
    /// Responses sent.
    pub responses: Family<ByType, Counter>,
    /// Resources sent, removals not counted.
    pub resources_sent: Family<ByType, Counter>,
    /// Responses that clients accepted.
    pub acks: Family<ByType, Counter>,
    /// Responses that clients refused.
    pub nacks: Family<ByType, Counter>,
    /// Resources whose present version most clients of some fleet refuse.
    pub rejected: Family<ByType, Gauge>,
    /// From a change's arrival at the hub until it is handed to one stream's connection, in seconds.
    pub change: Histogram,
    /// From a change's arrival at the hub until the last client has acknowledged it, in seconds.
    pub registry_to_ack: Family<ByType, Histogram>,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("xds_bridge"),
            process: process::Process::default(),
            source_up: Family::default(),
            source_state: Family::default(),
            source_services: Family::default(),
            source_instances: Family::default(),
            source_changes: Family::default(),
            withheld: Family::default(),
            withheld_alive: Family::default(),
            probed_gone: Family::default(),
            last_good: Family::default(),
            swept: Family::default(),
            missed: Family::default(),
            cut: Family::default(),
            stale: Family::default(),
            cache_failures: Counter::default(),
            entries_rejected: Family::default(),
            entry_issue: Family::default(),
            services: Gauge::default(),
            services_all_unhealthy: Gauge::default(),
            service_all_unhealthy: Family::default(),
            services_all_off: Gauge::default(),
            service_all_off: Family::default(),
            services_kept: Gauge::default(),
            service_kept: Family::default(),
            listeners_unused: Gauge::default(),
            contested: Gauge::default(),
            conflicts: Gauge::default(),
            generation: Gauge::default(),
            resources: Family::default(),
            streams: Family::default(),
            streams_refused: Family::default(),
            load_streams: Gauge::default(),
            status_streams: Gauge::default(),
            load_reports: Counter::default(),
            load_streams_refused: Family::default(),
            log_streams: Gauge::default(),
            request_errors: Counter::default(),
            log_streams_refused: Family::default(),
            webhooks: Family::default(),
            limits_reached: Family::default(),
            connections: Gauge::default(),
            tls_handshake_failures: Counter::default(),
            tls_reloads: Counter::default(),
            tls_reload_failures: Counter::default(),
            admin_refused: Counter::default(),
            responses: Family::default(),
            resources_sent: Family::default(),
            acks: Family::default(),
            nacks: Family::default(),
            rejected: Family::default(),
            change: Histogram::new(exponential_buckets(0.000_1, 2.0, 18)),
            registry_to_ack: Family::new_with_constructor(|| {
                Histogram::new(exponential_buckets(0.001, 2.0, 18))
            }),
        };
        let m = &mut metrics;
        let r = &mut m.registry;
        m.process.register(r);
        r.register(
            "source_up",
            "1 when the source is reachable and current",
            m.source_up.clone(),
        );
        let text =
            "1 for the state that the source is in: connecting, live, empty (reachable and empty) or away";
        r.register("source_state", text, m.source_state.clone());
        r.register(
            "source_services",
            "Services a source knows",
            m.source_services.clone(),
        );
        r.register(
            "source_instances",
            "Instances a source knows",
            m.source_instances.clone(),
        );
        r.register(
            "source_changes",
            "Changes a source delivered",
            m.source_changes.clone(),
        );
        let text = "Age of the last known state that is served; 0: what the source says itself";
        r.register("source_stale_seconds", text, m.stale.clone());
        let text = "Services read in turns, because the registry does not allow a watch for each";
        r.register("source_swept_services", text, m.swept.clone());
        let text = "Services of which a watch had missed a change that an audit found";
        r.register("source_missed_changes", text, m.missed.clone());
        let text = "Blocking reads that something on the way to the registry ended";
        r.register("source_cut_reads", text, m.cut.clone());
        let text = "Last known states that could not be written";
        r.register("cache_write_failures", text, m.cache_failures.clone());
        let text = "Instances a source no longer knows, served until that is certain";
        r.register("source_withheld_instances", text, m.withheld.clone());
        let text = "Addresses of withheld instances that accept connections";
        r.register("source_withheld_alive_addresses", text, m.withheld_alive.clone());
        let text = "Withheld instances that were removed because they refused connections";
        r.register("source_withheld_gone", text, m.probed_gone.clone());
        let text = "Values kept from an earlier declaration, since the present one cannot be read";
        r.register("source_last_good_values", text, m.last_good.clone());
        r.register(
            "source_entries_rejected",
            "Registry entries that are not served",
            m.entries_rejected.clone(),
        );
        r.register(
            "entry_issue",
            "Registry entries with an issue, the first hundred",
            m.entry_issue.clone(),
        );
        r.register("services", "Services served", m.services.clone());
        let text = "Services all of whose instances are off";
        r.register("services_all_off", text, m.services_all_off.clone());
        let text = "Services all of whose instances are off, the first hundred";
        r.register("service_all_off", text, m.service_all_off.clone());
        let text = "Services without instances whose routes are kept";
        r.register("services_kept", text, m.services_kept.clone());
        let text = "Services without instances whose routes are kept, the first hundred";
        r.register("service_kept", text, m.service_kept.clone());
        let text = "Listeners whose fleets no connected Envoy is of";
        r.register("listeners_unused", text, m.listeners_unused.clone());
        let text = "Claims on requests that another service has";
        r.register("routes_contested", text, m.contested.clone());
        let text = "Services with failing instances and no healthy one";
        r.register("services_all_unhealthy", text, m.services_all_unhealthy.clone());
        let text = "Services with failing instances and no healthy one, the first hundred";
        r.register("service_all_unhealthy", text, m.service_all_unhealthy.clone());
        r.register(
            "policy_conflicts",
            "Services whose versions declare different policies",
            m.conflicts.clone(),
        );
        r.register(
            "generation",
            "Number of the newest generation",
            m.generation.clone(),
        );
        r.register(
            "resources",
            "Resources in the newest generation",
            m.resources.clone(),
        );
        r.register("streams", "Open discovery streams", m.streams.clone());
        r.register(
            "streams_refused",
            "Discovery streams refused",
            m.streams_refused.clone(),
        );
        let text = "Open streams of load reports";
        r.register("load_streams", text, m.load_streams.clone());
        let text = "Open streams of those who ask for the status of clients";
        r.register("status_streams", text, m.status_streams.clone());
        let text = "Load reports of clients that were taken in";
        r.register("load_reports", text, m.load_reports.clone());
        let text = "Streams of load reports refused";
        r.register("load_streams_refused", text, m.load_streams_refused.clone());
        let text = "Open streams of access logs";
        r.register("log_streams", text, m.log_streams.clone());
        let text = "Errors of requests that access logs of Envoys named";
        r.register("request_errors", text, m.request_errors.clone());
        let text = "Streams of access logs refused";
        r.register("log_streams_refused", text, m.log_streams_refused.clone());
        let text = "Events for webhooks of rollouts";
        r.register("webhooks", text, m.webhooks.clone());
        r.register(
            "limits_reached",
            "Times that a bound of the discovery port was met by delay or by closing a connection",
            m.limits_reached.clone(),
        );
        r.register(
            "connections",
            "Open connections of the discovery port",
            m.connections.clone(),
        );
        r.register(
            "tls_handshake_failures",
            "Clients with which there was no TLS",
            m.tls_handshake_failures.clone(),
        );
        r.register(
            "tls_reloads",
            "Changed certificate files that are in use",
            m.tls_reloads.clone(),
        );
        r.register(
            "tls_reload_failures",
            "Changed certificate files that cannot be used",
            m.tls_reload_failures.clone(),
        );
        // Each series is there from the start: an alert needs the step from 0 to 1.
        for reason in Reason::ALL {
            drop(m.streams_refused.get_or_create(&reason.label()));
        }
        for reason in Reason::OF_REPORTS {
            drop(m.load_streams_refused.get_or_create(&reason.label()));
            drop(m.log_streams_refused.get_or_create(&reason.label()));
        }
        for sent in Sent::ALL {
            drop(m.webhooks.get_or_create(&sent.label()));
        }
        for limit in Limit::ALL {
            drop(m.limits_reached.get_or_create(&limit.label()));
        }
        let text = "Requests to the admin port that were refused: a foreign host or web page";
        r.register("admin_requests_refused", text, m.admin_refused.clone());
        r.register("responses", "Discovery responses sent", m.responses.clone());
        r.register("resources_sent", "Resources sent", m.resources_sent.clone());
        r.register("acks", "Responses accepted by clients", m.acks.clone());
        r.register("nacks", "Responses refused by clients", m.nacks.clone());
        r.register(
            "rejected",
            "Resources that most clients of a fleet refuse",
            m.rejected.clone(),
        );
        r.register(
            "change_seconds",
            "From a change's arrival to its response, per stream",
            m.change.clone(),
        );
        let text = "From a change's arrival from its registry to the last client's ACK or refusal";
        r.register("registry_to_ack_seconds", text, m.registry_to_ack.clone());
        // There from the start, at 0: a rate over what appears with the first refusal misses that one.
        for r#type in ["cds", "eds", "lds", "rds"] {
            let by_type = ByType { r#type };
            for family in [&m.responses, &m.resources_sent, &m.acks, &m.nacks] {
                drop(family.get_or_create(&by_type));
            }
            drop(m.rejected.get_or_create(&by_type));
            drop(m.registry_to_ack.get_or_create(&by_type));
        }
        for variant in ["delta", "sotw"] {
            drop(m.streams.get_or_create(&ByVariant { variant }));
        }
        metrics
    }
}

impl Metrics {
    /// A source is gone, or of another kind: its series end.
    pub fn forget_source(&self, source: &str, kind: &str) {
        let source = source.to_owned();
        self.source_up.remove(&SourceKind {
            source: source.clone(),
            kind: kind.to_owned(),
        });
        for state in ["connecting", "live", "empty", "away"] {
            self.source_state.remove(&ByState {
                source: source.clone(),
                state,
            });
        }
        let by_source = BySource { source };
        for counters in [&self.source_changes, &self.probed_gone, &self.missed, &self.cut] {
            counters.remove(&by_source);
        }
        for gauges in [
            &self.source_services,
            &self.source_instances,
            &self.withheld,
            &self.withheld_alive,
            &self.last_good,
            &self.swept,
            &self.stale,
            &self.entries_rejected,
        ] {
            gauges.remove(&by_source);
        }
    }

    /// A stream is refused, or ended by us with an error.
    pub fn refused(&self, reason: Reason) {
        self.streams_refused.get_or_create(&reason.label()).inc();
    }

    /// A stream of load reports is refused, or ended by us with an error.
    pub fn report_refused(&self, reason: Reason) {
        self.load_streams_refused.get_or_create(&reason.label()).inc();
    }

    /// A stream of access logs is refused, or ended by us with an error.
    pub fn log_refused(&self, reason: Reason) {
        self.log_streams_refused.get_or_create(&reason.label()).inc();
    }

    /// What became of an event on its way to a webhook.
    pub fn webhook(&self, sent: Sent) {
        self.webhooks.get_or_create(&sent.label()).inc();
    }

    /// A bound of the port was met.
    pub fn reached(&self, limit: Limit) {
        self.limits_reached.get_or_create(&limit.label()).inc();
    }

    /// Shows how many versions of each type are rejected.
    pub fn count_rejected(&self, by_type: &PerKind<usize>) {
        for (kind, n) in by_type.iter() {
            self.rejected
                .get_or_create(&ByType { r#type: kind.short() })
                .set(count(*n));
        }
    }

    /// The text format.
    #[must_use]
    pub fn text(&self) -> String {
        self.process.look();
        let mut text = String::new();
        // Writing into a String does not fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

/// A count as a gauge takes it.
#[must_use]
pub fn count(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}
