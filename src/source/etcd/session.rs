//! The loop of one prefix: list, watch, and what to do when it breaks.
//!
//! Never decodes (that is [`State`]), never chooses a member (that is [`Members`](crate::registry::etcd::Members)), and never ends for an error of etcd.

use std::convert::Infallible;
use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, timeout};
use tracing::{info, warn};

use super::backoff::Backoff;
use super::link::Link;
use super::news::news;
use super::reason::{Break, reason};
use super::state::State;
use super::timing::Timing;
use crate::clock;
use crate::config::EtcdPrefix;
use crate::model::{Change, Status};
use crate::registry::budget::Known;
use crate::registry::etcd::{Error, Event, Member, Origin, Unreachable};
use crate::source::HubGone;

/// Listed keys decoded before other tasks get their turn.
const DECODED_AT_ONCE: usize = 1_000;

/// Probes between two listings for what had been left out: a minute.
const PROBES_BETWEEN: u32 = 10;

/// One prefix at work.
pub(super) struct Session {
    pub(super) link: Arc<Link>,
    /// In use since the last break.
    member: Option<Member>,
    pub(super) prefix: Arc<str>,
    pub(super) outlet: Outlet,
    state: State,
    /// What it weighs, beside what is known of others.
    known: Known,
    pub(super) timing: Timing,
    pub(super) backoff: Backoff,
    /// Where to watch on; `None`: list first.
    pub(super) position: Option<Position>,
    /// Has listed once.
    delivered: bool,
    /// Has read of the whole prefix since it was away.
    listed: bool,
    /// When it was listed last for what had been left out.
    made_room: Option<Instant>,
    /// The cluster whose facts we hold.
    pub(super) cluster: Option<u64>,
    pub(super) tried: Tried,
}

/// What was tried at once after a break, and has not been proved right since: the next time it is an outage.
#[derive(Debug, Default)]
pub(super) struct Tried {
    /// Another listing.
    pub(super) listing: bool,
    /// Another watch, because one was dead.
    pub(super) watch: bool,
    /// Another login.
    login: bool,
}

/// The way to the source's union: what it is sent, and about which of its prefixes.
#[derive(Clone, Debug)]
pub(super) struct Outlet {
    pub(super) nth: usize,
    pub(super) union: mpsc::Sender<(usize, News)>,
    /// How often the hub has asked for another listing.
    pub(super) asked: watch::Receiver<u64>,
}

/// What a session tells.
#[derive(Debug)]
pub(super) enum News {
    Change(Change),
    Status(Status),
    /// Listed again since the hub's request of this number.
    Listed(u64),
}

/// How far we are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Position {
    /// Of the listing, then of the last event, or of a later comparison that found nothing new.
    pub(super) revision: i64,
    pub(super) origin: Origin,
}

impl Session {
    pub(super) fn new(link: Arc<Link>, prefix: &EtcdPrefix, outlet: Outlet) -> Self {
        let timing = link.timing;
        Self {
            backoff: Backoff::new(link.members.endpoints(), timing),
            known: link.members.known(),
            link,
            member: None,
            prefix: prefix.prefix.as_str().into(),
            outlet,
            state: State::new(prefix),
            timing,
            position: None,
            delivered: false,
            listed: false,
            made_room: None,
            cluster: None,
            tried: Tried::default(),
        }
    }

