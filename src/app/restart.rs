//! A source that ends or panics does not end the program: what it delivered stays, and it is started again, after a
//! pause that doubles each time.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::clock;
use crate::hub::{Order, SourceInfo};
use crate::model::change::What;
use crate::model::{Event, Status};

/// The first pause.
const FIRST: Duration = Duration::from_secs(1);

/// The longest; after a run that lasted longer the pauses begin at the first again.
const LONGEST: Duration = Duration::from_secs(60);

/// The hub's side of a source.
#[derive(Clone, Debug)]
pub(super) struct Reporting {
    pub(super) name: Arc<str>,
    pub(super) info: SourceInfo,
    pub(super) events: mpsc::Sender<Event>,
    pub(super) orders: mpsc::Sender<Order>,
}

impl Reporting {
    /// The source has ended; false: the hub has, too.
    async fn away(&self, reason: String) -> bool {
        let event = Event {
            source: self.name.clone(),
            what: What::Status(Status::Away { reason }),
        };
        self.events.send(event).await.is_ok()
    }

    /// Another run begins.
    async fn again(&self) -> bool {
        let (reply, done) = oneshot::channel();
        let order = Order::AddSource {
            name: self.name.clone(),
            info: self.info.clone(),
            reply,
        };
        self.orders.send(order).await.is_ok() && done.await.is_ok()
    }
}

/// Runs what `start` makes until `stop`, again and again if need be.
pub(super) async fn keep_running<F>(
    mut start: impl FnMut(CancellationToken) -> F,
    reporting: Reporting,
    stop: CancellationToken,
) where
    F: Future<Output = ()> + Send + 'static,
{
    let mut pause = FIRST;
    loop {
        let began = clock::now();
        let outcome = AbortOnDropHandle::new(tokio::spawn(start(stop.clone()))).await;
        let reason = match outcome {
            Ok(()) => "its task ended".to_owned(),
            Err(error) => format!("its task failed: {error}"),
        };
        if stop.is_cancelled() {
            return;
        }
        if clock::now().duration_since(began) > LONGEST {
            pause = FIRST;
        }
        let source = &*reporting.name;
        tracing::error!(
            source,
            reason,
            ?pause,
            "the source ended unexpectedly: it is started again"
        );
        if !reporting
            .away(format!("{reason}; started again in {pause:?}"))
            .await
        {
            return;
        }
        let paused = stop.run_until_cancelled(tokio::time::sleep(pause)).await;
        if paused.is_none() || !reporting.again().await {
            return;
        }
        pause = (pause * 2).min(LONGEST);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_source_that_panics_is_away_and_runs_again() {
        let (events, mut inbox) = mpsc::channel(4);
        let (orders, mut orders_in) = mpsc::channel(4);
        let stop = CancellationToken::new();
        let reporting = Reporting {
            name: "s".into(),
            info: SourceInfo::new("file"),
            events,
            orders,
        };
        let mut runs = 0;
        let start = move |stop: CancellationToken| {
            runs += 1;
            async move {
                match runs {
                    1 => panic!("by the test"),
                    2 => {}
                    _ => stop.cancelled().await,
                }
            }
        };
        let began = clock::now();
        let running = tokio::spawn(keep_running(start, reporting, stop.clone()));
        for (words, pauses) in [("by the test", 1), ("its task ended", 3)] {
            let event = inbox.recv().await.unwrap();
            let What::Status(Status::Away { reason }) = event.what else {
                panic!("{event:?}")
            };
            assert!(reason.contains(words), "{reason}");
            let Some(Order::AddSource { name, reply, .. }) = orders_in.recv().await else {
                panic!("no order")
            };
            assert_eq!(&*name, "s");
            assert_eq!(clock::now() - began, FIRST * pauses);
            reply.send(()).unwrap();
        }
        stop.cancel();
        running.await.unwrap();
    }
}
