//! One stream of reports, and what is known by it. Pure.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use roaring::RoaringBitmap;

use super::ends::{ById, End, EndId, Ends};
use super::flight::{Flight, Why};
use super::names::NameId;
use super::report::Counts;
use super::who::Who;

/// Requests a second that one client may report: several times what an Envoy on a large machine can do.
const RATE: u64 = 1_000_000;
/// A report may count for this time at least: it may come late, and the next one in time.
const SHORTEST: Duration = Duration::from_secs(10);
/// And at most: the first report of a stream may be about what was before it.
const LONGEST: Duration = Duration::from_secs(60);

/// A client that reports, or did until it left.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) who: Who,
    pub(super) node: Arc<str>,
    pub(super) since: Duration,
    pub(super) left: Option<Duration>,
    /// When its last report came.
    pub(super) last: Option<Duration>,
    /// When its last report came, also one that is not believed.
    pub(super) reported: Option<Duration>,
    /// As the client measured it.
    pub(super) interval: Duration,
    /// Of its last report.
    pub(super) bytes: usize,
    /// Number of the last report.
    pub(super) seq: u32,
    /// Clusters in the last report, whether they had requests or not.
    pub(super) listed: RoaringBitmap,
    /// The same in the order of the report: the next one most likely has the same, and nothing has to be looked up.
    pub(super) order: Vec<NameId>,
    /// As well the ends that it named.
    pub(super) sequence: Vec<EndId>,
    pub(super) rows: Rows,
    /// The last report exceeds a bound.
    pub(super) is_cut: bool,
    /// It took too much of the table: its reports are not taken in for now.
    pub(super) left_out: bool,
    /// It has named a locality where requests were in progress and none had begun, as Envoys from 1.40 always do.
    pub(super) shows_open: bool,
}

/// What a client has in progress, by end.
pub(super) type Rows = HashMap<EndId, Row, ById>;

/// One end, as this client sees it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Row {
    /// `open`: in progress as of the last report, or the last number that was certain.
    pub(super) counts: Counts,
    pub(super) is_known: bool,
    /// The report that named it last.
    pub(super) seq: u32,
    /// When that came, in seconds.
    pub(super) at: u32,
}

/// Localities, with their priority, that a report names.
pub(super) type Present = Vec<(NameId, NameId, u32)>;

impl Client {
    pub(super) fn new(who: Who, now: Duration) -> Self {
        Self {
            node: who.node.as_str().into(),
            who,
            since: now,
            left: None,
            last: None,
            reported: None,
            interval: Duration::ZERO,
            bytes: 0,
            seq: 0,
            listed: RoaringBitmap::new(),
            order: Vec::new(),
            sequence: Vec::new(),
            rows: Rows::default(),
            is_cut: false,
            left_out: false,
            shows_open: false,
        }
    }

    /// Whether there can be this number of requests since its last report: what nobody can have counted would hide what all
    /// others have.
    pub(super) fn can_claim(&mut self, requests: u64, now: Duration) -> bool {
        let since = self
            .reported
            .replace(now)
            .map_or(LONGEST, |before| now.saturating_sub(before));
        let seconds = since.clamp(SHORTEST, LONGEST).as_secs();
        requests <= RATE.saturating_mul(seconds)
    }

    /// What its reports leave out has no requests in progress.
    pub(super) fn is_sure(&self) -> bool {
        self.who.is_sure() || (self.shows_open && self.who.has_endpoints())
    }

    /// What the last report means for the ends that it does not name.
    pub(super) fn settle(&mut self, mut present: Present, ends: &mut Ends) {
        present.sort_unstable();
        let is_sure = self.is_sure();
        for (id, row) in self.rows.iter_mut().filter(|(_, row)| row.seq != self.seq) {
            let Some(End { key, .. }) = ends.get(*id) else {
                continue;
            };
            let place = (key.cluster, key.place, key.priority);
            let is_present = || present.binary_search(&place).is_ok();
            // A request that began since would have put the locality into the report.
            let was_idle = row.is_known && row.counts.open == 0;
            row.is_known =
                !self.is_cut && self.listed.contains(key.cluster) && (is_sure || was_idle || is_present());
            if row.is_known && row.counts.open > 0 {
                let open = std::mem::take(&mut row.counts.open);
                if let Some(end) = ends.get_mut(*id) {
                    end.tally(self.who.kind).reopen(open, 0);
                }
            }
        }
    }

