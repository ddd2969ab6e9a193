//! The clock, percentiles, and Markdown tables.

use std::fmt;
use std::time::{Duration, Instant};

/// The only place that reads a clock here.
#[expect(clippy::disallowed_methods, reason = "measuring is what this program is for")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Durations, to be asked for percentiles.
#[derive(Clone, Debug, Default)]
pub(crate) struct Samples(Vec<Duration>);

impl Samples {
    pub(crate) const fn none() -> Self {
        Self(Vec::new())
    }

    pub(crate) fn push(&mut self, sample: Duration) {
        self.0.push(sample);
    }

    pub(crate) fn extend(&mut self, more: &Self) {
        self.0.extend(&more.0);
    }

    /// The smallest sample that so many per mille do not exceed; zero without samples.
    pub(crate) fn per_mille(&self, share: usize) -> Duration {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let rank = (sorted.len() * share).div_ceil(1_000);
        sorted.get(rank.saturating_sub(1)).copied().unwrap_or_default()
    }

    pub(crate) fn median(&self) -> Duration {
        self.per_mille(500)
    }

    /// `p50 / p99 / max`, in milliseconds.
    pub(crate) fn three(&self) -> String {
        format!(
            "{} / {} / {}",
            ms(self.median()),
            ms(self.per_mille(990)),
            ms(self.per_mille(1_000))
        )
    }
}

impl FromIterator<Duration> for Samples {
    fn from_iter<I: IntoIterator<Item = Duration>>(samples: I) -> Self {
        Self(samples.into_iter().collect())
    }
}

/// Three figures, in milliseconds.
pub(crate) fn ms(duration: Duration) -> String {
    figures(duration.as_secs_f64() * 1e3)
}

/// Three figures, in seconds.
pub(crate) fn secs(duration: Duration) -> String {
    figures(duration.as_secs_f64())
}

/// Three figures, in MiB.
pub(crate) fn mib(kib: u64) -> String {
    figures(f64::from(u32::try_from(kib).unwrap_or(u32::MAX)) / 1024.0)
}

/// Three figures.
pub(crate) fn figures(value: f64) -> String {
    let places = match value {
        v if v >= 100.0 => 0,
        v if v >= 10.0 => 1,
        _ => 2,
    };
    format!("{value:.places$}")
}

/// A Markdown table.
#[derive(Debug)]
pub(crate) struct Table {
    title: String,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new(title: impl Into<String>, head: &[&str]) -> Self {
        Self {
            title: title.into(),
            rows: vec![head.iter().map(|cell| (*cell).to_owned()).collect()],
        }
    }

    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        let cells: Vec<String> = cells.into_iter().collect();
        eprintln!("load: {}", cells.join(" | ")); // a person watches
        self.rows.push(cells);
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\n**{}**\n", self.title)?;
        for (at, row) in self.rows.iter().enumerate() {
            writeln!(f, "| {} |", row.join(" | "))?;
            if at == 0 {
                writeln!(f, "|{}", "---|".repeat(row.len()))?;
            }
        }
        Ok(())
    }
}
