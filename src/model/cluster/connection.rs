//! `tcp-keepalive`, `http2`, `proxy-protocol`: of each connection to a server.

use std::fmt;
use std::time::Duration;

use super::words::{self, Shown, show_size};

/// What Linux takes: a connection on which it cannot be set fails.
const MOST_SECONDS: u32 = 32_767;
const MOST_PROBES: u32 = 127;
/// What HTTP/2 allows.
const WINDOWS: std::ops::RangeInclusive<u32> = 65_535..=2_147_483_647;
const MOST_STREAMS: u32 = 2_147_483_647;
/// Pings more often than this are an attack.
const SHORTEST: Duration = Duration::from_millis(100);

/// `tcp-keepalive`, in seconds. What is `None` is as the system does it.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TcpKeepalive {
    /// `idle=`: before the first probe.
    pub idle: Option<u32>,
    /// `interval=`: between two probes.
    pub interval: Option<u32>,
    /// `probes=` without an answer that end the connection.
    pub probes: Option<u32>,
}

impl TcpKeepalive {
    /// Reads `60s`, which is `idle=60s`, or `idle=60s interval=10s probes=3`.
    ///
    /// # Errors
    /// A sentence that says what would be right.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut keepalive = Self::default();
        if !text.contains('=') {
            keepalive.idle = Some(words::seconds("", text, MOST_SECONDS)?);
            return Ok(keepalive);
        }
        words::read(
            text.split_whitespace(),
            &["idle", "interval", "probes"],
            |name, value| {
                let what = format!("{name}=");
                match name {
                    "idle" => keepalive.idle = Some(words::seconds(&what, value, MOST_SECONDS)?),
                    "interval" => keepalive.interval = Some(words::seconds(&what, value, MOST_SECONDS)?),
                    _ => keepalive.probes = Some(words::count(&what, value, 1..=MOST_PROBES)?),
                }
                Ok(())
            },
        )?;
        Ok(keepalive)
    }
}

/// As it is declared.
impl fmt::Display for TcpKeepalive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = |seconds: u32| format!("{seconds}s");
        let text = match self {
            Self {
                idle: Some(idle),
                interval: None,
                probes: None,
            } => seconds(*idle),
            _ => Shown::default()
                .word("idle", self.idle, seconds)
                .word("interval", self.interval, seconds)
                .count("probes", self.probes)
                .text(),
        };
        f.write_str(&text)
    }
}

/// `http2`. What is `None` is as Envoy does it.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Http2 {
    /// `streams=`: requests at once on one connection.
    pub streams: Option<u32>,
    /// `window=`: bytes that a stream may be ahead of its reader.
    pub window: Option<u32>,
    /// `connection-window=`: the same for all streams of a connection.
    pub connection_window: Option<u32>,
    /// `keepalive=`: between two pings.
    pub keepalive: Option<Duration>,
    /// `keepalive-timeout=`: a ping without an answer ends the connection.
    pub keepalive_timeout: Option<Duration>,
}

impl Http2 {
    /// Of a ping, unless declared.
    pub const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(5);

    /// Reads `streams=100 window=1MiB keepalive=30s`.
    ///
    /// # Errors
    /// A sentence that says what would be right.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("is empty: it must be words such as streams=100 keepalive=30s".to_owned());
        }
        let known = [
            "streams",
            "window",
            "connection-window",
            "keepalive",
            "keepalive-timeout",
        ];
        let mut http2 = Self::default();
        words::read(text.split_whitespace(), &known, |name, value| {
            let what = format!("{name}=");
            let size = || words::size(&what, value, WINDOWS).map(Some);
            let time = || words::at_least(&what, value, SHORTEST).map(Some);
            match name {
                "streams" => http2.streams = Some(words::count(&what, value, 1..=MOST_STREAMS)?),
                "window" => http2.window = size()?,
                "connection-window" => http2.connection_window = size()?,
                "keepalive" => http2.keepalive = time()?,
                _ => http2.keepalive_timeout = time()?,
            }
            Ok(())
        })?;
        if http2.keepalive.is_none() && http2.keepalive_timeout.is_some() {
            return Err("`keepalive-timeout=` needs `keepalive=`".to_owned());
        }
        Ok(http2)
    }
}

/// As it is declared.
impl fmt::Display for Http2 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = Shown::default()
            .count("streams", self.streams)
            .word("window", self.window, show_size)
            .word("connection-window", self.connection_window, show_size)
            .time("keepalive", self.keepalive)
            .time("keepalive-timeout", self.keepalive_timeout);
        f.write_str(&text.text())
    }
}

/// `proxy-protocol`: each connection to a server begins with the address of the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ProxyProtocol {
    /// As text.
    V1,
    /// As bytes.
    V2,
}

impl ProxyProtocol {
    /// All of its words, for messages.
    pub const WORDS: &str = "v1 or v2";

    /// Reads the declared word.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "v1" => Self::V1,
            "v2" => Self::V2,
            _ => return None,
        })
    }

    /// The declared word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V1 => "v1",
            Self::V2 => "v2",
        }
    }
}
