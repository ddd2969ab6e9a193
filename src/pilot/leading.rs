//! Being the one that decides: the hold, what was decided and not written yet, and when to look again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio::time::Instant;

use super::records::Kept;
use crate::clock;
use crate::registry::store::Held;
use crate::rollout::Record;
use crate::state::{If, Lead, Path, Revision, State, StateError, Status, StoreError, document};

/// Between two tries to lead, and two to write.
const PAUSE: Duration = Duration::from_secs(1);
/// The same without the right.
const DENIED: Duration = Duration::from_secs(30);
/// What has only been counted is written after this time.
const FLUSH: Duration = Duration::from_secs(2);
/// How long a write may take.
const WRITE: Duration = Duration::from_secs(5);
/// How long the end may take.
const FAREWELL: Duration = Duration::from_secs(2);

/// The part of a bridge that leads, or wants to.
pub(super) struct Leading {
    state: State,
    lead: Option<Lead>,
    attempt: Option<BoxFuture<'static, Result<Option<Lead>, StateError>>>,
    /// The next try to lead.
    retry: Instant,
    /// Decided, and not written yet.
    working: BTreeMap<Arc<str>, Working>,
    /// Not to be written before: what the watch shows is not what is there.
    blocked: BTreeMap<Arc<str>, Instant>,
    /// Why leading or writing failed last, as it was logged.
    said: Option<String>,
}

/// One record.
#[derive(Debug)]
struct Working {
    /// What it was decided from.
    base: Option<Revision>,
    record: Arc<Record>,
    /// The first decision that is not written.
    since: Instant,
}

impl Leading {
    pub(super) fn new(state: State) -> Self {
        Self {
            state,
            lead: None,
            attempt: None,
            retry: clock::now(),
            working: BTreeMap::new(),
            blocked: BTreeMap::new(),
            said: None,
        }
    }

    /// This bridge decides, for certain.
    pub(super) fn is_leading(&self) -> bool {
        self.lead.as_ref().is_some_and(Lead::is_held)
    }

    /// Tries to lead, where nobody does. `wanted`: there is something to decide.
    pub(super) fn attend(&mut self, wanted: bool) {
        if self.lead.is_some() || self.attempt.is_some() || clock::now() < self.retry {
            return;
        }
        let snapshot = self.state.snapshot();
        if wanted && snapshot.status == Status::Live && snapshot.documents.leader.is_none() {
            let state = self.state.clone();
            self.attempt = Some(async move { state.lead().await }.boxed());
        }
    }

    /// When to try again.
    pub(super) fn retry(&self) -> Option<Instant> {
        (self.lead.is_none() && self.attempt.is_none()).then_some(self.retry)
    }

    /// Waits until something about the hold changes. May be dropped and called again.
    pub(super) async fn changed(&mut self) {
        if let Some(lead) = &self.lead {
            let mut changes = lead.changes();
            let is_held = lead.is_held();
            let _ = changes
                .wait_for(|held| (*held == Held::Yes) != is_held || *held == Held::Lost)
                .await;
            if *changes.borrow() == Held::Lost {
                self.lead = None;
                self.working.clear();
                tracing::info!("this bridge no longer decides about rollouts");
            }
            return;
        }
        let Some(attempt) = &mut self.attempt else {
            return std::future::pending().await;
        };
        let outcome = attempt.await;
        self.attempt = None;
        self.retry = clock::now() + PAUSE;
        match outcome {
            Ok(Some(lead)) => {
                self.said = None;
                self.working.clear();
                self.lead = Some(lead);
                tracing::info!("this bridge decides about rollouts");
            }
            Ok(None) => {}
            Err(error) => {
                if let StateError::Store(StoreError::Denied { .. }) = &error {
                    self.retry = clock::now() + DENIED;
                }
                self.say(&format!("this bridge cannot decide about rollouts: {error}"));
            }
        }
    }

    /// What to decide from: what was decided last, if nobody wrote meanwhile. `None`: not now.
    pub(super) fn base(&mut self, service: &Arc<str>, stored: Option<&Kept>) -> Option<Arc<Record>> {
        let revision = stored.map(|(_, revision)| *revision);
        if self.blocked.contains_key(service) {
            return None;
        }
        match self.working.get(service) {
            Some(working) if working.base == revision => return Some(working.record.clone()),
            Some(_) => drop(self.working.remove(service)),
            None => {}
        }
        Some(stored.map_or_else(Arc::default, |(record, _)| record.clone()))
    }

    /// Remembers what was only counted.
    pub(super) fn remember(&mut self, service: &Arc<str>, base: Option<Revision>, record: Arc<Record>) {
        let since = self
            .working
            .get(service)
            .map_or_else(clock::now, |working| working.since);
        let working = Working { base, record, since };
        self.working.insert(service.clone(), working);
    }

    /// Records that have not been written for long enough.
    pub(super) fn unwritten(&self) -> Vec<(Arc<str>, Option<Revision>, Arc<Record>)> {
        let now = clock::now();
        let due = self
            .working
            .iter()
            .filter(|(_, working)| working.since + FLUSH <= now);
        due.map(|(service, working)| (service.clone(), working.base, working.record.clone()))
            .collect()
    }

    /// When the next of them is due.
    pub(super) fn flush_due(&self) -> Option<Instant> {
        self.working.values().map(|working| working.since + FLUSH).min()
    }

    /// Writes a record, if it is still as it was. `None`: it is not, or nobody knows.
    pub(super) async fn write(
        &mut self,
        service: &Arc<str>,
        base: Option<Revision>,
        record: &Record,
    ) -> Option<Revision> {
        let lead = self.lead.as_ref().filter(|lead| lead.is_held())?;
        let when = base.map_or(If::Absent, If::Revision);
        let text = document::text(record);
        let path = Path::Rollout(service.clone());
        let writing = tokio::time::timeout(WRITE, lead.put(&path, &text, when)).await;
        self.working.remove(service);
        let error = match writing {
            Ok(Ok(revision)) => {
                self.said = None;
                return Some(revision);
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer within {} s", WRITE.as_secs()),
        };
        // What is there is seen by the watch, which is a moment behind.
        self.blocked.insert(service.clone(), clock::now() + PAUSE);
        self.say(&format!(
            "the rollout of {service} cannot be written, and stays as it is: {error}"
        ));
        None
    }

    /// Services that may be written again.
    pub(super) fn unblocked(&mut self) -> Vec<Arc<str>> {
        let now = clock::now();
        let over: Vec<Arc<str>> = self
            .blocked
            .iter()
            .filter(|(_, until)| **until <= now)
            .map(|(service, _)| service.clone())
            .collect();
        self.blocked.retain(|_, until| *until > now);
        over
    }

    /// When what was refused is tried again.
    pub(super) fn blocked_until(&self) -> Option<Instant> {
        self.blocked.values().min().copied()
    }

    /// Lets another one lead now. What was only counted is written before.
    pub(super) async fn end(mut self) {
        let end = async {
            let left: Vec<_> = std::mem::take(&mut self.working).into_iter().collect();
            for (service, working) in left {
                self.write(&service, working.base, &working.record).await;
            }
            if let Some(lead) = self.lead.take() {
                lead.end().await;
            }
        };
        if tokio::time::timeout(FAREWELL, end).await.is_err() {
            tracing::debug!("the lead ends by its time");
        }
    }

    /// Once for each reason, until it works again.
    fn say(&mut self, text: &str) {
        if self.said.as_deref() != Some(text) {
            tracing::warn!("{text}");
            self.said = Some(text.to_owned());
        }
    }
}
