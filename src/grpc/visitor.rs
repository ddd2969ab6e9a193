//! Streams by which clients report something, whatever it is: a bounded number of them at a bounded rate, whether a
//! client may be who it says, and its log lines.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use prometheus_client::metrics::gauge::Gauge;
use tokio::time::Instant;
use tonic::body::Body;
use tonic::{Code, Status};

use super::Demands;
use super::server::{Caller, Inbox, Incoming, identity};
use super::turns::{Turns, too_many};
use crate::clock;
use crate::floods::{Floods, Kind as Lines};
use crate::loads::Who;
use crate::metrics::{Limit, Metrics, Reason};
use crate::text::head;

/// Longest part of a client's name that is logged.
pub(in crate::grpc) const NAME: usize = 200;

/// One kind of such streams.
#[derive(Debug)]
pub(in crate::grpc) struct Words {
    /// `load reports`
    pub(in crate::grpc) what: &'static str,
    /// Of a client that may not be who it says.
    pub(in crate::grpc) identity: Lines,
    /// Of a stream that ends with another error.
    pub(in crate::grpc) refused: Lines,
    /// Counts either.
    pub(in crate::grpc) count: fn(&Metrics, Reason),
    /// Streams that are open.
    pub(in crate::grpc) open: fn(&Metrics) -> &Gauge,
}

/// What all streams of a kind share.
#[derive(Debug)]
pub(in crate::grpc) struct Door {
    words: &'static Words,
    pub(in crate::grpc) metrics: Arc<Metrics>,
    floods: Arc<Floods>,
    pub(in crate::grpc) options: Demands,
    turns: Turns,
    most: usize,
    open: AtomicUsize,
}

impl Door {
    /// For this number of streams at most.
    pub(in crate::grpc) fn new(
        words: &'static Words,
        most: usize,
        metrics: Arc<Metrics>,
        floods: Arc<Floods>,
        options: Demands,
    ) -> Self {
        Self {
            words,
            metrics,
            floods,
            turns: Turns::new(options.now().new_streams_per_second),
            options,
            most,
            open: AtomicUsize::new(0),
        }
    }

    /// Whoever sends this, and when its stream begins.
    pub(in crate::grpc) fn admit(
        self: &Arc<Self>,
        request: &Request<Body>,
    ) -> Result<(Visitor, Instant), Box<Response<Body>>> {
        let caller = request.extensions().get::<Caller>().cloned();
        if let Some(caller) = &caller {
            caller.opens();
        }
        let what = self.words.what;
        let Some(place) = Place::take(self) else {
            (self.words.count)(&self.metrics, Reason::Streams);
            let most = self.most;
            let full = Status::unavailable(format!("there are {most} streams of {what} already"));
            return Err(Box::new(full.into_http()));
        };
        let now = clock::now();
        let turn = match self.turns.turn(now) {
            Ok(turn) => turn,
            Err(wait) => {
                (self.words.count)(&self.metrics, Reason::Queue);
                return Err(Box::new(too_many(&format!("streams of {what}"), wait)));
            }
        };
        if turn > now {
            self.metrics.reached(Limit::NewStreams);
        }
        if let Some(caller) = &caller {
            caller.enter();
        }
        let visitor = Visitor {
            place,
            caller,
            node: String::new(),
        };
        Ok((visitor, turn))
    }
}

/// One of the streams that may be open.
#[derive(Debug)]
struct Place(Arc<Door>);

impl Place {
    fn take(door: &Arc<Door>) -> Option<Self> {
        let place = Self(door.clone());
        (door.words.open)(&door.metrics).inc();
        let before = door.open.fetch_add(1, Ordering::Relaxed);
        (before < door.most).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
        (self.0.words.open)(&self.0.metrics).dec();
    }
}

/// The client of one stream.
#[derive(Debug)]
pub(in crate::grpc) struct Visitor {
    place: Place,
    caller: Option<Caller>,
    /// Once it has sent it, and may be that.
    node: String,
}

impl Visitor {
    pub(in crate::grpc) fn caller(&self) -> Option<&Caller> {
        self.caller.as_ref()
    }

    pub(in crate::grpc) fn door(&self) -> &Door {
        &self.place.0
    }

    pub(in crate::grpc) fn node(&self) -> &str {
        &self.node
    }

    /// The first message names the node. A client may report only as the node that it may be.
    pub(in crate::grpc) fn join(&mut self, who: &Who) -> Result<(), Status> {
        let door = self.door();
        let sans = self.caller.as_ref().map_or(&[][..], Caller::sans);
        if let Err(denied) = identity::check(&door.options.now().rules, sans, &who.node, &who.fleet) {
            if self.has_line(door.words.identity) {
                let sans: Vec<String> = sans.iter().map(ToString::to_string).collect();
                tracing::warn!(
                    san = head(&sans.join(" "), NAME),
                    node = head(&who.node, NAME),
                    fleet = head(&who.fleet, NAME),
                    address = self.caller.as_ref().map(|c| tracing::field::display(c.address())),
                    reason = %denied,
                    "the client's certificate does not allow this node id or fleet: stream of {} ended",
                    door.words.what
                );
            }
            (door.words.count)(&door.metrics, Reason::Identity);
            return Err(Status::permission_denied(denied.to_string()));
        }
        head(&who.node, NAME).clone_into(&mut self.node);
        Ok(())
    }

    /// The status for a message that could not be read. The transport has another code for one that is too long.
    pub(in crate::grpc) fn unread(&self, status: Status) -> Status {
        let reason = match status.code() {
            Code::OutOfRange => Reason::MessageSize,
            Code::ResourceExhausted => Reason::Requests,
            Code::DeadlineExceeded => Reason::Late,
            _ => return status, // it has gone
        };
        match status.code() {
            Code::OutOfRange => self.refuse(reason, Status::resource_exhausted(status.message())),
            _ => self.refuse(reason, status),
        }
    }

    /// The stream ends with this.
    pub(in crate::grpc) fn refuse(&self, reason: Reason, status: Status) -> Status {
        let door = self.door();
        (door.words.count)(&door.metrics, reason);
        if self.has_line(door.words.refused) {
            tracing::warn!(
                node = self.node(),
                reason = status.message(),
                "stream of {} refused",
                door.words.what
            );
        }
        status
    }

    pub(in crate::grpc) fn has_line(&self, kind: Lines) -> bool {
        let from = self.caller.as_ref().map(|caller| caller.address().ip());
        self.door().floods.has_line(kind, from)
    }
}

impl Drop for Visitor {
    fn drop(&mut self) {
        if let Some(caller) = &self.caller {
            caller.leave();
        }
    }
}

/// A message as it came: it is read where it lies.
#[derive(Debug)]
pub(in crate::grpc) struct Encoded(pub(in crate::grpc) Bytes);

impl Incoming for Encoded {
    fn read(bytes: Bytes, _: Option<usize>) -> Result<Self, Status> {
        Ok(Self(bytes))
    }
}

/// The next message, not before `wait` is over.
pub(in crate::grpc) async fn receive(
    inbox: &mut Inbox<Encoded>,
    wait: Duration,
) -> Result<Option<Encoded>, Status> {
    if !wait.is_zero() {
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            status = inbox.overflow() => return Err(status),
        }
    }
    inbox.message().await
}
