//! A load report, read where it lies: the fields that are needed, each list up to a bound. A report that exceeds one says
//! so ([`Report::is_cut`]): what it does not name is unknown then. Pure.
//!
//! Field numbers: `envoy/service/load_stats/v3/lrs.proto`, `envoy/config/endpoint/v3/load_report.proto`.

use std::net::SocketAddr;
use std::ops::Range;
use std::time::Duration;

use crate::fields::{self, Unreadable, Value, text};

/// How clients call a figure that its servers have a name for.
const NAMED: &str = "named_metrics.";

/// How much of one report is read.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Clusters.
    pub clusters: usize,
    /// Localities of all of them.
    pub localities: usize,
    /// Endpoints of all of these.
    pub endpoints: usize,
    /// Named metrics, and categories of drops, of all of these.
    pub named: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            clusters: 50_000,
            localities: 100_000,
            endpoints: 200_000,
            named: 50_000,
        }
    }
}

/// What was counted of one endpoint, or of a locality, since the last report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Requests in progress now.
    pub open: u64,
    /// Requests that succeeded.
    pub successes: u64,
    /// Requests that failed.
    pub errors: u64,
    /// Requests that began.
    pub issued: u64,
}

impl Counts {
    /// What remains without these.
    #[must_use]
    pub fn without(self, others: Self) -> Self {
        Self {
            open: self.open.saturating_sub(others.open),
            successes: self.successes.saturating_sub(others.successes),
            errors: self.errors.saturating_sub(others.errors),
            issued: self.issued.saturating_sub(others.issued),
        }
    }
}

/// One report.
#[derive(Debug, Default)]
pub struct Report<'a> {
    /// Encoded; in the first report of a stream, and with Envoy in each.
    pub node: Option<&'a [u8]>,
    /// It exceeds a bound.
    pub is_cut: bool,
    pub(super) bytes: usize,
    pub(super) clusters: Vec<Cluster<'a>>,
    localities: Vec<Locality<'a>>,
    endpoints: Vec<Endpoint>,
    /// Of endpoints.
    metrics: Vec<Metric<'a>>,
    /// Of localities: the sum of those of their endpoints, where it has any.
    sums: Vec<Metric<'a>>,
    drops: Vec<(&'a str, u64)>,
}

#[derive(Debug)]
pub(super) struct Cluster<'a> {
    /// As the bridge calls its endpoints: a cluster in Envoy's own file may have a name of its own.
    pub(super) name: &'a str,
    pub(super) dropped: u64,
    pub(super) interval: Duration,
    localities: Range<usize>,
    drops: Range<usize>,
}

#[derive(Debug)]
pub(super) struct Locality<'a> {
    pub(super) region: &'a str,
    pub(super) zone: &'a str,
    pub(super) sub_zone: &'a str,
    pub(super) priority: u32,
    pub(super) counts: Counts,
    endpoints: Range<usize>,
    sums: Range<usize>,
}

#[derive(Debug)]
pub(super) struct Endpoint {
    pub(super) address: SocketAddr,
    pub(super) counts: Counts,
    metrics: Range<usize>,
}

/// A figure that servers report of themselves (ORCA).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Metric<'a> {
    pub(super) name: &'a str,
    pub(super) finished: u64,
    pub(super) sum: f64,
}

impl<'a> Report<'a> {
    /// Reads an encoded `LoadStatsRequest`.
    ///
    /// # Errors
    /// [`Unreadable`]
    pub fn read(bytes: &'a [u8], bounds: &Bounds) -> Result<Self, Unreadable> {
        let mut report = Self {
            bytes: bytes.len(),
            ..Self::default()
        };
        let mut rest = bytes;
        while let Some((field, value)) = fields::next(&mut rest)? {
            match (field, value) {
                (1, Value::Bytes(node)) => report.node = Some(node),
                (2, Value::Bytes(cluster)) => {
                    if report.clusters.len() >= bounds.clusters {
                        report.is_cut = true;
                        break;
                    }
                    report.cluster(cluster, bounds)?;
                }
                _ => {}
            }
        }
        Ok(report)
    }

    /// Requests that it says have ended, or are there, whichever are more.
    pub(super) fn claims(&self) -> u64 {
        let whole = |counts: Counts| {
            let ended = counts.successes.saturating_add(counts.errors);
            ended.max(counts.issued).max(counts.open)
        };
        // A locality counts what its endpoints do, or should.
        let sum = |all: &mut dyn Iterator<Item = Counts>| all.map(whole).fold(0, u64::saturating_add);
        let places = sum(&mut self.localities.iter().map(|locality| locality.counts));
        let ends = sum(&mut self.endpoints.iter().map(|endpoint| endpoint.counts));
        let drops = self.clusters.iter().map(|cluster| cluster.dropped);
        let drops = drops.fold(0, u64::saturating_add);
        let measured = self
            .metrics
            .iter()
            .chain(&self.sums)
            .map(|metric| metric.finished)
            .max();
        places.max(ends).max(drops).max(measured.unwrap_or(0))
    }

    pub(super) fn localities(&self, cluster: &Cluster<'_>) -> &[Locality<'a>] {
        &self.localities[cluster.localities.clone()]
    }

