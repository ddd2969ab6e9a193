//! `load registries`: what the bridge costs a registry of thousands of services, and what it takes
//! itself: its first sync, nothing at all, steady changes, and a registry that is away for a while.
//! Beside it what a plain watcher of the same registry does.

use std::fmt;
use std::time::Duration;

use crate::awaited::Took;
use crate::numbers::{Table, figures, mib, now};
use crate::options::Registry;
use crate::server::Server;
use crate::support::procfs;
use crate::support::tap::Tap;
use crate::{agents, keys};

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Extent {
    pub(crate) consul_services: usize,
    pub(crate) etcd_services: usize,
    /// Nothing changes for so long.
    pub(crate) idle: Duration,
    /// Changes for so long.
    pub(crate) busy: Duration,
    pub(crate) away: Duration,
}

impl Extent {
    fn new(quick: bool) -> Self {
        let seconds = |full, small| Duration::from_secs(if quick { small } else { full });
        Self {
            consul_services: if quick { 300 } else { 2_000 },
            etcd_services: if quick { 500 } else { 5_000 },
            idle: seconds(20, 5),
            busy: seconds(30, 6),
            away: seconds(30, 5),
        }
    }
}

/// Prints the tables.
pub(crate) async fn measure(only: Option<Registry>, quick: bool) {
    let extent = Extent::new(quick);
    let mut tables = Tables::new();
    if only != Some(Registry::Etcd) {
        agents::measure(extent, &mut tables).await;
    }
    if only != Some(Registry::Consul) {
        keys::measure(extent, &mut tables).await;
    }
    println!("{tables}");
}

/// The tables, filled row by row.
pub(crate) struct Tables {
    pub(crate) sync: Table,
    pub(crate) idle: Table,
    pub(crate) busy: Table,
    pub(crate) away: Table,
}

impl Tables {
    fn new() -> Self {
        let cpu = ["registry CPU, % of a core", "watcher CPU, % of a core"];
        let table = |title: &str, columns: &[&str]| {
            let head: Vec<&str> = ["who watches"].iter().chain(columns).copied().collect();
            Table::new(title, &head)
        };
        Self {
            sync: table(
                "First sync: from its start until all is served",
                &[
                    "s",
                    "registry CPU, s",
                    "watcher CPU, s",
                    "requests",
                    "MiB on the wire",
                    "connections, at most",
                    "resident, MiB",
                    "peak, MiB",
                ],
            ),
            idle: table(
                "Nothing changes",
                &[cpu[0], cpu[1], "requests per s", "KiB per s"],
            ),
            busy: table(
                "Steady changes: from the begin of a write until it is seen, p50 / p99 / max, ms",
                &[
                    "write → seen",
                    cpu[0],
                    cpu[1],
                    "requests per change",
                    "KiB per change",
                    "connections",
                    "resident, MiB",
                ],
            ),
            away: table(
                "The registry is away, then back",
                &[
                    "connections tried while away",
                    "back → all confirmed, s",
                    "requests for it",
                    "MiB for it",
                    "registry CPU, s",
                    "connections, at most",
                ],
            ),
        }
    }
}

impl fmt::Display for Tables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for table in [&self.sync, &self.idle, &self.busy, &self.away] {
            write!(f, "{table}")?;
        }
        Ok(())
    }
}

/// What is looked at from outside: a registry, the way to it, and who watches it.
pub(crate) struct Meter<'a> {
    pub(crate) registry: u32,
    /// `None`: a watcher in this process, whose own cost is of no interest.
    pub(crate) watcher: Option<u32>,
    pub(crate) tap: &'a Tap,
    /// Counts requests that were answered.
    pub(crate) requests: Box<dyn Fn() -> usize + 'a>,
}

/// What was used from one moment to another.
pub(crate) struct Used {
    pub(crate) wall: Duration,
    pub(crate) registry: Duration,
    pub(crate) watcher: Option<Duration>,
    pub(crate) requests: usize,
    pub(crate) bytes: u64,
}

