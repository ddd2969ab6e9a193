//! The table of errors behind its lock, between the streams of access logs and whoever shows which errors there are.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::clock;
use crate::errors::{Allowance, ClusterErrors, Entry, Limits, Line, Message, Table, by_version};
use crate::rollout::ErrorLine;

/// All errors.
#[derive(Debug)]
pub struct Errors {
    began: Instant,
    /// Held for one message or one question, never across an `await`. Messages are read before.
    table: Mutex<Table>,
}

impl Default for Errors {
    fn default() -> Self {
        Self {
            began: clock::now(),
            table: Mutex::new(Table::new(Limits::default())),
        }
    }
}

impl Errors {
    fn lock(&self) -> MutexGuard<'_, Table> {
        // Each section leaves the data whole: what a panic takes with it is one entry.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Duration {
        clock::now().duration_since(self.began)
    }

    /// Of a stream that begins.
    #[must_use]
    pub fn allowance(&self) -> Allowance {
        Allowance::new(self.now())
    }

    /// Takes a message in. Returns false when some of its errors found no line of their own.
    pub fn take(&self, allowance: &mut Allowance, message: &Message<'_>) -> bool {
        let now = self.now();
        let mut table = self.lock();
        let errors = message.errors.iter();
        let mut record = |entry: &&Entry<'_>| {
            let is_expected = table.is_expected(entry.cluster);
            if !is_expected {
                table.lose();
            }
            is_expected && table.record(allowance, entry, now)
        };
        let found = errors.filter(|entry| record(entry)).count();
        found == message.errors.len() && !message.is_cut
    }

    /// The clusters of a service, or all; of each at most `most` lines, the most frequent first. Times are on the clock of
    /// [`Errors::unix_millis`].
    #[must_use]
    pub fn of(&self, service: Option<&str>, most: usize) -> Vec<ClusterErrors> {
        self.lock().errors(service, most)
    }

    /// These services are rolled out, each since then, with these clusters: only of them are errors taken in.
    pub fn expect(&self, all: BTreeMap<Arc<str>, (u64, BTreeSet<Arc<str>>)>) {
        let mut table = self.lock();
        table.expect_only(&all.keys().cloned().collect());
        for (service, (rollout, clusters)) in all {
            table.expect(&service, rollout, clusters);
        }
    }

    /// The errors of a service's present or last rollout for its report, by version, the most frequent first. `version_of`: the version of who
    /// listens there.
    #[must_use]
    pub fn lines(
        &self,
        service: &str,
        version_of: impl Fn(SocketAddr) -> Option<Arc<str>>,
        most: usize,
    ) -> Vec<ErrorLine> {
        let line = |(version, line): (Arc<str>, Line)| ErrorLine {
            version,
            method: line.method.into(),
            status: line.status.to_string(),
            message: line.message.into(),
            flags: line.flags.to_string(),
            upstream: line.upstream.map_or_else(String::new, |at| at.to_string()),
            count: line.count,
            first: self.unix_millis(line.first),
            last: self.unix_millis(line.last),
        };
        let lines = by_version(&self.lock().of_rollout(service), version_of);
        lines.into_iter().take(most).map(line).collect()
    }

    /// Errors of clusters that found no place.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.lock().lost()
    }

    /// A time of the table, in milliseconds since 1970.
    #[must_use]
    pub fn unix_millis(&self, time: Duration) -> u64 {
        let ago = self.now().saturating_sub(time).as_millis();
        clock::unix_millis().saturating_sub(u64::try_from(ago).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn lines_of_a_report_have_their_version_and_times_of_all_clocks() {
        let errors = Errors::default();
        let mut allowance = errors.allowance();
        let judged =
            |started| errors.expect([("orders".into(), (started, ["orders@b".into()].into()))].into());
        judged(1);
        let entry = |path| Entry {
            cluster: "orders@b",
            upstream: "10.0.0.7:80".parse().ok(),
            verb: "GET",
            path,
            status: crate::errors::Status::Http(500),
            message: "no%20table",
            ..Entry::default()
        };
        for (path, times) in [("/list", 2), ("/other", 1)] {
            let message = Message {
                errors: vec![entry(path); times],
                ..Message::default()
            };
            assert!(errors.take(&mut allowance, &message));
            tokio::time::advance(Duration::from_secs(5)).await;
        }
        let all = errors.lines("orders", |_| Some("c".into()), 10);
        let shown: Vec<String> = all
            .iter()
            .map(|line| {
                format!(
                    "{} {} {}x {} {} `{}`",
                    line.version, line.method, line.count, line.status, line.upstream, line.message
                )
            })
            .collect();
        assert_eq!(
            shown,
            [
                "c GET /list 2x 500 10.0.0.7:80 `no table`",
                "c GET /other 1x 500 10.0.0.7:80 `no table`"
            ]
        );
        let apart = all[1].first.abs_diff(all[0].first);
        assert!((4_000..=6_000).contains(&apart), "{apart}");
        assert_eq!(errors.lines("orders", |_| None, 1).len(), 1);
        // The next rollout has errors of its own; the page still has all.
        judged(1);
        assert_eq!(errors.lines("orders", |_| None, 9).len(), 2, "the same rollout");
        judged(2);
        assert_eq!(errors.lines("orders", |_| None, 9), []);
        let mut again = entry("/list");
        again.message = "another%20table";
        let message = Message {
            errors: vec![
                again,
                Entry {
                    cluster: "orders@x",
                    ..entry("/list")
                },
                Entry {
                    cluster: "cart",
                    ..entry("/list")
                },
            ],
            ..Message::default()
        };
        assert!(!errors.take(&mut allowance, &message), "two of them are invented");
        let fresh = errors.lines("orders", |_| None, 9);
        let shown: Vec<_> = fresh
            .iter()
            .map(|line| (line.count, &*line.message, line.first == line.last))
            .collect();
        assert_eq!(shown, [(1, "another table", true)]);
        let all = errors.of(None, 9);
        assert_eq!((all.len(), all[0].total, errors.lost()), (1, 4, 2));
    }
}
