//! The keys of the declaration language, as data. What there is to know about each is its row in [`super::keys`].
//! Pure.

/// A key that a server or a policy document declares. They are ordered as their rows are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// `version`
    Version,
    /// `weight`
    Weight,
    /// `zone`
    Zone,
    /// `region`
    Region,
    /// `state`
    State,
    /// `share`
    Share,
    /// `data`
    Data,
    /// `data-reads`
    DataReads,
    /// `protocol`
    Protocol,
    /// `expose`
    Expose,
    /// `route` (1), `route-2`, …
    Route(u32),
    /// `timeout`
    Timeout,
    /// `stream-idle-timeout`
    StreamIdleTimeout,
    /// `per-try-timeout`
    PerTryTimeout,
    /// `max-stream-duration`
    MaxStreamDuration,
    /// `retry`
    Retry,
    /// `hash`
    Hash,
    /// `allow`
    Allow,
    /// `allow-mode`
    AllowMode,
    /// `idle-timeout`
    IdleTimeout,
    /// `all-unhealthy`
    AllUnhealthy,
    /// `needs`
    Needs,
    /// `locality`
    Locality,
    /// `lb`
    Lb,
    /// `health-check`
    HealthCheck,
    /// `outlier`
    Outlier,
    /// `limits`
    Limits,
    /// `connect-timeout`
    ConnectTimeout,
    /// `max-connection-duration`
    MaxConnectionDuration,
    /// `max-requests-per-connection`
    MaxRequestsPerConnection,
    /// `tcp-keepalive`
    TcpKeepalive,
    /// `http2`
    Http2,
    /// `proxy-protocol`
    ProxyProtocol,
    /// `slow-start`
    SlowStart,
    /// `tls`
    Tls,
    /// `rollout`
    Rollout,
    /// `rollout-steps`
    RolloutSteps,
    /// `rollout-step-time`
    RolloutStepTime,
    /// `rollout-min-requests`
    RolloutMinRequests,
    /// `rollout-margin`
    RolloutMargin,
    /// `rollout-deadline`
    RolloutDeadline,
    /// `rollout-no-data`
    RolloutNoData,
    /// `rollout-gates`
    RolloutGates,
    /// `rollout-metric`
    RolloutMetric,
    /// `version-header`
    VersionHeader,
    /// `sticky`
    Sticky,
}

impl Key {
    /// The number of a numbered key; 1 for any other.
    #[must_use]
    pub const fn number(self) -> u32 {
        match self {
            Self::Route(number) => number,
            _ => 1,
        }
    }

    /// The key of the same row with this number; itself, if there is only one.
    #[must_use]
    pub const fn numbered(self, number: u32) -> Self {
        match self {
            Self::Route(_) => Self::Route(number),
            other => other,
        }
    }
}
