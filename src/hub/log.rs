//! The hub's log lines about entries, services and their health, each kind within its quota. Changes nothing
//! that is served.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::time::Instant;

use super::quota::Quota;
use crate::catalog::Touched;
use crate::clock;
use crate::journal::Noted;
use crate::model::{Issue, Severity};
use crate::plan::News;

/// What may still be logged of each kind, and what was logged.
#[derive(Debug, Default)]
pub(super) struct Log {
    entries: Quota,
    repaired: Quota,
    declared: Quota,
    health: Quota,
    off: Quota,
    departures: Quota,
    events: Quota,
    /// What is wrong with what services declare together.
    declared_issues: BTreeSet<Issue>,
}

impl Log {
    /// When a flood is over whose rest was not reported yet.
    pub(super) fn due(&self) -> Option<Instant> {
        let all = [
            &self.entries,
            &self.repaired,
            &self.declared,
            &self.health,
            &self.off,
            &self.departures,
            &self.events,
        ];
        all.into_iter().filter_map(Quota::due).min()
    }

    /// Reports the rest of floods that are over.
    pub(super) fn report_rest(&mut self, now: Instant) {
        match self.entries.rest(now) {
            0 => {}
            more => tracing::warn!(more, "more entries with issues; see /metrics and /sources"),
        }
        match self.repaired.rest(now) {
            0 => {}
            more => tracing::info!(more, "more entries are usable again"),
        }
        match self.declared.rest(now) {
            0 => {}
            more => tracing::warn!(
                more,
                "more of what services declare is wrong; see /metrics and /sources"
            ),
        }
        match self.events.rest(now) {
            0 => {}
            more => tracing::info!(more, "more changes; see /events"),
        }
        match self.departures.rest(now) {
            0 => {}
            more => tracing::warn!(more, "more services lost their last instance, or have some again"),
        }
        match self.off.rest(now) {
            0 => {}
            more => tracing::warn!(
                more,
                "more services have no instance that is not off, or have one again"
            ),
        }
        match self.health.rest(now) {
            0 => {}
            changed => tracing::info!(
                changed,
                "more services lost their last healthy instance, or have one again"
            ),
        }
    }

    /// A line for what changed.
    pub(super) fn event(&mut self, noted: &Noted) {
        let (lines, hidden) = self.events.lines(1, clock::now());
        if lines > 0 {
            let of = |name: &Option<Arc<str>>| name.as_deref().unwrap_or_default().to_owned();
            let (source, service, instance) = (of(&noted.source), of(&noted.service), of(&noted.instance));
            tracing::info!(source, service, instance, change = noted.what, "changed");
        }
        if hidden > 0 {
            tracing::info!(more = hidden, "more changes; see /events");
        }
    }

    /// Names what is newly wrong with entries of a source, and what is right again.
    pub(super) fn entries(&mut self, source: &str, touched: &Touched) {
        let (lines, more) = self.entries.lines(touched.new_issues.len(), clock::now());
        for (service, issue) in touched.new_issues.iter().take(lines) {
            entry(source, service.as_deref(), issue);
        }
        if more > 0 {
            tracing::warn!(source, more, "more entries with issues; see /metrics");
        }
        let (lines, more) = self.repaired.lines(touched.repaired.len(), clock::now());
        for (service, id) in touched.repaired.iter().take(lines) {
            let id = if id.is_empty() { "policy" } else { id };
            tracing::info!(source, entry = format_args!("{service}/{id}"), "usable again");
        }
        if more > 0 {
            tracing::info!(source, more, "more entries are usable again");
        }
    }

    /// Names services that have lost their last healthy instance (`true`), or have one again; `all` are without one.
    pub(super) fn health(&mut self, news: &[(Arc<str>, bool)], all: usize) {
        let (lines, more) = self.health.lines(news.len(), clock::now());
        for (service, unhealthy) in news.iter().take(lines) {
            if *unhealthy {
                tracing::warn!(%service, "no instance is healthy");
            } else {
                tracing::info!(%service, "no longer without a healthy instance");
            }
        }
        if lines + more > 0 {
            tracing::info!(changed = lines + more, all, "services without a healthy instance");
        }
    }

    /// Names services all of whose instances are off (`true`), or no longer.
    pub(super) fn off(&mut self, news: &[(Arc<str>, bool)]) {
        let (lines, more) = self.off.lines(news.len(), clock::now());
        for (service, off) in news.iter().take(lines) {
            if *off {
                tracing::warn!(%service, "all instances are off (state off, or weight 0): nobody gets its requests");
            } else {
                tracing::info!(%service, "no longer are all instances off");
            }
        }
        if more > 0 {
            tracing::warn!(
                more,
                "more services have no instance that is not off, or have one again"
            );
        }
    }

    /// Names what is newly wrong between services (unknown exposures, refused or contested claims, conflicts).
    pub(super) fn declared(&mut self, now: BTreeSet<Issue>) {
        let new: Vec<&Issue> = now.difference(&self.declared_issues).collect();
        let (lines, more) = self.declared.lines(new.len(), clock::now());
        for issue in new.into_iter().take(lines) {
            tracing::warn!(service = issue.entry, "{}", issue.reason);
        }
        if more > 0 {
            tracing::warn!(more, "more of what services declare is wrong; see /metrics");
        }
        self.declared_issues = now;
    }

    /// What was wrong between services when that was logged last.
    pub(super) const fn declared_issues(&self) -> &BTreeSet<Issue> {
        &self.declared_issues
    }

    /// Names services whose last instance left, and those that came back or whose routes have ended.
    pub(super) fn departures(&mut self, news: &[(Arc<str>, News)]) {
        let (lines, more) = self.departures.lines(news.len(), clock::now());
        for (service, news) in news.iter().take(lines) {
            match news {
                News::Kept => tracing::warn!(
                    %service,
                    "the last instance left: its routes stay and answer 503 (end them at once: xds-bridge forget SERVICE)"
                ),
                News::Back => tracing::info!(%service, "has instances again"),
                News::Ended => {
                    tracing::warn!(%service, "the routes of a service without instances have ended");
                }
            }
        }
        if more > 0 {
            tracing::warn!(more, "more services lost their last instance, or have some again");
        }
    }
}

/// What the operator should know of a source that works.
pub(super) fn note(source: &str, note: Option<&str>) {
    match note {
        Some(note) => tracing::warn!(source, "{note}"),
        None => tracing::info!(source, "note cleared"),
    }
}

/// The guard withholds more than before.
pub(super) fn withheld(source: &str, instances: usize) {
    tracing::warn!(
        source,
        instances,
        "the source no longer knows these instances: too many at once, withheld until that is certain \
         (let them go at once: xds-bridge accept {source})"
    );
}

fn entry(source: &str, service: Option<&str>, issue: &Issue) {
    let (entry, reason) = (&issue.entry, &issue.reason);
    match issue.severity {
        Severity::Rejected => tracing::warn!(source, service, entry, "entry rejected: {reason}"),
        Severity::Warning => tracing::warn!(source, service, entry, "entry: {reason}"),
    }
}
