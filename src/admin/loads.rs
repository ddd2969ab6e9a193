//! `/loads`: what clients report of the requests that they send, and what is not known of them. JSON.

use std::time::Duration;

use serde_json::{Value, json};

use crate::clock;
use crate::intake::Loads;
use crate::loads::{ClientView, Counts, EndView, Kind, RowView, ServiceView, Totals, is_cluster_of};
use crate::text::clip_to;

/// Maximum of clients, and of endpoints, that are listed.
const MOST: usize = 1_000;

/// Longest name that is shown.
const NAME: usize = 512;

/// All, or of one service, or of one node. Endpoints of one client are listed where a node is named.
pub(super) fn view(loads: &Loads, service: Option<&str>, node: Option<&str>) -> Value {
    let (total, clients) = loads.clients(node, MOST);
    let services = loads.services(service, MOST);
    json!({
        "total": total,
        "clients": clients.iter().map(|client| self::client(loads, client, service)).collect::<Vec<_>>(),
        "clusters": services.iter().map(cluster).collect::<Vec<_>>(),
    })
}

fn client(loads: &Loads, client: &ClientView, service: Option<&str>) -> Value {
    let ago = |at: Duration| clock::now().duration_since(loads.instant(at)).as_secs();
    let is_of = |row: &&RowView| service.is_none_or(|service| is_cluster_of(&row.cluster, service));
    json!({
        "node": clip_to(&client.node, NAME),
        "fleet": clip_to(&client.fleet, NAME),
        "agent": clip_to(&client.agent, NAME),
        "release": client.release.map(|r| format!("{}.{}.{}", r.major, r.minor, r.patch)),
        "reports_endpoints": client.kind != Kind::Grpc,
        "loses_results_of_slow_calls": client.kind == Kind::OldEnvoy,
        "names_all_in_progress": client.is_sure,
        "beyond_a_bound": client.is_cut,
        "age_seconds": ago(client.since),
        "left_seconds_ago": client.left.map(ago),
        "last_report_seconds_ago": client.last.map(ago),
        "interval_seconds": client.interval.as_secs_f64(),
        "clusters": client.clusters,
        "endpoints": client.rows.iter().filter(is_of).map(row).collect::<Vec<_>>(),
    })
}

fn row(row: &RowView) -> Value {
    let mut view = counts(row.counts);
    view["cluster"] = clip_to(&row.cluster, NAME).into();
    view["address"] = json!(row.address);
    view["in_progress_is_certain"] = row.is_known.into();
    view
}

fn cluster(service: &ServiceView) -> Value {
    let by = |(category, n): &(String, u64)| (clip_to(category, NAME), Value::from(*n));
    json!({
        "name": clip_to(&service.cluster, NAME),
        "dropped": service.dropped,
        "dropped_by_category": service.drops.iter().map(by).collect::<serde_json::Map<_, _>>(),
        "endpoints": service.ends.iter().map(end).collect::<Vec<_>>(),
    })
}

fn end(end: &EndView) -> Value {
    json!({
        "address": end.address,
        "locality": clip_to(&end.locality, NAME),
        "priority": end.priority,
        "reported_by": end.totals.iter().map(totals).collect::<serde_json::Map<_, _>>(),
    })
}

fn totals(totals: &Totals) -> (String, Value) {
    let mut view = counts(totals.counts);
    let metrics = totals.metrics.iter().map(|(name, finished, sum)| {
        let figure = json!({ "requests": finished, "sum": sum });
        (clip_to(name, NAME), figure)
    });
    view["metrics"] = Value::Object(metrics.collect());
    (totals.kind.as_str().to_owned(), view)
}

fn counts(counts: Counts) -> Value {
    json!({
        "in_progress": counts.open,
        "successes": counts.successes,
        "errors": counts.errors,
        "issued": counts.issued,
    })
}