impl Meter<'_> {
    /// Measures what happens meanwhile.
    pub(crate) async fn during<T>(&self, act: impl AsyncFnOnce() -> T) -> (Used, T) {
        let (requests, bytes, began) = ((self.requests)(), self.tap.bytes(), now());
        let registry = procfs::cpu(self.registry);
        let watcher = self.watcher.map(procfs::cpu);
        let result = act().await;
        let used = Used {
            wall: now() - began,
            registry: procfs::cpu(self.registry).since(&registry),
            watcher: self
                .watcher
                .zip(watcher)
                .map(|(pid, then)| procfs::cpu(pid).since(&then)),
            requests: (self.requests)() - requests,
            bytes: self.tap.bytes() - bytes,
        };
        (used, result)
    }

    /// Resident and most resident, MiB.
    pub(crate) fn memory(&self) -> [String; 2] {
        self.watcher
            .map_or_else(none, |pid| [procfs::resident(pid), procfs::peak(pid)].map(mib))
    }
}

fn none<const N: usize>() -> [String; N] {
    std::array::from_fn(|_| "–".to_owned())
}

impl Used {
    /// CPU in percent of a core, of the registry and of the watcher.
    pub(crate) fn shares(&self) -> [String; 2] {
        let share = |cpu: Duration| figures(100.0 * cpu.as_secs_f64() / self.wall.as_secs_f64());
        [
            share(self.registry),
            self.watcher.map_or_else(|| "–".to_owned(), share),
        ]
    }

    /// CPU in seconds.
    pub(crate) fn seconds(&self) -> [String; 2] {
        let secs = |cpu: Duration| figures(cpu.as_secs_f64());
        [
            secs(self.registry),
            self.watcher.map_or_else(|| "–".to_owned(), secs),
        ]
    }

    /// Requests and KiB, divided by this number.
    pub(crate) fn per(&self, number: f64) -> [String; 2] {
        let float = |n: u64| f64::from(u32::try_from(n).unwrap_or(u32::MAX));
        let requests = float(self.requests as u64) / number;
        [requests, float(self.bytes / 1024) / number].map(figures)
    }

    /// On the wire.
    pub(crate) fn mib(&self) -> String {
        mib(self.bytes / 1024)
    }
}

impl Tables {
    /// The row of a first sync.
    pub(crate) fn sync(&mut self, who: &str, meter: &Meter<'_>, used: &Used) {
        let head = [who.to_owned(), figures(used.wall.as_secs_f64())];
        let counts = [
            used.requests.to_string(),
            used.mib(),
            meter.tap.most().to_string(),
        ];
        let row = head.into_iter().chain(used.seconds()).chain(counts);
        self.sync.row(row.chain(meter.memory()));
    }

    /// Nothing happens for a while: the row of that.
    pub(crate) async fn idle(&mut self, who: &str, meter: &Meter<'_>, time: Duration) {
        let (used, ()) = meter.during(async || tokio::time::sleep(time).await).await;
        let row = [who.to_owned()].into_iter().chain(used.shares());
        self.idle.row(row.chain(used.per(used.wall.as_secs_f64())));
    }

    /// The row of steady changes.
    pub(crate) fn busy(&mut self, who: &str, meter: &Meter<'_>, used: &Used, took: &Took, changes: usize) {
        let row = [who.to_owned(), took.three()].into_iter().chain(used.shares());
        let changes = f64::from(u32::try_from(changes).expect("so many changes"));
        let row = row.chain(used.per(changes));
        let [resident, _] = meter.memory();
        self.busy
            .row(row.chain([meter.tap.connections().to_string(), resident]));
    }

    /// The row of a registry that was away.
    pub(crate) fn away(&mut self, who: &str, meter: &Meter<'_>, tried: usize, back: &Used, took: &Took) {
        let [registry, _] = back.seconds();
        self.away.row([
            who.to_owned(),
            tried.to_string(),
            figures(back.wall.as_secs_f64()) + &took.lost(),
            back.requests.to_string(),
            back.mib(),
            registry,
            meter.tap.most().to_string(),
        ]);
    }
}

/// A bridge with these sources, and the process that it is.
pub(crate) async fn bridge(sources: &str) -> (Server, u32) {
    let server = Server::start(sources).await;
    let pid = server.pid();
    (server, pid)
}
