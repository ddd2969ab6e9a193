//! The labels of the metrics.

use prometheus_client::encoding::EncodeLabelSet;

/// Labels of a source's condition.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct SourceKind {
    /// Its name.
    pub source: String,
    /// `file`, `etcd`, `consul`
    pub kind: String,
}

/// Labels of what is counted per source.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct BySource {
    /// Its name.
    pub source: String,
}

/// Labels of a source's state.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct ByState {
    /// Its name.
    pub source: String,
    /// `connecting`, `live`, `empty`, `away`
    pub state: &'static str,
}

/// Label of one service.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct ByService {
    /// Its name.
    pub service: String,
}

/// Labels of one entry with an issue.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct ByEntry {
    /// Its source.
    pub source: String,
    /// The registry's name of it.
    pub entry: String,
    /// `rejected` or `warning`
    pub severity: String,
}

/// Labels per resource type.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct ByType {
    /// `cds`, `eds`, `lds`, `rds`
    pub r#type: &'static str,
}

/// Labels per protocol variant.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct ByVariant {
    /// `delta` or `sotw`
    pub variant: &'static str,
}

/// Why a stream was refused or ended by us.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
pub enum Reason {
    /// The sources have not delivered yet.
    NotReady,
    /// `xds.max_streams`
    Streams,
    /// Too many began at once: `xds.new_streams_per_second`
    Queue,
    /// `xds.clients`
    Identity,
    /// `xds.max_names`
    Names,
    /// `xds.max_request_bytes`
    MessageSize,
    /// Far more requests than `xds.max_requests_per_second`
    Requests,
    /// A request that had begun did not arrive in time.
    Late,
    /// A breach of the protocol.
    Protocol,
}

/// A bound that was met by delay, or by closing a connection.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
pub enum Limit {
    /// `xds.max_connections`: closed.
    Connections,
    /// TLS handshakes at once: the next waits.
    Handshakes,
    /// `xds.max_streams_per_connection`: the next waits.
    StreamsPerConnection,
    /// `xds.new_streams_per_second`: waits for its turn.
    NewStreams,
    /// `xds.max_first_responses`: waits for a place.
    FirstResponses,
    /// `xds.max_requests_per_second`: read later.
    Requests,
    /// `xds.max_request_memory`: the connection that holds the most is closed.
    RequestMemory,
    /// Zones of clients that are distinguished: further ones make no difference.
    Places,
    /// Load reports: read later, or not in full.
    LoadReports,
    /// Errors of access logs: read later, or not shown by kind.
    RequestErrors,
}

impl Reason {
    pub(super) const ALL: [Self; 9] = [
        Self::NotReady,
        Self::Streams,
        Self::Queue,
        Self::Identity,
        Self::Names,
        Self::MessageSize,
        Self::Requests,
        Self::Late,
        Self::Protocol,
    ];

    /// Those that a stream of load reports, or of access logs, can have.
    pub(super) const OF_REPORTS: [Self; 7] = [
        Self::Streams,
        Self::Queue,
        Self::Identity,
        Self::MessageSize,
        Self::Requests,
        Self::Late,
        Self::Protocol,
    ];

    pub(super) const fn label(self) -> ByReason {
        let reason = match self {
            Self::NotReady => "not_ready",
            Self::Streams => "streams",
            Self::Queue => "queue",
            Self::Identity => "identity",
            Self::Names => "names",
            Self::MessageSize => "message_size",
            Self::Requests => "requests",
            Self::Late => "late",
            Self::Protocol => "protocol",
        };
        ByReason { reason }
    }
}

/// What became of an event on its way to a webhook.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
pub enum Sent {
    /// The receiver has it.
    Arrived,
    /// After all attempts, or at once where the same would fail again.
    GivenUp,
    /// Too many waited already.
    Lost,
}

impl Sent {
    pub(super) const ALL: [Self; 3] = [Self::Arrived, Self::GivenUp, Self::Lost];

    pub(super) const fn label(self) -> ByOutcome {
        let outcome = match self {
            Self::Arrived => "arrived",
            Self::GivenUp => "given_up",
            Self::Lost => "lost",
        };
        ByOutcome { outcome }
    }
}

/// Label of [`Sent`].
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct ByOutcome {
    outcome: &'static str,
}

impl Limit {
    pub(super) const ALL: [Self; 10] = [
        Self::Connections,
        Self::Handshakes,
        Self::StreamsPerConnection,
        Self::NewStreams,
        Self::FirstResponses,
        Self::Requests,
        Self::RequestMemory,
        Self::Places,
        Self::LoadReports,
        Self::RequestErrors,
    ];

    pub(super) const fn label(self) -> ByLimit {
        let limit = match self {
            Self::Connections => "connections",
            Self::Handshakes => "handshakes",
            Self::StreamsPerConnection => "streams_per_connection",
            Self::NewStreams => "new_streams_per_second",
            Self::FirstResponses => "first_responses",
            Self::Requests => "requests_per_second",
            Self::RequestMemory => "request_memory",
            Self::Places => "places",
            Self::LoadReports => "load_reports",
            Self::RequestErrors => "request_errors",
        };
        ByLimit { limit }
    }
}

/// Label of [`Reason`].
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct ByReason {
    reason: &'static str,
}

/// Label of [`Limit`].
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct ByLimit {
    limit: &'static str,
}