    /// Watches until the hub is gone.
    pub(super) async fn run(mut self) -> HubGone {
        loop {
            let endpoint;
            let end = match self.link.members.member().await {
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
            if let Err(gone) = self.recover(&endpoint, &end).await {
                return gone;
            }
        }
    }

    /// What to do about a break, before all begins again.
    async fn recover(&mut self, endpoint: &str, end: &Break) -> Result<(), HubGone> {
        if let Break::Hub(HubGone) = end {
            return Err(HubGone);
        }
        if let Break::Asked | Break::Room = end {
            if matches!(end, Break::Room) {
                self.made_room = Some(clock::now());
            }
            info!(endpoint, "listing again: {end}");
            self.position = None;
            return Ok(());
        }
        if matches!(end, Break::Dead) && !std::mem::replace(&mut self.tried.watch, true) {
            info!(endpoint, "watching again at once: {end}");
            // The next endpoint, or a new connection where there is one only: a balancer may choose better.
            if let Some(member) = self.member.take() {
                self.link.members.leave(&member).await;
            }
            return Ok(());
        }
        if self.tried.watch && matches!(end, Break::Dead | Break::Etcd(Error::Silent)) {
            // Another watch was no better. A listing shows at least how things are now.
            self.position = None;
        }
        if let Break::Etcd(error) = end
            && self.at_once(error)
        {
            info!(endpoint, "beginning again at once: {end}");
            if let (Error::Expired { .. }, Some(member)) = (error, self.member.take()) {
                self.link.members.renew(&member).await;
            }
            return Ok(());
        }
        self.away(endpoint, end).await
    }

    /// Whether etcd is well and answered clearly: no reason to wait, unless it says so twice.
    fn at_once(&mut self, error: &Error) -> bool {
        if error.needs_listing() {
            self.position = None;
            return !std::mem::replace(&mut self.tried.listing, true);
        }
        if let Error::Denied { .. } = error {
            // It knew who we are.
            self.tried.login = false;
        }
        matches!(error, Error::Expired { .. })
            && self.link.members.user().is_some()
            && !std::mem::replace(&mut self.tried.login, true)
    }

    async fn away(&mut self, endpoint: &str, end: &Break) -> Result<(), HubGone> {
        let delay = self.backoff.next(std::mem::take(&mut self.listed));
        let reason = reason(end, endpoint, &self.prefix, self.link.members.user());
        warn!(endpoint, retry_in = ?delay, "etcd is away: {reason}");
        // At the start one dead endpoint is not etcd: what was known last would be served, though another
        // member knows better.
        if self.delivered || self.backoff.round_is_over() {
            let reason = format!("{endpoint}: {reason}");
            self.outlet.tell(News::Status(Status::Away { reason })).await?;
        }
        if let Some(member) = self.member.take() {
            match end {
                // Any member would say so, and the others are served by this one.
                Break::Etcd(Error::Denied { .. }) if self.link.members.user().is_some() => {}
                // A new certificate may name another user.
                Break::Etcd(Error::Denied { .. } | Error::Expired { .. }) => {
                    self.link.members.renew(&member).await;
                }
                _ => self.link.members.leave(&member).await,
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
        // After a dead watch one revision earlier, which changes nothing that we hold: `etcd grpc-proxy` would add
        // a watch from the next revision to its own dead one.
        let from = position.revision.saturating_add(i64::from(!self.tried.watch));
        let opening = member.connection.watch(&self.prefix, from);
        let mut watch = if self.tried.watch {
            // What kept the last one back may never confirm this one.
            let opening = timeout(self.timing.answer, opening).await;
            opening.unwrap_or(Err(Error::Silent))?
        } else {
            opening.await?
        };
        self.tried.login = false;
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
        info!(endpoint = %member.endpoint, from, "watching etcd");
        self.outlet.tell(News::Status(Status::Live)).await?;

        self.attend(member, &mut watch).await
    }

    /// Lists, and says so when that takes long: what is served meanwhile is what was known before.
    async fn list(&mut self, member: &Member) -> Result<Position, Break> {
        let (outlet, late) = (self.outlet.clone(), self.timing.silence);
        let reason = format!(
            "{}: listing {} takes longer than {late:?}; what is known stays until it is complete",
            member.endpoint, self.prefix
        );
        let served = self.delivered;
        let mut listing = std::pin::pin!(self.read_all(member));
        if let Ok(listed) = timeout(late, &mut listing).await {
            return listed;
        }
        // Both at once: the listing may wait for the same way to the hub, and would keep its place there unpolled.
        let say = async {
            if served {
                warn!("{reason}");
                outlet.tell(News::Status(Status::Away { reason })).await?;
            }
            Ok::<_, HubGone>(())
        };
        let (listed, said) = tokio::join!(listing, say);
        said?;
        listed
    }

    /// Takes the whole prefix in, and delivers it as one complete change.
    async fn read_all(&mut self, member: &Member) -> Result<Position, Break> {
        let asked = *self.outlet.asked.borrow_and_update();
        let mut pages = member.connection.list(&self.prefix).await?;
        self.recognise(member, pages.origin()).await?;
        let mut keys = 0;
        let mut relisting = self.state.relist(self.delivered);
        // Decoded page by page: the values of a whole prefix are never held together.
        while let Some(page) = pages.next().await? {
            self.listed = true;
            keys += page.len();
            // For each page: others may have taken some of it meanwhile. Never less than is known now: what others hold
            // must not keep a listing out that takes no more than before.
            relisting.bound(self.known.most().max(self.state.weight()));
            for some in page.chunks(DECODED_AT_ONCE) {
                for kv in some {
                    relisting.put(&self.state, kv);
                }
                if let Some(why) = relisting.full() {
                    return Err(Break::Full(why));
                }
                tokio::task::yield_now().await;
            }
        }
        let change = relisting.finish(&mut self.state);
        self.known.set(self.state.weight());
        let revision = pages.revision();
        info!(endpoint = %member.endpoint, revision, keys, "listed etcd");
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

    /// Takes in what a watch delivers, and what of it is news goes to the hub.
    pub(super) async fn apply(&mut self, events: Vec<Event>) -> Result<(), HubGone> {
        let known = self.position.map_or(0, |position| position.revision);
        let events = news(known, events);
        let last = events.iter().map(Event::mod_revision).max();
        self.state.bound(self.known.most());
        let change = self.state.apply(events);
        self.known.set(self.state.weight());
        if !change.services.is_empty() || change.stray.is_some() {
            self.outlet.tell(News::Change(change)).await?;
        }
        if let (Some(position), Some(last)) = (&mut self.position, last) {
            position.revision = position.revision.max(last);
        }
        Ok(())
    }

    /// Whether there is room now for what was left out; a listing for that is not begun again for some time.
    pub(super) fn has_room(&self) -> bool {
        let pause = self.timing.probe * PROBES_BETWEEN;
        self.made_room.is_none_or(|at| clock::now() - at >= pause)
            && self.state.may_take_more(self.known.most())
    }

    /// Refuses a member of another cluster, unless ours was rebuilt: then all is listed again.
    pub(super) async fn recognise(&mut self, member: &Member, origin: Origin) -> Result<(), Break> {
        let seen = origin.cluster_id;
        self.link
            .members
            .recognise(member, seen)
            .await
            .map_err(|known| Break::OtherCluster { seen, known })?;
        if self.cluster.is_some_and(|ours| ours != seen) {
            warn!(endpoint = %member.endpoint, "the etcd cluster was rebuilt");
            self.position = None;
        }
        self.cluster = Some(seen);
        Ok(())
    }
}

impl Outlet {
    /// Waits until it is taken: see [`Sink::change`](crate::source::Sink::change).
    async fn tell(&self, news: News) -> Result<(), HubGone> {
        self.union.send((self.nth, news)).await.map_err(|_| HubGone)?;
        self.union.reserve().await.map(drop).map_err(|_| HubGone)
    }
}
