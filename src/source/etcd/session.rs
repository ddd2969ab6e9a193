//! The loop of one prefix: list, watch, and what to do when it breaks.
//!
//! Never decodes (that is [`State`]), never chooses a member (that is [`Link`]), and never ends for an error of etcd.

use std::convert::Infallible;
use std::sync::Arc;

use futures::FutureExt as _;
use tokio::sync::{mpsc, watch};
use tokio::time::{interval, sleep};
use tracing::{info, warn};

use super::backoff::Backoff;
use super::link::{Link, Member, Unreachable};
use super::reason::reason;
use super::state::State;
use super::timing::Timing;
use crate::config::EtcdPrefix;
use crate::model::{Change, Status};
use crate::registry::etcd::{Error, Event, Message, Origin, Watch};
use crate::source::HubGone;

/// Events taken together when the watch is ahead of us.
const MAX_GATHERED: usize = 10_000;
/// The same in bytes of their values.
const MAX_GATHERED_BYTES: usize = 16 * 1024 * 1024;
/// Listed keys decoded before other tasks get their turn.
const DECODED_AT_ONCE: usize = 1_000;

/// One prefix at work.
pub(super) struct Session {
    link: Arc<Link>,
    /// In use since the last break.
    member: Option<Member>,
    prefix: Arc<str>,
    outlet: Outlet,
    source: Arc<str>,
    state: State,
    timing: Timing,
    backoff: Backoff,
    /// Where to watch on; `None`: list first.
    position: Option<Position>,
    /// Has listed once.
    delivered: bool,
    /// The cluster whose facts we hold.
    cluster: Option<u64>,
    /// Listed anew already, and no message since: the next time waits.
    relisted: bool,
    /// Logged in anew already, and not believed since: the next time waits.
    renewed: bool,
}

/// The way to the source's union: what it is told, and of which of its prefixes.
#[derive(Clone, Debug)]
pub(super) struct Outlet {
    pub(super) nth: usize,
    pub(super) union: mpsc::Sender<(usize, News)>,
    /// How often the hub has asked for a listing anew.
    pub(super) asked: watch::Receiver<u64>,
}

/// What a session tells.
#[derive(Debug)]
pub(super) enum News {
    Change(Change),
    Status(Status),
    /// Listed anew since the hub has asked for it so often.
    Listed(u64),
}

/// How far we are.
#[derive(Clone, Copy, Debug)]
struct Position {
    /// Of the listing, then of the last event.
    revision: i64,
    origin: Origin,
}

