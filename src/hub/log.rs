//! The hub's log lines about entries, services and their health, each kind within its quota. Changes nothing
//! that is served.

use std::collections::BTreeSet;

use tokio::time::Instant;

use super::Hub;
use super::quota::Quota;
use crate::clock;
use crate::model::{Issue, Severity, Touched};
use crate::plan::News;

/// What of each kind may still be said in the log.
#[derive(Debug, Default)]
pub(super) struct Quotas {
    pub(super) entries: Quota,
    pub(super) repaired: Quota,
    pub(super) declared: Quota,
    pub(super) health: Quota,
    pub(super) off: Quota,
    pub(super) departures: Quota,
}

impl Quotas {
    /// When a flood is over whose rest was not reported yet.
    pub(super) fn due(&self) -> Option<Instant> {
        let all = [
            &self.entries,
            &self.repaired,
            &self.declared,
            &self.health,
            &self.off,
            &self.departures,
        ];
        all.into_iter().filter_map(Quota::due).min()
    }

    /// Reports the rest of floods that are over.
    pub(super) fn report(&mut self, now: Instant) {
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
}

impl Hub {
    /// Names in the log what is newly wrong with entries of a source, and what is right again.
    pub(super) fn log_entries(&mut self, source: &str, touched: &Touched) {
        let (lines, more) = self.quotas.entries.lines(touched.new_issues.len(), clock::now());
        for (service, issue) in touched.new_issues.iter().take(lines) {
            log_issue(source, service.as_deref(), issue);
        }
        if more > 0 {
            tracing::warn!(source, more, "more entries with issues; see /metrics");
        }
        let (lines, more) = self.quotas.repaired.lines(touched.repaired.len(), clock::now());
        for (service, id) in touched.repaired.iter().take(lines) {
            let id = if id.is_empty() { "policy" } else { id };
            tracing::info!(source, entry = format_args!("{service}/{id}"), "usable again");
        }
        if more > 0 {
            tracing::info!(source, more, "more entries are usable again");
        }
    }

    /// Names services that have lost their last healthy instance, or have one again.
    pub(super) fn log_all_unhealthy(&mut self) {
        let news = self.planner.take_health();
        let (lines, more) = self.quotas.health.lines(news.len(), clock::now());
        for (service, sick) in news.iter().take(lines) {
            if *sick {
                tracing::warn!(%service, "no instance is healthy");
            } else {
                tracing::info!(%service, "no longer without a healthy instance");
            }
        }
        if !news.is_empty() {
            if lines + more > 0 {
                let (changed, all) = (lines + more, self.planner.all_unhealthy().len());
                tracing::info!(changed, all, "services without a healthy instance");
            }
            self.name_all_unhealthy();
        }
        let news = self.planner.take_off();
        let (lines, more) = self.quotas.off.lines(news.len(), clock::now());
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
        if !news.is_empty() {
            self.name_all_off();
        }
    }

    /// Names what is newly wrong between services (unknown exposures, refused or contested claims, conflicts).
    pub(super) fn log_declared(&mut self) {
        let now: BTreeSet<Issue> = self
            .planner
            .issues()
            .chain(self.translator.issues())
            .cloned()
            .collect();
        let new: Vec<&Issue> = now.difference(&self.seen_issues).collect();
        let (lines, more) = self.quotas.declared.lines(new.len(), clock::now());
        for issue in new.into_iter().take(lines) {
            tracing::warn!(service = issue.entry, "{}", issue.reason);
        }
        if more > 0 {
            tracing::warn!(more, "more of what services declare is wrong; see /metrics");
        }
        self.seen_issues = now;
        self.uncounted = true;
    }

    /// Names services whose last instance left, and those that came back or whose routes have ended.
    pub(super) fn log_departures(&mut self) {
        let news = self.planner.take_departures();
        let (lines, more) = self.quotas.departures.lines(news.len(), clock::now());
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
        if !news.is_empty() {
            self.name_kept();
        }
    }
}

pub(super) fn log_note(source: &str, note: Option<&str>) {
    match note {
        Some(note) => tracing::warn!(source, "{note}"),
        None => tracing::info!(source, "nothing to note any more"),
    }
}

fn log_issue(source: &str, service: Option<&str>, issue: &Issue) {
    let (entry, reason) = (&issue.entry, &issue.reason);
    match issue.severity {
        Severity::Rejected => tracing::warn!(source, service, entry, "entry rejected: {reason}"),
        Severity::Warning => tracing::warn!(source, service, entry, "entry: {reason}"),
    }
}
