//! `/errors`: which errors there are, as Envoys log them while a rollout is judged. JSON.

use serde_json::{Value, json};

use crate::errors::{ClusterErrors, Line, TOOK};
use crate::intake::Errors;
use crate::text::clip_to;

/// Maximum of lines that are shown of one cluster.
const MOST: usize = 200;

/// Longest name that is shown.
const NAME: usize = 512;

/// All, or of one service.
pub(super) fn view(errors: &Errors, service: Option<&str>) -> Value {
    let clusters = errors.of(service, MOST);
    json!({
        "clusters": clusters.iter().map(|of| cluster(errors, of)).collect::<Vec<_>>(),
        "took_up_to_ms": TOOK,
        "of_clusters_without_a_place": errors.lost(),
    })
}

fn cluster(errors: &Errors, of: &ClusterErrors) -> Value {
    json!({
        "name": clip_to(&of.cluster, NAME),
        "version": of.version().map(|version| clip_to(version, NAME)),
        "total": of.total,
        "not_shown_by_kind": of.other,
        "first_unix_ms": errors.unix_millis(of.first),
        "last_unix_ms": errors.unix_millis(of.last),
        "errors": of.lines.iter().map(|line| self::line(errors, line)).collect::<Vec<_>>(),
    })
}

fn line(errors: &Errors, line: &Line) -> Value {
    json!({
        "method": line.method,
        "status": line.status.to_string(),
        "flags": line.flags.to_string(),
        "upstream": line.upstream,
        "message": line.message,
        "count": line.count,
        "first_unix_ms": errors.unix_millis(line.first),
        "last_unix_ms": errors.unix_millis(line.last),
        "took": line.took,
    })
}
