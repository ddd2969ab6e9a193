//! The client of one stream of load reports: what it reports and is asked for, and its log lines.

use std::sync::Arc;
use std::time::Duration;

use tonic::Status;

use crate::fanout::Fanout;
use crate::floods::Kind as Lines;
use crate::grpc::visitor::{Encoded, NAME, Visitor};
use crate::intake::{Joined, Loads};
use crate::loads::{Say, Settings, Talk, Who};
use crate::metrics::{Limit, Reason};
use crate::text::head;
use crate::xds::Kind;

const CUT: Lines = Lines::new("load reports beyond a bound").up_to(3);

/// The client of one stream.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) visitor: Visitor,
    pub(super) loads: Arc<Loads>,
    pub(super) fanout: Arc<Fanout>,
    /// Once it has sent its node, and may be that.
    joined: Option<(Who, Arc<Joined>)>,
    talk: Talk,
}

impl Client {
    pub(super) fn new(visitor: Visitor, loads: Arc<Loads>, fanout: Arc<Fanout>) -> Self {
        Self {
            visitor,
            loads,
            fanout,
            joined: None,
            talk: Talk::default(),
        }
    }

    /// What it is sent now, if anything.
    pub(super) fn poll(&mut self, interval: Duration) -> Option<Say> {
        let (who, _) = self.joined.as_ref()?;
        let settings: Settings = Talk::settings(who, interval, || {
            let generation = self.fanout.current();
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
        let loads = self.loads.clone();
        let take = move || loads.read(&bytes).map(|report| joined.report(&report));
        let taken = if is_large {
            let taken = tokio::task::spawn_blocking(take).await;
            taken.map_err(|e| Status::internal(e.to_string()))?
        } else {
            take()
        };
        let whole = taken.map_err(|unreadable| {
            self.visitor
                .refuse(Reason::Protocol, Status::invalid_argument(unreadable.to_string()))
        })?;
        self.visitor.door().metrics.load_reports.inc();
        if !whole {
            self.visitor.door().metrics.reached(Limit::LoadReports);
            if self.visitor.has_line(CUT) {
                tracing::warn!(
                    node = self.visitor.node(),
                    "load reports exceed a bound: what this client has in progress is not known in full"
                );
            }
        }
        Ok(())
    }

    /// The first request names the node.
    fn join(&mut self, bytes: &[u8]) -> Result<Arc<Joined>, Status> {
        let unreadable =
            |e: crate::fields::Unreadable| (Reason::Protocol, Status::invalid_argument(e.to_string()));
        let who = self.loads.read(bytes).map_err(unreadable).and_then(|report| {
            let missing = || Status::invalid_argument("the first load report must name the node");
            let node = report.node.ok_or_else(|| (Reason::Protocol, missing()))?;
            Who::read(node).map_err(unreadable)
        });
        let who = who.map_err(|(reason, status)| self.visitor.refuse(reason, status))?;
        self.visitor.join(&who)?;
        tracing::debug!(
            node = self.visitor.node(),
            fleet = head(&who.fleet, NAME),
            agent = head(&who.agent, NAME),
            "client reports its load"
        );
        let joined = Arc::new(self.loads.join(who.clone()));
        self.joined = Some((who, joined.clone()));
        Ok(joined)
    }

    /// It exceeds its rate of reports: the next one is read later.
    pub(super) fn too_fast(&self) {
        self.visitor.door().metrics.reached(Limit::LoadReports);
        tracing::debug!(
            node = self.visitor.node(),
            "load reports come too fast: read later"
        );
    }
}
