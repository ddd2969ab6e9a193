//! What the hub does about withheld instances: has them probed, applies the answers, and lets go what was
//! withheld long enough.

use std::sync::Arc;

use tokio::sync::{mpsc, watch};

use super::Hub;
use super::memory::Part;
use crate::catalog::probe::{Answer, Answered, Question};
use crate::catalog::{SourceState, Touched};

/// The way to the prober, and what came of it.
#[derive(Debug, Default)]
pub(super) struct Probes {
    /// Who probes withheld instances, if somebody does.
    pub(super) prober: Option<mpsc::Sender<Question>>,
    /// Withheld instances of all sources: they take memory that no source knows of.
    pub(super) withheld: watch::Sender<usize>,
    /// Withheld instances that were found gone since that was logged.
    gone: usize,
}

impl Probes {
    /// Whether the prober takes the question. Its inbox has room for what is asked at once in an ordinary
    /// configuration.
    fn send(&self, question: Question) -> bool {
        let prober = self.prober.as_ref();
        prober.is_some_and(|prober| prober.try_send(question).is_ok())
    }

    /// One line for all that were found gone since the last generation.
    pub(super) fn log_gone(&mut self) {
        let instances = std::mem::take(&mut self.gone);
        if instances > 0 {
            tracing::info!(instances, "withheld instances refuse connections: removed");
        }
    }
}

impl Hub {
    /// How many instances of a source are withheld.
    pub(super) fn withheld(&self, source: &str) -> usize {
        let state = self.catalog.source(source);
        state.map_or(0, SourceState::withheld_instances)
    }

    /// Lets removals go that were withheld long enough, or has their sources verify them first.
    pub(super) fn release(&mut self) {
        let touched = self.catalog.release(self.now());
        for (source, nth) in &touched.ask {
            tracing::info!(%source, "removals were withheld long enough: its registry is asked again");
            if let Some(ask) = self.sources.get(source).and_then(|info| info.ask.as_ref()) {
                ask.send_replace(*nth);
            }
        }
        self.believed(&touched);
        self.follow(touched);
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
            if !self.probes.send(question.clone()) {
                let answer = Answer::Silent;
                self.probed(&Answered { question, answer });
            }
        }
    }

    /// Applies the answer of a probe.
    pub fn probed(&mut self, answered: &Answered) {
        let mut touched = self.catalog.answered(answered, self.now());
        // A change is reported with its publication: there may be a thousand answers a second.
        touched.status &= touched.services.is_empty();
        let source: &Arc<str> = &answered.question.source;
        if touched.gone > 0 {
            self.probes.gone += touched.gone;
            self.memory.changed(&Part::Source(source.clone()));
            self.gauges.probed_gone(source, touched.gone);
        }
        self.follow(touched);
    }
}
