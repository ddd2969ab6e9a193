//! The client of one stream of access logs: whether it may be who it says, what it logs, its log lines.

use std::sync::Arc;

use bytes::Bytes;
use tonic::{Code, Status};

use super::shared::{Place, Shared};
use crate::errors::{Allowance, Message};
use crate::fields::Unreadable;
use crate::floods::Kind as Lines;
use crate::grpc::server::{Caller, Incoming, identity};
use crate::loads::Who;
use crate::metrics::{Limit, Reason};
use crate::text::head;

/// Longest part of a client's name that is logged.
const NAME: usize = 200;

const IDENTITY: Lines = Lines::new("identity of an access log refused");
const REFUSED: Lines = Lines::new("access logs refused");
const CUT: Lines = Lines::new("access logs beyond a bound").up_to(3);

/// A message as it came: it is read where it lies.
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
    who: Option<Who>,
    allowance: Allowance,
}

impl Client {
    pub(super) fn new(shared: Arc<Shared>, place: Place, caller: Option<Caller>) -> Self {
        if let Some(caller) = &caller {
            caller.enter();
        }
        Self {
            allowance: shared.loads.errors().allowance(),
            shared,
            _place: place,
            caller,
            who: None,
        }
    }

    pub(super) fn caller(&self) -> Option<Caller> {
        self.caller.clone()
    }

    pub(super) fn take(&mut self, message: &Encoded) -> Result<(), Status> {
        let unreadable = |e: Unreadable| Status::invalid_argument(e.to_string());
        let message = Message::read(&message.0).map_err(|e| self.refuse(Reason::Protocol, unreadable(e)))?;
        if self.who.is_none() {
            let node = message.node.ok_or_else(|| {
                let missing =
                    Status::invalid_argument("the first message of an access log must name the node");
                self.refuse(Reason::Protocol, missing)
            })?;
            let who = Who::read(node).map_err(|e| self.refuse(Reason::Protocol, unreadable(e)))?;
            self.join(who)?;
        }
        let found = u64::try_from(message.errors.len()).unwrap_or(u64::MAX);
        self.shared.metrics.request_errors.inc_by(found);
        if !self.shared.loads.errors().take(&mut self.allowance, &message) {
            self.shared.metrics.reached(Limit::RequestErrors);
            if self.has_line(CUT) {
                tracing::warn!(
                    node = self.node(),
                    "errors of requests exceed a bound: some are counted, and not shown by kind"
                );
            }
        }
        Ok(())
    }

    /// The first message names the node. A client may log only as the node that it may be.
    fn join(&mut self, who: Who) -> Result<(), Status> {
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
                    "the client's certificate does not allow this node id or fleet: stream of access logs ended"
                );
            }
            self.shared.metrics.log_refused(Reason::Identity);
            return Err(Status::permission_denied(denied.to_string()));
        }
        tracing::debug!(
            node = head(&who.node, NAME),
            fleet = head(&who.fleet, NAME),
            "client logs its errors"
        );
        self.who = Some(who);
        Ok(())
    }

    /// It has had nothing to log for a while.
    pub(super) fn idle(&self) {
        if let Some(caller) = &self.caller {
            caller.retire();
        }
    }

    /// The status for a message that could not be read. The transport has another code for one that is too long.
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

    /// It exceeds its rate: the next message is read later, and Envoy drops what it cannot send meanwhile.
    pub(super) fn too_fast(&self) {
        self.shared.metrics.reached(Limit::RequestErrors);
        tracing::debug!(node = self.node(), "access logs come too fast: read later");
    }

    fn refuse(&self, reason: Reason, status: Status) -> Status {
        self.shared.metrics.log_refused(reason);
        if self.has_line(REFUSED) {
            tracing::warn!(
                node = self.node(),
                reason = status.message(),
                "stream of access logs refused"
            );
        }
        status
    }

    fn has_line(&self, kind: Lines) -> bool {
        let from = self.caller.as_ref().map(|caller| caller.address().ip());
        self.shared.floods.has_line(kind, from)
    }

    fn node(&self) -> &str {
        self.who.as_ref().map_or("", |who| head(&who.node, NAME))
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        if let Some(caller) = &self.caller {
            caller.leave();
        }
    }
}
