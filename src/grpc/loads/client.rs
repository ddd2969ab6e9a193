//! The client of one stream of load reports: whether it may be who it says, what it reports, its log lines.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tonic::{Code, Status};

use super::shared::{Place, Shared};
use crate::floods::Kind as Lines;
use crate::grpc::server::{Caller, Incoming, identity};
use crate::intake::Joined;
use crate::loads::{Say, Settings, Talk, Who};
use crate::metrics::{Limit, Reason};
use crate::text::head;
use crate::xds::Kind;

/// Longest part of a client's name that is logged.
const NAME: usize = 200;

const IDENTITY: Lines = Lines::new("identity of a load report refused");
const REFUSED: Lines = Lines::new("load reports refused");
const CUT: Lines = Lines::new("load reports beyond a bound").up_to(3);

/// A report as it came: it is read where it lies.
#[derive(Debug)]
pub(super) struct Encoded(Bytes);

impl Incoming for Encoded {
    fn read(bytes: Bytes, _: Option<usize>) -> Result<Self, Status> {
        Ok(Self(bytes))
    }
}

/// The client of one stream.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) shared: Arc<Shared>,
    _place: Place,
    caller: Option<Caller>,
    /// Once it has sent its node, and may be that.
    joined: Option<(Who, Arc<Joined>)>,
    talk: Talk,
}

impl Client {
    pub(super) fn new(shared: Arc<Shared>, place: Place, caller: Option<Caller>) -> Self {
        if let Some(caller) = &caller {
            caller.enter();
        }
        Self {
            shared,
            _place: place,
            caller,
            joined: None,
            talk: Talk::default(),
        }
    }

    pub(super) fn caller(&self) -> Option<Caller> {
        self.caller.clone()
    }

    /// What it is sent now, if anything.
    pub(super) fn poll(&mut self, interval: Duration) -> Option<Say> {
        let (who, _) = self.joined.as_ref()?;
        let settings: Settings = Talk::settings(who, interval, || {
            let generation = self.shared.fanout.current();
            let clusters = generation.iter().flat_map(|g| g.all(Kind::Cluster));
            clusters.map(|(_, cluster)| cluster.name.clone()).collect()
        });
        self.talk.poll(who, settings)
    }

    /// It has to be asked for its clusters by name.
    pub(super) fn needs_names(&self) -> bool {
        self.joined.as_ref().is_some_and(|(who, _)| !who.sends_all)
    }

    pub(super) async fn report(&mut self, report: Encoded, is_large: bool) -> Result<(), Status> {
        let Encoded(bytes) = report;
        let joined = match &self.joined {
            Some((_, joined)) => joined.clone(),
            None => self.join(&bytes)?,
        };
        let loads = self.shared.loads.clone();
        let take = move || loads.read(&bytes).map(|report| joined.report(&report));
        let taken = if is_large {
            let taken = tokio::task::spawn_blocking(take).await;
            taken.map_err(|e| Status::internal(e.to_string()))?
        } else {
            take()
        };
        let whole = taken.map_err(|unreadable| {
            self.refuse(Reason::Protocol, Status::invalid_argument(unreadable.to_string()))
        })?;
        self.shared.metrics.load_reports.inc();
        if !whole {
            self.shared.metrics.reached(Limit::LoadReports);
            if self.has_line(CUT) {
                tracing::warn!(
                    node = self.node(),
                    "load reports exceed a bound: what this client has in progress is not known in full"
                );
            }
        }
        Ok(())
    }

    /// The first request names the node. A client may report only as the node that it may be.
    fn join(&mut self, bytes: &[u8]) -> Result<Arc<Joined>, Status> {
        let unreadable =
            |e: crate::fields::Unreadable| (Reason::Protocol, Status::invalid_argument(e.to_string()));
        let who = self
            .shared
            .loads
            .read(bytes)
            .map_err(unreadable)
            .and_then(|report| {
                let missing = || Status::invalid_argument("the first load report must name the node");
                let node = report.node.ok_or_else(|| (Reason::Protocol, missing()))?;
                Who::read(node).map_err(unreadable)
            });
        let who = who.map_err(|(reason, status)| self.refuse(reason, status))?;
        let sans = self.caller.as_ref().map_or(&[][..], Caller::sans);
        if let Err(denied) = identity::check(&self.shared.options.rules, sans, &who.node, &who.fleet) {
            if self.has_line(IDENTITY) {
                let sans: Vec<String> = sans.iter().map(ToString::to_string).collect();
                tracing::warn!(
                    san = head(&sans.join(" "), NAME),
                    node = head(&who.node, NAME),
                    fleet = head(&who.fleet, NAME),
                    address = self.caller.as_ref().map(|c| tracing::field::display(c.address())),
                    reason = %denied,
                    "the client's certificate does not allow this node id or fleet: stream of load reports ended"
                );
            }
            self.shared.metrics.report_refused(Reason::Identity);
            return Err(Status::permission_denied(denied.to_string()));
        }
        tracing::debug!(
            node = head(&who.node, NAME),
            fleet = head(&who.fleet, NAME),
            agent = head(&who.agent, NAME),
            "client reports its load"
        );
        let joined = Arc::new(self.shared.loads.join(who.clone()));
        self.joined = Some((who, joined.clone()));
        Ok(joined)
    }

    /// The status for a request that could not be read. The transport has another code for a message that is too long.
    pub(super) fn unread(&self, status: Status) -> Status {
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

    /// It exceeds its rate of reports: the next one is read later.
    pub(super) fn too_fast(&self) {
        self.shared.metrics.reached(Limit::LoadReports);
        tracing::debug!(node = self.node(), "load reports come too fast: read later");
    }

    fn refuse(&self, reason: Reason, status: Status) -> Status {
        self.shared.metrics.report_refused(reason);
        if self.has_line(REFUSED) {
            tracing::warn!(
                node = self.node(),
                reason = status.message(),
                "stream of load reports refused"
            );
        }
        status
    }

    fn has_line(&self, kind: Lines) -> bool {
        let from = self.caller.as_ref().map(|caller| caller.address().ip());
        self.shared.floods.has_line(kind, from)
    }

    fn node(&self) -> &str {
        self.joined.as_ref().map_or("", |(who, _)| head(&who.node, NAME))
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        if let Some(caller) = &self.caller {
            caller.leave();
        }
    }
}
