//! A watch that stands: takes what it delivers, and looks beside it whether it is well while it is silent.
//!
//! Never opens a watch and never waits after a break: that is [`Session`]'s loop. Never lets a question hold up
//! what the watch delivers. What the answers mean is [`Pulse`]'s to decide.

use std::convert::Infallible;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::{BoxFuture, pending};
use tokio::time::{Interval, MissedTickBehavior, interval, timeout};
use tracing::info;

use super::pulse::{Next, Pulse};
use super::reason::Break;
use super::session::Session;
use crate::registry::etcd::{Compared, Connection, Error, Event, Head, Member, Message, Origin, Watch};

/// Events taken together when the watch is ahead of us.
const MAX_GATHERED: usize = 10_000;
/// The same in bytes of their values.
const MAX_GATHERED_BYTES: usize = 16 * 1024 * 1024;
/// An answer to what is asked beside the watch.
enum Answer {
    Head(Result<Seen, Error>),
    /// Whether keys have changed since the last event.
    Compared(Result<Compared, Error>),
}

/// Where the store is.
struct Seen {
    head: Head,
    /// How long the member's Raft log is.
    raft_index: Option<u64>,
    /// The last event when this was asked: the answer may be overtaken by later ones.
    known: i64,
}

/// A question on its way; there is one at most.
#[derive(Default)]
struct Question(Option<BoxFuture<'static, Answer>>);

/// The clocks of one watch.
struct Clocks {
    /// Ticks when it is time to look beside the watch.
    probe: Interval,
    /// Ticks when what the watch owes is overdue.
    overdue: Interval,
    /// Ticks when nobody has said anything for too long.
    silence: Interval,
}

impl Session {
    /// Follows an open watch until something breaks.
    pub(super) async fn attend(&mut self, member: &Member, watch: &mut Watch) -> Result<Infallible, Break> {
        let mut pulse = Pulse::new(self.known());
        let mut clocks = Clocks::start(self.timing.probe, self.timing.answer, self.timing.silence);
        let mut question = Question::default();
        // Why the member did not answer, in case it falls silent.
        let mut trouble = None;
        loop {
            tokio::select! {
                // What etcd delivers comes before the complaint that it is silent.
                biased;
                message = watch.next() => {
                    self.take(message?, watch, &mut pulse, &member.connection).await?;
                    // Only now: time spent waiting for the hub is not etcd's silence.
                    clocks.silence.reset();
                    trouble = None;
                }
                Ok(()) = self.outlet.asked.changed() => return Err(Break::Asked),
                answer = question.answer() => {
                    match self.understand(answer, member, watch, &mut pulse).await? {
                        Ok(next) => {
                            trouble = None;
                            self.go_on(next, member, watch, &mut clocks, &mut question).await?;
                        }
                        Err(error) => {
                            trouble = Some(error);
                            // One member of several behind a proxy may be frozen: the next try may meet another.
                            clocks.probe.reset_after(self.timing.answer / 3);
                        }
                    }
                }
                _ = clocks.overdue.tick(), if pulse.waits() => {
                    self.go_on(pulse.overdue(), member, watch, &mut clocks, &mut question).await?;
                }
                // Somebody answers, and nobody can say that nothing was kept back.
                _ = clocks.silence.tick() => return Err(match trouble {
                    _ if pulse.is_behind() => Break::Dead,
                    trouble => trouble.unwrap_or(Error::Silent).into(),
                }),
                _ = clocks.probe.tick() => {
                    if self.has_room() {
                        return Err(Break::Room);
                    }
                    if question.0.is_none() && pulse.compares() {
                        question = self.ask_to_compare(&member.connection);
                    } else if question.0.is_none() {
                        question = self.ask_head(&member.connection);
                    }
                }
            }
        }
    }

    /// What the watch says.
    async fn take(
        &mut self,
        message: Message,
        watch: &mut Watch,
        pulse: &mut Pulse,
        connection: &Connection,
    ) -> Result<(), Break> {
        match message {
            Message::Events(events) => {
                let (events, end) = gather(watch, events);
                let last = events.iter().map(Event::mod_revision).max();
                self.apply(events).await?;
                pulse.message(last);
                end?;
            }
            Message::Progress(revision) => {
                pulse.message(Some(revision));
                connection.set_mute(false);
            }
            Message::Alive => pulse.message(None),
        }
        self.tried.listing = false;
        self.tried.watch = false;
        Ok(())
    }

    /// What an answer means. The inner error: it is none, and others may follow.
    async fn understand(
        &mut self,
        answer: Answer,
        member: &Member,
        watch: &mut Watch,
        pulse: &mut Pulse,
    ) -> Result<Result<Next, Error>, Break> {
        let error = match answer {
            Answer::Head(Ok(seen)) => {
                self.same_history(member, &seen).await?;
                return Ok(Ok(pulse.head(seen.head.revision, member.connection.is_mute())));
            }
            Answer::Compared(Ok(compared)) => {
                let next = pulse.compared(Some(compared));
                if let (Compared::Unchanged { at }, Some(position)) = (compared, &mut self.position) {
                    // The keys are what we hold, and so is all after them that was delivered meanwhile.
                    position.revision = position.revision.max(at);
                }
                return Ok(Ok(next));
            }
            Answer::Compared(Err(Error::Compacted { .. })) => return Ok(Ok(pulse.compared(None))),
            Answer::Compared(Err(error)) if error.needs_listing() => return Err(error.into()),
            Answer::Compared(Err(error)) | Answer::Head(Err(error)) => error,
        };
        match error {
            // Its token has run out, and a new watch needs one, too.
            Error::Expired { .. } if self.link.members.user().is_some() => Err(error.into()),
            // A watch that stands is not asked for its rights, and goes on: whoever refuses is there, and no more
            // can be asked.
            Error::Expired { .. } | Error::Denied { .. } | Error::Login { .. } => {
                watch.request_progress().await?;
                Ok(Ok(Next::Well))
            }
            error => Ok(Err(error)),
        }
    }

    /// Does what follows from an answer, or from the lack of one.
    async fn go_on(
        &mut self,
        next: Next,
        member: &Member,
        watch: &mut Watch,
        clocks: &mut Clocks,
        question: &mut Question,
    ) -> Result<(), Break> {
        match next {
            Next::Nothing => {}
            Next::Wait => clocks.overdue.reset(),
            Next::Well => self.is_well(clocks),
            Next::WellButMute => {
                self.is_well(clocks);
                if member.connection.set_mute(true) {
                    info!(endpoint = %member.endpoint,
                        "no progress requests are answered here: reading keys instead while the watch is silent");
                }
            }
            Next::Progress => {
                clocks.overdue.reset();
                watch.request_progress().await?;
            }
            Next::Compare => *question = self.ask_to_compare(&member.connection),
            Next::Dead => return Err(Break::Dead),
        }
        Ok(())
    }

    /// The watch has delivered everything: whatever breaks next is a first break.
    fn is_well(&mut self, clocks: &mut Clocks) {
        clocks.silence.reset();
        self.backoff.reset();
        self.tried.listing = false;
        self.tried.watch = false;
    }

    /// Whether the store that answers is the one that we know, only later. Beside that, this remembers how far
    /// its Raft log is: a watch may stand for weeks, and the index of its beginning would be passed by any
    /// restored backup. A channel, or a proxy, finds its way to a restored member before the watch is seen to end.
    async fn same_history(&mut self, member: &Member, seen: &Seen) -> Result<(), Break> {
        self.recognise(member, seen.head.origin).await?;
        let known = seen.known;
        let Some(position) = &mut self.position else {
            return Err(Error::Rewound { known }.into());
        };
        let now = Origin {
            raft_index: seen.raft_index,
            ..seen.head.origin
        };
        if seen.head.revision < known || !now.continues(position.origin) {
            return Err(Error::Rewound { known }.into());
        }
        position.origin = Origin {
            raft_index: seen.raft_index.or(position.origin.raft_index),
            ..now
        };
        Ok(())
    }

    fn known(&self) -> i64 {
        self.position.map_or(0, |position| position.revision)
    }

    fn ask_head(&self, connection: &Connection) -> Question {
        let (connection, prefix) = (connection.clone(), self.prefix.clone());
        let (known, limit) = (self.known(), self.timing.answer);
        let ask = async move {
            let head = match timeout(limit, connection.head(&prefix)).await {
                Ok(Ok(head)) => head,
                Ok(Err(error)) => return Answer::Head(Err(error)),
                Err(_) => return Answer::Head(Err(Error::Silent)),
            };
            // Worth knowing, and no proof of life.
            let raft_index = timeout(limit, connection.raft_index()).await;
            Answer::Head(Ok(Seen {
                head,
                raft_index: raft_index.ok().and_then(Result::ok).flatten(),
                known,
            }))
        };
        Question(Some(ask.boxed()))
    }

    fn ask_to_compare(&self, connection: &Connection) -> Question {
        let (connection, prefix) = (connection.clone(), self.prefix.clone());
        let (since, limit) = (self.known(), self.timing.answer);
        let ask = async move {
            let compared = timeout(limit, connection.compare(&prefix, since)).await;
            Answer::Compared(compared.unwrap_or(Err(Error::Silent)))
        };
        Question(Some(ask.boxed()))
    }
}

impl Question {
    /// Its answer; never, when there is none. May be dropped while it waits.
    async fn answer(&mut self) -> Answer {
        let Some(question) = &mut self.0 else {
            return pending().await;
        };
        let answer = question.await;
        self.0 = None;
        answer
    }
}

impl Clocks {
    fn start(probe: Duration, overdue: Duration, silence: Duration) -> Self {
        let [mut probe, mut overdue, mut silence] = [probe, overdue, silence].map(interval);
        for clock in [&mut probe, &mut overdue, &mut silence] {
            clock.reset();
            // While the hub was waited for nothing was asked.
            clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
        }
        Self {
            probe,
            overdue,
            silence,
        }
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
            Some(Ok(Message::Progress(_) | Message::Alive)) => {}
            Some(Err(error)) => return (events, Err(error)),
            None => break,
        }
    }
    (events, Ok(()))
}
