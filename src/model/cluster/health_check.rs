//! `health-check`: Envoy asks each server itself how it is.

use std::fmt;
use std::time::Duration;

use super::words::{self, Shown};
use crate::model::route::is_host;
use crate::text::clip;

/// The longest path or name of a gRPC service that is checked, bytes.
const MAX_TARGET: usize = 256;
/// The most ranges of statuses.
const MAX_STATUSES: usize = 8;
/// More often than this is an attack.
const SHORTEST: Duration = Duration::from_millis(100);
/// How many checks in a row may be wanted.
const MOST_IN_A_ROW: u32 = 100;

/// An active health check. What is `None` has the default.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HealthCheck {
    /// What is asked.
    pub probe: Probe,
    /// `interval=`: between two checks.
    pub interval: Option<Duration>,
    /// `timeout=`: of one check.
    pub timeout: Option<Duration>,
    /// `unhealthy=`: failures in a row.
    pub unhealthy: Option<u32>,
    /// `healthy=`: successes in a row.
    pub healthy: Option<u32>,
    /// `host=`: of requests, by HTTP and gRPC.
    pub host: Option<String>,
}

/// What one check does.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Probe {
    /// GET.
    Http {
        /// With the query, if any.
        path: String,
        /// First and last good status of each range; empty: 200.
        status: Vec<(u16, u16)>,
    },
    /// `grpc.health.v1.Health/Check` of this service, or of the server.
    Grpc(Option<String>),
    /// A connection.
    Tcp,
}

impl HealthCheck {
    /// Between two checks, unless declared.
    pub const INTERVAL: Duration = Duration::from_secs(10);
    /// Of one check, unless declared.
    pub const TIMEOUT: Duration = Duration::from_secs(2);
    /// Failures in a row, unless declared.
    pub const UNHEALTHY: u32 = 3;
    /// Successes in a row, unless declared.
    pub const HEALTHY: u32 = 2;

    /// Reads `http:/healthz interval=10s`, `grpc`, `grpc:shop.Orders`, `tcp`.
    ///
    /// # Errors
    /// A sentence that says what would be right.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut parts = text.split_whitespace();
        let mut check = Self {
            probe: Probe::parse(parts.next().unwrap_or_default())?,
            interval: None,
            timeout: None,
            unhealthy: None,
            healthy: None,
            host: None,
        };
        let known: &[&str] = match check.probe {
            Probe::Http { .. } => &["interval", "timeout", "unhealthy", "healthy", "host", "status"],
            Probe::Grpc(_) => &["interval", "timeout", "unhealthy", "healthy", "host"],
            Probe::Tcp => &["interval", "timeout", "unhealthy", "healthy"],
        };
        words::read(parts, known, |name, value| {
            let row = || words::count(&format!("{name}="), value, 1..=MOST_IN_A_ROW);
            let time = |least| words::at_least(&format!("{name}="), value, least);
            match name {
                "interval" => check.interval = Some(time(SHORTEST)?),
                "timeout" => check.timeout = Some(time(Duration::from_millis(1))?),
                "unhealthy" => check.unhealthy = Some(row()?),
                "healthy" => check.healthy = Some(row()?),
                "host" => check.host = Some(host(value)?),
                _ => {
                    if let Probe::Http { status, .. } = &mut check.probe {
                        *status = statuses(value)?;
                    }
                }
            }
            Ok(())
        })?;
        Ok(check)
    }
}

impl Probe {
    fn parse(text: &str) -> Result<Self, String> {
        let plain = |rest: &str| {
            !rest.is_empty() && rest.len() <= MAX_TARGET && rest.bytes().all(|b| b.is_ascii_graphic())
        };
        match text.split_once(':') {
            Some(("http", path)) if path.starts_with('/') && plain(path) && !path.contains('#') => {
                Ok(Self::Http {
                    path: path.to_owned(),
                    status: Vec::new(),
                })
            }
            Some(("grpc", service)) if plain(service) => Ok(Self::Grpc(Some(service.to_owned()))),
            None if text == "grpc" => Ok(Self::Grpc(None)),
            None if text == "tcp" => Ok(Self::Tcp),
            _ => Err(format!(
                "`{}` must be http:/PATH, grpc, grpc:SERVICE or tcp (at most {MAX_TARGET} visible ASCII characters), \
                 then words such as interval=10s",
                clip(text)
            )),
        }
    }
}

fn host(text: &str) -> Result<String, String> {
    let (name, port) = match text.rsplit_once(':') {
        Some((name, port)) => (name, Some(port)),
        None => (text, None),
    };
    if is_host(name) && port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0)) {
        return Ok(text.to_owned());
    }
    Err(format!(
        "`host={}` must be a host name, maybe with a port",
        clip(text)
    ))
}

/// `200-399`, `204`, `200-299,404`.
fn statuses(text: &str) -> Result<Vec<(u16, u16)>, String> {
    let status = |text: &str| text.parse::<u16>().ok().filter(|code| (100..=599).contains(code));
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (status(first)?, status(last)?);
        (first <= last).then_some((first, last))
    };
    let ranges: Option<Vec<_>> = text.split(',').map(range).collect();
    ranges
        .filter(|ranges| ranges.len() <= MAX_STATUSES)
        .ok_or_else(|| {
            format!(
                "`status={}` must be statuses from 100 to 599 such as 200-399 or 200,204 (at most {MAX_STATUSES})",
                clip(text)
            )
        })
}

/// As it is declared.
impl fmt::Display for HealthCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (head, status) = match &self.probe {
            Probe::Http { path, status } => (format!("http:{path}"), &status[..]),
            Probe::Grpc(None) => ("grpc".to_owned(), &[][..]),
            Probe::Grpc(Some(service)) => (format!("grpc:{service}"), &[][..]),
            Probe::Tcp => ("tcp".to_owned(), &[][..]),
        };
        let range = |(first, last): &(u16, u16)| {
            if first == last {
                first.to_string()
            } else {
                format!("{first}-{last}")
            }
        };
        let ranges = || status.iter().map(range).collect::<Vec<_>>().join(",");
        let text = Shown::head(head)
            .time("interval", self.interval)
            .time("timeout", self.timeout)
            .count("unhealthy", self.unhealthy)
            .count("healthy", self.healthy)
            .word("host", self.host.as_ref(), String::clone)
            .word("status", (!status.is_empty()).then(ranges), |text| text);
        f.write_str(&text.text())
    }
}