/// Why a watch is over.
#[derive(Debug, thiserror::Error)]
pub(super) enum Break {
    #[error(transparent)]
    Etcd(#[from] Error),
    #[error("the hub wants to know whether what is gone is really gone")]
    Asked,
    #[error("this endpoint belongs to cluster {seen:x}, our facts are from cluster {known:x}")]
    OtherCluster { seen: u64, known: u64 },
    #[error(transparent)]
    Hub(#[from] HubGone),
}

impl Session {
    pub(super) fn new(link: Arc<Link>, prefix: &EtcdPrefix, source: Arc<str>, outlet: Outlet) -> Self {
        let timing = link.timing;
        Self {
            backoff: Backoff::new(link.endpoints(), timing),
            link,
            member: None,
            prefix: prefix.prefix.as_str().into(),
            outlet,
            source,
            state: State::new(prefix),
            timing,
            position: None,
            delivered: false,
            cluster: None,
            relisted: false,
            renewed: false,
        }
    }

    /// Watches until the hub is gone.
    pub(super) async fn run(mut self) -> HubGone {
        loop {
            let endpoint;
            let end = match self.link.member().await {
                Ok(member) => {
                    endpoint = member.endpoint.clone();
                    self.member = Some(member.clone());
                    let Err(end) = self.follow(&member).await;
                    end
                }
                Err(Unreachable { endpoint: at, error }) => {
                    endpoint = at;
                    Break::Etcd(error)
                }
            };
            if let Err(gone) = self.mend(&endpoint, &end).await {
                return gone;
            }
        }
    }

    /// What to do about a break, before all begins again.
    async fn mend(&mut self, endpoint: &str, end: &Break) -> Result<(), HubGone> {
        if let Break::Hub(HubGone) = end {
            return Err(HubGone);
        }
        if let Break::Asked = end {
            info!(source = %self.source, prefix = %self.prefix, endpoint, "listing anew: {end}");
            self.position = None;
            return Ok(());
        }
        if let Break::Etcd(error) = end
            && self.at_once(error)
        {
            info!(source = %self.source, prefix = %self.prefix, endpoint, "beginning anew at once: {end}");
            if let (Error::Expired { .. }, Some(member)) = (error, self.member.take()) {
                self.link.renew(&member).await;
            }
            return Ok(());
        }
        self.away(endpoint, end).await
    }

    /// Whether etcd is well and answered clearly: no reason to wait, unless it says so twice.
    fn at_once(&mut self, error: &Error) -> bool {
        if error.needs_listing() {
            self.position = None;
            return !std::mem::replace(&mut self.relisted, true);
        }
        if let Error::Denied { .. } = error {
            // It knew who we are.
            self.renewed = false;
        }
        matches!(error, Error::Expired { .. })
            && self.link.user().is_some()
            && !std::mem::replace(&mut self.renewed, true)
    }

    async fn away(&mut self, endpoint: &str, end: &Break) -> Result<(), HubGone> {
        let delay = self.backoff.next();
        let reason = reason(end, endpoint, &self.prefix, self.link.user());
        warn!(source = %self.source, prefix = %self.prefix, endpoint, retry_in = ?delay, "etcd is away: {reason}");
        // At the start one dead endpoint is not etcd: what was known last would be served, though another
        // member knows better.
        if self.delivered || self.backoff.round_is_over() {
            let reason = format!("{endpoint}: {reason}");
            self.outlet.tell(News::Status(Status::Away { reason })).await?;
        }
        if let Some(member) = self.member.take() {
            match end {
                // Any member would say so, and the others are served by this one.
                Break::Etcd(Error::Denied { .. }) if self.link.user().is_some() => {}
                // A new certificate may name another user.
                Break::Etcd(Error::Denied { .. } | Error::Expired { .. }) => self.link.renew(&member).await,
                _ => self.link.leave(&member).await,
            }
        }
        sleep(delay).await;
        Ok(())
    }

    /// Lists if need be, then watches until something breaks.
    async fn follow(&mut self, member: &Member) -> Result<Infallible, Break> {
        let position = match self.position {
            Some(position) => position,
            None => self.list(member).await?,
        };
        let from = position.revision + 1;
        let mut watch = member.connection.watch(&self.prefix, from).await?;
        self.renewed = false;
        self.recognise(member, watch.origin()).await?;
        if self.position.is_none() || !watch.origin().continues(position.origin) {
            return Err(Error::Rewound {
                known: position.revision,
            }
            .into());
        }
        self.position = Some(Position {
            origin: watch.origin(),
            ..position
        });
        info!(source = %self.source, prefix = %self.prefix, endpoint = %member.endpoint, from, "watching etcd");
        self.outlet.tell(News::Status(Status::Live)).await?;

        let (mut probe, mut silence, mut healthy) = (
            interval(self.timing.probe),
            interval(self.timing.silence),
            interval(self.timing.healthy),
        );
        probe.reset();
        silence.reset();
        healthy.reset();
        loop {
            let message = tokio::select! {
                // What etcd said comes before the complaint that it says nothing.
                biased;
                message = watch.next() => message?,
                Ok(()) = self.outlet.asked.changed() => return Err(Break::Asked),
                _ = healthy.tick() => {
                    self.backoff.reset();
                    continue;
                }
                _ = silence.tick() => return Err(Error::Silent.into()),
                _ = probe.tick() => {
                    watch.request_progress().await?;
                    self.remember(member.connection.raft_index().await?)?;
                    continue;
                }
            };
            self.relisted = false;
            if let Message::Events(events) = message {
                let (events, end) = gather(&mut watch, events);
                self.apply(events).await?;
                end?;
            }
            // Only now: time spent waiting for the hub is not etcd's silence.
            silence.reset();
        }
    }

    /// A watch may stand for weeks: the index of its beginning would be passed by any restored backup.
    /// The channel finds its way to a member that was restored meanwhile before the watch is seen to end.
    fn remember(&mut self, raft_index: Option<u64>) -> Result<(), Error> {
        if let Some(position) = &mut self.position {
            let now = Origin {
                raft_index,
                ..position.origin
            };
            if !now.continues(position.origin) {
                let known = position.revision;
                return Err(Error::Rewound { known });
            }
            position.origin = now;
        }
        Ok(())
    }

    /// Takes the whole prefix in, and delivers it as one complete change.
    async fn list(&mut self, member: &Member) -> Result<Position, Break> {
        let asked = *self.outlet.asked.borrow_and_update();
        let mut pages = member.connection.list(&self.prefix).await?;
        self.recognise(member, pages.origin()).await?;
        let mut keys = 0;
        let mut relisting = self.state.relist();
        // Decoded page by page: the values of a whole prefix are never held together.
        while let Some(page) = pages.next().await? {
            keys += page.len();
            for some in page.chunks(DECODED_AT_ONCE) {
                for kv in some {
                    relisting.put(&self.state, kv);
                }
                tokio::task::yield_now().await;
            }
        }
        let change = relisting.finish(&mut self.state);
        let revision = pages.revision();
        info!(source = %self.source, prefix = %self.prefix, endpoint = %member.endpoint, revision, keys, "listed etcd");
        self.outlet.tell(News::Change(change)).await?;
        self.outlet.tell(News::Listed(asked)).await?;
        self.delivered = true;
        let position = Position {
            revision,
            origin: pages.origin(),
        };
        self.position = Some(position);
        Ok(position)
    }

    async fn apply(&mut self, events: Vec<Event>) -> Result<(), HubGone> {
        let last = events.iter().map(Event::mod_revision).max();
        let change = self.state.apply(events);
        if !change.services.is_empty() || change.stray.is_some() {
            self.outlet.tell(News::Change(change)).await?;
        }
        if let (Some(position), Some(last)) = (&mut self.position, last) {
            position.revision = position.revision.max(last);
        }
        Ok(())
    }

    /// Refuses a member of another cluster, unless ours was rebuilt: then all is listed anew.
    async fn recognise(&mut self, member: &Member, origin: Origin) -> Result<(), Break> {
        let seen = origin.cluster_id;
        self.link
            .recognise(member, seen)
            .await
            .map_err(|known| Break::OtherCluster { seen, known })?;
        if self.cluster.is_some_and(|ours| ours != seen) {
            warn!(source = %self.source, prefix = %self.prefix, endpoint = %member.endpoint, "the etcd cluster was rebuilt");
            self.position = None;
        }
        self.cluster = Some(seen);
        Ok(())
    }
}

impl Outlet {
    async fn tell(&self, news: News) -> Result<(), HubGone> {
        self.union.send((self.nth, news)).await.map_err(|_| HubGone)
    }
}

/// Takes what is queued already, so that a burst becomes one change. An error waits until that is applied.
fn gather(watch: &mut Watch, mut events: Vec<Event>) -> (Vec<Event>, Result<(), Error>) {
    let weight = |events: &[Event]| -> usize { events.iter().map(Event::weight).sum() };
    let mut bytes = weight(&events);
    while events.len() < MAX_GATHERED && bytes < MAX_GATHERED_BYTES {
        match watch.next().now_or_never() {
            Some(Ok(Message::Events(more))) => {
                bytes += weight(&more);
                events.extend(more);
            }
            Some(Ok(Message::Alive)) => {}
            Some(Err(error)) => return (events, Err(error)),
            None => break,
        }
    }
    (events, Ok(()))
}
