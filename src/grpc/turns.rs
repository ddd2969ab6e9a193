//! New streams at a bounded rate: each waits for its turn, and only one that would wait for longer than a client does is
//! refused.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use http::Response;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tonic::body::Body;

use super::pace::Pace;
use crate::clock;

/// The longest time that a new stream waits for its turn: Envoy and gRPC give up after 15 s.
const PATIENCE: Duration = Duration::from_secs(5);

/// What the streams of one service share.
#[derive(Debug)]
pub(in crate::grpc) struct Turns(Mutex<Pace>);

impl Turns {
    pub(in crate::grpc) fn new(per_second: u32) -> Self {
        Self(Mutex::new(Pace::new(per_second, per_second, clock::now())))
    }

    /// When a stream that opens now may begin.
    ///
    /// # Errors
    /// The queue is too long; to be tried again after this.
    pub(in crate::grpc) fn turn(&self, now: Instant) -> Result<Instant, Duration> {
        let mut pace = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let wait = pace.wait(now);
        if wait > PATIENCE {
            return Err(wait);
        }
        pace.take(now);
        Ok(now + wait)
    }
}

/// Waits until it is a stream's turn; false: the port closes before that.
pub(in crate::grpc) async fn begins(turn: Instant, stop: &CancellationToken) -> bool {
    stop.run_until_cancelled(tokio::time::sleep_until(turn))
        .await
        .is_some()
}

/// Come back later, and when.
pub(in crate::grpc) fn too_many(what: &str, wait: Duration) -> Response<Body> {
    let mut status = Status::unavailable(format!("too many {what} begin at once"));
    let wait = u32::try_from(wait.as_millis()).unwrap_or(u32::MAX);
    status
        .metadata_mut()
        .insert("grpc-retry-pushback-ms", wait.into());
    status.into_http()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_queue_that_is_too_long_is_refused() {
        let admission = Turns::new(10);
        let now = clock::now();
        let turns: Vec<Result<Instant, Duration>> = (0..62).map(|_| admission.turn(now)).collect();
        assert_eq!(turns[9], Ok(now));
        assert_eq!(turns[10], Ok(now + Duration::from_millis(100)));
        assert_eq!(turns[59], Ok(now + Duration::from_secs(5)));
        assert_eq!(turns[60], Err(Duration::from_millis(5_100)));
        assert_eq!(turns[61], turns[60], "a refused one takes no turn");
    }
}
