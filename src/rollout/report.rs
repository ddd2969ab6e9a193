//! The report of a rollout, for programs and for people. Pure.

use std::fmt::Write as _;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::facts::{Facts, Row};
use super::find::verdict;
use super::record::{Outcome, Phase, Record, Why};
use super::settings::Settings;
use super::verdict::{Load, Sample, Verdict};
use super::words;
use crate::text::clip_to;

/// Errors in a report.
const MAX_ERRORS: usize = 20;
/// Characters of a message in its text.
const MESSAGE: usize = 120;

/// Errors of one kind.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ErrorLine {
    /// The version whose errors these are.
    pub version: Arc<str>,
    /// The method: `GET /orders`, `shop.Orders/Get`.
    pub method: String,
    /// `503`, or `UNAVAILABLE` of gRPC.
    pub status: String,
    /// An example of what the server said.
    pub message: String,
    /// Envoy's response flags, such as `UC`.
    pub flags: String,
    /// An address that answered so.
    pub upstream: String,
    /// Their number.
    pub count: u64,
    /// The first; Unix time, milliseconds.
    pub first: u64,
    /// The last.
    pub last: u64,
}

/// All that is known of a rollout.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Report {
    /// The service.
    pub service: Arc<str>,
    /// One word, as in lists: `running`, `taken back`.
    pub phase: &'static str,
    /// What was done, or what follows, in one line.
    pub action: String,
    /// When the rollout started; Unix time, milliseconds.
    pub started: u64,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended: Option<u64>,
    /// It is judged only.
    pub dry_run: bool,
    /// What was found.
    pub verdict: Verdict,
    /// Which errors, the most frequent first.
    pub errors: Vec<ErrorLine>,
}

impl Report {
    /// Of the rollout under way, or the one that ended last; `None`: there was none.
    #[must_use]
    pub fn of(
        service: &Arc<str>,
        record: &Record,
        settings: &Settings,
        facts: &Facts,
        mut errors: Vec<ErrorLine>,
    ) -> Option<Self> {
        errors.sort_by(|a, b| (b.count, &a.method, &a.status).cmp(&(a.count, &b.method, &b.status)));
        errors.truncate(MAX_ERRORS);
        let report = Self {
            service: service.clone(),
            phase: record.phase(),
            errors,
            ..Self::default()
        };
        if let Some(rollout) = record.rollout.as_deref().filter(|rollout| rollout.is_running()) {
            let stable = record.stable.clone().unwrap_or_default();
            return Some(Self {
                action: under_way(record),
                started: rollout.started,
                dry_run: rollout.dry_run,
                verdict: verdict(rollout, &stable, settings, facts),
                ..report
            });
        }
        let (past, last) = record.history.last().zip(record.last.as_deref())?;
        let (phase, action) = match &past.outcome {
            Outcome::Promoted if past.dry_run => {
                ("promoted", "it would have become the stable version".to_owned())
            }
            Outcome::Promoted | Outcome::Left => ("promoted", "it is the stable version".to_owned()),
            Outcome::TakenBack { why } => (
                "taken back",
                taken_back(service, past.candidate.as_ref(), why, past.dry_run),
            ),
        };
        Some(Self {
            phase,
            action,
            started: past.started,
            ended: Some(past.ended),
            dry_run: past.dry_run,
            verdict: last.clone(),
            ..report
        })
    }

    /// Several lines for a person.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        self.write(&mut text).map_or_else(|_| String::new(), |()| text)
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        let found = &self.verdict;
        let dry = if self.dry_run { ", judged only" } else { "" };
        writeln!(
            out,
            "{}: {} beside {}, {}{dry}",
            self.service,
            words::name(&found.candidate),
            words::name(&found.stable),
            self.phase
        )?;
        writeln!(out, "{}", found.text)?;
        writeln!(out, "{}", self.action)?;
        for signal in &found.signals {
            for (kind, of) in &signal.strata {
                writeln!(
                    out,
                    "  {} by {}: {} against {}, E = {}",
                    signal.signal.as_str(),
                    kind.as_str(),
                    words::part(of.candidate),
                    words::part(of.stable),
                    words::value(signal.e)
                )?;
            }
        }
        load(out, &found.load)?;
        writeln!(
            out,
            "clients: {} report, {} do not",
            found.clients.reporting, found.clients.silent
        )?;
        if !found.way_back {
            writeln!(
                out,
                "there is no way back: the stable version cannot read what the new one writes"
            )?;
        }
        for affected in &found.affected {
            writeln!(
                out,
                "{} began to fail {}: {} before, {} since",
                affected.service,
                words::at(affected.step),
                words::part(affected.before),
                words::part(affected.after)
            )?;
        }
        found.rows.iter().try_for_each(|row| place(out, row))?;
        self.errors.iter().try_for_each(|line| error(out, line))
    }
}

fn load(out: &mut String, load: &Load) -> std::fmt::Result {
    let side = |sample: &Sample| {
        format!(
            "{:.1} requests per second, {:.1} on each of {}",
            sample.rate, sample.per_instance, sample.instances
        )
    };
    writeln!(
        out,
        "load: {}; stable: {}",
        side(&load.candidate),
        side(&load.stable)
    )
}

fn place(out: &mut String, row: &Row) -> std::fmt::Result {
    // REGION/ZONE/SUBZONE; clients and servers that name none are in `//`.
    let zone = if row.zone.bytes().all(|byte| byte == b'/') {
        "no zone"
    } else {
        &*row.zone
    };
    let place = if row.endpoint.is_empty() {
        zone.to_owned()
    } else {
        format!("{} in {zone}", row.endpoint)
    };
    writeln!(
        out,
        "  {} {place}: errors {}, given up on {}",
        words::name(&row.version),
        words::part(row.errors),
        row.abandoned
    )
}

fn error(out: &mut String, line: &ErrorLine) -> std::fmt::Result {
    write!(
        out,
        "  {} × {} {}",
        line.count,
        clip_to(&line.method, MESSAGE),
        clip_to(&line.status, MESSAGE)
    )?;
    if !line.flags.is_empty() {
        write!(out, " [{}]", clip_to(&line.flags, MESSAGE))?;
    }
    if !line.upstream.is_empty() {
        write!(out, " from {}", clip_to(&line.upstream, MESSAGE))?;
    }
    write!(out, " ({})", words::name(&line.version))?;
    if !line.message.is_empty() {
        write!(out, ": {}", clip_to(&line.message, MESSAGE))?;
    }
    writeln!(out)
}

fn under_way(record: &Record) -> String {
    let Some(rollout) = record.rollout.as_deref() else {
        return String::new();
    };
    let at = words::at(rollout.step);
    match (&rollout.phase, &rollout.hold) {
        (_, Some(hold)) => format!("held {at}: {}", words::hold(hold)),
        (Phase::Paused { by, why, .. }, _) if why.is_empty() => format!("paused {at} by {by}"),
        (Phase::Paused { by, why, .. }, _) => format!("paused {at} by {by}: {why}"),
        (Phase::Gate { step, .. }, _) => format!("waits {at} for what step {step} needs"),
        _ => format!("goes on {at}"),
    }
}

fn taken_back(service: &str, candidate: &str, why: &Why, dry_run: bool) -> String {
    let done = if dry_run {
        "it would have been taken back"
    } else {
        "it was taken back"
    };
    match why {
        Why::Gone | Why::Data { .. } => format!("{done}; it is not rejected"),
        _ if candidate.is_empty() => done.to_owned(),
        _ => {
            format!(
                "{done} and does not start again before `xds-bridge rollout retry {service} --version {candidate}`"
            )
        }
    }
}
