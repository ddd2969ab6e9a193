//! A queue and a task for each address. Handing an event on never waits: where the queue is full it is lost, counted and
//! logged.

use std::sync::Arc;
use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBuilder};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::notice::Notice;
use super::post::{Failure, Post};
use crate::config::Webhook;
use crate::metrics::{Metrics, Sent};

/// Events that wait for one address.
const WAITING: usize = 256;

/// How long is waited, and how often.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// No answer in this time is an error.
    pub deadline: Duration,
    /// Attempts for one event.
    pub attempts: usize,
    /// The first pause between two; the next are twice as long.
    pub pause: Duration,
    /// The longest.
    pub longest: Duration,
}

impl Default for Patience {
    /// An event is given up after some four minutes.
    fn default() -> Self {
        Self {
            deadline: Duration::from_secs(10),
            attempts: 8,
            pause: Duration::from_secs(1),
            longest: Duration::from_secs(120),
        }
    }
}

/// The way to all addresses.
#[derive(Clone, Debug, Default)]
pub struct Hooks(Arc<[mpsc::Sender<Arc<Notice>>]>);

/// The other end of it: what sends.
#[derive(Debug)]
pub struct Sending {
    queues: Vec<(Post, mpsc::Receiver<Arc<Notice>>)>,
    patience: Patience,
    metrics: Arc<Metrics>,
}

impl Hooks {
    /// For these addresses.
    #[must_use]
    pub fn new(hooks: &[Webhook], patience: Patience, metrics: Arc<Metrics>) -> (Self, Sending) {
        let mut senders = Vec::new();
        let mut queues = Vec::new();
        for hook in hooks {
            let (sender, queue) = mpsc::channel(WAITING);
            senders.push(sender);
            queues.push((Post::new(hook.clone()), queue));
        }
        let sending = Sending {
            queues,
            patience,
            metrics,
        };
        (Self(senders.into()), sending)
    }

    /// There is an address.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Hands an event on. Returns for how many addresses it is lost, since too many wait there already.
    pub fn send(&self, notice: Notice) -> usize {
        let notice = Arc::new(notice);
        let lost = self
            .0
            .iter()
            .filter(|queue| queue.try_send(notice.clone()).is_err());
        lost.count()
    }
}

/// Sends what is handed on, until `stop`.
pub async fn run(sending: Sending, stop: CancellationToken) {
    let mut tasks = JoinSet::new();
    for (post, queue) in sending.queues {
        let (metrics, patience) = (sending.metrics.clone(), sending.patience);
        let stop = stop.clone();
        tasks.spawn(async move {
            let following = follow(&post, queue, patience, &metrics);
            stop.run_until_cancelled(following).await;
        });
    }
    while tasks.join_next().await.is_some() {}
    stop.cancelled().await;
}

async fn follow(post: &Post, mut queue: mpsc::Receiver<Arc<Notice>>, patience: Patience, metrics: &Metrics) {
    while let Some(notice) = queue.recv().await {
        if !post.wants(&notice) {
            continue;
        }
        metrics.webhook(deliver(post, &notice, patience).await);
    }
}

/// Until it has arrived, or it is hopeless.
async fn deliver(post: &Post, notice: &Notice, patience: Patience) -> Sent {
    let pauses = ExponentialBuilder::default()
        .with_min_delay(patience.pause)
        .with_max_delay(patience.longest)
        .with_jitter()
        .with_max_times(patience.attempts.saturating_sub(1))
        .build();
    let mut pauses = pauses;
    let mut attempts = 0;
    loop {
        attempts += 1;
        let failure = match post.send(notice, patience.deadline).await {
            Ok(()) => {
                tracing::debug!(
                    host = post.shown(),
                    event = notice.word,
                    id = notice.id,
                    "webhook sent"
                );
                return Sent::Arrived;
            }
            Err(failure) => failure,
        };
        let (why, pause) = match failure {
            Failure::Later(why, wait) => (
                why,
                pauses.next().map(|pause| pause.max(wait.unwrap_or_default())),
            ),
            Failure::Never(why) => (why, None),
        };
        let Some(pause) = pause else {
            tracing::warn!(
                host = post.shown(),
                event = notice.word,
                id = notice.id,
                attempts,
                why,
                "webhook not sent: the event is given up"
            );
            return Sent::GivenUp;
        };
        tracing::info!(
            host = post.shown(),
            event = notice.word,
            id = notice.id,
            attempts,
            why,
            "webhook not sent yet"
        );
        tokio::time::sleep(pause).await;
    }
}