    pub(super) fn drops(&self, cluster: &Cluster<'_>) -> &[(&'a str, u64)] {
        &self.drops[cluster.drops.clone()]
    }

    pub(super) fn endpoints(&self, locality: &Locality<'_>) -> &[Endpoint] {
        &self.endpoints[locality.endpoints.clone()]
    }

    pub(super) fn metrics(&self, endpoint: &Endpoint) -> &[Metric<'a>] {
        &self.metrics[endpoint.metrics.clone()]
    }

    pub(super) fn sums(&self, locality: &Locality<'_>) -> &[Metric<'a>] {
        &self.sums[locality.sums.clone()]
    }

    fn cluster(&mut self, mut rest: &'a [u8], bounds: &Bounds) -> Result<(), Unreadable> {
        let (localities, drops) = (self.localities.len(), self.drops.len());
        let (mut name, mut endpoints, mut dropped, mut interval) = ("", "", 0, Duration::ZERO);
        while let Some((field, value)) = fields::next(&mut rest)? {
            match (field, value) {
                (1, Value::Bytes(bytes)) => name = text(bytes)?,
                (2, Value::Bytes(locality)) => {
                    if self.localities.len() < bounds.localities {
                        self.locality(locality, bounds)?;
                    } else {
                        self.is_cut = true;
                    }
                }
                (3, Value::Number(number)) => dropped = number,
                (4, Value::Bytes(bytes)) => interval = fields::duration(bytes)?,
                (5, Value::Bytes(bytes)) if self.drops.len() < bounds.named => {
                    let drop = category(bytes)?;
                    self.drops.push(drop);
                }
                (6, Value::Bytes(bytes)) => endpoints = text(bytes)?,
                _ => {}
            }
        }
        self.clusters.push(Cluster {
            name: if endpoints.is_empty() { name } else { endpoints },
            dropped,
            interval,
            localities: localities..self.localities.len(),
            drops: drops..self.drops.len(),
        });
        Ok(())
    }

    fn locality(&mut self, mut rest: &'a [u8], bounds: &Bounds) -> Result<(), Unreadable> {
        let (endpoints, sums) = (self.endpoints.len(), self.sums.len());
        let mut counts = Counts::default();
        let (mut place, mut priority) = (["", "", ""], 0);
        while let Some((field, value)) = fields::next(&mut rest)? {
            match (field, value) {
                (1, Value::Bytes(bytes)) => place = self::place(bytes)?,
                (2, Value::Number(number)) => counts.successes = number,
                (3, Value::Number(number)) => counts.open = number,
                (4, Value::Number(number)) => counts.errors = number,
                (5, Value::Bytes(bytes)) if self.sums.len() < bounds.named => {
                    let metric = metric(bytes)?;
                    self.sums.push(metric);
                }
                (6, Value::Number(number)) => priority = u32::try_from(number).unwrap_or(u32::MAX),
                (7, Value::Bytes(endpoint)) => {
                    if self.endpoints.len() < bounds.endpoints {
                        self.endpoint(endpoint, bounds)?;
                    } else {
                        self.is_cut = true;
                    }
                }
                (8, Value::Number(number)) => counts.issued = number,
                _ => {}
            }
        }
        let [region, zone, sub_zone] = place;
        self.localities.push(Locality {
            region,
            zone,
            sub_zone,
            priority,
            counts,
            endpoints: endpoints..self.endpoints.len(),
            sums: sums..self.sums.len(),
        });
        Ok(())
    }

    fn endpoint(&mut self, mut rest: &'a [u8], bounds: &Bounds) -> Result<(), Unreadable> {
        let metrics = self.metrics.len();
        let (mut counts, mut address) = (Counts::default(), None);
        while let Some((field, value)) = fields::next(&mut rest)? {
            match (field, value) {
                (1, Value::Bytes(bytes)) => address = fields::address(bytes)?,
                (2, Value::Number(number)) => counts.successes = number,
                (3, Value::Number(number)) => counts.open = number,
                (4, Value::Number(number)) => counts.errors = number,
                (5, Value::Bytes(bytes)) if self.metrics.len() < bounds.named => {
                    let metric = metric(bytes)?;
                    self.metrics.push(metric);
                }
                (7, Value::Number(number)) => counts.issued = number,
                _ => {}
            }
        }
        // One without an IP address (a pipe, an internal listener) stays a part of its locality.
        if let Some(address) = address {
            self.endpoints.push(Endpoint {
                address,
                counts,
                metrics: metrics..self.metrics.len(),
            });
        }
        Ok(())
    }
}

/// Region, zone and sub-zone.
fn place(mut rest: &[u8]) -> Result<[&str; 3], Unreadable> {
    let mut place = ["", "", ""];
    while let Some((field, value)) = fields::next(&mut rest)? {
        if let (1..=3, Value::Bytes(bytes)) = (field, value) {
            place[field as usize - 1] = text(bytes)?;
        }
    }
    Ok(place)
}

fn metric(mut rest: &[u8]) -> Result<Metric<'_>, Unreadable> {
    let mut metric = Metric::default();
    while let Some((field, value)) = fields::next(&mut rest)? {
        match (field, value) {
            (1, Value::Bytes(bytes)) => {
                let name = text(bytes)?;
                metric.name = name.strip_prefix(NAMED).unwrap_or(name);
            }
            (2, Value::Number(number)) => metric.finished = number,
            (3, Value::Double(sum)) if sum.is_finite() => metric.sum = sum,
            _ => {}
        }
    }
    Ok(metric)
}

fn category(mut rest: &[u8]) -> Result<(&str, u64), Unreadable> {
    let mut drop = ("", 0);
    while let Some((field, value)) = fields::next(&mut rest)? {
        match (field, value) {
            (1, Value::Bytes(bytes)) => drop.0 = text(bytes)?,
            (2, Value::Number(number)) => drop.1 = number,
            _ => {}
        }
    }
    Ok(drop)
}

#[cfg(test)]
#[path = "report_tests.rs"]
mod tests;