    /// Its requests in progress to these ends, one endpoint of these clusters; `None`: it has nothing to do with them.
    pub(super) fn flight(&self, clusters: &[NameId], ends: &[EndId], all: &Ends) -> Option<Flight> {
        let rows: Vec<(NameId, &Row)> = ends
            .iter()
            .filter_map(|id| Some((all.get(*id)?.key.cluster, self.rows.get(id)?)))
            .collect();
        let listed = || clusters.iter().filter(|cluster| self.listed.contains(**cluster));
        let is_concerned = !rows.is_empty() || listed().next().is_some();
        let why = match self.last {
            _ if self.left.is_some() && is_concerned => Some(Why::Left),
            _ if self.left.is_some() => return None,
            None => Some(Why::NoReport),
            Some(_) if self.left_out => Some(Why::Cut),
            Some(_) if !is_concerned => return None,
            Some(_) if !self.who.has_endpoints() => Some(Why::NoEndpoints),
            Some(_) => {
                let unknown = rows.iter().find(|(_, row)| !row.is_known);
                let mut unnamed = listed().filter(|cluster| rows.iter().all(|(named, _)| named != *cluster));
                match unknown {
                    _ if self.is_cut => Some(Why::Cut),
                    Some((cluster, _)) if self.listed.contains(*cluster) => Some(Why::Silent),
                    Some(_) => Some(Why::NotListed),
                    None if !self.is_sure() && unnamed.next().is_some() => Some(Why::Silent),
                    None => None,
                }
            }
        };
        Some(Flight {
            node: self.node.clone(),
            fleet: self.who.fleet.as_str().into(),
            open: rows
                .iter()
                .fold(0, |all, (_, row)| all.saturating_add(row.counts.open)),
            why,
            at: self.last,
        })
    }
}

#[cfg(test)]
mod tests {
    use envoy_types::pb::envoy::config::endpoint::v3::{ClusterStats, UpstreamLocalityStats};
    use envoy_types::pb::envoy::service::load_stats::v3::LoadStatsRequest;
    use prost::Message as _;

    use super::super::{Bounds, Kind, Limits, Report, Table};
    use super::*;

    fn report(ok: u64, errors: u64, open: u64) -> Vec<u8> {
        let locality = UpstreamLocalityStats {
            total_successful_requests: ok,
            total_error_requests: errors,
            total_issued_requests: ok.saturating_add(errors),
            total_requests_in_progress: open,
            ..UpstreamLocalityStats::default()
        };
        let cluster = ClusterStats {
            cluster_name: "orders@2".into(),
            upstream_locality_stats: vec![locality],
            ..ClusterStats::default()
        };
        LoadStatsRequest {
            node: None,
            cluster_stats: vec![cluster],
        }
        .encode_to_vec()
    }

    #[test]
    fn a_client_that_claims_what_cannot_be_hides_nothing() {
        let mut table = Table::new(Limits::default());
        let mut now = Duration::from_secs(1_000);
        let who = |node: &str| Who {
            node: node.into(),
            fleet: String::new(),
            agent: "envoy".into(),
            kind: Kind::Envoy,
            release: None,
            sends_all: true,
        };
        let (liar, honest) = (table.join(who("liar"), now), table.join(who("honest"), now));
        let say = |table: &mut Table, id, bytes: &[u8], now| {
            let report = Report::read(bytes, &Bounds::default()).unwrap();
            table.report(id, &report, now)
        };
        let sums = |table: &Table| table.sums(&["orders@2".into()], Duration::ZERO);
        for (ok, errors, open) in [
            (u64::MAX, 0, 0),
            (u64::MAX / 2, u64::MAX / 2, 0),
            (0, 0, u64::MAX),
            (RATE * 61, 0, 0),
        ] {
            assert!(
                !say(&mut table, liar, &report(ok, errors, open), now),
                "{ok} {errors} {open}"
            );
            now += Duration::from_secs(1);
        }
        assert_eq!(sums(&table).sums, []);
        assert_eq!(sums(&table).clients, 0, "nor does it count as one who reports");
        for _ in 0..3 {
            now += Duration::from_secs(1);
            assert!(say(&mut table, honest, &report(0, 20, 3), now));
        }
        let seen = sums(&table);
        assert_eq!((seen.sums[0].counts.errors, seen.sums[0].counts.open), (60, 3));
        // What it can have had counts again.
        assert!(say(&mut table, liar, &report(RATE, 1, 0), now));
        assert_eq!(sums(&table).sums[0].counts.errors, 61);
    }
}
