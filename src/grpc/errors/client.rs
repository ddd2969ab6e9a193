//! The client of one stream of access logs: what it logs, and its log lines.

use std::sync::Arc;

use tonic::Status;

use crate::errors::{Allowance, Message};
use crate::fields::Unreadable;
use crate::floods::Kind as Lines;
use crate::grpc::visitor::{Encoded, NAME, Visitor};
use crate::intake::Loads;
use crate::loads::Who;
use crate::metrics::{Limit, Reason};
use crate::text::head;

const CUT: Lines = Lines::new("access logs beyond a bound").up_to(3);

/// The client of one stream.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) visitor: Visitor,
    loads: Arc<Loads>,
    /// It has sent its node, and may be that.
    is_known: bool,
    allowance: Allowance,
}

impl Client {
    pub(super) fn new(visitor: Visitor, loads: Arc<Loads>) -> Self {
        Self {
            visitor,
            allowance: loads.errors().allowance(),
            loads,
            is_known: false,
        }
    }

    pub(super) fn take(&mut self, message: &Encoded) -> Result<(), Status> {
        let unreadable = |e: Unreadable| Status::invalid_argument(e.to_string());
        let message =
            Message::read(&message.0).map_err(|e| self.visitor.refuse(Reason::Protocol, unreadable(e)))?;
        if !self.is_known {
            let node = message.node.ok_or_else(|| {
                let missing =
                    Status::invalid_argument("the first message of an access log must name the node");
                self.visitor.refuse(Reason::Protocol, missing)
            })?;
            let who = Who::read(node).map_err(|e| self.visitor.refuse(Reason::Protocol, unreadable(e)))?;
            self.visitor.join(&who)?;
            self.is_known = true;
            tracing::debug!(
                node = self.visitor.node(),
                fleet = head(&who.fleet, NAME),
                "client logs its errors"
            );
        }
        let metrics = &self.visitor.door().metrics;
        let found = u64::try_from(message.errors.len()).unwrap_or(u64::MAX);
        metrics.request_errors.inc_by(found);
        if !self.loads.errors().take(&mut self.allowance, &message) {
            metrics.reached(Limit::RequestErrors);
            if self.visitor.has_line(CUT) {
                tracing::warn!(
                    node = self.visitor.node(),
                    "errors of requests exceed a bound: some are counted, and not shown by kind"
                );
            }
        }
        Ok(())
    }

    /// It has had nothing to log for a while.
    pub(super) fn idle(&self) {
        if let Some(caller) = self.visitor.caller() {
            caller.retire();
        }
    }

    /// It exceeds its rate: the next message is read later, and Envoy drops what it cannot send meanwhile.
    pub(super) fn too_fast(&self) {
        self.visitor.door().metrics.reached(Limit::RequestErrors);
        tracing::debug!(
            node = self.visitor.node(),
            "access logs come too fast: read later"
        );
    }
}
