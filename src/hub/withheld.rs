//! What the hub does about withheld instances: has them probed, applies the answers, and lets go what was
//! withheld long enough.

use std::sync::Arc;

use super::Hub;
use super::last_known::Part;
use crate::metrics::BySource;
use crate::model::probe::{Answer, Answered};
use crate::model::{SourceState, Touched};

impl Hub {
    /// How many instances of a source are withheld.
    pub(super) fn withheld(&self, source: &str) -> usize {
        let state = self.catalog.source(source);
        state.map_or(0, SourceState::withheld_instances)
    }

    /// Has sources ask their registries whether what is gone is really gone.
    pub(super) fn ask(&self, sources: &[(Arc<str>, u64)]) {
        for (source, nth) in sources {
            tracing::info!(%source, "removals were withheld long enough: its registry is asked again");
            if let Some(ask) = self.sources.get(source).and_then(|info| info.ask.as_ref()) {
                ask.send_replace(*nth);
            }
        }
    }

    /// Removals that were withheld are let through.
    pub(super) fn believed(&mut self, touched: &Touched) {
        if touched.services.is_empty() {
            return;
        }
        tracing::warn!(
            services = touched.services.len(),
            "removals withheld until now are believed"
        );
        for source in self.sources.keys() {
            self.memory.changed(&Part::Source(source.clone()));
        }
    }

    /// Has the instances probed that are due.
    pub(super) fn probe(&mut self) {
        for question in self.catalog.questions(self.now()) {
            let sent = self
                .prober
                .as_ref()
                .map(|prober| prober.try_send(question.clone()));
            if sent.is_none_or(|sent| sent.is_err()) {
                // Its inbox has room for all that may be asked at once: it is about to end.
                let answer = Answer::Silent;
                self.probed(&Answered { question, answer });
            }
        }
    }

    /// Applies the answer of a probe.
    pub(super) fn probed(&mut self, answered: &Answered) {
        let mut touched = self.catalog.answered(answered, self.now());
        // A change is reported with its publication: there may be a thousand answers a second.
        touched.status &= touched.services.is_empty();
        let source = &answered.question.source;
        if touched.gone > 0 {
            self.gone += touched.gone;
            self.memory.changed(&Part::Source(source.clone()));
            let by_source = BySource {
                source: source.to_string(),
            };
            let metric = self.metrics.probed_gone.get_or_create(&by_source);
            metric.inc_by(touched.gone as u64);
        }
        self.follow(touched);
    }

    /// One line for all that were found gone since the last generation.
    pub(super) fn log_gone(&mut self) {
        let instances = std::mem::take(&mut self.gone);
        if instances > 0 {
            tracing::info!(instances, "withheld instances refuse connections: removed");
        }
    }
}
