//! Asks the addresses of gates, each again and again for as long as a rollout waits for it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;

use super::gate;
use crate::clock;
use crate::rollout::Answer;

/// From one answer to the next question.
const PAUSE: Duration = Duration::from_secs(5);
/// Addresses that are asked at once; the others wait for their turn.
const AT_ONCE: usize = 32;

/// What was asked, and answered.
#[derive(Debug, Default)]
pub(super) struct Gates {
    wanted: BTreeMap<Arc<str>, BTreeSet<Arc<str>>>,
    answers: BTreeMap<Arc<str>, (Answer, Instant)>,
    asked: BTreeSet<Arc<str>>,
    running: JoinSet<(Arc<str>, Answer)>,
}

impl Gates {
    /// This service waits for these, and no others.
    pub(super) fn want(&mut self, service: &Arc<str>, addresses: Vec<Arc<str>>) {
        if addresses.is_empty() {
            self.wanted.remove(service);
        } else {
            self.wanted
                .insert(service.clone(), addresses.into_iter().collect());
        }
        let wanted: BTreeSet<&Arc<str>> = self.wanted.values().flatten().collect();
        self.answers.retain(|address, _| wanted.contains(address));
    }

    /// Nobody waits any more.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Asks those that are due. When to come again.
    pub(super) fn ask(&mut self, now: Instant) -> Option<Instant> {
        let wanted: BTreeSet<Arc<str>> = self.wanted.values().flatten().cloned().collect();
        let mut next = None;
        for address in wanted {
            let due = self.answers.get(&address).map_or(now, |(_, at)| *at + PAUSE);
            if due > now {
                next = Some(next.map_or(due, |next: Instant| next.min(due)));
            } else if self.running.len() < AT_ONCE && self.asked.insert(address.clone()) {
                self.running.spawn(async move {
                    let (status, text) = gate::ask(&address).await;
                    let at = clock::unix_millis();
                    (address, Answer { status, at, text })
                });
            }
        }
        next
    }

    /// Waits for the next answer: the services that wait for it. Never returns while nothing is asked.
    pub(super) async fn answered(&mut self) -> Vec<Arc<str>> {
        loop {
            match self.running.join_next().await {
                None => std::future::pending().await,
                Some(Err(error)) => tracing::error!(%error, "a gate could not be asked"),
                Some(Ok((address, answer))) => {
                    self.asked.remove(&address);
                    let waiting = self.wanted.iter().filter(|(_, all)| all.contains(&address));
                    let waiting = waiting.map(|(service, _)| service.clone()).collect();
                    self.answers.insert(address, (answer, clock::now()));
                    return waiting;
                }
            }
        }
    }

    /// What is known.
    pub(super) fn answers(&self, service: &str) -> BTreeMap<Arc<str>, Answer> {
        let wanted = self.wanted.get(service).into_iter().flatten();
        wanted
            .filter_map(|address| Some((address.clone(), self.answers.get(address)?.0.clone())))
            .collect()
    }
}
