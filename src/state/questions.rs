//! What one bridge asks all of them, such as whether their clients know of a drain: a question under the asker's
//! presence, and an answer of each bridge under its own.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::{AbortHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use super::document::{self, Answer, Question};
use super::handle::{Snapshot, State, StateError, random_id};
use super::kept::Kept;
use super::path::Path;
use crate::registry::store::StoreError;

/// How long our own presence is waited for, right after the start.
const PRESENCE: Duration = Duration::from_secs(5);

/// A question that is asked until this is dropped.
#[derive(Debug)]
pub struct Asked {
    id: Arc<str>,
    state: State,
    _kept: Kept,
}

/// The way to answer one question; the answer is there until this is dropped.
#[derive(Debug)]
pub struct Answering {
    state: State,
    key: String,
    kept: Option<Kept>,
}

impl State {
    /// Asks all bridges, this one too.
    ///
    /// # Errors
    /// [`StateError`]
    pub async fn ask(&self, question: &Question) -> Result<Asked, StateError> {
        let id: Arc<str> = random_id().into();
        let key = Path::Question(id.clone()).to_string();
        let text = document::text(question);
        self.store().await?; // says why there is none
        let present = async {
            loop {
                match self.present() {
                    Some(hold) => return hold,
                    None => tokio::time::sleep(Duration::from_millis(50)).await,
                }
            }
        };
        let Ok(hold) = tokio::time::timeout(PRESENCE, present).await else {
            return Err(self.absent());
        };
        hold.put(&key, text.as_bytes()).await?;
        Ok(Asked {
            id,
            state: self.clone(),
            _kept: Kept::new(self.clone(), key, &text, Some(hold.token())),
        })
    }

    /// Why others do not know of us.
    fn absent(&self) -> StateError {
        let snapshot = self.snapshot();
        let store = match &snapshot.missing {
            Some(grant) => StoreError::Denied {
                reason: "this bridge may not say that it runs, so nothing can be asked".to_owned(),
                grant: grant.clone(),
            },
            None => StoreError::Away {
                reason: format!(
                    "this bridge is not among those that share it: {}",
                    snapshot.status
                ),
                uncertain: false,
            },
        };
        store.into()
    }

    /// Answers all questions until `stop`. `answer` is called for each, once, and what it returns is dropped when the
    /// question is.
    pub async fn answer_all<F>(self, answer: impl Fn(Question, Answering) -> F, stop: CancellationToken)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let mut snapshots = self.follow();
        let mut tasks = JoinSet::new();
        let mut running: BTreeMap<Arc<str>, AbortHandle> = BTreeMap::new();
        loop {
            let snapshot = snapshots.borrow_and_update().clone();
            let questions = &snapshot.documents.questions;
            running.retain(|id, task| {
                let asked = questions.contains_key(id);
                if !asked {
                    task.abort();
                }
                asked
            });
            for (id, question) in questions {
                if running.contains_key(id) {
                    continue;
                }
                let answering = Answering {
                    state: self.clone(),
                    key: Path::Answer(id.clone(), self.replica().clone()).to_string(),
                    kept: None,
                };
                running.insert(id.clone(), tasks.spawn(answer(question.clone(), answering)));
            }
            tokio::select! {
                changed = snapshots.changed() => if changed.is_err() { return },
                Some(ended) = tasks.join_next() => if let Err(error) = ended && error.is_panic() {
                    tracing::error!(%error, "a question could not be answered");
                },
                () = stop.cancelled() => return,
            }
        }
    }
}

impl Asked {
    /// Its random name.
    #[must_use]
    pub fn id(&self) -> &Arc<str> {
        &self.id
    }

    /// What is known by now ([`State::follow`] says when that changes): each bridge that runs, and its answer, if it has given one.
    #[must_use]
    pub fn answers(&self) -> BTreeMap<Arc<str>, Option<Answer>> {
        answers(&self.state.snapshot(), &self.id)
    }

    /// Whether each bridge that runs, and this one, has answered that it is done.
    #[must_use]
    pub fn is_done(&self) -> bool {
        let answers = self.answers();
        answers.contains_key(self.state.replica())
            && answers
                .values()
                .all(|answer| answer.as_ref().is_some_and(|answer| answer.done))
    }
}

fn answers(snapshot: &Snapshot, id: &Arc<str>) -> BTreeMap<Arc<str>, Option<Answer>> {
    let given = snapshot.documents.answers.get(id);
    let all: BTreeSet<&Arc<str>> = snapshot
        .documents
        .replicas
        .keys()
        .chain(given.into_iter().flat_map(BTreeMap::keys))
        .collect();
    all.into_iter()
        .map(|replica| {
            let answer = given.and_then(|given| given.get(replica));
            (replica.clone(), answer.cloned())
        })
        .collect()
}

impl Answering {
    /// The answer as it is now. The newest is shared, at most one a second.
    pub fn say(&mut self, answer: &Answer) {
        let text = document::answer_text(answer);
        match &self.kept {
            Some(kept) => kept.set(&text),
            None => self.kept = Some(Kept::new(self.state.clone(), self.key.clone(), &text, None)),
        }
    }
}
