//! The tables of `load streams`.

use std::fmt;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use crate::board::Board;
use crate::changes::Outcome;
use crate::numbers::{Table, mib, ms, secs};
use crate::options::Scale;
use crate::support::procfs;

/// The tables, filled scale by scale.
pub(crate) struct Tables {
    sync: Table,
    change: Table,
    together: Table,
    storm: Table,
}

/// A phase that ends when nothing is received and the server is idle.
pub(crate) struct Phase {
    pub(crate) wall: Duration,
    pub(crate) quiet: Duration,
    pub(crate) cpu: Duration,
}

impl Tables {
    pub(crate) fn new() -> Self {
        Self {
            sync: Table::new(
                "First sync of all streams; resident memory before, after and at most, MiB",
                &[
                    "streams × services",
                    "wall, s",
                    "server CPU, s",
                    "sent, MiB",
                    "before",
                    "after",
                    "peak",
                    "per stream, KiB",
                ],
            ),
            change: Table::new(
                "One endpoint changes: from the begin of the write to etcd to all streams, ms",
                &[
                    "streams × services",
                    "p50 / p99 / max",
                    "to the first stream",
                    "first → median",
                    "first → p99",
                    "first → last",
                    "server CPU per change",
                    "etcd's own write",
                ],
            ),
            together: Table::new(
                "Ten services change at once: until each stream has all ten, ms",
                &[
                    "streams × services",
                    "p50 / p99 / max",
                    "first → last",
                    "server CPU",
                    "responses per stream",
                ],
            ),
            storm: Table::new(
                "All streams are cut and come back with right claims (CDS and EDS)",
                &[
                    "streams × services",
                    "all answered, s",
                    "quiet, s",
                    "server CPU, s",
                    "sent, KiB",
                    "resources sent",
                    "peak, MiB",
                ],
            ),
        }
    }

    pub(crate) fn sync(&mut self, scale: Scale, sync: &Phase, board: &Board, before: u64, pid: u32) {
        let after = procfs::resident(pid);
        self.sync.row([
            scale.title(),
            secs(sync.wall),
            secs(sync.cpu),
            mib(board.bytes.load(Relaxed) / 1024),
            mib(before),
            mib(after),
            mib(procfs::peak(pid)),
            (after.saturating_sub(before) / scale.streams.max(1) as u64).to_string(),
        ]);
    }

    pub(crate) fn change(&mut self, scale: Scale, outcome: &Outcome) {
        let [median, late, last] = &outcome.spread;
        self.change.row([
            scale.title(),
            outcome.all.three(),
            ms(outcome.first.median()),
            ms(median.median()),
            ms(late.median()),
            ms(last.median()),
            ms(outcome.cpu),
            ms(outcome.write.median()),
        ]);
    }

    pub(crate) fn together(&mut self, scale: Scale, outcome: &Outcome) {
        self.together.row([
            scale.title(),
            outcome.all.three(),
            ms(outcome.spread[2].median()),
            ms(outcome.cpu),
            format!("{:.2}", outcome.answers),
        ]);
    }

    pub(crate) fn storm(&mut self, scale: Scale, storm: &Phase, board: &Board, pid: u32) {
        let resources = board
            .slots
            .iter()
            .map(|slot| u64::from(slot.endpoints()) + u64::from(slot.clusters.resources.load(Relaxed)));
        self.storm.row([
            scale.title(),
            secs(storm.wall),
            secs(storm.quiet),
            secs(storm.cpu),
            (board.bytes.load(Relaxed) / 1024).to_string(),
            resources.sum::<u64>().to_string(),
            mib(procfs::peak(pid)),
        ]);
    }
}

impl fmt::Display for Tables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for table in [&self.sync, &self.change, &self.together, &self.storm] {
            write!(f, "{table}")?;
        }
        Ok(())
    }
}
