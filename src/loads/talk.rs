//! What one client is sent: a response after its first request, and another one when the settings change (rule 55 of
//! docs/xds-rules.md). Pure.

use std::sync::Arc;
use std::time::Duration;

use envoy_types::pb::envoy::service::load_stats::v3::LoadStatsResponse;
use prost::Message as _;

use super::who::Who;

/// How often clients report while nobody waits for it.
pub const SLOW: Duration = Duration::from_secs(10);

/// Envoy reports without a pause where the interval is zero.
const SHORTEST: Duration = Duration::from_millis(100);

/// Clusters that a response names at most: a client that cannot be asked for all reports these.
const NAMED: usize = 10_000;

/// What a client is to report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How often.
    pub interval: Duration,
    /// Which clusters; `None`: all.
    pub clusters: Option<Vec<Arc<str>>>,
}

/// What happens on a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Say {
    /// An encoded `LoadStatsResponse`.
    Response(Vec<u8>),
    /// The stream ends: the client reads no further response, and opens another stream.
    End,
}

/// One stream. [`Self::poll`] says nothing before the client's first request.
#[derive(Debug, Default)]
pub struct Talk {
    sent: Option<Settings>,
}

impl Talk {
    /// What these settings mean for a client: only one that names endpoints has to be quick.
    #[must_use]
    pub fn settings(who: &Who, interval: Duration, clusters: impl FnOnce() -> Vec<Arc<str>>) -> Settings {
        let interval = if who.has_endpoints() { interval } else { SLOW };
        let named = |mut clusters: Vec<Arc<str>>| {
            clusters.sort_unstable();
            clusters.truncate(NAMED);
            clusters
        };
        Settings {
            interval: interval.max(SHORTEST),
            clusters: (!who.sends_all).then(|| named(clusters())),
        }
    }

    /// What the client is sent now, if anything. Each response restarts its timer, so that nothing is sent that it has.
    pub fn poll(&mut self, who: &Who, settings: Settings) -> Option<Say> {
        match &self.sent {
            Some(sent) if *sent == settings => return None,
            // grpc-go reads the first response only.
            Some(_) if !who.has_endpoints() => return Some(Say::End),
            _ => {}
        }
        let interval = settings.interval;
        let response = LoadStatsResponse {
            clusters: settings
                .clusters
                .iter()
                .flatten()
                .map(ToString::to_string)
                .collect(),
            send_all_clusters: settings.clusters.is_none(),
            load_reporting_interval: Some(envoy_types::pb::google::protobuf::Duration {
                seconds: i64::try_from(interval.as_secs()).unwrap_or(i64::MAX),
                nanos: i32::try_from(interval.subsec_nanos()).unwrap_or_default(),
            }),
            report_endpoint_granularity: true,
        };
        self.sent = Some(settings);
        Some(Say::Response(response.encode_to_vec()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loads::Kind;

    fn who(kind: Kind, sends_all: bool) -> Who {
        Who {
            node: "n".into(),
            fleet: String::new(),
            agent: String::new(),
            kind,
            release: None,
            sends_all,
        }
    }

    fn response(say: Option<Say>) -> LoadStatsResponse {
        match say {
            Some(Say::Response(bytes)) => LoadStatsResponse::decode(&*bytes).unwrap(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_envoy_is_sent_each_change_and_nothing_twice() {
        let (envoy, mut talk) = (who(Kind::Envoy, true), Talk::default());
        let mut poll = |interval| talk.poll(&envoy, Talk::settings(&envoy, interval, Vec::new));
        let first = response(poll(SLOW));
        assert!(first.send_all_clusters && first.report_endpoint_granularity && first.clusters.is_empty());
        assert_eq!(first.load_reporting_interval.unwrap().seconds, 10);
        assert_eq!(poll(SLOW), None);
        let quick = response(poll(Duration::from_secs(1)));
        assert_eq!(quick.load_reporting_interval.unwrap().seconds, 1);
        let never_zero = response(poll(Duration::ZERO)).load_reporting_interval.unwrap();
        assert_eq!((never_zero.seconds, never_zero.nanos), (0, 100_000_000));
    }

    #[test]
    fn who_cannot_send_all_is_sent_names_and_a_client_of_grpc_opens_another_stream() {
        let names = |n: usize| {
            let mut names: Vec<Arc<str>> = (0..n).map(|n| format!("svc-{n}").into()).collect();
            names.reverse();
            move || names
        };
        let envoy = who(Kind::OldEnvoy, false);
        let mut talk = Talk::default();
        let mut poll = |n| talk.poll(&envoy, Talk::settings(&envoy, SLOW, names(n)));
        let first = response(poll(2));
        assert!(!first.send_all_clusters);
        assert_eq!(first.clusters, ["svc-0", "svc-1"]);
        assert_eq!(response(poll(3)).clusters.len(), 3);
        assert_eq!(response(poll(NAMED + 1)).clusters.len(), NAMED);
        let grpc = who(Kind::Grpc, false);
        let mut talk = Talk::default();
        let mut poll = |interval, n| talk.poll(&grpc, Talk::settings(&grpc, interval, names(n)));
        response(poll(SLOW, 1));
        assert_eq!(
            poll(Duration::from_secs(1), 1),
            None,
            "it has no endpoints to say"
        );
        assert_eq!(poll(SLOW, 2), Some(Say::End));
    }
}
