//! `/services` and `/routes`: what there is, a part at a time. JSON.

use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::sync::oneshot;

use super::{Admin, STOPPING, answer};
use crate::hub::{Listed, Order, ServiceRow};
use crate::replay::table;
use crate::xds::Kind;

/// Rows of one answer.
const ROWS: usize = 500;

#[derive(Debug, Deserialize)]
pub(super) struct ServicesQuery {
    #[serde(default)]
    search: String,
    #[serde(default)]
    offset: usize,
    limit: Option<usize>,
}

/// A page of services.
pub(super) async fn services(State(admin): State<Admin>, Query(query): Query<ServicesQuery>) -> Response {
    let (reply, answer) = oneshot::channel();
    let listed = Listed {
        search: query.search,
        offset: query.offset,
        most: query.limit.unwrap_or(ROWS).min(ROWS),
    };
    let sent = admin.orders.send(Order::Services { listed, reply }).await;
    let Some(page) = answer.await.ok().filter(|_| sent.is_ok()) else {
        return (StatusCode::SERVICE_UNAVAILABLE, STOPPING).into_response();
    };
    let rows: Vec<Value> = page.rows.iter().map(row).collect();
    answer::json(&json!({ "total": page.total, "services": rows }))
}

fn row(row: &ServiceRow) -> Value {
    let versions = row
        .versions
        .iter()
        .map(|(version, n)| (version.to_string(), json!(n)));
    json!({
        "name": &*row.name,
        "sources": row.sources,
        "healthy": row.healthy,
        "draining": row.draining,
        "unhealthy": row.unhealthy,
        "off": row.off,
        "versions": versions.collect::<Map<String, Value>>(),
        "routes": row.routes,
        "warnings": row.issues,
    })
}

#[derive(Debug, Deserialize)]
pub(super) struct RoutesQuery {
    #[serde(default)]
    host: String,
}

/// Routes in the order in which they are tried, of each listener.
pub(super) async fn routes(State(admin): State<Admin>, Query(query): Query<RoutesQuery>) -> Response {
    let Some(generation) = admin.fanout.current() else {
        let nothing = "nothing is served yet; see /readyz\n";
        return (StatusCode::SERVICE_UNAVAILABLE, nothing).into_response();
    };
    // Thousands of hosts may be looked at: not on a thread that serves streams.
    let listed = tokio::task::spawn_blocking(move || {
        let all = generation.all(Kind::Route).filter_map(|(_, resource)| {
            let (rows, total) = table(resource.body().ok()?, &query.host, ROWS);
            Some(json!({ "listener": &*resource.name, "total": total, "routes": rows }))
        });
        all.collect::<Vec<Value>>()
    });
    match listed.await {
        Ok(listed) => answer::json(&json!({ "listeners": listed })),
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, STOPPING).into_response(),
    }
}
