//! The learned rate against a bucket of tokens as Consul's, in a time of the test's own.

use super::Rank::{Change, Round, Start};
use super::*;

/// Consul's limiter: a rate per second, and a burst after a quiet time.
struct Bucket {
    rate: f64,
    burst: f64,
    tokens: f64,
    at: Duration,
}

impl Bucket {
    const fn new(rate: f64, burst: f64) -> Self {
        Self {
            rate,
            burst,
            tokens: burst,
            at: Duration::ZERO,
        }
    }

    fn allows(&mut self, now: Duration) -> bool {
        self.tokens = (self.tokens + now.saturating_sub(self.at).as_secs_f64() * self.rate).min(self.burst);
        self.at = now;
        let allowed = self.tokens >= 1.0;
        if allowed {
            self.tokens -= 1.0;
        }
        allowed
    }
}

/// Answered and refused requests of somebody who always has one more, after a second `from` until `to`.
fn run(bucket: &mut Bucket, rate: &mut Rate, from: f64, to: f64) -> (f64, f64) {
    let (mut answered, mut refused) = (0.0, 0.0);
    let mut now = Duration::from_secs_f64(from);
    while now < Duration::from_secs_f64(to) {
        match rate.take(now) {
            Some(pause) => now += pause.max(Duration::from_millis(1)),
            None if bucket.allows(now) => {
                rate.answered(now);
                answered += 1.0;
                now += Duration::from_millis(1);
            }
            None => {
                rate.refused(now);
                refused += 1.0;
                now += Duration::from_millis(1);
            }
        }
    }
    (answered, refused)
}

#[test]
fn without_a_refusal_nothing_waits() {
    let mut rate = Rate::new(Duration::from_secs(180));
    let (answered, refused) = run(&mut Bucket::new(1e6, 1e6), &mut rate, 0.0, 1.0);
    assert!(answered > 900.0 && refused < 1.0, "{answered} {refused}");
    assert!(rate.limit.is_none());
}

#[test]
fn most_of_what_is_allowed_is_used_and_little_is_refused() {
    for (allowed, burst) in [
        (1.0, 1.0),
        (5.0, 5.0),
        (5.0, 100.0),
        (100.0, 100.0),
        (200.0, 1000.0),
    ] {
        let (mut bucket, mut rate) = (Bucket::new(allowed, burst), Rate::new(Duration::from_secs(180)));
        run(&mut bucket, &mut rate, 0.0, 20.0);
        let (answered, refused) = run(&mut bucket, &mut rate, 20.0, 80.0);
        assert!(answered > allowed * 60.0 * 0.55, "{allowed}: {answered} in 60 s");
        assert!(refused < answered * 0.1 + 30.0, "{allowed}: {refused} refused");
    }
}

/// As of agents that do not stream: the rate is not taken for that of the answers.
#[test]
fn requests_that_are_answered_late_do_not_lower_the_rate() {
    let mut rate = Rate::new(Duration::from_secs(180));
    for _ in 0..5 {
        rate.answered(Duration::ZERO);
    }
    for second in 0..20 {
        let now = Duration::from_secs(second);
        for _ in 0..4 {
            rate.taken(now);
        }
        rate.refused(now);
    }
    assert!(rate.limit.is_some_and(|limit| limit > 1.5), "{:?}", rate.limit);
}

#[test]
fn a_limit_that_is_gone_is_forgotten() {
    let calm = Duration::from_secs(30);
    let mut rate = Rate::new(calm);
    run(&mut Bucket::new(5.0, 5.0), &mut rate, 0.0, 10.0);
    assert!(rate.limit.is_some());
    let refused = rate.refused.unwrap();
    assert!(!rate.is_calm(refused + calm / 2) && rate.is_calm(refused + calm));
    assert_eq!(rate.take(refused + calm), None);
    assert!(rate.limit.is_none());
}

#[tokio::test(start_paused = true)]
async fn what_a_change_waits_for_goes_first() {
    let pace = Pace::new(Duration::from_secs(180), Duration::from_secs(30));
    for _ in 0..4 {
        pace.answered();
    }
    pace.limited();
    let order = Mutex::new(Vec::new());
    let one = async |rank: Rank| {
        pace.turn(rank).await;
        order.lock().unwrap().push(rank);
    };
    tokio::join!(
        one(Round),
        one(Round),
        one(Start),
        one(Start),
        one(Change),
        one(Change),
    );
    assert_eq!(
        *order.lock().unwrap(),
        [Change, Change, Start, Start, Round, Round]
    );
}

#[tokio::test(start_paused = true)]
async fn nothing_answered_at_all_is_an_outage() {
    let pace = Pace::new(Duration::from_secs(180), Duration::from_secs(30));
    assert!(pace.note().is_none());
    for _ in 0..30 {
        pace.limited();
        assert!(!pace.starved());
        tokio::time::advance(Duration::from_secs(1)).await;
    }
    assert!(pace.starved() && pace.note().is_some_and(|note| note.contains("rpc_rate")));
    pace.answered();
    assert!(!pace.starved());
}
