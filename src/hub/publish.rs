//! From a change of the catalog to the next generation.

use super::Hub;
use super::memory::Part;
use crate::catalog::Touched;
use crate::clock;
use crate::xds::Encoded;

impl Hub {
    /// What follows from a change of the catalog, whoever made it.
    pub(super) fn follow(&mut self, touched: Touched) {
        let withheld: usize = self.sources.keys().map(|source| self.withheld(source)).sum();
        self.probes
            .withheld
            .send_if_modified(|known| std::mem::replace(known, withheld) != withheld);
        let deliverable = self.ready || self.catalog.ready();
        if !deliverable {
            self.recount();
        }
        if touched.status || !deliverable {
            self.report();
        }
        if !self.catalog.drains().is_empty() && !touched.services.is_empty() {
            self.look_for_ended();
        }
        self.pending.extend(touched.services);
        // Until all sources have delivered nothing is served; the last delivery releases everything. A source that is
        // added later holds nothing up.
        if !deliverable {
            return;
        }
        if !self.pending.is_empty() || !self.ready || self.uncounted {
            self.settle.note(clock::now());
        }
    }

    /// Makes the next generation of what is pending.
    pub(super) fn publish(&mut self) {
        let since = self.settle.take().unwrap_or_else(clock::now);
        let touched = std::mem::take(&mut self.pending);
        let steps = self.planner.plan(&self.catalog, &touched, self.now());
        self.look_at_versions(&touched);
        // One by one: at the start a second copy of all services would be the peak of memory.
        let mut encoded = Encoded::with_capacity(steps.len());
        let overlays = &mut self.overlays;
        self.translator
            .translate(steps, |update| encoded.push(&overlays.lay(update)));
        encoded.set_rules(self.views.clone());
        let (generation, changed) = self.fanout.publish_encoded(encoded, since);
        if !std::mem::replace(&mut self.ready, true) {
            tracing::info!(
                services = self.planner.services(),
                "ready: all sources have delivered"
            );
            self.name_kept(); // of the bridge before this one, too
        }
        self.log_news();
        if self.planner.take_unsaved() {
            self.memory.changed(&Part::Decisions);
        }
        self.gauges.planned(&self.planner);
        self.recount();
        self.report();
        self.answer_served();
        self.journal
            .published(changed.then_some(generation.number), &touched);
        if changed {
            self.gauges
                .published(&generation, &self.fanout.rejected_by_type());
            tracing::debug!(
                generation = generation.number,
                services = touched.len(),
                "published"
            );
        }
    }

    /// Logs what is new in the plan, and names the present state in the metrics.
    fn log_news(&mut self) {
        let health = self.planner.take_health();
        if !health.is_empty() {
            self.log.health(&health, self.planner.all_unhealthy().len());
            self.gauges.name_all_unhealthy(self.planner.all_unhealthy());
        }
        let off = self.planner.take_off();
        if !off.is_empty() {
            self.log.off(&off);
            self.gauges.name_all_off(self.planner.all_off());
        }
        let departures = self.planner.take_departures();
        if !departures.is_empty() {
            self.log.departures(&departures);
            self.name_kept();
        }
        if self.planner.take_news() | self.translator.take_news() | self.overlays.take_news() {
            let made = self.translator.issues().chain(self.overlays.issues());
            let issues = self.planner.issues().chain(made);
            self.log.declared(issues.cloned().collect());
            self.uncounted = true;
        }
        self.probes.log_gone();
    }

    /// Counting looks at each service: once for all that settles together.
    pub(super) fn recount(&mut self) {
        if std::mem::take(&mut self.uncounted) {
            self.count_issues();
        }
    }

    /// Counts and names what is wrong: with entries of sources, and with what services declare together.
    pub(super) fn count_issues(&mut self) {
        self.gauges
            .count_issues(&self.catalog, self.log.declared_issues());
    }

    fn name_kept(&self) {
        let names: Vec<_> = self.kept().map(|kept| kept.service).collect();
        self.gauges.name_kept(self.planner.kept().len(), &names);
    }
}
