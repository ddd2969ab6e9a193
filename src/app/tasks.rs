//! Tasks by name: each has a token of its own, so that one can be stopped while the others go on. A task that ends
//! before its time is returned with its name.

use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::{AbortHandle, Id, JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::clock;

/// All tasks of the program.
#[derive(Debug)]
pub(super) struct Tasks {
    set: JoinSet<()>,
    running: BTreeMap<Id, Task>,
    /// Those that ended while another one was waited for.
    ended: VecDeque<Ended>,
    stop: CancellationToken,
    /// How long they may take to end.
    timeout: Duration,
}

#[derive(Debug)]
struct Task {
    name: Arc<str>,
    stop: CancellationToken,
    abort: AbortHandle,
    /// It has an end of its own.
    is_short: bool,
}

/// A task that ended before it was stopped.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) name: Arc<str>,
    pub(super) outcome: Result<(), JoinError>,
}

impl Tasks {
    /// None yet; all end with `stop`, within this time.
    pub(super) fn new(stop: CancellationToken, timeout: Duration) -> Self {
        Self {
            set: JoinSet::new(),
            running: BTreeMap::new(),
            ended: VecDeque::new(),
            stop,
            timeout,
        }
    }

    /// Starts a task that runs until its token is cancelled.
    pub(super) fn spawn<F>(&mut self, name: impl Into<Arc<str>>, task: impl FnOnce(CancellationToken) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let stop = self.stop.child_token();
        self.start(name.into(), task(stop.clone()), stop, false);
    }

    /// Starts a task that ends by itself.
    pub(super) fn spawn_short(
        &mut self,
        name: impl Into<Arc<str>>,
        task: impl Future<Output = ()> + Send + 'static,
    ) {
        self.start(name.into(), task, self.stop.child_token(), true);
    }

    fn start(
        &mut self,
        name: Arc<str>,
        task: impl Future<Output = ()> + Send + 'static,
        stop: CancellationToken,
        is_short: bool,
    ) {
        let abort = self.set.spawn(task);
        let task = Task {
            name,
            stop,
            abort: abort.clone(),
            is_short,
        };
        self.running.insert(abort.id(), task);
    }

    /// The next task that ends before its time; `None`: none is left. May be dropped and called again.
    pub(super) async fn next(&mut self) -> Option<Ended> {
        loop {
            if let Some(ended) = self.ended.pop_front() {
                return Some(ended);
            }
            self.join().await?;
        }
    }

    /// Stops the tasks of this name, and waits until they have ended: one that is late is cut off.
    pub(super) async fn stop(&mut self, name: &str) {
        for task in self.named(name) {
            task.stop.cancel();
        }
        let ended = tokio::time::timeout_at(clock::now() + self.timeout, self.until_ended(name)).await;
        if ended.is_err() {
            tracing::warn!(task = name, timeout = ?self.timeout, "did not end in time; cut off");
            for task in self.named(name) {
                task.abort.abort();
            }
            self.until_ended(name).await;
        }
    }

    fn named(&self, name: &str) -> impl Iterator<Item = &Task> {
        self.running.values().filter(move |task| &*task.name == name)
    }

    async fn until_ended(&mut self, name: &str) {
        while self.named(name).next().is_some() && self.join().await.is_some() {}
    }

    /// Waits for the next task that ends, and notes it if that was before its time.
    async fn join(&mut self) -> Option<()> {
        let (id, outcome) = match self.set.join_next_with_id().await? {
            Ok((id, ())) => (id, Ok(())),
            Err(error) => (error.id(), Err(error)),
        };
        let Some(task) = self.running.remove(&id) else {
            return Some(());
        };
        let stopped = task.stop.is_cancelled();
        match outcome {
            Ok(()) if task.is_short || stopped => tracing::debug!(task = &*task.name, "ended"),
            Err(error) if stopped => tracing::error!(task = &*task.name, %error, "ended badly"),
            outcome => self.ended.push_back(Ended {
                name: task.name,
                outcome,
            }),
        }
        Some(())
    }

    /// Waits for all tasks, now that `stop` is cancelled, and names those that are late.
    pub(super) async fn finish(mut self) {
        let deadline = clock::now() + self.timeout;
        let all = async { while self.join().await.is_some() {} };
        if tokio::time::timeout_at(deadline, all).await.is_err() {
            let late: Vec<&str> = self.running.values().map(|task| &*task.name).collect();
            tracing::warn!(tasks = late.join(", "), timeout = ?self.timeout, "did not end in time; cut off");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(10);

    fn tasks() -> Tasks {
        Tasks::new(CancellationToken::new(), TIMEOUT)
    }

    #[tokio::test(start_paused = true)]
    async fn one_is_stopped_and_the_others_go_on() {
        let mut tasks = tasks();
        for name in ["a", "b"] {
            tasks.spawn(name, async |stop| stop.cancelled().await);
        }
        tasks.spawn_short("greeting", std::future::ready(()));
        tasks.stop("a").await;
        let names: Vec<&str> = tasks.running.values().map(|task| &*task.name).collect();
        assert!(!names.contains(&"a") && names.contains(&"b"));
        tasks.stop.cancel();
        assert!(tasks.next().await.is_none(), "none ended before its time");
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_ends_or_panics_is_named_also_while_another_is_stopped() {
        let mut tasks = tasks();
        tasks.spawn("slow", async |stop| {
            stop.cancelled().await;
            tokio::time::sleep(TIMEOUT / 2).await;
        });
        tasks.spawn("ends", |_| std::future::ready(()));
        tasks.spawn("panics", async |_| panic!("by the test"));
        tasks.stop("slow").await;
        let mut ended = [tasks.next().await.unwrap(), tasks.next().await.unwrap()];
        ended.sort_by(|a, b| a.name.cmp(&b.name));
        assert_eq!(
            ended.iter().map(|ended| &*ended.name).collect::<Vec<_>>(),
            ["ends", "panics"]
        );
        assert!(ended[0].outcome.is_ok());
        assert!(ended[1].outcome.as_ref().is_err_and(JoinError::is_panic));
        assert!(tasks.next().await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_does_not_end_is_cut_off() {
        let mut tasks = tasks();
        tasks.spawn("stuck", |_| std::future::pending());
        let began = clock::now();
        tasks.stop("stuck").await;
        assert_eq!(clock::now() - began, TIMEOUT);
        assert!(tasks.running.is_empty() && tasks.next().await.is_none());
    }
}
