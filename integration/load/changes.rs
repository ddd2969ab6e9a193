//! Endpoint changes, written to etcd as a server does it, and when each stream had them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use etcd_client::Client;

use crate::board::{Board, Slot};
use crate::catalog;
use crate::numbers::{Samples, now};
use crate::support::procfs;

/// Between two changes: long enough that each is the first after quiet.
const PAUSE: Duration = Duration::from_millis(40);

/// So many change together in the second part.
const TOGETHER: usize = 10;

/// Random enough, and the same in each run.
#[derive(Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) const fn new() -> Self {
        Self(0x9e37_79b9_7f4a_7c15)
    }

    /// A number below `bound`.
    pub(crate) const fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        let number = (self.0 >> 16) as usize;
        number % bound
    }
}

/// Who subscribes to which service.
#[derive(Debug)]
pub(crate) struct Audience {
    services: usize,
    /// By service; `None`: all streams subscribe to each.
    named: Option<Vec<Vec<usize>>>,
    all: Vec<usize>,
}

impl Audience {
    pub(crate) fn new(services: usize, streams: usize, chosen: Option<&[Vec<usize>]>) -> Self {
        let named = chosen.map(|chosen| {
            let mut named = vec![Vec::new(); services];
            for (stream, services) in chosen.iter().enumerate() {
                for service in services {
                    named[*service].push(stream);
                }
            }
            named
        });
        Self {
            services,
            named,
            all: (0..streams).collect(),
        }
    }

    fn of(&self, service: usize) -> &[usize] {
        self.named.as_ref().map_or(&self.all, |named| &named[service])
    }

    /// A service that somebody subscribes to.
    fn pick(&self, dice: &mut Dice) -> usize {
        loop {
            let service = dice.below(self.services);
            if !self.of(service).is_empty() {
                return service;
            }
        }
    }
}

/// What single changes took.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// From the begin of the write, each stream of each change.
    pub(crate) all: Samples,
    /// The write itself: until etcd said that it is done.
    pub(crate) write: Samples,
    /// From the begin of the write to the first stream.
    pub(crate) first: Samples,
    /// From the first stream on: to the median, the 99th of a hundred, and the last one.
    pub(crate) spread: [Samples; 3],
    /// Of the server, per change.
    pub(crate) cpu: Duration,
    /// Responses about endpoints per stream and change.
    pub(crate) answers: f64,
}

/// The hand that changes endpoints.
pub(crate) struct Changer {
    etcd: Client,
    board: Arc<Board>,
    audience: Audience,
    pid: u32,
    dice: Dice,
    port: u16,
}

impl Changer {
    pub(crate) fn new(etcd: Client, board: Arc<Board>, audience: Audience, pid: u32) -> Self {
        Self {
            etcd,
            board,
            audience,
            pid,
            dice: Dice::new(),
            port: 1_024,
        }
    }

    /// One service changes, so often.
    pub(crate) async fn single(&mut self, times: usize) -> Outcome {
        self.run(times, 1).await
    }

    /// Ten services change at once, so often.
    pub(crate) async fn together(&mut self, times: usize) -> Outcome {
        self.run(times, TOGETHER).await
    }

    async fn run(&mut self, times: usize, together: usize) -> Outcome {
        let mut outcome = Outcome::default();
        self.change(together).await; // the first one makes whatever is made once
        tokio::time::sleep(PAUSE).await;
        let (mut deliveries, before) = (0, self.answers());
        let cpu = procfs::cpu(self.pid);
        for _ in 0..times {
            let (began, written, streams) = self.change(together).await;
            deliveries += streams.len();
            let mut times: Vec<Instant> = streams.iter().map(|s| self.board.at(*s)).collect();
            times.sort_unstable();
            let Some(first) = times.first().copied() else {
                continue;
            };
            let rank = |share: usize| times[(times.len() * share).div_ceil(100).max(1) - 1];
            outcome.all.extend(&times.iter().map(|at| *at - began).collect());
            outcome.write.push(written - began);
            outcome.first.push(first - began);
            for (samples, share) in outcome.spread.iter_mut().zip([50, 99, 100]) {
                samples.push(rank(share) - first);
            }
            tokio::time::sleep(PAUSE).await;
        }
        let times = u32::try_from(times.max(1)).unwrap_or(u32::MAX);
        outcome.cpu = procfs::cpu(self.pid).since(&cpu) / times;
        let answers = self.answers() - before;
        outcome.answers =
            f64::from(answers) / f64::from(u32::try_from(deliveries.max(1)).unwrap_or(u32::MAX));
        outcome
    }

    fn answers(&self) -> u32 {
        use std::sync::atomic::Ordering::Relaxed;
        let answers = self.board.slots.iter().map(|s| s.endpoints.answers.load(Relaxed));
        answers.sum()
    }

    /// Changes so many services, and waits until everybody concerned has it.
    async fn change(&mut self, together: usize) -> (Instant, Instant, Vec<usize>) {
        let mut services = Vec::new();
        while services.len() < together {
            let service = self.audience.pick(&mut self.dice);
            if !services.contains(&service) {
                services.push(service);
            }
        }
        let mut wanted: Vec<u32> = self.board.slots.iter().map(Slot::endpoints).collect();
        let mut streams = Vec::new();
        for service in &services {
            for stream in self.audience.of(*service) {
                wanted[*stream] += 1;
                streams.push(*stream);
            }
        }
        streams.sort_unstable();
        streams.dedup();
        self.port = if self.port == u16::MAX {
            1_024
        } else {
            self.port + 1
        };
        let value = catalog::moving_value(self.port);
        let writes = services.iter().map(|service| {
            let (mut etcd, value) = (self.etcd.clone(), value.clone());
            let key = catalog::moving_key(*service);
            async move { etcd.put(key, value, None).await.expect("a write to etcd") }
        });
        let began = now();
        futures::future::join_all(writes).await;
        let written = now();
        let has = |stream: usize, slot: &Slot| slot.endpoints() >= wanted[stream];
        self.board.until("a change", &streams, has).await;
        (began, written, streams)
    }
}
